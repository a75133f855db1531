"""The table of all claims in Markdown, from a finished ``verify``: ``python -m maxmargin.reports.claims DIR``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from maxmargin.reports.data import Standing, known, load
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.encoding import ReportError
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.verdict import ControlVerdict


def markdown(campaign: Campaign) -> str:
    """Return one row a claim, by paper: id, kind, source, outcome, the number that decided, the control's outcome.

    Below the table stands why a claim does not hold, in its record's words where it was known, and in its reasons.
    """
    counts = ", ".join(f"{sum(c.outcome is o for c in campaign.claims)} {o.value}" for o in Outcome)
    lines = [
        "# What came out of the claims",
        "",
        f"`maxmargin verify --tier {campaign.tier} --seed {campaign.seed} --out DIR`, then "
        f"`python -m maxmargin.reports.claims DIR > reports/claims.md`: {len(campaign.claims)} claims, {counts}.",
        "",
        "A control is the same check where it must not hold: a violated hypothesis, a wrong norm, a broken optimizer. "
        f"What it said there: {_controls(campaign)}.",
    ]
    for paper, claims in groupby(sorted(campaign.claims, key=lambda c: c.paper), key=lambda c: c.paper):
        lines += ["", f"## {_cell(paper or 'other')}", "", *_table(list(claims))]
    open_ = [c for c in campaign.claims if c.outcome is not Outcome.HOLDS]
    if open_:
        lines += ["", "## What does not hold, and why", ""]
    for claim in open_:
        told = claim.because if claim.outcome is claim.expected else ""
        lines.append(f"- **{_cell(claim.id)}** {claim.outcome.name}: {_cell(told or ' '.join(claim.reasons))}")
    return "\n".join([*lines, ""])


def _controls(campaign: Campaign) -> str:
    said = Counter(_control(c.control) for c in campaign.claims if c.control is not None)
    return ", ".join(f"{count} {name}" for name, count in said.most_common())


def _table(claims: list[ClaimVerdict]) -> Iterator[str]:
    yield "| claim | kind | source | outcome | decided by | control |"
    yield "|---|---|---|---|---|---|"
    for claim in claims:
        control = claim.control
        refused = "–" if control is None else f"{_control(control)}: {control.violates}"
        cells = (claim.id, claim.kind, claim.source, claim.outcome.name, _decided(claim), refused)
        yield f"| {' | '.join(_cell(c) for c in cells)} |"


def _control(control: ControlVerdict) -> str:
    """What the check said there: FAILS, as it should, INCONCLUSIVE, which refutes nothing, or that it held."""
    if not control.refused:
        return "NOT REFUSED"
    return "refused" if control.outcome is None else control.outcome.name


def _decided(claim: ClaimVerdict) -> str:
    number = claim.deciding
    if number is not None:
        return f"{number.name} = {number.value:.3g}, asked {number.asked}"
    gaps = [gap for p in claim.problems if (gap := known(Standing.of(claim, p).gap)) is not None]
    return f"largest KKT gap = {max(gaps):.2g} on {len(claim.problems)} problems" if gaps else "–"


def _cell(text: str) -> str:
    """Text that stays in its cell, and is no markup."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def table_of(directory: str) -> str:
    """Return the table of a folder that ``verify`` wrote.

    Raises:
        ReportError: for a folder that holds no results, or those of a check.
    """
    found = load(directory)
    if not isinstance(found, Campaign):
        raise ReportError(f"{directory} holds a check; needed is what 'maxmargin verify --out' wrote")
    return markdown(found)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m maxmargin.reports.claims DIR")
    try:
        print(table_of(sys.argv[1]), end="")
    except ReportError as error:
        sys.exit(f"maxmargin: error: {error}")
