"""A self-contained page from stored data: ``render(DIR)`` writes ``DIR/index.html`` and computes nothing anew."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from maxmargin.reports.cases import Case, cases_of, fitted
from maxmargin.reports.data import Source, source
from maxmargin.reports.figures.numbers import FILTERS, known
from maxmargin.reports.figures.palette import COLORS, styles
from maxmargin.reports.figures.plane import NORMS, plane_figures
from maxmargin.reports.matrix import Line, Matrix, of_norms, of_problems
from maxmargin.reports.published import TABLES, Published
from maxmargin.reports.summary import summary
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.claim_verdict import Campaign
from maxmargin.verify.results.store import write_atomically

PAGE, PUBLISHED = "index.html", "published.html"


def render(*paths: str | Path, out: str | Path | None = None, tables: Path = TABLES) -> Path:
    """Render stored results: one folder's into it, several folders' or files' into one page.

    The pages open offline and load nothing; the same data give the same bytes. What comes with the package, measured
    beforehand, gets a page of its own beside the first.

    Args:
        paths: Folders that ``verify`` or ``check --html`` have written, or JSON files.
        out: The folder of the page; by default the one that was given.
        tables: Where the tables of :class:`~maxmargin.reports.published.Published` are: those of the package, unless
            a test has its own.

    Returns:
        The page's path.

    Raises:
        ReportError: when stored data are missing or damaged; a page that was there before stays as it was.
    """
    folder = Path(out) if out is not None else Path(paths[0]) if Path(paths[0]).is_dir() else Path(paths[0]).parent
    sources = [source(path) for path in paths]
    cases = fitted([case for i, found in enumerate(sources) for case in cases_of(found, i)])
    published = Published.of(tables)
    beside = bool(published.mutants or published.third_party)
    index = _page("index.html.j2", **_content(sources, cases), published=PUBLISHED if beside else "")
    if beside:
        publish(folder, tables)
    write_atomically(folder / PAGE, index)
    return folder / PAGE


def publish(folder: Path, tables: Path = TABLES) -> Path:
    """Render the tables that come with the package, sorted and filtered on a page of their own.

    Args:
        folder: Where the page goes.
        tables: Where they are.

    Returns:
        The page's path.
    """
    published = Published.of(tables)
    content = _page("published.html.j2", published=published, styles=styles(published.norms))
    write_atomically(folder / PUBLISHED, content)
    return folder / PUBLISHED


def _content(sources: Sequence[Source], cases: Sequence[Case]) -> dict[str, Any]:
    results = [found.results for found in sources]
    campaign = all(isinstance(result, Campaign) for result in results)
    names = {name for case in cases for name in case.styles} | {*CANDIDATES, *NORMS}
    return {
        "results": results,
        "names": ["verify" if isinstance(result, Campaign) else f"check of {result.optimizer}" for result in results],
        "kind": "verify" if campaign else "check" if len(results) == 1 else "report",
        "cases": cases,
        "summary": summary(results, cases),
        "matrix": _matrix(results, cases),
        "styles": styles(names),
        "plane": plane_figures(),
    }


def _matrix(results: Sequence[Any], cases: Sequence[Case]) -> Matrix:
    """Claims and their problems; of one check its problems and norms; of several checks optimizers and norms."""
    if all(isinstance(result, Campaign) for result in results) and len(results) == 1:
        return of_problems(case.line for case in cases)
    if len(cases) > 1:
        return of_norms("Optimizer", [case.line for case in cases])
    (case,) = cases
    lines = [
        Line(s.problem.problem, f"L = {s.problem.degree}", href[1:], case.verdict, s.problem.outcome, [(s, href)])
        for s, href in case.line.standings
    ]
    return of_norms("Problem", lines)


def _page(template: str, **content: Any) -> bytes:
    """One page; its script is allowed by its hash alone."""
    environment = Environment(
        loader=PackageLoader("maxmargin.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.tests["known"] = lambda ends: ends is not None and None not in map(known, ends)
    script = Path(__file__).with_name("templates").joinpath("sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    common = {"colors": COLORS, "script": script, "script_hash": f"sha256-{digest}"}
    html = environment.get_template(template).render(**common, **content)
    return html.encode("utf-8", "replace")  # JSON may carry lone surrogates
