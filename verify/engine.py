"""The engine: runs of one optimizer, vmapped, in float64 with (mantissa, log-scale) gradients and moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from maxmargin.models.blocks import scale
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.losses import LOSSES, margins_of, scaled_gradient
from maxmargin.verify.optimizers.base import Optimizer
from maxmargin.verify.schedules import Paced, Schedule
from maxmargin.verify.tracing import traced
from maxmargin.verify.trajectory import Trajectory

CHUNK = 8  # steps in one traced call; also the grid on which checkpoints and learning rates lie
REFRESH = 8  # chunks between two measurements of the speed, once the run is past its start
WATCHED = 256  # at most so many of the smallest margins set the pace
Progress = Callable[[int, int], None]


class EngineError(ValueError):
    """Starts or data that the engine cannot batch."""


def log_spaced(steps: int, count: int, first: int = CHUNK) -> list[int]:
    """Return about ``count`` increasing multiples of 8 from ``first`` to ``steps``, evenly spaced in log t.

    Example:
        >>> log_spaced(1000, 5)
        [8, 24, 88, 296, 1000]
    """
    last = max(CHUNK, steps // CHUNK * CHUNK)
    points = np.geomspace(first, last, count)
    return sorted({round(p / CHUNK) * CHUNK for p in points} | {last})


def starts(problem: Problem, runs: int, *, seed: int = 0, scale: float = 1.0) -> dict[str, Tensor]:
    """Return random initial parameters of ``runs`` runs, one tensor (runs, *shape) a block, from successive seeds.

    A start at which some coordinate has exactly no gradient (a neuron that no sample reaches) is passed over: it
    violates hypothesis A1 of Gronich & Vardi 2602.16340, and under any optimizer that coordinate never moves.

    Raises:
        EngineError: when 100 seeds a run do not give enough such starts (a feature that is 0 in every sample).
    """
    each: list[dict[str, Tensor]] = []
    for i in range(100 * runs):
        theta = problem.model.init(seed + i, scale)
        gradient = scaled_gradient(
            problem.model, LOSSES["exponential"], theta, problem.X.cpu(), problem.contrasts.cpu()
        )
        if all(bool((g != 0).all()) for g in gradient.blocks.values()):
            each.append(theta)
        if len(each) == runs:
            break
    else:
        raise EngineError(
            f"{problem.name}: in {100 * runs} starts some weight had no gradient at all; "
            "drop features that are 0 in every sample, or take a wider model"
        )
    return {name: torch.stack([theta[name] for theta in each]) for name in problem.shapes}


def _stack_data(problem: Problem | Sequence[Problem], runs: int) -> tuple[Problem, Tensor, Tensor, int | None]:
    if isinstance(problem, Problem):
        return problem, problem.X, problem.contrasts, None
    if len(problem) != runs:
        raise EngineError(f"{len(problem)} data sets for {runs} runs; give one problem, or one a run")
    first = problem[0]
    for other in problem[1:]:
        if other.model != first.model or other.X.shape != first.X.shape:
            raise EngineError(f"{other!r} cannot share a batch with {first!r}: model and data shapes must agree")
    return first, torch.stack([p.X for p in problem]), torch.stack([p.contrasts for p in problem]), 0


class _Batch:
    """The vmapped and traced pieces of one run: a chunk of steps, a look, and the speed."""

    def __init__(self, first: Problem, optimizer: Optimizer, loss: str, norm: Norm, data_dim: int | None) -> None:
        self.model, self.optimizer, self.norm = first.model, optimizer, norm
        if loss not in LOSSES:
            raise EngineError(f"unknown loss {loss!r}; needed is one of {', '.join(LOSSES)}")
        self.log_weights = LOSSES[loss]
        self.degree = first.degree
        self.data_dim = data_dim
        watched = min(WATCHED, first.n_margins)

        def step(theta: Any, state: Any, t: Tensor, eta: Tensor, X: Tensor, C: Tensor) -> tuple[Any, Any, Tensor]:
            g = scaled_gradient(self.model, self.log_weights, theta, X, C)
            u, state = optimizer.direction(state, g, t)
            return optimizer.move(theta, u, eta, t), state, t + 1

        def look(theta: Any, state: Any, t: Tensor, X: Tensor, C: Tensor) -> tuple[Any, Tensor, Tensor, Any]:
            g = scaled_gradient(self.model, self.log_weights, theta, X, C)
            u, _ = optimizer.direction(state, g, t)
            return g.blocks, g.log_scale, margins_of(self.model, theta, X, C).amin(), u

        def speed(theta: Any, X: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
            length = norm.value(theta)
            unit = scale(theta, 1.0 / length)
            margins = margins_of(self.model, unit, X, C).reshape(-1)
            chosen = torch.topk(margins, watched, largest=False).indices
            rows = torch.nn.functional.one_hot(chosen, margins.shape[0]).to(margins.dtype)

            def dual(row: Tensor) -> Tensor:
                c = (row.reshape(C.shape[:2]).unsqueeze(-2) @ C).squeeze(-2)
                return norm.dual(self.model.pullback(unit, X, c))

            return vmap(dual)(rows).amax() * length ** (self.degree - 1), length

        d = data_dim
        shared: Any = (0, 0, None)  # all runs count the same steps (vmap's annotation does not know None here)
        self.step = vmap(step, in_dims=(0, 0, None, 0, d, d), out_dims=shared)
        self.look = vmap(look, in_dims=(0, 0, None, d, d))
        self.speed = vmap(speed, in_dims=(0, d, d))
        self.init = vmap(optimizer.init)

    def chunk(self, theta: Any, state: Any, t: Tensor, eta: Tensor, X: Tensor, C: Tensor) -> tuple[Any, Any, Tensor]:
        for _ in range(CHUNK):
            theta, state, t = self.step(theta, state, t, eta, X, C)
        return theta, state, t


def run(
    problem: Problem | Sequence[Problem],
    optimizer: Optimizer,
    theta0: Mapping[str, Tensor],
    *,
    steps: int,
    schedule: Schedule | None = None,
    loss: str = "cross-entropy",
    checkpoints: int = 32,
    norm: Norm | str | None = None,
    device: torch.device | str = "cpu",
    trace: bool = True,
    progress: Progress | None = None,
) -> Trajectory:
    """Train B runs at once and keep log-spaced checkpoints.

    Args:
        problem: One problem for all runs, or one a run (same model, same data shapes).
        optimizer: An engine optimizer.
        theta0: Starts, block → (B, *shape).
        steps: Steps of every run; rounded down to a multiple of 8.
        schedule: Learning rates; by default :class:`Paced` at a pace that the optimizer's memory can follow.
        loss: A key of ``losses.LOSSES``.
        checkpoints: How many to keep, about, besides the start.
        norm: The norm in which a paced schedule measures; by default the one in which the optimizer's step has a
            known length.
        device: Where to run.
        trace: Trace the step (the same operators with a tenth of the overhead); False runs plain vmap.
        progress: Called with (steps done, steps).

    Returns:
        The trajectory.

    Raises:
        EngineError: when starts and data do not fit together, or for an unknown loss.
    """
    if not theta0:
        raise EngineError("no starts came; needed is block → (runs, *shape), as starts() gives them")
    runs = next(iter(theta0.values())).shape[0]
    first, X, C, data_dim = _stack_data(problem, runs)
    for name, shape in first.shapes.items():
        if name not in theta0 or tuple(theta0[name].shape) != (runs, *shape):
            raise EngineError(f"start {name!r}: needed is shape {(runs, *shape)}")
    X, C = X.to(device), C.to(device)
    theta: Any = {k: theta0[k].to(device=device, dtype=torch.float64).clone() for k in first.shapes}
    own = get_norm(norm) if norm is not None else optimizer.pace_norm
    schedule = schedule or paced_for(optimizer)
    batch = _Batch(first, optimizer, loss, own, data_dim)
    state = batch.init(theta)
    t = torch.ones((), dtype=torch.float64, device=device)
    eta = torch.ones(runs, dtype=torch.float64, device=device)
    chunk, look, speed = batch.chunk, batch.look, batch.speed
    if trace:
        chunk = traced(batch.step, theta, state, t, eta, X, C, times=CHUNK)
        if not first.linear:  # called often enough to pay for its tracing
            speed = traced(speed, theta, X, C)

    steps = max(CHUNK, steps // CHUNK * CHUNK)
    marks = set(log_spaced(steps, checkpoints))
    kept: list[dict[str, Any]] = []
    travelled = torch.zeros_like(eta)
    separated_at = torch.full((runs,), -1.0, dtype=torch.float64, device=device)
    measured = (torch.ones_like(eta), torch.full_like(eta, torch.inf))
    # A linear model's speed is the same everywhere, unless only the margins smallest at θ are watched.
    fixed_speed = first.linear and first.n_margins <= WATCHED

    def rates(done: int) -> Tensor:
        nonlocal measured
        if schedule.needs_speed and (done == 0 or (not fixed_speed and _refresh(done))):
            v, length = speed(theta, X, C)
            # A linear model may start at 0, and its margins change as fast as predicted: no cap.
            measured = (
                v * optimizer.step_norm,
                torch.full_like(v, torch.inf) if first.linear else length / optimizer.step_norm,
            )
        return schedule.rate(done + 1, *measured)

    def keep(done: int, eta: Tensor) -> None:
        g, s, q, u = look(theta, state, t, X, C)
        separated_at.copy_(torch.where((separated_at < 0) & (q > 0), float(done), separated_at))
        kept.append(
            {
                "theta": theta,
                "gradient": g,
                "log_scale": s,
                "margin": q,
                "eta": eta,
                "travelled": travelled,
                "update": {k: b * eta.reshape(-1, *[1] * (b.ndim - 1)) for k, b in u.items()},
            }
        )

    with torch.no_grad():
        for done in range(0, steps + 1, CHUNK):
            eta = rates(done)
            if done == 0 or done in marks:
                keep(done, eta)
                if progress is not None:
                    progress(done, steps)
            if done < steps:
                theta, state, t = chunk(theta, state, t, eta, X, C)
                travelled = travelled + CHUNK * eta
    return _trajectory(first, optimizer, [0, *sorted(marks)], kept, separated_at)


def paced_for(optimizer: Optimizer) -> Paced:
    """Return the pace that the optimizer's moments can follow: twice its lag limit, at most 0.2.

    The limit bounds the change of the weights that matter; those of the margins near the smallest change several
    times more slowly than the worst one, which is what the pace bounds (DESIGN, facts 3 and 5).
    """
    return Paced(pace=min(0.2, 2.0 * optimizer.lag_limit))


def _refresh(done: int) -> bool:
    return done < 256 * CHUNK or done % (REFRESH * CHUNK) == 0


def _trajectory(
    problem: Problem, optimizer: Optimizer, steps: list[int], kept: list[dict[str, Any]], separated_at: Tensor
) -> Trajectory:
    def stack(field: str) -> np.ndarray:
        return torch.stack([k[field] for k in kept]).cpu().numpy()

    def blocks(field: str) -> dict[str, np.ndarray]:
        return {b: torch.stack([k[field][b] for k in kept]).cpu().numpy() for b in problem.shapes}

    return Trajectory(
        problem=problem.name,
        optimizer=optimizer.recursion,
        steps=np.asarray(steps),
        theta=blocks("theta"),
        gradient=blocks("gradient"),
        update=blocks("update"),
        log_scale=stack("log_scale"),
        margin=stack("margin"),
        eta=stack("eta"),
        travelled=stack("travelled"),
        separated_at=separated_at.cpu().numpy().astype(int),
    )
