"""The engine: runs of one optimizer, in float64 with (mantissa, log-scale) gradients and moments."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxmargin.models.errors import InputError
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.engine.batches import Order, SampleOrder
from maxmargin.verify.engine.losses import LOSSES, graded, graded_at_most, scaled_gradient
from maxmargin.verify.engine.schedules import Paced, Schedule
from maxmargin.verify.engine.snapshots import identity, load, save
from maxmargin.verify.engine.stepping import CHUNK, OneRun
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.engine.ways import Task, Way, chosen
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.progress.report import StepProgress


class EngineError(InputError):
    """Starts or data that the engine cannot batch."""


def log_spaced(steps: int, count: int) -> list[int]:
    """Return about ``count`` increasing multiples of 8 up to ``steps``, evenly spaced in log t.

    Example:
        >>> log_spaced(1000, 5)
        [8, 24, 88, 296, 1000]
    """
    last = max(CHUNK, steps // CHUNK * CHUNK)
    points = np.geomspace(CHUNK, last, count)
    return sorted({round(p / CHUNK) * CHUNK for p in points} | {last})


def _reached_by_all(problem: Problem, X: Tensor) -> bool:
    """Whether every sample contributes to every entry of the gradient: then none is lost with the far ones."""
    return problem.linear and problem.contrasts.shape[-1] == 1 and bool((X != 0).all())


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
            "drop features that are 0 in every sample, or give more samples: few leave some of many hidden units out"
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
    native: bool = True,
    progress: StepProgress | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    order: Order = "shuffled",
    snapshot: str | Path | None = None,
    every: float = 30.0,
) -> Trajectory:
    """Return the trajectory of B runs trained at once, with log-spaced checkpoints.

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
        native: On a CPU, compile the step where its operators are all known and its first steps agree with torch's;
            False runs plain vmap, a hundred times slower.
        progress: Called with (steps done, steps): at every checkpoint, and about once a second between them.
        batch_size: Samples whose gradient a step sees, drawn without replacement in epochs; None for all of them.
            The trajectory's gradients remain those of the whole loss, its updates are the steps taken.
        seed: Of the order of the samples; each run has its own.
        order: ``shuffled`` anew in each epoch, or ``cyclic``: the samples in turn, the same for every run.
        snapshot: A file that keeps the run under way. Where it exists, the run goes on from it, and ends bit for bit
            as it would have without a break (same machine, same versions). It is written every ``every`` seconds,
            whenever an exception or Ctrl-C ends the run, and at its end.
        every: Seconds between two snapshots, at least; a killed process loses no more than that.

    Raises:
        EngineError: when starts and data do not fit together, or for an unknown loss.
        OrderError: for a batch size or an order that does not exist.
        SnapshotError: when the snapshot belongs to another run or is damaged.
    """
    if not theta0:
        raise EngineError("no starts came; needed is block → (runs, *shape), as starts() gives them")
    if loss not in LOSSES:
        raise EngineError(f"unknown loss {loss!r}; needed is one of {', '.join(LOSSES)}")
    runs = next(iter(theta0.values())).shape[0]
    first, X, C, data_dim = _stack_data(problem, runs)
    for name, shape in first.shapes.items():
        if name not in theta0 or tuple(theta0[name].shape) != (runs, *shape):
            raise EngineError(f"start {name!r}: needed is shape {(runs, *shape)}")
    own = get_norm(norm) if norm is not None else optimizer.pace_norm
    apart = optimizer.has_signs(first.shapes) and not _reached_by_all(first, X)
    weights = graded(LOSSES[loss], graded_at_most(first)) if apart else LOSSES[loss]
    schedule = schedule or paced_for(optimizer)
    batches = SampleOrder(first.n_samples, batch_size, runs, seed, order) if batch_size is not None else None
    task = Task(
        OneRun(first, optimizer, weights, own), schedule, {k: theta0[k] for k in first.shapes}, X.to(device),
        C.to(device), data_dim, batches,
    )  # fmt: skip
    with torch.no_grad():
        way = chosen(task, native=native)
        steps = max(CHUNK, steps // CHUNK * CHUNK)
        marks = set(log_spaced(steps, checkpoints))
        kept: list[dict[str, Any]] = []
        keeper = _Keeper(snapshot, every) if snapshot is not None else None
        if keeper is not None:
            everything = [problem] if isinstance(problem, Problem) else list(problem)
            keeper.who = identity(
                everything, theta0, optimizer=(optimizer, optimizer.recursion), schedule=schedule, loss=loss,
                steps=steps, checkpoints=checkpoints, norm=own.name, batches=batches, native=native, way=way.name,
                device=str(X.device),
            )  # fmt: skip
            kept = keeper.resumed(way)
        spoken = time.monotonic()
        try:
            while True:
                done = way.done
                marked = done == 0 or done in marks
                if marked and len(kept) < 1 + sum(m <= done for m in marks):
                    kept.append(way.look())
                if progress is not None and (marked or time.monotonic() - spoken >= 1.0):
                    spoken = time.monotonic()
                    progress(done, steps)
                if done == steps:
                    break
                way.advance(min(m for m in marks if m > done))
                if keeper is not None and keeper.due():
                    keeper.keep(way, kept)
        finally:
            if keeper is not None:
                keeper.keep(way, kept)
    return _trajectory(first, optimizer, [0, *sorted(marks)], kept)


class _Keeper:
    """Writes a run's snapshots and reads the last one back."""

    def __init__(self, path: str | Path, every: float) -> None:
        self.path, self.every, self.last = Path(path), every, time.monotonic()
        self.who: dict[str, str] = {}

    def due(self) -> bool:
        return time.monotonic() - self.last >= self.every

    def keep(self, way: Way, kept: Sequence[Any]) -> None:
        save(self.path, self.who, way.done, way.now, kept)
        self.last = time.monotonic()

    def resumed(self, way: Way) -> list[dict[str, Any]]:
        """Put a run where its snapshot left it; the checkpoints so far."""
        found = load(self.path, self.who, way.now, way.look()) if self.path.exists() else None
        if found is None:
            return []
        done, now, kept = found
        way.resume(done, now)
        return kept


def paced_for(optimizer: Optimizer) -> Paced:
    """Return the pace that the optimizer's moments can follow."""
    return Paced.following(optimizer.lag_limit)


def _trajectory(problem: Problem, optimizer: Optimizer, steps: list[int], kept: list[dict[str, Any]]) -> Trajectory:
    def stack(field: str) -> np.ndarray:
        return torch.stack([k[field] for k in kept]).cpu().numpy()

    def blocks(field: str) -> dict[str, np.ndarray]:
        return {b: torch.stack([k[field][b] for k in kept]).cpu().numpy() for b in problem.shapes}

    margin, at = stack("margin"), np.asarray(steps)
    separated = margin > 0
    return Trajectory(
        problem=problem.name,
        optimizer=optimizer.recursion,
        steps=at,
        theta=blocks("theta"),
        gradient=blocks("gradient"),
        update=blocks("update"),
        log_scale=stack("log_scale"),
        margin=margin,
        eta=stack("eta"),
        travelled=stack("travelled"),
        separated_at=np.where(separated.any(axis=0), at[separated.argmax(axis=0)], -1),
    )
