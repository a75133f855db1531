"""Data on which theory states the answer: one point, two points, basis vectors, scaled Rademacher."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from maxmargin.models.registry import Data, ProblemError, at_least, dataset

SIGNS = (-1, 1)


@dataset(
    "point",
    "one or more points by their coordinates, label +1",
    listed=[
        ":x=3:4@linear",
        ":x=3:4@relu2:h=4",
        ":x=1:2@diagonal:depth=2",
        ":x=1:2@diagonal:depth=3",
        ":x=1:1@diagonal:depth=3",
    ],
)
def point(*, x: str = "3:4") -> Data:
    """Samples of label +1 named by their coordinates: ``x=1:2``, ``x=1/4:-1``, or two of them, ``x=2:1+1:2``."""
    try:
        X = [[float(Fraction(part)) for part in one.split(":")] for one in x.split("+")]
    except (ValueError, ArithmeticError):
        raise ProblemError(f"point: x={x!r}; needed are numbers with colons between, as in 3:4 or 1/4:-1") from None
    if len({len(row) for row in X}) > 1:
        raise ProblemError(f"point: x={x!r}; needed are points with as many coordinates each")
    note = " and ".join(f"({one.replace(':', ', ')})" for one in x.split("+"))
    return Data(np.array(X), np.ones(len(X), dtype=int), note=f"the point {note}", labels=SIGNS)


@dataset(
    "two-points",
    "(1, 1/4) and (-1, 1/4), both +1",
    listed=["@relu:h=2", "@relu2:h=2"],
)
def two_points() -> Data:
    """The pair on which one neuron between the points is a KKT point and two neurons are better.

    Returns:
        Two samples with label +1 (Vardi, Shamir, Srebro 2110.02732).
    """
    X = np.array([[1.0, 0.25], [-1.0, 0.25]])
    return Data(X, np.array([1, 1]), note="fixture F1 of Vardi, Shamir, Srebro 2110.02732", labels=SIGNS)


@dataset(
    "basis",
    "x_i = s e_i with k = d classes",
    listed=["@linear", "@deep-linear:depth=2,width=3"],
)
def basis(*, k: int = 3, s: float = 1.0) -> Data:
    """The k scaled unit vectors, each its own class; k is 3 at least (two classes make a binary problem)."""
    at_least("basis", 3, k=k)
    if not 0 < s < np.inf:
        raise ProblemError(f"basis: s={s}; needed is a positive number")
    return Data(s * np.eye(k), np.arange(k), note=f"{s:g} times the unit vectors of {k} dimensions")


@dataset("rademacher", "all coordinates of a sample of one size, random signs", listed=["@linear"])
def rademacher(*, n: int = 6, d: int = 8, seed: int = 23) -> Data:
    """Scaled Rademacher data, x_i = a_i y_i (1, ±1, …, ±1): every feature of a sample has the same size a_i.

    On it batch-1 Adam goes to the ℓ2 margin, full-batch Adam to the ℓ∞ margin (Baek, Song, Yun 2510.26303).

    Returns:
        n samples with alternating labels ±1 and a_i uniform in [1/2, 3/2]; e_1 separates them. With n above d
        it is often optimal under both norms; the default keeps them 0.22 apart in KKT gap.

    Raises:
        ProblemError: for n < 2 or d < 1.
    """
    at_least("rademacher", 2, n=n)
    at_least("rademacher", 1, d=d)
    at_least("rademacher", 0, seed=seed)
    rng = np.random.default_rng(seed)
    y = 1 - 2 * (np.arange(n) % 2)
    signs = rng.choice([-1.0, 1.0], size=(n, d))
    signs[:, 0] = 1.0
    X = (y * rng.uniform(0.5, 1.5, n))[:, None] * signs
    return Data(X, y, note=f"scaled Rademacher of Baek, Song, Yun 2510.26303 (seed {seed})")
