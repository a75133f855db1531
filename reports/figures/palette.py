"""The page's colors, light and dark, and one color and dash pattern a norm.

Hues are by Okabe and Ito, for color-blind readers. All of them are written as text somewhere, so each has a contrast of
4.5 (WCAG 2, level AA) on what it stands on.
"""

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
    "l2": Color("--norm-l2", "#0069a6", "#56a8e6"),
    "linf": Color("--norm-linf", "#b84d00", "#ff8a3d"),
    "spectral": Color("--norm-spectral", "#00795a", "#2fcf9f"),
    "l1": Color("--norm-l1", "#a8457f", "#e79bc8"),
    "nuclear": Color("--norm-nuclear", "#8a6000", "#e6b33c"),
    "hybrid": Color("--norm-hybrid", "#6a51a3", "#b39ddb"),
    "schatten": Color("--norm-schatten", "#45721f", "#9ccc6f"),
    "entrywise": Color("--norm-entrywise", "#95481f", "#d9a27e"),
}
OTHER = Color("--norm-other", "#5a656f", "#aab4be")
PAGE = {
    name: Color(f"--{name}", light, dark)
    for name, light, dark in (
        ("paper", "#fdfdfb", "#14171a"),
        ("card", "#ffffff", "#1a1e22"),
        ("shade", "#f1f3f5", "#242a30"),
        ("ink", "#1b1f23", "#e6e8ea"),
        ("soft", "#58616b", "#9aa4ae"),
        ("accent", "#1f5fa8", "#7db4ee"),
        ("holds", "#0b6b4b", "#6fdcb0"),
        ("holds-bg", "#e0f3ea", "#12382b"),
        ("fails", "#a3260f", "#ff9a80"),
        ("fails-bg", "#fde7e1", "#47190f"),
        ("open", "#6b5300", "#f0d070"),
        ("open-bg", "#f8eecb", "#3b3210"),
        ("line", "#dcdfe3", "#333a41"),
        ("grid", "#e3e5e8", "#2c3238"),
    )
}
COLORS = (*PAGE.values(), *FAMILIES.values(), OTHER)
ON = {"holds": ("holds-bg", "paper"), "fails": ("fails-bg", "paper"), "open": ("open-bg", "paper")}
"""What the colors of the verdicts are written on; the norms', and the other inks, are on paper, card and shade."""

DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.6), (1.2, 1.4), (6, 1.4, 1.2, 1.4))


@final
@dataclass(frozen=True)
class NormStyle:
    """How one norm is drawn."""

    color: Color
    dash: tuple[float, ...]


def styles(norms: Iterable[str]) -> dict[str, NormStyle]:
    """Return a style for each norm; members of a family (``schatten:1.5``, ``schatten:3``) share color, not dash.

    Example:
        >>> [(name, s.color.variable, s.dash) for name, s in styles(["l2", "schatten:3", "schatten:1.5"]).items()]
        [('l2', '--norm-l2', ()), ('schatten:1.5', '--norm-schatten', ()), ('schatten:3', '--norm-schatten', (4, 1.6))]
    """
    found: dict[str, NormStyle] = {}
    seen: dict[Color, int] = {}
    for name in sorted(set(norms)):
        color = FAMILIES.get(name.partition(":")[0].removeprefix("weighted "), OTHER)
        found[name] = NormStyle(color, DASHES[seen.get(color, 0) % len(DASHES)])
        seen[color] = seen.get(color, 0) + 1
    return found
