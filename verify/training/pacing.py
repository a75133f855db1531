"""Learning rates of a black box: margins move as fast as its memory can follow, and no faster."""

from __future__ import annotations

from dataclasses import dataclass

from maxmargin.verify.lab.probe.probes import Probe

FORGETS = 0.99  # per step; the controller's memory of the fastest margin
MAX_GROWTH = 1.5  # of the learning rate, per step
FIRST_STEP = 1e-3  # length (l2) of the first step, before anything is known
IDLE = 1e3  # most that the first factor is raised before anything moves: what stands still may only be waiting
LEAST = 1e-60  # of the largest factor so far; steps that do not shrink with their learning rate would drive it to 0


@dataclass(frozen=True)
class Pace:
    """How fast margins may move: the worst one changes by ``pace · (1 + t/knee)^(−decay)`` a step.

    The smallest margin may change by that divided by ``lead``. It sets the rate at which the gradient itself shrinks,
    which the optimizer's moments have to follow, and on easy data it moves as fast as the worst one. ``cap`` bounds
    a step relative to ‖θ‖₂, which governs the start of networks from a small θ₀.
    """

    pace: float
    decay: float = 0.2
    knee: float = 1000.0
    cap: float = 0.02
    lead: float = 2.0

    @classmethod
    def following(cls, probe: Probe) -> Pace:
        """The pace that the optimizer's state can follow, at most 0.1."""
        return cls(pace=min(0.1, probe.lag_limit))

    def at(self, step: int) -> float:
        """The bound for this step."""
        return self.pace * (1 + step / self.knee) ** -self.decay


class Controller:
    """Chooses one run's learning rate, as a factor of the optimizer's own, from the speeds seen so far."""

    def __init__(self, pace: Pace, capped: bool, step_per_lr: float) -> None:
        self.pace, self.capped, self.first = pace, capped, FIRST_STEP / max(step_per_lr, 1e-300)
        self.speed = 0.0  # fastest margin change per unit of the factor, with forgetting
        self.growth = 0.0  # ‖Δθ‖ per unit of the factor, with forgetting
        self.factor = 0.0
        self.largest = 0.0

    def saw(self, change: float, smallest: float, moved: float) -> None:
        """Learn from a step: margins changed by up to ``change``, the smallest one by ``smallest``, θ by ``moved``."""
        fastest = max(change, self.pace.lead * smallest)
        self.speed = max(fastest / self.factor, FORGETS * self.speed)
        self.growth = max(moved / self.factor, FORGETS * self.growth)

    def choose(self, step: int, length: float) -> float:
        """Return the factor for this step (counted from 1) from weights of this length (l2), and remember it."""
        if self.speed <= 0 and self.growth <= 0:
            wanted = min(self.factor * MAX_GROWTH, IDLE * self.first) or self.first
        else:
            wanted = self.pace.at(step) / self.speed if self.speed > 0 else float("inf")
            if self.capped and self.growth > 0:
                wanted = min(wanted, self.pace.cap * length / self.growth)
        if self.factor:
            wanted = min(wanted, self.factor * MAX_GROWTH)
        self.largest = max(wanted, self.largest)
        self.factor = max(wanted, LEAST * self.largest)
        return self.factor
