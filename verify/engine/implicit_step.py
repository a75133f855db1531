"""One implicit step of steepest descent: minimize f(θ + v) over ‖v‖ ≤ h.

Its optimality condition is v ∈ h · lmo(∇f(θ + v)): the implicit Euler step of dθ/dN ∈ lmo(∇f(θ)), with the selection
from a set-valued lmo that lets a path slide along a kink (De Giorgi's minimizing movements). For a linear model with
f the log of the exponential loss the problem is convex.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from maxmargin.models.blocks import flatten, unflatten
from maxmargin.solvers.norms import Norm

Gradient = Callable[[np.ndarray], np.ndarray]
Shapes = dict[str, tuple[int, ...]]


class Move(NamedTuple):
    """A step and how well it solves its problem.

    Attributes:
        v: The step, (p,).
        deficit: 1 − ⟨−∇f(θ + v), v⟩ / (h ‖∇f(θ + v)‖_*): 0 for an exact implicit step, and by duality a bound on what
            a better one could gain, relative to h ‖∇f‖_*.
        calls: Evaluations of ∇f.
        curvature: Estimate of the largest curvature of f met, to start the next step from.
    """

    v: np.ndarray
    deficit: float
    calls: int
    curvature: float


def implicit_step(
    f: Gradient,
    theta: np.ndarray,
    norm: Norm,
    shapes: Shapes,
    h: float,
    *,
    guess: np.ndarray,
    curvature: float,
    tol: float = 1e-11,
    most: int = 2000,
) -> Move:
    """Solve for one implicit step by accelerated projected gradient, restarted where its momentum points uphill.

    (Beck & Teboulle 2009; O'Donoghue & Candes 1204.3982.)

    Args:
        f: The gradient ∇f at a flat θ.
        theta: Where the step starts, (p,).
        norm: Of the ball.
        shapes: Of the blocks.
        h: Radius of the ball.
        guess: A step to start from, (p,).
        curvature: A first guess of f's largest curvature.
        tol: The deficit that is good enough.
        most: At most so many evaluations.

    Returns:
        The step, best effort: its deficit says how good it is.
    """

    def ball(v: np.ndarray) -> np.ndarray:
        return flatten(norm.project(unflatten(v, shapes), h), shapes)

    def deficit(v: np.ndarray, g: np.ndarray) -> float:
        steepest = h * float(norm.dual(unflatten(g, shapes)))
        return 1.0 + float(g @ v) / steepest if steepest > 0 else 0.0

    v = ball(guess)
    g = f(theta + v)
    calls, momentum = 1, 1.0
    y, g_y = v, g
    while (short := deficit(v, g)) > tol and calls < most:
        new = ball(y - g_y / curvature)
        g_new = f(theta + new)
        calls += 1
        move = new - y
        # Curvature along the move, from gradients: values would cancel near the solution.
        bent = float((g_new - g_y) @ move)
        if bent > 1.01 * curvature * float(move @ move):
            curvature *= 2.0
            continue
        if float((y - new) @ (new - v)) > 0:  # the momentum points uphill
            momentum = 1.0
        ahead = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        y = new + (momentum - 1.0) / ahead * (new - v)
        v, g, momentum = new, g_new, ahead
        g_y = f(theta + y)
        calls += 1
    return Move(v, short, calls, max(0.5 * curvature, 1e-12))
