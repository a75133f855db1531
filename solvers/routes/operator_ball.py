"""Routes through the interior-point method: spectral, hybrid and their like, and their duals (nuclear, …)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from maxmargin.solvers.routes.flat import FlatNorm
from maxmargin.solvers.routes.interior import Program, follow
from maxmargin.solvers.routes.max_norms import Compression, MaxLayout
from maxmargin.solvers.routes.operator_cone import Layout
from maxmargin.solvers.routes.route import Pair, Route, RouteError

_LARGEST = 1500  # a Cholesky factor of this order a step takes some 0.2 s
_PATIENCE = 4  # iterates without a better bound before the digits count as spent


def add_blocks(M: np.ndarray, H: list[np.ndarray], h: np.ndarray) -> None:
    """M += diag(H…, h) on the leading rows and columns."""
    start = 0
    for block in H:
        stop = start + len(block)
        M[start:stop, start:stop] += block
        start = stop
    box = np.arange(start, start + len(h))
    M[box, box] += h


@final
class MaxProgram(Program):
    """x = (y, t): max t subject to A y − t ≥ 0, y in the ball. The rows' multipliers are λ."""

    def __init__(self, A: np.ndarray, layout: Layout) -> None:
        self.layout = layout
        self.G = np.hstack([A, -np.ones((len(A), 1))])
        self.c = np.append(np.zeros(layout.size), 1.0)

    @override
    def start(self) -> tuple[np.ndarray, float]:
        matrices, box = self.layout.split(self.G[:, :-1].mean(axis=0))
        mu = max([float(np.linalg.norm(Z)) for Z in matrices] + [float(np.abs(box).max(initial=0.0))])
        mu = max(mu, 1e-3)  # gradients that nearly cancel; rows have length 1 at most
        return np.append(np.zeros(self.layout.size), -mu * len(self.G)), mu

    @override
    def image(self, x: np.ndarray) -> np.ndarray:
        return x[:-1]

    @override
    def image_adjoint(self, y: np.ndarray) -> np.ndarray:
        return np.append(y, 0.0)

    @override
    def rows(self, x: np.ndarray) -> np.ndarray:
        return self.G @ x

    @override
    def rows_adjoint(self, s: np.ndarray) -> np.ndarray:
        return s @ self.G

    @override
    def curvature(self, H: list[np.ndarray], h: np.ndarray, d: np.ndarray) -> np.ndarray:
        M = (self.G.T * d) @ self.G
        add_blocks(M, H, h)
        return M


@final
class PolarProgram(Program):
    """x = λ ≥ 0: max Σ λ subject to Aᵀ λ in the ball. The ball's multiplier is θ."""

    def __init__(self, A: np.ndarray, layout: Layout) -> None:
        self.layout = layout
        self.A = A
        self.c = np.ones(len(A))

    @override
    def start(self) -> tuple[np.ndarray, float]:
        matrices, box = self.layout.split(self.A.mean(axis=0))
        size = max([float(np.linalg.norm(Z)) for Z in matrices] + [float(np.abs(box).max(initial=0.0))])
        x = np.full(len(self.A), 0.5 / max(size, 1e-3) / len(self.A))
        return x, float(x.sum())

    @override
    def image(self, x: np.ndarray) -> np.ndarray:
        return x @ self.A

    @override
    def image_adjoint(self, y: np.ndarray) -> np.ndarray:
        return self.A @ y

    @override
    def rows(self, x: np.ndarray) -> np.ndarray:
        return x

    @override
    def rows_adjoint(self, s: np.ndarray) -> np.ndarray:
        return s

    @override
    def curvature(self, H: list[np.ndarray], h: np.ndarray, d: np.ndarray) -> np.ndarray:
        inner = np.zeros((self.layout.size, self.layout.size))
        add_blocks(inner, H, h)
        M = self.A @ inner @ self.A.T
        M[np.diag_indices(len(M))] += d
        return M


@final
@dataclass(frozen=True, eq=False)
class OperatorBall(Route):
    """Norms that are a maximum of operator norms and |entries| (spectral, hybrid, weighted, vectors as rows)."""

    flat: FlatNorm
    ball: MaxLayout
    name = "interior"

    @classmethod
    @override
    def build(cls, flat: FlatNorm) -> OperatorBall | None:
        ball = MaxLayout.of(flat.norm, flat.shapes)
        return None if ball is None else cls(flat, ball)

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        small = Compression(_normalized(self.ball.columns(A)), self.ball.layout)
        _bounded(small.layout.size + 1, self.name)
        best = _Best(self.flat, A, tol)
        for iterate in follow(MaxProgram(small.B, small.layout)):
            if iterate.complementarity > 10 * tol * abs(iterate.x[-1]):
                continue
            theta = np.empty(A.shape[1])
            theta[self.ball.order] = self.ball.radius * small.expand(iterate.x[:-1])
            if best.offer(theta, iterate.rows):
                break
        return best.pair()


@final
@dataclass(frozen=True, eq=False)
class OperatorPolar(Route):
    """Norms whose dual is such a maximum: nuclear, sums of nuclear norms and ℓ1."""

    flat: FlatNorm
    ball: MaxLayout
    name = "interior"

    @classmethod
    @override
    def build(cls, flat: FlatNorm) -> OperatorPolar | None:
        ball = MaxLayout.of(flat.norm.dual_norm, flat.shapes)
        return None if ball is None else cls(flat, ball)

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        _bounded(len(A), self.name)
        # ‖Aᵀλ‖_* ≤ 1 is y in the ball with y = Aᵀλ / radius.
        small = Compression(_normalized(A[:, self.ball.order] / self.ball.radius), self.ball.layout)
        _bounded(small.layout.size, self.name)
        best = _Best(self.flat, A, tol)
        for iterate in follow(PolarProgram(small.B, small.layout)):
            if iterate.complementarity > 10 * tol * iterate.x.sum():
                continue
            theta = np.empty(A.shape[1])
            theta[self.ball.order] = small.expand(iterate.ball) / self.ball.radius
            if best.offer(theta, iterate.x):
                break
        return best.pair()


@final
class _Best:
    """The best θ and the best λ so far, by their own bounds; tells when to stop."""

    def __init__(self, flat: FlatNorm, A: np.ndarray, tol: float) -> None:
        self.flat, self.A, self.tol = flat, A, tol
        self.theta = self.lam = np.empty(0)
        self.lower, self.upper, self.stale = -math.inf, math.inf, 0

    def offer(self, theta: np.ndarray, lam: np.ndarray) -> bool:
        lower = float((self.A @ theta).min() / self.flat.value(theta))
        upper = self.flat.dual(lam @ self.A) / float(lam.sum())
        self.stale += 1
        if lower > self.lower:
            self.lower, self.theta, self.stale = lower, theta, 0
        if upper < self.upper:
            self.upper, self.lam, self.stale = upper, lam, 0
        return self.upper - self.lower <= self.tol * self.upper or self.stale >= _PATIENCE

    def pair(self) -> Pair:
        if not (len(self.theta) and len(self.lam)):
            raise RouteError("interior: broke down before the bounds came near")
        return self.theta, self.lam


def _normalized(B: np.ndarray) -> np.ndarray:
    scale = float(np.linalg.norm(B, axis=1).max())
    if not scale > 0:
        raise RouteError("interior: all gradients are zero")
    return B / scale


def _bounded(order: int, name: str) -> None:
    if order > _LARGEST:
        raise RouteError(f"{name}: a system of order {order}; this route takes at most {_LARGEST}")
