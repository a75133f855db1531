"""The optimal margin obtained another way, to be compared with :func:`maxmargin.solvers.linear.optimum.solve_margin`.

Nothing is shared with it but the norm's own atoms: the dual problem  min over λ in the simplex of ‖Σ λ_i g_i‖_*  is
modelled in cvxpy with the dual norm's atom, and cvxpy chooses the cones.
"""

from __future__ import annotations

import math
import warnings

from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import MarginError, gradients
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.norms.atoms import reshaped


def margin_by_duality(problem: Problem, norm: Norm, solver: str = "CLARABEL") -> float:
    """The optimal margin of a linear problem as the optimal value of the dual problem.

    Args:
        problem: A linear problem.
        norm: A norm whose dual has a cvxpy atom.
        solver: cvxpy's name of a solver that can handle the dual norm's cones.

    Returns:
        The value, to the solver's tolerance (not certified: this is a comparison, not a reference).

    Raises:
        MarginError: the solver gave no value.

    Example:
        >>> import numpy as np
        >>> from maxmargin.models.families.linear import MulticlassLinear
        >>> from maxmargin.solvers.norms import get_norm
        >>> problem = Problem.of("G2", MulticlassLinear(3, 3), np.eye(3), np.arange(3))
        >>> round(margin_by_duality(problem, get_norm("nuclear")), 6)
        0.5
    """
    import cvxpy as cp

    A = gradients(problem)
    lam = cp.Variable(len(A), nonneg=True)
    combined = reshaped(A.T @ lam, problem.shapes)
    dual = cp.Problem(cp.Minimize(norm.dual_norm.atom(combined)), [cp.sum(lam) == 1])
    with warnings.catch_warnings():
        # An "inaccurate" status is no reason to stop: the value is compared, not trusted.
        warnings.simplefilter("ignore", UserWarning)
        value = dual.solve(solver=solver)
    if value is None or not math.isfinite(value):
        raise MarginError(f"{problem.name} under {norm.name}: {solver} gave {value} for the dual problem")
    return float(value)
