"""The theory in the plane: three unit balls, the best point of each, and the way of steepest descent under each norm.

Two samples z of length 1, at 40° and 10°. The region where each margin ⟨z, w⟩ is at least the best one on the unit
ball touches the ball at the optimum: (1, 0) under ℓ1, the direction 25° between the samples under ℓ2, (1, 1) under ℓ∞.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import final

import numpy as np
from msgspec import Struct

from maxmargin.reports.figures.palette import styles
from maxmargin.reports.figures.panel import Axis, Drawing, Panel

SAMPLES = np.array([[math.cos(a), math.sin(a)] for a in (math.radians(40), math.radians(10))])
NORMS = ("l1", "l2", "linf")
OPTIMA = {"l1": (1.0, 0.0), "l2": (math.cos(math.radians(25)), math.sin(math.radians(25))), "linf": (1.0, 1.0)}
BALLS = {
    "l1": np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 0]], dtype=float),
    "l2": np.array([[math.cos(a), math.sin(a)] for a in np.linspace(0, 2 * math.pi, 73)]),
    "linf": np.array([[1, 1], [-1, 1], [-1, -1], [1, -1], [1, 1]], dtype=float),
}
METHODS = {"l1": "coordinate descent", "l2": "gradient descent", "linf": "sign descent (Signum, Adam)"}
START, RATE, STEPS, EDGE = (-0.8, 1.1), 0.02, 2500, 1.3


@final
class Way(Struct, frozen=True):
    """A norm's picture, and how its method is called."""

    norm: str
    method: str
    svg: str


def value(norm: str, w: np.ndarray) -> float:
    """‖w‖."""
    sizes = np.abs(w)
    return float({"l1": sizes.sum(), "l2": math.hypot(*w), "linf": sizes.max()}[norm])


def descent(norm: str) -> np.ndarray:
    """Steepest descent under a norm on the exponential loss: w after each step, (STEPS + 1, 2)."""
    w, way = np.array(START), [np.array(START)]
    for _ in range(STEPS):
        margins = SAMPLES @ w
        g = np.exp(margins.min() - margins) @ SAMPLES  # minus the gradient, up to a factor
        if norm == "l1":
            step = np.where(np.arange(2) == np.abs(g).argmax(), np.sign(g), 0.0)
        else:
            step = np.sign(g) if norm == "linf" else g / math.hypot(*g)
        w = w + RATE * step
        way.append(w)
    return np.array(way)


@lru_cache(maxsize=1)
def plane_figures() -> tuple[Way, ...]:
    """One drawing a norm: its ball, its optimum, and the three ways, each w as w / √(‖w‖ · its last ‖w‖)."""
    return tuple(Way(norm, METHODS[norm], _drawn(norm).svg) for norm in NORMS)


def _drawn(norm: str) -> Drawing:
    ticks = ((-1.0, "−1"), (0.0, "0"), (1.0, "1"))
    panel = Panel(278, 290, Axis(-EDGE, EDGE, ticks), Axis(-EDGE, EDGE, ticks))
    style = styles(NORMS)
    best = float((SAMPLES @ np.array(OPTIMA[norm])).min())
    panel.shape(_region(best), "r")
    panel.shape(BALLS[norm], "o")
    kept = np.unique(np.geomspace(1, STEPS + 1, 40).astype(int)) - 1
    for other in sorted(NORMS, key=lambda name: name == norm):
        way = descent(other)
        ends = value(norm, way[-1])
        points = way[kept] / np.sqrt(ends * np.array([[value(norm, w)] for w in way[kept]]))
        panel.line(points[:, 0], points[:, 1], style[other], thick=other == norm)
        panel.line(points[-1:, 0], points[-1:, 1], style[other])
    panel.ring(*OPTIMA[norm])
    says = (
        f"unit ball of {norm}, its optimum, and the ways of three methods; that of {METHODS[norm]} ends at the optimum"
    )
    return Drawing(panel.draw(says, f"{norm}: {METHODS[norm]}", "w₁"))


def _region(best: float) -> np.ndarray:
    """The corner {w: ⟨z, w⟩ ≥ best for both samples}, cut at the drawing's edges: a square, clipped twice."""
    shape = EDGE * BALLS["linf"][:-1]
    for z in SAMPLES:
        room, out = shape @ z - best, []
        for i, (here, there) in enumerate(zip(room, np.roll(room, -1), strict=True)):
            a, b = shape[i], shape[(i + 1) % len(shape)]
            out += [a] if here >= 0 else []
            out += [a + (b - a) * here / (here - there)] if here * there < 0 else []
        shape = np.array(out)
    return shape
