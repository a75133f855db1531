"""Whether an optimizer maximizes no norm's margin at all, for a reason that is not one of norms."""

from __future__ import annotations

from collections.abc import Sequence

from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.lab.faults.finding import Kind
from maxmargin.verify.lab.probe.confined import TOGETHER
from maxmargin.verify.results.answer import NoNorm
from maxmargin.verify.results.problem_verdict import ProblemVerdict
from maxmargin.verify.thresholds.judging import FALLING, RANDOM_STEPS


def no_norm(found: Sequence[Measured], verdicts: Sequence[ProblemVerdict]) -> NoNorm | None:
    """Return why an optimizer maximizes no norm's margin at all, a reason that shows on every problem; or None."""
    for why, shows in _REASONS:
        if all(shows(m, v) for m, v in zip(found, verdicts, strict=True)):
            return why
    return None


def _not_finite(m: Measured, v: ProblemVerdict) -> bool:
    del v
    return not m.exam.signature and any(f.kind is Kind.FROZEN and not f.block for f in m.exam.findings)


def _still(m: Measured, v: ProblemVerdict) -> bool:
    about = m.exam.about
    idle = about is not None and about.step_per_lr == 0
    return v.separated_runs == 0 and bool(m.exam.signature) and (idle or _whole(m.exam, Kind.FROZEN))


def stopped(m: Measured) -> int | None:
    """The step from which no run of a black box moved its weights any more, for at least half of all steps; or None."""
    path = m.trajectory
    if m.exam.about is None or m.exam.twin is not None or path.alive is None or not path.alive.all():
        return None
    ends = [block[-1] for block in path.theta.values()]
    moved = [
        any((b[t] != end).any() for b, end in zip(path.theta.values(), ends, strict=True))
        for t in range(len(path.steps))
    ]
    since = int(path.steps[moved.index(False)])
    return since if 2 * since <= path.steps[-1] else None


def rounded_late(m: Measured) -> bool:
    """Whether a black box's late steps are lost in the digits of its weights, so that where they stop says nothing."""
    return m.exam.about is not None and m.exam.about.rounded_late


def _stops(m: Measured, v: ProblemVerdict) -> bool:
    del v
    return stopped(m) is not None and not rounded_late(m)


def _confined(m: Measured, v: ProblemVerdict) -> bool:
    """Whether no step changes the length of any block, or of all in one."""
    del v
    kept = m.exam.about.kept if m.exam.about is not None else {}
    return TOGETHER in kept or set(m.problem.shapes) <= set(kept)


def _ascends(m: Measured, v: ProblemVerdict) -> bool:
    return _whole(m.exam, Kind.ASCENT) and v.separated_runs == 0


def _random(m: Measured, v: ProblemVerdict) -> bool:
    """Return whether chance makes the steps, and no mean of them brings the gap down."""
    own = v.evidence.get(v.norm)
    closing = own is not None and own.slope_interval is not None and own.slope_interval[1] < FALLING
    return m.exam.about is not None and m.exam.about.random >= RANDOM_STEPS and not closing


def _no_descent(m: Measured, v: ProblemVerdict) -> bool:
    """Return whether no run separates the data, or is any nearer to it at the end than half way (in log t).

    Where gradient and state could not be rescaled together, the run was not the optimizer's own, and shows nothing.
    """
    margin, about = m.trajectory.margin, m.exam.about
    if about is not None and not about.rescalable:
        return False
    return v.separated_runs == 0 and bool((margin <= 0).all() and (margin[-1] <= margin[len(margin) // 2]).all())


_REASONS = (
    (NoNorm.NOT_FINITE, _not_finite),
    (NoNorm.STILL, _still),
    (NoNorm.CONFINED, _confined),
    (NoNorm.ASCENDS, _ascends),
    (NoNorm.STOPS, _stops),
    (NoNorm.RANDOM, _random),
    (NoNorm.NO_DESCENT, _no_descent),
)


def _whole(exam: Exam, kind: Kind) -> bool:
    """Whether a fault of this kind is found on the whole optimizer, or on each of its blocks as a whole."""
    blocks = {f.block for f in exam.findings if f.kind is kind and f.size == 1.0}
    every = set(exam.fingerprint.blocks) if exam.fingerprint is not None else set()
    every |= {name for step in exam.signature for name in step.update}
    return "" in blocks or (bool(every) and every <= blocks)
