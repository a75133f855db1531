"""LaProp: a momentum of normalized gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_betas, check_eps, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine_rms, safe_ratio, zeros_like
from maxmargin.verify.optimizers.core.moments import times
from maxmargin.verify.optimizers.rmsprop import Averages


@register("laprop", "LaProp, no theorem (beta1=0.9, beta2=0.95, eps=0)")
@dataclass(frozen=True)
class LaProp(Optimizer):
    """v ← β₂ v + (1−β₂) g²,  m ← β₁ m + (1−β₁) g / ((√v + eps)/√(1−β₂^t)),  direction = −m̂, 0/0 := 0.

    Where the learning rate changes, authors' codes differ (it may be inside m); here it is outside. The eps is added
    before the correction, as in ``pytorch_optimizer``. A constant gradient makes steps along its signs; a momentum of
    normalized steps is outside the theorems on Adam, so no norm is claimed.
    """

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 0.0

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2)
        check_eps(self.eps)

    @override
    def facts(self) -> Facts:
        return Facts(
            norm=None,
            pace_norm="linf",
            recursion=(
                f"v ← {self.beta2:g} v + {1 - self.beta2:.3g} g²,  "
                f"m ← {self.beta1:g} m + {1 - self.beta1:.3g} g √(1 − {self.beta2:g}^t)/(√v + {self.eps:g});  "
                "θ ← θ − η m̂"
            ),
            source="Ziyin, Wang & Ueda 2002.04839",
            memory=1.0 / (1.0 - max(self.beta1, self.beta2)),
            lag_limit=(1.0 - self.beta2) / 2,
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Averages(zeros_like(theta), scale(theta, 0.0))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        root = combine_rms(state.root, self.beta2, gradient, 1.0 - self.beta2)
        c1, c2 = 1.0 - torch.pow(self.beta1, step), torch.sqrt(1.0 - torch.pow(self.beta2, step))
        ratio = safe_ratio(times(gradient, c2), root, self.eps)
        velocity = {k: self.beta1 * b + (1.0 - self.beta1) * ratio[k] for k, b in state.velocity.items()}
        return {k: -b / c1 for k, b in velocity.items()}, Averages(root, velocity)
