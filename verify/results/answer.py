"""The classes of answer that ``check`` gives: what each says, and the outcome (and exit status) that goes with it."""

from __future__ import annotations

from enum import StrEnum

from maxmargin.verify.results.verdict import Outcome


class Answer(StrEnum):
    """What is known of an optimizer and the margins it maximizes, most definite first.

    HOLDS: the margin of one fixed norm, in all that was tried.
    REGIMES: of one fixed norm while gradients are above its eps, of another below; both were measured.
    FACTOR: of a norm up to a factor that its steps guarantee (limsup Γ ≤ 1 − liminf r).
    DATA_DEPENDENT: of a norm that its own state settles on during training (Adagrad, LARS), measured as such.
    REFUTED: not of the claimed, or of any known norm's; the fault is named where one was found.
    NO_NORM: of no norm at all, for a reason that is not one of norms (it ascends, steps are random or not finite).
    UNDECIDED: none of these can be said.
    """

    HOLDS = "holds"
    REGIMES = "holds in regimes"
    FACTOR = "holds to a factor"
    DATA_DEPENDENT = "data-dependent"
    REFUTED = "refuted"
    NO_NORM = "no norm"
    UNDECIDED = "undecided"

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
