"""What Adam's relatives are far below their eps: gradient descent with their momentum, normalized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_betas, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, zeros_like
from maxmargin.verify.optimizers.core.moments import direction_of, times
from maxmargin.verify.optimizers.relatives.nadam import Product, momentum_of, multiplied


@register("below-eps", "NAdam, ADOPT or Adan far below its eps, normalized, no theorem (beta1=0.9, kind=nadam)")
@dataclass(frozen=True)
class BelowEps(Optimizer):
    """The numerator of a relative of Adam, whose denominator is its eps; divided by its ℓ2 length.

    Dividing is a schedule of learning rates, which reaches large margins. *nadam*: the look-ahead of NAdam; *adopt*:
    m ← β₁ m + (1−β₁) g from the second gradient on; *adan*: m̂ + β₂ d̂ of Adan, *adan-later* without the first
    gradient; each as in the file of that name. (Adam's and Adamax's are ``momentum-gd``.) A momentum's theorem
    (Gronich & Vardi 2602.16340) is of constant weights; none is claimed for these.
    """

    beta1: float = 0.9
    beta2: float = 0.92
    momentum_decay: float = 4e-3
    kind: Literal["nadam", "adopt", "adan", "adan-later"] = "nadam"
    product: Product = "float64"

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2)

    @override
    def facts(self) -> Facts:
        adan = self.kind.startswith("adan")
        slowest = max(self.beta1, self.beta2) if adan else self.beta1
        step = {
            "nadam": f"((1−μ_t) g/(1−Π_t) + μ_(t+1) m/(1−Π_(t+1))), momentum_decay {self.momentum_decay:g}",
            "adopt": "m, from the second step on",
        }.get(self.kind, f"(m̂ + {self.beta2:g} d̂) (d: the gradient's changes), {self.kind}")
        return Facts(
            norm=None,
            pace_norm="l2",
            recursion=f"m ← {self.beta1:g} m + {1 - self.beta1:.3g} g;  θ ← θ − η {step}, normalized",
            source="the momentum alone: Gronich & Vardi 2602.16340; Dozat 2016; 2411.02853; 2208.06677",
            memory=1.0 / (1.0 - slowest),
            lag_limit=1.0 - slowest,
        )

    @override
    def init(self, theta: Blocks) -> State:
        zero = zeros_like(theta)
        if self.kind == "nadam":
            return zero, torch.ones_like(zero.log_scale)
        return (zero,) if self.kind == "adopt" else (zero, zero, zero)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        later = torch.where(step > 1.0, torch.ones_like(step), torch.zeros_like(step))
        counted = times(gradient, later) if self.kind in ("adopt", "adan-later") else gradient
        first = combine(state[0], self.beta1, counted, 1.0 - self.beta1)
        if self.kind == "adopt":
            return direction_of(first, True), (first,)
        if self.kind == "nadam":
            now, then = (momentum_of(self.beta1, self.momentum_decay, t) for t in (step, step + 1.0))
            product = multiplied(state[1], now, self.product)
            ahead = times(first, then / (1.0 - product * then))
            top = combine(ahead, 1.0, times(gradient, (1.0 - now) / (1.0 - product)), 1.0)
            return direction_of(top, True), (first, product)
        change = times(combine(times(state[2], -1.0), 1.0, gradient, 1.0), later)
        changes = combine(state[1], self.beta2, change, 1.0 - self.beta2)
        c1, c2 = (1.0 - torch.pow(b, step) for b in (self.beta1, self.beta2))
        top = combine(times(changes, 1.0 / c2), self.beta2, times(first, 1.0 / c1), 1.0)
        return direction_of(top, True), (first, changes, gradient)
