"""AMSGrad: Adam whose second moment never falls, hence in the end gradient descent with a frozen preconditioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_betas, check_eps, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, combine_rms, zeros_like
from maxmargin.verify.optimizers.core.moments import direction_of, maximum, quotient


class Peaks(NamedTuple):
    """First moment m, root √v of the second, and the largest √v so far."""

    first: Scaled
    root: Scaled
    peak: Scaled


@register("amsgrad", "AMSGrad: no fixed norm (beta1=0.9, beta2=0.95, eps=0, normalized=true)")
@dataclass(frozen=True)
class AMSGrad(Optimizer):
    """m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,  p ← max(p, v),  step m̂ / (√p̂ + eps), 0/0 := 0.

    As in ``torch.optim.Adam(amsgrad=True)`` the maximum is taken before the bias correction, which both m and p get.
    As the loss falls, p stays where its largest gradient left it: gradient descent in coordinates scaled by p^(1/4),
    whose norm depends on the trajectory; no fixed norm (Wang et al. 2012.06244 for such conditioners). Steps then
    shrink like the loss, e^(−margin); with ``normalized`` they are divided by their ℓ2 length, which is a schedule of
    learning rates and reaches large margins. Without it the recursion is run to the letter.
    """

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 0.0
    bias_correction: bool = True
    normalized: bool = True

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2)
        check_eps(self.eps)

    @override
    def facts(self) -> Facts:
        return Facts(
            norm=None,
            pace_norm="l2" if self.normalized else "linf",  # to the letter, a settled entry is at most 1
            recursion=(
                f"m ← {self.beta1:g} m + {1 - self.beta1:.3g} g,  v ← {self.beta2:g} v + {1 - self.beta2:.3g} g²,  "
                f"p ← max(p, v);  θ ← θ − η m̂/(√p̂ + {self.eps:g})"
                f"{'' if self.bias_correction else ', no bias correction'}{', normalized' if self.normalized else ''}"
            ),
            source="Reddi, Kale & Kumar 1904.09237; no fixed norm: conditioners of Wang et al. 2012.06244",
            memory=float("inf"),
            lag_limit=1.0 - self.beta1,  # p is not meant to follow
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Peaks(zeros_like(theta), zeros_like(theta), zeros_like(theta))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first = combine(state.first, self.beta1, gradient, 1.0 - self.beta1)
        root = combine_rms(state.root, self.beta2, gradient, 1.0 - self.beta2)
        peak = maximum(state.peak, root)
        c1 = c2 = torch.ones_like(step)
        if self.bias_correction:
            c1 = 1.0 - torch.pow(self.beta1, step)
            c2 = torch.sqrt(1.0 - torch.pow(self.beta2, step))
        top = Scaled({k: b / c1 for k, b in first.blocks.items()}, first.log_scale)
        bottom = Scaled({k: b / c2 for k, b in peak.blocks.items()}, peak.log_scale)
        return direction_of(quotient(top, bottom, self.eps), self.normalized), Peaks(first, root, peak)
