"""One color and one dash pattern a norm, the same on every page; safe for color-blind readers (Okabe–Ito)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Color:
    """A color on light paper, its twin on a dark page, and the CSS variable that switches between them."""

    variable: str
    light: str
    dark: str


FAMILIES = {
    "l2": Color("--norm-l2", "#0072b2", "#56a8e6"),
    "linf": Color("--norm-linf", "#d55e00", "#ff8a3d"),
    "spectral": Color("--norm-spectral", "#009e73", "#2fcf9f"),
    "l1": Color("--norm-l1", "#b8528f", "#e79bc8"),
    "nuclear": Color("--norm-nuclear", "#b07a00", "#e6b33c"),
    "hybrid": Color("--norm-hybrid", "#6a51a3", "#b39ddb"),
    "schatten": Color("--norm-schatten", "#4d7d2f", "#9ccc6f"),
    "entrywise": Color("--norm-entrywise", "#a0522d", "#d9a27e"),
}
OTHER = Color("--norm-other", "#5f6b76", "#aab4be")
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.6), (1.2, 1.4), (6, 1.4, 1.2, 1.4))


@final
@dataclass(frozen=True)
class NormStyle:
    """How one norm is drawn."""

    color: Color
    dash: tuple[float, ...]


def styles(norms: Iterable[str]) -> dict[str, NormStyle]:
    """A style for each norm; members of one family (``schatten:1.5``, ``schatten:3``) share the color, not the dash.

    Returns:
        name → style, in the order of the names.

    Example:
        >>> [(name, s.color.variable, s.dash) for name, s in styles(["l2", "schatten:3", "schatten:1.5"]).items()]
        [('l2', '--norm-l2', ()), ('schatten:1.5', '--norm-schatten', ()), ('schatten:3', '--norm-schatten', (4, 1.6))]
    """
    found: dict[str, NormStyle] = {}
    seen: dict[Color, int] = {}
    for name in sorted(set(norms)):
        color = FAMILIES.get(name.partition(":")[0], OTHER)
        found[name] = NormStyle(color, DASHES[seen.get(color, 0) % len(DASHES)])
        seen[color] = seen.get(color, 0) + 1
    return found
