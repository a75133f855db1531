"""One verdict from memory, as a notebook shows it: a whole page, and a figure of its gaps."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from msgspec import UNSET
from msgspec.structs import replace

from maxmargin.reports.figures.curves import load_curves
from maxmargin.reports.figures.palette import styles
from maxmargin.reports.render import render
from maxmargin.verify.results.encoding import ReportError
from maxmargin.verify.results.store import Store, file_key
from maxmargin.verify.results.verdict import CheckVerdict, Verdict

FLOOR = 1e-12
"""Gaps at or below it are drawn at it."""


def page(verdict: CheckVerdict) -> str:
    """Return the page that ``check --html`` writes.

    Args:
        verdict: The verdict, with its curves where it has them in memory.
    """
    with tempfile.TemporaryDirectory(prefix="maxmargin-") as folder:
        store = Store.at(folder)
        problems = tuple(store.save_arrays(file_key(p.problem), p) for p in verdict.problems)
        store.save_results({**replace(verdict, problems=problems).to_json(), "kind": "check"})
        return render(store.root).read_text(encoding="utf-8")


class Drawn(Figure):
    """A figure that a notebook shows whether or not pyplot was imported there."""

    def _repr_png_(self) -> bytes:
        drawn = BytesIO()
        self.savefig(drawn, format="png")
        return drawn.getvalue()


def figure(verdict: Verdict) -> Figure:
    """KKT gaps against steps, one panel a problem, the judged norm's as a thick line over the range of its runs.

    Args:
        verdict: A verdict with its curves in memory, as ``check`` returns it.

    Returns:
        A matplotlib figure.

    Raises:
        ReportError: it has no curves: it was read from a file, or trained nowhere.
    """
    shown = [p for p in verdict.problems if p.arrays is not UNSET and p.arrays]
    if not shown:
        raise ReportError("this verdict has no curves in memory; 'maxmargin report DIR' draws those of a stored one")
    whole = Drawn(figsize=(1 + 3.6 * len(shown), 3.4), layout="constrained")
    FigureCanvasAgg(whole)
    with tempfile.TemporaryDirectory(prefix="maxmargin-") as folder:
        store = Store.at(folder)
        for axes, p in zip(whole.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            stored = store.save_arrays(file_key(p.problem), p)
            gaps = load_curves(Path(folder) / str(stored.arrays_file)).gap
            for name, style in styles(gaps).items():
                band, own = gaps[name], name == p.norm
                axes.loglog(
                    band.steps,
                    band.high.clip(FLOOR),
                    color=style.color.light,
                    dashes=style.dash or (None, None),
                    linewidth=2.4 if own else 1.0,
                    label=f"{name} (judged)" if own else name,
                )
                if own:
                    axes.fill_between(
                        band.steps, band.low.clip(FLOOR), band.high.clip(FLOOR), color=style.color.light, alpha=0.2
                    )
            axes.set(title=f"{p.problem}: {p.outcome.name}", xlabel="step", ylabel="KKT gap Γ, largest run")
            axes.legend(fontsize="x-small")
    return whole
