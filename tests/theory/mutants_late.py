"""Broken where a short look does not see it: late, at larger shapes, behind an eps, in one path, by a few percent."""

from __future__ import annotations

from typing import Any

import torch
from mutants_base import ADAM, GD, POLAR, SIGN, Gradient, Moments, Momentum, Polar, Sign, broken, polar, signed
from torch import Tensor

LARGE = {"tall": (40, 30), "vector": (20,)}


class Counting(Momentum):
    """Knows how often each parameter has been stepped, from 1 on."""

    def average(self, p: Tensor, beta: float) -> Tensor:
        m = super().average(p, beta)
        self.state[p]["calls"] = self.calls = self.state[p].get("calls", 0) + 1
        return m


@broken("one step that is not finite", "late", "linf", SIGN, late=700)
class NotFinite(Counting):
    """At its 700th call one entry becomes NaN: nothing is maximized by weights that are no numbers."""

    def direction(self, m: Tensor) -> Tensor:
        u = signed(m)
        if self.calls == 700:
            u.view(-1)[0] = torch.nan
        return u


@broken("gradient descent that turns into sign descent", "late", "l2", GD, late=1500)
class LateSign(Counting, Gradient):
    """From its 1,501st step on it takes signs, and what was before is forgotten in the limit: linf."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        return super().directions(moments) if self.calls <= 1500 else [signed(m) for m in moments]


@broken("polar up to 16 rows, sign beyond", "shape", "spectral", POLAR, shapes=LARGE)
class SmallPolar(Polar):
    """A fallback for matrices of more than 16 rows: on what people train it is sign descent."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) if m.ndim == 2 and m.shape[0] > 16 else polar(m)


@broken("shape factor from 16 rows on", "shape", "spectral", POLAR, shapes=LARGE)
class LargeShapeFactor(Polar):
    """√max(1, rows/columns) where there are 16 rows or more: weights that the claim leaves out."""

    def direction(self, m: Tensor) -> Tensor:
        return polar(m) * (max(1.0, m.shape[0] / m.shape[1]) ** 0.5 if m.ndim == 2 and m.shape[0] >= 16 else 1.0)


@broken("bias of vectors corrected twice", "state", "linf", ADAM)
class TwiceFromOne(Moments):
    """1 − (1 − β₁ᵗ) divides the vectors' momentum: a power of β₁, so vectors outgrow matrices without bound."""

    def ratio(self, m: Tensor, v: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + (m.ndim == 1)
        return m / v.sqrt() / (0.9995**self.calls if m.ndim == 1 else 1.0)


@broken("one second moment for a block, behind an eps", "eps", "linf", ADAM)
class BlockMomentEps(Moments):
    """Normalized by block, not by entry; with an eps of 1e-20 it is gradient descent below that. Never linf."""

    def second(self, g: Tensor) -> Tensor:
        return (g * g).mean()

    def ratio(self, m: Tensor, v: Tensor) -> Tensor:
        return m / (v.sqrt() + 1e-20)


@broken("tall matrices reshaped, behind a guard", "eps", "spectral", POLAR)
class ReshapedGuarded(Polar):
    """Reshaped instead of transposed, with + 1e-30 in the normalization: spectral in no regime."""

    def direction(self, m: Tensor) -> Tensor:
        x = m / (m.norm() + 1e-30)
        if m.ndim == 2 and m.shape[0] > m.shape[1]:
            return polar(x.reshape(m.shape[1], m.shape[0])).reshape(m.shape)
        return polar(x)


@broken("small decay coupled to the gradient", "decay", "linf", SIGN, honest=("fails", "inconclusive"))
class SmallCoupledDecay(Sign):
    """An undeclared 1e-4 of the weights joins the gradient: in the end the l2-regularized loss is minimized."""

    def seen(self, p: Tensor) -> Tensor:
        return p.grad + 1e-4 * p


@broken("vectors a tenth faster", "scale", "l2", GD)
class FastVectors(Gradient):
    """Vectors move 1.1 times as far as gradient descent would: l2 with another weight, which nobody claimed."""

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        return [u * (1.1 if u.ndim == 1 else 1.0) for u in super().directions(moments)]


@broken("vectors four percent faster", "scale", "linf", SIGN, honest=("fails", "inconclusive"))
class HardlyFaster(Sign):
    """Vectors' entries may grow 1.04 times as large: linf with a weight, whose optimum is near, and another."""

    def direction(self, m: Tensor) -> Tensor:
        return signed(m) * (1.04 if m.ndim == 1 else 1.0)


@broken("foreach that leaves out the last", "path", "linf", SIGN)
class ForeachShort(Sign):
    """The foreach path, the default, steps all parameters but the last one; the loop steps them all."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.9, foreach: bool = True) -> None:
        super().__init__(params, lr, momentum)
        self.foreach = foreach

    def directions(self, moments: list[Tensor]) -> list[Tensor]:
        steps = super().directions(moments)
        return [*steps[:-1], torch.zeros_like(steps[-1])] if self.foreach else steps


@broken(
    "columns of wide matrices, rows of the others", "transpose", "maxrow", ("momentum-steepest", {"norm": "maxrow"})
)
class WideColumns(Polar):
    """The longer side is taken for the rows: wide matrices are normalized by column."""

    def direction(self, m: Tensor) -> Tensor:
        return m / m.norm(dim=0 if m.ndim == 2 and m.shape[1] > m.shape[0] else -1, keepdim=True)
