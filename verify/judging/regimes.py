"""From the conclusions on an optimizer's two regimes to one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf

from maxmargin.verify.judging.conclusion import Conclusion
from maxmargin.verify.results.answer import Answer, NoNorm
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.verdict import THEN
from maxmargin.verify.thresholds.judging import LATE_MARGIN, LEFT_AT_ONCE, STARTS_ABOVE


@dataclass(frozen=True)
class Left:
    """When training at the optimizer's own constant learning rate leaves the regime above.

    Attributes:
        problem: Where that was looked for.
        step: At which step.
        seen: Whether a run went so far; else it is extrapolated.
        memory: Steps that the optimizer's slowest moment remembers.
    """

    problem: str
    step: int
    seen: bool
    memory: float

    @property
    def at_once(self) -> bool:
        """Whether that is seen to be long before its memory has filled: what was passed through has no limit."""
        return self.seen and self.step < LEFT_AT_ONCE * self.memory < inf


@dataclass(frozen=True)
class Joined:
    """One answer for an optimizer of one regime or two.

    Attributes:
        answer: It.
        norm: That may be named first, or None.
        reasons: Why, most important first.
        first: Which regime a plain claim is about: 0 above, 1 below.
        why: Why it maximizes no norm's margin, where it does not.
    """

    answer: Answer
    norm: str | None
    reasons: tuple[str, ...]
    first: int = 0
    why: NoNorm | None = None


def main_regime(floor: float, stands: bool = False) -> int:
    """Which regime a plain claim is about: 0 above, 1 below where training starts below, or soon is.

    Args:
        floor: The gradient's norm at which one passes into the other.
        stands: Whether weights stand still below: then it is the one below where margins are not late before, as a
            direction that is left there is nobody's limit.

    Returns:
        0 or 1.
    """
    return 1 if floor >= STARTS_ABOVE or (stands and floor > exp(-LATE_MARGIN)) else 0


def alone(found: Conclusion, *, both_claimed: bool, one: bool) -> Joined:
    """The answer on an optimizer of which no two regimes were found.

    Args:
        found: The conclusion on it.
        both_claimed: Whether a norm was claimed of each of two regimes.
        one: Whether its steps are the same at every size of gradients that was tried.

    Returns:
        The conclusion's answer; where two regimes were claimed, that there is one, or that they were not told apart.
    """
    if not both_claimed:
        return Joined(found.answer, found.norm, found.reasons, why=found.why)
    if one:
        text = "Its steps do not change with the gradient's size: there is one regime, and no second norm."
        return Joined(Answer.REFUTED, None, (text, *found.reasons))
    text = "Two regimes, each of one power of the gradient's size, could not be told apart and measured."
    return Joined(Answer.UNDECIDED, None, (text, *found.reasons))


def join(
    floor: float,
    found: Sequence[Conclusion],
    *,
    both_claimed: bool,
    left: Left | None = None,
    shift: float | None = None,
    stands: bool = False,
) -> Joined:
    """Put the conclusions on two regimes together.

    Args:
        floor: The gradient's norm at which one passes into the other.
        found: Above, below.
        both_claimed: Whether each was claimed a norm; else the main regime decides, and the other is told beside it.
            Where none was claimed, that is the one below where one holds only there, and the one above is left at once.
        left: When training at the optimizer's own rate leaves the regime above, if it is known to.
        shift: The gradient's norm at which steps above change in length alone, if they do.
        stands: Whether weights stand still below.

    Returns:
        The answer. One norm in both is plainly that norm; two are an answer in regimes.
    """
    first = 0 if both_claimed else main_regime(floor, stands)
    only_below = [c.outcome is Outcome.HOLDS for c in found] == [False, True]
    if only_below and left is not None and left.at_once and all(c.claim is None for c in found):
        first = 1
    main, other = found[first], found[1 - first]
    holds = Outcome.of_all(c.outcome for c in found) if both_claimed else main.outcome
    if holds is not Outcome.HOLDS:
        answer = Answer.of(holds) if both_claimed else main.answer
    else:
        same = other.outcome is Outcome.HOLDS and other.norm == main.norm
        answer = Answer.HOLDS if same else Answer.REGIMES
    where = "Below that size" if first == 0 else "Above that size"
    rest = [f"{where}: {reason}" for reason in other.reasons if reason not in main.reasons]
    return Joined(
        answer,
        None if both_claimed and answer.outcome is not Outcome.HOLDS else main.norm,
        (*_change(floor, found, first, left), *_shift(shift), *main.reasons, *rest),
        first,
        NoNorm.STOPS if main.why is NoNorm.STILL and other.why is not NoNorm.STILL else main.why,
    )


def _change(floor: float, found: Sequence[Conclusion], first: int, left: Left | None) -> list[str]:
    """Where one regime passes into the other, what each is, and when training gets there."""
    above, below = (_what(c) for c in found)
    when = ""
    if left is not None:
        about = "" if left.seen else "about "
        when = f", at its own constant learning rate after {about}{left.step:,} steps ({left.problem})"
    text = (
        f"Its steps change where the gradient's norm falls below {floor:.0e} (an eps, or clipping){when}: "
        f"{above} above, {below} below, each measured by itself."
    )
    main, other = found[first], found[1 - first]
    if main.outcome is Outcome.FAILS and main.claim is not None and main.claim == other.norm:
        text += f" A plain claim is about the {'one above' if first == 0 else 'one below'}; 'X{THEN}Y' claims both."
    elif first == 1:
        text += " A plain claim is about the one below, where training soon is."
    return [text]


def _shift(size: float | None) -> list[str]:
    """Where steps pass from one length to another, but are the same on either side."""
    if size is None:
        return []
    return [
        f"About where the gradient's norm is {size:.0e} its steps pass from one length to another, one entry before "
        "the next; on either side of that they have one direction."
    ]


def _what(found: Conclusion) -> str:
    if found.outcome is Outcome.HOLDS:
        return str(found.norm)
    if found.outcome is Outcome.INCONCLUSIVE:
        return f"{found.claim or 'a norm that is'} not decided"
    if found.why is not None:
        return f"none ({found.why})"
    if found.own is not None:
        return found.own.name
    if found.answer is Answer.FACTOR:
        return f"{found.claim or found.norm} to a factor"
    return f"not {found.claim}" if found.claim is not None else "no known norm"
