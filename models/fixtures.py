"""Points, optima and reductions that theory states exactly: what the solvers are tested against.

Three kinds of record, each with its source: a :class:`Point` is a stated parameter vector and what it is
under one norm; an :class:`Optimum` is the best margin over a norm's unit ball; a :class:`Reduction` says that
the optimum of one problem is a multiple of another's. Margins are normalized, q(θ)/‖θ‖^L; ``exact`` is the
value in sympy's syntax.

Sources: F1 … F4 after Vardi, Shamir, Srebro 2110.02732 (the verdicts checked by algebra and numerically);
G1 … G6 by convex duality and the arithmetic–geometric inequality, G3 and G5 known since Gunasekar et al.
1806.00468.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal, final

import numpy as np

Kind = Literal["global", "local maximum", "saddle"]
Theta = Mapping[str, np.ndarray]


@final
@dataclass(frozen=True, eq=False)
class Point:
    """A KKT point of a margin problem, and whether it is more than that.

    Attributes:
        id: Fixture, norm and what it shows.
        problem: Name for :func:`maxmargin.models.problems.get`.
        norm: Name of the norm of the whole parameter.
        theta: The point, not normalized.
        multipliers: λ in the simplex with which it is a KKT point.
        margin: q(θ)/‖θ‖^L.
        exact: The same in sympy's syntax.
        kind: Global or local maximum of the normalized margin, or a saddle (a KKT point, no local maximum).
        better: A point with a larger normalized margin, None for a global maximum.
        source: Where it is stated.
    """

    id: str
    problem: str
    norm: str
    theta: Theta
    multipliers: np.ndarray
    margin: float
    exact: str
    kind: Kind
    better: Theta | None
    source: str


@final
@dataclass(frozen=True, eq=False)
class Optimum:
    """The optimal normalized margin of a problem under a norm.

    Attributes:
        id: Fixture, size and norm.
        problem: Name for :func:`maxmargin.models.problems.get`.
        norm: Name of the norm of the whole parameter.
        margin: max q(θ) over ‖θ‖ <= 1.
        exact: The same in sympy's syntax.
        theta: A point that attains it, not normalized.
        unique: Whether its direction is the only one, up to the model's symmetries; None where not settled.
        source: Where it is stated.
    """

    id: str
    problem: str
    norm: str
    margin: float
    exact: str
    theta: Theta
    unique: bool | None
    source: str


@final
@dataclass(frozen=True)
class Reduction:
    """Optimal margin of ``problem`` under ``norm`` = factor · that of ``linear`` under ``linear_norm``.

    Attributes:
        id: Fixture and norm.
        problem: The nonlinear problem.
        norm: Its norm.
        linear: A linear problem on the same data.
        linear_norm: Norm of the predictor.
        factor: The constant between them.
        source: Where it is stated.
    """

    id: str
    problem: str
    norm: str
    linear: str
    linear_norm: str
    factor: float
    source: str


def _same(vector: list[float], depth: int) -> dict[str, np.ndarray]:
    return {f"u{layer}": np.array(vector, dtype=np.float64) for layer in range(1, depth + 1)}


def _net(W: list[list[float]], a: list[float]) -> dict[str, np.ndarray]:
    return {"W": np.array(W, dtype=np.float64), "a": np.array(a, dtype=np.float64)}


_VSS = "after Vardi, Shamir, Srebro 2110.02732; verdict by algebra"
_ONE, _TWO = np.array([1.0]), np.array([0.5, 0.5])
_D2, _D3 = "point:x=1:2@diagonal:depth=2", "point:x=1:2@diagonal:depth=3"
_D3_EVEN = "point:x=1:1@diagonal:depth=3"
_RELU, _RELU2 = "two-points@relu:h=2", "two-points@relu2:h=2"
_SPLIT = _net([[1.0, 0.25], [-1.0, 0.25]], [17**0.5 / 4] * 2)  # one neuron a point, its two layers balanced

POINTS: tuple[Point, ...] = (
    Point("F1/l2", _RELU, "l2", _net([[0, 2], [0, 0]], [2, 0]), _TWO, 1 / 8, "1/8", "saddle", _SPLIT, _VSS),
    Point(
        "F1'/l2",
        _RELU2,
        "l2",
        _net([[0, 2 * sqrt(2)], [0, 0]], [2, 0]),
        _TWO,
        1 / (24 * sqrt(3)),
        "1/(24*sqrt(3))",
        "local maximum",
        _net([[1, 0.25], [-1, 0.25]], [0.5, 0.5]),
        _VSS,
    ),
    Point(
        "F1'/linf",
        _RELU2,
        "linf",
        _net([[0, 1], [0, 0]], [1, 0]),
        _TWO,
        1 / 16,
        "1/16",
        "saddle",
        _net([[-1, 1], [1, 1]], [1, 1]),
        "the second neuron costs nothing under this norm",
    ),
    Point("F2/l2", _D2, "l2", _same([1, 0], 2), _ONE, 1 / 2, "1/2", "saddle", _same([0, 1], 2), _VSS),
    Point("F2/l2/global", _D2, "l2", _same([0, 1], 2), _ONE, 1.0, "1", "global", None, "G3: the l1 margin of x"),
    Point("F2/linf", _D2, "linf", _same([1, 0], 2), _ONE, 1.0, "1", "saddle", _same([1, 1], 2), _VSS),
    Point(
        "F2/linf/global",
        _D2,
        "linf",
        _same([1, 1], 2),
        _ONE,
        3.0,
        "3",
        "global",
        None,
        "G3: the linf margin of x",
    ),
    Point(
        "F3/l2",
        _D3,
        "l2",
        _same([1, 0], 3),
        _ONE,
        1 / (3 * sqrt(3)),
        "1/(3*sqrt(3))",
        "local maximum",
        _same([0, 1], 3),
        _VSS,
    ),
    Point(
        "F3/l2/global",
        _D3,
        "l2",
        _same([0, 1], 3),
        _ONE,
        2 / (3 * sqrt(3)),
        "2/(3*sqrt(3))",
        "global",
        None,
        "G3: the l_{2/3} margin of x, attained at a coordinate",
    ),
    Point("F3/linf", _D3, "linf", _same([1, 0], 3), _ONE, 1.0, "1", "saddle", _same([1, 1], 3), _VSS),
    Point(
        "F4/l2",
        _D3_EVEN,
        "l2",
        _same([1, 1], 3),
        _ONE,
        1 / (3 * sqrt(6)),
        "1/(3*sqrt(6))",
        "saddle",
        _same([1, 0], 3),
        _VSS,
    ),
    Point(
        "F4/l2/one-coordinate",
        _D3_EVEN,
        "l2",
        _same([1, 0], 3),
        _ONE,
        1 / (3 * sqrt(3)),
        "1/(3*sqrt(3))",
        "global",
        None,
        "G3: the l_{2/3} margin of x, attained at a coordinate",
    ),
    Point(
        "F4/linf",
        _D3_EVEN,
        "linf",
        _same([1, 1], 3),
        _ONE,
        2.0,
        "2",
        "global",
        None,
        "G3: the linf margin of x",
    ),
)
"""Fixtures F1 … F4 of Vardi, Shamir, Srebro, with both norms' verdicts.

At F1/l2 the second neuron is exactly 0, where ReLU has a kink; with torch's subgradient 0 it is a KKT point.
"""


def single_point(x: tuple[float, ...] = (3.0, 4.0)) -> list[Optimum]:
    """G1: the linear margin of one point is its dual norm.

    Args:
        x: Coordinates with a unique largest one in size.

    Returns:
        Optima under l1, l2, linf, spectral and nuclear (a vector is a matrix of one row).
    """
    v = np.array(x)
    largest = np.where(np.abs(v) == np.abs(v).max(), np.sign(v), 0.0)
    rows = {
        "l1": (np.abs(v).max(), largest),
        "l2": (np.linalg.norm(v), v),
        "spectral": (np.linalg.norm(v), v),
        "nuclear": (np.linalg.norm(v), v),
        "linf": (np.abs(v).sum(), np.sign(v)),
    }
    name = ":".join(f"{c:g}" for c in x)
    squares = "+".join(f"({c!r})**2" for c in x)
    exact = {"l1": f"{np.abs(v).max()!s}", "linf": "+".join(f"Abs({c!r})" for c in x)}
    return [
        Optimum(
            f"G1/{norm}",
            f"point:x={name}@linear",
            norm,
            float(value),
            exact.get(norm, f"sqrt({squares})"),
            {"w": theta},
            bool(np.all(v != 0)) if norm == "linf" else True,
            "duality of norms",
        )
        for norm, (value, theta) in rows.items()
    ]


def basis_linear(k: int, s: float = 1.0) -> list[Optimum]:
    """G2: x_i = s e_i with k = d classes; certificate A = (kI − 11ᵀ)/(k(k−1)).

    Args:
        k: Classes, at least 3.
        s: Scale of the data.

    Returns:
        Optima under spectral (not unique: I − c 11ᵀ for every 0 <= c <= 2/k), linf, l2 and nuclear.
    """
    ones, eye = np.ones((k, k)), np.eye(k)
    centred = eye - ones / k
    rows: dict[str, tuple[float, str, np.ndarray, bool]] = {
        "spectral": (s, "{s}", eye, False),
        "linf": (2 * s, "2*{s}", 2 * eye - ones, True),
        "l2": (s / sqrt(k - 1), "{s}/sqrt({k}-1)", centred, True),
        "nuclear": (s / (k - 1), "{s}/({k}-1)", centred, True),
    }
    return [
        Optimum(
            f"G2/k={k}/{norm}",
            f"basis:k={k},s={s:g}@linear",
            norm,
            value,
            exact.format(s=f"{s:g}", k=k),
            {"W": theta},
            unique,
            "duality of norms",
        )
        for norm, (value, exact, theta, unique) in rows.items()
    ]


def basis_two_layers(k: int) -> list[Optimum]:
    """G5 on G2's data: B = W2 W1 of width k; ℓ2 reaches half the nuclear margin, spectral the spectral one.

    Args:
        k: Classes, at least 3.

    Returns:
        Optima under l2 and spectral.
    """
    centred, eye = np.eye(k) - np.ones((k, k)) / k, np.eye(k)
    problem, source = (
        f"basis:k={k}@deep-linear:depth=2,width={k}",
        "Gunasekar et al. 1806.00468 (balanced factors)",
    )
    l2 = {"W1": centred, "W2": centred}  # a projection is its own square root
    return [
        Optimum(f"G5/k={k}/l2", problem, "l2", 1 / (2 * (k - 1)), f"1/(2*({k}-1))", l2, None, source),
        Optimum(f"G5/k={k}/spectral", problem, "spectral", 1.0, "1", {"W1": eye, "W2": eye}, False, "‖W2 W1‖ <= 1"),
    ]


def squared_relu_point(m: int, x: tuple[float, ...] = (3.0, 4.0)) -> list[Optimum]:
    """G6: two-layer squared ReLU of width m on one point.

    Args:
        m: Neurons.
        x: Coordinates.

    Returns:
        Optima under l2 (one neuron), linf (all neurons alike) and spectral (whatever the width).
    """
    v = np.array(x)
    unit = v / np.linalg.norm(v)
    first = np.eye(m)[0]
    name, squares = ":".join(f"{c:g}" for c in x), "(" + "+".join(f"({c!r})**2" for c in x) + ")"
    problem = f"point:x={name}@relu2:h={m}"
    rows = {
        "l2": (
            2 / (3 * sqrt(3)) * float(v @ v),
            f"2/(3*sqrt(3))*{squares}",
            {"W": sqrt(2) * np.outer(first, unit), "a": first},
        ),
        "linf": (
            m * float(np.abs(v).sum()) ** 2,
            f"{m}*(" + "+".join(f"Abs({c!r})" for c in x) + ")**2",
            {"W": np.outer(np.ones(m), np.sign(v)), "a": np.ones(m)},
        ),
        "spectral": (float(v @ v), squares, {"W": np.outer(first, unit), "a": first}),
    }
    return [
        Optimum(f"G6/m={m}/{norm}", problem, norm, value, exact, theta, None, "arithmetic-geometric inequality")
        for norm, (value, exact, theta) in rows.items()
    ]


OPTIMA: tuple[Optimum, ...] = (
    *single_point(),
    *(row for k in (3, 5, 10) for row in basis_linear(k)),
    *basis_linear(4, s=2.5),
    *(row for k in (3, 5) for row in basis_two_layers(k)),
    *(row for m in (2, 4) for row in squared_relu_point(m)),
)
"""Fixtures G1, G2, G5 and G6 at the sizes that the tests use; the functions above give any size."""


def reductions(data: str = "binary", width: int = 4) -> list[Reduction]:
    """G3 and G4: margins of diagonal and deep linear networks as margins of their predictor, any binary data.

    Args:
        data: Name of a data set of two classes.
        width: Width of the hidden layers of the deep linear networks.

    Returns:
        The statements for depths 2 and 3.
    """
    linear, rows = (
        f"{data}@linear",
        [
            Reduction(
                "G3/depth=2/l2",
                f"{data}@diagonal:depth=2",
                "l2",
                f"{data}@linear",
                "l1",
                0.5,
                "|uv| <= (u²+v²)/2",
            )
        ],
    )
    for depth in (2, 3):
        diagonal, deep = f"{data}@diagonal:depth={depth}", f"{data}@deep-linear:depth={depth},width={width}"
        balanced = depth ** (-depth / 2)
        rows += [
            Reduction(f"G3/depth={depth}/linf", diagonal, "linf", linear, "linf", 1.0, "β_i = Π u_i over a box"),
            Reduction(f"G4/depth={depth}/l2", deep, "l2", linear, "l2", balanced, "balanced rank-one layers"),
            Reduction(f"G4/depth={depth}/spectral", deep, "spectral", linear, "l2", 1.0, "‖W x‖ <= ‖W‖ ‖x‖"),
            Reduction(
                f"G4/depth={depth}/linf",
                deep,
                "linf",
                linear,
                "linf",
                float(width ** (depth - 1)),
                "all entries alike",
            ),
            Reduction(
                f"G4/depth={depth}/hybrid",
                deep,
                "hybrid",
                linear,
                "l2",
                sqrt(width),
                "‖a‖_2 <= √m ‖a‖_∞, own derivation",
            ),
        ]
    return rows
