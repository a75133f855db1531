"""A self-contained page from stored data: ``render(DIR)`` writes ``DIR/index.html`` and computes nothing anew."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import UNSET

from maxmargin.reports.curves import load_curves
from maxmargin.reports.data import Standing, known, load, verdicts_of
from maxmargin.reports.figures import SUPERSCRIPT, Drawing, gap_figure
from maxmargin.reports.palette import FAMILIES, OTHER, styles
from maxmargin.reports.published import TABLES, Published
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.store import array_file, write_atomically
from maxmargin.verify.results.verdict import CheckVerdict, NormEvidence, Outcome, Verdict

HYPOTHESES = {
    "smooth": "M1: the model is continuously differentiable in its parameters",
    "separated": "T1: share of the runs that end with every sample on its right side",
    "direction settles": "T2: path length of the weights' direction over the last half decade of steps",
    "schedule": "exponent a of the realized learning rate t^(−a); the theorem asks 1 − 1/L < a ≤ 1",
    "schedule interval": "95 % interval of that exponent",
    "schedule, symbolic": "the theorem's conditions on the learning rate itself, decided by algebra",
    "separation step": "step from which every sample is on its right side, median over the runs",
    "kappa": "length of a step over the learning rate: 1 when no moment lags behind the gradient; by block, on the "
    "coordinates that matter",
    "kappa spread": "how far single coordinates that matter lie from their block's kappa",
    "measured weights": "weights that the lags give the blocks: the norm that is really followed",
    "direction path": "how far the weights' direction went over the last decade of steps",
    "path over displacement": "1 for a straight way, large for a direction that rotates",
    "block balance": "deviation of the blocks' shares of the norm from those of a KKT direction; 0 there",
    "R": "‖θ‖ over the sum of the learning rates; the theorem asks at most 1 in the limit",
    "A1": "share of the coordinates whose gradient is exactly 0: Adam without eps divides 0 by 0 there",
    "scale invariant": "the gradient norm below which an eps shows, or the error of the invariance",
    "no weight decay": "the largest weight decay in the parameter groups",
    "independent of the weights": "relative change of the update when the weights are tripled",
    "deterministic": "relative difference of two runs with different random seeds",
    "learning rate honoured": "relative error of: twice the learning rate moves twice as far",
    "forgets": "steps after which an impulse in the gradient is forgotten",
}
"""What the known hypotheses say, for a reader who points at one."""


@final
@dataclass(frozen=True)
class _Dot:
    """One norm's final gap in the table's strip: x in 4 … 124 stands for 10⁻⁶ … 1 on a log scale."""

    norm: str
    gap: float
    x: float
    own: bool
    pale: bool


@final
@dataclass(frozen=True)
class _Problem:
    standing: Standing
    anchor: str
    dots: tuple[_Dot, ...]
    evidence: tuple[tuple[str, NormEvidence], ...]
    runs: int
    drawing: Drawing | None


@final
@dataclass(frozen=True)
class _Claim:
    verdict: Verdict
    name: str
    statement: str
    anchor: str
    colors: dict[str, str]
    reasons: tuple[str, ...]
    problems: tuple[_Problem, ...]


@final
@dataclass(frozen=True)
class _Page:
    title: str
    word: str
    answer: str
    lead: str


def render(directory: str | Path, *, tables: Path = TABLES) -> Path:
    """Render ``directory/index.html`` from ``directory/results.json`` and its arrays.

    The page opens offline and loads nothing; the same data give the same bytes.

    Args:
        directory: Where the results are, and the page will be.
        tables: Where the tables of :class:`~maxmargin.reports.published.Published` are: those of the package, unless
            a test has its own.

    Returns:
        The page's path.

    Raises:
        ReportError: when stored data are missing or damaged; a page that was there before stays as it was.
    """
    directory = Path(directory)
    results = load(directory)
    published = Published.of(tables)
    environment = Environment(
        loader=PackageLoader("maxmargin.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(num=_num, fixed=_fixed, ratio=_ratio, count=_count, duration=_duration)
    environment.tests["known"] = lambda ends: ends is not None and None not in map(known, ends)
    html = environment.get_template("report.html.j2").render(
        results=results,
        page=_page(results),
        kind="verify" if isinstance(results, Campaign) else "check",
        claims=[_claim(verdict, i, directory) for i, verdict in enumerate(verdicts_of(results))],
        colors=(*FAMILIES.values(), OTHER),
        hypotheses=HYPOTHESES,
        published=published,
        published_colors=_published_colors(published),
    )
    path = directory / "index.html"
    write_atomically(path, html.encode("utf-8", "replace"))  # JSON may carry lone surrogates
    return path


def _published_colors(published: Published) -> dict[str, str]:
    names = {case.claim for case in published.mutants.cases} if published.mutants else set()
    if published.third_party:
        names |= {entry.norm for entry in published.third_party.entries if entry.norm}
    return {name: style.color.variable for name, style in styles(names).items()}


def _claim(verdict: Verdict, index: int, directory: Path) -> _Claim:
    if isinstance(verdict, ClaimVerdict):
        name, statement = verdict.id, verdict.statement
    else:
        name, statement = "check", "Which norm's margin does it maximize?"
        if verdict.claim:
            statement = f"It maximizes the {verdict.claim} margin."
    anchor = f"{_slug(name)}-{index}"
    told = {f"{p.problem}: {'; '.join(p.reasons)}" for p in verdict.problems}  # those stand at their own problem
    names = {name for p in verdict.problems for name in p.evidence} | ({verdict.about} if verdict.about else set())
    standings = [Standing.of(verdict, p) for p in verdict.problems]
    return _Claim(
        verdict=verdict,
        name=name,
        statement=statement,
        anchor=anchor,
        colors={name: style.color.variable for name, style in styles(names).items()},
        reasons=tuple(reason for reason in verdict.reasons if reason.rstrip(".") not in told),
        problems=tuple(
            _problem(verdict, s, f"{anchor}-{_slug(s.problem.problem)}-{j}", directory) for j, s in enumerate(standings)
        ),
    )


def _problem(verdict: Verdict, standing: Standing, anchor: str, directory: Path) -> _Problem:
    problem, norm = standing.problem, standing.norm
    curves = None
    if problem.arrays_file is not UNSET and not problem.numbers:  # numbers' arrays are no gaps against steps
        curves = load_curves(array_file(directory, problem.arrays_file))
    drawing = None
    if curves and (curves.gap or curves.alignment):
        title = f"KKT gap and alignment against step: {verdict.optimizer} on {problem.problem}"
        drawing = gap_figure(curves, norm, title, salt=anchor)
    return _Problem(
        standing=standing,
        anchor=anchor,
        dots=_dots(standing),
        evidence=tuple(sorted(problem.evidence.items(), key=lambda item: item[0] != norm)),
        runs=curves.runs if curves else 0,
        drawing=drawing,
    )


def _dots(standing: Standing) -> tuple[_Dot, ...]:
    found = []
    for name, evidence in standing.problem.evidence.items():
        if math.isfinite(gap := evidence.kkt_gap):
            x = round(124 + 20 * math.log10(min(max(gap, 1e-6), 1.0)), 1)
            own = name == standing.norm
            found.append(_Dot(name, gap, x, own, not own and not standing.is_control(name)))
    return tuple(sorted(found, key=lambda dot: (dot.own, not dot.pale, dot.norm)))  # the last is drawn on top


def _page(results: Campaign | CheckVerdict) -> _Page:
    word = results.outcome.upper()
    if isinstance(results, CheckVerdict):
        plain = results.answer is Answer.of(results.outcome)
        return _Page(
            "Which margin does this optimizer maximize?",
            word,
            results.sentence if plain else f"{str(results.answer).capitalize()}: {results.sentence}",
            "The optimizer was trained, unchanged, on problems whose maximum-margin points under the candidate norms "
            "lie apart. This page shows which of them it approached, and how clearly.",
        )
    total = len(results.claims)
    held, failed, open_ = (
        sum(claim.outcome is outcome for claim in results.claims)
        for outcome in (Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE)
    )
    rest = [f"{count} {word}" for count, word in ((failed, "fail"), (open_, "inconclusive")) if count]
    answer = f"{held} of {total} claim{'' if total == 1 else 's'} hold{'s' if held == total == 1 else ''}"
    return _Page(
        "Which margin does each optimizer maximize?",
        word,
        "; ".join([answer, *rest]) + ".",
        "Theory says that an optimizer's steps decide under which norm the margin is maximized. Each claim below was "
        "tested by training to near convergence and measuring the distance to optimality under the predicted norm "
        "and, as a control, under the others.",
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-") or "x"


def _num(value: float | None, digits: int = 2) -> str:
    """A number for people: 0.0123, 1.2×10⁻³, – where nothing was measured."""
    value = known(value)
    if value is None:
        return "–"
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return (f"{value:.{digits}g}" if abs(value) < 100 else f"{value:.0f}").replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".replace("-", "−", value < 0).split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPT)}"


def _fixed(value: float | None, digits: int) -> str:
    value = known(value)
    return "–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # no −0.00


def _ratio(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 1e4:
        return "> 10⁴" if math.isfinite(value) else "∞"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u2009")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
