"""Adam, with its moments in log-scale form; without eps it is the paper's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.verify.optimizers.core.base import Facts, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, safe_ratio
from maxmargin.verify.optimizers.core.two_moments import TwoMoments


@register("adam", "Adam, eps=0 unless given: linf (beta1=0.9, beta2=0.95, eps=0)")
@dataclass(frozen=True)
class Adam(TwoMoments):
    """m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,  direction = −m̂ / (√v̂ + eps), 0/0 := 0.

    With eps = 0 and β₁ ≤ β₂ the limit direction is a KKT direction of the ℓ∞ problem (Gronich & Vardi 2602.16340,
    theorem on Adam; hypotheses LR-Adam and A1). With eps > 0 it is in the end gradient descent: ℓ2
    (Wang et al. 2012.06244).
    """

    bias_correction: bool = True

    @override
    def facts(self) -> Facts:
        exact = self.eps == 0
        return self.told(
            "{m} g,  {v} g²;  θ ← θ − η m̂/(√v̂ + {eps})" + ("" if self.bias_correction else ", no bias correction"),
            "Gronich & Vardi 2602.16340, theorem on Adam; Zhang, Zou & Cao 2406.10650 for linear models",
            norm="linf" if exact else "l2",  # paced by linf with an eps too: entries of a settled step are at most 1
            betas=(self.beta1, self.beta2) if exact else None,
        )

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        kept = self.averaged(state, gradient)
        c1, c2 = self.corrections(step) if self.bias_correction else (torch.ones_like(step),) * 2
        corrected = Scaled({k: b / c2 for k, b in kept.root.blocks.items()}, kept.root.log_scale)
        ratio = safe_ratio(kept.first, corrected, self.eps)
        return {k: -r / c1 for k, r in ratio.items()}, kept
