"""Repeated short runs of one target on prescribed gradients from a fixed start: what every probe plays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.conventions import Convention
from maxmargin.verify.blackbox.feeding import seed_all
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.learning_rate import GROUPS_LR, Knob
from maxmargin.verify.blackbox.targets import Target, TargetError

WARM = 8  # steps of a twin run: some optimizers make no move at first, or warm up (RAdam: six steps)
PATIENCE = 60  # further steps until one moves
Change = Callable[[int, Tensor], Tensor]


class Session:
    """Runs the target on prescribed gradients from a fixed start.

    Attributes:
        warm: Steps of a run; more than WARM where the optimizer does not move in that step.
        moves: The lengths of the steps of a plain run, one after another.
        norm: The gradients' l2 norm.
    """

    def __init__(self, target: Target, shapes: Shapes, seed: int) -> None:
        self.target, self.shapes = target, shapes
        generator = torch.Generator().manual_seed(seed)

        def draw() -> list[Tensor]:
            return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes.values()]

        self.start = [0.3 * b for b in draw()]
        direction = draw()
        # Nearly the same gradient each time, as late in training: a fresh one each step would hide what momentum does.
        self.gradients = [[g + 0.1 * n for g, n in zip(direction, draw(), strict=True)] for _ in range(WARM)]
        self.norm = size(direction)
        self._more = draw
        self._direction = direction
        self.warm, self.moves = WARM, [0.0] * WARM
        self._settle()

    def _settle(self) -> None:
        """Find how many steps it takes until one moves."""
        handle = self.open()
        seed_all(0)
        self.moves = []
        for step in range(WARM + PATIENCE):
            if step == len(self.gradients):
                self.gradients.append([g + 0.1 * n for g, n in zip(self._direction, self._more(), strict=True)])
            self.moves.append(size(advance(handle, self.gradients[step])))
            if step >= WARM - 1 and self.moves[-1] != 0:
                self.warm = step + 1
                return
        del self.gradients[WARM:]

    def open(self, start_factor: float = 1.0, *, knob: Knob | None = None) -> Handle:
        """A fresh optimizer at the start."""
        seed_all(0)
        return Handle(self.target, [torch.nn.Parameter(start_factor * b) for b in self.start], knob=knob)

    def play_scaled(self, c: float, degree: float) -> list[Tensor]:
        """Play on c·g at a learning rate that should undo c^degree, so that rounding does not grow.

        Returns:
            The last step; not finite where the optimizer fails at that scale.
        """
        try:
            return self.play(c, lr=c**-degree)[1]
        except TargetError:
            return [torch.full_like(b, inf) for b in self.start]

    def play(
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
        handle.set_lr(lr)
        moved: list[Tensor] = []
        for gradients in self.gradients:
            fed = [c * g * (first if i == 0 else 1.0) for i, g in enumerate(gradients)]
            moved = advance(handle, fed if change is None else [change(i, g) for i, g in enumerate(fed)])
        return handle, moved

    def play_rate(self, factor: float) -> list[Tensor]:
        """The last step, with ``lr`` of the parameter groups multiplied just before it, as a schedule does."""
        handle = self.open(knob=GROUPS_LR)
        seed_all(0)
        moved: list[Tensor] = []
        for step, gradients in enumerate(self.gradients):
            handle.set_lr(factor if step == self.warm - 1 else 1.0)
            moved = advance(handle, gradients)
        return moved

    def play_arranged(self, order: Sequence[int], convention: Convention | None = None) -> list[Tensor]:
        """The last step, the parameters handed over in another order or by another convention; blocks in ours."""
        seed_all(0)
        params = [torch.nn.Parameter(b.clone()) for b in self.start]
        handle = Handle(self.target, [params[i] for i in order], convention=convention)
        seed_all(0)
        moved: list[Tensor] = []
        for gradients in self.gradients:
            moved = advance(handle, [gradients[i] for i in order])
        return [moved[list(order).index(i)] for i in range(len(order))]

    def one_more(self, handle: Handle, c: float) -> list[Tensor]:
        """The step that follows the warm ones, on −0.3 c times the last gradient."""
        return advance(handle, [-0.3 * c * g for g in self.gradients[-1]])


def advance(handle: Handle, gradients: Sequence[Tensor]) -> list[Tensor]:
    """One step, and what it did to the weights."""
    before = [p.detach().clone() for p in handle.params]
    handle.step(gradients)
    return [p.detach() - b for p, b in zip(handle.params, before, strict=True)]


def size(blocks: Sequence[Tensor]) -> float:
    """The l2 norm over all blocks."""
    return float(torch.stack([(b.double() ** 2).sum() for b in blocks]).sum().sqrt())


def difference(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Relative difference; inf where one is not finite."""
    scale = max(size(a), size(b))
    if scale == 0:
        return 0.0
    gap = size([x - y for x, y in zip(a, b, strict=True)]) / scale
    return gap if gap == gap else inf
