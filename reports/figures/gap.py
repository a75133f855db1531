"""KKT gap against step, both logarithmic: it falls to 0 under the norm whose margin is maximized."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from maxmargin.reports.figures.curves import Band, Curves
from maxmargin.reports.figures.palette import NormStyle
from maxmargin.reports.figures.panel import Axis, Drawing, Panel

FLOOR = 1e-12
"""Gaps at or below it are drawn at it: float64 cannot tell them from 0, and rounding makes some negative."""


def gap_figure(curves: Curves, norm: str | None, title: str, style: Mapping[str, NormStyle]) -> Drawing:
    """Draw one curve a norm, with its range over the runs; the judged norm's is thick.

    Args:
        curves: What to draw.
        norm: The judged norm; None draws all alike.
        title: What a screen reader says.
        style: Of each norm.

    Returns:
        The drawing; the same arguments give the same bytes.
    """
    bands = ordered(curves.gap, norm)
    lows = [float(np.maximum(band.low, FLOOR).min()) for band in bands.values()]
    bottom = 10.0 ** math.floor(math.log10(min([1e-3, *lows])) + 1e-9)
    panel = Panel(460, 270, steps(bands), Axis.logarithmic(bottom * 0.7, 1.0), right=104)
    ends = []
    for name, band in bands.items():
        low, median, high = (np.maximum(v, FLOOR) for v in (band.low, band.median, band.high))
        panel.band(band.steps, low, high, style[name])
        panel.line(band.steps, median, style[name], thick=name == norm)
        ends.append((name, float(median[-1]), style[name], name == norm))
    panel.end_labels(ends)
    notes: tuple[str, ...] = ()
    if any((band.low <= FLOOR).any() for band in bands.values()):
        notes = (f"Gaps at or below {FLOOR:g} are drawn at {FLOOR:g}: beyond it float64 cannot tell them from 0.",)
    return Drawing(panel.draw(title, "KKT gap Γ: to 0 under the norm whose margin is maximized", "step"), notes)


def ordered(bands: Mapping[str, Band], norm: str | None) -> dict[str, Band]:
    """The judged norm's last, so that it is drawn on top."""
    return {name: bands[name] for name in sorted(bands, key=lambda name: (name == norm, name))}


def steps(bands: Mapping[str, Band]) -> Axis:
    """The horizontal axis that all curves fit on."""
    ends = [float(t) for band in bands.values() for t in (band.steps[0], band.steps[-1])]
    low, high = min(ends, default=1.0), max(ends, default=10.0)
    return Axis.logarithmic(low, high if high > low else 10 * low)
