"""The rules: what refutes, what a pass asks; everything else is inconclusive."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

from maxmargin.verify.judging.facts import Facts, left_to_the_run
from maxmargin.verify.judging.reasons import Reason
from maxmargin.verify.results.outcome import Outcome


@dataclass(frozen=True)
class Decision:
    """An outcome, its reasons, most important first, and the facts they speak of."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    facts: Facts

    @property
    def another_run_may_do(self) -> bool:
        """Whether a longer or a slower run may decide: nothing but how this one went speaks against the norm.

        A gap that stands, or late steps that are not the norm's, though steps are not known to be another's, may be the
        pace's doing: they refute where they are so at a slower one too.
        """
        f = self.facts
        if not left_to_the_run(f.hypotheses):
            return False
        if self.outcome is Outcome.FAILS:
            return not f.foreign_steps and set(self.reasons) <= _STANDS and f.slower == 1.0
        return self.outcome is Outcome.INCONCLUSIVE and set(self.reasons) <= _OF_THE_RUN

    @property
    def texts(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(reason.value.format(f=self.facts) for reason in self.reasons)


_STANDS = frozenset({Reason.STOPS, Reason.MISALIGNED, Reason.FLAT, Reason.NEARLY_FLAT, Reason.SOME_RUNS})
_OF_THE_RUN = _STANDS | {
    Reason.LARGE,
    Reason.UNMATCHED,
    Reason.RIVAL_NEAR,
    Reason.FAR,
    Reason.STANDS,
    Reason.TOO_EARLY,
    Reason.UNMET,
    Reason.UNKNOWN,
    Reason.NO_THEOREM,
    Reason.SLOWER,
    Reason.NO_SLOPE,
    Reason.CLOSING,
    Reason.CLOSING_LATE,
}
"""What another run may change."""


def judge(f: Facts) -> Decision:
    """Judge one norm on one problem."""
    outcome, reasons = _judged(f)
    some = (Reason.SOME_RUNS,) if 0 < f.separated < 1 else ()
    slower = (Reason.SLOWER,) if f.slower < 1 else ()
    return Decision(outcome, (*reasons, *some, *slower), f)


def _judged(f: Facts) -> tuple[Outcome, tuple[Reason, ...]]:
    """The outcome and its reasons."""
    if (nothing := _not_measured(f)) is not None:
        if f.elsewhere:
            return Outcome.FAILS, (Reason.ELSEWHERE, nothing)  # what steps do was seen without any training
        return Outcome.INCONCLUSIVE, (nothing,)
    if against := _against(f):
        if f.unmet_by_the_run:
            return Outcome.INCONCLUSIVE, (*against, Reason.NO_THEOREM)
        return Outcome.FAILS, against
    if f.shortfalls:
        moves = (f.movement,) if f.is_open or not f.within else ()
        return Outcome.INCONCLUSIVE, (*f.shortfalls, *moves)
    return Outcome.HOLDS, (Reason.SMALL if f.controls else Reason.SMALL_ALONE,)


def _not_measured(f: Facts) -> Reason | None:
    """What is missing without which there is nothing to judge."""
    if f.norm not in f.evidence:
        return Reason.NOT_SOLVED if f.evidence else Reason.NOT_SEPARATED
    if isnan(f.gap):
        return Reason.NO_GAP
    return Reason.NO_ALIGNMENT if isnan(f.own.alignment) else None


def _against(f: Facts) -> tuple[Reason, ...]:
    """What refutes: another norm's set is reached, the gap stands, or steps are not the norm's, here or elsewhere."""
    found = {
        Reason.ANOTHER_NORMS: f.another_norms,
        Reason.STOPS_FOREIGN if f.foreign_steps else Reason.STOPS: f.stands,
        Reason.MISALIGNED: f.refuted_by_steps,
        Reason.ELSEWHERE: bool(f.elsewhere),
    }
    reasons = tuple(reason for reason, there in found.items() if there)
    return (*reasons, f.movement) if reasons else ()
