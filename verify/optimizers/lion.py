"""Lion: the sign of one average of gradients, another kept."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.optimizers.core.base import Optimizer, State, check_beta, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, zeros_like


@dataclass(frozen=True)
class Lion(Optimizer):
    """Step along lmo(β₁ m + (1−β₁) g), −sign for ℓ∞; then m ← β₂ m + (1−β₂) g.

    With β₁ = β₂ it is Signum. Its decoupled weight decay is that of :mod:`decay` (``decayed`` with optimizer=lion).
    """

    beta1: float = 0.9
    beta2: float = 0.99

    def __post_init__(self) -> None:
        check_beta(self.beta1, "beta1")
        check_beta(self.beta2, "beta2")

    @property
    @override
    def norm(self) -> Norm:
        return get_norm("linf")

    @property
    @override
    def recursion(self) -> str:
        return (
            f"θ ← θ − η sign({self.beta1:g} m + {1 - self.beta1:.3g} g);  m ← {self.beta2:g} m + {1 - self.beta2:.3g} g"
        )

    @property
    @override
    def source(self) -> str:
        return "Chen et al. 2302.06675; momentum steepest descent as in Gronich & Vardi 2602.16340, two averages"

    @property
    @override
    def memory(self) -> float:
        return 1.0 / (1.0 - self.beta2)

    @property
    @override
    def lag_limit(self) -> float:
        return 1.0 - self.beta2

    @override
    def init(self, theta: Blocks) -> State:
        return zeros_like(theta)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        ahead = combine(state, self.beta1, gradient, 1.0 - self.beta1)
        return self.norm.lmo(ahead.blocks), combine(state, self.beta2, gradient, 1.0 - self.beta2)


@register("lion", "Lion: linf (beta1=0.9, beta2=0.99)")
def lion(beta1: float = 0.9, beta2: float = 0.99) -> Optimizer:
    """Lion without weight decay."""
    return Lion(beta1, beta2)
