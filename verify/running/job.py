"""One optimizer on one problem, from training to verdict: the one path that ``check``, ``verify`` and the gate take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from maxmargin.models import problems
from maxmargin.solvers.norms import Norm
from maxmargin.verify.engine.devices import one_thread
from maxmargin.verify.evidence.apartness import with_apartness
from maxmargin.verify.evidence.hypotheses import Known, hypotheses_of
from maxmargin.verify.evidence.measure import Effort, measure
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.evidence.state_norm import measure_layers, measure_state
from maxmargin.verify.judging.facts import Facts
from maxmargin.verify.judging.rules import decide, hopeless
from maxmargin.verify.judging.wording import about_optimizer
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.progress.joint import JointProgress
from maxmargin.verify.progress.report import StepProgress
from maxmargin.verify.results.verdict import ProblemVerdict
from maxmargin.verify.thresholds.judging import SCOUT
from maxmargin.verify.thresholds.table import Bounds
from maxmargin.verify.training.train import Training

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """One optimizer on one problem: how it is trained there, what is measured, and what is asked of it.

    Attributes:
        name: What progress calls it.
        exam: The problem, the norms to measure there, and what short experiments found of the optimizer, if any.
        training: Its runs.
        tier: ``quick`` or ``full``.
        bounds: What is asked, by tier.
        effort: How much is measured.
        seed: Of the starts.
        device: ``auto``, ``cpu`` or ``cuda``.
        known: What theory knows of it beforehand; None for an optimizer that was examined instead.
        scout: A claim that is tried on a part of the steps first: where that leaves no hope, the rest would only take
            time.
    """

    name: str
    exam: Exam
    training: Training
    tier: str
    bounds: Mapping[str, Bounds]
    effort: Effort
    seed: int
    device: str
    known: Known | None = None
    scout: Norm | None = None

    def run(self, progress: StepProgress | None = None) -> Measured:
        """Train and measure."""
        if self.scout is not None:
            scouted = self._run(SCOUT, progress)
            if hopeless(self.judge(scouted, self.scout), self.bounds[self.tier]):
                return scouted
        return self._run(1.0, progress)

    def _run(self, share: float, progress: StepProgress | None) -> Measured:
        problem, exam = problems.get(self.exam.problem), self.exam
        with one_thread():
            started = time.perf_counter()
            trajectory = self.training.run(problem, seed=self.seed, device=self.device, share=share, progress=progress)
            seconds = time.perf_counter() - started
            effort = self.effort if share == 1.0 else replace(self.effort, match=False)
            evidence = measure(problem, trajectory, exam.candidates, claimed=exam.claimed, effort=effort)
            state = measure_state(problem, trajectory, evidence.norms, effort)
            if state is None and exam.layers is not None:
                state = measure_layers(problem, trajectory, exam.layers, evidence.norms, effort)
        training = self.training
        return Measured(problem, trajectory, evidence, exam, seconds, training.full_steps, training.short_of, state)

    def judge(self, found: Measured, norm: Norm) -> ProblemVerdict:
        """Judge what was measured for one of the norms."""
        problem, trajectory, exam = found.problem, found.trajectory, found.exam
        with one_thread():
            evidence = with_apartness(problem, norm, found.evidence.norms, exam.norms | {norm.name: norm})
            hypotheses = hypotheses_of(problem, trajectory, norm, self.known) | about_optimizer(exam.about, exam.twin)
        facts = Facts(
            norm.name,
            evidence,
            hypotheses,
            self.bounds,
            self.tier,
            steps=int(trajectory.steps[-1]),
            margin=float(trajectory.margin[-1].max()),
            steady=found.steady(norm),
            short_of=found.short_of,
        )
        decision = decide(facts)
        return ProblemVerdict(
            problem=problem.name,
            degree=problem.degree,
            outcome=decision.outcome,
            steps=facts.steps,
            final_margin=facts.margin,
            evidence=evidence,
            hypotheses=hypotheses,
            reasons=decision.texts,
            rung=facts.own.rung if norm.name in evidence else "numerical",
            runs=trajectory.runs,
            separated_runs=int(trajectory.separated.sum()),
            arrays=found.evidence.arrays,
            norm=norm.name,
            # Advice on steps is for an optimizer that was examined; a claim's plan is fixed.
            steps_needed=facts.steps_asked if self.known is None else None,
        )

    def verdict(self, progress: StepProgress | None = None) -> ProblemVerdict:
        """Train, measure, and judge for the norm that is claimed."""
        return self.judge(self.run(progress), self.exam.claimed[0])


def run_all(
    jobs: Sequence[Job], work: Callable[[Job, StepProgress], Result], workers: int, progress: JointProgress
) -> Iterator[tuple[str, Result]]:
    """Run jobs, what takes longest first, and yield each name and result as it is done.

    The engine's native runs leave the interpreter to others, so they share this process, in threads: a new process
    would load every library again, which takes longer than most of them. Black boxes get processes of their own.

    Yields:
        The name of a finished job, and what ``work`` made of it.
    """
    ordered = sorted(jobs, key=lambda job: (job.exam.problem.endswith("@linear"), -job.training.steps))
    workers = min(workers, len(ordered))
    if workers <= 1:
        for job in ordered:
            yield _named(job, work, progress.here(job.name))
        return
    from joblib import Parallel, delayed

    threads = all(isinstance(job.training.trainee, Optimizer) for job in ordered)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the workers load their libraries
    pool = Parallel(
        n_jobs=workers,
        return_as="generator_unordered",
        batch_size=1,
        backend="threading" if threads else "loky",
    )
    tell = progress.here if threads else progress.elsewhere
    yield from pool(delayed(_named)(job, work, tell(job.name)) for job in ordered)


def _named(job: Job, work: Callable[[Job, StepProgress], Result], progress: StepProgress) -> tuple[str, Result]:
    return job.name, work(job, progress)
