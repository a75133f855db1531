"""Broken states and scales: moments, buffers, lengths across blocks and against the weights."""

from __future__ import annotations

import torch
from mutants_base import (
    ADAM,
    GD,
    HYBRID,
    LAYERS,
    POLAR,
    SIGN,
    Gradient,
    Moments,
    Momentum,
    Polar,
    Sign,
    broken,
    polar,
    signed,
)
from torch import Tensor

# --- Adam's moments.


@broken("missing square root", "root", "linf", ADAM)
class NoRoot(Moments):
    """m/v grows as the gradient shrinks: entries with small gradients run away, and the step has degree -1."""

    def ratio(self, m: Tensor, v: Tensor) -> Tensor:
        return m / v


@broken("root of the wrong moment", "root", "linf", ADAM)
class WrongMoment(Moments):
    """v averages |g| and its root is taken as if it were g²: the step goes like sign(g) √|g|, steepest under l3."""

    def second(self, g: Tensor) -> Tensor:
        return g.abs()


@broken("one second moment for a block", "reduction", "linf", ADAM)
class BlockMoment(Moments):
    """v is the mean of g² over the block, so a block is normalized, not its entries: max of l2 norms."""

    def second(self, g: Tensor) -> Tensor:
        return (g * g).mean()


@broken("one second moment for a row", "reduction", "linf", ADAM)
class RowMoment(Moments):
    """v is the mean of g² over each row, as some memory-saving Adams have it: rows are normalized, not entries."""

    def second(self, g: Tensor) -> Tensor:
        return (g * g).mean(-1, keepdim=True)


@broken("eps inside the root, relative", "eps", "linf", ADAM)
class RelativeEps(Moments):
    """√(v + 1e-2 max v): entries below 10 % of the largest move in proportion to their gradient."""

    def ratio(self, m: Tensor, v: Tensor) -> Tensor:
        return m / (v + 1e-2 * v.max()).sqrt()


@broken("8-bit second moment", "precision", "linf", ADAM, kwargs={"betas": (0.9, 0.998)})
class EightBitMoment(Moments):
    """v keeps eight bits, as bfloat16 does, and cannot fall by 0.2 % a step: it stays where it was, as in AMSGrad."""

    def ratio(self, m: Tensor, v: Tensor) -> Tensor:
        mantissa, exponent = torch.frexp(v)
        v.copy_(torch.ldexp((256 * mantissa).round() / 256, exponent))
        return m / v.sqrt()


@broken(
    "AMSGrad", "preconditioner", "linf", ADAM, kwargs={"lr": 1e-3, "betas": (0.9, 0.95), "eps": 0.0, "amsgrad": True}
)
class AMSGrad(torch.optim.Adam):
    """The largest v of all times never falls while gradients vanish: gradient descent, rescaled by the past."""


@broken("Adagrad", "preconditioner", "linf", SIGN, kwargs={"lr": 1e-3})
class Adagrad(torch.optim.Adagrad):
    """Sums of squares of vanishing gradients converge: gradient descent under a data-dependent quadratic norm."""


@broken(
    "absolute eps", "eps", "linf", ADAM, kwargs={"betas": (0.9, 0.95), "eps": 1e-3}, honest=("fails", "inconclusive")
)
class LargeEps(torch.optim.Adam):
    """Below gradients of 1e-3 it is momentum GD, hence l2 in the end; before, it is Adam."""


# --- State.


@broken("stale momentum of tall matrices", "state", "linf", SIGN)
class StaleTall(Sign):
    """After 100 steps the momentum of matrices at least as tall as wide is no longer updated: they go straight on."""

    def average(self, p: Tensor, beta: float) -> Tensor:
        state = self.state[p]
        state["steps"] = state.get("steps", 0) + 1
        if "m" not in state:
            state["m"] = torch.zeros_like(p)
        if p.ndim == 1 or p.shape[0] < p.shape[1] or state["steps"] <= 100:
            state["m"].lerp_(p.grad, 1 - beta)
        return state["m"]


@broken("momentum shared by blocks of one size", "state", "linf", SIGN)
class SharedBuffers(Sign):
    """Buffers are kept by the number of entries, so two blocks of one size average each other's gradients."""

    def average(self, p: Tensor, beta: float) -> Tensor:
        buffers = self.param_groups[0].setdefault("buffers", {})
        m = buffers.setdefault(p.numel(), torch.zeros(p.numel(), dtype=p.dtype))
        return m.lerp_(p.grad.reshape(-1), 1 - beta).reshape(p.shape).clone()


@broken("4-bit momentum", "precision", "linf", SIGN)
class FourBit(Sign):
    """Momentum in steps of 1/7 of its largest entry: smaller changes are lost, and smaller entries are 0."""

    def average(self, p: Tensor, beta: float) -> Tensor:
        state = self.state[p]
        old = state["code"] * state["unit"] if state else torch.zeros_like(p)
        m = beta * old + (1 - beta) * p.grad
        state["unit"] = m.abs().max() / 7
        state["code"] = (m / state["unit"]).round().to(torch.int8)
        return state["code"] * state["unit"]


# --- Scales: across blocks, and against the weights.


@broken("square matrices three times slower", "scale", "spectral", POLAR)
class SlowSquare(Polar):
    """One kind of block has a third of the learning rate: a weighted spectral norm, not the claimed one."""

    def direction(self, m: Tensor) -> Tensor:
        return polar(m) / (3 if m.ndim == 2 and m.shape[0] == m.shape[1] else 1)


@broken("undeclared shape factor", "scale", "spectral", POLAR)
class ShapeFactor(Polar):
    """√max(1, rows/columns) scales the steps: weights of the norm that the claim leaves out."""

    def direction(self, m: Tensor) -> Tensor:
        return polar(m) * (max(1.0, m.shape[0] / m.shape[1]) ** 0.5 if m.ndim == 2 else 1.0)


@broken("normalized by layer", "scale", "l2", GD)
class ByLayer(Momentum):
    """Each block's gradient is normalized on its own: the maximum of the blocks' l2 norms, not the l2 norm."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm()


@broken("normalized globally", "scale", "l2;max", LAYERS)
class Globally(Gradient):
    """One norm over all blocks where a norm for each is claimed: plain l2."""


@broken("mean of row norms", "reduction", "l2;max", LAYERS)
class MeanRowNorm(Momentum):
    """Blocks are divided by the mean norm of their rows: lengths depend on how many rows there are, and how even."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm(dim=-1).mean()


@broken("polar factor times dual norm", "scale", "spectral", POLAR)
class DualScaled(Polar):
    """‖m‖_nuc U Vᵀ is unnormalized steepest descent for an l2 join of the blocks' spectral norms, not their maximum."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m)
        return (m * u).sum() * u


@broken("only the steepest block moves", "scale", "spectral", POLAR)
class SteepestBlock(Polar):
    """One block a step, that of the largest dual norm: the sum over blocks is bounded, not their maximum."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        steps = [polar(m) for m in moments]
        sizes = torch.stack([(m * u).sum() for m, u in zip(moments, steps, strict=True)])
        return [u * (i == int(sizes.argmax())) for i, u in enumerate(steps)]


@broken("swapped groups", "scale", "hybrid", HYBRID)
class SwappedGroups(Momentum):
    """The sign rule for matrices and the normalized one for vectors: the other way round than claimed."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) if m.ndim == 2 else polar(m)


@broken("trust ratio", "weights", "l2", GD)
class TrustRatio(Momentum):
    """Each block's step is as long as its weights: blocks grow by proportion, and the small ones stay small."""

    def move(self, p: Tensor, u: Tensor, lr: float) -> None:
        p.sub_(lr * p.norm() * u)

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm()


@broken("decay relative to the gradient", "decay", "linf", SIGN)
class RelativeDecay(Sign):
    """Weights of half the gradient's length join it before the sign: entries that need not grow go to 0."""

    def seen(self, p: Tensor) -> Tensor:
        return p.grad + 0.5 * p.grad.norm() * p / p.norm()


@broken("decay coupled to the gradient", "decay", "linf", SIGN, honest=("fails", "inconclusive"))
class CoupledDecay(Sign):
    """An undeclared 1e-3 of the weights joins the gradient: in the end the l2-regularized loss is minimized."""

    def seen(self, p: Tensor) -> Tensor:
        return p.grad + 1e-3 * p


@broken("decay of one kind of block", "decay", "spectral", POLAR)
class VectorDecay(Polar):
    """Vectors decay by 1 % of the learning rate, matrices do not: vectors stay bounded while the rest grows."""

    def move(self, p: Tensor, u: Tensor, lr: float) -> None:
        p.mul_(1 - (0.01 * lr if p.ndim == 1 else 0)).sub_(lr * u)


@broken("entries clipped at a quantile", "biased", "l2", GD)
class Clipped(Gradient):
    """Entries above the block's upper quartile are cut to it: the largest entries count for less."""

    def seen(self, p: Tensor) -> Tensor:
        top = p.grad.abs().quantile(0.75)
        return p.grad.clamp(-top, top)


@broken("centralized gradient", "biased", "l2", GD)
class Centralized(Gradient):
    """Each row's mean is subtracted, so rows of the weights keep the sum they began with."""

    def seen(self, p: Tensor) -> Tensor:
        return p.grad - p.grad.mean(-1, keepdim=True)
