"""``check``: name the norm whose margin an optimizer maximizes, or test a claim, with evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.blackbox.targets import Target, load
from maxmargin.verify.claims.catalogue import check_tier
from maxmargin.verify.engine.devices import one_thread, resolve
from maxmargin.verify.evidence.hypotheses import measured
from maxmargin.verify.evidence.measure import Effort, measure
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.conclusion import conclude, nearest_norm
from maxmargin.verify.judging.rules import FALLING, Bounds, judge, own_when_constant, steps_needed
from maxmargin.verify.judging.wording import about_optimizer
from maxmargin.verify.lab.examine import Exam, Laboratory
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.progress.relay import Relay
from maxmargin.verify.progress.report import Progress, StepProgress
from maxmargin.verify.results.candidates import family
from maxmargin.verify.results.verdict import Hypothesis, NormEvidence, Outcome, ProblemVerdict, Verdict
from maxmargin.verify.training.train import NETWORK_RUNS, capped, planned, train

LINEAR = {"quick": Bounds(gap=2e-2, ratio=5, alignment=0.95), "full": Bounds(gap=3e-3, ratio=10, alignment=0.95)}
NETWORK = {"quick": Bounds(gap=1e-1, ratio=2, alignment=0.9), "full": Bounds(gap=2e-2, ratio=3, alignment=0.95)}
SCOUT = 0.25  # of the steps, taken first where a claim is to be held against a black box
FAR = 2.0  # times the bound: a gap that stands still above it is not going to meet it
LATE = 20.0  # a margin at which the others' weights are e^-20 and less


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
) -> Verdict:
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
    from maxmargin.models import problems as registry
    from maxmargin.solvers.versions import versions

    started = time.perf_counter()
    check_tier(tier)
    wanted = get_norm(claim) if claim is not None else None
    resolve(device)
    loaded = load(target, kwargs)
    laboratory = Laboratory(loaded, seed)
    names = tuple(dict.fromkeys(registry.get(name).name for name in (problems or laboratory.problems())))
    exams = laboratory.examine(names, wanted)
    measured_all = _measure_all(laboratory.target, exams, wanted, tier, seed, device, progress)
    found = sorted(measured_all, key=lambda m: names.index(m.problem.name))
    verdicts = _judge_all(found, wanted, tier)
    answer = conclude(found, verdicts, claim=wanted.name if wanted is not None else None, tier=tier)
    print_of = next((m.fingerprint for m in found if m.fingerprint is not None), None)
    return Verdict(
        target=loaded.spec,
        kwargs=loaded.kwargs,
        outcome=answer.outcome,
        norm=family(answer.norm) if answer.norm is not None else None,
        blocks=print_of.to_json() if print_of is not None else {},
        claim=wanted.name if wanted is not None else None,
        reasons=answer.reasons,
        problems=verdicts,
        approximate=answer.approximate,
        extra={
            "tier": tier,
            "versions": versions(),
            "seed": seed,
            "device": str(resolve(device)),
            "seconds": round(time.perf_counter() - started, 3),
            "probe": _probe_json(found[0].probe),
            "twin": next((e.twin.text for e in exams if e.twin is not None), None),
            "findings": _findings_json(exams),
        },
    )


def _measure_all(
    target: Target,
    exams: Sequence[Exam],
    claim: Norm | None,
    tier: str,
    seed: int,
    device: str,
    progress: Progress | None,
) -> Iterator[Measured]:
    from joblib import Parallel, delayed

    # Networks take longest: they start first.
    ordered = sorted(exams, key=lambda e: e.problem.endswith("@linear"))
    workers = min(len(ordered), os.cpu_count() or 1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pool = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
    names = {e.problem: f"{target.spec} on {e.problem}" for e in ordered}
    with Relay(progress) as relay:
        relay(0, len(ordered))
        posts = [relay.elsewhere(names[e.problem]) for e in ordered]
        job = delayed(_measure)
        jobs = (job(target, e, claim, tier, seed, device, post) for e, post in zip(ordered, posts, strict=True))
        for done, result in enumerate(pool(jobs), start=1):
            relay.finished(names[result.problem.name])
            relay(done, len(ordered), names[result.problem.name])
            yield result


def _measure(
    target: Target, exam: Exam, claim: Norm | None, tier: str, seed: int, device: str, progress: StepProgress
) -> Measured:
    """Train on one problem and measure; runs in a process of its own.

    A black box that is held against a claim is scouted first: where a quarter of the steps leaves no hope, the rest
    would only take time.

    Returns:
        What was measured.
    """
    if claim is not None and exam.about is not None and exam.twin is None:
        scouted = _measure_run(target, exam, tier, seed, device, SCOUT, progress)
        if hopeless(_judge(scouted, claim, tier), _bounds(scouted.problem.linear, tier)):
            return scouted
    return _measure_run(target, exam, tier, seed, device, 1.0, progress)


def hopeless(verdict: ProblemVerdict, bounds: Bounds) -> bool:
    """Whether a claim is refuted beyond what more steps could mend.

    Then its gap is far above the bound and surely stands still, at margins where only the smallest still count.

    Args:
        verdict: On the claim, after some steps.
        bounds: What is asked.

    Returns:
        True or False.
    """
    own = verdict.evidence.get(verdict.norm)
    if verdict.outcome is not Outcome.FAILS or own is None or own.slope_interval is None:
        return False
    flat = own.slope_interval[0] > FALLING and own.kkt_gap_range[0] > FAR * bounds.gap
    return flat and verdict.final_margin >= LATE


def _measure_run(
    target: Target, exam: Exam, tier: str, seed: int, device: str, share: float, progress: StepProgress
) -> Measured:
    from maxmargin.models import problems as registry

    problem = registry.get(exam.problem)
    with one_thread():
        started = time.perf_counter()
        trajectory = train(target, problem, exam, tier=tier, seed=seed, device=device, share=share, progress=progress)
        seconds = time.perf_counter() - started
        effort = Effort(checkpoints=8 if tier == "quick" else 12, runs=NETWORK_RUNS[tier], match=share == 1.0)
        evidence = measure(problem, trajectory, exam.candidates, claimed=exam.claimed, effort=effort)
    norms = {n.name: n for n in (*exam.candidates, *exam.claimed)}
    return Measured(
        problem=problem,
        trajectory=trajectory,
        evidence=evidence,
        norms=norms,
        fingerprint=exam.fingerprint,
        probe=exam.about,
        signature=exam.signature,
        twin=exam.twin,
        findings=exam.findings,
        notes=exam.notes,
        seconds=seconds,
        full_steps=planned(target, exam, "full"),
        short_of=capped(target, exam, tier),
    )


def _judge_all(found: Sequence[Measured], claim: Norm | None, tier: str) -> tuple[ProblemVerdict, ...]:
    """Judge every problem for the claim; without one, for the norm that evidence, else the signature, speaks for."""
    if claim is not None:
        return tuple(_judge(m, claim, tier) for m in found)
    nearest = nearest_norm(found)
    verdicts = tuple(_judge(m, nearest, tier) for m in found)
    seen = [m.fingerprint for m in found if m.fingerprint is not None and m.probe is not None]
    own, families = [f.norm for f in seen], {f.family for f in seen}
    failed = any(v.outcome is Outcome.FAILS for v in verdicts)
    # Per-block weights make a different norm on each problem's shapes; it is one family if its name is one.
    if failed and len(own) == len(found) and len(families) == 1:
        return tuple(_judge(m, n, tier) for m, n in zip(found, own, strict=True))
    return verdicts


def _judge(found: Measured, norm: Norm, tier: str) -> ProblemVerdict:
    """Judge one problem for one norm."""
    from maxmargin.verify.evidence.apartness import with_apartness

    problem, trajectory = found.problem, found.trajectory
    summaries, arrays = found.evidence.norms, found.evidence.arrays
    if norm.name not in summaries and trajectory.separated.any():
        extra = measure(problem, trajectory, [], claimed=[norm])
        summaries, arrays = {**summaries, **extra.norms}, {**arrays, **extra.arrays}
    evidence = with_apartness(problem, norm, summaries, found.norms | {norm.name: norm})
    hypotheses = measured(problem, trajectory, norm) | about_optimizer(found.probe, found.twin)
    bounds = _bounds(problem.linear, tier)
    steps, margin = int(trajectory.steps[-1]), float(trajectory.margin[-1].max())
    own = evidence.get(norm.name)
    outcome, reasons = decide(
        norm.name,
        evidence,
        hypotheses,
        problem.linear,
        tier,
        steps=steps,
        margin=margin,
        steady=found.steady(norm),
        short_of=found.short_of,
    )
    return ProblemVerdict(
        problem=problem.name,
        degree=problem.degree,
        outcome=outcome,
        steps=steps,
        final_margin=margin,
        evidence=evidence,
        hypotheses=hypotheses,
        reasons=reasons,
        rung=own.rung if own is not None else "numerical",
        runs=trajectory.runs,
        separated_runs=int(trajectory.separated.sum()),
        arrays=arrays,
        norm=norm.name,
        steps_needed=steps_needed(own, bounds.gap, steps) if own is not None else None,
    )


def decide(
    norm: str,
    evidence: Mapping[str, NormEvidence],
    hypotheses: Mapping[str, Hypothesis],
    linear: bool,
    tier: str,
    *,
    steps: int,
    margin: float,
    steady: float | None,
    short_of: float,
) -> tuple[Outcome, tuple[str, ...]]:
    """Judge a norm on one problem by the tier's bounds.

    These are for the steps that a tier means to take. Where the optimizer's memory asks for more of them than it
    gives, those of ``quick`` decide, as they do of a short memory, if the gap is still closing; and steps that are the
    norm's own under constant gradients are not refuted before margins are large. Both are said.

    Args:
        norm: The norm's name; a key of ``evidence``.
        evidence: What was measured, by norm.
        hypotheses: As measured.
        linear: Whether the model is.
        tier: ``quick`` or ``full``.
        steps: Steps taken.
        margin: The largest final margin.
        steady: Alignment of its steps under constant gradients with the norm, if known.
        short_of: How many times more steps its memory asks for than the tier gives.

    Returns:
        The outcome and its reasons.
    """
    bounds = _bounds(linear, tier)
    found = judge(norm, evidence, hypotheses, bounds, steps=steps, steady=steady)
    if found[0] is Outcome.FAILS and short_of > 1 and margin < LATE and own_when_constant(steady):
        early = f"too early to tell: margins are {margin:.2g}, and its memory asks for {short_of:.0f} times more steps"
        return Outcome.INCONCLUSIVE, (*found[1], early)
    needed = steps_needed(evidence[norm], bounds.gap, steps) if norm in evidence else None
    if found[0] is not Outcome.INCONCLUSIVE or short_of <= 1 or needed is None:
        return found
    outcome, reasons = judge(norm, evidence, hypotheses, _bounds(linear, "quick"), steps=steps, steady=steady)
    if outcome is not Outcome.HOLDS:
        return found
    return outcome, (
        *reasons,
        f"by the quick tier's bounds, as its memory asks for {short_of:.0f} times more steps than the {tier} tier has; "
        f"the {tier} tier's gap of {bounds.gap:.0e} would be met after about {needed:.1e}",
    )


def _bounds(linear: bool, tier: str) -> Bounds:
    return (LINEAR if linear else NETWORK)[tier]


def _probe_json(about: Probe | None) -> dict[str, Any] | None:
    return None if about is None else about.to_json()


def _findings_json(exams: Sequence[Exam]) -> list[dict[str, Any]]:
    return [
        {"problem": e.problem, "block": f.block, "kind": f.kind, "text": f.text, "size": f.size}
        for e in exams
        for f in e.findings
    ]
