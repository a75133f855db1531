"""``verify``: every claim on its problems, in parallel, resumable, with verdicts and stored evidence."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.versions import versions
from maxmargin.verify.claims.catalogue import Claim, Plan, check_tier, select
from maxmargin.verify.engine.devices import resolve
from maxmargin.verify.engine.run import paced_for
from maxmargin.verify.evidence.hypotheses import Known
from maxmargin.verify.evidence.measure import Effort
from maxmargin.verify.judging.conclusion import blind_spots
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.progress.joint import JointProgress
from maxmargin.verify.progress.report import Progress
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.store import Store, file_key, fingerprint_of
from maxmargin.verify.results.verdict import Outcome, ProblemVerdict
from maxmargin.verify.running.job import Job, run_all
from maxmargin.verify.running.spread import Backend
from maxmargin.verify.training.train import Training


def run_plan(claim: Claim, plan: Plan, *, tier: str = "quick", seed: int = 0, device: str = "auto") -> ProblemVerdict:
    """Train one claim's optimizer on one of its problems, measure, and judge.

    Args:
        claim: The claim.
        plan: One of its plans.
        tier: ``quick`` or ``full``.
        seed: Of the initializations.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        The verdict on this problem, arrays included.
    """
    return _job(claim, plan, tier, seed, device).verdict()


def _job(claim: Claim, plan: Plan, tier: str, seed: int, device: str, snapshot: Path | None = None) -> Job:
    optimizer = get_optimizer(claim.optimizer, claim.kwargs)
    pace = replace(paced_for(optimizer), decay=plan.decay)
    return Job(
        name=_name(claim, plan),
        exam=Exam(plan.problem, candidates=tuple(get_norm(n) for n in CANDIDATES), claimed=(get_norm(claim.norm),)),
        training=Training(optimizer, plan.steps[tier], plan.runs[tier], plan.scale, pace, snapshot=snapshot),
        tier=tier,
        bounds=plan.bounds,
        effort=Effort(),
        seed=seed,
        device=device,
        known=Known.of(optimizer, pace),
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
    backend: str = "auto",
    scheduler: str | None = None,
) -> list[ClaimVerdict]:
    """Verify claims of the literature.

    Args:
        claims: Claim ids (``maxmargin list claims``); all of them for None.
        tier: ``quick`` (minutes) or ``full`` (tighter bounds, more steps).
        jobs: Processes; each runs one claim on one problem at a time.
        out: Directory for ``results.json`` and the arrays; nothing is written for None.
        resume: Take finished jobs from ``out`` instead of running them again, and go on in the middle of those that
            were broken off (by Ctrl-C, or killed: then up to ten seconds of their training are repeated).
        seed: Of the initializations.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Called with (jobs done, jobs, what was just finished), and about once a second as jobs train, with
            their shares of a job, a job's rate and the time it has left; from other threads too.
        backend: ``auto``, ``loky`` (processes), ``threads`` or ``dask``: the results are the same to the last digit.
        scheduler: The address of a Dask scheduler, for ``dask``.

    Returns:
        One verdict a claim, in the order asked for.

    Raises:
        BackendError: one that cannot be used.
        ClaimError: unknown claim or tier.
        DeviceError: CUDA asked for without a GPU.
        StoreError: ``out`` cannot be written, or another run is writing there.
    """
    check_tier(tier)
    where = Backend(backend, scheduler, jobs)
    chosen = select(claims)
    resolve(device)
    store = Store.at(out) if out is not None else None
    started = time.perf_counter()
    work = {_name(claim, plan): (claim, plan) for claim in chosen for plan in claim.plans}
    keys = {name: file_key(f"{claim.id}--{plan.problem}") for name, (claim, plan) in work.items()}
    stamps = {
        name: fingerprint_of(versions(), tier, seed, claim.optimizer, dict(claim.kwargs), claim.norm, plan)
        for name, (claim, plan) in work.items()
    }
    done: dict[str, ProblemVerdict] = {}

    def results() -> dict[str, Any]:
        return Campaign(
            tier=tier,
            seed=seed,
            device=str(resolve(device)),
            seconds=round(time.perf_counter() - started, 3),
            versions=versions(),
            claims=tuple(_verdict(c, done) for c in chosen),
        ).to_json()

    def kept_at(name: str) -> Path | None:
        return store.snapshot(keys[name]) if store is not None and where.name != "dask" else None

    def finish(name: str, verdict: ProblemVerdict, fresh: bool) -> None:
        if store is not None and fresh:
            verdict = store.save(keys[name], stamps[name], verdict)
            store.drop_snapshot(keys[name])
        done[name] = verdict
        if store is not None:
            store.save_results(results())
        joint.finished(name)
        joint(len(done), len(work), f"{name}: {verdict.outcome.value}")

    joint = JointProgress(progress)
    with nullcontext() if store is None else store.locked():
        for name in work:
            if resume and store is not None and (kept := store.load(keys[name], stamps[name])) is not None:
                finish(name, kept, fresh=False)
        if store is not None and not resume:
            store.drop_snapshots()
        todo = [
            replace(_job(claim, plan, tier, seed, device, kept_at(name)), key=stamps[name])
            for name, (claim, plan) in work.items()
            if name not in done
        ]
        with joint:
            joint(len(done), len(work))
            for name, verdict in run_all(todo, Job.verdict, where, joint):
                finish(name, verdict, fresh=True)
        if store is not None:
            store.drop_snapshots()
            store.save_results(results())
    return [_verdict(c, done) for c in chosen]


def _name(claim: Claim, plan: Plan) -> str:
    """What progress calls a job."""
    return f"{claim.id} on {plan.problem}"


def _verdict(claim: Claim, done: Mapping[str, ProblemVerdict]) -> ClaimVerdict:
    """The claim's verdict from what is finished so far; a problem not yet run leaves it inconclusive."""
    found = tuple(done[name] for p in claim.plans if (name := _name(claim, p)) in done)
    missing = [p.problem for p in claim.plans if _name(claim, p) not in done]
    outcome = Outcome.of_all(v.outcome for v in found)
    blind = [] if missing else blind_spots(found)
    if (missing or blind) and outcome is Outcome.HOLDS:
        outcome = Outcome.INCONCLUSIVE
    reasons = [f"{v.problem}: {'; '.join(v.reasons)}" for v in found] + [f"{name}: not run yet" for name in missing]
    return ClaimVerdict(
        target=claim.optimizer,
        kwargs=claim.kwargs,
        outcome=outcome,
        norm=claim.norm if outcome is Outcome.HOLDS else None,
        blocks={},
        claim=claim.norm,
        reasons=(*reasons, *blind),
        problems=found,
        id=claim.id,
        statement=claim.statement,
        source=claim.source,
    )
