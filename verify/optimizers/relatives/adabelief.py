"""AdaBelief: Adam divided by how far gradients are from their own average."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.optimizers.adam import Moments
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_betas, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, combine_rms, safe_ratio, zeros_like
from maxmargin.verify.optimizers.core.moments import times


@register("adabelief", "AdaBelief without eps and rectification, no theorem (beta1=0.9, beta2=0.95)")
@dataclass(frozen=True)
class AdaBelief(Optimizer):
    """m ← β₁ m + (1−β₁) g,  s ← β₂ s + (1−β₂) (g − m)²,  direction = −m̂ / √ŝ, 0/0 := 0.

    A constant gradient is not normalized: g − m falls to 0 and steps grow without end, which an eps of the original
    bounds. There is no length of a settled step, and no norm is claimed.
    """

    beta1: float = 0.9
    beta2: float = 0.95

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2)

    @override
    def facts(self) -> Facts:
        return Facts(
            norm=None,
            pace_norm="linf",
            recursion=(
                f"m ← {self.beta1:g} m + {1 - self.beta1:.3g} g,  "
                f"s ← {self.beta2:g} s + {1 - self.beta2:.3g} (g − m)²;  θ ← θ − η m̂/√ŝ"
            ),
            source="Zhuang et al. 2010.07468, algorithm 2 with its eps 0",
            memory=1.0 / (1.0 - max(self.beta1, self.beta2)),
            lag_limit=min(1.0 - self.beta1, (1.0 - self.beta2) / 2, resonance_limit(self.beta1, self.beta2)),
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Moments(zeros_like(theta), zeros_like(theta))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first = combine(state.first, self.beta1, gradient, 1.0 - self.beta1)
        root = combine_rms(state.root, self.beta2, combine(times(first, -1.0), 1.0, gradient, 1.0), 1.0 - self.beta2)
        c1, c2 = 1.0 - torch.pow(self.beta1, step), torch.sqrt(1.0 - torch.pow(self.beta2, step))
        return scale(safe_ratio(times(first, 1.0 / c1), times(root, 1.0 / c2)), -1.0), Moments(first, root)
