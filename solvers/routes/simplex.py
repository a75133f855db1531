"""Polyhedral inner problems, by the simplex method (HiGHS): weighted ℓ∞ and ℓ1 of all entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import highspy
import numpy as np
from scipy import sparse
from typing_extensions import override

from maxmargin.solvers.routes.route import Pair, RouteError, WeightedRoute

_TINY = 1e-3
_TIGHT = 1e-10  # the smallest tolerance that HiGHS takes


def maximize(
    c: np.ndarray,
    rows: np.ndarray | sparse.spmatrix,
    lower: np.ndarray,
    upper: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> Pair:
    """Max c·x subject to lower ≤ rows x ≤ upper, low ≤ x ≤ high.

    Presolve is off (these problems are small and dense, it costs more than it saves), one thread.

    Returns:
        x, and the rows' multipliers (for a row at its lower bound ≥ 0).

    Raises:
        RouteError: HiGHS did not reach an optimum.
    """
    matrix = sparse.csr_matrix(rows)
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = -c, low, high
    lp.row_lower_, lp.row_upper_ = lower, upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    highs = highspy.Highs()
    options: dict[str, bool | int | float | str] = {
        "output_flag": False,
        "presolve": "off",
        "threads": 1,
        "small_matrix_value": 1e-12,  # HiGHS drops entries below; its default is 1e-9
        "primal_feasibility_tolerance": _TIGHT,
        "dual_feasibility_tolerance": _TIGHT,
    }
    for option, value in options.items():
        highs.setOptionValue(option, value)
    highs.passModel(lp)
    highs.run()
    solution = highs.getSolution()
    x, multipliers = np.array(solution.col_value), np.array(solution.row_dual)
    # The status is not believed either way: a solution "within tolerance" is judged by its recomputed bounds.
    if len(x) != len(c) or len(multipliers) != len(lower):
        raise RouteError(f"HiGHS: {highs.modelStatusToString(highs.getModelStatus())}")
    return x, multipliers


def visible(solve: Callable[[np.ndarray], Pair], A: np.ndarray) -> Pair:
    """Solve for the rows A, whose optimum t is x[-1]; where t is tiny, once more with the rows scaled to make it 1.

    HiGHS's tolerances are absolute: a margin of 1e-8 of the largest entry would drown in them.

    Returns:
        x and the multipliers of the last solve.
    """
    x, y = solve(A)
    t = float(x[-1])
    return solve(A / t) if 0 < t < _TINY else (x, y)


@final
class Box(WeightedRoute):
    """For ‖θ‖ = max d_j |θ_j|: max t subject to A θ ≥ t in a box. Its multipliers are λ."""

    name = "highs"
    exponent = np.inf

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        n, p = A.shape
        c = np.zeros(p + 1)
        c[-1] = 1.0
        high = np.append(np.ones(p), np.inf)

        def solve(B: np.ndarray) -> Pair:
            rows = np.hstack([B, -np.ones((n, 1))])
            return maximize(c, rows, np.zeros(n), np.full(n, np.inf), -high, high)

        x, lam = visible(solve, A / self.weights)
        return x[:p] / self.weights, lam


@final
class CrossPolytope(WeightedRoute):
    """For ‖θ‖ = Σ d_j |θ_j|: max t subject to A (u − v) ≥ t, Σ d (u + v) ≤ 1, u, v ≥ 0."""

    name = "highs"
    exponent = 1

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        n, p = A.shape
        c = np.zeros(2 * p + 1)
        c[-1] = 1.0
        lower = np.append(np.zeros(n), -np.inf)
        upper = np.append(np.full(n, np.inf), 1.0)
        low = np.append(np.zeros(2 * p), -np.inf)

        def solve(B: np.ndarray) -> Pair:
            rows = np.vstack([np.hstack([B, -B, -np.ones((n, 1))]), np.append(np.ones(2 * p), 0.0)])
            return maximize(c, rows, lower, upper, low, np.full(2 * p + 1, np.inf))

        x, y = visible(solve, A / self.weights)
        return (x[:p] - x[p : 2 * p]) / self.weights, y[:n]
