"""AdaBelief: Adam divided by how far gradients are from their own average."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import scale
from maxmargin.verify.optimizers.core.base import Facts, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, combine_rms, safe_ratio
from maxmargin.verify.optimizers.core.moments import times
from maxmargin.verify.optimizers.core.two_moments import Moments, TwoMoments


@register("adabelief", "AdaBelief without eps and rectification, no theorem (beta1=0.9, beta2=0.95)")
@dataclass(frozen=True)
class AdaBelief(TwoMoments):
    """m ← β₁ m + (1−β₁) g,  s ← β₂ s + (1−β₂) (g − m)²,  direction = −m̂ / √ŝ, 0/0 := 0.

    A constant gradient is not normalized: g − m falls to 0 and steps grow without end, which an eps of the original
    bounds. There is no length of a settled step, and no norm is claimed.
    """

    eps: float = field(default=0.0, init=False)

    @override
    def facts(self) -> Facts:
        return self.told(
            f"{{m}} g,  s ← {self.beta2:g} s + {1 - self.beta2:.3g} (g − m)²;  θ ← θ − η m̂/√ŝ",
            "Zhuang et al. 2010.07468, algorithm 2 with its eps 0",
        )

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first = combine(state.first, self.beta1, gradient, 1.0 - self.beta1)
        root = combine_rms(state.root, self.beta2, combine(times(first, -1.0), 1.0, gradient, 1.0), 1.0 - self.beta2)
        c1, c2 = self.corrections(step)
        return scale(safe_ratio(times(first, 1.0 / c1), times(root, 1.0 / c2)), -1.0), Moments(first, root)
