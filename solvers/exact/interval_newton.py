"""Krawczyk's test: that a square polynomial system has exactly one zero in a box, in ball arithmetic.

Source: Krawczyk 1969; Rump, Verification methods, Acta Numerica 19 (2010), section 13. Balls are Arb's (python-flint),
so every rounding is accounted for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from flint import arb, arb_mat, fmpq

from maxmargin.solvers.exact.polynomials import Polynomial, as_float
from maxmargin.solvers.norms.exact.balls import precision

BITS = 160  # the systems are evaluated with three times a float's digits; the boxes stay near 1e-15 wide
_SINGULAR = 1e-11  # below this ratio of singular values a float inverse says nothing about the true one
_NEWTONS = 30


@final
@dataclass(frozen=True, eq=False)
class Zero:
    """Outcome of the test.

    Attributes:
        box: One ball an unknown holding exactly one zero of the system, or None.
        center: The float point to which Newton's method went.
        null: Where the Jacobian is numerically singular: its null space, one row a direction; else empty.
        reason: Why there is no box.
    """

    box: list[arb] | None
    center: np.ndarray
    null: np.ndarray
    reason: str


def enclose_zero(
    equations: Sequence[Polynomial], unknowns: Sequence[int], point: Sequence[fmpq], start: Sequence[float]
) -> Zero:
    """Prove that the equations have one zero near a point, and enclose it.

    Newton's method in floats goes from ``start`` to a center x; with C a float inverse of the Jacobian there, if
    K(X) = x − C F(x) + (I − C F'(X))(X − x) lies inside the box X, then X holds exactly one zero, and it is in K(X).

    Args:
        equations: As many as there are unknowns.
        unknowns: The numbers of the variables to solve for.
        point: A value for every variable; those that are no unknowns keep it, exactly.
        start: Where to begin, one float an unknown.

    Returns:
        The box, or why there is none.
    """
    x = np.asarray(start, dtype=float)
    system = _System(equations, unknowns, point)
    with np.errstate(all="ignore"):
        for _ in range(_NEWTONS):
            F, J = system.floats(x)
            sigma = np.linalg.svd(J, compute_uv=False) if np.isfinite(J).all() else np.zeros(1)
            if not sigma[-1] > _SINGULAR * sigma[0]:
                return Zero(None, x, _null_space(J), "the Jacobian is singular")
            step = np.linalg.solve(J, F)
            x = x - step
            if np.abs(step).max(initial=0.0) <= 1e-15 * max(1.0, float(np.abs(x).max(initial=0.0))):
                break
    if not np.isfinite(x).all():
        return Zero(None, x, np.empty((0, len(x))), "Newton's method diverges")
    inverse = np.linalg.inv(system.floats(x)[1])
    with precision(BITS):
        box = system.krawczyk(x, inverse)
    reason = "" if box is not None else "Krawczyk's operator does not map any box around the point into itself"
    return Zero(box, x, np.empty((0, len(x))), reason)


@final
class _System:
    """F and F' at floats and at balls, the variables that are no unknowns held at exact values."""

    def __init__(self, equations: Sequence[Polynomial], unknowns: Sequence[int], point: Sequence[fmpq]) -> None:
        self.equations, self.unknowns, self.point = equations, unknowns, point
        column = {variable: j for j, variable in enumerate(unknowns)}
        self.entries = [
            (i, column[variable], derivative)
            for i, equation in enumerate(equations)
            for variable, derivative in equation.gradient.items()
            if variable in column
        ]

    def floats(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = [as_float(q) for q in self.point]
        for variable, value in zip(self.unknowns, x, strict=True):
            at[variable] = float(value)
        F = np.array([equation.number(at) for equation in self.equations])
        J = np.zeros((len(self.equations), len(self.unknowns)))
        for i, j, derivative in self.entries:
            J[i, j] = derivative.number(at)
        return F, J

    def balls(self, box: Sequence[arb]) -> list[arb]:
        at = [arb(q) for q in self.point]
        for variable, ball in zip(self.unknowns, box, strict=True):
            at[variable] = ball
        return at

    def krawczyk(self, x: np.ndarray, inverse: np.ndarray) -> list[arb] | None:
        n = len(x)
        center = arb_mat(n, 1, [arb(float(v)) for v in x])
        C = arb_mat(n, n, [arb(float(v)) for v in inverse.ravel()])
        at = self.balls(center.entries())
        step = C * arb_mat(n, 1, [equation.value(at, arb) for equation in self.equations])
        sizes = [
            4 * float(abs(s).upper()) + 1e-15 * max(1.0, abs(float(v))) for s, v in zip(step.entries(), x, strict=True)
        ]
        for grow in (1.0, 16.0, 256.0, 4096.0):
            spread = arb_mat(n, 1, [arb(0, grow * size) for size in sizes])
            box = center + spread
            at = self.balls(box.entries())
            J = [arb(0)] * (n * n)
            for i, j, derivative in self.entries:
                J[i * n + j] = derivative.value(at, arb)
            identity = arb_mat(n, n, [int(i == j) for i in range(n) for j in range(n)])
            image = center - step + (identity - C * arb_mat(n, n, J)) * spread
            if all(ball.contains_interior(part) for ball, part in zip(box.entries(), image.entries(), strict=True)):
                return image.entries()
        return None


def positive(value: arb) -> bool:
    """Whether every number in the ball is positive."""
    return bool(value > 0)


def positive_definite(matrix: Sequence[Sequence[arb]]) -> bool:
    """Whether every symmetric matrix in the balls is positive definite, by Cholesky's pivots."""
    A = [list(row) for row in matrix]
    n = len(A)
    for k in range(n):
        if not positive(A[k][k]):
            return False
        for i in range(k + 1, n):
            ratio = A[i][k] / A[k][k]
            for j in range(k + 1, i + 1):
                A[i][j] = A[i][j] - ratio * A[j][k]
                A[j][i] = A[i][j]
    return True


def _null_space(J: np.ndarray) -> np.ndarray:
    if not np.isfinite(J).all():
        return np.empty((0, J.shape[1]))
    _, sigma, Vt = np.linalg.svd(J)
    rank = int((sigma > _SINGULAR * max(sigma[0], 1e-300)).sum()) if len(sigma) else 0
    return Vt[rank:]
