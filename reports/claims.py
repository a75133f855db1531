"""The table of all claims in Markdown, from one finished ``verify`` or two.

``python -m maxmargin.reports.claims QUICK [FULL]``, the folders that ``verify`` wrote in the two tiers.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from maxmargin.reports.data import Standing, known, load
from maxmargin.verify.progress.report import span
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.encoding import ReportError
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ControlVerdict, ProblemVerdict


def markdown(campaign: Campaign, other: Campaign | None = None) -> str:
    """Return one row a claim, by paper: id, kind, source, outcome, the number that decided, the control's outcome.

    Below the table stands why a claim does not hold, in its record's words where it was known, and in its reasons.

    Args:
        campaign: Whose numbers are shown.
        other: Of another tier: its outcomes beside these, and what does not hold there.
    """
    both = [campaign] if other is None else [campaign, other]
    lines = [
        "# What came out of the claims",
        "",
        *map(_counts, both),
        "",
        "Then `python -m maxmargin.reports.claims QUICK FULL > reports/claims.md` with the two folders. The full tier "
        "has three seeds a case, and up to a hundred times the steps where fewer leave it open. The numbers shown "
        "are the first tier's.",
        "",
        "A control is the same check where it must not hold: a violated hypothesis, a wrong norm, a broken optimizer. "
        f"What it said there: {_controls(campaign)}.",
    ]
    for paper, claims in groupby(sorted(campaign.claims, key=lambda c: c.paper), key=lambda c: c.paper):
        lines += ["", f"## {_cell(paper or 'other')}", "", *_table(list(claims), other)]
    for c in both:
        if open_ := [claim for claim in c.claims if claim.outcome is not Outcome.HOLDS]:
            lines += ["", f"## What does not hold in the {c.tier} tier, and why", "", *map(_why, open_)]
    return "\n".join([*lines, ""])


def _counts(campaign: Campaign) -> str:
    counts = ", ".join(f"{sum(c.outcome is o for c in campaign.claims)} {o.value}" for o in Outcome)
    took = "" if campaign.seconds is None else f", {span(campaign.seconds)}"
    command = f"`maxmargin verify --tier {campaign.tier} --seed {campaign.seed} --out DIR`{took}"
    return f"- {command}: {len(campaign.claims)} claims, {counts}."


def _why(claim: ClaimVerdict) -> str:
    """Why a claim does not hold: as its record says, if that is how it was known to come out, or where it does not."""
    told = claim.because if claim.outcome is claim.expected else ""
    where: dict[str, list[str]] = {}  # several seeds may fall short alike
    for p in claim.problems:
        if p.outcome is not Outcome.HOLDS:
            where.setdefault(_short(p), []).append(p.problem)
    open_ = [f"{first}{f' and {len(more)} more' if more else ''}: {text}" for text, (first, *more) in where.items()]
    return f"- **{_cell(claim.id)}** {claim.outcome.name}: {_cell(told or '. '.join(open_) or ' '.join(claim.reasons))}"


def _short(p: ProblemVerdict) -> str:
    """What is missing on a problem: hypotheses, or else numbers; not those that are as asked."""
    unmet = [r for r in p.reasons if r.startswith("the hypothesis ")]
    met = tuple(f"{n.name} is " for n in p.numbers if n.outcome is Outcome.HOLDS)
    return "; ".join(unmet or [r for r in p.reasons if not r.startswith(met)] or p.reasons)


def _controls(campaign: Campaign) -> str:
    said = Counter(_control(c.control) for c in campaign.claims if c.control is not None)
    return ", ".join(f"{count} {name}" for name, count in said.most_common())


def _table(claims: list[ClaimVerdict], other: Campaign | None) -> Iterator[str]:
    there = {} if other is None else {c.id: c.outcome.name for c in other.claims}
    more = [] if other is None else [f"{other.tier} tier"]
    heads = ["claim", "kind", "source", "outcome", *more, "decided by", "control"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for claim in claims:
        control = claim.control
        refused = "–" if control is None else f"{_control(control)}: {control.violates}"
        beside = [] if other is None else [there.get(claim.id, "–")]
        cells = (claim.id, claim.kind, claim.source, claim.outcome.name, *beside, _decided(claim), refused)
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


def table_of(directory: str, other: str | None = None) -> str:
    """Return the table of one folder that ``verify`` wrote, or of two.

    Raises:
        ReportError: for a folder that holds no results, or those of a check.
    """
    campaigns = []
    for folder in filter(None, (directory, other)):
        found = load(folder)
        if not isinstance(found, Campaign):
            raise ReportError(f"{folder} holds a check; needed is what 'maxmargin verify --out' wrote")
        campaigns.append(found)
    return markdown(*campaigns)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m maxmargin.reports.claims QUICK [FULL]")
    try:
        print(table_of(*sys.argv[1:]), end="")
    except ReportError as error:
        sys.exit(f"maxmargin: error: {error}")
