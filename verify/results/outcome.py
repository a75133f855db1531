"""The three outcomes of a measurement, and their exit statuses."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Outcome(StrEnum):
    """What a measurement says of a claim. Inconclusive is never a pass."""

    HOLDS = "holds"
    FAILS = "fails"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_status(self) -> int:
        """Exit status of the command line: 0, 1 or 3 (2 is bad usage or input)."""
        return {Outcome.HOLDS: 0, Outcome.FAILS: 1, Outcome.INCONCLUSIVE: 3}[self]

    @classmethod
    def of_all(cls, outcomes: Iterable[Outcome]) -> Outcome:
        """FAILS if any fails, else INCONCLUSIVE if any is (or there are none), else HOLDS."""
        seen = list(outcomes)
        if cls.FAILS in seen:
            return cls.FAILS
        return cls.HOLDS if seen and all(o is cls.HOLDS for o in seen) else cls.INCONCLUSIVE
