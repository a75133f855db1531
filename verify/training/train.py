"""How ``check`` trains: the engine for our own optimizers and for proved twins, the black box's own steps otherwise."""

from __future__ import annotations

from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.engine.devices import resolve
from maxmargin.verify.engine.run import paced_for, run, starts
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.progress.report import StepProgress
from maxmargin.verify.training.blackbox_run import run_blackbox
from maxmargin.verify.training.pacing import pace_of

STEPS = {"quick": 30_000, "full": 400_000}
FAST_MEMORY = 0.05  # lag limit above which STEPS suffice; below it more steps are given, up to MORE times
MORE = {"quick": 2.0, "full": 10.0}
ENGINE = 2  # times as many steps in the engine, which is several times as fast
LINEAR_RUNS = {"quick": 1, "full": 2}
NETWORK_RUNS = {"quick": 2, "full": 6}
PATIENT = 0.15
"""Factor on the pace where matrices and vectors follow different rules: a lagging Adam steps by κ < 1, a polar factor
does not, and that acts as a weight between the blocks which stalls the gap (κ → 1 as the pace falls)."""


def train(
    target: Target,
    problem: Problem,
    exam: Exam,
    *,
    tier: str,
    seed: int,
    device: str,
    share: float = 1.0,
    progress: StepProgress | None = None,
) -> Trajectory:
    """Train ``target`` on ``problem`` at the pace that its memory can follow.

    Args:
        target: The optimizer.
        problem: The problem.
        exam: What is known of it there.
        tier: ``quick`` or ``full``.
        seed: Of the starts.
        device: ``auto``, ``cpu`` or ``cuda``, for the engine.
        share: Of the tier's steps.
        progress: Called with (steps done, steps) as it trains.

    Returns:
        The trajectory.
    """
    steps = int(share * planned(target, exam, tier))
    runs, scale = (LINEAR_RUNS[tier], 0.01) if problem.linear else (NETWORK_RUNS[tier], 0.02)
    start = starts(problem, runs, seed=seed, scale=scale)
    slower = PATIENT if mixes(problem, *exam.claimed) else 1.0
    native = engine_optimizer(target, exam)
    if native is None:
        assert exam.about is not None
        pace = pace_of(exam.about, slower)
        return run_blackbox(target, problem, start, exam.about, steps=steps, pace=pace, progress=progress)
    where = resolve(device)
    return run(
        problem.to(where),
        native,
        start,
        steps=steps,
        schedule=paced_for(native).slower(slower),
        device=where,
        progress=progress,
    )


def engine_optimizer(target: Target, exam: Exam) -> Optimizer | None:
    """The engine's optimizer that makes the long run: our own, or a proved twin; None for the black box itself."""
    return target.native or (exam.twin.optimizer if exam.twin is not None else None)


def capped(target: Target, exam: Exam, tier: str) -> float:
    """How many times more steps its memory asks for than the tier gives; 1 where the tier gives them all."""
    return max(1.0, FAST_MEMORY / _lag_limit(target, exam) / MORE[tier])


def _lag_limit(target: Target, exam: Exam) -> float:
    native = engine_optimizer(target, exam)
    return native.lag_limit if native is not None else exam.about.lag_limit if exam.about is not None else 1.0


def planned(target: Target, exam: Exam, tier: str) -> int:
    """Steps of every run in this tier."""
    steps = STEPS[tier] * min(MORE[tier], max(1.0, FAST_MEMORY / _lag_limit(target, exam)))
    return int(steps) * (ENGINE if engine_optimizer(target, exam) is not None else 1)


def mixes(problem: Problem, *norms: Norm) -> bool:
    """Whether a norm treats this problem's blocks by different rules."""
    return any(len({norm.block(name, shape)[0].name for name, shape in problem.shapes.items()}) > 1 for norm in norms)
