"""Learning rates of a black box: margins move as fast as its memory can follow, and no faster."""

from __future__ import annotations

from dataclasses import replace
from sys import float_info

from maxmargin.verify.engine.schedules import Paced
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.thresholds.training import FIRST_STEP, IDLE, RATE_FLOOR, RATE_GROWTH, SEEN_AFTER, SPEED_FORGETS


def pace_of(probe: Probe, slower: float = 1.0) -> Paced:
    """Return the pace of a black box whose engine twin would go at ``slower`` times its own pace.

    It falls after margins have moved as far as at the pace of a short memory, not after as many steps: of these a black
    box has too few to spend them at a fraction of a long memory's pace.
    """
    pace = Paced.following(probe.lag_limit)
    return replace(pace.slower(min(SEEN_AFTER, slower)), knee=Paced.knee * Paced.pace / pace.pace)


class Controller:
    """Chooses one run's learning rate, as a factor of the optimizer's own, from the speeds seen so far."""

    def __init__(self, pace: Paced, capped: bool, step_per_lr: float) -> None:
        self.pace, self.capped, self.first = pace, capped, FIRST_STEP / max(step_per_lr, 1e-300)
        self.speed = 0.0  # fastest margin change per unit of the factor, with forgetting
        self.growth = 0.0  # ‖Δθ‖ per unit of the factor, with forgetting
        self.factor = 0.0
        self.largest = 0.0

    def saw(self, change: float, smallest: float, moved: float) -> None:
        """Learn from a step: margins changed by up to ``change``, the smallest one by ``smallest``, θ by ``moved``."""
        fastest = max(change, self.pace.lead * smallest)
        self.speed = max(fastest / self.factor, SPEED_FORGETS * self.speed)
        self.growth = max(moved / self.factor, SPEED_FORGETS * self.growth)

    def choose(self, step: int, length: float) -> float:
        """Return the factor for this step (counted from 1) from weights of this length (l2), and remember it."""
        if self.speed <= 0 and self.growth <= 0:
            wanted = min(self.factor * (1 + RATE_GROWTH), IDLE * self.first) or self.first
        else:
            wanted = self.pace.at(step) / self.speed if self.speed > 0 else float("inf")
            if self.capped and self.growth > 0:
                wanted = min(wanted, self.pace.cap * length / self.growth)
        if self.factor:
            wanted = min(wanted, self.factor * (1 + RATE_GROWTH))
        self.largest = max(wanted, self.largest)
        self.factor = max(wanted, RATE_FLOOR * self.largest, float_info.min)  # steps may be near the largest float
        return self.factor
