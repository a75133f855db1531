"""What has a section of the page: a claim, a check, or one regime of a check; with its problems and figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from msgspec import UNSET

from maxmargin.reports.data import Source, Standing
from maxmargin.reports.figures.alignment import alignment_figure
from maxmargin.reports.figures.curves import load_curves
from maxmargin.reports.figures.gap import gap_figure
from maxmargin.reports.figures.palette import NormStyle, styles
from maxmargin.reports.figures.panel import Drawing
from maxmargin.reports.figures.profile import profile_figure
from maxmargin.reports.hypotheses import Hypotheses
from maxmargin.reports.matrix import Line, State, state_of
from maxmargin.verify.results.candidates import family
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import NormEvidence
from maxmargin.verify.results.store import array_file
from maxmargin.verify.results.verdict import CheckVerdict, NormOfBlock, Verdict

FIGURES = 900_000
"""Characters of all figures together: a page is to stay below 1.5 MB."""

MEASURED = {
    Outcome.HOLDS: "was measured",
    Outcome.FAILS: "is contradicted by what was measured",
    Outcome.INCONCLUSIVE: "is not decided by what was measured",
}
"""Of a claim that numbers decide, and not a norm's margin."""


@final
@dataclass(frozen=True)
class Problem:
    """One problem of a case.

    Attributes:
        standing: Its verdict, under the norm that is shown.
        anchor: Its id.
        evidence: By norm, the judged one first: name, what was measured, how the problem stands towards it.
        hypotheses: Sorted.
        drawings: Its figures; none without curves.
        runs: That the curves are of.
        left_out: Whether its figures had to be left out.
    """

    standing: Standing
    anchor: str
    evidence: tuple[tuple[str, NormEvidence, State], ...]
    hypotheses: Hypotheses
    drawings: tuple[Drawing, ...]
    runs: int
    left_out: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the figures must be told, once."""
        return tuple(dict.fromkeys(note for drawing in self.drawings for note in drawing.notes))


@final
@dataclass(frozen=True)
class Case:
    """One section of the page.

    Attributes:
        verdict: A claim's, a check's, or a regime's.
        name: In the navigation and the table.
        part: The regime, in words; "" where there is one.
        anchor: Its id.
        styles: How its norms are drawn.
        reasons: Those that do not stand at a problem.
        blocks: The norm of each block, of a check.
        problems: Its problems.
    """

    verdict: Verdict
    name: str
    part: str
    anchor: str
    styles: Mapping[str, NormStyle]
    reasons: tuple[str, ...]
    blocks: Mapping[str, NormOfBlock]
    problems: tuple[Problem, ...]

    @property
    def sentence(self) -> str:
        """Its heading: what the verdict says."""
        verdict = self.verdict
        if (
            isinstance(verdict, ClaimVerdict)
            and verdict.about is None
            and not any(p.evidence for p in verdict.problems)
        ):
            return f"What it predicts {MEASURED[verdict.outcome]}."
        said = verdict.sentence
        return f"{said.removesuffix('.')} {self.part}." if self.part else said

    @property
    def statement(self) -> str:
        """What was claimed; "" where the norm was looked for."""
        if isinstance(self.verdict, ClaimVerdict):
            return self.verdict.statement
        return f"It maximizes the {self.verdict.claim} margin." if self.verdict.claim else ""

    @property
    def family(self) -> str:
        """The family of the norm that it is about; "" for none."""
        return family(self.verdict.about or "")

    @property
    def is_open(self) -> bool:
        """Whether its section is unfolded: what holds is folded."""
        return self.verdict.outcome is not Outcome.HOLDS

    @property
    def line(self) -> Line:
        """Its row of the first table."""
        verdict = self.verdict
        detail = verdict.optimizer if isinstance(verdict, ClaimVerdict) else self.part
        standings = [(p.standing, f"#{p.anchor}") for p in self.problems]
        return Line(self.name, detail, self.anchor, verdict, verdict.outcome, standings)


def cases_of(source: Source, index: int = 0) -> tuple[Case, ...]:
    """The sections of one result; ``index`` keeps ids of several apart."""
    results = source.results
    if isinstance(results, Campaign):
        return tuple(_case(claim, claim.id, "", source, f"{index}-{i}") for i, claim in enumerate(results.claims))
    if len(results.regimes) < 2:
        return (_case(results, results.optimizer, "", source, f"{index}"),)
    found = []
    for i, regime in enumerate(results.regimes):
        found.append(_case(results.within(regime), results.optimizer, regime.range, source, f"{index}-{i}"))
    return tuple(found)


def _case(verdict: Verdict, name: str, part: str, source: Source, index: str) -> Case:
    anchor = f"{slug(name)}-{index}"
    told = {f"{p.problem}: {'; '.join(p.reasons)}" for p in verdict.problems}  # those stand at their own problem
    names = {name for p in verdict.problems for name in p.evidence} | ({verdict.about} if verdict.about else set())
    style = styles(names)
    standings = [Standing.of(verdict, p) for p in verdict.problems]
    return Case(
        verdict=verdict,
        name=name,
        part=part,
        anchor=anchor,
        styles=style,
        reasons=tuple(reason for reason in verdict.reasons if reason.rstrip(".") not in told),
        blocks=verdict.blocks if isinstance(verdict, CheckVerdict) else {},
        problems=tuple(
            _problem(s, f"{anchor}-{slug(s.problem.problem)}-{j}", source.folder, verdict.optimizer, style)
            for j, s in enumerate(standings)
        ),
    )


def _problem(
    standing: Standing, anchor: str, folder: Path | None, optimizer: str, style: Mapping[str, NormStyle]
) -> Problem:
    problem, norm = standing.problem, standing.norm
    drawings: list[Drawing] = []
    runs = 0
    if folder is not None and problem.evidence and problem.arrays_file is not UNSET:
        curves = load_curves(array_file(folder, problem.arrays_file))
        runs = curves.runs
        where = f"{optimizer} on {problem.problem}"
        style = styles({*style, *curves.gap, *curves.alignment})
        if curves.gap:
            drawings.append(gap_figure(curves, norm, f"KKT gap against step: {where}", style))
        if curves.alignment:
            drawings.append(alignment_figure(curves, norm, f"alignment against step: {where}", style))
        last = profile_figure(curves.profiles, family(norm or ""), f"sizes and singular values at the end: {where}")
        drawings += [last] if last is not None else []
    rows = sorted(problem.evidence.items(), key=lambda item: item[0] != norm)
    return Problem(
        standing=standing,
        anchor=anchor,
        evidence=tuple((name, e, state_of(name, standing)) for name, e in rows),
        hypotheses=Hypotheses.of(problem.hypotheses),
        drawings=tuple(drawings),
        runs=runs,
    )


def fitted(cases: Sequence[Case], most: int = FIGURES) -> list[Case]:
    """The cases without the figures that would make the page too long: those of what holds go first, from the end."""
    order = sorted(range(len(cases)), key=lambda i: not cases[i].is_open)
    out, left = list(cases), most
    for i in order:
        problems = []
        for p in cases[i].problems:
            size = sum(len(drawing.svg) for drawing in p.drawings)
            left -= size
            problems.append(p if left >= 0 or not size else replace(p, drawings=(), left_out=True))
        out[i] = replace(cases[i], problems=tuple(problems))
    return out


def slug(text: str) -> str:
    """A text as a part of an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-") or "x"
