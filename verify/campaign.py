"""``verify``: every claim on its problems, in parallel, resumable, with verdicts and stored evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from maxmargin.verify.candidates import CANDIDATES
from maxmargin.verify.claims import Claim, Plan, check_tier, select
from maxmargin.verify.store import Store, file_key, fingerprint_of
from maxmargin.verify.verdict import Outcome, ProblemVerdict, Verdict

Progress = Callable[[int, int, str], None]


def run_plan(claim: Claim, plan: Plan, *, tier: str = "quick", seed: int = 0, device: str = "auto") -> ProblemVerdict:
    """Train one claim's optimizer on one of its problems, measure, and judge.

    Returns:
        The verdict on this problem, arrays included.
    """
    from maxmargin.models import problems
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.apartness import with_apartness
    from maxmargin.verify.devices import one_thread, resolve
    from maxmargin.verify.engine import paced_for, run, starts
    from maxmargin.verify.evidence import measure
    from maxmargin.verify.hypotheses import measured
    from maxmargin.verify.judge import judge
    from maxmargin.verify.optimizers import get_optimizer

    problem = problems.get(plan.problem)
    optimizer = get_optimizer(claim.optimizer, claim.kwargs)
    norm = get_norm(claim.norm)
    where = resolve(device)
    schedule = replace(paced_for(optimizer), decay=plan.decay)
    with one_thread():
        trajectory = run(
            problem.to(where),
            optimizer,
            starts(problem, plan.runs[tier], seed=seed, scale=plan.scale),
            steps=plan.steps[tier],
            schedule=schedule,
            device=where,
        )
        found = measure(problem, trajectory, [get_norm(n) for n in CANDIDATES], claimed=[norm])
        evidence = with_apartness(problem, norm, found.norms)
        hypotheses = measured(problem, trajectory, norm, needs_a1=claim.needs_a1)
    outcome, reasons = judge(norm.name, evidence, hypotheses, plan.bounds[tier], steps=plan.steps[tier])
    good = trajectory.separated
    return ProblemVerdict(
        problem=problem.name,
        degree=problem.degree,
        outcome=outcome,
        steps=int(trajectory.steps[-1]),
        final_margin=float(max(trajectory.margin[-1], default=float("nan"))),
        evidence=evidence,
        hypotheses=hypotheses,
        reasons=reasons,
        rung=evidence[norm.name].rung if norm.name in evidence else "numerical",
        runs=trajectory.runs,
        separated_runs=int(good.sum()),
        arrays=found.arrays,
        norm=norm.name,
    )


def verify(
    claims: Sequence[str] | None = None,
    *,
    tier: str = "quick",
    jobs: int = 1,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Verdict]:
    """Verify claims of the literature.

    Args:
        claims: Claim ids (``maxmargin list claims``); all of them for None.
        tier: ``quick`` (minutes) or ``full`` (tighter bounds, more steps).
        jobs: Processes; each runs one claim on one problem at a time.
        out: Directory for ``results.json`` and the arrays; nothing is written for None.
        resume: Take finished jobs from ``out`` instead of running them again.
        seed: Of the initializations.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (jobs done, jobs, what was just finished).

    Returns:
        One verdict a claim, in the order asked for.

    Raises:
        ClaimError: unknown claim or tier.
        DeviceError: CUDA asked for without a GPU.
    """
    from maxmargin.verify.devices import resolve

    check_tier(tier)
    chosen = select(claims)
    resolve(device)
    store = Store.at(out) if out is not None else None
    started = time.perf_counter()
    work = [(claim, plan) for claim in chosen for plan in claim.plans]
    done: dict[tuple[str, str], ProblemVerdict] = {}

    def key(claim: Claim, plan: Plan) -> str:
        return file_key(f"{claim.id}--{plan.problem}")

    def stamp(claim: Claim, plan: Plan) -> str:
        return fingerprint_of(_versions(), tier, seed, claim.optimizer, dict(claim.kwargs), claim.norm, plan)

    def results() -> dict[str, Any]:
        return {
            "schema": 1,
            "kind": "verify",
            "tier": tier,
            "seed": seed,
            "device": str(resolve(device)),
            "seconds": round(time.perf_counter() - started, 3),
            "versions": _versions(),
            "claims": [_verdict(c, done).to_claim_json() for c in chosen],
        }

    def finish(claim: Claim, plan: Plan, verdict: ProblemVerdict, fresh: bool) -> None:
        if store is not None and fresh:
            verdict = store.save(key(claim, plan), stamp(claim, plan), verdict)
        done[claim.id, plan.problem] = verdict
        if store is not None:
            store.save_results(results())
        if progress is not None:
            progress(len(done), len(work), f"{claim.id} on {plan.problem}: {verdict.outcome.value}")

    for claim, plan in work:
        if resume and store is not None and (kept := store.load(key(claim, plan), stamp(claim, plan))) is not None:
            finish(claim, plan, kept, fresh=False)
    todo = [(c, p) for c, p in work if (c.id, p.problem) not in done]
    for claim, plan, verdict in _run_all(todo, jobs, tier, seed, device):
        finish(claim, plan, verdict, fresh=True)
    if store is not None:
        store.save_results(results())
    return [_verdict(c, done) for c in chosen]


def _run_all(
    todo: Sequence[tuple[Claim, Plan]], jobs: int, tier: str, seed: int, device: str
) -> Iterator[tuple[Claim, Plan, ProblemVerdict]]:
    """Run jobs here or in processes, longest first, and yield each as it is done."""
    ordered = sorted(todo, key=lambda job: -job[1].steps[tier])
    if jobs <= 1 or len(ordered) <= 1:
        for claim, plan in ordered:
            yield claim, plan, run_plan(claim, plan, tier=tier, seed=seed, device=device)
        return
    from joblib import Parallel, delayed

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the workers load their libraries
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    yield from pool(delayed(_job)(claim, plan, tier, seed, device) for claim, plan in ordered)


def _job(claim: Claim, plan: Plan, tier: str, seed: int, device: str) -> tuple[Claim, Plan, ProblemVerdict]:
    return claim, plan, run_plan(claim, plan, tier=tier, seed=seed, device=device)


def _verdict(claim: Claim, done: dict[tuple[str, str], ProblemVerdict]) -> Verdict:
    """The claim's verdict from what is finished so far; a problem not yet run leaves it inconclusive."""
    found = tuple(done[claim.id, p.problem] for p in claim.plans if (claim.id, p.problem) in done)
    missing = [p.problem for p in claim.plans if (claim.id, p.problem) not in done]
    outcome = Outcome.of_all(v.outcome for v in found)
    if missing and outcome is Outcome.HOLDS:
        outcome = Outcome.INCONCLUSIVE
    reasons = [f"{v.problem}: {'; '.join(v.reasons)}" for v in found] + [f"{name}: not run yet" for name in missing]
    return Verdict(
        target=claim.optimizer,
        kwargs=claim.kwargs,
        outcome=outcome,
        norm=claim.norm if outcome is Outcome.HOLDS else None,
        blocks={},
        claim=claim.norm,
        reasons=tuple(reasons),
        problems=found,
        id=claim.id,
        statement=claim.statement,
        source=claim.source,
    )


def _versions() -> dict[str, str]:
    from maxmargin.solvers.versions import versions

    return versions()
