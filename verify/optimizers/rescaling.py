"""Progressive norm rescaling: normalized gradient descent whose weights are set to a growing length again and again."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, add, scale
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, OptimizerError, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled


@register("prgd", "progressive norm rescaling of GD: l2 (radius=1, growth=1, power=1, period=100, ceiling=1e6)")
@dataclass(frozen=True)
class ProgressiveRescaling(Optimizer):
    """θ ← θ − η g/‖g‖, drawn back to ‖θ‖_2 ≤ R_k; at the end of each phase of ``period`` steps θ ← R_{k+1} θ/‖θ‖.

    R_k = min(radius · growth^k · (1 + k)^power, ceiling), k = 0, 1, …; phase 0 starts where θ starts. Between two
    rescalings it is projected normalized gradient descent on a sphere's scale at which the loss has not flattened, so
    the direction keeps its speed: exponential convergence for linear models (Wang, Min & Wu 2311.14387, theorem on
    PRGD, which takes R_k and the phases' lengths as given). ``projected=False`` leaves out the drawing back.
    The engine's trajectory records η · direction as the update, without the rescaling.
    """

    radius: float = 1.0
    growth: float = 1.0
    power: float = 1.0
    period: int = 100
    ceiling: float = 1e6
    projected: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.radius <= self.ceiling < inf and isfinite(self.growth) and isfinite(self.power)):
            raise OptimizerError(
                f"radius {self.radius}, ceiling {self.ceiling}, growth {self.growth}, power {self.power}; "
                "they must be finite numbers with 0 < radius <= ceiling"
            )
        if self.growth < 1 or self.power < 0:
            raise OptimizerError(
                f"growth is {self.growth} and power {self.power}; a norm that grows needs growth >= 1 and power >= 0"
            )
        if not (isinstance(self.period, int) and self.period >= 1):
            raise OptimizerError(f"period is {self.period!r}; it must be a whole number of steps >= 1")

    @override
    def facts(self) -> Facts:
        drawn = ", drawn back to ‖θ‖ ≤ R" if self.projected else ""
        return Facts(
            norm="l2",
            recursion=(
                f"θ ← θ − η g/‖g‖{drawn}; every {self.period} steps θ ← R θ/‖θ‖ with "
                f"R = min({self.radius:g} · {self.growth:g}^k · (1+k)^{self.power:g}, {self.ceiling:g})"
            ),
            source="Wang, Min & Wu 2311.14387, theorem on PRGD",
        )

    @override
    def init(self, theta: Blocks) -> State:
        return ()

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        return self.pace_norm.lmo(gradient.blocks), state

    @override
    def move(self, theta: Blocks, direction: Blocks, eta: Tensor, step: Tensor) -> dict[str, Tensor]:
        moved = add(theta, direction, eta)
        length = self.pace_norm.value(moved)
        safe = torch.where(length > 0, length, torch.ones_like(length))
        k = torch.div(step - 1, self.period, rounding_mode="floor")
        factor = torch.ones_like(length)
        if self.projected:
            factor = torch.clamp(self._radius(k) / safe, max=1.0)
        ends = torch.remainder(step, self.period) == 0
        return scale(moved, torch.where(ends, self._radius(k + 1) / safe, factor))

    def _radius(self, k: Tensor) -> Tensor:
        return torch.clamp(self.radius * self.growth**k * (1.0 + k) ** self.power, max=self.ceiling)
