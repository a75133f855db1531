"""Learning-rate schedules: constant, power laws, and paced (the fastest that the optimizer's memory can follow).

A schedule sees, for each run, how fast one unit of learning rate changes a margin, and how large θ is; both are
measured by the engine in the optimizer's own norm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override


class ScheduleError(ValueError):
    """A schedule with a parameter out of its range."""


class Schedule(ABC):
    """Learning rate η at a step; frozen dataclasses."""

    @property
    @abstractmethod
    def needs_speed(self) -> bool:
        """Whether ``rate`` looks at ``speed``, ``length`` and ``growth``; if not, the engine does not measure them."""

    @abstractmethod
    def rate(self, step: int, speed: Tensor, length: Tensor, growth: Tensor | None = None) -> Tensor:
        """Return η of each run, (B,).

        Args:
            step: The step about to be taken, counted from 1.
            speed: (B,) worst change of one margin per unit of η, max_i ‖g_i(θ)‖_* times the step's norm.
            length: (B,) ‖θ‖ in the optimizer's norm, per unit of the step's norm; inf where θ may start at 0.
            growth: (B,) change of the smallest margin per unit of η as θ keeps its direction,
                L q(θ/‖θ‖) ‖θ‖^(L−1) times the step's norm; negative where the data are not separated yet.
        """


@dataclass(frozen=True)
class PowerLaw(Schedule):
    """η = eta · t^(−a): admissible for degree L iff 1 − 1/L < a ≤ 1 (a = 0 too for L = 1 in practice)."""

    eta: float
    a: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.eta < float("inf") and 0 <= self.a <= 1):
            raise ScheduleError(f"power law eta={self.eta}, a={self.a}; needed: eta > 0 and 0 <= a <= 1")

    @property
    @override
    def needs_speed(self) -> bool:
        return False

    @override
    def rate(self, step: int, speed: Tensor, length: Tensor, growth: Tensor | None = None) -> Tensor:
        return self.eta * step**-self.a * torch.ones_like(speed)


@dataclass(frozen=True)
class Paced(Schedule):
    """The worst change of a single margin in a step is ``pace · (1 + t/knee)^(−decay)``.

    The smallest margin changes by at most that divided by ``lead``. Its change is the rate r at which the gradient
    itself shrinks, which the optimizer's moments have to follow; on easy data it is nearly the worst change.
    Near convergence ‖θ‖ grows at bounded pace like t^{1/L}, so η ~ pace(t) ‖θ‖^{1−L} = o(t^{1/L−1}) as theory asks.
    A step is also capped at ``cap`` of ‖θ‖, which governs the start from a small θ₀.

    The engine measures speeds before a step, as a schedule; the controller of a black box (training/pacing.py) learns
    them from the steps that it took, and keeps to the same bounds.
    """

    pace: float = 0.2
    decay: float = 0.2
    knee: float = 1000.0
    cap: float = 0.02
    lead: float = 2.0

    def __post_init__(self) -> None:
        if not (self.pace > 0 and 0 <= self.decay <= 1 and self.knee > 0 and self.cap > 0 and self.lead >= 0):
            raise ScheduleError(f"{self}: pace, knee and cap must be > 0, lead >= 0 and decay in [0, 1]")

    @classmethod
    def following(cls, lag_limit: float) -> Paced:
        """Return the pace that an optimizer's moments can follow: twice its lag limit, at most 0.2.

        The limit bounds the change of the weights that matter, those of the margins near the smallest. These change
        several times more slowly than the worst one, which is what the pace bounds; on easy data, where they do not,
        ``lead`` keeps them at half the pace, which is the limit.
        """
        return cls(pace=min(0.2, 2.0 * lag_limit))

    def slower(self, factor: float) -> Paced:
        """The same at ``factor`` times the pace."""
        return replace(self, pace=self.pace * factor)

    def at(self, step: int) -> float:
        """The bound on the worst margin's change in this step, counted from 1."""
        return self.pace * (1 + step / self.knee) ** -self.decay

    @property
    @override
    def needs_speed(self) -> bool:
        return True

    @override
    def rate(self, step: int, speed: Tensor, length: Tensor, growth: Tensor | None = None) -> Tensor:
        if growth is not None:
            speed = torch.maximum(speed, self.lead * growth)
        return torch.minimum(self.at(step) / speed, self.cap * length)
