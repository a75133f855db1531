"""The second-order condition at a KKT point, for every norm whose projection has a derivative.

At (θ, λ) with h = Σ λ_i g_i in the normal cone of the ball C, let D = P_C'(θ + h). Then v ↦ vᵀ(D⁺ − I)v on the range of
D (∞ elsewhere) is the second subderivative of the indicator of C at θ for h: the curvature of the sphere where it has
one, zero on flat faces, ∞ off the critical directions. So θ is a strict local maximum of the margin on C if

    vᵀ (Σ λ_i ∇²m_i) v  <  vᵀ (D⁺ − I) v    for all v ≠ 0 in range(D) with ⟨g_i, v⟩ = 0 wherever λ_i > 0,

and a v with ">" shows where to look for an ascent. Directions that are only half critical (a kink of P at θ + h, a
margin that is active with λ_i = 0) are counted in, which makes the test stricter, never wrong.
Source: Rockafellar & Wets, "Variational Analysis" (1998), 13.24 and 13.42; Bonnans & Shapiro (2000), 3.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from maxmargin.models.blocks import Blocks, flatten, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.projection import Ball
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.norms.entrywise import Entrywise

Array = np.ndarray
KINK = 1e-6  # a magnitude this near its kink may lie on either side
ACTIVE = 1e-7  # multipliers above this count as positive
DEPENDENT = 1e-7  # of the gradients' length: what is left of them off the normal cone by rounding and residual
RANGE = 1e-9  # eigenvalues of D below this are zero
FLAT = 1e-7  # curvatures within this are not decided
NUDGE = 1e-5  # relative displacement that shows by how much second derivatives jump
PIECES = 8  # random nudges


@final
@dataclass(frozen=True)
class Curvature:
    """The second-order form of the margin on the critical directions.

    Attributes:
        largest: Its largest eigenvalue, in units of ‖Σ λ_i g_i‖₂/‖θ‖₂: below 0 proves a strict local maximum (of
            what is not inert), above 0 points to an ascent. −inf if there is no critical direction.
        direction: The flat eigenvector (p,) of the largest eigenvalue, or None.
        dimension: Dimension of the critical directions.
        inert: Parameters that no margin depends on near θ, in blocks with entrywise ℓ∞ norm; they are left out.
        jump: How far Σ λ_i ∇²m_i moved at the most under small nudges, in the same units: tiny where the margins are
            twice continuously differentiable, the size of the kinks where they are not (squared ReLU at z = 0).
    """

    largest: float
    direction: Array | None
    dimension: int
    inert: int
    jump: float

    @property
    def proves_maximum(self) -> bool:
        """Whether the sufficient condition holds, on every piece that the jump allows."""
        return self.largest < -FLAT - 2 * self.jump


def curvature(problem: Problem, theta: Blocks, lam: Array, norm: Norm) -> Curvature:
    """The second-order form at a KKT pair with ‖θ‖ = 1.

    Returns:
        Its largest eigenvalue on the critical directions, and what the test rests on.
    """
    ball = Ball(norm, problem.shapes)
    x = np.asarray(flatten(theta, problem.shapes))
    G = np.asarray(flatten(problem.jacobian(theta), problem.shapes))
    h = lam @ G
    h = h * (np.linalg.norm(x) / np.linalg.norm(h))
    kinks = ball.project(x + h).kinks
    # A bit at its kink is set so that the magnitude may move: unclipped (p = inf). For p = 1 the test is not offered.
    projection = ball.project(x + h, kinks > KINK if len(kinks) else None)
    D = projection.derivative(np.eye(len(x)))
    values, vectors = np.linalg.eigh((D + D.T) / 2)
    idle = _inert(problem, x, G, norm)
    open_directions = vectors[:, values > RANGE]
    curved = np.diag(1 / values[values > RANGE] - 1)
    hessian, jump = _hessians(problem, x, lam)
    scale = np.linalg.norm(x) / np.linalg.norm(lam @ G)
    H = open_directions.T @ (hessian * scale) @ open_directions
    rows = np.vstack([G[lam > ACTIVE * lam.max()] * scale, np.eye(len(x))[idle]])
    critical = _null_space(rows @ open_directions, float(np.linalg.norm(rows, axis=1).max()))
    if critical.shape[1] == 0:
        return Curvature(-math.inf, None, 0, int(idle.sum()), float(jump * scale))
    form = critical.T @ (H - curved) @ critical
    eigenvalues, eigenvectors = np.linalg.eigh((form + form.T) / 2)
    direction = open_directions @ (critical @ eigenvectors[:, -1])
    return Curvature(float(eigenvalues[-1]), direction, critical.shape[1], int(idle.sum()), float(jump * scale))


def _hessians(problem: Problem, x: Array, lam: Array) -> tuple[Array, float]:
    """Σ λ_i ∇²m_i at x, and its largest change (operator norm) under small random nudges."""
    rng = np.random.default_rng(0)
    H = problem.hessian_of(unflatten(x, problem.shapes), lam)
    jump = 0.0
    for _ in range(PIECES):
        nudge = rng.standard_normal(len(x))
        nudge *= NUDGE * np.linalg.norm(x) / np.linalg.norm(nudge)
        other = problem.hessian_of(unflatten(x + nudge, problem.shapes), lam)
        jump = max(jump, float(np.linalg.norm(other - H, 2)))
    return H, jump


def _inert(problem: Problem, x: Array, G: Array, norm: Norm) -> Array:
    """Coordinates with gradient exactly 0 at x and around it, where moving them costs no norm: bool (p,)."""
    if not math.isinf(norm.aggregation):
        return np.zeros(len(x), dtype=bool)
    free = {name: norm.block(name, shape)[0] == Entrywise(math.inf) for name, shape in problem.shapes.items()}
    idle = np.concatenate([np.full(int(np.prod(s)), free[name]) for name, s in problem.shapes.items()])
    idle &= (G == 0).all(axis=0)
    rng = np.random.default_rng(1)
    for _ in range(PIECES):
        nudge = 100 * NUDGE * np.abs(x).max() * rng.standard_normal(len(x))
        around = flatten(problem.jacobian(unflatten(x + nudge, problem.shapes)), problem.shapes)
        idle &= (around == 0).all(axis=0)
    return idle


def _null_space(rows: Array, size: float) -> Array:
    """Orthonormal columns that the rows, of which the largest has length ``size``, annihilate up to rounding."""
    _, singular, Vt = np.linalg.svd(rows, full_matrices=True)
    return Vt[int((singular > DEPENDENT * size).sum()) :].T
