"""A plain normalized steepest descent, to make starts that look like the ends of trajectories.

It is not the engine of ``maxmargin.verify`` and claims nothing about optimizers: one recursion, many runs at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, vmap

from maxmargin.models.blocks import inner
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm


def descend(problem: Problem, norm: Norm, theta: dict[str, Tensor], *, steps: int) -> dict[str, Tensor]:
    """Normalized steepest descent on the exponential loss, θ ← θ + η lmo(∇ loss), for a batch of starts.

    The step is paced: no margin changes by more than 0.2 (1 + t/1000)^−0.2 to first order, and θ by no more
    than 2 % of its length. Only the softmax weights of the margins enter, so that nothing underflows.

    Args:
        problem: The problem.
        norm: The norm whose lmo is stepped along.
        theta: The starts, each block (runs, *shape).
        steps: How many.

    Returns:
        The ends, each block (runs, *shape).
    """

    def direction(theta: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        margins = problem.margins(theta)
        lam = torch.softmax(-margins, 0)
        down = norm.lmo({name: -g for name, g in problem.pullback(theta, lam).items()})
        # λ ↦ ⟨Σ λ_i g_i, u⟩ is linear, and its gradient is ⟨g_i, u⟩ for every i
        change = grad(lambda lam: inner(problem.pullback(theta, lam), down))(lam)
        return down, change.abs().amax()

    lengths = vmap(norm.value)
    directions = vmap(direction)
    least = lengths(theta)  # a run that shrinks towards 0 would otherwise never leave it
    for t in range(steps):
        down, change = directions(theta)
        paced = 0.2 * (1 + t / 1000) ** -0.2 / change.clamp_min(1e-300)
        eta = torch.minimum(paced, 0.02 * torch.maximum(lengths(theta), least))
        theta = {name: theta[name] + eta.reshape(-1, *(1,) * (u.ndim - 1)) * u for name, u in down.items()}
    return theta


def small_starts(problem: Problem, seeds: range) -> dict[str, Tensor]:
    """The model's own initialisations, stacked, one a seed: each block (runs, *shape), as :func:`descend` takes it."""
    runs = [problem.model.init(seed, 0.02) for seed in seeds]  # small: a start is forgotten like ‖θ₀‖/‖θ‖
    return {name: torch.stack([run[name] for run in runs]) for name in problem.shapes}
