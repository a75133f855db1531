"""Adam, with its moments in log-scale form; without eps it is the paper's."""

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


class Moments(NamedTuple):
    """First moment m, and the root √v of the second."""

    first: Scaled
    root: Scaled


@register("adam", "Adam, eps=0 unless given: linf (beta1=0.9, beta2=0.95, eps=0)")
@dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,  direction = −m̂ / (√v̂ + eps), 0/0 := 0.

    With eps = 0 and β₁ ≤ β₂ the limit direction is a KKT direction of the ℓ∞ problem (Gronich & Vardi 2602.16340,
    theorem on Adam; hypotheses LR-Adam and A1). With eps > 0 it is in the end gradient descent: ℓ2
    (Wang et al. 2012.06244).
    """

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 0.0
    bias_correction: bool = True

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2)
        check_eps(self.eps)

    @override
    def facts(self) -> Facts:
        exact = self.eps == 0
        return Facts(
            norm="linf" if exact else "l2",
            pace_norm="linf",  # with an eps too: every entry of a settled step is at most 1
            recursion=(
                f"m ← {self.beta1:g} m + {1 - self.beta1:.3g} g,  v ← {self.beta2:g} v + {1 - self.beta2:.3g} g²;  "
                f"θ ← θ − η m̂/(√v̂ + {self.eps:g}){'' if self.bias_correction else ', no bias correction'}"
            ),
            source="Gronich & Vardi 2602.16340, theorem on Adam; Zhang, Zou & Cao 2406.10650 for linear models",
            memory=1.0 / (1.0 - max(self.beta1, self.beta2)),
            lag_limit=min(1.0 - self.beta1, (1.0 - self.beta2) / 2, resonance_limit(self.beta1, self.beta2)),
            betas=(self.beta1, self.beta2) if exact else None,
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Moments(zeros_like(theta), zeros_like(theta))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first = combine(state.first, self.beta1, gradient, 1.0 - self.beta1)
        root = combine_rms(state.root, self.beta2, gradient, 1.0 - self.beta2)
        if self.bias_correction:
            c1 = 1.0 - torch.pow(self.beta1, step)
            c2 = torch.sqrt(1.0 - torch.pow(self.beta2, step))
        else:
            c1 = c2 = torch.ones_like(step)
        corrected = Scaled({k: b / c2 for k, b in root.blocks.items()}, root.log_scale)
        ratio = safe_ratio(first, corrected, self.eps)
        return {k: -r / c1 for k, r in ratio.items()}, Moments(first, root)
