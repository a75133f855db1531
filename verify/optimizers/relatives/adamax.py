"""Adamax: Adam with a decaying maximum of |g| in place of the root of the mean square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.optimizers.core.base import Facts, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, safe_ratio, zeros_like
from maxmargin.verify.optimizers.core.moments import LARGEST, maximum, times
from maxmargin.verify.optimizers.core.two_moments import TwoMoments


class Maxima(NamedTuple):
    """First moment m, and the decaying maximum u of |g|."""

    first: Scaled
    top: Scaled


@register("adamax", "Adamax, no theorem (beta1=0.9, beta2=0.95, eps=0)")
@dataclass(frozen=True)
class Adamax(TwoMoments):
    """m ← β₁ m + (1−β₁) g,  u ← max(β₂ u, |g| + eps),  direction = −m̂ / u, 0/0 := 0; as ``torch.optim.Adamax``.

    A constant gradient makes steps along its signs; no theorem on its margin is known to us, so no norm is claimed.
    """

    @override
    def facts(self) -> Facts:
        return self.told(
            f"{{m}} g,  u ← max({self.beta2:g} u, |g| + {{eps}});  θ ← θ − η m̂/u",
            "Kingma & Ba 1412.6980, algorithm 2",
            # u does not lag while it can fall as fast as g: nothing damps what the momentum's lag feeds back.
            lag_limit=min(1.0 - max(self.beta1, self.beta2), resonance_limit(self.beta1, 0.0)),
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Maxima(zeros_like(theta), zeros_like(theta))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first = combine(state.first, self.beta1, gradient, 1.0 - self.beta1)
        floor = self.eps * torch.exp(torch.clamp(-gradient.log_scale, max=LARGEST)) if self.eps else 0.0
        sizes = Scaled({k: b.abs() + floor for k, b in gradient.blocks.items()}, gradient.log_scale)
        top = maximum(times(state.top, self.beta2), sizes)
        c1, _ = self.corrections(step)
        return scale(safe_ratio(times(first, 1.0 / c1), top), -1.0), Maxima(first, top)
