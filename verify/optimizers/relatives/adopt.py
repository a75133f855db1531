"""ADOPT: a momentum of gradients that are divided by the second moment of those before them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.verify.optimizers.core.base import Facts, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine_rms, zeros_like
from maxmargin.verify.optimizers.core.moments import LARGEST, times
from maxmargin.verify.optimizers.core.two_moments import TwoMoments
from maxmargin.verify.optimizers.rmsprop import Averages


@register("adopt", "ADOPT, no theorem (beta1=0.9, beta2=0.95, eps=0, counts_first=True)")
@dataclass(frozen=True)
class ADOPT(TwoMoments):
    """v₁ = g₁², no step;  then m ← β₁ m + (1−β₁) clip(g / max(√v, eps), t^¼),  direction = −m,  v ← β₂ v + (1−β₂) g².

    The clipped form of the authors' code, with 0/0 := 0: where v is 0 and g is not, the clip decides. No correction
    of m. A constant gradient makes steps along its signs; the theorems on Adam do not speak of it, so no norm is
    claimed. Its first call makes no step, and is counted in t or not: the authors' package does not count it.
    """

    counts_first: bool = True

    @override
    def facts(self) -> Facts:
        bound = "t^¼" if self.counts_first else "(t−1)^¼"
        return self.told(
            f"{{m}} clip(g/max(√v, {{eps}}), {bound});  θ ← θ − η m;  {{v}} g²; at first v = g² and no step",
            "Taniguchi et al. 2411.02853, algorithm 2 and their code",
            lag_limit=(1.0 - self.beta2) / 2,
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Averages(zeros_like(theta), scale(theta, 0.0))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        moved = torch.where(step > 1.0, torch.ones_like(step), torch.zeros_like(step))
        clip, root = torch.pow(step if self.counts_first else step - 1.0, 0.25), state.root
        # A finite factor: a gradient e^700 times the root is clipped, and inf · 0 would be NaN.
        shift = torch.exp(torch.clamp(gradient.log_scale - root.log_scale, max=LARGEST))
        floor = self.eps * torch.exp(torch.clamp(-root.log_scale, max=LARGEST)) if self.eps else 0.0
        velocity = {}
        for k, g in gradient.blocks.items():
            d = torch.clamp(root.blocks[k], min=floor) if self.eps else root.blocks[k]
            usual = shift * (g / torch.where(d > 0, d, torch.ones_like(d)))
            ratio = torch.where(d > 0, torch.minimum(torch.maximum(usual, -clip), clip), clip * torch.sign(g))
            velocity[k] = self.beta1 * state.velocity[k] + ((1.0 - self.beta1) * moved) * ratio
        whole = torch.where(step > 1.0, torch.ones_like(step), torch.full_like(step, (1.0 - self.beta2) ** -0.5))
        after = combine_rms(root, self.beta2, times(gradient, whole), 1.0 - self.beta2)
        return {k: -b for k, b in velocity.items()}, Averages(after, velocity)
