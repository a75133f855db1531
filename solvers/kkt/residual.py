"""The natural residual: one equation R(θ, λ) = 0 that holds iff θ is a KKT direction with multipliers λ.

``R(θ, λ) = ( θ − P_ball(θ + τ Σ λ_i g_i(θ)/s),  λ − P_Δ(λ − ρ m(θ)/q) )`` for any positive τ, s, ρ, q. The first part
says that Σ λ_i g_i lies in the normal cone of the ball at θ, the second that λ sits on the smallest margins.
With q(θ) > 0 the ball's part puts θ on the sphere, because ⟨Σ λ_i g_i, θ⟩ = L Σ λ_i m_i > 0.
Source: Facchinei & Pang, "Finite-Dimensional Variational Inequalities and Complementarity Problems" (2003), 1.5.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from maxmargin.models.blocks import Blocks, as_numpy, flatten, scale, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.projection import Ball
from maxmargin.solvers.norms import Norm

Array = np.ndarray


def project_simplex(z: Array) -> Array:
    """The nearest point of Δ = {λ ≥ 0, Σ λ = 1}, by sorting (Held, Wolfe & Crowder 1974).

    Returns:
        The point, (n,); NaN where z is not finite.

    Example:
        >>> project_simplex(np.array([0.9, 0.5, -1.0]))
        array([0.7, 0.3, 0. ])
    """
    if not np.isfinite(z).all():
        return np.full_like(z, np.nan)
    z = z - z.max()  # the same point, and 1 is not lost beside large entries
    sorted_down = np.sort(z)[::-1]
    excess = (np.cumsum(sorted_down) - 1) / np.arange(1, len(z) + 1)
    return np.maximum(z - excess[np.nonzero(sorted_down > excess)[0][-1]], 0.0)


def natural_residual(problem: Problem, norm: Norm, theta: Blocks, lam: Array) -> float:
    """How far (θ, λ) is from a KKT pair; scale-free, computed from θ and λ alone.

    With θ̂ = θ/‖θ‖, h = Σ λ_i g_i(θ̂), s = ‖h‖₂/‖θ̂‖₂ and q̂ = min_i m_i(θ̂) it is the Euclidean length of

    ``( (θ̂ − P_ball(θ̂ + h/s)) / ‖θ̂‖₂,  λ − P_Δ(λ − m(θ̂)/q̂) )``.

    It does not change when θ or the data are scaled. The projection is the norm's own ``project``; nothing of the
    solver is used.

    Args:
        problem: The problem.
        norm: The norm of the whole parameter.
        theta: Parameters, of any length.
        lam: One multiplier a margin, (n_margins,).

    Returns:
        The residual; inf where it is undefined (θ = 0, q ≤ 0, h = 0, or numbers that are not finite).
    """
    blocks = as_numpy(theta)
    lam = np.asarray(lam, dtype=np.float64)
    length = float(norm.value(blocks))
    if not (np.isfinite(length) and length > 0 and np.isfinite(lam).all()):
        return np.inf
    blocks = scale(blocks, 1 / length)
    margins = problem.margins(blocks)
    point = flatten(blocks, problem.shapes)
    h = flatten(problem.pullback(blocks, lam), problem.shapes)
    size, pull = np.linalg.norm(point), np.linalg.norm(h)
    if not (margins.min() > 0 and np.isfinite(pull) and pull > 0):
        return np.inf
    nearest = flatten(norm.project(unflatten(point + h * (size / pull), problem.shapes)), problem.shapes)
    stationarity = (point - nearest) / size
    complementarity = lam - project_simplex(lam - margins / margins.min())
    return float(np.hypot(np.linalg.norm(stationarity), np.linalg.norm(complementarity)))


@final
@dataclass(frozen=True)
class Pattern:
    """Which piece of R: the ball's bits (:mod:`~maxmargin.solvers.kkt.projection`), and which λ may be nonzero."""

    ball: Array
    active: Array


@final
@dataclass(frozen=True)
class ResidualMap:
    """R on x = (θ, λ) ∈ R^{p+n}, with its generalized Jacobian. τ/s and ρ/q are held, so that R is piecewise smooth.

    Attributes:
        problem: The problem.
        ball: The norm's unit ball.
        step: τ/s, the multiple of Σ λ_i g_i that is added to θ.
        rate: ρ/q, the multiple of the margins that is taken from λ.
        pattern: The piece whose formula is used everywhere; None for the true, piecewise R.
    """

    problem: Problem
    ball: Ball
    step: float
    rate: float
    pattern: Pattern | None = None

    @classmethod
    def at(
        cls, problem: Problem, norm: Norm, theta: Blocks, lam: Array, *, tau: float = 1.0, rho: float = 1.0
    ) -> ResidualMap:
        """The map with s = ‖Σ λ_i g_i(θ)‖₂ / ‖θ‖₂ and q = q(θ), as they are at this θ and λ."""
        ball = Ball(norm, problem.shapes)
        h = np.linalg.norm(flatten(problem.pullback(theta, lam), problem.shapes))
        size = np.linalg.norm(flatten(theta, problem.shapes))
        return cls(problem, ball, float(tau * size / h), float(rho / problem.min_margin(theta)))

    @property
    def parameters(self) -> int:
        """p, where θ ends and λ begins in x."""
        return sum(int(np.prod(shape)) for shape in self.problem.shapes.values())

    def split(self, x: Array) -> tuple[dict[str, Array], Array]:
        """θ as blocks, and λ."""
        return unflatten(x[: self.parameters], self.problem.shapes), x[self.parameters :]

    def join(self, theta: Blocks, lam: Array) -> Array:
        """The vector x of θ and λ."""
        return np.concatenate([flatten(theta, self.problem.shapes), lam])

    def value(self, x: Array) -> Array:
        """R(x), (p + n,)."""
        theta, lam = self.split(x)
        h = flatten(self.problem.pullback(theta, lam), self.problem.shapes)
        z = x[: self.parameters] + self.step * h
        projection = self.ball.project(z, None if self.pattern is None else self.pattern.ball)
        weights, _ = self._weights(lam - self.rate * self.problem.margins(theta))
        return x - np.concatenate([projection.point, weights])

    def linearize(self, x: Array) -> tuple[Array, Array]:
        """R(x), and an element of its generalized Jacobian, (p + n, p + n)."""
        theta, lam = self.split(x)
        p, shapes = self.parameters, self.problem.shapes
        G = flatten(self.problem.jacobian(theta), shapes)
        H = self.problem.hessian_of(theta, lam)
        projection = self.ball.project(
            x[:p] + self.step * (lam @ G), None if self.pattern is None else self.pattern.ball
        )
        weights, active = self._weights(lam - self.rate * self.problem.margins(theta))
        share = np.diag(active * 1.0) - np.outer(active, active) / active.sum()  # derivative of P_Δ on its piece
        J = np.eye(len(x))
        J[:p] -= projection.derivative(np.hstack([np.eye(p) + self.step * H, self.step * G.T]))
        J[p:, :p] = self.rate * share @ G
        J[p:, p:] -= share
        return x - np.concatenate([projection.point, weights]), J

    def kinks(self, x: Array) -> tuple[Array, Array]:
        """Signed distances of x from the kinks of the two projections: of the ball's bits, and of each λ_i."""
        theta, lam = self.split(x)
        h = flatten(self.problem.pullback(theta, lam), self.problem.shapes)
        projection = self.ball.project(x[: self.parameters] + self.step * h)
        z = lam - self.rate * self.problem.margins(theta)
        weights = project_simplex(z)
        threshold = (z[weights > 0].sum() - 1) / (weights > 0).sum()
        return projection.kinks, z - threshold

    def _weights(self, z: Array) -> tuple[Array, Array]:
        """P_Δ(z) and its support; on a given pattern the affine formula of that piece."""
        if self.pattern is None:
            weights = project_simplex(z)
            return weights, weights > 0
        active = self.pattern.active
        return np.where(active, z - (z[active].sum() - 1) / active.sum(), 0.0), active
