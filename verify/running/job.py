"""One optimizer on one problem, from training to verdict: the one path that ``check``, ``verify`` and the gate take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace as replace_fields

from maxmargin.models import problems
from maxmargin.solvers.norms import Norm
from maxmargin.verify.engine.devices import one_thread
from maxmargin.verify.evidence.apartness import own_points, remaining, with_apartness
from maxmargin.verify.evidence.hypotheses import Known, hypotheses_of, ordered
from maxmargin.verify.evidence.measure import Effort, measure
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.evidence.state_norm import measure_layers, measure_state
from maxmargin.verify.judging.facts import Facts
from maxmargin.verify.judging.rules import Decision, judge
from maxmargin.verify.judging.wording import about_optimizer
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.lab.norm.weights import misweighted
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.progress.joint import JointProgress
from maxmargin.verify.progress.report import StepProgress
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ControlVerdict, Hypothesis, ProblemVerdict
from maxmargin.verify.results.profiles import profiles
from maxmargin.verify.running.orphans import end_with
from maxmargin.verify.running.spread import Backend
from maxmargin.verify.thresholds.table import Bounds
from maxmargin.verify.thresholds.training import LAST_OWN_RUN, LAST_RUN, LONGER_RUN, LONGEST_RUN, NEEDED_MARGIN
from maxmargin.verify.training.train import Training

Result = TypeVar("Result")


class Work(Protocol):
    """A job as those who run it see it."""

    @property
    def name(self) -> str:
        """What progress calls it."""

    @property
    def order(self) -> tuple[bool, int]:
        """Sorts jobs, what takes longest first."""

    @property
    def threads(self) -> bool:
        """Whether it leaves the interpreter to others."""


AnyJob = TypeVar("AnyJob", bound=Work)


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
        control: A wrong norm, for which the same check on the same runs must not hold; None where none is asked.
        key: A hash of all that its result depends on.
        once: Whether one run decides, of as many steps as are given.
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
    control: Norm | None = None
    key: str = ""
    once: bool = False

    def __getstate__(self) -> dict[str, Any]:
        # A problem that was handed over has no name that leads to it in another process.
        return {**vars(self), "given": problems.given(self.exam.problem)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if (given := state.pop("given")) is not None:
            problems.register(given)
        vars(self).update(state)

    @property
    def order(self) -> tuple[bool, int]:
        """Sorts jobs, what takes longest first."""
        return self.exam.problem.endswith("@linear"), -self.training.steps

    @property
    def threads(self) -> bool:
        """Whether it leaves the interpreter to others: the engine's native runs do."""
        return isinstance(self.training.trainee, Optimizer)

    def run(self, progress: StepProgress | None = None) -> Measured:
        """Train and measure; again, where another run may decide what this one did not.

        The full tier's runs of a black box take an hour, and are not repeated.

        Returns:
            What was measured of the last run.
        """
        found = self._run(self.training, progress)
        native = isinstance(self.training.trainee, Optimizer)
        if self.once or not self.exam.claimed or not (native or self.tier == "quick"):
            return found
        norm, training = self.exam.claimed[0], self.training
        while True:
            decision = self._decision(found, norm)
            again = self._again(training, decision)
            if again is None:
                return replace(found, decided=(norm.name, decision))
            training = again
            found = self._run(training, progress)

    def _again(self, training: Training, decision: Decision) -> Training | None:
        """The run that may decide what this one did not.

        It has as many steps as a gap that closes, or a direction that is far, seems to need, and as there is time for.
        Where it does not close, or not in time, it is longer and goes at a fraction of the pace: a black box, whose
        steps are slow, once, and so is the full tier. The engine, whose steps are fast, goes on with a gap that closes
        at the slowest of these paces.

        Returns:
            How it is trained; None where no run may decide, or it would take too long.
        """
        if not decision.another_run_may_do:
            return None
        native, quick = isinstance(training.trainee, Optimizer), self.tier == "quick"
        share = LONGEST_RUN if quick else LONGER_RUN
        slowest = decision.facts.slower * share <= 1
        last = share if not quick or (native and not slowest) else LAST_RUN if native else LAST_OWN_RUN
        needed, most = decision.facts.steps_needed or 0.0, last * self.training.steps
        steps = LONGER_RUN * training.steps
        snapshot = _after(training.snapshot)
        if needed and max(NEEDED_MARGIN * training.steps, needed) <= most:
            return replace(training, steps=int(min(max(steps, NEEDED_MARGIN * needed), most)), snapshot=snapshot)
        if slowest or (not native and training is not self.training):
            return None
        slower = training.pace.slower(1.0 / LONGER_RUN)
        return replace(training, steps=int(min(steps, most)), pace=slower, snapshot=snapshot)

    def _run(self, training: Training, progress: StepProgress | None) -> Measured:
        problem, exam = problems.get(self.exam.problem), self.exam
        with one_thread():
            started = time.perf_counter()
            trajectory = training.run(problem, seed=self.seed, device=self.device, progress=progress)
            seconds = time.perf_counter() - started
            if exam.nonfinite is None and (broken := training.nonfinite(problem, trajectory)) is not None:
                exam = replace(exam, nonfinite=broken)
            evidence = measure(problem, trajectory, exam.candidates, claimed=exam.claimed, effort=self.effort)
            state = measure_state(problem, trajectory, evidence.norms, self.effort)
            if state is None and exam.layers is not None:
                state = measure_layers(problem, trajectory, exam.layers, evidence.norms, self.effort)
        slower = training.pace.pace / self.training.pace.pace
        return Measured(problem, trajectory, evidence, exam, seconds, training.full_steps, state, slower)

    def judge(self, found: Measured, norm: Norm) -> ProblemVerdict:
        """Judge what was measured for one of the norms."""
        problem, trajectory = found.problem, found.trajectory
        known = found.decided if found.decided is not None and found.decided[0] == norm.name else None
        decision = self._decision(found, norm) if known is None else known[1]
        facts = decision.facts
        return ProblemVerdict(
            problem=problem.name,
            degree=problem.degree,
            outcome=decision.outcome,
            steps=facts.steps,
            final_margin=facts.margin,
            evidence=facts.evidence,
            hypotheses=facts.hypotheses,
            reasons=decision.texts,
            rung=facts.own.rung if norm.name in facts.evidence else "numerical",
            runs=trajectory.runs,
            separated_runs=int(trajectory.separated.sum()),
            arrays={**found.evidence.arrays, **profiles({k: v[-1] for k, v in trajectory.theta.items()})},
            norm=norm.name,
            model=getattr(problem.model, "findings", ""),
            # Advice on steps is for an optimizer that was examined; a claim's plan is fixed.
            steps_needed=facts.steps_needed if self.known is None else None,
        )

    def _decision(self, found: Measured, norm: Norm) -> Decision:
        problem, trajectory, exam = found.problem, found.trajectory, found.exam
        with one_thread():
            evidence = with_apartness(problem, trajectory, found.evidence, norm, exam.norms | {norm.name: norm})
            points = own_points(problem, trajectory, found.evidence, norm)
            left = None if points is None else remaining(trajectory, points)
            hypotheses = hypotheses_of(problem, trajectory, norm, self._known, left)
            hypotheses |= about_optimizer(exam.about, exam.twin)
            hypotheses |= _own_weights(exam, norm) | _at_large(exam)
        if self.known is None and isinstance(self.training.trainee, Optimizer) and self.training.trainee.betas:
            hypotheses |= ordered(self.training.trainee.betas)
        return judge(
            Facts(
                norm.name,
                evidence,
                hypotheses,
                self.bounds[self.tier],
                steps=int(trajectory.steps[-1]),
                margin=float(trajectory.margin[-1].max()),
                steady=found.steady(norm),
                told=exam.told(norm),
                elsewhere=exam.elsewhere,
                slower=found.slower,
            )
        )

    @property
    def _known(self) -> Known:
        """What is known beforehand: of an optimizer that was examined, the pace at which it is led."""
        return self.known or Known(schedule=self.training.pace)

    def verdict(self, progress: StepProgress | None = None) -> ProblemVerdict:
        """Train, measure, and judge for the norm that is claimed."""
        found = self.run(progress)
        verdict = self.judge(found, self.exam.claimed[0])
        if self.control is None:
            return verdict
        other = self.judge(found, self.control)
        violates = f"the same runs, judged for {self.control.name}"
        refused = other.outcome is Outcome.FAILS
        return replace_fields(verdict, control=ControlVerdict(violates, refused, outcome=other.outcome))


def _after(snapshot: Path | None) -> Path | None:
    """The file of the next run: each has its own, so that a job that is broken off goes on where it was."""
    if snapshot is None:
        return None
    first, number = snapshot.name.removesuffix(".npz"), 1
    if (parts := first.rsplit(".", 1))[-1].isdecimal() and len(parts) == 2:
        first, number = parts[0], int(parts[1])
    return snapshot.with_name(f"{first}.{number + 1}.npz")


def _own_weights(exam: Exam, norm: Norm) -> dict[str, Hypothesis]:
    """Whether a black box's blocks move, beside each other, as far as the norm says."""
    if exam.about is None:
        return {}
    factors = misweighted(exam.signature, norm)
    ratio = max(factors.values(), default=1.0) / min(factors.values(), default=1.0)
    return {"blocks as far as the norm says": Hypothesis(not factors, ratio, "optimizer")}


def _at_large(exam: Exam) -> dict[str, Hypothesis]:
    """Whether steps at realistic shapes follow the norm that they follow on small blocks."""
    if exam.large is None:
        return {}
    others = exam.large.disagreements
    where = ", ".join(b.size for b in others) or exam.large.unlike or None
    return {"the same norm at realistic shapes": Hypothesis(where is None, where, "optimizer")}


def run_all(
    jobs: Sequence[AnyJob],
    work: Callable[[AnyJob, StepProgress], Result],
    backend: Backend,
    progress: JointProgress,
    keys: Mapping[str, str],
) -> Iterator[tuple[str, Result]]:
    """Run jobs, what takes longest first, and yield each name and result as it is done.

    The engine's native runs leave the interpreter to others, so they share this process, in threads: a new process
    would load every library again, which takes longer than most of them. Black boxes get processes of their own.

    Args:
        jobs: The jobs.
        work: What is done with each, given a progress.
        backend: Where.
        progress: Of all.
        keys: By the jobs' names, a hash of what each depends on.

    Yields:
        The name of a finished job, and what ``work`` made of it.
    """
    ordered = sorted(jobs, key=lambda job: job.order)
    native = all(job.threads for job in ordered)
    far = backend.name == "dask"  # another machine reads no files of ours, and is nobody's child here
    alone = min(backend.workers, len(ordered)) <= 1
    tell = progress.here if alone or backend.of(native) == "threads" else progress.elsewhere
    parent = 0 if far else os.getpid()
    items = [(f"{keys[job.name]}-{job.name}", (job, work, None if far else tell(job.name), parent)) for job in ordered]
    yield from backend.spread(_named, items, native)


def _named(
    job: AnyJob, work: Callable[[AnyJob, StepProgress], Result], progress: StepProgress | None, parent: int
) -> tuple[str, Result]:
    if parent:
        end_with(parent)
    return job.name, work(job, progress or _unheard)


def _unheard(done: int, steps: int, /) -> None:
    """The progress of a job on another machine."""
