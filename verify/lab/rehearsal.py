"""What an optimizer does on prescribed weights, gradients and learning rates: the same play for everyone.

Two optimizers, two code paths of one, or one with two values of an argument are given the same weights, gradients
and changes of the learning rate, and their steps are laid side by side. Nothing in a play depends on what is tried,
so that two sides in two processes are shown the same.

The kinds of gradients are those that a twin has to follow (:mod:`maxmargin.verify.lab.twin.gradients`), on blocks of
any number of dimensions: a convolution's kernel is taken as the matrix of its first dimension by all others. Sizes
stay where float64 is exact. ``anew`` draws the weights anew before each step, at sizes over a decade or two, so that a
decay or a trust ratio shows; in the late drift the weights are left to the optimizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import prod, tanh

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.feeding import seed_all, seeded
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.learning_rate import Knob
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.twin.gradients import Draw, Gradients, absent, changing, late, low_rank
from maxmargin.verify.thresholds.twin import LAST_DIGIT, WEIGHT_ROUNDING

KINDS: Mapping[str, tuple[Gradients, bool]] = {
    "changing gradients": (changing, True),
    "gradients of low rank": (low_rank, True),
    "absent entries": (absent, True),
    "late drift": (late, False),
}
"""Name → the gradients, and whether weights are drawn anew before each step."""


@dataclass(frozen=True)
class Cue:
    """What is prescribed of one step.

    Attributes:
        gradient: One block a parameter.
        weights: The weights before the step; None to leave them where the optimizer has brought them.
        rate: The learning rate, as a multiple of the optimizer's own.
    """

    gradient: list[Tensor]
    weights: list[Tensor] | None
    rate: float


@dataclass(frozen=True)
class Move:
    """What one step did.

    Attributes:
        update: The change of each block.
        rounding: How much of it, in l2, may be rounding of the weights, block by block.
        left: What it leaves in ``p.grad``, where some keep their momentum.
    """

    update: list[Tensor]
    rounding: list[float]
    left: list[Tensor | None]


@dataclass(frozen=True)
class Play:
    """A start and the cues of one run.

    Attributes:
        kind: One of KINDS.
        shapes: Of the blocks.
        steps: At most so many.
        seed: Of everything that is drawn.
        noise: Relative size of noise on the gradients; 0 for none. What changes an optimizer's steps by more than that
            is its own sensitivity to rounding.
    """

    kind: str
    shapes: Shapes
    steps: int
    seed: int = 0
    noise: float = 0.0

    def touched(self) -> Play:
        """The same play with noise in the gradients' last digits."""
        return Play(self.kind, self.shapes, self.steps, self.seed, LAST_DIGIT)

    def start(self) -> list[Tensor]:
        """The weights at first."""
        return [0.3 * b for b in _Flat(self.shapes, self.seed).weights()]

    @cached_property
    def cues(self) -> tuple[Cue, ...]:
        """What is prescribed, step by step; always alike."""
        return tuple(self._drawn())

    def _drawn(self) -> Iterator[Cue]:
        gradients, anew = KINDS[self.kind]
        flat = _Flat(self.shapes, self.seed)
        other = torch.Generator().manual_seed(self.seed + 1)
        for blocks in islice(gradients(flat.draw), self.steps):
            gradient = flat.restored(blocks)
            if self.noise:
                gradient = [
                    g * (1.0 + self.noise * torch.randn(g.shape, generator=other, dtype=torch.float64))
                    for g in gradient
                ]
            weights = None
            if anew:
                scale = 0.3 * 10.0 ** (0.5 * flat.normal())
                weights = [scale * b for b in flat.weights()]
            yield Cue(gradient, weights, 3.0 ** tanh(flat.normal()))


class _Flat:
    """Draws for blocks of any number of dimensions, by way of matrices; weights from a generator of their own."""

    def __init__(self, shapes: Shapes, seed: int) -> None:
        self._shapes = shapes
        flat = {k: s if len(s) < 3 else (s[0], prod(s[1:])) for k, s in shapes.items()}
        self.draw = Draw(flat, seed)
        self._weights = Draw(flat, seed + 2)

    def restored(self, blocks: Mapping[str, Tensor]) -> list[Tensor]:
        """In the blocks' own shapes."""
        return [blocks[k].reshape(s) for k, s in self._shapes.items()]

    def weights(self) -> list[Tensor]:
        """Gaussian blocks."""
        return self.restored(self._weights.blocks())

    def normal(self) -> float:
        """A Gaussian number."""
        return self._weights.normal()


def played(target: Target, play: Play, *, knob: Knob | None = None, torch_seed: int = 0) -> Iterator[Move]:
    """Let a fresh instance of an optimizer make the steps of a play.

    Args:
        target: The optimizer.
        play: What it is shown.
        knob: How its learning rate is set; by default as was found by trying.
        torch_seed: Of what the optimizer itself may draw.

    Yields:
        One move a step; blocks need not be finite.

    Raises:
        TargetError: when it cannot be built or stepped.
    """
    with seeded(torch_seed):
        params = [torch.nn.Parameter(b) for b in play.start()]
        handle = Handle(target, params, knob=knob)
        handle.set_lr(1.0)
        seed_all(torch_seed)
        for cue in play.cues:
            if cue.weights is not None:
                for p, w in zip(params, cue.weights, strict=True):
                    p.data.copy_(w)
            before = [p.detach().clone() for p in params]
            handle.set_lr(cue.rate)
            handle.step(cue.gradient)
            after = [p.detach() for p in params]
            largest = [torch.maximum(a.abs(), b.abs()) for a, b in zip(after, before, strict=True)]
            sizes = [float(torch.where(torch.isfinite(w), w, 0.0).norm()) for w in largest]
            yield Move(
                [a - b for a, b in zip(after, before, strict=True)],
                [WEIGHT_ROUNDING * size for size in sizes],
                [p.grad for p in params],
            )
