"""Figures as SVG text to stand in a page: thin, reproducible byte for byte, light and dark with the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, final

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from maxmargin.reports.curves import Band, Curves
from maxmargin.reports.palette import FAMILIES, OTHER, NormStyle, styles

FLOOR = 1e-12
"""Gaps at or below it are drawn at it: float64 cannot tell them from 0, and rounding makes some negative."""

LEADING = 0.075
"""Distance of two labels at the ends of curves, as a part of the panel's height."""

_INK, _GRID = "#010203", "#d0d1d2"  # stand-ins, replaced by the page's own colors
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.unicode_minus": False,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "path.simplify": True,
}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@final
@dataclass(frozen=True)
class Drawing:
    """An SVG element for a page, and what the reader must be told about it."""

    svg: str
    notes: tuple[str, ...]


def gap_figure(curves: Curves, norm: str | None, title: str, salt: str) -> Drawing:
    """KKT gap against step (log-log) and alignment against step, one color a norm.

    The matching norm is a thick line over its range; the others are thin.

    Args:
        curves: What to draw.
        norm: The matching norm; None draws all alike.
        title: What a screen reader says.
        salt: Makes the ids inside the SVG differ from those of the page's other figures.

    Returns:
        The drawing; the same arguments give the same bytes.
    """
    names = sorted(set(curves.gap) | set(curves.alignment), key=lambda name: (name == norm, name))
    style = styles(names)
    with rc_context({**_RC, "svg.hashsalt": salt}):
        figure = Figure(figsize=(9.6, 3.5))
        FigureCanvasSVG(figure)
        left, right = figure.subplots(
            1,
            2,
            gridspec_kw={
                "width_ratios": [1.75, 1],
                "left": 0.055,
                "right": 0.985,
                "bottom": 0.13,
                "top": 0.9,
                "wspace": 0.38,
            },
        )
        clipped = _draw_gaps(left, curves.gap, names, norm, style)
        _draw_alignment(right, curves.alignment, names, norm, style)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    notes: tuple[str, ...] = ()
    if clipped:
        notes = (f"Gaps at or below {FLOOR:g} are drawn at {FLOOR:g}: beyond it float64 cannot tell them from 0.",)
    return Drawing(_for_page(buffer.getvalue(), title), notes)


def _draw_gaps(
    axes: Any, bands: Mapping[str, Band], names: list[str], norm: str | None, style: Mapping[str, NormStyle]
) -> bool:
    """Draw the left panel; True when some value had to be raised to the floor."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    lowest, clipped, ends = 1e-3, False, []
    for name in names:
        if name not in bands:
            continue
        band = bands[name]
        clipped = clipped or bool((band.low <= FLOOR).any())
        low, median, high = (np.maximum(v, FLOOR) for v in (band.low, band.median, band.high))
        _curve(axes, band.steps, low, median, high, style[name], name == norm or norm is None)
        lowest = min(lowest, float(low.min()))
        ends.append((name, float(median[-1])))
    bottom = 10.0 ** math.floor(math.log10(lowest) + 1e-9)
    axes.set_ylim(bottom * (0.6 if clipped else 0.8), 1.6)
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=8))
    _finish(axes, "KKT gap Γ: falls to 0 under the norm whose margin is maximized")
    _end_labels(axes, ends, norm, style)
    return clipped


def _draw_alignment(
    axes: Any, bands: Mapping[str, Band], names: list[str], norm: str | None, style: Mapping[str, NormStyle]
) -> None:
    axes.set_xscale("log")
    lowest = 0.5
    for name in names:
        if name not in bands:
            continue
        band = bands[name]
        low, median, high = (np.clip(v, -1.0, 1.0) for v in (band.low, band.median, band.high))
        _curve(axes, band.steps, low, median, high, style[name], name == norm or norm is None)
        lowest = min(lowest, float(low.min()))
    axes.set_ylim(max(-1.05, lowest - 0.05), 1.03)
    axes.axhline(1.0, color=_INK, linewidth=0.6, dashes=(2, 2))
    _finish(axes, "alignment r: 1 is steepest descent")


def _curve(
    axes: Any,
    steps: np.ndarray,
    low: np.ndarray,
    median: np.ndarray,
    high: np.ndarray,
    style: NormStyle,
    emphasised: bool,
) -> None:
    if len(steps) == 1:
        axes.plot(steps, median, color=style.color.light, marker="o", markersize=6 if emphasised else 4)
        return
    if (high > low).any():
        axes.fill_between(steps, low, high, color=style.color.light, alpha=0.22 if emphasised else 0.1, linewidth=0)
    (line,) = axes.plot(steps, median, color=style.color.light, linewidth=2.4 if emphasised else 1.2)
    if style.dash:
        line.set_dashes(style.dash)


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("step", labelpad=1)
    axes.grid(True, which="major", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=7))
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
            axis.set_minor_locator(NullLocator())
    axes.tick_params(length=2.5, width=0.6)


def _power(value: float) -> str:
    exponent = round(math.log10(value))
    return f"{value:g}" if 0 <= exponent <= 1 else "10" + str(exponent).translate(SUPERSCRIPT)


def _end_labels(axes: Any, ends: list[tuple[str, float]], norm: str | None, style: Mapping[str, NormStyle]) -> None:
    """Name each curve at its right end, pushed apart where curves end together."""
    low, high = axes.get_ylim()
    spread = math.log10(high / low)
    places = sorted((math.log10(max(value, low) / low) / spread, name) for name, value in ends)
    heights: list[float] = []
    for place, _ in places:
        heights.append(max(place, heights[-1] + LEADING) if heights else max(place, 0.0))
    top = 1.0
    for i in reversed(range(len(heights))):  # what was pushed out at the top comes down again, and no more than that
        heights[i] = min(heights[i], top)
        top = heights[i] - LEADING
    for (_, name), height in zip(places, heights, strict=True):
        label = name if name.isascii() and name.isprintable() else ascii(name)[1:-1]
        text = axes.text(
            1.012,
            height,
            label if len(label) <= 18 else f"{label[:17]}~",
            transform=axes.transAxes,
            color=style[name].color.light,
            fontweight="bold" if name == norm else "normal",
            verticalalignment="center",
        )
        text.set_parse_math(False)  # a $ in a name is a $


def _for_page(svg: str, title: str) -> str:
    """An inline element: no prolog, no ids but those referred to, the page's colors and font, short numbers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # would reach beyond the figure
    svg = re.sub(r"<[^>]*>", lambda tag: _restyle(tag[0]), svg)
    empty = re.compile(r"<g>\s*</g>|<g/>|<defs>\s*</defs>")
    while empty.search(svg):
        svg = empty.sub("", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    box = svg[svg.index("viewBox") : svg.index('"', svg.index('viewBox="') + len('viewBox="')) + 1]
    head = (
        f'<svg {box} role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return head + svg[svg.index(">") + 1 :].strip()


def _restyle(tag: str) -> str:
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), tag)
    tag = tag.replace("'DejaVu Sans'", "var(--sans)").replace(" \n", " ").replace("\n", " ")
    for color in (*FAMILIES.values(), OTHER):
        tag = tag.replace(color.light, f"var({color.variable})")
    return tag.replace(_INK, "currentColor").replace(_GRID, "var(--grid)")
