"""One step, one look and one measurement of speed, written for one run; and vmapped over all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from maxmargin.models.blocks import scale
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm
from maxmargin.verify.engine.losses import margins_of, scaled_gradient
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.optimizers.core.logscale import Scaled

CHUNK = 8  # steps with one learning rate; also the grid on which checkpoints lie
WATCHED = 256  # at most so many of the smallest margins set the pace


class OneRun:
    """The pieces of one run, without branches on values: what is compiled, and what is vmapped over runs.

    X and contrasts are the data; ``order`` stands for a chunk's batches (rows, absent) of stochastic gradients, as
    :class:`~maxmargin.verify.engine.batches.SampleOrder` gives them, of which the step's own is found from t.
    """

    def __init__(
        self, problem: Problem, optimizer: Optimizer, log_weights: Callable[[Tensor], Tensor], norm: Norm
    ) -> None:
        self.model, self.degree, self.optimizer = problem.model, problem.degree, optimizer
        self.log_weights, self.norm = log_weights, norm
        self.watched = min(WATCHED, problem.n_margins)
        # A linear model's worst speed is the same everywhere, unless only the margins smallest at θ are watched.
        self.linear = problem.linear
        self.fixed_speed = problem.linear and problem.n_margins <= WATCHED

    def _gradient(self, theta: Any, t: Tensor, X: Tensor, C: Tensor, *order: Tensor) -> Scaled:
        if not order:
            return scaled_gradient(self.model, self.log_weights, theta, X, C)
        now = torch.remainder(t - 1.0, CHUNK).long().reshape(1)
        rows, absent = (o.index_select(0, now).squeeze(0) for o in order)

        def weights(margins: Tensor) -> Tensor:
            return self.log_weights(margins) + absent.unsqueeze(-1)

        return scaled_gradient(self.model, weights, theta, X.index_select(0, rows), C.index_select(0, rows))

    def step(self, theta: Any, state: Any, t: Tensor, eta: Tensor, *data: Tensor) -> tuple[Any, Any, Tensor]:
        """(θ, state, t + 1)."""
        u, state = self.optimizer.direction(state, self._gradient(theta, t, *data), t)
        return self.optimizer.move(theta, u, eta, t), state, t + 1

    def look(self, theta: Any, state: Any, t: Tensor, X: Tensor, C: Tensor, *order: Tensor) -> tuple[Any, ...]:
        """The whole loss's gradient and its log-scale, the smallest margin, and the direction of the next step."""
        g = self._gradient(theta, t, X, C)
        u, _ = self.optimizer.direction(state, self._gradient(theta, t, X, C, *order) if order else g, t)
        return g.blocks, g.log_scale, margins_of(self.model, theta, X, C).amin(), u

    def _rise(self, theta: Any, X: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Any, Tensor]:
        length = self.norm.value(theta)
        # A linear model may start at 0: there its margins are 0 in every direction.
        unit = scale(theta, 1.0 / torch.where(length > 0, length, torch.ones_like(length)))
        margins = margins_of(self.model, unit, X, C).reshape(-1)
        return length, self.degree * margins.amin() * length ** (self.degree - 1), unit, margins

    def growth(self, theta: Any, X: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        """(‖θ‖, change of the smallest margin per unit of η as θ keeps its direction)."""
        return self._rise(theta, X, C)[:2]

    def speed(self, theta: Any, X: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(worst change of a watched margin per unit of η, ‖θ‖, growth)."""
        length, grows, unit, margins = self._rise(theta, X, C)
        numbers = torch.arange(margins.shape[0], device=margins.device)
        chosen = numbers
        if self.watched < margins.shape[0]:
            chosen = torch.topk(margins, self.watched, largest=False).indices
        rows = (chosen.unsqueeze(-1) == numbers).to(margins.dtype)

        def dual(row: Tensor) -> Tensor:
            c = (row.reshape(C.shape[:2]).unsqueeze(-2) @ C).squeeze(-2)
            return self.norm.dual(self.model.pullback(unit, X, c))

        return vmap(dual)(rows).amax() * length ** (self.degree - 1), length, grows


class Stepping:
    """The same pieces over a batch of runs, which share t, and the data unless ``data_dim`` is their axis.

    By vmap, which takes some 500 µs a call; a single run goes without it.
    """

    def __init__(self, one: OneRun, runs: int, data_dim: int | None, stochastic: bool) -> None:
        d = data_dim
        order: tuple[int, ...] = (0, 0) if stochastic else ()
        shared: Any = (0, 0, None)  # all runs count the same steps (vmap's annotation does not know None here)
        over: Any = vmap if runs > 1 else _single
        self.step = over(one.step, in_dims=(0, 0, None, 0, d, d, *order), out_dims=shared)
        self.look = over(one.look, in_dims=(0, 0, None, d, d, *order))
        self.speed = over(one.speed, in_dims=(0, d, d))
        self.growth = over(one.growth, in_dims=(0, d, d))
        self.init = over(one.optimizer.init)


def _single(function: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0) -> Callable[..., Any]:
    """What vmap is over a batch of one."""

    def call(*arguments: Any) -> Any:
        dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(arguments)
        out = function(*(_each(a, lambda x: x[0]) if d == 0 else a for a, d in zip(arguments, dims, strict=True)))
        if not isinstance(out_dims, tuple):
            return _each(out, lambda x: x.unsqueeze(0))
        return tuple(_each(o, lambda x: x.unsqueeze(0)) if d == 0 else o for o, d in zip(out, out_dims, strict=True))

    return call


def _each(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return pytree.tree_map(change, tree)
