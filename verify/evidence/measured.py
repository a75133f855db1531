"""Everything that was seen of one optimizer on one problem, as a worker hands it over."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.measure import Evidence
from maxmargin.verify.results.alignment import alignment

if TYPE_CHECKING:
    from maxmargin.verify.lab.examine import Exam


@dataclass(frozen=True)
class Measured:
    """One optimizer on one problem.

    Attributes:
        problem: The problem.
        trajectory: The runs.
        evidence: Measured under every candidate norm.
        exam: What was found of the optimizer beforehand.
        seconds: That the training took.
        full_steps: Steps that the full tier would take.
    """

    problem: Problem
    trajectory: Trajectory
    evidence: Evidence
    exam: Exam
    seconds: float = 0.0
    full_steps: int = 0

    def steady(self, norm: Norm) -> float | None:
        """Mean alignment with ``norm`` of its steps under constant gradients; None where none were taken."""
        seen = [alignment(norm, s.gradient, s.update) for s in self.exam.signature]
        return float(np.mean(np.nan_to_num(seen, nan=0.0))) if seen else None

    def step_below(self, floor: float) -> tuple[int, bool] | None:
        """First step at which the true gradient's norm (run 0) is below ``floor``, and whether a run went so far.

        Beyond the run it is extrapolated: log ‖g‖ falls as fast as between the last checkpoints.

        Returns:
            (step, seen); None where the gradient's norm does not fall.
        """
        sizes = np.sqrt(
            sum(
                (g[:, 0] ** 2).reshape(len(self.trajectory.steps), -1).sum(-1)
                for g in self.trajectory.gradient.values()
            )
        )
        steps = self.trajectory.steps
        log_true = self.trajectory.log_scale[:, 0] + np.log(np.maximum(sizes, 1e-300))
        below = np.flatnonzero(log_true < np.log(floor))
        if len(below):
            return int(steps[below[0]]), True
        rate = (log_true[-2] - log_true[-1]) / (steps[-1] - steps[-2]) if len(steps) > 1 else 0.0
        return (ceil(steps[-1] + (log_true[-1] - np.log(floor)) / rate), False) if rate > 0 else None
