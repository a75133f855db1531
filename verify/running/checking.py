"""``check``: name the norm whose margin an optimizer maximizes, or test a claim, with evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any

from maxmargin.models import problems as registry
from maxmargin.solvers.norms import Norm, NormError, get_norm
from maxmargin.solvers.versions import versions
from maxmargin.verify.blackbox.apart import outside
from maxmargin.verify.blackbox.as_torch import as_target
from maxmargin.verify.blackbox.source import file_of
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.claims.record import check_tier
from maxmargin.verify.engine.devices import resolve
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.regimes import Joined, Left, alone, join, main_regime
from maxmargin.verify.lab.examine import PROBLEMS, Exam, Laboratory
from maxmargin.verify.lab.probe.first_look import refuse_hopeless
from maxmargin.verify.lab.regimes import Regimes
from maxmargin.verify.progress.joint import JointProgress
from maxmargin.verify.progress.report import Progress, silent
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.origin import Origin
from maxmargin.verify.results.verdict import THEN, CheckVerdict, Regime
from maxmargin.verify.running.job import Job, run_all
from maxmargin.verify.running.spread import Backend
from maxmargin.verify.running.trial import Judged, Plan, Trial
from maxmargin.verify.training.constant_rate import falls_below


def check(
    target: str | Callable[..., Any],
    *,
    kwargs: Mapping[str, Any] | None = None,
    claim: str | None = None,
    tier: str = "quick",
    problems: Any = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    backend: Backend | None = None,
    **arguments: Any,
) -> CheckVerdict:
    """Find, or test, the norm whose margin an optimizer maximizes.

    Args:
        target: ``module:attr``, ``path/to/file.py:attr``, one of our own names, or the class or factory itself.
        kwargs: Constructor arguments; those whose names are none of these here may be given directly.
        claim: A norm to test; None to find one. ``"linf, then l2"`` claims one of gradients above the size at which
            an eps takes over and one of those below; a norm alone is claimed of what training starts with.
        tier: ``quick`` (a minute) or ``full``.
        problems: One or several: each a name, a ``Problem``, ``(X, y)`` for a linear model, or ``(module, X, y)`` with
            a ``torch.nn.Module`` or a function that returns one; by default three of different shapes and degrees
            that tell the norms apart.
        seed: Of the starts.
        device: ``auto``, ``cpu`` or ``cuda``; black boxes run where their parameters are, on the CPU.
        progress: Called with (problems done, problems, what was just finished), and about once a second as runs
            train, with their shares, a run's rate and the time it has left; from another thread.
        backend: Where the problems' runs are spread; by default over the cores of this machine.
        arguments: Further constructor arguments: ``check(torch.optim.SGD, momentum=0.9)``.

    Returns:
        The verdict.

    Raises:
        TargetError: the target cannot be imported, built or stepped, moves nothing or is finite nowhere at its first
            step; or an argument is given twice.
        NormError: the claim is no norm.
        ClaimError: unknown tier.
        ProblemError: unknown problem.
        ModuleError: a module that is not homogeneous; what breaks it is named.
    """
    started = time.perf_counter()
    outside.changed.clear()
    check_tier(tier)
    claims = _claims(claim)
    plan = Plan(tier, seed, device)
    where = str(resolve(device))
    twice = sorted(set(kwargs or {}) & set(arguments))
    if twice:
        raise TargetError(f"{', '.join(twice)} is given both directly and in kwargs; give it once")
    loaded = load(target, {**(kwargs or {}), **arguments})
    if loaded.native is not None and (loaded.native.norm is None or len(claims) > 1):
        loaded = as_target(loaded.native, loaded.spec)  # no theorem names a norm: it is examined like any other
    origin = Origin.now(file_of(loaded))
    laboratory = Laboratory(loaded, seed)
    given = registry.several(PROBLEMS if problems is None else problems)
    refuse_hopeless(loaded, [problem.shapes for problem in given])
    chosen = given if problems is not None else registry.several(laboratory.problems())
    names = tuple(dict.fromkeys(problem.name for problem in chosen))
    say = progress or silent
    say(0, 1, "probing 1/2: eps, memory, randomness")
    two = laboratory.regimes(names)
    say(0, 1, "probing 2/2: norms, faults, twins")
    trials = _trials(laboratory, names, claims, plan, two)
    measured = _measured([job for trial in trials for job in trial.jobs], backend, progress)
    judged = [trial.judge(measured) for trial in trials]
    left = _left(laboratory, names, two, judged[0].trial) if two is not None else None
    joined = _joined(two, judged, len(claims), left)
    main = judged[joined.first]
    blocks = next((e.fingerprint.to_json() for e in main.trial.exams if e.fingerprint is not None), {})
    decay = laboratory.switched_off
    return CheckVerdict(
        target=loaded.spec,
        kwargs=loaded.kwargs,
        outcome=joined.answer.outcome,
        norm=joined.norm,
        blocks=blocks,
        claim=None if claim is None else THEN.join(norm.name for norm in claims),
        reasons=(*(_decay_text(name, value) for name, value in decay.items()), *joined.reasons, *_kept_apart()),
        problems=main.verdicts,
        approximate=main.conclusion.approximate,
        tier=tier,
        versions=versions(),
        seed=seed,
        device=where,
        seconds=round(time.perf_counter() - started, 3),
        probe=_probe_json(laboratory, names, two),
        twin=main.trial.twin,
        findings=_findings_json(main.trial.exams),
        answer=Answer.REGIMES if decay and joined.answer is Answer.HOLDS else joined.answer,
        switched_off=decay,
        regimes=() if two is None else _regimes_of(two, judged),
        until_step=None if left is None else left.step,
        until_problem=None if left is None else left.problem,
        factor=main.conclusion.factor,
        why=joined.why,
        settles_on=None if main.conclusion.own is None else main.conclusion.own.name,
        origin=origin,
    )


def _claims(claim: str | None) -> list[Norm]:
    """The norm that is claimed, or the two of the regimes above and below; none where nothing is claimed."""
    norms = [get_norm(part.strip()) for part in claim.split(THEN)] if claim is not None else []
    if len(norms) > 2:
        raise NormError(f"{claim!r} claims {len(norms)} norms; give one, or two as in 'linf, then l2'")
    return norms


def _trials(
    laboratory: Laboratory, names: Sequence[str], claims: Sequence[Norm], plan: Plan, two: Regimes | None
) -> list[Trial]:
    """One trial, or one of each regime; a single claim is the main regime's, and the other's norm is looked for."""
    if two is None:
        return [Trial.of(laboratory, names, claims[0] if claims else None, plan)]
    wanted: list[Norm | None] = [None, None]
    if len(claims) == 2:
        wanted = [*claims]
    elif claims:
        wanted[main_regime(two.floor, two.stands)] = claims[0]
    return [
        Trial.of(laboratory.within(part), names, norm, plan, f", {size} gradients")
        for part, norm, size in zip((two.above, two.below), wanted, ("large", "small"), strict=True)
    ]


def _measured(jobs: Sequence[Job], backend: Backend | None, progress: Progress | None) -> dict[str, Measured]:
    """Run the jobs; what was measured, by their names."""
    measured: dict[str, Measured] = {}
    backend = backend or Backend(workers=os.cpu_count() or 1)
    with JointProgress(progress) as joint:
        joint(0, len(jobs), "training")
        for name, one in run_all(jobs, Job.run, backend, joint, {job.name: job.key for job in jobs}):
            measured[name] = one
            joint.finished(name)
            joint(len(measured), len(jobs), name)
    return measured


def _left(laboratory: Laboratory, names: Sequence[str], two: Regimes, above: Trial) -> Left | None:
    """When training at its own rate leaves the regime above, on the first linear problem."""
    name = next((n for n in names if registry.get(n).linear), None)
    if name is None:
        return None
    about = above.exams[0].about
    memory = 1.0 if about is None else about.memory
    found = falls_below(laboratory.target, registry.get(name), two.floor, memory, laboratory.seed)
    return None if found is None else Left(name, *found, memory)


def _joined(
    two: Regimes | None,
    judged: Sequence[Judged],
    claims: int,
    left: Left | None,
) -> Joined:
    conclusions = [j.conclusion for j in judged]
    if two is None:
        about = judged[0].trial.exams[0].about
        return alone(conclusions[0], both_claimed=claims > 1, one=about is None or about.exactly_invariant)
    return join(two.floor, conclusions, both_claimed=claims > 1, left=left, shift=two.shift, stands=two.stands)


def _regimes_of(two: Regimes, judged: Sequence[Judged]) -> tuple[Regime, ...]:
    ranges = ((two.floor, None), (None, two.floor))
    return tuple(
        Regime(
            above=above,
            below=below,
            degree=degree,
            outcome=j.conclusion.outcome,
            norm=j.conclusion.norm,
            claim=None if j.trial.claim is None else j.trial.claim.name,
            why=j.conclusion.why,
            twin=j.trial.twin,
            reasons=j.conclusion.reasons,
            problems=j.verdicts,
        )
        for (above, below), degree, j in zip(ranges, two.degrees, judged, strict=True)
    )


def _probe_json(laboratory: Laboratory, names: Sequence[str], two: Regimes | None) -> dict[str, Any] | None:
    """What was found in the optimizer's own units, with the floor that was measured."""
    if laboratory.target.native is not None:
        return None
    about = laboratory.on(names[0]).probe
    floor = two.floor if two is not None else None if isnan(about.update_degree) else about.floor
    return about.to_json() | {"floor": floor}


def _decay_text(name: str, value: float) -> str:
    return (
        f"Its weight decay was switched off for all that follows ({name}=0): with {value:g} its weights stay bounded, "
        "and in the end no margin is maximized, but the loss minimized within a ball (Xie & Li 2404.04454)."
    )


def _findings_json(exams: Sequence[Exam]) -> tuple[dict[str, Any], ...]:
    knobs, paths = exams[0].knobs, exams[0].paths.differences
    broken = (
        {
            "problem": e.problem,
            "block": n.block,
            "kind": "not finite",
            "text": n.text,
            "size": n.norm,
            "reproducer": n.reproducer,
        }
        for e in exams
        if (n := e.nonfinite) is not None
    )
    faults = (
        {"problem": e.problem, "block": f.block, "kind": f.kind, "text": f.text, "size": f.size}
        for e in exams
        for f in e.findings
    )
    return (
        *broken,
        *faults,
        *({"problem": "", "block": "", "kind": "dead argument", "text": k.text, "size": k.value} for k in knobs),
        *({"problem": "", "block": p.block, "kind": "code path", "text": p.text, "size": p.difference} for p in paths),
        *({"problem": "", "block": "", "kind": "global state", "text": t, "size": None} for t in _kept_apart()),
    )


def _kept_apart() -> tuple[str, ...]:
    """That the optimizer changes what is global in its process, if it does."""
    if not outside.changed:
        return ()
    what = ", ".join(sorted(outside.changed))
    return (f"It changes {what} for its whole process; here that holds for its own steps alone.",)
