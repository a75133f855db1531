"""How far apart two norms' optimal points are on a linear problem: what a negative control can hope to see."""

from __future__ import annotations

import cvxpy as cp
import numpy as np

from maxmargin.models.blocks import flatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import MarginSolution, solve_margin
from maxmargin.solvers.norms import Norm

SLACK = 1e-5  # relative; the optimal face is taken this much thicker, so that it has an interior to search


def apart(
    problem: Problem,
    optimal_for: Norm,
    measured_in: Norm,
    *,
    reference: MarginSolution | None = None,
    other: MarginSolution | None = None,
) -> float:
    """The smallest KKT gap under ``measured_in`` among the points that are optimal for ``optimal_for``.

    Optima under ℓ∞ or the spectral norm are often a face; a trajectory may end anywhere on it, so the best of its
    points counts: min ‖θ‖ over the face, a convex program. Zero means that a run which is optimal for one norm may
    be optimal for the other too, and the problem cannot tell them apart.

    Args:
        problem: A linear problem.
        optimal_for: The norm whose optimal face is searched.
        measured_in: The norm of the gap.
        reference: Solution under ``optimal_for``, if known.
        other: Solution under ``measured_in``, if known.

    Returns:
        The gap, in [0, 1].

    Raises:
        ValueError: for a nonlinear problem.
    """
    if not problem.linear:
        raise ValueError(f"{problem.name} is not linear; its optimal points form no convex face")
    reference = reference or solve_margin(problem, optimal_for)
    other = other or solve_margin(problem, measured_in)
    zero = {k: np.zeros(s) for k, s in problem.shapes.items()}
    jacobian = problem.jacobian(zero)
    variables = {k: cp.Variable(s) for k, s in problem.shapes.items()}
    rows = flatten(jacobian, problem.shapes)
    scale = np.abs(rows).max()
    x = cp.hstack([cp.vec(v, order="C") for v in variables.values()])
    # In units of the reference: ‖θ‖ ≤ 1 and every margin at least γ, both within the slack.
    face = [
        (rows / scale) @ x >= reference.margin / scale * (1 - SLACK),
        optimal_for.atom(variables) <= 1 + SLACK,
    ]
    program = cp.Problem(cp.Minimize(measured_in.atom(variables)), face)
    program.solve(solver=cp.CLARABEL)
    if program.value is None:
        return float("nan")
    return float(np.clip(1.0 - reference.margin * (1 - SLACK) / (program.value * other.upper), 0.0, 1.0))
