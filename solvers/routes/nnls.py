"""The Euclidean inner problem: the point of least norm in the convex hull of the rows, by NNLS and a polish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls
from typing_extensions import override

from maxmargin.solvers.norms.measured.metric import Metric
from maxmargin.solvers.routes.flat import FlatNorm
from maxmargin.solvers.routes.route import Pair, Route, RouteError, WeightedRoute


@final
class NearestPoint(WeightedRoute):
    """For ‖θ‖ = ‖d θ‖_2: λ minimises ‖Σ λ_i a_i / d‖_2 over the simplex, θ is that point.

    Least distance programming by nonnegative least squares: Lawson & Hanson, *Solving Least Squares Problems*,
    chapter 23. An active-set method, so the support is found exactly and one triangular solve on it (the polish)
    brings θ and λ to the last digits.
    """

    name = "nnls"
    exponent = 2

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        theta, lam = nearest(A / self.weights)
        return theta / self.weights, lam


@final
@dataclass(frozen=True, eq=False)
class NearestInMetric(Route):
    """For ‖θ‖ = √(θᵀ P θ), P = Q diag(w²) Qᵀ: the same in the coordinates w Qᵀθ, where the norm is ℓ2."""

    norm: Metric
    name = "nnls"

    @classmethod
    @override
    def build(cls, flat: FlatNorm) -> Self | None:
        return cls(flat.norm) if isinstance(flat.norm, Metric) and dict(flat.shapes) == flat.norm.shapes else None

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        basis, lengths = self.norm.basis, self.norm.lengths
        theta, lam = nearest(A @ basis / lengths)
        return basis @ (theta / lengths), lam


def nearest(B: np.ndarray) -> Pair:
    """Return the point θ (p,) of least ℓ2 norm in the convex hull of the rows of B (n, p), and its λ (n,).

    Raises:
        RouteError: the numbers broke down.
    """
    rows = np.linalg.norm(B, axis=1)
    if rows.min() == 0:
        return np.zeros(B.shape[1]), np.eye(len(B))[int(rows.argmin())]
    # Column i of the least-squares matrix is (b_i, c) normalized: (b_i, c) λ ≈ (0, c) is solved by a multiple
    # of the wanted λ for every c > 0; the smallest row's length keeps both parts visible.
    c = rows.min()
    length = np.hypot(rows, c)
    E = np.vstack([B.T, np.full(len(B), c)]) / length
    f = np.zeros(E.shape[0])
    f[-1] = c
    try:
        u, _ = nnls(E, f, maxiter=20 * E.shape[1] + 200)
    except RuntimeError as error:
        raise RouteError(f"nnls: {error}") from error
    lam = u / length
    if not lam.sum() > 0:
        raise RouteError("nnls: no support")
    lam /= lam.sum()
    theta = lam @ B
    polished = _polish(B, lam)
    if polished is not None and _quality(B, *polished) < _quality(B, theta, lam):
        theta, lam = polished
    return theta, lam


def _polish(B: np.ndarray, lam: np.ndarray) -> Pair | None:
    """The least θ with ⟨b_i, θ⟩ = 1 on the support, and its multipliers; None where they are not all positive."""
    support = np.flatnonzero(lam)
    if len(support) > B.shape[1]:
        return None
    Q, R = np.linalg.qr(B[support].T)
    if not np.abs(np.diag(R)).min() > 1e-13 * np.abs(R).max():
        return None
    v = solve_triangular(R, np.ones(len(support)), trans="T")
    mu = solve_triangular(R, v)
    if not mu.min() > 0:
        return None
    polished = np.zeros(len(B))
    polished[support] = mu / mu.sum()
    return Q @ v, polished


def _quality(B: np.ndarray, theta: np.ndarray, lam: np.ndarray) -> float:
    """Upper bound minus lower bound, relative to the upper one."""
    norm, upper = np.linalg.norm(theta), np.linalg.norm(lam @ B)
    if not (norm > 0 and upper > 0):
        return np.inf
    return float(1 - (B @ theta).min() / norm / upper)
