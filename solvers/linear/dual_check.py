"""The optimal margin obtained another way, to be compared with :func:`maxmargin.solvers.linear.optimum.solve_margin`.

Nothing is shared with it but the norm's own atoms: the dual problem  min over λ in the simplex of ‖Σ λ_i g_i‖_*  is
modelled in cvxpy with the dual norm's atom, and cvxpy chooses the cones.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, final

from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import MarginError, gradients
from maxmargin.solvers.norms import Norm, NormError
from maxmargin.solvers.norms.atoms import reshaped

SECONDS = 20.0
"""What ``solve --certify`` waits for the second route."""


@final
@dataclass(frozen=True)
class SecondRoute:
    """The optimal margin once more, by a computation that shares nothing with the first.

    Attributes:
        margin: The dual problem's optimal value; None where it was not found.
        difference: |margin / first − 1|; None likewise.
        refused: Why there is none; None where there is one.
    """

    margin: float | None
    difference: float | None
    refused: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return dict(vars(self))

    def text(self) -> str:
        """One line for the table."""
        if self.refused is not None:
            return f"second route: none ({self.refused})"
        return f"second route: the dual problem, modelled and solved by cvxpy, agrees to {self.difference:.1e}"


def second_route(problem: Problem, norm: Norm, margin: float) -> SecondRoute:
    """Return a margin beside the dual problem's value, found within 20 s, or why there is none.

    Args:
        problem: A linear problem.
        norm: The norm.
        margin: The margin found by the first route.
    """
    from cvxpy import SolverError

    try:
        value = margin_by_duality(problem, norm, time_limit=SECONDS)
    except (MarginError, NormError, SolverError) as error:
        return SecondRoute(None, None, str(error))
    return SecondRoute(value, abs(value / margin - 1))


def margin_by_duality(problem: Problem, norm: Norm, **settings: float) -> float:
    """The optimal margin of a linear problem as the optimal value of the dual problem.

    Args:
        problem: A linear problem.
        norm: A norm whose dual has a cvxpy atom.
        settings: Clarabel's own, such as its ``time_limit`` in seconds.

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
        value = dual.solve(solver="CLARABEL", **settings)
    if value is None or not math.isfinite(value) or dual.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise MarginError(
            f"{problem.name} under {norm.name}: CLARABEL gave {value} for the dual problem ({dual.status})"
        )
    return float(value)
