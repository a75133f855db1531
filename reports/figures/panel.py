"""Two axes and what is drawn between them, as an SVG element whose colors, font and widths are the page's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import final

import numpy as np

from maxmargin.reports.figures.numbers import power
from maxmargin.reports.figures.palette import NormStyle

LEFT, TOP, BOTTOM = 38.0, 26.0, 34.0
"""Margins, in units of the drawing; a letter of a label is about 6 wide."""
LEADING = 14.0
"""Least distance of two labels."""
LONGEST = 18
"""Characters of a label."""


@final
@dataclass(frozen=True)
class Drawing:
    """An SVG element for a page, and what the reader must be told about it."""

    svg: str
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Axis:
    """A range, linear or logarithmic, with its ticks."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    @classmethod
    def logarithmic(cls, low: float, high: float) -> Axis:
        """Ticks at powers of ten, at most seven of them."""
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        step = max(1, math.ceil((last - first + 1) / 7))
        return cls(low, high, tuple((10.0**k, power(10.0**k)) for k in range(last, first - 1, -step)), log=True)

    def part(self, values: np.ndarray | float) -> np.ndarray:
        """Where values lie: 0 at the low end, 1 at the high one."""
        values = np.asarray(values, dtype=float)
        if self.log:
            return np.log(np.maximum(values, self.low) / self.low) / math.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)


@dataclass
class Panel:
    """A drawing in the making; points beyond the axes are drawn at their ends."""

    width: float
    height: float
    x: Axis
    y: Axis
    right: float = 10.0
    parts: list[str] = field(default_factory=list)

    def at(self, xs: np.ndarray | float, ys: np.ndarray | float) -> np.ndarray:
        """Points of the drawing, (…, 2)."""
        x = LEFT + np.clip(self.x.part(xs), 0, 1) * (self.width - LEFT - self.right)
        y = self.height - BOTTOM - np.clip(self.y.part(ys), 0, 1) * (self.height - TOP - BOTTOM)
        return np.stack(np.broadcast_arrays(x, y), axis=-1)

    def line(self, xs: np.ndarray, ys: np.ndarray, style: NormStyle, *, thick: bool = False) -> None:
        """A curve; a dot, where there is one point."""
        points = self.at(xs, ys)
        if len(points) == 1:
            (x, y), radius = points[0], 4 if thick else 3
            self.parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{radius}" fill="var({style.color.variable})"/>')
            return
        dash = f' stroke-dasharray="{_dash(style, thick)}"' * bool(style.dash)
        kind = "c t" if thick else "c"
        self.parts.append(f'<path class="{kind}" d="M{_path(points)}" stroke="var({style.color.variable})"{dash}/>')

    def band(self, xs: np.ndarray, low: np.ndarray, high: np.ndarray, style: NormStyle) -> None:
        """The range around a curve, where there is one."""
        if len(xs) > 1 and (high > low).any():
            around = np.concatenate([self.at(xs, low), self.at(xs, high)[::-1]])
            self.parts.append(f'<path class="b" d="M{_path(around)}Z" fill="var({style.color.variable})"/>')

    def shape(self, points: np.ndarray, kind: str) -> None:
        """A closed shape, (n, 2), of a class of the stylesheet."""
        self.parts.append(f'<path class="{kind}" d="M{_path(self.at(points[:, 0], points[:, 1]))}Z"/>')

    def ring(self, x: float, y: float) -> None:
        """A point that is marked."""
        px, py = self.at(x, y)
        self.parts.append(f'<circle class="k" cx="{_n(px)}" cy="{_n(py)}" r="7"/>')

    def legend(self, rows: Sequence[tuple[str, NormStyle, bool]]) -> None:
        """Names with a piece of their lines, at the lower left."""
        y = self.height - BOTTOM - 14 * len(rows) + 4
        for name, style, thick in rows:
            x = LEFT + 6
            dash = f' stroke-dasharray="{_dash(style, thick)}"' * bool(style.dash)
            kind = "c t" if thick else "c"
            self.parts.append(
                f'<path class="{kind}" d="M{_n(x)} {_n(y)}h20" stroke="var({style.color.variable})"{dash}/>'
            )
            self.label(x + 25, y, name, style, bold=thick)
            y += 14

    def level(self, value: float) -> None:
        """A dashed line across."""
        (x0, y), (x1, _) = self.at(self.x.low, value), self.at(self.x.high, value)
        self.parts.append(f'<path class="a d" d="M{_n(x0)} {_n(y)}H{_n(x1)}"/>')

    def label(self, x: float, y: float, text: str, style: NormStyle | None = None, *, bold: bool = False) -> None:
        """Text that begins at a point of the drawing, cut where it is long."""
        shown = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
        shown = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}~"
        color = f' fill="var({style.color.variable})"' if style else ""
        kind = ' class="s"' * bold
        self.parts.append(f'<text x="{_n(x)}" y="{_n(y + 4)}"{color}{kind}>{escape(shown)}</text>')

    def end_labels(self, ends: Sequence[tuple[str, float, NormStyle, bool]]) -> None:
        """Name curves at the right end, at their last values, pushed apart where they end together."""
        rows = sorted((float(self.at(self.x.high, value)[1]), name, style, bold) for name, value, style, bold in ends)
        heights: list[float] = []
        for place, *_ in rows:
            heights.append(max(place, heights[-1] + LEADING) if heights else place)
        bottom = self.height - BOTTOM
        for i in reversed(range(len(heights))):  # what was pushed out at the bottom comes up again, and no more
            heights[i] = min(heights[i], bottom)
            bottom = heights[i] - LEADING
        for height, (_, name, style, bold) in zip(heights, rows, strict=True):
            self.label(self.width - self.right + 5, height, name, style, bold=bold)

    def draw(self, title: str, heading: str, below: str) -> str:
        """The element.

        Args:
            title: What a screen reader says.
            heading: Above the drawing.
            below: Under the horizontal axis.

        Returns:
            SVG, whose classes the page's stylesheet knows.
        """
        bottom, right = self.height - BOTTOM, self.width - self.right
        ticks = []
        for value, name in self.x.ticks:
            x = _n(self.at(value, self.y.low)[0])
            ticks.append(f'<path class="g" d="M{x} {_n(TOP)}V{_n(bottom)}"/>')
            ticks.append(f'<text class="m" x="{x}" y="{_n(bottom + 14)}">{name}</text>')
        for value, name in self.y.ticks:
            y = self.at(self.x.low, value)[1]
            ticks.append(f'<path class="g" d="M{_n(LEFT)} {_n(y)}H{_n(right)}"/>')
            ticks.append(f'<text class="e" x="{_n(LEFT - 5)}" y="{_n(y + 4)}">{name}</text>')
        return (
            f'<svg class="f" viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" aria-label="{escape(title)}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(ticks)}'
            f'<path class="a" d="M{_n(LEFT)} {_n(TOP)}V{_n(bottom)}H{_n(right)}"/>{"".join(self.parts)}'
            f'<text class="h" x="2" y="12">{escape(heading)}</text>'
            f'<text class="m" x="{_n((LEFT + right) / 2)}" y="{_n(self.height - 3)}">{escape(below)}</text></svg>'
        )


def _n(value: float) -> str:
    """A coordinate, to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")


def _dash(style: NormStyle, thick: bool) -> str:
    return " ".join(_n(d * (2.4 if thick else 1.4)) for d in style.dash)


def _path(points: np.ndarray) -> str:
    return "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
