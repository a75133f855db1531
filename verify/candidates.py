"""The norms under which every trajectory is measured: the claimed one among its rivals."""

from __future__ import annotations

CANDIDATES = ("l2", "linf", "spectral", "hybrid", "l1", "nuclear")
"""In order of preference where two coincide on a problem's blocks (without vectors, hybrid is spectral)."""
