"""Run somebody else's ``torch.optim.Optimizer``, unchanged, to margins where its gradients would long be zero.

Rescaling the loss and the optimizer's state together, by the degrees that twin runs found, is exact for a
scale-invariant optimizer and a change of learning rate for one of degree 1; so the gradient that it sees stays of
order one. Where invariance fails (an eps) the true gradient can be fed instead (``feed="true"``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from maxmargin.models.blocks import flatten, unflatten
from maxmargin.models.problem import Problem
from maxmargin.verify.engine import Progress, log_spaced
from maxmargin.verify.handle import Handle
from maxmargin.verify.losses import LOSSES, margins_of, scaled_gradient
from maxmargin.verify.probes import Probe
from maxmargin.verify.targets import Target
from maxmargin.verify.tracing import traced
from maxmargin.verify.trajectory import Trajectory

DRIFT = 20  # rescale when the log₂-scale has drifted this far
SPEED_FORGETS = 0.99  # per step; the controller's memory of the fastest margin
MAX_LR_GROWTH = 1.5  # per step
Feed = Literal["rescaled", "true"]


@dataclass(frozen=True)
class Pace:
    """How fast margins may move: the worst one changes by ``pace · (1 + t/knee)^(−decay)`` a step.

    ``cap`` bounds a step relative to ‖θ‖₂, which governs the start of networks from a small θ₀.
    """

    pace: float
    decay: float = 0.2
    knee: float = 1000.0
    cap: float = 0.02

    @classmethod
    def following(cls, probe: Probe) -> Pace:
        """The pace that the optimizer's state can follow, at most 0.1."""
        return cls(pace=min(0.1, probe.lag_limit))

    def at(self, step: int) -> float:
        """The bound for this step."""
        return self.pace * (1 + step / self.knee) ** -self.decay


class _Run:
    """One optimizer instance on one start: its parameters, its loss scale, its learning rate."""

    def __init__(self, target: Target, theta: Mapping[str, Tensor], probe: Probe, feed: Feed, capped: bool) -> None:
        self.handle = Handle(target, [torch.nn.Parameter(b.clone()) for b in theta.values()])
        self.probe, self.feed, self.capped = probe, feed, capped
        self.scale2 = 0  # the optimizer sees gradients times 2^−scale2
        self.started = False
        self.speed = 0.0  # fastest margin change per unit of learning-rate factor, with forgetting
        self.growth = 0.0  # ‖Δθ‖ per unit of learning-rate factor, with forgetting
        self.factor = 0.0
        self.shift = 1.0
        self.alive = True
        self.undefined = 0  # weights, at most in one step, that were 0/0

    def flat(self) -> Tensor:
        """All weights in one new vector."""
        return torch.cat([p.detach().reshape(-1) for p in self.handle.params])

    def prepare(self, log_scale: float) -> None:
        """Rescale the state where the gradient's scale has drifted, before anything of this step is decided."""
        if self.feed == "true":
            self.shift = exp(max(log_scale, -745.0))
            return
        log2_scale = log_scale / log(2.0)
        if not self.started or abs(log2_scale - self.scale2) > DRIFT:
            self._rebase(round(log2_scale))
        self.shift = 2.0 ** (log2_scale - self.scale2)

    def _rebase(self, scale2: int) -> None:
        move = self.scale2 - scale2
        if self.started and abs(move) < 900:
            for leaf in self.handle.leaves():
                degree = self.probe.state_degrees.get(leaf.path, 0.0)
                if degree:
                    leaf.multiply(2.0 ** (degree * move))
        self.scale2 = scale2
        self.started = True

    def step(self, gradient: Mapping[str, Tensor], bound: float, cap: float) -> None:
        """Choose the learning rate from the speeds seen, and step."""
        if self.speed <= 0 and self.growth <= 0:
            wanted = 1e-3 / max(self.probe.step_per_lr, 1e-300) if self.factor == 0 else self.factor * MAX_LR_GROWTH
        else:
            wanted = bound / self.speed if self.speed > 0 else float("inf")
            if self.capped and self.growth > 0:
                wanted = min(wanted, cap / self.growth)
        if self.factor:
            wanted = min(wanted, self.factor * MAX_LR_GROWTH)
        self.factor = wanted
        # An update of degree d shrinks with the gradient it is fed; its learning rate makes up for that.
        degree = self.probe.update_degree if self.feed == "rescaled" else 0.0
        self.handle.set_lr(self.factor / self.shift**degree)
        self.handle.step([g * self.shift for g in gradient.values()])

    def settle(self, gradient: Tensor, before: Tensor) -> tuple[Tensor, float]:
        """Return the weights after the step and its length (ℓ2), after 0/0 := 0; a run that broke stays where it was.

        Adam without eps divides 0/0 where a gradient is exactly 0 for long (a dead neuron, an absent feature); such
        a weight stays where it is, and is counted.
        """
        after = self.flat()
        moved = float(torch.linalg.vector_norm(after - before))
        if isfinite(moved):
            return after, moved
        undefined = torch.isnan(after) & (gradient == 0)
        self.undefined = max(self.undefined, int(undefined.sum()))
        after = torch.where(undefined, before, after)
        moved = float(torch.linalg.vector_norm(after - before))
        if not isfinite(moved):
            self.alive, after, moved = False, before, 0.0
        start = 0
        for p in self.handle.params:
            p.data.copy_(after[start : start + p.numel()].reshape(p.shape))
            start += p.numel()
        return after, moved

    def saw(self, change: float, moved: float) -> None:
        """Learn from a step: the fastest margin changed by ``change``, the weights moved by ``moved`` (ℓ2)."""
        self.speed = max(change / self.factor, SPEED_FORGETS * self.speed)
        self.growth = max(moved / self.factor, SPEED_FORGETS * self.growth)


def run_blackbox(
    target: Target,
    problem: Problem,
    theta0: Mapping[str, Tensor],
    probe: Probe,
    *,
    steps: int,
    pace: Pace | None = None,
    feed: Feed = "rescaled",
    loss: str = "cross-entropy",
    checkpoints: int = 32,
    progress: Progress | None = None,
) -> Trajectory:
    """Train B runs of a black-box optimizer, one instance after another, and keep log-spaced checkpoints.

    Args:
        target: The optimizer; a fresh instance a run.
        problem: The problem.
        theta0: Starts, block → (B, *shape).
        probe: What :func:`maxmargin.verify.probes.probe` found.
        steps: Steps of every run.
        pace: Learning rates are set each step so that margins change at this pace; by default as fast as the
            optimizer's memory can follow.
        feed: ``rescaled`` keeps the gradient that the optimizer sees at order one; ``true`` feeds it as it is.
        loss: A key of ``losses.LOSSES``.
        checkpoints: How many to keep, about, besides the start.
        progress: Called with (steps done, steps of all runs together).

    Returns:
        The trajectory. A run whose weights stop being finite stays where it was, and is not ``alive``.
    """
    runs = next(iter(theta0.values())).shape[0]
    pace = pace or Pace.following(probe)
    log_weights = LOSSES[loss]

    def look(flat: Tensor, margins_before: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        theta = unflatten(flat, problem.shapes)
        g = scaled_gradient(problem.model, log_weights, theta, problem.X, problem.contrasts)
        margins = margins_of(problem.model, theta, problem.X, problem.contrasts).reshape(-1)
        change = (margins - margins_before).abs().amax()
        return g.blocks, flatten(g.blocks, problem.shapes), margins, torch.stack([g.log_scale, change, flat.norm()])

    start = {k: theta0[k].to(torch.float64) for k in problem.shapes}
    flats = flatten(start, problem.shapes)
    gradient_of = traced(look, flats[0], torch.zeros(problem.n_margins, dtype=torch.float64))
    marks = sorted(set(log_spaced(steps, checkpoints)) | {0})
    columns = []
    for i in range(runs):
        run = _Run(target, {k: b[i] for k, b in start.items()}, probe, feed, not problem.linear)

        def tell(done: int, first: int = i) -> None:
            if progress is not None:
                progress(first * marks[-1] + done, runs * marks[-1])

        columns.append(_train(run, gradient_of, problem.n_margins, marks, pace, tell))
    return _trajectory(problem, target.spec, np.asarray(marks), columns)


def _train(
    run: _Run, gradient_of: Any, n_margins: int, marks: list[int], pace: Pace, tell: Callable[[int], None]
) -> dict[str, Any]:
    """One run to its end; its checkpoints as one column of the trajectory."""
    wanted = set(marks)
    rows: list[tuple[Tensor, Tensor, Tensor, float, float, float]] = []
    flat, margins, moved = run.flat(), torch.zeros(n_margins, dtype=torch.float64), 0.0
    for done in range(marks[-1] + 1):
        blocks, gradient, margins, numbers = gradient_of(flat, margins)
        log_scale, change, length = numbers.tolist()
        run.alive = run.alive and isfinite(log_scale)  # margins that overflow say nothing more
        if run.alive:
            if done:
                run.saw(change, moved)
            run.prepare(log_scale)
            run.step(blocks, pace.at(done + 1), pace.cap * length)
            after, moved = run.settle(gradient, flat)
        else:
            after, moved = flat, 0.0
        if done in wanted:
            rows.append((flat, gradient, after - flat, log_scale, float(margins.amin()), run.factor))
            tell(done)
        flat = after
    names = ("theta", "gradient", "update", "log_scale", "margin", "eta")
    column: dict[str, Any] = {name: np.stack([np.asarray(row[j]) for row in rows]) for j, name in enumerate(names)}
    return column | {"alive": run.alive, "undefined": run.undefined}


def _trajectory(problem: Problem, spec: str, steps: np.ndarray, columns: list[dict[str, Any]]) -> Trajectory:
    def stack(name: str) -> np.ndarray:
        return np.stack([column[name] for column in columns], axis=1)

    def blocks(name: str) -> dict[str, np.ndarray]:
        return unflatten(stack(name), problem.shapes)

    eta, margin = stack("eta"), stack("margin")
    travelled = np.concatenate([np.zeros((1, len(columns))), np.cumsum(eta[:-1] * np.diff(steps)[:, None], axis=0)])
    separated = margin > 0
    return Trajectory(
        problem=problem.name,
        optimizer=spec,
        steps=steps,
        theta=blocks("theta"),
        gradient=blocks("gradient"),
        update=blocks("update"),
        log_scale=stack("log_scale"),
        margin=margin,
        eta=eta,
        travelled=travelled,
        separated_at=np.where(separated.any(axis=0), steps[separated.argmax(axis=0)], -1),
        alive=np.asarray([column["alive"] for column in columns]),
        undefined=np.asarray([column["undefined"] for column in columns]),
    )
