"""Levenberg–Marquardt for a piecewise smooth system of equations, kept near its start, and plain Newton to finish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

Array = np.ndarray
Linearize = Callable[[Array], tuple[Array, Array]]

DENSE = 400  # up to this size steps come from an SVD, which keeps all digits; above from Cholesky of JᵀJ + μI
FLOOR = 1e-14  # of |R| relative to the variables: below it nothing but rounding is left
ENOUGH = 1e-12  # relative likewise: below it only fast progress is worth another step
WILD = 1e3  # a Newton step longer than this, in variables of order 1, comes from a singular J
STALL = 12  # iterations within which |R| must fall by a tenth


@final
@dataclass(frozen=True)
class Descent:
    """Where an iteration ended.

    Attributes:
        x: The variables.
        size: |R(x)|.
        iterations: Linear systems solved.
    """

    x: Array
    size: float
    iterations: int


@np.errstate(over="ignore", invalid="ignore")  # a trial step that is too long is not finite, and refused
def levenberg(
    value: Callable[[Array], Array], linearize: Linearize, x: Array, *, span: int, cap: float, iterations: int = 100
) -> Descent:
    """Minimise |R| by steps −(JᵀJ + μI)⁻¹JᵀR with μ ∝ min(|R|, |R|²), none longer than ``cap`` in x[:span].

    Small μ near a solution gives Newton's speed; on a continuum of solutions the step is the shortest one, so the
    iteration ends near the nearest of them (Yamashita & Fukushima 2001: quadratic under an error bound).

    Args:
        value: R.
        linearize: R and an element of its generalized Jacobian.
        x: Start.
        span: The leading coordinates whose step is capped.
        cap: Longest step in them.
        iterations: At most so many linear systems.

    Returns:
        The best point met.
    """
    r, J = linearize(x)
    sizes = [float(np.linalg.norm(r))]
    factor = 1.0
    for k in range(iterations):
        size = sizes[-1]
        slow = len(sizes) > STALL and size > 0.9 * sizes[-STALL]
        scale = np.linalg.norm(x)
        enough = size <= ENOUGH * scale and size > 0.1 * sizes[max(k - 1, 0)]  # accurate, and no longer quadratic
        if not size > FLOOR * scale or enough or slow:
            return Descent(x, size, k)
        step = _damped(J, r)
        damping = factor * min(size, 10 * size**2) + 1e-16
        for _ in range(60):
            d = step(damping)
            if np.linalg.norm(d[:span]) <= cap:
                trial = float(np.linalg.norm(value(x + d)))
                promised = size - float(np.linalg.norm(r + J @ d))
                if size - trial > 1e-3 * promised:
                    break
            damping *= 4
        else:
            return Descent(x, size, k + 1)
        ratio = (size - trial) / max(promised, np.finfo(float).tiny)
        factor *= 0.2 if ratio > 0.75 else 3.0 if ratio < 0.25 else 1.0
        x = x + d
        r, J = linearize(x)
        sizes.append(float(np.linalg.norm(r)))
    return Descent(x, sizes[-1], iterations)


def newton(linearize: Linearize, x: Array, *, span: int, cap: float, iterations: int = 8) -> Descent:
    """Full Newton steps, shortest solutions of J d = −R, without asking |R| to fall at each of them.

    Between the pieces of a piecewise smooth R the length |R| has minima that are no solutions; a few undamped steps
    from there often land on the right piece, where they are exact.

    Returns:
        The best of the points passed; it stops where a step is longer than ``cap`` in x[:span].
    """
    best = Descent(x, np.inf, 0)
    for k in range(iterations + 1):
        r, J = linearize(x)
        size = float(np.linalg.norm(r))
        if size < best.size:
            best = Descent(x, size, k)
        if not np.isfinite(size) or size <= FLOOR * np.linalg.norm(x) or (k >= 4 and best.iterations == 0):
            break
        d = np.linalg.lstsq(J, -r, rcond=1e-12)[0]
        if not (np.linalg.norm(d[:span]) <= cap and np.linalg.norm(d) <= WILD):
            break
        x = x + d
    return best


def _damped(J: Array, r: Array) -> Callable[[float], Array]:
    """The step as a function of μ."""
    if len(r) <= DENSE:
        U, S, Vt = np.linalg.svd(J)
        c = U.T @ r
        return lambda damping: -Vt.T @ (S / (S * S + damping) * c)
    from scipy.linalg import cho_factor, cho_solve

    A, g = J.T @ J, J.T @ r
    least = 1e-15 * float(np.trace(A))

    def step(damping: float) -> Array:
        return -cho_solve(cho_factor(A + max(damping, least) * np.eye(len(g))), g)

    return step
