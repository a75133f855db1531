"""The tables that come with the package: measured by the benchmarks, and shown on every page.

A table that is missing, as in a fresh clone before the benchmarks were run, or damaged, is left out: nobody's own
results become unreadable by it. That the tables in the repository are whole is a matter of the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

from maxmargin.reports.mutants import MutantTable
from maxmargin.reports.third_party import ThirdPartyTable
from maxmargin.verify.results.encoding import ReportError

TABLES = Path(__file__).with_name("tables")
MUTANTS = "mutants.json"
THIRD_PARTY = "third_party.json"


@final
@dataclass(frozen=True)
class Published:
    """The tables there are; None for one that is missing or damaged."""

    mutants: MutantTable | None
    third_party: ThirdPartyTable | None

    @property
    def norms(self) -> set[str]:
        """The norms that are named in them."""
        claimed = {case.claim for case in self.mutants.cases} if self.mutants else set()
        found = {entry.norm for entry in self.third_party.entries if entry.norm} if self.third_party else set()
        return claimed | found

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read what can be read."""
        try:
            mutants = MutantTable.load(folder / MUTANTS)
        except ReportError:
            mutants = None
        try:
            third_party = ThirdPartyTable.load(folder / THIRD_PARTY)
        except ReportError:
            third_party = None
        return cls(mutants, third_party)


def without_places(text: str) -> str:
    """A message without the folders of the machine that it was written on; file names stay.

    Returns:
        The message, each folder as "…/".

    Example:
        >>> without_places("in /opt/python/lib/optim.py, line 3: rows/cols, and/or 1/2")
        'in …/optim.py, line 3: rows/cols, and/or 1/2'
    """
    return re.sub(r"(?<![\w.~</-])(?:[A-Z]:)?/(?:[^\s/'\"():,]+/)+", "…/", text)
