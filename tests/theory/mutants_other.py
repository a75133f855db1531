"""Correct optimizers whose answer is another than one plain norm of the first rank: regimes, odd weights, families."""

from __future__ import annotations

from typing import Any

import torch
from mutants_base import (
    ADAM,
    HYBRID,
    SIGN,
    Moments,
    Momentum,
    Polar,
    Sign,
    correct,
    newton_schulz,
    polar,
    signed,
)
from mutants_correct import TwoGroups
from torch import Tensor

EVERY = "tall={0},wide={0},square={1},vector={2}"


@correct(
    "Adam as it ships",
    "regimes",
    "linf",
    ADAM,
    kwargs={"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8},
    answers=("holds in regimes",),
)
class ShippedAdam(torch.optim.Adam):
    """linf while gradients are above its eps of 1e-8, and gradient descent, hence l2, below it."""


@correct(
    "RMSprop with an eps",
    "regimes",
    "linf",
    ("adam", {"beta1": 0.0, "bias_correction": False}),
    kwargs={"lr": 1e-3, "alpha": 0.95, "eps": 1e-10},
    answers=("holds in regimes",),
)
class ShippedRMSprop(torch.optim.RMSprop):
    """The same without momentum."""


@correct(
    "Signum, vectors four percent faster",
    "odd weights",
    "weighted linf",
    ("momentum-steepest", {"norm": "blocks:" + EVERY.format("linf", "linf", "0.9615384615384616*linf")}),
    told=False,
)
class WeightedSign(Sign):
    """Nobody claims the plain norm: linf in which a vector's entry counts for 1/1.04."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) * (1.04 if m.ndim == 1 else 1.0)


@correct(
    "Muon, square matrices three percent slower",
    "odd weights",
    "weighted spectral",
    ("momentum-steepest", {"norm": "blocks:" + EVERY.format("spectral", "1.0309278350515463*spectral", "l2")}),
    told=False,
)
class WeightedPolar(Polar):
    """Spectral in which square matrices count for 1/0.97."""

    def direction(self, m: Tensor) -> Tensor:
        return polar(m) * (0.97 if m.ndim == 2 and m.shape[0] == m.shape[1] else 1.0)


@correct("two groups, ratio 1.37", "odd weights", "hybrid:1.37", (HYBRID[0], {"ratio": 1.37}), kwargs={"ratio": 1.37})
class OddRates(TwoGroups):
    """Vectors at 1.37 times the matrices' learning rate."""


@correct("entrywise-3 descent", "p-norm", "entrywise:3", ("momentum-steepest", {"norm": "entrywise:3"}))
class CubicNorm(Momentum):
    """sign(m) √|m| over all blocks, the steepest direction under (Σ|w|³)^(1/3), normalized there."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        steps = [m.sign() * m.abs().sqrt() for m in moments]
        size = torch.stack([(u.abs() ** 3).sum() for u in steps]).sum() ** (1 / 3)
        return [u / size for u in steps]


@correct("Schatten-4 descent", "p-norm", "schatten:4", ("momentum-steepest", {"norm": "schatten:4"}))
class QuarticNorm(Momentum):
    """U Σ^(1/3) Vᵀ, the steepest direction under the l4 norm of all blocks' singular values, normalized there."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        steps = [polar(m, 1 / 3) for m in moments]
        fourths = [(torch.linalg.svdvals(torch.atleast_2d(u)) ** 4).sum() for u in steps]
        return [u / torch.stack(fourths).sum() ** 0.25 for u in steps]


@correct("LARS without decay", "layer-wise", "l2;max", None, told=False, answers=("data-dependent",))
class LayerRates(Momentum):
    """Each block's step is as long as its weights: layer-wise l2, whose weights are settled during training."""

    def move(self, p: Tensor, u: Tensor, lr: float) -> None:
        p.sub_(lr * p.norm() * u)

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm()


@correct("sums of squares, by hand", "state-dependent", "l2", None, told=False, answers=("data-dependent",))
class SumsOfSquares(torch.optim.Optimizer):
    """Adagrad without eps: sums of vanishing squares converge, so it is gradient descent in a metric of its past."""

    def __init__(self, params: Any, lr: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                total = self.state[p].setdefault("total", torch.zeros_like(p)).add_(p.grad**2)
                p.sub_(group["lr"] * p.grad * total.rsqrt())


@correct("five quintic steps", "factor", "spectral", None, answers=("holds to a factor",))
class FiveSteps(Polar):
    """Keller Jordan's coefficients: singular values between 0.68 and 1.13, so a share of the spectral margin."""

    def direction(self, m: Tensor) -> Tensor:
        return newton_schulz(m, (3.4445, -4.7750, 2.0315), 5)


@correct("weights kept in float32", "harmless", "linf", None)
class SingleWeights(Sign):
    """What is added is rounded to 24 bits, which is no decay and no change of the learning rate."""

    def move(self, p: Tensor, u: Tensor, lr: float) -> None:
        p.copy_((p.float() - lr * u.float()).to(p.dtype))


@correct("momentum kept in float32", "harmless", "linf", None)
class SingleMomentum(Sign):
    """The average is rounded to 24 bits: the sign of an entry changes only where it hardly has one."""

    def average(self, p: Tensor, beta: float) -> Tensor:
        state = self.state[p]
        m = state.get("m", torch.zeros_like(p, dtype=torch.float32))
        state["m"] = beta * m + (1 - beta) * self.seen(p).float()
        return state["m"].to(p.dtype)


@correct("sign descent with a schedule of its own", "schedule", "linf", SIGN)
class OwnSchedule(Sign):
    """The learning rate is divided by √t inside: a choice of learning rates like any other."""

    def move(self, p: Tensor, u: Tensor, lr: float) -> None:
        self.state[p]["t"] = self.state[p].get("t", 0) + 1
        p.sub_(lr * self.state[p]["t"] ** -0.5 * u)


@correct("clipped by the norm of all gradients", "harmless", "l2", None)
class NormClipped(torch.optim.Optimizer):
    """Gradients longer than 1 are cut to length 1, all blocks by one factor: gradient descent."""

    def __init__(self, params: Any, lr: float = 1e-1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        params = [p for group in self.param_groups for p in group["params"]]
        size = torch.stack([p.grad.norm() for p in params]).norm()
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad / size.clamp(min=1.0))


@correct("Adam in another order", "rewritten", "linf", ADAM)
class RootsFirst(Moments):
    """Bias corrections on the moments themselves, divided entry by entry with reciprocals."""

    def ratio(self, m: Tensor, v: Tensor) -> Tensor:
        return v.reciprocal().sqrt().mul(m)


@correct("normalized gradients averaged", "harmless", "linf", None)
class LaProp(torch.optim.Optimizer):
    """Each gradient is divided by √v before the average: up to a bounded lag the weights are Adam's."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.95)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state |= {"m": torch.zeros_like(p), "v": torch.zeros_like(p), "t": 0}
                state["t"] += 1
                state["v"].lerp_(p.grad**2, 1 - b2)
                state["m"].lerp_(p.grad / (state["v"] / (1 - b2 ** state["t"])).sqrt(), 1 - b1)
                p.sub_(group["lr"] * state["m"])
