"""AdEMAMix: Adam with a second, slower momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_betas, check_eps, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, combine_rms, safe_ratio, zeros_like


class Mixture(NamedTuple):
    """Fast and slow first moments, and the root √v of the second."""

    first: Scaled
    slow: Scaled
    root: Scaled


@register("ademamix", "AdEMAMix, no theorem (beta1=0.9, beta2=0.95, beta3=0.99, alpha=5, eps=0)")
@dataclass(frozen=True)
class AdEMAMix(Optimizer):
    """m ← β₁ m + (1−β₁) g,  s ← β₃ s + (1−β₃) g,  v ← β₂ v + (1−β₂) g²,  direction = −(m̂ + α s) / (√v̂ + eps).

    0/0 := 0; s is not corrected. Without the warm-up of α and β₃ that its authors add. A constant gradient makes steps
    along its signs; no theorem on its margin is known to us, so no norm is claimed.
    """

    beta1: float = 0.9
    beta2: float = 0.95
    beta3: float = 0.99
    alpha: float = 5.0
    eps: float = 0.0

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2, beta3=self.beta3)
        check_eps(self.eps)

    @override
    def facts(self) -> Facts:
        b1, b2, b3 = self.beta1, self.beta2, self.beta3
        return Facts(
            norm=None,
            pace_norm="linf",
            recursion=(
                f"m ← {b1:g} m + {1 - b1:.3g} g,  s ← {b3:g} s + {1 - b3:.3g} g,  v ← {b2:g} v + {1 - b2:.3g} g²;  "
                f"θ ← θ − η (m̂ + {self.alpha:g} s)/(√v̂ + {self.eps:g})"
            ),
            source="Pagliardini, Ablin & Grangier 2409.03137",
            memory=1.0 / (1.0 - max(b1, b2, b3)),
            lag_limit=min(1.0 - b1, 1.0 - b3, (1.0 - b2) / 2, resonance_limit(max(b1, b3), b2)),
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Mixture(zeros_like(theta), zeros_like(theta), zeros_like(theta))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first = combine(state.first, self.beta1, gradient, 1.0 - self.beta1)
        slow = combine(state.slow, self.beta3, gradient, 1.0 - self.beta3)
        root = combine_rms(state.root, self.beta2, gradient, 1.0 - self.beta2)
        c1, c2 = 1.0 - torch.pow(self.beta1, step), torch.sqrt(1.0 - torch.pow(self.beta2, step))
        corrected = Scaled({k: b / c2 for k, b in root.blocks.items()}, root.log_scale)
        fast, late = safe_ratio(first, corrected, self.eps), safe_ratio(slow, corrected, self.eps)
        return {k: -(fast[k] / c1 + self.alpha * late[k]) for k in fast}, Mixture(first, slow, root)
