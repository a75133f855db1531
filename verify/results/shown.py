"""A verdict as text, Markdown and HTML: the sentence, the reasons, and a row a problem."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, TypeAlias

from maxmargin.verify.results.outcome import Outcome

Verdict: TypeAlias = Any  # of verdict.py, which calls this file: imported here, it would make a circle
ProblemVerdict: TypeAlias = Any

MARKS = {Outcome.HOLDS: "✓", Outcome.FAILS: "✗", Outcome.INCONCLUSIVE: "?"}
HEADINGS = ("problem", "verdict", "norm", "its gap", "range of runs", "steps")
REASONS = 4  # of a repr, beside the sentence and the line that says how many more there are


def text(verdict: Verdict) -> str:
    """Six lines at most."""
    lines = [f"{verdict.outcome.name}: {verdict.sentence}", *(f"  {_short(r)}" for r in verdict.reasons[:REASONS])]
    rest = len(verdict.reasons) - REASONS
    return "\n".join([*lines, *([f"  … and {rest} more, in .reasons"] if rest > 0 else [])])


def markdown(verdict: Verdict) -> str:
    """For a step summary or a pull request."""
    return "\n".join(
        [
            f"**{MARKS[verdict.outcome]} {verdict.outcome.name}**: {_plain(verdict.sentence)}",
            "",
            *(f"- {_plain(reason)}" for reason in verdict.reasons),
            "",
            *(f"| {' | '.join(map(_plain, row))} |" for row in [HEADINGS, ["---"] * len(HEADINGS), *_rows(verdict)]),
            "",
        ]
    )


def html(verdict: Verdict) -> str:
    """For a notebook: no style but the notebook's own."""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    head, *rows = [HEADINGS, *_rows(verdict)]
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    return (
        f"<p><strong>{MARKS[verdict.outcome]} {verdict.outcome.name}</strong>: {escape(verdict.sentence)}</p>"
        f"<ul>{reasons}</ul><table><thead><tr>{_cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    )


def gap(value: float | None) -> str:
    """Return a KKT gap as every sentence and table writes it; a dash where nothing was measured.

    Example:
        >>> gap(0.19), gap(None)
        ('1.9e-01', '–')
    """
    return "–" if value is None or value != value else f"{value:.1e}"


def count(value: float) -> str:
    """A number of steps, likewise: ``400,000``."""
    return f"{value:,.0f}"


def _rows(verdict: Verdict) -> list[list[str]]:
    return [[p.problem, p.outcome.name, p.norm or "–", *_gaps(p), count(p.steps)] for p in verdict.problems]


def _gaps(p: ProblemVerdict) -> tuple[str, str]:
    """The largest gap of the runs, which is judged, and the range of all of them."""
    own = p.evidence.get(p.norm)
    if own is None:
        return "–", "–"
    least, most = own.kkt_gap_range
    return gap(most), f"{gap(least)} … {gap(most)}"


def _cells(row: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)


def _plain(line: str) -> str:
    """Text whose own characters are no Markdown: a target's name may hold any."""
    return escape(" ".join(line.split()), quote=False).replace("|", "\\|").replace("`", "\\`")


def _short(line: str) -> str:
    line = line.partition("\n")[0]
    return line if len(line) <= 160 else f"{line[:159]}…"
