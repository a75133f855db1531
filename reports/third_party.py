"""What other people's optimizers maximize, as measured by ``check`` with the arguments given: one table.

The file ``tables/third_party.json``, written by ``tests/benchmarks/bench_third_party.py`` and undated::

    {"schema": 1, "kind": "third_party", "tier": "quick", "seed": 0, "versions": {package: version},
     "missing": [a package that was not installed, …],
     "rows": [{"package", "version", "optimizer", "arguments", "outcome", "answer", "said", "approximate": bool,
               "norm": NORM | null, "named": bool, "signature", "alignment", "margin_lost", "floor", "floor_step",
               "found": [text, …]}]}

``optimizer`` is where to import it, ``arguments`` text. Numbers are null where nothing was measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field

from maxmargin.reports.counts import by_class, rate
from maxmargin.verify.results.encoding import as_json, read


class Entry(Struct, frozen=True, omit_defaults=True):
    """One optimizer with its arguments.

    Attributes:
        outcome: That of ``check`` without a claim; "refused" where the optimizer cannot be handled, which is no
            verdict, "not finished" at the time limit, "error" where the check itself broke off.
        approximate: Whether it comes close to steepest descent under its norm, and stays apart from it.
        norm: The norm that was found, or, where not ``named``, the one that came nearest.
        signature: Alignment with steepest descent under gradients of widely spread singular values.
        alignment: The least alignment at the end of training.
        margin_lost: The largest KKT gap at the end of training.
        floor: The norm of the gradient below which an eps has taken over.
        floor_step: The step from which on it has, where that was seen.
        found: What probing found, or the error.
        answer: The class of answer; "" where there is none but the outcome's.
        said: The answer in one sentence, as ``check`` prints it.
    """

    package: str
    version: str
    optimizer: str
    arguments: str
    outcome: Literal["holds", "fails", "inconclusive", "refused", "not finished", "error"]
    approximate: bool
    norm: str | None
    named: bool
    signature: float | None
    alignment: float | None
    margin_lost: float | None
    floor: float | None
    floor_step: float | None
    found: tuple[str, ...]
    answer: str = ""
    said: str = ""

    @property
    def kind(self) -> str:
        """The class of answer, or why there is none."""
        plain = {"holds": "holds", "fails": "refuted", "inconclusive": "undecided"}
        return self.answer or plain.get(self.outcome, self.outcome)

    @property
    def call(self) -> str:
        """The class with its arguments, without the module."""
        return f"{self.optimizer.rpartition(':')[2]}({self.arguments})"


class ThirdPartyTable(Struct, frozen=True):
    """The whole table; its entries are "rows" in JSON."""

    tier: str
    seed: int
    versions: Mapping[str, str]
    missing: tuple[str, ...]
    entries: tuple[Entry, ...] = field(name="rows")
    schema: Literal[1] = 1
    kind: Literal["third_party"] = "third_party"

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages and their versions, each once, by name."""
        return tuple(sorted({f"{e.package} {e.version}" for e in self.entries}))

    @property
    def sentence(self) -> str:
        r"""The counts in one sentence.

        Example:
            >>> def entry(outcome, approximate=False):
            ...     return Entry("p", "1", "p:Opt", "", outcome, approximate, "l2", True, *[None] * 5, ())
            >>> entries = (entry("holds"), entry("fails", True), entry("fails"), entry("refused"))
            >>> print(*ThirdPartyTable("quick", 0, {}, (), entries).sentence.split("; "), sep="\n")
            4 optimizers of 1 package: 1 maximizes a norm’s margin, 2 do not (1 of them approximately)
            1 could not be checked.
        """
        counts = Counter(e.outcome for e in self.entries)
        holds, fails, unsure = counts["holds"], counts["fails"], counts["inconclusive"]
        lost = len(self.entries) - holds - fails - unsure
        near = sum(e.outcome == "fails" and e.approximate for e in self.entries)
        packages = len({e.package for e in self.entries})
        told = [
            f"{holds} {_verb(holds, 'maximizes', 'maximize')} a norm’s margin",
            f"{fails} {_verb(fails, 'does', 'do')} not" + (f" ({near} of them approximately)" if near else ""),
            *([f"{unsure} {_verb(unsure, 'is', 'are')} not decided"] if unsure else []),
        ]
        optimizers = f"{len(self.entries)} {_verb(len(self.entries), 'optimizer', 'optimizers')}"
        of = f"{packages} {_verb(packages, 'package', 'packages')}"
        return f"{optimizers} of {of}: {', '.join(told)}" + (f"; {lost} could not be checked." if lost else ".")

    @property
    def counts(self) -> str:
        r"""The classes of answer, counted, and how many rows have a definite one.

        Example:
            >>> def entry(outcome, answer=""):
            ...     return Entry("p", "1", "p:Opt", "", outcome, False, "l2", True, *[None] * 5, (), answer)
            >>> entries = (entry("holds"), entry("fails", "data-dependent"), entry("inconclusive"), entry("refused"))
            >>> print(*ThirdPartyTable("quick", 0, {}, (), entries).counts.split("; "), sep="\n")
            1 holds · 1 data-dependent · 1 undecided · 1 refused
            2 of 3 checked with a definite answer (at most 86.5 % without)
        """
        kinds = [e.kind for e in self.entries]
        checked = [e for e in self.entries if e.outcome in ("holds", "fails", "inconclusive")]
        definite = sum(e.kind != "undecided" for e in checked)
        return f"{by_class(kinds)}; {rate(definite, len(checked), 'checked with a definite answer', 'without')}"

    def to_json(self) -> dict[str, Any]:
        """The file's content, as the module's docstring states it."""
        return as_json(self)

    @classmethod
    def load(cls, path: Path) -> ThirdPartyTable:
        """Return the checked table of a file.

        Raises:
            ReportError: when the file is missing, damaged or of another schema.
        """
        return read(path, cls, "'python tests/benchmarks/bench_third_party.py' writes it")


def _verb(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
