"""KKT points that are no optima, F1–F4 after Vardi, Shamir, Srebro 2110.02732, and the optima beside them.

At F1 the second neuron is exactly 0, where ReLU has a kink; with torch's subgradient 0 it is a KKT point. The optima of
F2–F4 are cases of G3 (:mod:`maxmargin.solvers.exact.optima`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy as sp

from maxmargin.models.families.diagonal import Diagonal
from maxmargin.models.families.networks import RELU, RELU2, Network
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.kkt_certificate import Kind, Stated
from maxmargin.solvers.exact.optima import positive_points

_VSS = "after Vardi, Shamir, Srebro 2110.02732; verdict by algebra"
_OURS = "our derivation"


Row = tuple[str, Kind, sp.Expr, dict[str, Any], str, str]
"""Norm, kind, margin, θ, why, source."""


def _net(W: list[list[Any]], a: list[Any]) -> dict[str, Any]:
    return {"W": sp.Array(W), "a": sp.Array(a)}


def _alike(depth: int, *values: int) -> dict[str, Any]:
    return {f"u{layer}": sp.Array(values) for layer in range(1, depth + 1)}


_R, _Q = sp.sqrt, sp.Rational
_PAIR = [[_Q(1), _Q(1, 4)], [_Q(-1), _Q(1, 4)]]  # the samples of F1 and F1'; and one neuron along each of them
_BETWEEN, _CORNERS = _net([[0, 1], [0, 0]], [1, 0]), _net([[-1, 1], [1, 1]], [1, 1])
_FREE = "the second neuron costs nothing under this norm"
_CONVEX = "m_1 + m_2 is convex in each w_j, so largest at corners of the box"
_SPLIT = "‖θ‖² >= 2 Σ|a_j|‖w_j‖, and (u·x_1)_+ + (u·x_2)_+ <= max(|x_1|, |x_1 + x_2|) = |x_1| for every unit u"
_CUBIC = (
    "at margin 1 ‖θ‖² >= 3·2^{-2/3} Σ c_j^{2/3} with c_j = |a_j|‖w_j‖²: concave, so least at a vertex, which is "
    "a neuron a point (c = 16/17) or one that sees both points (c > 4)"
)

# Name, model, samples (all of label +1), and what is stated of them.
_TABLE: tuple[tuple[str, HomogeneousModel, list[list[Any]], tuple[Row, ...]], ...] = (
    (
        "F1",
        Network(2, (2,), RELU),
        _PAIR,
        (
            ("l2", "global", _R(17) / 16, _net(_PAIR, [_R(17) / 4] * 2), _SPLIT, _OURS),
            ("linf", "global", _Q(5, 4), _CORNERS, _CONVEX, _OURS),
            (
                "l2",
                "saddle",
                _Q(1, 8),
                _net([[0, 2], [0, 0]], [2, 0]),
                "neuron 2 wakes along x_1 by ε, neuron 1 tilts to x_2: relative gain (√17/8 − 1/4) ε²",
                _VSS,
            ),
            ("linf", "saddle", _Q(1, 4), _BETWEEN, _FREE, _OURS),
        ),
    ),
    (
        "F1'",
        Network(2, (2,), RELU2),
        _PAIR,
        (
            ("l2", "global", 17 * _R(6) / 288, _net(_PAIR, [_R(34) / 8] * 2), _CUBIC, _OURS),
            ("linf", "global", _Q(25, 16), _CORNERS, _CONVEX, _OURS),
            (
                "l2",
                "local maximum",
                _R(3) / 72,
                _net([[0, 2 * _R(2)], [0, 0]], [2, 0]),
                "the zero neuron costs ε² and gains ε³",
                _VSS,
            ),
            ("linf", "saddle", _Q(1, 16), _BETWEEN, _FREE, _OURS),
        ),
    ),
    (
        "F2",
        Diagonal(2, 2),
        [[1, 2]],
        (
            ("l2", "saddle", _Q(1, 2), _alike(2, 1, 0), "the second coordinate wakes by ε: relative gain ε²", _VSS),
            ("linf", "saddle", _Q(1), _alike(2, 1, 0), "the second coordinate gains 2 ε² at no norm cost", _VSS),
        ),
    ),
    (
        "F3",
        Diagonal(2, 3),
        [[1, 2]],
        (
            ("l2", "local maximum", _R(3) / 9, _alike(3, 1, 0), "the second coordinate costs ε², gains ε³", _VSS),
            ("linf", "saddle", _Q(1), _alike(3, 1, 0), "the second coordinate gains 2 ε³ at no norm cost", _VSS),
        ),
    ),
    (
        "F4",
        Diagonal(2, 3),
        [[1, 1]],
        (("l2", "saddle", _R(6) / 18, _alike(3, 1, 1), "1 + ε, 1 − ε in every layer: relative gain 3/2 ε²", _VSS),),
    ),
)


def lesser_points(problem: Problem) -> Iterator[Stated]:
    """The points of F1–F4 that theory states for this problem, optima before the points that are none."""
    points = positive_points(problem)
    for name, model, samples, rows in _TABLE:
        if problem.model == model and points == samples:
            for norm, kind, margin, theta, why, source in rows:
                id_ = f"{name}-{norm}" + "-optimum" * (kind == "global")
                yield Stated.of(id_, problem, norm, kind, margin, theta, why, source)
