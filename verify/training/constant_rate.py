"""An optimizer left to itself: its own constant learning rate, the true gradient, no rescaling."""

from __future__ import annotations

from math import ceil, exp, inf, log

import torch
from torch import Tensor

from maxmargin.models.blocks import flatten, unflatten
from maxmargin.models.problem import Problem
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.engine.losses import LOSSES, scaled_gradient
from maxmargin.verify.engine.run import starts
from maxmargin.verify.engine.tracing import traced
from maxmargin.verify.thresholds.training import LINEAR_START, PLAIN_MEMORIES, PLAIN_STEPS


def falls_below(
    target: Target, problem: Problem, floor: float, memory: float = 1.0, seed: int = 0
) -> tuple[int, bool] | None:
    """The step at which the gradient's norm falls below a size, at the optimizer's own constant learning rate.

    Beyond PLAIN_MEMORIES times its memory it is extrapolated: steps of one length on a linear model make margins grow
    evenly, and log ‖g‖ fall by as much (more slowly where a moment throttles it: hence the memory).

    Args:
        target: The optimizer, in its own units.
        problem: A linear problem.
        floor: The gradient's norm, ℓ2.
        memory: Steps that its slowest moment remembers.
        seed: Of the start.

    Returns:
        (step, whether the run went so far); None where the gradient does not fall.

    Raises:
        TargetError: the optimizer cannot be stepped.
    """
    steps = int(min(PLAIN_STEPS[1], max(PLAIN_STEPS[0], PLAIN_MEMORIES * memory)))
    start = starts(problem, 1, seed=seed, scale=LINEAR_START)
    params = [torch.nn.Parameter(start[name][0].to(torch.float64).clone()) for name in problem.shapes]

    def look(flat: Tensor) -> tuple[Tensor, ...]:
        theta = unflatten(flat, problem.shapes)
        g = scaled_gradient(problem.model, LOSSES["cross-entropy"], theta, problem.X, problem.contrasts)
        return g.log_scale, torch.linalg.vector_norm(flatten(g.blocks, problem.shapes)), *g.blocks.values()

    def weights() -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in params])

    seen = traced(look, weights())
    sizes: list[float] = []
    with seeded(0):
        handle = Handle(target, params)
        for step in range(steps):
            log_scale, length, *blocks = seen(weights())
            sizes.append(float(log_scale) + log(float(length)) if float(length) > 0 else -inf)
            if sizes[-1] < log(floor):
                return step, True
            handle.step([exp(float(log_scale)) * g for g in blocks])
    half = steps // 2
    rate = (sizes[half] - sizes[-1]) / (len(sizes) - 1 - half)
    return (ceil(steps + (sizes[-1] - log(floor)) / rate), False) if rate > 0 else None
