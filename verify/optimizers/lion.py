"""Lion: the sign of one average of gradients, another kept."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from maxmargin.verify.optimizers.core.base import Facts, State, check_betas, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine
from maxmargin.verify.optimizers.core.moments import OneMoment


@register("lion", "Lion: linf (beta1=0.9, beta2=0.99)")
@dataclass(frozen=True)
class Lion(OneMoment):
    """Step along lmo(β₁ m + (1−β₁) g), −sign for ℓ∞; then m ← β₂ m + (1−β₂) g.

    With β₁ = β₂ it is Signum. Its decoupled weight decay is that of :mod:`decay` (``decayed`` with optimizer=lion).
    """

    beta1: float = 0.9
    beta2: float = 0.99

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2)

    @override
    def facts(self) -> Facts:
        return Facts(
            norm="linf",
            recursion=(
                f"θ ← θ − η sign({self.beta1:g} m + {1 - self.beta1:.3g} g);  "
                f"m ← {self.beta2:g} m + {1 - self.beta2:.3g} g"
            ),
            source="Chen et al. 2302.06675; momentum steepest descent as in Gronich & Vardi 2602.16340, two averages",
            memory=1.0 / (1.0 - self.beta2),
            lag_limit=1.0 - self.beta2,
        )

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        ahead = combine(state, self.beta1, gradient, 1.0 - self.beta1)
        return self.pace_norm.lmo(ahead.blocks), combine(state, self.beta2, gradient, 1.0 - self.beta2)
