"""StableAdamW without its decay: Adam whose blocks are held back where the second moment lags behind the gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.optimizers.core.base import Facts, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, safe_ratio
from maxmargin.verify.optimizers.core.two_moments import Moments


@register("stable-adam", "StableAdamW without decay, no theorem (beta1=0.9, beta2=0.95, eps=0)")
@dataclass(frozen=True)
class StableAdam(Adam):
    """Adam's direction, each block's divided by max(1, r), where r² is the block's mean of g²/v̂, 0/0 := 0.

    Under gradients that change slowly r is 1 in every block, and it is Adam. Along a trajectory r may differ between
    blocks; no theorem on its margin is known to us, so no norm is claimed.
    """

    @override
    def facts(self) -> Facts:
        adam = super().facts()
        recursion = f"{adam.recursion}, each block's step divided by max(1, r), r² = mean of g²/v̂"
        return replace(adam, norm=None, recursion=recursion, source="Wortsman et al. 2304.13013", betas=None)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        moved, state = super().direction(state, gradient, step)
        assert isinstance(state, Moments)
        correction = self.corrections(step)[1] if self.bias_correction else torch.ones_like(step)
        late = safe_ratio(gradient, state.root, 0.0)
        held = {k: torch.clamp(correction * torch.sqrt((b * b).mean()), min=1.0) for k, b in late.items()}
        return {k: b / held[k] for k, b in moved.items()}, state
