"""The heat map of a sweep: KKT gaps by optimizer and problem, medians over the seeds."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

LEAST = 1e-12
"""Gaps below it are drawn as it: float64 cannot tell them from 0."""


def heat_map(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw the gap under the norm that a cell was judged for; white where there is none.

    Args:
        rows: Of a sweep.

    Returns:
        An SVG file; the same rows give the same text.
    """
    several = len({row["decay"] for row in rows}) > 1
    gaps: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        optimizer = f"{row['optimizer']}({row['arguments']})"
        problem = f"{row['problem']}, t^-{row['decay']:g}" if several else row["problem"]
        found = gaps.setdefault((optimizer, problem), [])
        if row["error"] is None and (gap := row.get(f"gap.{row['norm']}")) is not None:
            found.append(max(gap, LEAST))
    down, across = (list(dict.fromkeys(key[i] for key in gaps)) for i in (0, 1))
    values = np.full((len(down), len(across)), np.nan)
    for (optimizer, problem), found in gaps.items():
        if found:
            values[down.index(optimizer), across.index(problem)] = median(found)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "heat", "font.size": 9.0, "text.parse_math": False}):
        figure = Figure(figsize=(4.5 + 1.1 * len(across), 1.8 + 0.32 * len(down)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        drawn = axes.imshow(values, aspect="auto", cmap="cividis", norm=LogNorm(*_limits(values)))
        axes.set_xticks(range(len(across)), across, rotation=30, ha="right")
        axes.set_yticks(range(len(down)), down)
        for i, j in np.argwhere(np.isfinite(values)):
            axes.text(j, i, f"{values[i, j]:.0e}", ha="center", va="center", color="white", fontsize=7)
        figure.colorbar(drawn, label="KKT gap, median over the seeds")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _limits(values: np.ndarray) -> tuple[float, float]:
    seen = values[np.isfinite(values)]
    least = max(LEAST, float(seen.min())) if seen.size else LEAST
    return least, max(float(seen.max()) if seen.size else 1.0, 2.0 * least)
