"""The margin problem of a linear model,  max q(θ) subject to ‖θ‖ ≤ 1:  convex, so its optimum is bracketed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from maxmargin.models.errors import InputError
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.separability import Conflict, NotSeparable, certainly_separates, conflict
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.routes.saddle import Bounds, design, inner_solver, within

__all__ = ["MarginError", "MarginSolution", "NotSeparable", "solve_margin"]

REFUSE = 1e-6
"""A relative gap above this is no reference; :func:`solve_margin` says so instead of returning it."""

RUNG = "convex dual certificate"
_CLEAR = 1e-10  # a margin above this share of the largest gradient is far above rounding (1e-16 times √p)


class MarginError(InputError):
    """A margin problem that is not solved: the model is not linear, or the numbers do not allow an answer."""


@final
@dataclass(frozen=True, eq=False)
class MarginSolution:
    """The optimum of a margin problem between two bounds that (θ, λ) alone prove.

    Attributes:
        theta: The direction, ‖θ‖ = 1, block by block.
        margin: q(θ) = min_i m_i(θ), the lower bound.
        upper: ‖Σ λ_i g_i‖_*, the upper bound.
        multipliers: λ (n_margins,), λ ≥ 0, Σ λ_i = 1.
        gap: 1 − margin / upper.
        solver: Where θ and λ came from.
        rung: The rung of evidence.
    """

    theta: dict[str, np.ndarray]
    margin: float
    upper: float
    multipliers: np.ndarray
    gap: float
    solver: str
    rung: str = RUNG


def solve_margin(problem: Problem, norm: Norm, *, tol: float = 1e-9) -> MarginSolution:
    """Return the maximal margin of a linear model and its multipliers.

    Solvers are tried in turn (:data:`maxmargin.solvers.routes.saddle.ROUTES`) until the gap that we compute from their
    (θ, λ) is at most ``tol``; the smallest is kept. No solver's status is read.

    Args:
        problem: A problem whose model is linear.
        norm: Any norm with a solver: all with a cvxpy atom.
        tol: The relative gap that is wanted; the solution says which one was reached, at most 1e-6.

    Raises:
        NotSeparable: no θ has positive margins; the error carries the proof.
        MarginError: the model is not linear, or the data are so badly scaled that neither a solution with a gap
            below 1e-6 nor a proof of non-separability was found.

    Example:
        >>> from maxmargin.models.families.linear import MulticlassLinear
        >>> from maxmargin.solvers.norms import get_norm
        >>> problem = Problem.of("G2", MulticlassLinear(3, 3), np.eye(3), np.arange(3))
        >>> solution = solve_margin(problem, get_norm("linf"))
        >>> round(solution.margin, 12), round(solution.upper, 12)
        (2.0, 2.0)
    """
    A = gradients(problem)
    bounds = inner_solver(norm, problem.shapes).solve(A, within(tol), tol=tol / 20)
    if bounds.lower <= _CLEAR * float(np.abs(A).max()) * _reach(problem, norm):
        _settle(problem, norm, A, bounds)
    theta = inner_solver(norm, problem.shapes).flat.blocks(bounds.theta)
    # The bounds once more, through the problem's own margins and not through A.
    length = float(norm.value(theta))
    margin = float(problem.min_margin(theta)) / length if length > 0 else -np.inf  # 0 by underflow
    upper = float(norm.dual(problem.pullback(theta, bounds.lam)))
    gap = 1 - margin / upper if upper > 0 else np.inf
    if not gap <= REFUSE:
        raise MarginError(
            f"{problem.name} under {norm.name}: the best certified bracket is [{margin:.6g}, {upper:.6g}], a "
            f"relative gap of {gap:.1e} where {REFUSE:g} is needed; entries of the data reach from "
            f"{_least(A):.1e} to {np.abs(A).max():.1e} — rescale the features or drop near-duplicates of opposite class"
        )
    return MarginSolution(theta, margin, upper, bounds.lam, max(0.0, float(gap)), bounds.solver)


def gradients(problem: Problem) -> np.ndarray:
    """Return all g_i of a linear problem as the rows of A (n_margins, p), float64; m(θ) = A θ.

    Raises:
        MarginError: the model is not linear, so the gradients depend on θ.
    """
    if not problem.linear:
        raise MarginError(
            f"{problem.name}: the model {problem.model.name!r} is not linear in its parameters (L = "
            f"{problem.degree}), so its margin problem is not convex; use kkt_gap for a point, or solve for KKT points"
        )
    zero = {name: np.zeros(shape) for name, shape in problem.shapes.items()}
    return design(problem.jacobian(zero), problem.shapes)


def _reach(problem: Problem, norm: Norm) -> float:
    """The length scale of the unit ball: the largest |entry| that a θ of norm 1 can have, up to the shape."""
    ones = {name: np.ones(shape) for name, shape in problem.shapes.items()}
    return float(norm.dual(ones)) / max(1, sum(int(np.prod(shape)) for shape in problem.shapes.values()))


def _settle(problem: Problem, norm: Norm, A: np.ndarray, bounds: Bounds) -> None:
    """Decide a margin that rounding alone could explain.

    Raises:
        NotSeparable: with the proof.
        MarginError: neither proof was found.
    """
    found: Conflict = conflict(A)
    if found.exact:
        raise NotSeparable(problem.name, found.multipliers, found.residual, True)
    if certainly_separates(A, bounds.theta) or certainly_separates(A, found.theta):
        return  # however narrowly; whether it is solved well enough, the gap decides
    if found.proves:
        raise NotSeparable(problem.name, found.multipliers, found.residual, False)
    raise MarginError(
        f"{problem.name}: cannot tell whether it is separable. No θ with certainly positive margins was found, and "
        f"the best multipliers leave {found.residual:.1e} of Σ λ_i g_i, relative to its terms, where 0 would be the "
        "proof that there is none; rescale the data or drop near-contradictory samples"
    )


def _least(A: np.ndarray) -> float:
    sizes = np.abs(A[A != 0])
    return float(sizes.min()) if len(sizes) else 0.0
