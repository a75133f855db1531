"""One step, one look and one measurement of speed, written for one run and vmapped over all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from maxmargin.models.blocks import scale
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm
from maxmargin.verify.engine.losses import margins_of, scaled_gradient
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.optimizers.core.logscale import Scaled

CHUNK = 8  # steps in one traced call; also the grid on which checkpoints and learning rates lie
WATCHED = 256  # at most so many of the smallest margins set the pace


class Stepping:
    """The vmapped pieces of a batch of runs.

    ``step`` takes (θ, state, t, η, X, contrasts) and, for stochastic gradients, the chunk's batches (rows, absent) as
    :class:`~maxmargin.verify.engine.batches.SampleOrder` gives them; the step's own is found from t. It returns
    (θ, state, t + 1).
    """

    def __init__(
        self,
        first: Problem,
        optimizer: Optimizer,
        log_weights: Callable[[Tensor], Tensor],
        norm: Norm,
        data_dim: int | None,
        stochastic: bool,
    ) -> None:
        model, degree = first.model, first.degree
        watched = min(WATCHED, first.n_margins)

        def gradient(theta: Any, t: Tensor, X: Tensor, C: Tensor, *order: Tensor) -> Scaled:
            if not order:
                return scaled_gradient(model, log_weights, theta, X, C)
            now = torch.remainder(t - 1.0, CHUNK).long().reshape(1)
            rows, absent = (o.index_select(0, now).squeeze(0) for o in order)

            def weights(margins: Tensor) -> Tensor:
                return log_weights(margins) + absent.unsqueeze(-1)

            return scaled_gradient(model, weights, theta, X.index_select(0, rows), C.index_select(0, rows))

        def step(theta: Any, state: Any, t: Tensor, eta: Tensor, *data: Tensor) -> tuple[Any, Any, Tensor]:
            u, state = optimizer.direction(state, gradient(theta, t, *data), t)
            return optimizer.move(theta, u, eta, t), state, t + 1

        def look(theta: Any, state: Any, t: Tensor, X: Tensor, C: Tensor, *order: Tensor) -> tuple[Any, ...]:
            g = gradient(theta, t, X, C)
            u, _ = optimizer.direction(state, gradient(theta, t, X, C, *order) if order else g, t)
            return g.blocks, g.log_scale, margins_of(model, theta, X, C).amin(), u

        def rise(theta: Any, X: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Any, Tensor]:
            length = norm.value(theta)
            # A linear model may start at 0: there its margins are 0 in every direction.
            unit = scale(theta, 1.0 / torch.where(length > 0, length, torch.ones_like(length)))
            margins = margins_of(model, unit, X, C).reshape(-1)
            return length, degree * margins.amin() * length ** (degree - 1), unit, margins

        def growth(theta: Any, X: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
            return rise(theta, X, C)[:2]

        def speed(theta: Any, X: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            length, grows, unit, margins = rise(theta, X, C)
            chosen = torch.topk(margins, watched, largest=False).indices
            rows = torch.nn.functional.one_hot(chosen, margins.shape[0]).to(margins.dtype)

            def dual(row: Tensor) -> Tensor:
                c = (row.reshape(C.shape[:2]).unsqueeze(-2) @ C).squeeze(-2)
                return norm.dual(model.pullback(unit, X, c))

            return vmap(dual)(rows).amax() * length ** (degree - 1), length, grows

        d = data_dim
        order: tuple[int, ...] = (0, 0) if stochastic else ()
        shared: Any = (0, 0, None)  # all runs count the same steps (vmap's annotation does not know None here)
        self.step = vmap(step, in_dims=(0, 0, None, 0, d, d, *order), out_dims=shared)
        self.look = vmap(look, in_dims=(0, 0, None, d, d, *order))
        self.speed = vmap(speed, in_dims=(0, d, d))
        self.growth = vmap(growth, in_dims=(0, d, d))
        self.init = vmap(optimizer.init)

    def chunk(self, theta: Any, state: Any, t: Tensor, *rest: Tensor) -> tuple[Any, Any, Tensor]:
        """CHUNK steps."""
        for _ in range(CHUNK):
            theta, state, t = self.step(theta, state, t, *rest)
        return theta, state, t
