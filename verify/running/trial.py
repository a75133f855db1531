"""An optimizer, or one regime of it, on all problems: examined, made into jobs, and judged when they are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from maxmargin.models import problems as registry
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.versions import versions
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.evidence.measure import Effort
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.conclusion import Conclusion, conclude, nearest_norm
from maxmargin.verify.lab.examine import Exam, Laboratory
from maxmargin.verify.lab.norm.fingerprint import Fingerprint
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ProblemVerdict
from maxmargin.verify.results.store import fingerprint_of
from maxmargin.verify.running.job import Job
from maxmargin.verify.thresholds.judging import CHECK_LINEAR, CHECK_NETWORK, CHECKPOINTS
from maxmargin.verify.thresholds.training import NETWORK_RUNS
from maxmargin.verify.training.train import training_of


@dataclass(frozen=True)
class Plan:
    """How hard it is tried.

    Attributes:
        tier: ``quick`` or ``full``.
        seed: Of the starts.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    tier: str
    seed: int
    device: str


@dataclass(frozen=True)
class Trial:
    """An optimizer on all problems.

    Attributes:
        exams: What is known of it, one a problem.
        jobs: Its runs, likewise.
        claim: The norm that is tested; None to find one.
        tier: How hard it is tried.
    """

    exams: Sequence[Exam]
    jobs: Sequence[Job]
    claim: Norm | None
    tier: str

    @classmethod
    def of(cls, laboratory: Laboratory, names: Sequence[str], claim: Norm | None, plan: Plan, part: str = "") -> Trial:
        """Return the trial of an optimizer that is examined on problems.

        Args:
            laboratory: The optimizer's.
            names: The problems.
            claim: The norm that is claimed, or None.
            plan: How hard to try.
            part: Told in the jobs' names, where there are several trials.
        """
        exams = laboratory.examine(names, claim)
        jobs = [_job(laboratory.target, exam, plan, part) for exam in exams]
        return cls(exams, jobs, claim, plan.tier)

    @property
    def twin(self) -> str | None:
        """The optimizer of ours that it follows, or None."""
        return next((e.twin.text for e in self.exams if e.twin is not None), None)

    def judge(self, measured: Mapping[str, Measured]) -> Judged:
        """Judge what was measured, by the jobs' names."""
        found = [measured[job.name] for job in self.jobs]
        verdicts = _judge_all(self.jobs, found, self.claim)
        claim = self.claim.name if self.claim is not None else None
        concluded = conclude(found, verdicts, claim=claim, tier=self.tier)
        seen = replace(self, exams=[m.exam for m in found])  # a long run may have found what a short one had not
        return Judged(seen, concluded, verdicts)


@dataclass(frozen=True)
class Judged:
    """A trial with its verdicts.

    Attributes:
        trial: It.
        conclusion: Over all problems.
        verdicts: One a problem.
    """

    trial: Trial
    conclusion: Conclusion
    verdicts: tuple[ProblemVerdict, ...]


def _job(target: Target, exam: Exam, plan: Plan, part: str) -> Job:
    """How one problem is tried."""
    problem, claimed = registry.get(exam.problem), [norm.name for norm in exam.claimed]
    return Job(
        name=f"{target.spec} on {exam.problem}{part}",
        exam=exam,
        training=training_of(target, problem, exam, plan.tier),
        tier=plan.tier,
        bounds=CHECK_LINEAR if problem.linear else CHECK_NETWORK,
        effort=Effort(checkpoints=CHECKPOINTS[plan.tier], runs=NETWORK_RUNS[plan.tier]),
        seed=plan.seed,
        device=plan.device,
        key=fingerprint_of(
            versions(), target.spec, dict(target.kwargs), target.units, exam.problem, claimed, plan, part
        ),
    )


def _judge_all(jobs: Sequence[Job], found: Sequence[Measured], claim: Norm | None) -> tuple[ProblemVerdict, ...]:
    """Judge every problem for the claim; without one, for the norm that evidence, else the signature, speaks for."""

    def judged(norms: Sequence[Norm]) -> tuple[ProblemVerdict, ...]:
        return tuple(job.judge(m, norm) for job, m, norm in zip(jobs, found, norms, strict=True))

    if claim is not None:
        return judged([claim] * len(jobs))
    nearest = nearest_norm(found)
    exams = [job.exam for job in jobs]
    seen = [e.fingerprint for e in exams if e.fingerprint is not None and e.about is not None]
    # Per-block weights make a different norm on each problem's shapes; it is one rule all the same.
    own = [f.norm for f in seen] if len(seen) == len(found) and one_rule(seen) else None
    if own is not None and nearest.name in {f.family for f in seen} and any(f.weighted for f in seen):
        verdicts = judged(own)
        if not _failed(verdicts) or _failed(plain := judged([nearest] * len(jobs))):
            return verdicts
        return plain
    verdicts = judged([nearest] * len(jobs))
    return judged(own) if own is not None and _failed(verdicts) else verdicts


def one_rule(prints: Sequence[Fingerprint]) -> bool:
    """Whether one rule for matrices, one for vectors, and one way to join them explain all the fingerprints."""
    rules: dict[bool, set[str]] = {}
    for block in (b for f in prints for b in f.blocks.values()):
        rules.setdefault(block.is_matrix, set()).add(block.norm)
    joins = {f.norm.aggregation for f in prints if len(f.blocks) > 1}
    return all(len(names) == 1 for names in rules.values()) and len(joins) <= 1


def _failed(verdicts: Sequence[ProblemVerdict]) -> bool:
    return any(v.outcome is Outcome.FAILS for v in verdicts)
