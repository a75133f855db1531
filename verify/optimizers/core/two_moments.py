"""What Adam and its relatives share: an average of gradients, the root of one of their squares, and an eps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_betas, check_eps
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, combine_rms, zeros_like


class Moments(NamedTuple):
    """First moment m, and the root √v of the second."""

    first: Scaled
    root: Scaled


@dataclass(frozen=True)
class TwoMoments(Optimizer):
    """Keeps m ← β₁ m + (1−β₁) g and v ← β₂ v + (1−β₂) g², or what a relative has in their place."""

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 0.0

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2)
        check_eps(self.eps)

    def told(self, recursion: str, source: str, **other: Any) -> Facts:
        """The facts of a relative without a norm of its own; ``other`` ones replace them.

        Args:
            recursion: In which {m}, {v} and {eps} stand for the two averages' updates and the eps.
            source: Paper and theorem.
            **other: Fields of :class:`Facts`.

        Returns:
            The facts.
        """
        text = recursion.format(
            m=f"m ← {self.beta1:g} m + {1 - self.beta1:.3g}",
            v=f"v ← {self.beta2:g} v + {1 - self.beta2:.3g}",
            eps=f"{self.eps:g}",
        )
        usual: dict[str, Any] = {
            "norm": None,
            "pace_norm": "linf",
            "memory": 1.0 / (1.0 - max(self.beta1, self.beta2)),
            "lag_limit": min(1.0 - self.beta1, (1.0 - self.beta2) / 2, resonance_limit(self.beta1, self.beta2)),
        }
        return Facts(**usual | {"recursion": text, "source": source} | other)

    @override
    def init(self, theta: Blocks) -> State:
        return Moments(zeros_like(theta), zeros_like(theta))

    def averaged(self, state: Moments, gradient: Scaled) -> Moments:
        """The averages, with one more gradient."""
        return Moments(
            combine(state.first, self.beta1, gradient, 1.0 - self.beta1),
            combine_rms(state.root, self.beta2, gradient, 1.0 - self.beta2),
        )

    def corrections(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """What m and √v are divided by after so many steps, as they began at 0."""
        return 1.0 - torch.pow(self.beta1, step), torch.sqrt(1.0 - torch.pow(self.beta2, step))
