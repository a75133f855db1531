"""NAdam: Adam that looks one step of its momentum ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.verify.optimizers.core.base import Facts, OptimizerError, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, safe_ratio, zeros_like
from maxmargin.verify.optimizers.core.moments import times
from maxmargin.verify.optimizers.core.two_moments import Moments, TwoMoments

Product = Literal["float64", "float32"]


def momentum_of(beta: float, decay: float, step: Tensor) -> Tensor:
    """μ_t = β (1 − 0.96^(t · decay) / 2)."""
    return beta * (1.0 - 0.5 * torch.pow(0.96, step * decay))


def multiplied(product: Tensor, factor: Tensor, dtype: Product) -> Tensor:
    """Their product, rounded as that of two numbers of the type."""
    if dtype == "float64":
        return product * factor
    return (product * factor.to(torch.float32).to(factor.dtype)).to(torch.float32).to(factor.dtype)


class Lookahead(NamedTuple):
    """Adam's moments, and the product of all μ so far."""

    moments: Moments
    product: Tensor


@register(
    "nadam", "NAdam, no theorem (beta1=0.9, beta2=0.95, eps=0, momentum_decay=0.004, scheduled=true, jointly=false)"
)
@dataclass(frozen=True)
class NAdam(TwoMoments):
    """Adam's m and v;  direction = −((1−μ_t) g/(1−Π_t) + μ_{t+1} m/(1−Π_{t+1})) / (√v̂ + eps), 0/0 := 0.

    Π_t is the product of μ_1 … μ_t. As in ``torch.optim.NAdam``, μ_t = β₁ (1 − 0.96^(t · momentum_decay) / 2); with
    ``scheduled=False`` it is β₁ itself (Dozat 2016, algorithm 8 with a constant μ). torch keeps Π in its default
    type, mostly float32 (``product``), which shows in the eighth digit of a step. With ``jointly`` both g and m are
    divided by 1−Π_t (the NAdamW of others). A constant gradient makes steps along its signs, as Adam's; the theorems
    on Adam do not speak of the look-ahead, so no norm is claimed.
    """

    momentum_decay: float = 4e-3
    scheduled: bool = True
    product: Product = "float64"
    jointly: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.momentum_decay >= 0:
            raise OptimizerError(f"momentum_decay is {self.momentum_decay}; it must be a number >= 0")

    @override
    def facts(self) -> Facts:
        mu = f"{self.beta1:g} (1 − 0.96^({self.momentum_decay:g} t)/2)" if self.scheduled else f"{self.beta1:g}"
        kept = ", Π in float32" if self.product == "float32" else ""
        later = "t" if self.jointly else "(t+1)"
        return self.told(
            "{m} g,  {v} g²;  "
            f"θ ← θ − η ((1−μ_t) g/(1−Π_t) + μ_(t+1) m/(1−Π_{later}))/(√v̂ + {{eps}}), μ_t = {mu}{kept}",
            "Dozat 2016; Adam's theorem, Gronich & Vardi 2602.16340, does not speak of it",
        )

    @override
    def init(self, theta: Blocks) -> State:
        zero = zeros_like(theta)
        return Lookahead(Moments(zero, zero), torch.ones_like(zero.log_scale))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first, root = moments = self.averaged(state.moments, gradient)
        now, then = self._mu(step), self._mu(step + 1.0)
        product = multiplied(state.product, now, self.product)
        ahead = times(first, then / (1.0 - (product if self.jointly else product * then)))
        top = combine(ahead, 1.0, times(gradient, (1.0 - now) / (1.0 - product)), 1.0)
        corrected = times(root, 1.0 / self.corrections(step)[1])
        ratio = safe_ratio(top, corrected, self.eps)
        return {k: -r for k, r in ratio.items()}, Lookahead(moments, product)

    def _mu(self, step: Tensor) -> Tensor:
        if not self.scheduled:
            return torch.full_like(step, self.beta1)
        return momentum_of(self.beta1, self.momentum_decay, step)
