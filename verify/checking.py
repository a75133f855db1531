"""``check``: name the norm whose margin an optimizer maximizes, or test a claim, with evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeGuard

from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.candidates import CANDIDATES
from maxmargin.verify.claims import check_tier
from maxmargin.verify.conclusion import about_optimizer, conclude, nearest_norm
from maxmargin.verify.devices import one_thread, resolve
from maxmargin.verify.evidence import Effort, measure
from maxmargin.verify.fingerprint import WEIGHTED, Fingerprint, family, late_steps, read
from maxmargin.verify.hypotheses import measured
from maxmargin.verify.judge import Bounds, judge
from maxmargin.verify.measured import Measured
from maxmargin.verify.probes import Probe, probe
from maxmargin.verify.signature import signature
from maxmargin.verify.targets import Target, TargetError, load
from maxmargin.verify.trajectory import Trajectory
from maxmargin.verify.verdict import Outcome, ProblemVerdict, Verdict

Progress = Callable[[int, int, str], None]

PROBLEMS = ("blocks", "multiclass", "binary@relu2:h=8")
MATRIX_PROBLEMS = ("matrices", "multiclass", "multiclass@relu2:h=8")  # for optimizers that refuse vectors
LINEAR = {"quick": Bounds(gap=2e-2, ratio=5, alignment=0.95), "full": Bounds(gap=3e-3, ratio=10, alignment=0.95)}
NETWORK = {"quick": Bounds(gap=1e-1, ratio=2, alignment=0.9), "full": Bounds(gap=2e-2, ratio=3, alignment=0.95)}
STEPS = {"quick": 30_000, "full": 400_000}
FAST_MEMORY = 0.05  # lag limit above which STEPS suffice; below it more steps are given, up to MORE times
MORE = {"quick": 2.0, "full": 10.0}
NETWORK_RUNS = {"quick": 2, "full": 6}


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
        progress: Called with (problems done, problems, what was just finished).

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
    names = tuple(dict.fromkeys(registry.get(name).name for name in (problems or _problems_for(loaded))))
    exams = _examine(loaded, names, wanted, seed)
    found = sorted(_measure_all(loaded, exams, tier, seed, device, progress), key=lambda m: names.index(m.problem.name))
    verdicts = _judge_all(found, wanted, tier)
    answer = conclude(found, verdicts, claim=wanted.name if wanted is not None else None)
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
        },
    )


def _problems_for(target: Target) -> tuple[str, ...]:
    """Return the standard problems, or those without vectors if the optimizer refuses one.

    Raises:
        TargetError: when it refuses both.
    """
    from maxmargin.models import problems as registry

    if target.native is not None:
        return PROBLEMS
    try:
        probe(target, registry.get(PROBLEMS[0]).shapes)
    except TargetError as refusal:
        try:
            probe(target, registry.get(MATRIX_PROBLEMS[0]).shapes)
        except TargetError:
            raise refusal from None
        return MATRIX_PROBLEMS
    return PROBLEMS


@dataclass(frozen=True)
class _Exam:
    """What is known of the optimizer on one problem before it is trained there."""

    problem: str
    about: Probe | None
    fingerprint: Fingerprint | None
    candidates: tuple[Norm, ...]
    claimed: tuple[Norm, ...]


def _examine(target: Target, names: Sequence[str], claim: Norm | None, seed: int) -> list[_Exam]:
    """Probe a black box on each problem's shapes, and collect the norms that are to be measured there."""
    from maxmargin.models import problems as registry

    probes: dict[str, Probe] = {}
    prints: dict[str, Fingerprint | None] = {}
    if target.native is None:
        for name in names:
            shapes = registry.get(name).shapes
            probes[name] = probe(target, shapes, seed)
            prints[name] = read(signature(target, shapes, seed), probes[name].coupling)
    own = target.native.norm if target.native is not None else None
    # A norm of every problem's blocks (hybrid:2) that one problem suggests is measured on all of them.
    common = {n.name: n for n in (own, *(p.norm for p in prints.values() if p is not None)) if _is_general(n)}
    exams = []
    for name in names:
        seen = prints.get(name)
        suspects = {n: get_norm(n) for n in CANDIDATES} | common
        if seen is not None:
            suspects[seen.norm.name] = seen.norm
        expected = claim or (seen.norm if seen is not None else own)
        exams.append(
            _Exam(name, probes.get(name), seen, tuple(suspects.values()), () if expected is None else (expected,))
        )
    return exams


def _is_general(norm: Norm | None) -> TypeGuard[Norm]:
    """Whether a norm is for any blocks, not written for the named blocks of one problem."""
    return norm is not None and not norm.name.startswith((WEIGHTED, "blocks:"))


def _measure_all(
    target: Target, exams: Sequence[_Exam], tier: str, seed: int, device: str, progress: Progress | None
) -> Iterator[Measured]:
    from joblib import Parallel, delayed

    # Networks take longest: they start first.
    ordered = sorted(exams, key=lambda e: e.problem.endswith("@linear"))
    workers = min(len(ordered), os.cpu_count() or 1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pool = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
    for done, result in enumerate(pool(delayed(_measure)(target, e, tier, seed, device) for e in ordered), start=1):
        if progress is not None:
            progress(done, len(ordered), f"{target.spec} on {result.problem.name}")
        yield result


def _measure(target: Target, exam: _Exam, tier: str, seed: int, device: str) -> Measured:
    """Train on one problem and measure; runs in a process of its own."""
    from maxmargin.models import problems as registry

    problem = registry.get(exam.problem)
    with one_thread():
        trajectory = _train(target, problem, exam.about, tier, seed, device)
        fingerprint = exam.fingerprint or read(late_steps(trajectory), _coupling_of(target))
        effort = Effort(checkpoints=8 if tier == "quick" else 12, runs=NETWORK_RUNS[tier])
        evidence = measure(problem, trajectory, exam.candidates, claimed=exam.claimed, effort=effort)
    norms = {n.name: n for n in (*exam.candidates, *exam.claimed)}
    return Measured(problem, trajectory, evidence, norms, fingerprint, exam.about)


def _train(target: Target, problem: Problem, about: Probe | None, tier: str, seed: int, device: str) -> Trajectory:
    from maxmargin.verify.blackbox import run_blackbox
    from maxmargin.verify.engine import run, starts

    runs, scale = (1, 0.01) if problem.linear else (NETWORK_RUNS[tier], 0.02)
    start = starts(problem, runs, seed=seed, scale=scale)
    if about is not None:
        return run_blackbox(target, problem, start, about, steps=_steps(about.lag_limit, tier))
    assert target.native is not None
    where = resolve(device)
    steps = 2 * _steps(target.native.lag_limit, tier)  # the engine is several times as fast
    return run(problem.to(where), target.native, start, steps=steps, device=where)


def _coupling_of(target: Target) -> float | None:
    """How an engine optimizer joins its blocks: known, where a black box's is probed."""
    norm = target.native.norm if target.native is not None else None
    return None if norm is None else 1.0 / (norm.aggregation - 1.0) if norm.aggregation > 1 else inf


def _steps(lag_limit: float, tier: str) -> int:
    return int(STEPS[tier] * min(MORE[tier], max(1.0, FAST_MEMORY / lag_limit)))


def _judge_all(found: Sequence[Measured], claim: Norm | None, tier: str) -> tuple[ProblemVerdict, ...]:
    """Judge every problem for the claim; without one, for the norm that evidence, else the signature, speaks for."""
    if claim is not None:
        return tuple(_judge(m, claim, tier) for m in found)
    nearest = nearest_norm(found)
    verdicts = tuple(_judge(m, nearest, tier) for m in found)
    own = [m.fingerprint.norm for m in found if m.fingerprint is not None and m.probe is not None]
    failed = any(v.outcome is Outcome.FAILS for v in verdicts)
    # Per-block weights make a different norm on each problem's shapes; it is one family if its name is one.
    if failed and len(own) == len(found) and len({family(n.name) for n in own}) == 1:
        return tuple(_judge(m, n, tier) for m, n in zip(found, own, strict=True))
    return verdicts


def _judge(found: Measured, norm: Norm, tier: str) -> ProblemVerdict:
    """Judge one problem for one norm."""
    from maxmargin.verify.apartness import with_apartness

    problem, trajectory = found.problem, found.trajectory
    summaries, arrays = found.evidence.norms, found.evidence.arrays
    if norm.name not in summaries and trajectory.separated.any():
        extra = measure(problem, trajectory, [], claimed=[norm])
        summaries, arrays = {**summaries, **extra.norms}, {**arrays, **extra.arrays}
    evidence = with_apartness(problem, norm, summaries, found.norms | {norm.name: norm})
    hypotheses = measured(problem, trajectory, norm) | about_optimizer(found.probe)
    bounds = (LINEAR if problem.linear else NETWORK)[tier]
    steps = int(trajectory.steps[-1])
    outcome, reasons = judge(norm.name, evidence, hypotheses, bounds, steps=steps)
    return ProblemVerdict(
        problem=problem.name,
        degree=problem.degree,
        outcome=outcome,
        steps=steps,
        final_margin=float(trajectory.margin[-1].max()),
        evidence=evidence,
        hypotheses=hypotheses,
        reasons=reasons,
        rung=evidence[norm.name].rung if norm.name in evidence else "numerical",
        runs=trajectory.runs,
        separated_runs=int(trajectory.separated.sum()),
        arrays=arrays,
        norm=norm.name,
    )


def _probe_json(about: Probe | None) -> dict[str, Any] | None:
    return None if about is None else {k: v for k, v in about.__dict__.items() if k != "state_degrees"}
