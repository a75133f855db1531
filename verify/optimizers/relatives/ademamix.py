"""AdEMAMix: Adam whose numerator also has a slow average of the gradients."""

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
from maxmargin.verify.optimizers.core.moments import direction_of, times


class Mixture(NamedTuple):
    """The fast and the slow average of the gradients, and the root √v of the mean square where that divides."""

    first: Scaled
    slow: Scaled
    root: tuple[Scaled, ...]


@register("ademamix", "AdEMAMix, no theorem (beta1=0.9, beta2=0.99, beta3=0.99, alpha=5, eps=0, normalized=false)")
@dataclass(frozen=True)
class AdEMAMix(Optimizer):
    """m ← β₁ m + (1−β₁) g,  s ← β₃ s + (1−β₃) g,  direction = −(m̂ + α s) / (√v̂ + eps), 0/0 := 0; s is not corrected.

    ``normalized``: the numerator alone, divided by its ℓ2 length: what is left far below the eps. Its warm-up of α and
    β₃ is left out. A constant gradient makes steps along its signs; no theorem on its margin is known to us, so no norm
    is claimed.
    """

    beta1: float = 0.9
    beta2: float = 0.99
    beta3: float = 0.99
    alpha: float = 5.0
    eps: float = 0.0
    normalized: bool = False

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2, beta3=self.beta3)
        check_eps(self.eps)

    @override
    def facts(self) -> Facts:
        b1, b2, b3 = self.beta1, self.beta2, self.beta3
        slowest = max(b1, b3)
        averages = f"m ← {b1:g} m + {1 - b1:.3g} g,  s ← {b3:g} s + {1 - b3:.3g} g"
        mixed = f"m̂ + {self.alpha:g} s"
        source = "Pagliardini, Ablin & Grangier 2409.03137, algorithm 1"
        if self.normalized:
            return Facts(None, f"{averages};  θ ← θ − η ({mixed}), normalized", source, 1 / (1 - slowest), 1 - slowest)
        return Facts(
            norm=None,
            pace_norm="linf",
            step_norm=1.0 + self.alpha,
            recursion=f"{averages},  v ← {b2:g} v + {1 - b2:.3g} g²;  θ ← θ − η ({mixed})/(√v̂ + {self.eps:g})",
            source=source,
            memory=1.0 / (1.0 - max(slowest, b2)),
            lag_limit=min(1.0 - slowest, (1.0 - b2) / 2, resonance_limit(slowest, b2)),
        )

    @override
    def init(self, theta: Blocks) -> State:
        zero = zeros_like(theta)
        return Mixture(zero, zero, () if self.normalized else (zero,))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first = combine(state.first, self.beta1, gradient, 1.0 - self.beta1)
        slow = combine(state.slow, self.beta3, gradient, 1.0 - self.beta3)
        mixed = combine(times(slow, self.alpha), 1.0, times(first, 1.0 / (1.0 - torch.pow(self.beta1, step))), 1.0)
        if self.normalized:
            return direction_of(mixed, True), Mixture(first, slow, ())
        root = combine_rms(state.root[0], self.beta2, gradient, 1.0 - self.beta2)
        corrected = times(root, 1.0 / torch.sqrt(1.0 - torch.pow(self.beta2, step)))
        return scale(safe_ratio(mixed, corrected, self.eps), -1.0), Mixture(first, slow, (root,))
