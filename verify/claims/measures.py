"""What several records measure with: runs of the engine, gaps along them, fitted exponents.

Loaded by the functions that use it, when they run: ``maxmargin list claims`` needs no engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxmargin.models import problems
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import paced_for, run, starts
from maxmargin.verify.engine.schedules import PowerLaw, Schedule
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.thresholds.judging import ARRIVED


def trained(
    problem: str | Problem,
    optimizer: str | Optimizer,
    kwargs: Mapping[str, Any] | None = None,
    *,
    steps: int,
    seed: int = 0,
    runs: int = 1,
    scale: float = 0.01,
    eta: float | None = None,
    a: float = 0.0,
    schedule: Schedule | None = None,
    start: Mapping[str, Tensor] | None = None,
    loss: str = "exponential",
    checkpoints: int = 40,
    **options: Any,
) -> tuple[Problem, Trajectory]:
    """Train by name, at a power law η t^(−a) where ``eta`` is given, else at the optimizer's own pace.

    Args:
        problem: Or its name.
        optimizer: Or its name,
        kwargs: and its arguments.
        steps: Of each run.
        seed: Of the starts.
        runs: Of them.
        scale: Of them.
        eta: Learning rate.
        a: Its decay.
        schedule: Another schedule.
        start: Other starts, block → (runs, *shape).
        loss: A key of ``losses.LOSSES``.
        checkpoints: About how many.
        **options: Of :func:`~maxmargin.verify.engine.run.run`.

    Returns:
        The problem and the trajectory.
    """
    given = problems.get(problem) if isinstance(problem, str) else problem
    made = get_optimizer(optimizer, kwargs or {}) if isinstance(optimizer, str) else optimizer
    plan = schedule or (PowerLaw(eta, a) if eta is not None else paced_for(made))
    theta0 = start if start is not None else starts(given, runs, seed=seed, scale=scale)
    path = run(given, made, theta0, steps=steps, schedule=plan, loss=loss, checkpoints=checkpoints, **options)
    return given, path


def filled(problem: Problem, blocks: Mapping[str, Any]) -> dict[str, Tensor]:
    """One start, from numbers or nested lists."""
    return {k: torch.as_tensor(np.broadcast_to(np.asarray(blocks[k], float), s).copy())[None]
            for k, s in problem.shapes.items()}  # fmt: skip


@cache
def optimum(problem: Problem, norm: str) -> Any:
    """The optimum of a linear problem's margin."""
    return solve_margin(problem, get_norm(norm))


def gaps(problem: Problem, path: Trajectory, norm: str, at: Sequence[int] | None = None) -> np.ndarray:
    """Γ under a norm at checkpoints ``at`` (all but the start by default): (checkpoints, runs)."""
    which = range(1, len(path.steps)) if at is None else at
    if problem.linear:  # there it is 1 − margin / optimal margin
        best, own = optimum(problem, norm).margin, get_norm(norm)
        values = [
            [1 - path.margin[t, i] / float(own.value(path.at(t, i))) / best for i in range(path.runs)] for t in which
        ]
    else:
        gap = GapEvaluator(problem, get_norm(norm))
        values = [[gap(path.at(t, i)).value for i in range(path.runs)] for t in which]
    return np.array(values)


def nearest(path: Trajectory, step: float) -> int:
    """The checkpoint nearest to a step, in log t."""
    return 1 + int(np.abs(np.log(path.steps[1:] / step)).argmin())


def shrunk(end: float, before: float) -> float:
    """Return end / before, of what falls to 0 by theory; 0 where it has: rounding is not compared with rounding.

    Example:
        >>> shrunk(1e-3, 4e-3), shrunk(3e-15, 2e-15)
        (0.25, 0.0)
    """
    return 0.0 if end <= ARRIVED else end / before


def exponent(x: Any, y: Any) -> float:
    """The exponent p of a fitted y ~ x^p; NaN where something is not positive."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 2 or not ((x > 0).all() and (y > 0).all()):
        return float("nan")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def flat(blocks: Mapping[str, Any]) -> np.ndarray:
    """All entries in one row."""
    return np.concatenate([np.asarray(b).ravel() for b in blocks.values()])


def cosine(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """Cosine of the angle between two sets of blocks."""
    x, y = flat(a), flat(b)
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
