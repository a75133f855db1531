"""Optimizers whose claim is subtly false, and correct ones written differently from ours: what ``check`` is tried on.

A broken one is here only if it truly changes the limit; the sentence that says why stands as its docstring. A change
that leaves the limit alone (a dropped bias correction, a stale gradient, signs averaged after they are taken) belongs
to the correct ones, however odd it looks. ``check`` is told where a class is by ``tests/theory/mutants.py:Class``, so
that worker processes can import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Build = type[torch.optim.Optimizer]


@dataclass(frozen=True)
class Mutant:
    """A broken optimizer.

    ``reference`` is what it should have been, as a name of the engine's registry with arguments; ``honest`` the
    outcomes that would be right ("fails", and "inconclusive" where the fault shows only beyond any run's horizon).
    """

    name: str
    kind: str
    claim: str
    build: Build
    reference: tuple[str, Mapping[str, Any]]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    honest: tuple[str, ...] = ("fails",)

    @property
    def why(self) -> str:
        return (self.build.__doc__ or "").strip()


@dataclass(frozen=True)
class Correct:
    """A correct optimizer.

    ``reference`` is the engine's recursion that it equals up to a factor a step, or None where its recursion is another
    one with the same limit ("harmless"). Where not ``told``, ``check`` must find ``claim`` by itself.
    """

    name: str
    kind: str
    claim: str
    build: Build
    reference: tuple[str, Mapping[str, Any]] | None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    told: bool = True

    @property
    def why(self) -> str:
        return (self.build.__doc__ or "").strip()


MUTANTS: list[Mutant] = []
CORRECT: list[Correct] = []
SIGN = ("signum", {})
POLAR = ("muon", {})
ADAM = ("adam", {})
GD = ("momentum-gd", {})
LAYERS = ("momentum-steepest", {"norm": "l2;max"})
HYBRID = ("muon-signum", {})


def broken(name: str, kind: str, claim: str, reference: Any, **kw: Any) -> Callable[[Build], Build]:
    def keep(cls: Build) -> Build:
        MUTANTS.append(Mutant(name, kind, claim, cls, reference, **kw))
        return cls

    return keep


def correct(name: str, kind: str, claim: str, reference: Any, **kw: Any) -> Callable[[Build], Build]:
    def keep(cls: Build) -> Build:
        CORRECT.append(Correct(name, kind, claim, cls, reference, **kw))
        return cls

    return keep


def polar(m: Tensor, power: float = 0.0) -> Tensor:
    """U Σ^power Vᵀ over the singular values that are not rounding (power 0: the polar factor); a vector is one row."""
    if m.ndim == 1:
        return polar(m[None], power)[0]
    u, s, vh = torch.linalg.svd(m, full_matrices=False)
    kept = torch.where(s > 1e-11 * s[0], s**power, torch.zeros_like(s))
    return (u * kept) @ vh


def signed(m: Tensor) -> Tensor:
    return m.sign()


class Momentum(torch.optim.Optimizer):
    """EMA of gradients, then a direction for each block. Intact; each broken class replaces one piece of it."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def average(self, p: Tensor, beta: float) -> Tensor:
        state = self.state[p]
        if not state:
            state["m"] = torch.zeros_like(p)
        state["m"].mul_(beta).add_(self.seen(p), alpha=1 - beta)
        return state["m"]

    def seen(self, p: Tensor) -> Tensor:
        return p.grad

    def direction(self, m: Tensor) -> Tensor:
        raise NotImplementedError

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        return [self.direction(m) for m in moments]

    def move(self, p: Tensor, u: Tensor, lr: float) -> None:
        p.sub_(lr * u)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        moments = [self.average(p, group["momentum"]) for p in group["params"]]
        for p, u in zip(group["params"], self.directions(moments), strict=True):
            self.move(p, u, group["lr"])


class Sign(Momentum):
    def direction(self, m: Tensor) -> Tensor:
        return signed(m)


class Polar(Momentum):
    def direction(self, m: Tensor) -> Tensor:
        return polar(m)


class Gradient(Momentum):
    """Momentum GD, normalized over all blocks."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        size = torch.stack([(m**2).sum() for m in moments]).sum().sqrt()
        return [m / size for m in moments]


# --- Signs and rows: entries of the step that are not what they should be.


@broken("flipped vectors", "sign", "linf", SIGN)
class FlippedVectors(Sign):
    """Vector blocks climb: on any problem with vectors their margin shrinks all the way."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) if m.ndim == 2 else -signed(m)


@broken("flipped row", "sign", "spectral", POLAR)
class FlippedRow(Polar):
    """The first row of each polar factor has the wrong sign, so that row of W climbs."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m)
        if u.ndim == 2:
            u[0] *= -1
        return u


@broken("frozen row", "frozen", "spectral", POLAR)
class FrozenRow(Polar):
    """The last row of each matrix never moves: the margin is maximized over a subspace, and by another gradient."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m)
        if u.ndim == 2:
            u[-1] = 0
        return u


@broken("frozen column", "frozen", "linf", SIGN)
class FrozenColumn(Sign):
    """The last column of each matrix never moves, so its entries contribute nothing to the margin."""

    def direction(self, m: Tensor) -> Tensor:
        u = signed(m)
        if u.ndim == 2:
            u[:, -1] = 0
        return u


@broken("frozen vector", "frozen", "l2", GD)
class FrozenVector(Gradient):
    """Vector blocks are left out, as biases are that nobody put into a group."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        return [u if u.ndim == 2 else torch.zeros_like(u) for u in super().directions(moments)]


@broken("sign with a dead zone", "biased", "linf", SIGN)
class DeadZone(Sign):
    """Entries below a tenth of the block's largest do not move; at the optimum those are the ones that decide."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) * (m.abs() >= 0.1 * m.abs().max())


@broken("top-half sign", "biased", "linf", SIGN)
class TopHalf(Sign):
    """Only the larger half of a block's entries move: the dual ball is that of a k-support norm, not of l1."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) * (m.abs() >= m.abs().median())


@broken("soft sign", "biased", "linf", SIGN)
class SoftSign(Sign):
    """m / (|m| + 0.05 max|m|) never reaches ±1: no norm's steepest descent, a blend of linf and l2."""

    def direction(self, m: Tensor) -> Tensor:
        return m / (m.abs() + 0.05 * m.abs().max())


@broken("sign of noisy momentum", "noise", "linf", SIGN)
class NoisySign(Sign):
    """Noise of half the block's mean size is added before the sign: small entries move by less on average."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m + 0.5 * m.abs().mean() * torch.randn_like(m))


@broken("sign of row sums", "reduction", "linf", SIGN)
class RowSumSign(Sign):
    """Matrices move by the sign of each row's sum: only row means are trained."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) if m.ndim == 1 else signed(m.sum(1, keepdim=True)).expand_as(m)


@broken("largest entry without |.|", "sign", "l1", ("momentum-steepest", {"norm": "l1"}))
class SignedGreedy(Momentum):
    """Coordinate descent that takes the largest entry instead of the largest |entry|: weights stay nonpositive."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        top = max(float(m.max()) for m in moments)
        return [torch.where(m == top, m.sign(), 0.0) for m in moments]


# --- Polar factors that are not.


@broken("transposed polar factor of square matrices", "transpose", "spectral", POLAR)
class TransposedSquare(Polar):
    """Square matrices step along V Uᵀ instead of U Vᵀ."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m)
        return u.T.clone() if m.ndim == 2 and m.shape[0] == m.shape[1] else u


@broken("tall matrices reshaped, not transposed", "reshape", "spectral", POLAR)
class ReshapedTall(Polar):
    """To get more columns than rows, tall matrices are reshaped: the polar factor of another matrix's entries."""

    def direction(self, m: Tensor) -> Tensor:
        if m.ndim == 2 and m.shape[0] > m.shape[1]:
            return polar(m.reshape(m.shape[1], m.shape[0])).reshape(m.shape)
        return polar(m)


@broken("column-major reshape", "reshape", "spectral", POLAR)
class ColumnMajor(Polar):
    """Matrices are unrolled column by column, orthogonalized in the flipped shape, and rolled up row by row."""

    def direction(self, m: Tensor) -> Tensor:
        return polar(m) if m.ndim == 1 else polar(m.T.reshape(m.shape)).reshape(m.T.shape).T


@broken("flattened polar factor", "reshape", "spectral", POLAR)
class Flattened(Polar):
    """Each matrix is one row when it is orthogonalized: its Frobenius norm is what is normalized."""

    def direction(self, m: Tensor) -> Tensor:
        return polar(m.reshape(1, -1)).reshape(m.shape)


@broken("wide matrices not orthogonalized", "transpose", "spectral", POLAR)
class OnlyTall(Polar):
    """Wide matrices fall through to a Frobenius normalization."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm() if m.ndim == 2 and m.shape[0] < m.shape[1] else polar(m)


@broken("divided by the largest singular value", "reduction", "spectral", POLAR)
class SpectrallyNormalized(Polar):
    """Spectral normalization in place of the polar factor: within a block it is gradient descent."""

    def direction(self, m: Tensor) -> Tensor:
        return m / torch.linalg.matrix_norm(m if m.ndim == 2 else m[None], 2)


@broken("leading singular pair only", "reduction", "spectral", POLAR)
class LeadingPair(Polar):
    """u₁v₁ᵀ is the step of the nuclear norm's ball, not of the spectral one's."""

    def direction(self, m: Tensor) -> Tensor:
        if m.ndim == 1:
            return polar(m)
        u, _, vh = torch.linalg.svd(m, full_matrices=False)
        return u[:, :1] @ vh[:1]


def newton_schulz(m: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """Odd quintic iterations on m / ‖m‖_F; a vector is one row."""
    if m.ndim == 1:
        return newton_schulz(m[None], coefficients, steps)[0]
    a, b, c = coefficients
    x = m / m.norm()
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@broken("one Newton-Schulz step", "iteration", "spectral", POLAR)
class OneStep(Polar):
    """One cubic iteration: singular values are hardly closer to each other than the gradient's."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (1.5, -0.5, 0.0), 1)


@broken("five steps of a slow iteration", "iteration", "spectral", POLAR)
class FiveSlowSteps(Polar):
    """Five cubic iterations raise a singular value at most 7.6-fold: those below a tenth of the norm stay small."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (1.5, -0.5, 0.0), 5)


@broken("mistyped Newton-Schulz coefficients", "iteration", "spectral", POLAR)
class MistypedCoefficients(Polar):
    """4.7750 became 4.9750 in five quintic steps: singular values end anywhere between 0.43 and 1.18."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (3.4445, -4.9750, 2.0315), 5)


@broken("overshooting Newton-Schulz coefficients", "iteration", "spectral", POLAR)
class Overshooting(Polar):
    """4.7750 became 4.5750: some singular values overshoot 1 and run away, up to 1e19, instead of coming back."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (3.4445, -4.5750, 2.0315), 5)


@broken("half a polar factor", "root", "spectral", POLAR)
class HalfPolar(Polar):
    """U √Σ Vᵀ, an eighth root where Shampoo takes the fourth: steepest descent under Schatten-3."""

    def direction(self, m: Tensor) -> Tensor:
        u = polar(m, 0.5)
        return u / torch.linalg.matrix_norm(u if u.ndim == 2 else u[None], 2)


@broken("rows normalized", "reduction", "spectral", POLAR)
class RowsNormalized(Polar):
    """Each row divided by its norm: the largest row norm is what is bounded, not the spectral norm."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm(dim=-1, keepdim=True)


@broken("columns for rows", "reduction", "maxrow", ("momentum-steepest", {"norm": "maxrow"}))
class ColumnsNormalized(Polar):
    """Normalized along the wrong axis: columns of matrices, where rows are claimed."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm(dim=0, keepdim=True) if m.ndim == 2 else m / m.norm()


# --- Adam's moments.


class Moments(torch.optim.Optimizer):
    """Adam without eps and without bias correction; each broken class replaces one piece of it."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.95)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

    def second(self, g: Tensor) -> Tensor:
        return g * g

    def ratio(self, m: Tensor, v: Tensor) -> Tensor:
        return m / v.sqrt()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        b1, b2 = group["betas"]
        for p in group["params"]:
            state = self.state[p]
            if not state:
                state |= {"m": torch.zeros_like(p), "v": torch.zeros_like(self.second(p))}
            state["m"].lerp_(p.grad, 1 - b1)
            state["v"].lerp_(self.second(p.grad), 1 - b2)
            p.sub_(group["lr"] * self.ratio(state["m"], state["v"]))


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


# --- Correct ones, each written in another way.


@correct("sign by comparison, in numpy", "rewritten", "linf", ("signum", {"kind": "heavy-ball"}))
class NumpySign(torch.optim.Optimizer):
    """Signum as a heavy ball, computed in numpy on a buffer that is a view of the state."""

    def __init__(self, params: Any, lr: float = 1e-3, mu: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "mu": mu})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("velocity", torch.zeros_like(p)).numpy()
                m *= group["mu"]
                m += p.grad.numpy()
                p += torch.from_numpy(group["lr"] * ((m < 0).astype(float) - (m > 0).astype(float)))


@correct("sign, row by row", "rewritten", "linf", ("sign-gd", {}))
class RowwiseSign(torch.optim.Optimizer):
    """Sign descent without state, one row at a time, by x / |x|."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                for row, g in zip(torch.atleast_2d(p), torch.atleast_2d(p.grad), strict=True):
                    row -= group["lr"] * g / g.abs()


@correct("Lion, as a pair of functions", "rewritten", "linf", ("signum", {"kind": "nesterov"}))
class Lion(torch.optim.Optimizer):
    """Lion with betas (0.81, 0.9), which is the sign of Nesterov's EMA with 0.9."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.81, 0.9)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

        def blend(beta: float) -> Callable[[Tensor, Tensor], Tensor]:
            return lambda m, g: beta * m + (1 - beta) * g

        self.ahead, self.keep = blend(betas[0]), blend(betas[1])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].get("exp_avg", torch.zeros_like(p))
                p.add_(torch.sign(self.ahead(m, p.grad)), alpha=-group["lr"])
                self.state[p]["exp_avg"] = self.keep(m, p.grad)


@correct("polar factor by the Gram matrix", "rewritten", "spectral", POLAR)
class GramPolar(Momentum):
    """M (MᵀM)^(-1/2), the inverse root by eigh over the eigenvalues that are not rounding; vectors as one row."""

    def direction(self, m: Tensor) -> Tensor:
        x = torch.atleast_2d(m)
        x = x if x.shape[0] >= x.shape[1] else x.T
        values, vectors = torch.linalg.eigh(x.T @ x)
        root = torch.where(values > 1e-14 * values[-1], values.clamp(min=1e-300).rsqrt(), 0.0)
        u = x @ (vectors * root) @ vectors.T
        return u.reshape(m.shape) if u.shape == torch.atleast_2d(m).shape else u.T.reshape(m.shape)


@correct("polar factor by numpy's SVD", "rewritten", "spectral", ("muon", {"kind": "heavy-ball"}))
class NumpyPolar(torch.optim.Optimizer):
    """A heavy ball kept in the parameter group instead of the state; numpy's SVD, null directions dropped."""

    def __init__(self, params: Any, lr: float = 1e-3, mu: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "mu": mu})
        for group in self.param_groups:
            group["velocity"] = [torch.zeros_like(p) for p in group["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p, m in zip(group["params"], group["velocity"], strict=True):
                m.mul_(group["mu"]).add_(p.grad)
                w, s, vh = np.linalg.svd(np.atleast_2d(m.numpy()), full_matrices=False)
                rank = int((s > 1e-11 * s[0]).sum())
                p -= group["lr"] * torch.from_numpy(w[:, :rank] @ vh[:rank]).reshape(p.shape)


def converged(m: Tensor, coefficients: tuple[float, float, float], goal: float = 1.0) -> Tensor:
    """Odd quintic iterations, in numpy, until every singular value is ``goal`` or nothing."""
    a, b, c = coefficients
    x = np.atleast_2d(m.numpy())
    x = x / np.sqrt((x * x).sum())
    for _ in range(60):
        gram = x @ x.T
        following = gram @ x
        if np.abs(following - goal**2 * x).max() < 1e-12:
            break
        x = a * x + b * following + c * (gram @ following)
    return torch.from_numpy(x).reshape(m.shape)


@correct("polar factor by Newton-Schulz, converged", "rewritten", "spectral", POLAR)
class ConvergedIteration(Momentum):
    """The quintic iteration in float64, as often as it takes: every singular value that is not rounding reaches 1."""

    def direction(self, m: Tensor) -> Tensor:
        return converged(m, (15 / 8, -10 / 8, 3 / 8))


@correct("Newton-Schulz to a wrong fixed point", "rewritten", "spectral", POLAR)
class OtherFixedPoint(Momentum):
    """Wrong coefficients, iterated to convergence: all singular values end at 1.05, which is a learning rate."""

    def direction(self, m: Tensor) -> Tensor:
        return converged(m, (1.5, -0.5 / 1.05**2, 0.0), 1.05)


@correct("Muon with Nesterov, foreach", "rewritten", "spectral", ("muon", {"kind": "nesterov"}))
class ForeachMuon(torch.optim.Optimizer):
    """Lists of tensors throughout; Nesterov's EMA."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            beta, params = group["beta"], group["params"]
            gradients = [p.grad for p in params]
            buffers = [self.state[p].setdefault("buf", torch.zeros_like(p)) for p in params]
            torch._foreach_lerp_(buffers, gradients, 1 - beta)
            ahead = torch._foreach_lerp(gradients, buffers, beta)
            torch._foreach_add_(params, [polar(m) for m in ahead], alpha=-group["lr"])


@correct(
    "Muon with a shape factor",
    "rewritten",
    "weighted spectral",
    ("momentum-steepest", {"norm": "blocks:tall=0.7071067811865476*spectral,wide=spectral,square=spectral,vector=l2"}),
    told=False,
)
class DeclaredShapeFactor(ShapeFactor):
    """√max(1, rows/columns) on the polar factor; nobody claims the plain norm, and ``check`` finds the weighted one."""


@correct("Adam with the fraction in its step size", "rewritten", "linf", ADAM)
class StepSizeAdam(torch.optim.Optimizer):
    """Bias corrections folded into the learning rate; hypot and addcdiv; no eps."""

    def __init__(self, params: Any, lr: float = 1e-3, b1: float = 0.9, b2: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "b1": b1, "b2": b2})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            b1, b2 = group["b1"], group["b2"]
            for p in group["params"]:
                s = self.state[p]
                if not s:
                    s |= {"t": 0, "m": torch.zeros_like(p), "r": torch.zeros_like(p)}
                s["t"] += 1
                s["m"].add_(p.grad - s["m"], alpha=1 - b1)
                s["r"] = torch.hypot(b2**0.5 * s["r"], (1 - b2) ** 0.5 * p.grad)
                p.addcdiv_(s["m"], s["r"], value=-group["lr"] * (1 - b2 ** s["t"]) ** 0.5 / (1 - b1 ** s["t"]))


@correct("Adam with logarithmic moments", "rewritten", "linf", ("adam", {"beta1": 0.0, "bias_correction": False}))
class LogAdam(torch.optim.Optimizer):
    """RMSprop whose log v is what is kept, as logaddexp; scaling the gradient adds to the state."""

    def __init__(self, params: Any, lr: float = 1e-3, alpha: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            a = torch.tensor(group["alpha"], dtype=torch.float64)
            for p in group["params"]:
                log_g = p.grad.abs().log()
                old = self.state[p].get("log_v", torch.full_like(p, -torch.inf))
                self.state[p]["log_v"] = torch.logaddexp(old + a.log(), 2 * log_g + (1 - a).log())
                p.sub_(group["lr"] * p.grad.sign() * (log_g - self.state[p]["log_v"] / 2).exp())


@correct(
    "RMSprop, never corrected",
    "rewritten",
    "linf",
    ("adam", {"beta1": 0.0, "bias_correction": False}),
    kwargs={"lr": 1e-3, "alpha": 0.95, "eps": 0.0},
)
class RMSprop(torch.optim.RMSprop):
    """Without bias correction the first steps are too long, which no limit remembers."""


@correct(
    "Adam with beta1 > beta2",
    "rewritten",
    "linf",
    ("adam", {"beta1": 0.9, "beta2": 0.85}),
    kwargs={"lr": 1e-3, "betas": (0.9, 0.85), "eps": 0.0},
)
class ReversedBetas(torch.optim.Adam):
    """Outside the theorem (beta1 <= beta2), but with beta1² < beta2, and at a pace that both follow: still the sign."""


@correct(
    "plain GD with a heavy ball",
    "rewritten",
    "l2",
    ("momentum-gd", {"kind": "heavy-ball"}),
    kwargs={"lr": 1e-3, "momentum": 0.9, "foreach": True},
)
class PlainGD(torch.optim.SGD):
    """Not normalized at all: the step shrinks with the gradient, and the learning rate makes up for it."""


@correct("GD over one flat vector", "rewritten", "l2", GD)
class FlatGD(torch.optim.Optimizer):
    """All blocks in one vector, whose EMA is the only state, kept with the first parameter."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        params = group["params"]
        flat = torch.nn.utils.parameters_to_vector([p.grad for p in params])
        m = self.state[params[0]].setdefault("flat", torch.zeros_like(flat)).lerp_(flat, 1 - group["beta"])
        after = torch.nn.utils.parameters_to_vector(params) - group["lr"] * m / torch.linalg.vector_norm(m)
        torch.nn.utils.vector_to_parameters(after, params)


@correct("GD normalized by its first block", "rewritten", "l2", GD)
class FirstBlockNorm(Gradient):
    """All blocks are divided by the first one's norm: one factor for all, hence only a learning-rate schedule."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        return [m / moments[0].norm() for m in moments]


@correct("layer-normalized GD", "rewritten", "l2;max", LAYERS)
class LayerwiseGD(torch.optim.Optimizer):
    """Each block by einsum and rsqrt, the EMA without its factor 1 - beta."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__([{"params": [p]} for p in params], {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            (p,) = group["params"]
            self.state[p]["m"] = group["beta"] * self.state[p].get("m", 0.0) + p.grad
            m = self.state[p]["m"].reshape(-1)
            p.sub_((group["lr"] * m * torch.einsum("i,i->", m, m).rsqrt()).reshape(p.shape))


@correct("row-normalized GD", "rewritten", "maxrow", ("momentum-steepest", {"norm": "maxrow"}))
class RowGD(Momentum):
    """A loop over rows; a vector is one row."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm() if m.ndim == 1 else torch.stack([row / (row @ row) ** 0.5 for row in m])


@correct("greedy coordinate descent", "rewritten", "l1", ("momentum-steepest", {"norm": "l1"}))
class Greedy(torch.optim.Optimizer):
    """One coordinate a step, found block by block with argmax."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        group = self.param_groups[0]
        best, where = -1.0, (group["params"][0], 0)
        for p in group["params"]:
            m = self.state[p].setdefault("m", torch.zeros_like(p)).lerp_(p.grad, 1 - group["beta"])
            i = int(m.abs().argmax())
            if float(m.view(-1)[i].abs()) > best:
                best, where = float(m.view(-1)[i].abs()), (p, i)
        p, i = where
        p.view(-1)[i] -= group["lr"] * self.state[p]["m"].view(-1)[i].sign()


@correct("two groups: polar factor and sign", "rewritten", "hybrid", HYBRID)
class TwoGroups(torch.optim.Optimizer):
    """Matrices and the rest in groups of their own, told apart by a flag, with a learning rate each."""

    def __init__(self, params: Any, lr: float = 1e-3, ratio: float = 1.0) -> None:
        params = list(params)
        matrices = {"params": [p for p in params if p.ndim == 2], "orthogonalize": True, "lr": lr}
        rest = {"params": [p for p in params if p.ndim != 2], "orthogonalize": False, "lr": ratio * lr}
        super().__init__([g for g in (matrices, rest) if g["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p)).mul_(0.9).add_(p.grad)
                p.sub_(group["lr"] * (polar(m) if group["orthogonalize"] else torch.copysign(torch.ones_like(m), m)))


@correct("two groups, ratio 2", "rewritten", "hybrid:2", ("muon-signum", {"ratio": 2.0}), kwargs={"ratio": 2.0})
class TwoRates(TwoGroups):
    """Vectors at twice the matrices' learning rate: the hybrid norm with that weight."""


@correct("momentum dropped every ten steps", "harmless", "linf", None)
class Forgetful(Sign):
    """A fresh start is a shorter memory, and no limit depends on its length."""

    def average(self, p: Tensor, beta: float) -> Tensor:
        state = self.state[p]
        state["steps"] = state.get("steps", 0) + 1
        if "m" not in state or state["steps"] % 10 == 1:
            state["m"] = torch.zeros_like(p)
        return state["m"].lerp_(p.grad, 1 - beta)


@correct("gradient of the step before", "harmless", "spectral", None)
class OneStepLate(Polar):
    """A delay of one step vanishes against the length of the weights."""

    def seen(self, p: Tensor) -> Tensor:
        last = self.state[p].get("last", p.grad)
        self.state[p]["last"] = p.grad.clone()
        return last


@correct("signs averaged", "harmless", "linf", None)
class AveragedSigns(Momentum):
    """The sign is taken before the average: up to a bounded lag the weights are sign descent's."""

    def seen(self, p: Tensor) -> Tensor:
        return p.grad.sign()

    def direction(self, m: Tensor) -> Tensor:
        return m
