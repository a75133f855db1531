"""The steepest-descent flow dθ/dN ∈ lmo(∇loss(θ)), N = ∫η: what discrete optimizers follow as η → 0.

It makes two measurements of what theory says in one: that the flow reaches a KKT direction (Tsilivis et al.
2410.22069), and that the discrete optimizer tracks the flow. N is arc length in the norm, so no learning rate enters;
the loss is exponential, and only the logarithms of its terms are formed.

``implicit`` serves every norm: where the lmo jumps (ℓ∞, spectral) the flow is a differential inclusion that slides
along the jump, and an implicit step picks a velocity that does. On a network that velocity need not be the only one
(a kink that holds two weights of one product leaves their difference free), so there a discrete optimizer may follow
another of the flow's solutions. ``ivp`` is scipy's integrator with the lmo as it is, for norms whose lmo is continuous
away from 0 (ℓ2, entrywise:P and schatten:P with 1 < P < ∞).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from maxmargin.models.blocks import Blocks, as_torch, check_shapes, flatten, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.engine.implicit_step import Gradient, implicit_step
from maxmargin.verify.engine.losses import margins_of
from maxmargin.verify.engine.tracing import traced

SHARE = 0.1  # of ‖θ‖, at most, in a step of a network: a longer one may end in another basin
Method = Literal["implicit", "ivp"]


class FlowError(ValueError):
    """A flow that cannot be integrated as asked."""


@dataclass(frozen=True)
class FlowPath:
    """The flow of one start, at T points.

    Attributes:
        problem: The problem's name.
        norm: The norm's name.
        travelled: (T,) N, increasing.
        theta: block → (T, *shape).
        margin: (T,) q(θ), not normalized.
        error: (T,) the error in θ (ℓ2), estimated: the sum of the differences between whole and halved steps, which is
            no bound where errors grow along the flow. NaN for ``ivp``.
        deficit: The worst 1 − r of all steps, r the alignment of a step with steepest descent at its end. NaN for
            ``ivp``.
        steps: Steps taken.
        calls: Evaluations of the gradient.
    """

    problem: str
    norm: str
    travelled: np.ndarray
    theta: dict[str, np.ndarray]
    margin: np.ndarray
    error: np.ndarray
    deficit: float
    steps: int
    calls: int

    def at(self, t: int) -> dict[str, np.ndarray]:
        """The weights at point ``t``."""
        return {name: block[t] for name, block in self.theta.items()}


def flow(
    problem: Problem,
    norm: Norm | str,
    theta0: Blocks,
    at: np.ndarray,
    *,
    method: Method = "implicit",
    tol: float = 1e-4,
    most: int = 200_000,
) -> FlowPath:
    """Integrate the flow from one start, for the exponential loss.

    Args:
        problem: The problem.
        norm: Under whose unit ball the descent is steepest.
        theta0: The start, one array a block.
        at: (T,) values of N at which to keep θ, increasing, from 0 on.
        method: ``implicit`` (first order, any norm) or ``ivp`` (high order, norms with a continuous lmo).
        tol: ``implicit``: error of a step, ℓ2, by comparing it with two halves; ``ivp``: relative and absolute
            tolerance.
        most: At most so many evaluations of the gradient.

    Returns:
        The path.

    Raises:
        FlowError: for a bad grid, an unknown method, a tolerance that is not positive, or more evaluations than
            ``most``.
    """
    grid = np.asarray(at, dtype=np.float64)
    if grid.ndim != 1 or len(grid) == 0 or grid[0] < 0 or not (np.diff(grid) > 0).all():
        raise FlowError(f"at is {at!r}; needed are increasing values of N, from 0 on")
    if method not in ("implicit", "ivp"):
        raise FlowError(f"method is {method!r}; needed is 'implicit' or 'ivp'")
    if not tol > 0:
        raise FlowError(f"tol is {tol}; needed is a positive number")
    norm = get_norm(norm)
    start = {k: np.asarray(b, dtype=np.float64) for k, b in theta0.items()}
    check_shapes(start, problem.shapes)
    oracle = _Oracle(problem, start, most)
    x0 = flatten({k: start[k] for k in problem.shapes}, problem.shapes)
    if method == "ivp":
        xs, errors, deficit, steps = _ivp(oracle, norm, problem.shapes, x0, grid, tol)
    else:
        share = np.inf if problem.linear else SHARE
        xs, errors, deficit, steps = _implicit(oracle, norm, problem.shapes, x0, grid, tol, share)
    theta = unflatten(xs, problem.shapes)
    margin = [float(problem.min_margin({k: b[t] for k, b in theta.items()})) for t in range(len(grid))]
    return FlowPath(problem.name, norm.name, grid, theta, np.asarray(margin), errors, deficit, steps, oracle.calls)


class _Oracle:
    """The gradient of the logarithm of the exponential loss, at a flat θ."""

    def __init__(self, problem: Problem, start: Mapping[str, np.ndarray], most: int) -> None:
        self.shapes, self.calls, self.most = problem.shapes, 0, most
        model = problem.model

        def gradient(theta: Any, X: Tensor, C: Tensor) -> Any:
            m = margins_of(model, theta, X, C)
            w = torch.exp(m.amin() - m)  # as a softmax, which has no native form
            return model.pullback(theta, X, -((w / w.sum()).unsqueeze(-2) @ C).squeeze(-2))

        self.data = (problem.X, problem.contrasts)
        self.gradient = traced(gradient, as_torch(start), *self.data)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self.calls >= self.most:
            raise FlowError(
                f"{self.calls} evaluations did not reach the end of the flow; "
                "raise most or tol, or integrate a shorter one (under a norm with kinks by method='implicit')"
            )
        self.calls += 1
        g = self.gradient(unflatten(torch.from_numpy(x), self.shapes), *self.data)
        return flatten(g, self.shapes).numpy()


_Integrated = tuple[np.ndarray, np.ndarray, float, int]


def _implicit(
    oracle: Gradient, norm: Norm, shapes: Any, x: np.ndarray, grid: np.ndarray, tol: float, share: float
) -> _Integrated:
    """Implicit steps of adaptive length: one of h against two of h/2, which are kept."""
    now, error, deficit, steps = 0.0, 0.0, 0.0, 0
    h, curvature, velocity = 0.01, 1.0, np.zeros_like(x)
    xs, errors = [], []

    def step(at: np.ndarray, length: float, guess: np.ndarray) -> tuple[np.ndarray, float]:
        nonlocal curvature
        move = implicit_step(oracle, at, norm, shapes, length, guess=length * guess, curvature=curvature)
        curvature = move.curvature
        return move.v, move.deficit

    for goal in grid:
        while goal - now > 1e-12 * max(1.0, goal):
            length = min(h, goal - now, share * float(norm.value(unflatten(x, shapes))))
            whole, _ = step(x, length, velocity)
            first, short1 = step(x, length / 2, whole / length)
            second, short2 = step(x + first, length / 2, first / (length / 2))
            apart = float(np.linalg.norm(whole - first - second))
            if apart <= tol:
                # Extrapolated: the errors of a whole step and of two halves are in the ratio 2 to 1.
                x, now, error, steps = x + 2 * (first + second) - whole, now + length, error + apart, steps + 2
                velocity, deficit = second / (length / 2), max(deficit, short1, short2)
            # The difference of a step and its halves is of second order, of first where the velocity jumps.
            change = float(np.clip(0.9 * np.sqrt(tol / max(apart, 1e-300)), 0.3, 2.0))
            if apart > tol or length == h or change < 1:
                h = length * change
        xs.append(x)
        errors.append(error)
    return np.stack(xs), np.asarray(errors), deficit, steps


def _ivp(oracle: Gradient, norm: Norm, shapes: Any, x: np.ndarray, grid: np.ndarray, tol: float) -> _Integrated:
    """scipy's LSODA, which changes to implicit formulas where the flow is stiff."""
    from scipy.integrate import solve_ivp

    def velocity(_: float, at: np.ndarray) -> np.ndarray:
        return flatten(norm.lmo(unflatten(oracle(at), shapes)), shapes)

    if grid[-1] == 0:
        return np.stack([x]), np.full(1, np.nan), float("nan"), 0
    found = solve_ivp(velocity, (0.0, grid[-1]), x, method="LSODA", t_eval=grid, rtol=tol, atol=tol)
    if not found.success:
        raise FlowError(f"scipy's LSODA gave up: {found.message}")
    return found.y.T, np.full(len(grid), np.nan), float("nan"), len(found.t)
