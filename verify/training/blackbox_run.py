"""Run somebody else's ``torch.optim.Optimizer``, unchanged, to margins where its gradients would long be zero.

Rescaling the loss and the optimizer's state together, by the degrees that twin runs found, is exact for a
scale-invariant optimizer and a change of learning rate for one of degree 1; so the gradient that it sees stays of
order one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite, isnan, log
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from maxmargin.models.blocks import Shapes, flatten, size, unflatten
from maxmargin.models.problem import Problem
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.engine.losses import LOSSES, graded, graded_at_most, scaled_gradient
from maxmargin.verify.engine.response import Response
from maxmargin.verify.engine.run import log_spaced
from maxmargin.verify.engine.schedules import Paced
from maxmargin.verify.engine.tracing import traced
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.progress.report import StepProgress
from maxmargin.verify.thresholds.training import CHECKED, DRIFT, REACH, SHORT_REACH, SPOKEN
from maxmargin.verify.training.instances import Instances, Weights
from maxmargin.verify.training.one_parameter import StepsOnBlocks, UnlikeError, one_parameter
from maxmargin.verify.training.pacing import Controller, pace_of
from maxmargin.verify.training.rewind import response_of
from maxmargin.verify.training.shared_instance import arrange

LOG_SCALE, CHANGE, LENGTH, MOVED, MARGIN = range(5)  # the numbers of a look, one row a run
_log = logging.getLogger(__name__)


@dataclass
class _Scale:
    """The units in which one run's optimizer sees the gradient: times 2^−scale2.

    Where the optimizer ``keeps`` what it has seen for ever, these are the gradient's own: its state must not be moved;
    and where no power of the gradient says how its steps answer to units.
    Below 2^−reach, where squares would underflow, all gradients are nothing beside that state, and stay at about this
    size, as under a loss that is scaled up in training of low precision.
    """

    keeps: bool = False
    reach: float = REACH
    scale2: int = 0
    started: bool = False
    exponent: float = 0.0  # log₂ of what it is fed now, per unit of the gradient's mantissa

    def follow(self, log2_scale: float, rescale: Callable[[int], int]) -> bool:
        """Move to the gradient's scale if it has drifted, and the state with it, before anything is decided.

        Returns:
            Whether the scale was moved.
        """
        if self.keeps:
            moves = log2_scale - self.scale2 < -self.reach - 1  # an octave: no gradient grows by more at once
            if moves:
                self.scale2 = round(log2_scale + self.reach)
            self.exponent = log2_scale - self.scale2
            return moves
        moves = not self.started or abs(log2_scale - self.scale2) > DRIFT
        if not self.started:
            self.scale2, self.started = round(log2_scale), True
        elif moves:
            self.scale2 -= rescale(self.scale2 - round(log2_scale))
        self.exponent = max(-REACH, log2_scale - self.scale2)
        return moves


def run_blackbox(
    target: Target,
    problem: Problem,
    theta0: Mapping[str, Tensor],
    probe: Probe,
    *,
    steps: int,
    pace: Paced | None = None,
    loss: str = "cross-entropy",
    checkpoints: int = 32,
    joint: bool | None = None,
    whole: bool | None = None,
    keeps: bool = False,
    signs: bool = False,
    progress: StepProgress | None = None,
) -> Trajectory:
    """Train B runs of a black-box optimizer side by side, and keep log-spaced checkpoints.

    Args:
        target: The optimizer.
        problem: The problem.
        theta0: Starts, block → (B, *shape).
        probe: What :func:`maxmargin.verify.lab.probe.probes.probe` found.
        steps: Steps of every run.
        pace: Learning rates are set each step so that margins change at this pace; by default as fast as the
            optimizer's memory can follow.
        loss: A key of ``losses.LOSSES``.
        checkpoints: How many to keep, about, besides the start.
        joint: Whether one instance serves all runs; by default it does where
            :func:`maxmargin.verify.training.shared_instance.arrange` finds that this changes nothing (what it finds
            is logged).
        whole: Whether one parameter stands for all blocks of a run; by default it does where
            :func:`maxmargin.verify.training.one_parameter.one_parameter` finds nothing against it, until a step shows
            that it changes something. Then the run is made on the blocks, from the start.
        keeps: Whether its state never forgets. Then its gradients come at their true scale, as in anybody's training,
            with learning rates that make up for it, and how its steps answer to gradients is measured at the end and a
            decade of steps before.
        signs: Whether entries of any size move as far: then no sample's weight may underflow (``losses.graded``).
        progress: Called with (steps done, steps): at every checkpoint, and now and then between them.

    Returns:
        The trajectory. A run whose weights stop being finite stays where it was, and is not ``alive``.
    """
    runs = next(iter(theta0.values())).shape[0]
    start = {k: theta0[k].to(torch.float64) for k in problem.shapes}
    weights = graded(LOSSES[loss], graded_at_most(problem)) if signs else LOSSES[loss]
    marks = sorted(set(log_spaced(steps, checkpoints)) | {0})
    asked = {min(marks, key=lambda mark: abs(mark - steps / 10)), marks[-1]} if keeps else set()

    def trained(parts: Shapes) -> Trajectory:
        one = joint
        if one is None:
            one, why = arrange(target, parts, runs, probe)
            _log.info("%s on %s: %s", target.spec, problem.name, why)
        batch = _Runs(target, problem, parts, start, probe, pace or pace_of(probe), weights, one, keeps)
        kept: list[dict[str, Any]] = []
        responses = []
        batch.look()
        for done in range(marks[-1] + 1):
            wanted = done == marks[len(kept)]
            if wanted:
                kept.append(batch.record())
            if done in asked:
                responses.append(batch.response(done))
            batch.step(done + 1)
            if wanted:
                kept[-1]["eta"] = [controller.factor for controller in batch.controllers]
            before = batch.now
            batch.look()
            if wanted:
                kept[-1]["update"] = batch.now - before
            if progress is not None and (wanted or done % SPOKEN == 0):
                progress(done, marks[-1])
        return _trajectory(problem, target.spec, np.asarray(marks), kept, batch, tuple(responses))

    if whole is None:
        why_not = one_parameter(target, problem.shapes, probe)
        whole = why_not is None
        _log.info("%s on %s: %s", target.spec, problem.name, why_not or "one parameter stands for all blocks of a run")
    if whole:
        try:
            return trained({"all": (size(problem.shapes),)})
        except UnlikeError as error:
            _log.info("%s on %s: %s", target.spec, problem.name, error)
    return trained(problem.shapes)


class _Runs:
    """B runs in lockstep: a look at the gradients, then a step of every run that is still alive."""

    def __init__(
        self,
        target: Target,
        problem: Problem,
        parts: Shapes,
        start: Mapping[str, Tensor],
        probe: Probe,
        pace: Paced,
        weights: Callable[[Tensor], Tensor],
        joint: bool,
        keeps: bool,
    ) -> None:
        self.parts, self.state_degrees = parts, probe.state_degrees
        # Of steps beside a state that stays, or that follow no power of the gradient, nothing is known beforehand: such
        # gradients come as they are, and the controller sees how the steps shrink.
        as_they_are = keeps or isnan(probe.update_degree)
        self.degree = 0.0 if as_they_are else probe.update_degree
        self.weights = Weights(flatten(start, problem.shapes), parts)
        self.instances = Instances(target, self.weights.params, joint)
        whole = parts is not problem.shapes
        self.on_blocks = StepsOnBlocks(target, problem.shapes, self.instances) if whole else None
        runs = len(self.weights.flat)
        self.controllers = [Controller(pace, not problem.linear, probe.step_per_lr) for _ in range(runs)]
        reach = SHORT_REACH if probe.state_formats else REACH
        self.scales = [_Scale(as_they_are, reach) for _ in range(runs)]
        self.offset = torch.zeros(runs, dtype=torch.float64)  # the scales, for the look
        self.travelled = [0.0] * runs
        self.keeps = keeps
        self.undefined = [0] * runs  # weights, at most in one step, that were 0/0
        self.taken = 0
        self.broken = [0] * runs  # the step that was not finite, from 1; 0 where all were
        self.now = self.weights.flat.clone()
        self.gradient, self.squares = torch.zeros_like(self.now), torch.zeros_like(self.now)
        self.margins = torch.zeros(runs, problem.n_margins, dtype=torch.float64)
        self.fed: list[list[Tensor]] = []
        self.rows: list[list[float]] = []
        self.rows_before: list[list[float]] = []
        self._look = _looker(problem, parts, weights, self.now, self.margins, self.offset)

    def look(self) -> None:
        """Settle the step just taken, and see where it led."""
        found = self._look(self.weights.flat, self.now, self.margins, self.offset)
        rows = found[2].tolist()
        if not all(isfinite(row[MOVED]) for row in rows):
            for run in tuple(self.instances.active):
                defined, count = self.weights.settle(run, self.now[run], self.gradient[run])
                self.undefined[run] = max(self.undefined[run], count)
                if not defined:
                    self.broken[run] = self.taken
                    self.instances.drop(run)
            found = self._look(self.weights.flat, self.now, self.margins, self.offset)
            rows = found[2].tolist()
        for run in tuple(self.instances.active):
            if not isfinite(rows[run][LOG_SCALE]):  # margins that overflow say nothing more
                self.instances.drop(run)
        self.gradient, self.margins, _, self.now = found[:4]
        each = len(self.parts)
        self.fed = [list(found[i : i + each]) for i in range(4, len(found), each)]
        self.rows, self.rows_before = rows, self.rows

    def record(self) -> dict[str, Any]:
        """What a checkpoint keeps of this look; the learning rate and the step follow."""
        return {
            "theta": self.now,
            "gradient": self.gradient,
            "log_scale": [row[LOG_SCALE] for row in self.rows],
            "margin": [row[MARGIN] for row in self.rows],
            "travelled": list(self.travelled),
        }

    def step(self, step: int) -> None:
        """Rescale, choose the learning rates from the speeds seen, and step; ``step`` counts from 1."""
        self.taken = step
        for run in self.instances.active:
            row, controller, scale = self.rows[run], self.controllers[run], self.scales[run]
            if step > 1:
                controller.saw(row[CHANGE], abs(row[MARGIN] - self.rows_before[run][MARGIN]), row[MOVED])
            if scale.follow(row[LOG_SCALE] / log(2.0), partial(self._rescale, run)):
                self.offset[run] = float(scale.scale2)  # an int of a run that explodes may be too long for a tensor
                shift = torch.exp2(torch.tensor(scale.exponent, dtype=torch.float64))
                self.fed[run] = list(unflatten(shift * self.gradient[run], self.parts).values())
            factor = controller.choose(step, row[LENGTH])
            self.travelled[run] += factor
            # An update of degree d shrinks with the gradient it is fed; its learning rate makes up for that.
            self.instances.set_lr(run, factor / 2.0 ** (self.degree * scale.exponent))
        if self.keeps:
            shifts = torch.tensor([scale.exponent for scale in self.scales], dtype=torch.float64)
            self.squares += (torch.exp2(shifts).unsqueeze(1) * self.gradient) ** 2
        if self.instances.active:
            if self.on_blocks is not None and step % CHECKED == 2:  # the first one makes state
                self.on_blocks.expect(self.fed)
            self.instances.step(self.fed)
            self.weights.gather()
            if self.on_blocks is not None:
                self.on_blocks.compare()

    def response(self, done: int) -> Response:
        """How the next steps answer to changes of their gradients; zero for a run that was given up."""
        fed = torch.stack([flatten(dict(zip(self.parts, blocks, strict=True)), self.parts) for blocks in self.fed])
        found = response_of(self.instances, self.weights, self.parts, fed, done)
        return replace(found, squares=self.squares.numpy().copy())

    def _rescale(self, run: int, move: int) -> int:
        return self.instances.rescale(run, move, self.state_degrees)


def _looker(
    problem: Problem, parts: Shapes, log_of: Callable[[Tensor], Tensor], *example: Tensor
) -> Callable[..., tuple[Tensor, ...]]:
    """Return the traced look at B runs: (weights, weights before, margins before, scale fed) → what a step needs.

    It returns the gradients' mantissas, the margins, a row of numbers a run, a copy of the weights, and the gradients
    to feed, run by run and part by part.
    """
    shapes = problem.shapes

    def one(flat: Tensor, before: Tensor, margins_before: Tensor, offset: Tensor) -> tuple[Tensor, ...]:
        seen: list[Tensor] = []  # margins are computed once, for the gradient and for the pace

        def log_weights(margins: Tensor) -> Tensor:
            seen.append(margins)
            return log_of(margins)

        g = scaled_gradient(problem.model, log_weights, unflatten(flat, shapes), problem.X, problem.contrasts)
        margins, gradient = seen[0].reshape(-1), flatten(g.blocks, shapes)
        numbers = [
            g.log_scale,
            (margins - margins_before).abs().amax(),
            torch.linalg.vector_norm(flat),
            torch.linalg.vector_norm(flat - before),
            margins.amin(),
        ]
        # In whole powers of two, so that it does not matter to the last bit where a run is rescaled.
        fed = torch.exp2(g.log_scale / log(2.0) - offset) * gradient
        return gradient, margins, torch.stack(numbers), fed

    def look(flat: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        if len(flat) == 1:  # half the operators
            gradient, margins, numbers, fed = (x.unsqueeze(0) for x in one(flat[0], *(x[0] for x in rest)))
        else:
            gradient, margins, numbers, fed = vmap(one)(flat, *rest)
        blocks = [block for row in fed.unbind() for block in unflatten(row, parts).values()]
        return gradient, margins, numbers, flat.clone(), *blocks

    flat, margins, offset = example
    script = traced(look, flat, flat.clone(), margins, offset)  # one tensor twice would be traced as one input

    def call(*arguments: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():  # a fifth faster; a handle clones gradients, so no optimizer sees such a tensor
            return script(*arguments)

    return call


def _trajectory(
    problem: Problem,
    spec: str,
    steps: np.ndarray,
    kept: list[dict[str, Any]],
    batch: _Runs,
    responses: tuple[Response, ...],
) -> Trajectory:
    def stack(name: str) -> np.ndarray:
        return np.stack([np.asarray(row[name]) for row in kept])

    margin = stack("margin")
    separated = margin > 0
    return Trajectory(
        problem=problem.name,
        optimizer=spec,
        steps=steps,
        theta=unflatten(stack("theta"), problem.shapes),
        gradient=unflatten(stack("gradient"), problem.shapes),
        update=unflatten(stack("update"), problem.shapes),
        log_scale=stack("log_scale"),
        margin=margin,
        eta=stack("eta"),
        travelled=stack("travelled"),
        separated_at=np.where(separated.any(axis=0), steps[separated.argmax(axis=0)], -1),
        alive=np.asarray([run in batch.instances.active for run in range(margin.shape[1])]),
        undefined=np.asarray(batch.undefined),
        broken=np.asarray(batch.broken),
        responses=responses,
    )
