"""Stored results, read and checked: ``results.json`` and the arrays beside it.

The folder may come from anyone. JSON and npz are read without pickle, array paths may not leave the folder,
and whatever is missing or of the wrong type is named in a :class:`ReportError`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from maxmargin.reports.reader import Range, Reader, ReportError, read_json, shown
from maxmargin.verify.results.candidates import family
from maxmargin.verify.thresholds.judging import APART

SCHEMA = 1
OUTCOMES = ("holds", "fails", "inconclusive")
KINDS = ("verify", "check")


@final
@dataclass(frozen=True)
class Evidence:
    """What one norm's comparison with one problem's runs gave; None where it was not measured."""

    kkt_gap: float | None
    alignment: float | None
    margin_ratio: float | None
    distance: float | None
    slope: float | None
    kkt_gap_range: Range | None
    slope_interval: Range | None
    residual: float | None
    apart: float | None


@final
@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis of the theorem: met, unmet, or (None) not decided; and the value measured for it."""

    met: bool | None
    value: float | str | None


@final
@dataclass(frozen=True)
class ProblemResult:
    """The runs of one optimizer on one problem.

    Attributes:
        norm: The norm that they were judged for: the claim's, or its form on this problem's blocks ("weighted
            spectral" for spectral).
    """

    problem: str
    norm: str | None
    degree: float | None
    outcome: str
    steps: float | None
    final_margin: float | None
    evidence: Mapping[str, Evidence]
    hypotheses: Mapping[str, Hypothesis]
    reasons: tuple[str, ...]
    rung: str
    runs: float | None
    separated_runs: float | None
    arrays: Path | None

    @property
    def own(self) -> Evidence | None:
        """The evidence under the norm that they were judged for."""
        return self.evidence.get(self.norm or "")

    @property
    def gap(self) -> float | None:
        """The KKT gap under that norm, the one that should vanish."""
        return self.own.kkt_gap if self.own is not None else None

    def is_control(self, name: str) -> bool:
        """Whether ``name`` is another norm that this problem can tell from its own; a coinciding one is no control."""
        apart = self.evidence[name].apart
        return name != self.norm and (apart is None or apart >= APART)

    @property
    def nearest_wrong(self) -> tuple[str, float] | None:
        """The control with the smallest gap, and that gap: the norm hardest to tell from the judged one."""
        gaps = {name: e.kkt_gap for name, e in self.evidence.items() if self.is_control(name)}
        others = [(name, gap) for name, gap in gaps.items() if gap is not None]
        return min(others, key=lambda pair: pair[1], default=None)

    @property
    def ratio(self) -> float | None:
        """The smallest wrong gap over the matching one; None where either is missing, inf at a gap ≤ 0."""
        gap, wrong = self.gap, self.nearest_wrong
        if gap is None or wrong is None:
            return None
        return wrong[1] / gap if gap > 0 else math.inf


@final
@dataclass(frozen=True)
class ClaimResult:
    """One claim and its verdict.

    Attributes:
        norm: The claimed norm; in a search the one that was found or came nearest, or None.
        search: Whether no norm was claimed (``check`` without ``--claim``).
    """

    id: str
    statement: str
    source: str
    optimizer: str
    norm: str | None
    search: bool
    outcome: str
    reasons: tuple[str, ...]
    rung: str
    blocks: Mapping[str, tuple[str, float | None]]
    problems: tuple[ProblemResult, ...]

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        if self.outcome == "holds":
            return f"{self.optimizer} maximizes the {self.norm} margin."
        if self.outcome == "fails":
            if self.norm is None:
                return f"{self.optimizer} maximizes the margin of none of the candidate norms."
            approximately = f"{self.optimizer} maximizes the {self.norm} margin only approximately."
            return approximately if self.search else f"{self.optimizer} does not maximize the {self.norm} margin."
        if not self.search:
            return f"Whether {self.optimizer} maximizes the {self.norm} margin is not decided."
        nearest = f"; {self.norm} comes nearest" if self.norm is not None else ""
        return f"Which norm's margin {self.optimizer} maximizes is not decided{nearest}."


@final
@dataclass(frozen=True)
class Results:
    """Everything a page is made of."""

    kind: str
    tier: str
    seed: float | None
    device: str
    seconds: float | None
    versions: Mapping[str, str]
    claims: tuple[ClaimResult, ...]

    def count(self, outcome: str) -> int:
        """How many claims have this outcome."""
        return sum(claim.outcome == outcome for claim in self.claims)

    @property
    def outcome(self) -> str:
        """The claims together: one failure fails; without one, one undecided (or nothing tested) is inconclusive."""
        if self.count("fails"):
            return "fails"
        return "holds" if self.claims and self.count("holds") == len(self.claims) else "inconclusive"


def load(directory: str | Path) -> Results:
    """Read ``directory/results.json``.

    Returns:
        The results, checked; the arrays are read later, one problem at a time.

    Raises:
        ReportError: when it is missing, damaged or of another schema.
    """
    directory = Path(directory)
    path = directory / "results.json"
    missing = f"'maxmargin verify --out {directory}' or 'check --html {directory}' writes it"
    value = read_json(path, missing)
    return parse(value, directory, str(path))


def parse(value: Any, directory: Path, place: str = "results") -> Results:
    """Check a decoded ``results.json``.

    Args:
        value: What ``json.loads`` gave.
        directory: The folder that the array paths are relative to.
        place: What messages call the file.

    Returns:
        The results.

    Raises:
        ReportError: naming the first entry that is missing or of the wrong type.
    """
    top = Reader.of(value, place)
    if top.value.get("schema") != SCHEMA:
        raise ReportError(f"{place} has schema {shown(top.value.get('schema'))}; this program reads {SCHEMA}")
    kind = top.choice("kind", KINDS)
    return Results(
        kind=kind,
        tier=top.text("tier", ""),
        seed=top.number("seed"),
        device=top.text("device", ""),
        seconds=top.number("seconds"),
        versions=top.strings("versions"),
        claims=(_check(top, directory),)
        if kind == "check"
        else tuple(_claim(claim, directory) for claim in top.objects("claims")),
    )


def _claim(claim: Reader, directory: Path) -> ClaimResult:
    return ClaimResult(
        id=claim.text("id"),
        statement=claim.text("statement", ""),
        source=claim.text("source", ""),
        optimizer=claim.text("optimizer"),
        norm=claim.optional_text("norm"),
        search=False,
        outcome=claim.choice("outcome", OUTCOMES),
        reasons=claim.texts("reasons"),
        rung=claim.text("rung", ""),
        blocks=_blocks(claim),
        problems=tuple(_problem(p, directory, claim.optional_text("norm")) for p in claim.objects("problems")),
    )


def _check(top: Reader, directory: Path) -> ClaimResult:
    """The JSON of ``check`` as the one claim it is about."""
    claimed, found = top.optional_text("claim"), top.optional_text("norm")
    target = top.text("target")
    kwargs = Reader.of(top.value.get("kwargs") or {}, f"{top.place}.kwargs").value
    options = ", ".join(f"{key}={item}" for key, item in kwargs.items())  # texts stand as --kw takes them
    return ClaimResult(
        id="check",
        statement=f"It maximizes the {claimed} margin." if claimed else "Which norm's margin does it maximize?",
        source="",
        optimizer=f"{target}({options})" if options else target,
        norm=claimed or found,
        search=claimed is None,
        outcome=top.choice("outcome", OUTCOMES),
        reasons=top.texts("reasons"),
        rung=top.text("rung", ""),
        blocks=_blocks(top),
        problems=tuple(_problem(p, directory, claimed or found) for p in top.objects("problems")),
    )


def _blocks(claim: Reader) -> dict[str, tuple[str, float | None]]:
    return {name: (block.text("norm", "–"), block.number("weight")) for name, block in claim.named("blocks").items()}


def _problem(problem: Reader, directory: Path, norm: str | None) -> ProblemResult:
    arrays = problem.optional_text("arrays")
    judged = problem.optional_text("norm")
    return ProblemResult(
        problem=problem.text("problem"),
        norm=judged if judged is not None and family(judged) == norm else norm,
        degree=problem.number("degree"),
        outcome=problem.choice("outcome", OUTCOMES),
        steps=problem.number("steps"),
        final_margin=problem.number("final_margin"),
        evidence={
            norm: Evidence(
                kkt_gap=e.number("kkt_gap"),
                alignment=e.number("alignment"),
                margin_ratio=e.number("margin_ratio"),
                distance=e.number("distance"),
                slope=e.number("slope"),
                kkt_gap_range=e.range("kkt_gap_range"),
                slope_interval=e.range("slope_interval"),
                residual=e.number("residual"),
                apart=e.number("apart"),
            )
            for norm, e in problem.named("evidence").items()
        },
        hypotheses={
            name: Hypothesis(met=h.flag("met"), value=h.scalar("value"))
            for name, h in problem.named("hypotheses").items()
        },
        reasons=problem.texts("reasons"),
        rung=problem.text("rung", ""),
        runs=problem.number("runs"),
        separated_runs=problem.number("separated_runs"),
        arrays=None if arrays is None else _inside(directory, arrays, problem.place),
    )


def _inside(directory: Path, name: str, place: str) -> Path:
    """The path of an array file, which must lie in the folder."""
    try:
        path = (directory / name).resolve()
        inside = path.is_relative_to(directory.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise ReportError(f"{place}.arrays is {shown(name)}: {error}") from None
    if not inside:
        raise ReportError(f"{place}.arrays is {shown(name)}, which leaves the folder {directory}")
    return path
