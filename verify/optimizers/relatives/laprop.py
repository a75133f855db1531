"""LaProp: a momentum of normalized gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.verify.optimizers.core.base import Facts, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine_rms, safe_ratio, zeros_like
from maxmargin.verify.optimizers.core.moments import times
from maxmargin.verify.optimizers.core.two_moments import TwoMoments
from maxmargin.verify.optimizers.rmsprop import Averages


@register("laprop", "LaProp, no theorem (beta1=0.9, beta2=0.95, eps=0)")
@dataclass(frozen=True)
class LaProp(TwoMoments):
    """v ← β₂ v + (1−β₂) g²,  m ← β₁ m + (1−β₁) g / ((√v + eps)/√(1−β₂^t)),  direction = −m̂, 0/0 := 0.

    Where the learning rate changes, authors' codes differ (it may be inside m); here it is outside. The eps is added
    before the correction, as in ``pytorch_optimizer``. A constant gradient makes steps along its signs; a momentum of
    normalized steps is outside the theorems on Adam, so no norm is claimed.
    """

    @override
    def facts(self) -> Facts:
        return self.told(
            f"{{v}} g²,  {{m}} g √(1 − {self.beta2:g}^t)/(√v + {{eps}});  θ ← θ − η m̂",
            "Ziyin, Wang & Ueda 2002.04839",
            lag_limit=(1.0 - self.beta2) / 2,
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Averages(zeros_like(theta), scale(theta, 0.0))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        root = combine_rms(state.root, self.beta2, gradient, 1.0 - self.beta2)
        c1, c2 = self.corrections(step)
        ratio = safe_ratio(times(gradient, c2), root, self.eps)
        velocity = {k: self.beta1 * b + (1.0 - self.beta1) * ratio[k] for k, b in state.velocity.items()}
        return {k: -b / c1 for k, b in velocity.items()}, Averages(root, velocity)
