"""Sorted sizes of the last weights' entries, and singular values: what KKT points under ℓ∞ and spectral show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maxmargin.reports.figures.palette import DASHES, FAMILIES, NormStyle
from maxmargin.reports.figures.panel import Axis, Drawing, Panel

QUARTERS = tuple((v, f"{v:g}") for v in (0.0, 0.25, 0.5, 0.75, 1.0))
ENTRIES = "entries"
SAYS = {
    "linf": "A KKT point under linf has every |θ_j| at the largest, except where the multipliers' gradient is 0.",
    "spectral": "A KKT point under the spectral norm has every singular value at the largest, except in directions "
    "where the multipliers' gradient is 0.",
    "hybrid": "A KKT point under the hybrid norm has equal singular values in each matrix, and equal |θ_j| in vectors.",
}
"""What theory asks of a profile, by the norm's family."""


def profile_figure(profiles: Mapping[str, np.ndarray], family: str, title: str) -> Drawing | None:
    """Draw the profiles of one problem's runs: medians and ranges.

    Args:
        profiles: "entries" and "singular values:BLOCK" → (B, ranks), as
            :func:`~maxmargin.verify.results.profiles.profiles` makes them.
        family: The judged norm's; its own profile is thick.
        title: What a screen reader says.

    Returns:
        The drawing; None where no run has a profile.
    """
    rows = {name: kept for name, values in profiles.items() if len(kept := values[np.isfinite(values).all(axis=1)])}
    if not rows:
        return None
    panel = Panel(330, 270, Axis(0, 1, ((0.0, "largest"), (1.0, "least"))), Axis(0, 1.02, QUARTERS), right=22)
    panel.level(1.0)
    dashes, legend = iter(DASHES * len(rows)), []
    for name, values in sorted(rows.items()):
        one = name == ENTRIES
        style = NormStyle(FAMILIES["linf" if one else "spectral"], () if one else next(dashes))
        ranks = np.linspace(0, 1, values.shape[1]) if values.shape[1] > 1 else np.zeros(1)
        thick = family == "hybrid" or one == (family == "linf")
        panel.band(ranks, values.min(axis=0), values.max(axis=0), style)
        panel.line(ranks, np.median(values, axis=0), style, thick=thick)
        legend.append(("sizes |w_j|" if one else f"sigma of {name.partition(':')[2]}", style, thick))
    panel.legend(legend)
    heading = "last weights: sizes and singular values"
    return Drawing(panel.draw(title, heading, "rank"), (SAYS[family],) if family in SAYS else ())
