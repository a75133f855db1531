"""How an optimizer is trained: the engine for our own and for proved twins, a black box's own steps otherwise."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.engine.devices import resolve
from maxmargin.verify.engine.run import paced_for, run, starts
from maxmargin.verify.engine.schedules import Paced
from maxmargin.verify.engine.snapshots import SnapshotError
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.lab.probe.finite import NonFinite, again
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.optimizers.core.base import Optimizer, follows_signs
from maxmargin.verify.progress.report import StepProgress
from maxmargin.verify.thresholds.training import (
    ENGINE_MORE,
    ENGINE_STEPS,
    FAST_MEMORY,
    LINEAR_RUNS,
    LINEAR_START,
    MIXED,
    MORE,
    NETWORK_RUNS,
    NETWORK_START,
    SNAPSHOT,
    STEPS,
)
from maxmargin.verify.training.blackbox_run import run_blackbox
from maxmargin.verify.training.pacing import pace_of


@dataclass(frozen=True)
class Training:
    """One optimizer's runs on one problem.

    Attributes:
        trainee: The engine's optimizer that makes them, our own or a proved twin; or a black box and what was found
            of it.
        steps: Of every run.
        runs: Initializations.
        scale: Of the initializations: a direction forgets its start only like a power of ‖θ₀‖/‖θ‖, so start small.
        pace: Of the margins.
        full_steps: Steps that the full tier would take.
        snapshot: A file that keeps the engine's runs under way.
        signs: Of a black box, whether entries of any size are known to move as far.
    """

    trainee: Optimizer | tuple[Target, Probe]
    steps: int
    runs: int
    scale: float
    pace: Paced
    full_steps: int = 0
    snapshot: Path | None = None
    signs: bool = False

    def run(
        self, problem: Problem, *, seed: int, device: str, share: float = 1.0, progress: StepProgress | None = None
    ) -> Trajectory:
        """Train, from the snapshot where there is one of this very run, from the start otherwise.

        Args:
            problem: The problem.
            seed: Of the starts.
            device: ``auto``, ``cpu`` or ``cuda``, for the engine.
            share: Of the steps.
            progress: Called with (steps done, steps) as it trains.

        Returns:
            The trajectory.
        """
        steps = int(share * self.steps)
        start = starts(problem, self.runs, seed=seed, scale=self.scale)
        if not isinstance(self.trainee, Optimizer):
            target, about = self.trainee
            return run_blackbox(
                target,
                problem,
                start,
                about,
                steps=steps,
                pace=self.pace,
                keeps=about.stays,
                signs=self.signs,
                progress=progress,
            )
        where = resolve(device)
        data, trainee = problem.to(where), self.trainee

        def trained() -> Trajectory:
            return run(
                data,
                trainee,
                start,
                steps=steps,
                schedule=self.pace,
                device=where,
                progress=progress,
                snapshot=self.snapshot,
                every=SNAPSHOT,
            )

        if self.snapshot is not None:
            with suppress(SnapshotError):  # of another tier, seed or version: it starts afresh
                return trained()
            self.snapshot.unlink(missing_ok=True)
        return trained()

    def nonfinite(self, problem: Problem, trajectory: Trajectory) -> NonFinite | None:
        """A step that broke a black box's run off, as a program shows it; None without one."""
        if isinstance(self.trainee, Optimizer) or trajectory.broken is None or not trajectory.broken.any():
            return None
        target = self.trainee[0]
        first = int(trajectory.broken[trajectory.broken > 0].min())
        return again(target, problem.shapes, first * target.stride)


def training_of(target: Target, problem: Problem, exam: Exam, tier: str) -> Training:
    """Return how ``check`` trains ``target`` on ``problem``: at the pace that its memory can follow.

    Args:
        target: The optimizer.
        problem: The problem.
        exam: What is known of it there.
        tier: ``quick`` or ``full``.
    """
    native = target.native or (exam.twin.optimizer if exam.twin is not None else None)
    slower = MIXED if _mixes(problem, *exam.claimed) else 1.0
    trainee: Optimizer | tuple[Target, Probe]
    if native is not None:
        trainee, lag_limit, pace = native, native.lag_limit, paced_for(native).slower(slower)
    else:
        assert exam.about is not None
        trainee, lag_limit, pace = (target, exam.about), exam.about.lag_limit, pace_of(exam.about, slower)
    more = max(1.0, FAST_MEMORY / lag_limit)
    given, most = (ENGINE_STEPS, ENGINE_MORE) if native is not None else (STEPS, MORE)
    steps = {t: int(given[t] * min(most[t], more)) for t in given}
    return Training(
        trainee,
        steps=steps[tier],
        runs=(LINEAR_RUNS if problem.linear else NETWORK_RUNS)[tier],
        scale=LINEAR_START if problem.linear else NETWORK_START,
        pace=pace,
        full_steps=steps["full"],
        signs=_by_signs(target, problem, exam),
    )


def _by_signs(target: Target, problem: Problem, exam: Exam) -> bool:
    """Whether a black box moves some entries by their signs at every size: it has no eps, nor is this a regime."""
    about, seen = exam.about, exam.fingerprint
    if about is None or seen is None or target.units is not None or about.stays:
        return False
    return about.floor == 0 and about.update_degree == 0 and follows_signs(seen.norm, problem.shapes)


def _mixes(problem: Problem, *norms: Norm) -> bool:
    """Whether a norm treats this problem's blocks by different rules."""
    return any(len({norm.block(name, shape)[0].name for name, shape in problem.shapes.items()}) > 1 for norm in norms)
