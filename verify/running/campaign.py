"""``verify``: every claim on its problems, in parallel, resumable, with verdicts and stored evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maxmargin.verify.claims.catalogue import Claim, Plan, check_tier, select
from maxmargin.verify.progress.relay import Relay
from maxmargin.verify.progress.report import Progress, StepProgress
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.store import Store, file_key, fingerprint_of
from maxmargin.verify.results.verdict import Outcome, ProblemVerdict

if TYPE_CHECKING:
    from maxmargin.verify.optimizers.core.base import Optimizer

EVERY = 10.0  # seconds between two snapshots of a job under way


def run_plan(
    claim: Claim,
    plan: Plan,
    *,
    tier: str = "quick",
    seed: int = 0,
    device: str = "auto",
    snapshot: Path | None = None,
    every: float = EVERY,
    progress: StepProgress | None = None,
) -> ProblemVerdict:
    """Train one claim's optimizer on one of its problems, measure, and judge.

    Args:
        claim: The claim.
        plan: One of its plans.
        tier: ``quick`` or ``full``.
        seed: Of the initializations.
        device: ``auto``, ``cpu`` or ``cuda``.
        snapshot: A file that keeps the training under way; it goes on from there if it exists.
        every: Seconds between two snapshots.
        progress: Called with (steps done, steps) as it trains.

    Returns:
        The verdict on this problem, arrays included.
    """
    from maxmargin.models import problems
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.engine.devices import one_thread, resolve
    from maxmargin.verify.engine.run import paced_for, run, starts
    from maxmargin.verify.evidence.apartness import with_apartness
    from maxmargin.verify.evidence.hypotheses import measured
    from maxmargin.verify.evidence.measure import measure
    from maxmargin.verify.judging.rules import judge
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
            progress=progress,
            snapshot=snapshot,
            every=every,
        )
        found = measure(problem, trajectory, [get_norm(n) for n in CANDIDATES], claimed=[norm])
        evidence = with_apartness(problem, norm, found.norms)
        hypotheses = measured(
            problem,
            trajectory,
            norm,
            needs_a1=claim.needs_a1,
            schedule=schedule,
            family="adam" if claim.needs_a1 else "momentum" if optimizer.memory > 1 else "steepest descent",
            betas=_betas(optimizer),
        )
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


def _betas(optimizer: Optimizer) -> tuple[float, float] | None:
    """(β₁, β₂) of Adam, alone or on the vectors."""
    from maxmargin.verify.optimizers.adam import Adam
    from maxmargin.verify.optimizers.composite import Composite

    if isinstance(optimizer, Composite):
        return _betas(optimizer.vectors)
    return (optimizer.beta1, optimizer.beta2) if isinstance(optimizer, Adam) else None


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

    Returns:
        One verdict a claim, in the order asked for.

    Raises:
        ClaimError: unknown claim or tier.
        DeviceError: CUDA asked for without a GPU.
    """
    from maxmargin.verify.engine.devices import resolve

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
        return Campaign(
            tier=tier,
            seed=seed,
            device=str(resolve(device)),
            seconds=round(time.perf_counter() - started, 3),
            versions=_versions(),
            claims=tuple(_verdict(c, done) for c in chosen),
        ).to_json()

    def finish(claim: Claim, plan: Plan, verdict: ProblemVerdict, fresh: bool) -> None:
        if store is not None and fresh:
            verdict = store.save(key(claim, plan), stamp(claim, plan), verdict)
            store.drop_snapshot(key(claim, plan))
        done[claim.id, plan.problem] = verdict
        if store is not None:
            store.save_results(results())
        relay.finished(_name(claim, plan))
        relay(len(done), len(work), f"{_name(claim, plan)}: {verdict.outcome.value}")

    relay = Relay(progress)
    for claim, plan in work:
        if resume and store is not None and (kept := store.load(key(claim, plan), stamp(claim, plan))) is not None:
            finish(claim, plan, kept, fresh=False)
    todo = [_Job(c, p, tier, seed, device) for c, p in work if (c.id, p.problem) not in done]
    if store is not None:
        if not resume:
            store.drop_snapshots()
        todo = [replace(job, snapshot=store.snapshot(key(job.claim, job.plan))) for job in todo]

    with relay:
        relay(len(done), len(work))
        for job, verdict in _run_all(todo, jobs, relay):
            finish(job.claim, job.plan, verdict, fresh=True)
    if store is not None:
        store.drop_snapshots()
        store.save_results(results())
    return [_verdict(c, done) for c in chosen]


def _name(claim: Claim, plan: Plan) -> str:
    """What progress calls a job."""
    return f"{claim.id} on {plan.problem}"


@dataclass(frozen=True)
class _Job:
    """One claim on one of its problems."""

    claim: Claim
    plan: Plan
    tier: str
    seed: int
    device: str
    snapshot: Path | None = None

    def run(self, progress: StepProgress | None = None) -> tuple[_Job, ProblemVerdict]:
        """Run it, from its snapshot where there is one of this very run, from the start otherwise."""
        from maxmargin.verify.engine.snapshots import SnapshotError

        options: dict[str, Any] = {"tier": self.tier, "seed": self.seed, "device": self.device, "progress": progress}
        try:
            return self, run_plan(self.claim, self.plan, **options, snapshot=self.snapshot)
        except SnapshotError:  # of another tier, seed or version, as a finished job may be: both start afresh
            assert self.snapshot is not None
            self.snapshot.unlink(missing_ok=True)
            return self, run_plan(self.claim, self.plan, **options, snapshot=self.snapshot)


def _run_all(todo: Sequence[_Job], jobs: int, relay: Relay) -> Iterator[tuple[_Job, ProblemVerdict]]:
    """Run jobs here or in processes, longest first, and yield each as it is done."""
    ordered = sorted(todo, key=lambda job: -job.plan.steps[job.tier])
    if jobs <= 1 or len(ordered) <= 1:
        for job in ordered:
            yield job.run(relay.here(_name(job.claim, job.plan)))
        return
    from joblib import Parallel, delayed

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the workers load their libraries
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    yield from pool(delayed(_Job.run)(job, relay.elsewhere(_name(job.claim, job.plan))) for job in ordered)


def _verdict(claim: Claim, done: dict[tuple[str, str], ProblemVerdict]) -> ClaimVerdict:
    """The claim's verdict from what is finished so far; a problem not yet run leaves it inconclusive."""
    from maxmargin.verify.judging.conclusion import blind_spots

    found = tuple(done[claim.id, p.problem] for p in claim.plans if (claim.id, p.problem) in done)
    missing = [p.problem for p in claim.plans if (claim.id, p.problem) not in done]
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


def _versions() -> dict[str, str]:
    from maxmargin.solvers.versions import versions

    return versions()
