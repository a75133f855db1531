"""Adan: Nesterov momentum written with the change of the gradient, over the root of a mean square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_betas, check_eps, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, combine_rms, safe_ratio, zeros_like
from maxmargin.verify.optimizers.core.moments import times


class Changes(NamedTuple):
    """First moment m, average d of the gradient's changes, the root √n of the mean square, and the last gradient."""

    first: Scaled
    change: Scaled
    root: Scaled
    last: Scaled


@register("adan", "Adan, no theorem (beta1=0.98, beta2=0.92, beta3=0.99, eps=0, skip_first=false)")
@dataclass(frozen=True)
class Adan(Optimizer):
    """With c = g − g₋₁ (0 at first), direction = −(m̂ + β₂ d̂) / (√n̂ + eps), 0/0 := 0; all three corrected, where.

    m ← β₁ m + (1−β₁) g,  d ← β₂ d + (1−β₂) c,  n ← β₃ n + (1−β₃) (g + β₂ c)².

    The betas are how much is kept (the paper writes 1 − β). With ``skip_first`` the first gradient only serves the
    first change, and its step is 0 (``adan_pytorch``); without it as the authors' code. A constant gradient makes
    steps along its signs; no theorem on its margin is known to us, so no norm is claimed.
    """

    beta1: float = 0.98
    beta2: float = 0.92
    beta3: float = 0.99
    eps: float = 0.0
    skip_first: bool = False

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
                f"c = g − g_before;  m ← {b1:g} m + {1 - b1:.3g} g,  d ← {b2:g} d + {1 - b2:.3g} c,  "
                f"n ← {b3:g} n + {1 - b3:.3g} (g + {b2:g} c)²;  θ ← θ − η (m̂ + {b2:g} d̂)/(√n̂ + {self.eps:g})"
                f"{'; the first gradient makes no step' if self.skip_first else ''}"
            ),
            source="Xie et al. 2208.06677",
            memory=1.0 / (1.0 - max(b1, b2, b3)),
            lag_limit=min(1.0 - b1, 1.0 - b2, (1.0 - b3) / 2, resonance_limit(max(b1, b2), b3)),
        )

    @override
    def init(self, theta: Blocks) -> State:
        zero = zeros_like(theta)
        return Changes(zero, zero, zero, zero)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        later = torch.where(step > 1.0, torch.ones_like(step), torch.zeros_like(step))
        change = times(combine(times(state.last, -1.0), 1.0, gradient, 1.0), later)
        ahead = combine(change, self.beta2, gradient, 1.0)
        counted = gradient
        if self.skip_first:
            counted, ahead = times(gradient, later), times(ahead, later)
        first = combine(state.first, self.beta1, counted, 1.0 - self.beta1)
        changes = combine(state.change, self.beta2, change, 1.0 - self.beta2)
        root = combine_rms(state.root, self.beta3, ahead, 1.0 - self.beta3)
        c1, c2, c3 = (1.0 - torch.pow(b, step) for b in (self.beta1, self.beta2, self.beta3))
        top = combine(times(changes, 1.0 / c2), self.beta2, times(first, 1.0 / c1), 1.0)
        ratio = safe_ratio(top, times(root, 1.0 / torch.sqrt(c3)), self.eps)
        return scale(ratio, -1.0), Changes(first, changes, root, gradient)
