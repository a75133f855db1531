"""The classes of answer that ``check`` gives: what each says, and the outcome (and exit status) that goes with it."""

from __future__ import annotations

from enum import StrEnum

from maxmargin.verify.results.outcome import Outcome


class Answer(StrEnum):
    """What is known of an optimizer and the margins it maximizes, most definite first."""

    HOLDS = "holds", "the margin of one fixed norm is maximized, in all that was tried"
    REGIMES = (
        "holds in regimes",
        "of one fixed norm while gradients are above a size (an eps, a clipping threshold), of another, or of none "
        "that was confirmed, below it; each measured by itself. A plain claim is about the one training starts in. "
        "Or of one fixed norm while a weight decay, which was switched off, is negligible",
    )
    FACTOR = (
        "holds to a factor",
        "of a norm up to a factor that its steps guarantee: a KKT gap of at most 1 − r, r the least alignment of late "
        "steps with steepest descent",
    )
    DATA_DEPENDENT = (
        "data-dependent",
        "of a norm that its own state settles on during training (Adagrad, LARS), measured as such",
    )
    REFUTED = "refuted", "not of the claimed, or of any known norm; the fault is named where one was found"
    NO_NORM = "no norm", "of no norm at all, for a reason that is not one of norms: it ascends, stands still, is random"
    UNDECIDED = "undecided", "none of these can be said; the reasons name what would decide"

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Answer:
        """The class of this name, and what it says, in words."""
        answer = str.__new__(cls, value)
        answer._value_, answer.meaning = value, meaning
        return answer

    @property
    def outcome(self) -> Outcome:
        """HOLDS where a fixed norm's margin is maximized; FAILS for every other definite answer; else INCONCLUSIVE.

        Example:
            >>> Answer.REGIMES.outcome.exit_status, Answer.FACTOR.outcome.exit_status
            (0, 1)
        """
        if self in (Answer.HOLDS, Answer.REGIMES):
            return Outcome.HOLDS
        return Outcome.INCONCLUSIVE if self is Answer.UNDECIDED else Outcome.FAILS

    @classmethod
    def of(cls, outcome: Outcome) -> Answer:
        """The plain answer of an outcome of which nothing more is known."""
        return {Outcome.HOLDS: cls.HOLDS, Outcome.FAILS: cls.REFUTED, Outcome.INCONCLUSIVE: cls.UNDECIDED}[outcome]


class NoNorm(StrEnum):
    """Why an optimizer maximizes no norm's margin."""

    NOT_FINITE = "its steps on finite gradients are not finite"
    STILL = "it does not move"
    STOPS = "it stops, whatever the learning rate"
    CONFINED = "its weights keep their length"
    ASCENDS = "it ascends"
    RANDOM = "its steps are random"
    DATA_ORDER = "it follows the order of the data"
    NO_DESCENT = "it does not separate the data, whatever the learning rate"
