"""Everything that was seen of one optimizer on one problem, as a worker hands it over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.measure import Evidence
from maxmargin.verify.evidence.state_norm import StateNorm
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.thresholds.judging import RANDOM_STEPS

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
        state: The metric that its own state settled on, where that was looked for.
        slower: The pace of the runs, of the one that was tried first.
        decided: A norm, and what the rules said of it where the steps' number was decided upon.
    """

    problem: Problem
    trajectory: Trajectory
    evidence: Evidence
    exam: Exam
    seconds: float = 0.0
    full_steps: int = 0
    state: StateNorm | None = None
    slower: float = 1.0
    decided: tuple[str, Any] | None = None

    def steady(self, norm: Norm) -> float | None:
        """Mean alignment with ``norm`` of its steps under constant gradients; None where none tell, but for chance."""
        if self.exam.about is not None and self.exam.about.random >= RANDOM_STEPS:
            return None
        seen = [alignment(norm, s.gradient, s.update) for s in self.exam.signature]
        return float(np.mean(np.nan_to_num(seen, nan=0.0))) if seen else None
