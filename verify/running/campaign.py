"""``verify``: every claim on its problems, in parallel, resumable, with verdicts and stored evidence."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.versions import versions
from maxmargin.verify.blackbox.source import written_in
from maxmargin.verify.claims.catalogue import select
from maxmargin.verify.claims.record import Case, Claim, Measured, Plan, Record, check_tier, held_against
from maxmargin.verify.engine.devices import resolve
from maxmargin.verify.engine.run import paced_for
from maxmargin.verify.evidence.hypotheses import Known
from maxmargin.verify.evidence.measure import Effort
from maxmargin.verify.judging.conclusion import blind_spots
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.progress.joint import JointProgress
from maxmargin.verify.progress.report import Progress, StepProgress
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.origin import Origin
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ProblemVerdict
from maxmargin.verify.results.store import Store, digest_of, file_key, fingerprint_of
from maxmargin.verify.running.job import Job, run_all
from maxmargin.verify.running.measuring import Measuring
from maxmargin.verify.running.spread import Backend
from maxmargin.verify.thresholds.training import SEEDS_APART
from maxmargin.verify.training.train import Training


@dataclass(frozen=True)
class Part:
    """A pure piece of a claim's work: one of its problems, with one seed.

    Attributes:
        claim: The claim.
        on: The plan, or the case.
        label: What the verdict calls it.
        seed: Of everything random in it.
        first: Whether the claim's control is run with it.
    """

    claim: Record
    on: Plan | Case
    label: str
    seed: int
    first: bool

    @property
    def name(self) -> str:
        """What progress calls it."""
        return f"{self.claim.id} on {self.label}"

    @property
    def key(self) -> str:
        """What its file is called."""
        return file_key(f"{self.claim.id}--{self.label}")

    def fingerprint(self, tier: str) -> str:
        """What its result depends on."""
        claim = self.claim
        if isinstance(claim, Claim):
            wrong = claim.wrong_norm if self.first else None
            parts: tuple[Any, ...] = (claim.optimizer, dict(claim.kwargs), claim.norm, wrong, self.on)
        else:
            file = written_in(claim.measure)
            measure = claim.measure.__module__, claim.measure.__qualname__, file and digest_of(file)
            spoiled = claim.spoiled if self.first else None
            parts = (claim.id, measure, self.on, spoiled, claim.hypotheses, claim.conditions, claim.lengths[tier])
        return fingerprint_of(versions(), tier, self.seed, *parts)

    def job(self, tier: str, device: str, snapshot: Path | None = None) -> Job | Measuring:
        """The work itself."""
        if isinstance(self.claim, Measured):
            assert isinstance(self.on, Case)
            return Measuring(self.name, self.claim, self.on, self.label, tier, self.seed, self.first)
        assert isinstance(self.on, Plan)
        return _job(self.claim, self.on, tier, self.seed, device, snapshot, self.first)


def parts(claim: Record, tier: str, seed: int = 0) -> list[Part]:
    """The pieces of a claim's work; the seeds of a case lie so far apart that no two of them share a start."""
    if isinstance(claim, Claim):
        return [Part(claim, plan, plan.problem, seed, i == 0) for i, plan in enumerate(claim.plans)]
    several = claim.seeds[tier] > 1
    return [
        Part(claim, case, f"{case.name}, seed {s}" if several else case.name, s, i == 0 and s == seed)
        for i, case in enumerate(claim.cases)
        for s in range(seed, seed + SEEDS_APART * claim.seeds[tier], SEEDS_APART)
    ]


def _job(
    claim: Claim,
    plan: Plan,
    tier: str,
    seed: int,
    device: str,
    snapshot: Path | None,
    control: bool,
) -> Job:
    optimizer = get_optimizer(claim.optimizer, claim.kwargs)
    pace = replace(paced_for(optimizer), decay=plan.decay)
    norms = dict.fromkeys((*CANDIDATES, *([claim.wrong_norm] if control else [])))
    return Job(
        name=f"{claim.id} on {plan.problem}",
        exam=Exam(plan.problem, candidates=tuple(get_norm(n) for n in norms), claimed=(get_norm(claim.norm),)),
        training=Training(optimizer, plan.steps[tier], plan.runs[tier], plan.scale, pace, snapshot=snapshot),
        tier=tier,
        bounds=plan.bounds,
        effort=Effort(),
        seed=seed,
        device=device,
        known=Known.of(optimizer, pace),
        control=get_norm(claim.wrong_norm) if control else None,
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
    optimizer: str | None = None,
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
        optimizer: Another optimizer, by name (``maxmargin list optimizers``, a plugin's too), that the claims are held
            against in place of their own.
        progress: Called with (jobs done, jobs, what was just finished), and about once a second as jobs train, with
            their shares of a job, a job's rate and the time it has left; from other threads too.
        backend: ``auto``, ``loky`` (processes), ``threads`` or ``dask``: the results are the same to the last digit.
        scheduler: The address of a Dask scheduler, for ``dask``.

    Returns:
        One verdict a claim, in the order asked for.

    Raises:
        BackendError: one that cannot be used.
        ClaimError: unknown claim or tier, or a claim that cannot be held against another optimizer.
        OptimizerError: unknown optimizer.
        DeviceError: CUDA asked for without a GPU.
        StoreError: ``out`` cannot be written, or another run is writing there.
    """
    check_tier(tier)
    where = Backend(backend, scheduler, jobs)
    chosen = select(claims)
    if optimizer is not None:
        get_optimizer(optimizer, {})
        chosen = [held_against(claim, optimizer) for claim in chosen]
    resolve(device)
    store = Store.at(out) if out is not None else None
    started, origin = time.perf_counter(), Origin.now()
    work = {part.name: part for claim in chosen for part in parts(claim, tier, seed)}
    keys = {name: part.key for name, part in work.items()}
    stamps = {name: part.fingerprint(tier) for name, part in work.items()}
    done: dict[str, ProblemVerdict] = {}

    def results() -> dict[str, Any]:
        return Campaign(
            tier=tier,
            seed=seed,
            device=str(resolve(device)),
            seconds=round(time.perf_counter() - started, 3),
            versions=versions(),
            origin=origin,
            claims=tuple(_verdict(c, done, tier, seed) for c in chosen),
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
        todo = [part.job(tier, device, kept_at(name)) for name, part in work.items() if name not in done]
        with joint:
            joint(len(done), len(work))
            for name, verdict in run_all(todo, _do, where, joint, stamps):
                finish(name, verdict, fresh=True)
        if store is not None:
            store.drop_snapshots()
            store.save_results(results())
    return [_verdict(c, done, tier, seed) for c in chosen]


def _do(job: Job | Measuring, progress: StepProgress) -> ProblemVerdict:
    return job.verdict(progress)


def _verdict(claim: Record, done: Mapping[str, ProblemVerdict], tier: str = "quick", seed: int = 0) -> ClaimVerdict:
    """The claim's verdict from what is finished so far; a problem not yet run leaves it inconclusive."""
    work = parts(claim, tier, seed)
    found = tuple(done[part.name] for part in work if part.name in done)
    missing = [f"{part.label}: not run yet" for part in work if part.name not in done]
    limit = isinstance(claim, Claim)
    outcome = Outcome.of_all(v.outcome for v in found)
    doubts = blind_spots(found) if limit and not missing else []
    doubts += [f"the control, {c.violates}, is not refused" for v in found if (c := v.control) and not c.refused]
    if (missing or doubts) and outcome is Outcome.HOLDS:
        outcome = Outcome.INCONCLUSIVE
    norm = claim.norm if isinstance(claim, Claim) else None
    return ClaimVerdict(
        target=claim.optimizer if isinstance(claim, Claim) else ", ".join(claim.optimizers),
        kwargs=claim.kwargs if isinstance(claim, Claim) else {},
        outcome=outcome,
        norm=norm if outcome is Outcome.HOLDS else None,
        blocks={},
        claim=norm,
        reasons=(*(f"{v.problem}: {'; '.join(v.reasons)}" for v in found), *missing, *doubts),
        problems=found,
        id=claim.id,
        statement=claim.statement,
        source=claim.source,
        paper=claim.paper,
        kind=claim.kind,
        formula=claim.formula,
        expected=claim.expected,
        because=claim.because,
    )
