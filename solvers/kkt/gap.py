"""The KKT gap Γ(θ): how far a direction is from a KKT point of the margin problem, under any norm.

    Γ(θ) = 1 − L q(θ) / ( ‖θ‖ · min_{λ ∈ Δ} ‖Σ λ_i g_i(θ)‖_* ),      q = min_i m_i,  g_i = ∇m_i.

By Euler's identity ⟨Σ λ_i g_i, θ⟩ = L Σ λ_i m_i ≥ L q for every λ in the simplex Δ, so Γ ≥ 0, with equality iff some
λ makes both inequalities tight: Σ λ_i g_i is aligned with θ (stationarity) and λ lives on the margins that equal q
(complementarity). Γ does not change under θ → cθ. Any λ gives an upper bound of Γ, so (θ, λ) is a certificate.
For a linear model the minimum is the optimal margin, and Γ = 1 − margin / optimal margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from maxmargin.models import problems
from maxmargin.models.blocks import as_numpy, check_shapes, flatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import MarginSolution
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.solvers.routes.conic import Scs
from maxmargin.solvers.routes.saddle import ROUTES, Bounds, design, inner_solver

CERTIFIED, BOUND = "convex dual certificate", "numerical"

# SCS would spend seconds on digits that a gap, unlike a reference margin, does not need.
_ROUTES = tuple(route for route in ROUTES if route is not Scs)
_ONCE = 1e-10
_ROUNDING = 1e-7  # Γ may come out this negative by rounding; below, the model breaks Euler's identity


class KKTError(ValueError):
    """A θ at which no gap exists: zero, not finite, of the wrong shape, or a model that breaks its degree."""


@final
@dataclass(frozen=True, eq=False)
class KKTGap:
    """Γ with its certificate.

    Attributes:
        value: Γ in [0, 1], an upper bound by ``multipliers``; 1 where q ≤ 0 (θ does not separate).
        multipliers: λ (n_margins,) in the simplex.
        margin: q(θ) / ‖θ‖^L, the normalized margin.
        norm_value: ‖θ‖.
        dual_value: ‖Σ λ_i g_i(θ)‖_*.
        slack: How much smaller than ``value`` the exact Γ can be at most, by a primal point of the inner problem.
        rung: ``"convex dual certificate"`` if the slack is within the tolerance, else ``"numerical"``.
    """

    value: float
    multipliers: np.ndarray
    margin: float
    norm_value: float
    dual_value: float
    slack: float
    rung: str


@final
class GapEvaluator:
    """Γ of one problem under one norm, for many θ.

    The inner solver keeps what does not depend on θ: its cones, and for a linear problem the whole solution.

    Example:
        >>> from maxmargin.models.families.linear import MulticlassLinear
        >>> from maxmargin.solvers.norms import get_norm
        >>> problem = Problem.of("G2", MulticlassLinear(3, 3), np.eye(3), np.arange(3))
        >>> gap = GapEvaluator(problem, get_norm("linf"))
        >>> optimum = 2 * np.eye(3) - 1
        >>> round(gap({"W": optimum}).value, 9), round(gap({"W": np.eye(3)}).value, 9)
        (0.0, 0.5)
    """

    def __init__(
        self, problem: Problem, norm: Norm, *, tol: float = 1e-7, reference: MarginSolution | None = None
    ) -> None:
        """Prepare.

        Args:
            problem: Any problem.
            norm: Any norm with a solver.
            tol: The slack that is wanted; looser is faster where the inner problem is a semidefinite program.
            reference: For a linear problem, its solved margin problem; then nothing is left to solve.

        Raises:
            KKTError: a reference for a problem that is not linear.
        """
        if reference is not None and not problem.linear:
            raise KKTError(
                f"{problem.name}: a reference solution fixes the inner problem only for linear models; leave it out"
            )
        self.problem, self.norm, self.tol = problem, norm, tol
        self._solver = inner_solver(norm, problem.shapes)
        self._fixed = None if reference is None else _of_reference(reference, problem)

    def __call__(self, theta: Mapping[str, Any]) -> KKTGap:
        """Return Γ(θ) and its certificate.

        Args:
            theta: Parameters, numpy or torch; only the direction counts.

        Raises:
            KKTError: θ is zero, not finite or of the wrong shape, or the model breaks Euler's identity.
        """
        problem = self.problem
        theta, size = _unit(problem, theta, self.norm)
        margins = problem.margins(theta)
        q = float(margins.min())
        if not q > 0:
            return self._does_not_separate(theta, size, q, int(margins.argmin()))
        bounds = self._bounds(theta, problem.degree * q)
        pull = problem.degree * q
        value = 1 - pull / bounds.upper
        if value < -_ROUNDING:
            raise KKTError(
                f"{problem.name}: Γ = {value:.2e} < 0, so ⟨∇m_i, θ⟩ = {problem.degree} m_i fails; "
                f"is the model {problem.model.name!r} of degree {problem.degree}?"
            )
        slack = max(0.0, pull / max(bounds.lower, pull) - pull / bounds.upper)
        rung = CERTIFIED if slack <= max(self.tol, _ROUNDING) else BOUND
        return KKTGap(max(value, 0.0), bounds.lam, q, size, bounds.upper, slack, rung)

    def _bounds(self, theta: dict[str, np.ndarray], pull: float) -> Bounds:
        if self._fixed is not None:
            return self._fixed

        problem = self.problem
        # A linear problem's inner solution serves every θ: once, and well.
        tol = min(self.tol, _ONCE) if problem.linear else self.tol

        def done(bounds: Bounds) -> bool:
            return pull / max(bounds.lower, pull) - pull / bounds.upper <= tol and (
                not problem.linear or bounds.gap <= tol
            )

        A = design(problem.jacobian(theta), problem.shapes)
        guess = flatten(theta, problem.shapes)
        bounds = self._solver.solve(A, done, tol=tol, guess=guess, routes=_ROUTES)
        if problem.linear and bounds.gap <= self.tol:
            self._fixed = bounds
        return bounds

    def _does_not_separate(self, theta: dict[str, np.ndarray], size: float, q: float, worst: int) -> KKTGap:
        lam = np.zeros(self.problem.n_margins)
        lam[worst] = 1.0
        dual = float(self.norm.dual(self.problem.pullback(theta, lam)))
        return KKTGap(1.0, lam, q, size, dual, 0.0, CERTIFIED)


def kkt_gap(problem: Any, theta: Mapping[str, Any], norm: Norm | str) -> KKTGap:
    """Return Γ(θ) with optimal multipliers, and its certificate; see :class:`GapEvaluator` for many θ.

    Γ is in [0, 1]. It is 0 iff θ is a KKT direction, and 1.0 by definition where q(θ) ≤ 0: θ does not separate.

    Args:
        problem: A name, a ``Problem``, ``(X, y)`` for a linear model, or ``(module, X, y)``.
        theta: Parameters, numpy or torch, by block (a module's by name: ``dict(net.named_parameters())``); only the
            direction counts.
        norm: Any norm with a solver, or its name.
    """
    found = problems.of(problem)
    blocks = {name: theta[name].reshape(shape) for name, shape in found.shapes.items() if name in theta}
    return GapEvaluator(found, get_norm(norm), tol=1e-9)({**theta, **blocks})


def _unit(problem: Problem, theta: Mapping[str, Any], norm: Norm) -> tuple[dict[str, np.ndarray], float]:
    """θ / ‖θ‖ in numpy, and ‖θ‖; refused where θ is zero or not finite."""
    blocks = as_numpy(theta)
    check_shapes(blocks, problem.shapes)
    bad = [name for name, block in blocks.items() if not np.isfinite(block).all()]
    if bad:
        raise KKTError(f"block {bad[0]!r} of θ has a NaN or infinite entry; the run has diverged before this step")
    size = float(norm.value(blocks))
    if not size > 0:
        raise KKTError("θ is zero, so it has no direction; at least one entry must not be zero")
    return {name: blocks[name] / size for name in problem.shapes}, size


def _of_reference(reference: MarginSolution, problem: Problem) -> Bounds:
    theta = flatten(reference.theta, problem.shapes)
    return Bounds(theta, reference.multipliers, reference.margin, reference.upper, reference.solver)
