"""``check``: name the norm whose margin an optimizer maximizes, or test a claim, with evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maxmargin.models import problems as registry
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.solvers.versions import versions
from maxmargin.verify.blackbox.targets import Target, load
from maxmargin.verify.claims.catalogue import check_tier
from maxmargin.verify.engine.devices import resolve
from maxmargin.verify.evidence.measure import Effort
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.conclusion import conclude, nearest_norm
from maxmargin.verify.lab.examine import Exam, Laboratory
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.progress.joint import JointProgress
from maxmargin.verify.progress.report import Progress
from maxmargin.verify.results.candidates import family
from maxmargin.verify.results.verdict import CheckVerdict, Outcome, ProblemVerdict
from maxmargin.verify.running.job import Job, run_all
from maxmargin.verify.thresholds.judging import CHECK_LINEAR, CHECK_NETWORK, CHECKPOINTS
from maxmargin.verify.thresholds.training import NETWORK_RUNS
from maxmargin.verify.training.train import training_of


def check(
    target: str | Callable[..., Any],
    *,
    kwargs: Mapping[str, Any] | None = None,
    claim: str | None = None,
    tier: str = "quick",
    problems: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> CheckVerdict:
    """Find, or test, the norm whose margin an optimizer maximizes.

    Args:
        target: ``module:attr``, ``path/to/file.py:attr``, one of our own names, or the class or factory itself.
        kwargs: Constructor arguments.
        claim: A norm to test; None to find one.
        tier: ``quick`` (a minute) or ``full``.
        problems: Problems by name; by default three of different shapes and degrees that tell the norms apart.
        seed: Of the starts.
        device: ``auto``, ``cpu`` or ``cuda``; black boxes run where their parameters are, on the CPU.
        progress: Called with (problems done, problems, what was just finished), and about once a second as runs
            train, with their shares, a run's rate and the time it has left; from another thread.

    Returns:
        The verdict.

    Raises:
        TargetError: the target cannot be imported, built or stepped.
        NormError: the claim is no norm.
        ClaimError: unknown tier.
        ProblemError: unknown problem.
    """
    started = time.perf_counter()
    check_tier(tier)
    wanted = get_norm(claim) if claim is not None else None
    resolve(device)
    loaded = load(target, kwargs)
    laboratory = Laboratory(loaded, seed)
    names = tuple(dict.fromkeys(registry.get(name).name for name in (problems or laboratory.problems())))
    exams = laboratory.examine(names, wanted)
    jobs = [_job(laboratory.target, exam, tier, seed, device) for exam in exams]
    measured: dict[str, Measured] = {}
    with JointProgress(progress) as joint:
        joint(0, len(jobs))
        for name, one in run_all(jobs, Job.run, os.cpu_count() or 1, joint):
            measured[name] = one
            joint.finished(name)
            joint(len(measured), len(jobs), name)
    found = [measured[job.name] for job in jobs]
    verdicts = _judge_all(jobs, found, wanted)
    answer = conclude(found, verdicts, claim=wanted.name if wanted is not None else None, tier=tier)
    print_of = next((e.fingerprint for e in exams if e.fingerprint is not None), None)
    return CheckVerdict(
        target=loaded.spec,
        kwargs=loaded.kwargs,
        outcome=answer.outcome,
        norm=family(answer.norm) if answer.norm is not None else None,
        blocks=print_of.to_json() if print_of is not None else {},
        claim=wanted.name if wanted is not None else None,
        reasons=answer.reasons,
        problems=verdicts,
        approximate=answer.approximate,
        tier=tier,
        versions=versions(),
        seed=seed,
        device=str(resolve(device)),
        seconds=round(time.perf_counter() - started, 3),
        probe=_probe_json(exams[0].about),
        twin=next((e.twin.text for e in exams if e.twin is not None), None),
        findings=_findings_json(exams),
    )


def _job(target: Target, exam: Exam, tier: str, seed: int, device: str) -> Job:
    """How one problem is tried."""
    problem = registry.get(exam.problem)
    return Job(
        name=f"{target.spec} on {exam.problem}",
        exam=exam,
        training=training_of(target, problem, exam, tier),
        tier=tier,
        bounds=CHECK_LINEAR if problem.linear else CHECK_NETWORK,
        effort=Effort(checkpoints=CHECKPOINTS[tier], runs=NETWORK_RUNS[tier]),
        seed=seed,
        device=device,
    )


def _judge_all(jobs: Sequence[Job], found: Sequence[Measured], claim: Norm | None) -> tuple[ProblemVerdict, ...]:
    """Judge every problem for the claim; without one, for the norm that evidence, else the signature, speaks for."""

    def judged(norms: Sequence[Norm]) -> tuple[ProblemVerdict, ...]:
        return tuple(job.judge(m, norm) for job, m, norm in zip(jobs, found, norms, strict=True))

    verdicts = judged([claim or nearest_norm(found)] * len(jobs))
    exams = [job.exam for job in jobs]
    seen = [e.fingerprint for e in exams if e.fingerprint is not None and e.about is not None]
    failed = claim is None and any(v.outcome is Outcome.FAILS for v in verdicts)
    # Per-block weights make a different norm on each problem's shapes; it is one family if its name is one.
    if failed and len(seen) == len(found) and len({f.family for f in seen}) == 1:
        return judged([f.norm for f in seen])
    return verdicts


def _probe_json(about: Probe | None) -> dict[str, Any] | None:
    return None if about is None else about.to_json()


def _findings_json(exams: Sequence[Exam]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"problem": e.problem, "block": f.block, "kind": f.kind, "text": f.text, "size": f.size}
        for e in exams
        for f in e.findings
    )
