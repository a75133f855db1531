"""Repeated short runs of one target on prescribed gradients from a fixed start: what every probe is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import inf
from typing import Any

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.conventions import Convention
from maxmargin.verify.blackbox.difference import size
from maxmargin.verify.blackbox.feeding import seed_all
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.learning_rate import GROUPS_LR, Knob
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.thresholds.probe import FIRST_MOVE, STILL_ROUNDS, WARM_STEPS

Change = Callable[[int, Tensor], Tensor]
Degree = float | tuple[float, ...]
"""d in Δθ(c g) = c^d Δθ(g), of all blocks or of each; NaN where there is none."""


def last_step(handle: Handle, gradients: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """Feed these gradients, one a step, and return what the last step did to the weights."""
    moved: list[Tensor] = []
    for blocks in gradients:
        moved = handle.advance(blocks)
    return moved


def leaning(weights: Any, gradient: Any) -> Any:
    """Weights of the same length that lean against a gradient: their cosine with it is −0.87 at most; numpy or torch.

    So blocks do in a homogeneous model once its data are separated: by Euler's identity ⟨w, −∇⟩ is w's degree times
    the sum of all weighted margins. Steps that depend on the weights do there what they do late in training.

    Returns:
        The weights.
    """
    length = (weights**2).sum() ** 0.5
    there = weights - 2.0 * length / (gradient**2).sum() ** 0.5 * gradient
    return length / (there**2).sum() ** 0.5 * there


class Session:
    """Runs the target on prescribed gradients from a fixed start.

    Attributes:
        warm: Steps of a run; more than WARM_STEPS where the optimizer does not move in that step.
        moves: The lengths of the steps of the first run, one after another.
        still: Which weights no step moved a bit, in that run, nor where they alone have a gradient.
        end: Its last weights.
        norm: The gradients' l2 norm.
        rate: The factor of the learning rate in every run but the first.
    """

    def __init__(self, target: Target, shapes: Shapes, seed: int, *, late: bool = False) -> None:
        """Draw gradients, and a start that ``late`` in training leans against them, and run the target once."""
        self.target, self.shapes, self.seed = target, shapes, seed
        self.rate = 1.0
        generator = torch.Generator().manual_seed(seed)

        def draw() -> list[Tensor]:
            return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes.values()]

        def near(direction: Sequence[Tensor]) -> list[Tensor]:
            return [g + 0.1 * n for g, n in zip(direction, draw(), strict=True)]

        self.start = [0.3 * b for b in draw()]
        direction = draw()
        if late:
            self.start = [leaning(w, g) for w, g in zip(self.start, direction, strict=True)]
        # Nearly the same gradient each time, as late in training: a fresh one each step would hide what momentum does.
        self.gradients = [near(direction) for _ in range(WARM_STEPS)]
        self.norm = size(direction)
        self.moves: list[float] = []
        self.still = [torch.ones_like(b, dtype=torch.bool) for b in self.start]
        handle = self.open()
        seed_all(0)
        while len(self.moves) < WARM_STEPS or (self.moves[-1] == 0 and len(self.moves) < WARM_STEPS + FIRST_MOVE):
            if len(self.moves) == len(self.gradients):
                self.gradients.append(near(direction))
            moved = handle.advance(self.gradients[len(self.moves)])
            for still, m in zip(self.still, moved, strict=True):
                still &= m == 0  # not the weights at the end: equal steps there and back cancel
            self.moves.append(size(moved))
        self.end = [p.detach() for p in handle.params]
        self.warm = WARM_STEPS if self.moves[-1] == 0 else len(self.moves)
        del self.gradients[self.warm :]
        self._ask_the_still()

    def _ask_the_still(self) -> None:
        """Show a gradient to the weights alone that did not move: others may have been preferred, or their turn come.

        A greedy rule gives way to a few in each round; where it has not when rounds end, none is known to be still.
        """
        for _ in range(STILL_ROUNDS):
            if not any(bool(still.any()) for still in self.still):
                return
            handle, moved = self.open(), [torch.zeros_like(still) for still in self.still]
            with suppress(TargetError):  # it refuses gradients that are 0 elsewhere
                for call in range(WARM_STEPS + FIRST_MOVE):
                    fed = self.gradients[call % self.warm]
                    steps = handle.advance([g * still for g, still in zip(fed, self.still, strict=True)])
                    moved = [m | (step.isfinite() & (step != 0)) for m, step in zip(moved, steps, strict=True)]
            freed = [still & m for still, m in zip(self.still, moved, strict=True)]
            if not any(bool(f.any()) for f in freed):
                return
            self.still = [still & ~f for still, f in zip(self.still, freed, strict=True)]
        self.still = [torch.zeros_like(still) for still in self.still]

    def open(self, start_factor: float = 1.0, *, knob: Knob | None = None) -> Handle:
        """A fresh optimizer at the start."""
        seed_all(0)
        return Handle(self.target, [torch.nn.Parameter(start_factor * b) for b in self.start], knob=knob)

    def run(
        self,
        c: float = 1.0,
        *,
        lr: float = 1.0,
        start_factor: float = 1.0,
        seed: int = 0,
        first: float = 1.0,
        change: Change | None = None,
    ) -> tuple[Handle, list[Tensor]]:
        """The warm steps on c·g, the first block's gradient times ``first`` besides; the handle, and the last step."""
        handle = self.open(start_factor)
        seed_all(seed)
        handle.set_lr(lr * self.rate)

        def fed(gradients: Sequence[Tensor]) -> list[Tensor]:
            scaled = [c * g * (first if i == 0 else 1.0) for i, g in enumerate(gradients)]
            return scaled if change is None else [change(i, g) for i, g in enumerate(scaled)]

        return handle, last_step(handle, map(fed, self.gradients))

    def at_scale(self, c: float, degree: Degree, *, start_factor: float = 1.0) -> list[Tensor]:
        """The last step on c·g, at a learning rate that should undo |c|^degree, so that rounding does not grow.

        Args:
            c: The factor of all gradients.
            degree: Of all blocks, or of each: a block is then taken from the run at its own learning rate.
            start_factor: Of the weights.

        Returns:
            The step; not finite where the optimizer fails at that scale.
        """
        if isinstance(degree, tuple):
            steps = {d: self.at_scale(c, d, start_factor=start_factor) for d in set(degree)}
            return [steps[d][i] for i, d in enumerate(degree)]
        try:
            return self.run(c, lr=abs(c) ** -degree, start_factor=start_factor)[1]
        except TargetError:
            return [torch.full_like(b, inf) for b in self.start]

    def at_rate(self, factor: float) -> list[Tensor]:
        """The last step, with ``lr`` of the parameter groups multiplied just before it, as a schedule does."""
        handle = self.open(knob=GROUPS_LR)
        seed_all(0)

        def fed() -> Iterable[Sequence[Tensor]]:
            for step, gradients in enumerate(self.gradients, start=1):
                handle.set_lr(self.rate * (factor if step == self.warm else 1.0))
                yield gradients

        return last_step(handle, fed())

    def arranged(self, order: Sequence[int], convention: Convention | None = None) -> list[Tensor]:
        """The last step, the parameters handed over in another order or by another convention; blocks in ours."""
        seed_all(0)
        params = [torch.nn.Parameter(b.clone()) for b in self.start]
        handle = Handle(self.target, [params[i] for i in order], convention=convention)
        seed_all(0)
        if self.rate != 1.0:
            handle.set_lr(self.rate)
        moved = last_step(handle, ([gradients[i] for i in order] for gradients in self.gradients))
        return [moved[list(order).index(i)] for i in range(len(order))]

    def one_more(self, handle: Handle, c: float) -> list[Tensor]:
        """The step that follows the warm ones, on −0.3 c times the last gradient."""
        return handle.advance([-0.3 * c * g for g in self.gradients[-1]])
