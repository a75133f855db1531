"""The first table: optimizers against norms, a check's problems against norms, or claims against their problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isnan
from typing import final

from maxmargin.reports.data import Standing
from maxmargin.reports.figures.numbers import num
from maxmargin.reports.figures.strip import Dot, dots
from maxmargin.verify.results.candidates import CANDIDATES, family
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.verdict import Verdict
from maxmargin.verify.thresholds.judging import APART, TOLD

SHARED, OFTEN = 4, 10
"""Most columns of problems, each of two claims and of one in so many; the others stand together in the last column."""


class State(StrEnum):
    """How an optimizer stands towards a norm: the mark, and the words, of a cell."""

    HOLDS = "holds", "✓", "maximized"
    FAILS = "fails", "✗", "not maximized"
    INCONCLUSIVE = "inconclusive", "?", "not decided"
    AWAY = "away", "", "stays away"
    NEARED = "neared", "→", "approached"
    SAME = "same", "=", "the same norm here"
    UNTOLD = "untold", "≈", "not told apart"
    UNTRIED = "untried", "–", "not tried"

    mark: str
    words: str

    def __new__(cls, text: str, mark: str, words: str) -> State:
        """The state of this name."""
        state = str.__new__(cls, text)
        state._value_, state.mark, state.words = text, mark, words
        return state


JUDGED = {Outcome.HOLDS: State.HOLDS, Outcome.FAILS: State.FAILS, Outcome.INCONCLUSIVE: State.INCONCLUSIVE}


@final
@dataclass(frozen=True)
class Cell:
    """One place of the table.

    Attributes:
        column: Its heading.
        state: What is said there.
        gap: The KKT gap, the judged one: the largest of the judged norm, the smallest of another; None without.
        href: The evidence, or "".
        title: What the mark is about, for a reader of one cell alone.
        dots: All norms' gaps.
        next: The other norm with the smallest gap, and that gap.
    """

    column: str
    state: State
    gap: float | None = None
    href: str = ""
    title: str = ""
    dots: tuple[Dot, ...] = ()
    next: tuple[str, float] | None = None


@final
@dataclass(frozen=True)
class Row:
    """One line of the table; ``rest`` are cells that have no column of their own."""

    name: str
    detail: str
    href: str
    anchor: str
    verdict: Outcome
    norm: str | None
    cells: tuple[Cell, ...]
    rest: tuple[Cell, ...] = ()


@final
@dataclass(frozen=True)
class Matrix:
    """A table whose first column is ``first``, and whose cells are of norms or of problems."""

    first: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    of_norms: bool = True
    states: tuple[State, ...] = field(default=())

    @property
    def seen(self) -> tuple[State, ...]:
        """The states that need a word of explanation."""
        there = {cell.state for row in self.rows for cell in (*row.cells, *row.rest)}
        return tuple(state for state in State if state in there)


@final
@dataclass(frozen=True)
class Line:
    """What a row is made of: a verdict, or a part of one, and where its problems are shown."""

    name: str
    detail: str
    anchor: str
    verdict: Verdict
    outcome: Outcome
    standings: Sequence[tuple[Standing, str]]


def state_of(name: str, standing: Standing) -> State:
    """How one problem stands towards one norm."""
    row = standing.problem.evidence.get(name)
    if name == standing.norm:
        return JUDGED[standing.problem.outcome]
    if row is None or isnan(row.kkt_gap):
        return State.UNTRIED
    if row.same:
        return State.SAME
    if row.apart is None or row.apart < APART or row.told is None:
        return State.UNTOLD
    return State.AWAY if row.told[0] >= TOLD else State.NEARED


def of_norms(first: str, lines: Iterable[Line]) -> Matrix:
    """A row a line, a column a norm."""
    lines = list(lines)
    judged = [family(s.norm) for line in lines for s, _ in line.standings if s.norm]
    columns = tuple(dict.fromkeys([*CANDIDATES, *sorted(judged)]))
    return Matrix(first, columns, tuple(_row(line, tuple(_of_norm(norm, line) for norm in columns)) for line in lines))


def _row(line: Line, cells: tuple[Cell, ...], rest: tuple[Cell, ...] = ()) -> Row:
    anchors = f"#{line.anchor}", f"row-{line.anchor}"
    return Row(line.name, line.detail, *anchors, line.outcome, line.verdict.about, cells, rest)


def _of_norm(norm: str, line: Line) -> Cell:
    """One optimizer under one norm, over its problems: the worst gap of the judged norm, the nearest of another."""
    own = [(s, href) for s, href in line.standings if s.norm is not None and family(s.norm) == norm]
    if own:
        worst, href = max(own, key=lambda pair: -inf if pair[0].gap is None else pair[0].gap)
        return Cell(norm, JUDGED[line.outcome], worst.gap, href, f"{line.name} under {norm}")
    seen = [(state_of(norm, s), s, href) for s, href in line.standings]
    for wanted in (State.NEARED, State.AWAY, State.UNTOLD, State.SAME):
        same = wanted is State.SAME  # then its worst gap counts, as that of the judged norm does
        found = [(s.problem.evidence[norm].kkt_gap_range[same], href) for state, s, href in seen if state is wanted]
        if found:
            gap, href = max(found) if same else min(found)
            return Cell(norm, wanted, gap, href, f"{line.name} under {norm}")
    return Cell(norm, State.UNTRIED)


def of_problems(lines: Iterable[Line]) -> Matrix:
    """A row a claim, a column a problem that several claims share."""
    lines = list(lines)
    often = Counter(s.problem.problem for line in lines for s, _ in line.standings)
    least = max(2, len(lines) // OFTEN) if len(lines) > 1 else 1
    columns = tuple(name for name, n in often.most_common(SHARED) if n >= least)
    rows = []
    for line in lines:
        cells = {s.problem.problem: _of_problem(s, href) for s, href in line.standings}
        rest = tuple(cell for name, cell in cells.items() if name not in columns)
        shared = tuple(cells.get(name, Cell(name, State.UNTRIED)) for name in columns)
        rows.append(_row(line, shared, rest))
    return Matrix("Claim", columns, tuple(rows), of_norms=False)


def _of_problem(standing: Standing, href: str) -> Cell:
    problem = standing.problem
    return Cell(
        problem.problem,
        JUDGED[problem.outcome],
        standing.gap,
        href,
        f"{standing.norm} on {problem.problem}, gap {num(standing.gap)}",
        dots_of(standing),
        standing.nearest_wrong,
    )


def dots_of(standing: Standing) -> tuple[Dot, ...]:
    """All norms' judged gaps on one problem."""
    return dots(
        (
            name,
            e.kkt_gap_range[1 if name == standing.norm else 0],
            name == standing.norm,
            name != standing.norm and not standing.is_control(name),
        )
        for name, e in standing.problem.evidence.items()
    )
