"""All norms' final gaps as dots on one logarithmic line, for a cell of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Dot:
    """One norm's final gap: x in 4 … 124 stands for 10⁻⁶ … 1 on a log scale."""

    norm: str
    gap: float
    x: float
    own: bool
    pale: bool


def dots(gaps: Iterable[tuple[str, float, bool, bool]]) -> tuple[Dot, ...]:
    """Place (norm, gap, whether it is the judged one, whether it is no control); the last is drawn on top."""
    found = [
        Dot(name, gap, round(124 + 20 * math.log10(min(max(gap, 1e-6), 1.0)), 1), own, pale)
        for name, gap, own, pale in gaps
        if math.isfinite(gap)
    ]
    return tuple(sorted(found, key=lambda dot: (dot.own, not dot.pale, dot.norm)))
