"""AMSGrad: Adam whose second moment never falls, hence in the end gradient descent with a frozen preconditioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.verify.optimizers.core.base import Facts, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, zeros_like
from maxmargin.verify.optimizers.core.moments import direction_of, maximum, quotient
from maxmargin.verify.optimizers.core.two_moments import Moments, TwoMoments


class Peaks(NamedTuple):
    """The moments, and the largest √v so far."""

    moments: Moments
    peak: Scaled


@register("amsgrad", "AMSGrad: no fixed norm (beta1=0.9, beta2=0.95, eps=0, normalized=true)")
@dataclass(frozen=True)
class AMSGrad(TwoMoments):
    """m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,  p ← max(p, v),  step m̂ / (√p̂ + eps), 0/0 := 0.

    As in ``torch.optim.Adam(amsgrad=True)`` the maximum is taken before the bias correction, which both m and p get.
    As the loss falls, p stays where its largest gradient left it: gradient descent in coordinates scaled by p^(1/4),
    whose norm depends on the trajectory; no fixed norm (Wang et al. 2012.06244 for such conditioners). Steps then
    shrink like the loss, e^(−margin); with ``normalized`` they are divided by their ℓ2 length, which is a schedule of
    learning rates and reaches large margins. Without it the recursion is run to the letter.
    """

    bias_correction: bool = True
    normalized: bool = True

    @override
    def facts(self) -> Facts:
        plain = "" if self.bias_correction else ", no bias correction"
        return self.told(
            "{m} g,  {v} g²,  p ← max(p, v);  θ ← θ − η m̂/(√p̂ + {eps})"
            + plain
            + (", normalized" if self.normalized else ""),
            "Reddi, Kale & Kumar 1904.09237; no fixed norm: conditioners of Wang et al. 2012.06244",
            pace_norm="l2" if self.normalized else "linf",  # to the letter, a settled entry is at most 1
            memory=float("inf"),
            lag_limit=1.0 - self.beta1,  # p is not meant to follow
        )

    @override
    def init(self, theta: Blocks) -> State:
        zero = zeros_like(theta)
        return Peaks(Moments(zero, zero), zero)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        kept = self.averaged(state.moments, gradient)
        peak = maximum(state.peak, kept.root)
        c1, c2 = self.corrections(step) if self.bias_correction else (torch.ones_like(step),) * 2
        top = Scaled({k: b / c1 for k, b in kept.first.blocks.items()}, kept.first.log_scale)
        bottom = Scaled({k: b / c2 for k, b in peak.blocks.items()}, peak.log_scale)
        return direction_of(quotient(top, bottom, self.eps), self.normalized), Peaks(kept, peak)
