"""The convex inner problem  max over ‖θ‖ ≤ 1, min over λ in the simplex, of λᵀ A θ:  both bounds, recomputed.

Its value is the optimal margin of a linear problem (A = all gradients), and the denominator of the KKT gap of any
other (A = the gradients at θ). Whatever a solver returns, the bounds are

    lower = min_i ⟨a_i, θ⟩ / ‖θ‖   ≤   value   ≤   upper = ‖Σ λ_i a_i‖_*,   λ ≥ 0, Σ λ_i = 1,

from θ and λ alone with the norm's own code; θ and λ may come from different solvers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from maxmargin.solvers.norms import Norm, NormError
from maxmargin.solvers.routes.conic import Clarabel, ClarabelOther, Polyhedral, Scs
from maxmargin.solvers.routes.flat import FlatNorm
from maxmargin.solvers.routes.nnls import NearestInMetric, NearestPoint
from maxmargin.solvers.routes.route import Route, RouteError
from maxmargin.solvers.routes.simplex import Box, CrossPolytope

ROUTES: tuple[type[Route], ...] = (
    NearestInMetric,
    NearestPoint,
    Box,
    CrossPolytope,
    Polyhedral,
    Clarabel,
    ClarabelOther,
    Scs,
)
"""In the order in which they are tried: dedicated before general, fast before precise."""

_WORKING = 400  # more margins than this, and only those that matter are handed to a solver
_ROUNDS = 25
_NOTHING = 1e-15  # of the largest entry: the rows cancel as nearly as floats can


@final
@dataclass(frozen=True)
class Bounds:
    """A pair (θ, λ) with what it proves.

    Attributes:
        theta: (p,), ‖θ‖ = 1, or 0 where no direction was found.
        lam: (n,), in the simplex.
        lower: min_i ⟨a_i, θ⟩.
        upper: ‖Σ λ_i a_i‖_*.
        solver: The routes that the best θ and λ came from.
    """

    theta: np.ndarray
    lam: np.ndarray
    lower: float
    upper: float
    solver: str

    @property
    def gap(self) -> float:
        """1 − lower / upper; 0 if both are 0 (the bounds agree that the value is 0)."""
        if self.upper > 0:
            return 1 - self.lower / self.upper
        return 0.0 if self.lower >= 0 else math.inf


Done = Callable[[Bounds], bool]


def within(tol: float) -> Done:
    """The predicate that stops once the relative gap is at most ``tol``."""
    return lambda bounds: bounds.gap <= tol


@final
class InnerSolver:
    """Solves the inner problem for one norm and one set of shapes, as often as needed.

    Which routes serve the norm is found out once; so are their cones (see :mod:`maxmargin.solvers.routes.conic`).
    """

    def __init__(self, norm: Norm, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.flat = FlatNorm.of(norm, shapes)
        self._routes: dict[type[Route], Route | None] = {}

    def solve(
        self,
        A: np.ndarray,
        done: Done,
        *,
        tol: float = 1e-9,
        guess: np.ndarray | None = None,
        routes: Sequence[type[Route]] = ROUTES,
    ) -> Bounds:
        """The best bounds that the routes reach, tried in turn until ``done``.

        Args:
            A: Rows a_i, (n, p).
            done: Whether the bounds are good enough.
            tol: The relative gap that the routes are asked for.
            guess: A θ (p,) to start with; its lower bound counts.
            routes: The routes to try.

        Returns:
            The best θ and the best λ seen.

        Raises:
            NormError: no route serves this norm.
        """
        best = _Best(self.flat, A)
        if guess is not None:
            best.offer(guess, None, "guess")
        size = float(np.abs(A).max(initial=0.0))
        if size == 0:
            return best.offer(None, np.full(len(A), 1 / len(A)), "zero gradients")
        served = False
        for cls in routes:
            route = self._route(cls)
            if route is None:
                continue
            served = True
            try:
                bounds = self._run(route, A / size, tol, best)
            except RouteError:
                continue
            if done(bounds) or bounds.upper <= _NOTHING * size:
                break
        if not served:
            raise NormError(
                f"norm {self.flat.norm.name!r}: no solver serves it, since it has no cvxpy form; "
                "choose one of the norms with an atom"
            )
        return best.bounds()

    def _route(self, cls: type[Route]) -> Route | None:
        if cls not in self._routes:
            self._routes[cls] = cls.build(self.flat)
        return self._routes[cls]

    def _run(self, route: Route, A: np.ndarray, tol: float, best: _Best) -> Bounds:
        if len(A) <= _WORKING:
            theta, lam = route.solve(A, tol)
            return best.offer(theta, lam, route.name)
        # Constraint generation: a λ on some margins is a λ (a valid upper bound); θ is judged on all of them, and
        # the margins that it violates join, until none does.
        first = best.theta if best.theta.any() else A.mean(axis=0)
        working = np.argsort(A @ first)[: _WORKING // 2]
        for _ in range(_ROUNDS):
            theta, part = route.solve(A[working], tol)
            lam = np.zeros(len(A))
            lam[working] = part
            bounds = best.offer(theta, lam, route.name)
            margins = A @ theta
            worse = np.setdiff1d(np.flatnonzero(margins < margins[working].min()), working)
            if not len(worse) or bounds.gap <= tol:
                return bounds
            worse = worse[np.argsort(margins[worse])][: _WORKING // 2]
            working = np.concatenate([working, worse])
        return best.bounds()


@final
class _Best:
    """The best θ and the best λ so far."""

    def __init__(self, flat: FlatNorm, A: np.ndarray) -> None:
        self._flat, self._A = flat, A
        self.theta, self._lam = np.zeros(A.shape[1]), np.full(len(A), 1 / len(A))
        self._lower, self._upper = 0.0, flat.dual(self._lam @ A)
        self._names = ["none", "none"]

    def offer(self, theta: np.ndarray | None, lam: np.ndarray | None, name: str) -> Bounds:
        if theta is not None and np.isfinite(theta).all() and (norm := self._flat.value(theta)) > 0:
            unit = theta / norm
            lower = float((self._A @ unit).min())
            # θ = 0 has the bound 0: a direction with a negative margin is kept only for want of a better one.
            if lower > self._lower or not self.theta.any():
                self.theta, self._lower, self._names[0] = unit, lower, name
        if lam is not None and np.isfinite(lam).all():
            lam = np.maximum(lam, 0.0)
            if (total := lam.sum()) > 0:
                lam = lam / total
                upper = self._flat.dual(lam @ self._A)
                if upper < self._upper or self._names[1] == "none":
                    self._lam, self._upper, self._names[1] = lam, upper, name
        return self.bounds()

    def bounds(self) -> Bounds:
        return Bounds(self.theta, self._lam, self._lower, self._upper, "+".join(dict.fromkeys(self._names)))


@lru_cache(maxsize=64)
def _cached(flat: FlatNorm) -> InnerSolver:
    return InnerSolver(flat.norm, dict(flat.shapes))


def inner_solver(norm: Norm, shapes: Mapping[str, tuple[int, ...]]) -> InnerSolver:
    """The solver for a norm and shapes, kept from call to call."""
    return _cached(FlatNorm.of(norm, shapes))


def design(jacobian: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """All gradients as the rows of one matrix (n_margins, p), blocks in order, each row-major."""
    from maxmargin.models.blocks import as_numpy, flatten

    return np.ascontiguousarray(flatten(as_numpy(jacobian), shapes))
