"""The rules, in the order in which they are asked; the first that has an answer decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isnan

from maxmargin.verify.judging.facts import Facts
from maxmargin.verify.judging.reasons import Reason
from maxmargin.verify.results.verdict import Outcome, ProblemVerdict
from maxmargin.verify.thresholds.judging import FALLING, FAR, LATE_MARGIN, PLATEAU, REACHED
from maxmargin.verify.thresholds.table import Bounds


@dataclass(frozen=True)
class Decision:
    """An outcome, its reasons, most important first, and the facts they speak of."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    facts: Facts

    @property
    def texts(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(reason.value.format(f=self.facts) for reason in self.reasons)


Answer = tuple[Outcome, tuple[Reason, ...]] | None


def _not_measured(f: Facts) -> Answer:
    """Nothing was measured: inconclusive."""
    if f.norm not in f.evidence:
        return Outcome.INCONCLUSIVE, (Reason.NOT_SOLVED if f.evidence else Reason.NOT_SEPARATED,)
    if isnan(f.gap):
        return Outcome.INCONCLUSIVE, (Reason.NO_GAP,)
    return (Outcome.INCONCLUSIVE, (Reason.NO_ALIGNMENT,)) if isnan(f.own.alignment) else None


def _another_norms(f: Facts) -> Answer:
    """Another norm's gap is within the bound, and this one's is far above it: refuted."""
    reached = f.rival_gap <= f.bounds.gap and f.rival_gap * f.bounds.ratio <= f.gap
    return (Outcome.FAILS, (Reason.ANOTHER_NORMS,)) if reached else None


def _hypothesis_unmet(f: Facts) -> Answer:
    """All that is asked is there, but the theorem does not apply: inconclusive."""
    return (Outcome.INCONCLUSIVE, (Reason.UNMET,)) if not f.shortfalls and f.unmet else None


def _closes(f: Facts) -> Answer:
    """All that is asked is there, and the gap is seen to close, or has: holds."""
    if f.shortfalls or not (f.closing or f.gap <= REACHED):
        return None
    return Outcome.HOLDS, (Reason.SMALL if f.rival is not None else Reason.SMALL_ALONE,)


def _stands(f: Facts) -> Answer:
    """All that is asked is there, but the gap is not seen to close: a subtle fault stops it short of 0.

    Refuted if it surely stands still, at a size that counts. Where steps are not the norm's even under constant
    gradients, nothing speaks for a fall that cannot be seen.

    Returns:
        The answer, if all that is asked is there.
    """
    if f.shortfalls:
        return None
    still = f.movement is Reason.FLAT or (f.movement is Reason.NEARLY_FLAT and f.foreign_steps)
    stands = Reason.STANDS_FOREIGN if f.foreign_steps else Reason.STANDS
    return Outcome.FAILS if still and f.gap > PLATEAU else Outcome.INCONCLUSIVE, (stands, f.movement)


def _not_told_apart(f: Facts) -> Answer:
    """Only another norm's gap is too near: inconclusive."""
    alone = f.within and not f.misaligned
    return (Outcome.INCONCLUSIVE, (*f.shortfalls, Reason.NOT_TOLD_APART)) if alone else None


def _may_close(f: Facts) -> Answer:
    """The gap may still close, and the steps do not speak against it: inconclusive.

    Steps that are the norm's own, under constant gradients and late in training, refute nothing as long as the gap may
    close at all; a long memory can make that slow.

    Returns:
        The answer, if so.
    """
    may = f.closing or f.movement is Reason.NO_SLOPE
    may = may or (f.movement is Reason.NEARLY_FLAT and f.own_steps and f.aligned)
    return (Outcome.INCONCLUSIVE, (*f.shortfalls, f.movement)) if may and not f.misaligned else None


def _refuted(f: Facts) -> Answer:
    """Something that is asked is not there, and more steps would not bring it."""
    return Outcome.FAILS, (*f.shortfalls, f.movement)


RULES: tuple[Callable[[Facts], Answer], ...] = (
    _not_measured,
    _another_norms,
    _hypothesis_unmet,
    _closes,
    _stands,
    _not_told_apart,
    _may_close,
    _refuted,
)


def judge(facts: Facts) -> Decision:
    """Judge one norm on one problem by the bounds that are asked."""
    outcome, reasons = next(answer for rule in RULES if (answer := rule(facts)) is not None)
    return Decision(outcome, reasons, facts)


def decide(facts: Facts) -> Decision:
    """Judge one norm on one problem by the tier's bounds, with patience for a memory beyond the tier's steps.

    The bounds are for the steps that a tier means to take. Where the optimizer's memory asks for more of them than it
    gives, those of ``quick`` decide, as they do of a short memory, if the gap is still closing; and steps that are the
    norm's own under constant gradients are not refuted before margins are large. Both are said.

    Returns:
        The decision.
    """
    found = judge(facts)
    if facts.short_of <= 1:
        return found
    if found.outcome is Outcome.FAILS and facts.own_steps and facts.margin < LATE_MARGIN:
        return Decision(Outcome.INCONCLUSIVE, (*found.reasons, Reason.TOO_EARLY), facts)
    if found.outcome is Outcome.INCONCLUSIVE and facts.steps_asked is not None:
        quick = judge(replace(facts, by="quick"))
        if quick.outcome is Outcome.HOLDS:
            return replace(quick, reasons=(*quick.reasons, Reason.QUICK_BOUNDS))
    return found


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
    return flat and verdict.final_margin >= LATE_MARGIN
