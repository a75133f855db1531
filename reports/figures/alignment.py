"""Alignment against step: how much of the steepest descent under each norm a step achieves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maxmargin.reports.figures.curves import Curves
from maxmargin.reports.figures.gap import ordered, steps
from maxmargin.reports.figures.palette import NormStyle
from maxmargin.reports.figures.panel import Axis, Drawing, Panel


def alignment_figure(curves: Curves, norm: str | None, title: str, style: Mapping[str, NormStyle]) -> Drawing:
    """Draw one curve a norm; arguments as those of :func:`~maxmargin.reports.figures.gap.gap_figure`."""
    bands = ordered(curves.alignment, norm)
    low = min([0.0, *(float(band.low.min()) for band in bands.values())])
    values = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0) if low < 0 else (0.0, 0.25, 0.5, 0.75, 1.0)
    shown = tuple((v, f"{v:g}".replace("-", "−")) for v in values if v >= low)
    panel = Panel(330, 270, steps(bands), Axis(max(low, -1.0), 1.02, shown))
    panel.level(1.0)
    for name, band in bands.items():
        lowest, median, highest = (np.clip(v, -1.0, 1.0) for v in (band.low, band.median, band.high))
        panel.band(band.steps, lowest, highest, style[name])
        panel.line(band.steps, median, style[name], thick=name == norm)
    return Drawing(panel.draw(title, "alignment r: 1 is steepest descent", "step"))
