"""Stored results, read and checked: ``results.json``, and where the arrays beside it are.

The folder may come from anyone. JSON and npz are read without pickle, array paths may not leave the folder,
and whatever is missing or of the wrong type is named in a :class:`ReportError`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from msgspec import UNSET, Struct

from maxmargin.reports.figures.numbers import known as known
from maxmargin.verify.judging.facts import is_control
from maxmargin.verify.results.candidates import family
from maxmargin.verify.results.claim_verdict import Campaign
from maxmargin.verify.results.encoding import decode, read_json
from maxmargin.verify.results.problem_verdict import NormEvidence, ProblemVerdict
from maxmargin.verify.results.store import array_file
from maxmargin.verify.results.verdict import CheckVerdict, Verdict


class _Kind(Struct):
    """What distinguishes the files of the two commands."""

    schema: Literal[1]
    kind: Literal["verify", "check"]


@final
@dataclass(frozen=True)
class Source:
    """Results, and the folder where their arrays are; None where there are none beside them."""

    results: Campaign | CheckVerdict
    folder: Path | None


def source(path: str | Path) -> Source:
    """Return the results, checked, of a folder, or of one JSON file as ``--json`` writes it, without arrays.

    Raises:
        ReportError: when it is missing, damaged or of another schema.
    """
    path = Path(path)
    if path.is_dir():
        return Source(load(path), path)
    value = read_json(path, "give a folder of results, or a JSON file of 'check --json' or 'verify --json'")
    if isinstance(value, dict) and "kind" not in value and "target" in value:
        value["kind"] = "check"
    return Source(_decoded(value, path), None)


def load(directory: str | Path) -> Campaign | CheckVerdict:
    """Return ``directory/results.json``, checked; the arrays are read later, one problem at a time.

    Raises:
        ReportError: when it is missing, damaged or of another schema.
    """
    directory = Path(directory)
    path = directory / "results.json"
    missing = f"'maxmargin verify --out {directory}' or 'check --html {directory}' writes it"
    results = _decoded(read_json(path, missing), path)
    for claim in verdicts_of(results):
        for problem in claim.problems:
            if problem.arrays_file is not UNSET:
                array_file(directory, problem.arrays_file)
    return results


def _decoded(value: Any, path: Path) -> Campaign | CheckVerdict:
    kind = decode(value, _Kind, str(path)).kind
    return decode(value, Campaign, str(path)) if kind == "verify" else decode(value, CheckVerdict, str(path))


def verdicts_of(results: Campaign | CheckVerdict) -> tuple[Verdict, ...]:
    """The claims of a campaign, or the one verdict of a check."""
    return results.claims if isinstance(results, Campaign) else (results,)


@final
@dataclass(frozen=True)
class Standing:
    """How one problem stands towards the norm that its verdict is shown under.

    Attributes:
        problem: The verdict on the problem.
        norm: The norm that the whole verdict is about, or its form on this problem's blocks ("weighted spectral" for
            spectral), which is the one that the problem was judged for; None without any.
    """

    problem: ProblemVerdict
    norm: str | None

    @classmethod
    def of(cls, verdict: Verdict, problem: ProblemVerdict) -> Standing:
        """Choose the norm."""
        about = verdict.about
        theirs = about is not None and about in problem.evidence and family(problem.norm) != family(about)
        return cls(problem, about if theirs else problem.norm or None)

    @property
    def own(self) -> NormEvidence | None:
        """The evidence under that norm."""
        return self.problem.evidence.get(self.norm or "")

    @property
    def gap(self) -> float | None:
        """The KKT gap under that norm, the one that should vanish: the worst run's, which is judged."""
        return known(self.own.kkt_gap_range[1]) if self.own is not None else None

    def is_control(self, name: str) -> bool:
        """Whether ``name`` is another norm that this problem can tell from its own."""
        return is_control(name, self.norm, self.problem.evidence)

    @property
    def nearest_wrong(self) -> tuple[str, float] | None:
        """The control with the smallest gap, and that gap, the best run's: the one hardest to tell from the judged."""
        gaps = [(name, e.kkt_gap_range[0]) for name, e in self.problem.evidence.items() if self.is_control(name)]
        others = [(name, gap) for name, gap in gaps if math.isfinite(gap)]
        return min(others, key=lambda pair: pair[1], default=None)

    @property
    def ratio(self) -> float | None:
        """The smallest wrong gap over the matching one; None where either is missing, inf at a gap ≤ 0."""
        gap, wrong = self.gap, self.nearest_wrong
        if gap is None or wrong is None:
            return None
        return wrong[1] / gap if gap > 0 else math.inf
