"""What the commands print: plain aligned columns in a pipe, a rich table on a terminal, nothing unasked for.

Of a verdict the sentence, its reasons, then a row a problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, final

from maxmargin.verify.cli.difference import Change
from maxmargin.verify.cli.streams import results
from maxmargin.verify.results import shown
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.claim_verdict import ClaimVerdict
from maxmargin.verify.results.encoding import json_text
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.store import json_bytes, write_through
from maxmargin.verify.results.verdict import CheckVerdict, Verdict

UNBROKEN = 10_000  # characters a line of a table that does not go to a terminal: rows stay lines
STYLES = {"HOLDS": "bold green", "FAILS": "bold red", "INCONCLUSIVE": "bold yellow"}


def printable(text: object) -> str:
    r"""Return ``text`` with control characters made visible: a target's name must not drive the terminal.

    Example:
        >>> print(printable(f"a{chr(27)}[31mb"))
        a\x1b[31mb
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in str(text))


def number(value: float | None, digits: int = 2) -> str:
    """Return a measured number in few characters; a dash where nothing was measured.

    Example:
        >>> number(0.00123), number(12.3456), number(1234.5), number(None)
        ('1.2e-03', '12', '1234', '–')
    """
    if value is None:
        return "–"
    if value != 0 and not 1e-2 <= abs(value) < 1e4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


@final
@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and whether it holds numbers (then it is aligned to the right)."""

    heading: str
    numeric: bool = False


@final
@dataclass(frozen=True)
class Output:
    """Where a command's human text goes.

    Attributes:
        stream: Standard output; standard error when standard output carries JSON.
        quiet: Print headlines only.
    """

    stream: TextIO
    quiet: bool = False

    def headline(self, text: str) -> None:
        """The one line that is printed even when quiet."""
        self._print(text)

    def text(self, text: str = "") -> None:
        """A line of explanation."""
        if not self.quiet:
            self._print(text)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """A table: ruled and colored on a terminal, plain aligned columns otherwise."""
        if self.quiet:
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        terminal = self.stream.isatty()
        table = Table(box=SIMPLE_HEAD if terminal else None, pad_edge=False)
        for column in columns:
            table.add_column(column.heading, justify="right" if column.numeric else "left")
        for row in rows:
            table.add_row(*(Text(printable(cell), style=STYLES.get(cell, "")) for cell in row))
        console = Console(file=self.stream, width=None if terminal else UNBROKEN)
        with console.capture() as lines:
            console.print(table)
        print(*(line.rstrip() for line in lines.get().splitlines()), sep="\n", file=self.stream)

    def _print(self, text: str) -> None:
        text = printable(text)
        word = text.split(" ", 1)[0].rstrip(":")
        if word in STYLES and self.stream.isatty():
            from rich.console import Console
            from rich.text import Text

            line = Text(text)
            line.stylize(STYLES[word], 0, len(word))
            Console(file=self.stream, soft_wrap=True).print(line)
        else:
            print(text, file=self.stream)


def emit_json(payload: Any, where: str | None) -> None:
    """Write ``payload`` to standard output (``"-"``), to a file at once, or nowhere (None); never NaN."""
    if where is None:
        return
    if where == "-":
        results().write(json_text(payload))
        results().flush()
    else:
        write_through(Path(where), json_bytes(payload))


TEXT = ("problem", "verdict", "under")
PROBLEM = tuple(
    Column(name, numeric=name not in TEXT)
    for name in ("problem", "verdict", "L", "steps", "its gap", "nearest wrong", "under", "ratio", "alignment")
)
NUMBERS = ("claim", "kind", "verdict", "decided by", "value", "asked", "control")


def tell(verdict: CheckVerdict, out: Output) -> None:
    """Print a check: the answer in a sentence, its reasons, and the problems of each regime."""
    assert verdict.answer is not None
    kind = "" if verdict.answer is Answer.of(verdict.outcome) else f" ({verdict.answer})"
    out.headline(f"{verdict.outcome.name}{kind}: {verdict.sentence}")
    for reason in verdict.reasons:
        out.text(f"  {reason}")
    for model in dict.fromkeys(p.model for p in verdict.problems if p.model):
        out.text(f"  {model}.")
    for regime in verdict.regimes or (None,):
        out.text()
        if regime is not None:
            out.text(f"{regime.range.capitalize()}:")
        out.table(PROBLEM, problem_rows(verdict if regime is None else verdict.within(regime)))


def counted(outcome: Outcome, verdicts: Sequence[Verdict], what: str) -> str:
    """How many hold, in a line."""
    of = {o: sum(verdict.outcome is o for verdict in verdicts) for o in Outcome}
    return (
        f"{outcome.name}: {of[Outcome.HOLDS]} of {len(verdicts)} {what} hold, {of[Outcome.FAILS]} fail, "
        f"{of[Outcome.INCONCLUSIVE]} inconclusive"
    )


def tell_changes(found: Sequence[Change], out: Output) -> None:
    """Print what changed, and whether something is worse."""
    columns = ("", "of", "problem", "what", "before", "after")
    rows = [["WORSE" if c.worse else "", c.name, c.problem or "–", c.kind, c.before, c.after] for c in found]
    if rows:
        out.table([Column(c) for c in columns], rows)
    worse = sum(change.worse for change in found)
    out.headline(
        f"{worse} of {len(found)} changes are for the worse" if worse else f"nothing is worse; {len(found)} changes"
    )


def problem_rows(verdict: Verdict) -> list[list[str]]:
    """One row of cells (:data:`PROBLEM`) a problem: the verdict's own gap and the nearest wrong one."""
    from maxmargin.reports.data import Standing, known

    rows = []
    for p in verdict.problems:
        standing = Standing.of(verdict, p)
        wrong, own = standing.nearest_wrong, standing.own
        rows.append(
            [
                p.problem,
                p.outcome.name,
                number(p.degree),
                shown.count(p.steps),
                shown.gap(standing.gap),
                shown.gap(wrong[1] if wrong else None),
                wrong[0] if wrong else "–",
                number(standing.ratio),
                number(known(own.alignment) if own else None, 3),
            ]
        )
    return rows


def number_row(verdict: ClaimVerdict) -> list[str]:
    """One row of cells (:data:`NUMBERS`) for a claim that numbers decide."""
    one, control = verdict.deciding, verdict.control
    refused = "–" if control is None else "refused" if control.refused else "NOT REFUSED"
    decided = ["–"] * 3 if one is None else [one.name, number(one.value), one.asked]
    return [verdict.id, verdict.kind, verdict.outcome.name, *decided, refused]
