"""The norms under which every trajectory is measured, the claimed one among its rivals, and how they are named."""

from __future__ import annotations

CANDIDATES = ("l2", "linf", "spectral", "hybrid", "l1", "nuclear")
"""In order of preference where two coincide on a problem's blocks (without vectors, hybrid is spectral)."""

WEIGHTED = "weighted "
"""Begins the name of a norm whose blocks differ in weight: another one on each problem's shapes, but one family."""


def family(name: str) -> str:
    """Return the name without its weights.

    Example:
        >>> family("weighted spectral")
        'spectral'
    """
    return name.removeprefix(WEIGHTED)
