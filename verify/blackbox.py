"""Run somebody else's ``torch.optim.Optimizer``, unchanged, to margins where its gradients would long be zero.

Rescaling the loss and the optimizer's state together, by the degrees that twin runs found, is exact for a
scale-invariant optimizer and a change of learning rate for one of degree 1; so the gradient that it sees stays of
order one. Where invariance fails (an eps) the true gradient can be fed instead (``feed="true"``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

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
        self.names = list(theta)
        self.handle = Handle(target, [torch.nn.Parameter(b.clone()) for b in theta.values()])
        self.probe, self.feed, self.capped = probe, feed, capped
        self.scale2 = 0  # the optimizer sees gradients times 2^−scale2
        self.started = False
        self.speed = 0.0  # fastest margin change per unit of learning-rate factor, with forgetting
        self.growth = 0.0  # ‖Δθ‖ per unit of learning-rate factor, with forgetting
        self.factor = 0.0
        self.shift = 1.0
        self.alive = True

    def theta(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in zip(self.names, self.handle.params, strict=True)}

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
    """Train B runs of a black-box optimizer and keep log-spaced checkpoints.

    Args:
        target: The optimizer; one instance a run.
        problem: The problem.
        theta0: Starts, block → (B, *shape).
        probe: What :func:`maxmargin.verify.probes.probe` found.
        steps: Steps of every run.
        pace: Learning rates are set each step so that margins change at this pace; by default as fast as the
            optimizer's memory can follow.
        feed: ``rescaled`` keeps the gradient that the optimizer sees at order one; ``true`` feeds it as it is.
        loss: A key of ``losses.LOSSES``.
        checkpoints: How many to keep, about, besides the start.
        progress: Called with (steps done, steps).

    Returns:
        The trajectory. Runs whose weights stop being finite are kept as they were.
    """
    runs = next(iter(theta0.values())).shape[0]
    pace = pace or Pace.following(probe)
    log_weights = LOSSES[loss]

    def look(theta: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        g = scaled_gradient(problem.model, log_weights, theta, problem.X, problem.contrasts)
        return g.blocks, g.log_scale, margins_of(problem.model, theta, problem.X, problem.contrasts).reshape(-1)

    start = {k: theta0[k].to(torch.float64) for k in problem.shapes}
    gradient_of = traced(vmap(look), start)
    each = [_Run(target, {k: b[i] for k, b in start.items()}, probe, feed, not problem.linear) for i in range(runs)]
    marks = set(log_spaced(steps, checkpoints)) | {0}
    steps = max(marks)
    keeper = _Keeper(problem, runs)
    margins = None
    moved = [0.0] * runs
    for done in range(steps + 1):
        theta = (
            {k: torch.stack([r.theta()[k] for r in each]) for k in start}
            if runs > 1
            else {k: b.unsqueeze(0) for k, b in each[0].theta().items()}
        )
        blocks, scales, now = gradient_of(theta)
        if margins is not None:
            changes = (now - margins).abs().amax(-1).tolist()
            for i, r in enumerate(each):
                if r.alive:
                    r.saw(changes[i], moved[i])
        margins = now
        log_scales = scales.tolist()
        keep = done in marks
        before = {k: b.clone() for k, b in theta.items()}
        lengths = torch.stack([(b**2).reshape(runs, -1).sum(-1) for b in before.values()]).sum(0).sqrt().tolist()
        moved = [0.0] * runs
        for i, r in enumerate(each):
            if not r.alive:
                continue
            r.prepare(log_scales[i])
            r.step({k: b[i] for k, b in blocks.items()}, pace.at(done + 1), pace.cap * lengths[i])
            after = r.theta()
            square = sum(float(((after[k] - before[k][i]) ** 2).sum()) for k in after)
            r.alive = square == square and square < float("inf")
            moved[i] = square**0.5
            if not r.alive:
                for p, k in zip(r.handle.params, r.names, strict=True):
                    p.data.copy_(before[k][i])
        if keep:
            keeper.keep(done, before, blocks, log_scales, margins, each)
            if progress is not None:
                progress(done, steps)
    return keeper.trajectory(target.spec)


class _Keeper:
    """Collects checkpoints."""

    def __init__(self, problem: Problem, runs: int) -> None:
        self.problem, self.runs = problem, runs
        self.rows: list[dict[str, Any]] = []
        self.separated_at = np.full(runs, -1)

    def keep(
        self,
        done: int,
        before: Mapping[str, Tensor],
        gradient: Mapping[str, Tensor],
        log_scales: list[float],
        margins: Tensor,
        each: list[_Run],
    ) -> None:
        q = margins.amin(-1).numpy().copy()
        self.separated_at = np.where((self.separated_at < 0) & (q > 0), done, self.separated_at)
        after = {k: np.stack([r.theta()[k].numpy().copy() for r in each]) for k in before}
        self.rows.append(
            {
                "step": done,
                "theta": {k: b.numpy().copy() for k, b in before.items()},
                "gradient": {k: b.numpy().copy() for k, b in gradient.items()},
                "update": {k: after[k] - before[k].numpy() for k in before},
                "log_scale": np.asarray(log_scales),
                "margin": q,
                "eta": np.asarray([r.factor for r in each]),
            }
        )

    def trajectory(self, spec: str) -> Trajectory:
        def blocks(name: str) -> dict[str, np.ndarray]:
            return {k: np.stack([row[name][k] for row in self.rows]) for k in self.problem.shapes}

        eta = np.stack([row["eta"] for row in self.rows])
        steps = np.asarray([row["step"] for row in self.rows])
        return Trajectory(
            problem=self.problem.name,
            optimizer=spec,
            steps=steps,
            theta=blocks("theta"),
            gradient=blocks("gradient"),
            update=blocks("update"),
            log_scale=np.stack([row["log_scale"] for row in self.rows]),
            margin=np.stack([row["margin"] for row in self.rows]),
            eta=eta,
            travelled=np.concatenate([np.zeros((1, self.runs)), np.cumsum(eta[:-1] * np.diff(steps)[:, None], axis=0)]),
            separated_at=self.separated_at,
        )
