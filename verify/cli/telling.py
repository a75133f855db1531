"""What commands print of verdicts and of changes: sentences, then rows of cells."""

from __future__ import annotations

from collections.abc import Sequence

from maxmargin.verify.cli.difference import Change
from maxmargin.verify.cli.output import Column, Output, number
from maxmargin.verify.results import shown
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.claim_verdict import ClaimVerdict
from maxmargin.verify.results.verdict import CheckVerdict, Outcome, Verdict

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
