"""Prescribed gradients for a black box, and the steps it made on them: what a native twin has to repeat.

Sizes stay where a plain float64 loop is exact and cover what a long run shows an optimizer: there the gradient is
rescaled to stay within 2^±20 of order one. Beyond, the engine goes on exactly as the recursion says; that the black
box does too is seen as far down as it can be fed. Six sequences, each fed to an instance of its own:

- *changing*: directions drawn anew, sizes that wander and jump over eight decades, blocks out of step with each other;
  then nearly one direction that shrinks, as late in training; then reversals and growth;
- *low rank*: the momentum's null directions must stay null, where a polar factor of rounding noise would move;
- *absent*: rows, columns and entries that are exactly 0 (dead neurons, absent features), after 0/0 := 0;
- *tiny*: as small as it was seen to be itself, down to 2^-480: an eps may rule there that nothing larger shows;
- *far*: at weights that grow to a million times their size, for what looks at them there alone (a clip, a ball);
- *late*: two thousand steps of slowly drifting gradients that fall, as in training, as fast as the memory can follow:
  for what changes with the step count, or beside gradients that were larger before.

In all but the last the weights are drawn anew before each step, which a recursion in the gradients cannot notice and
anything that looks at the weights (a decay, a trust ratio) must; and the steps are long, so that rounding in the
weights leaves their digits alone. What the state keeps among the weights (slow weights, an average of them, the base
sequence of a schedule-free method) is moved along: how far it lies from the weights is the optimizer's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.thresholds.twin import (
    TWIN_CHANGING,
    TWIN_FAR,
    TWIN_LATE,
    TWIN_LONG_SHARE,
    TWIN_SHARE,
    TWIN_SPECIAL,
)

Blocks = dict[str, Tensor]


@dataclass(frozen=True)
class Rehearsal:
    """What a black box did on one sequence.

    Attributes:
        moves: Its steps, up to the first that is not finite.
        broken: The call of ``step()`` that was not finite, from 1; None where all were.
        heaviest: The largest norm of the weights before a step.
    """

    moves: list[Move]
    broken: int | None = None
    heaviest: float = 0.0


@dataclass(frozen=True)
class Move:
    """One step: the gradient, the learning-rate factor, what the black box did, and the rounding in that.

    Where the learning rate made up for the gradient's size, the factor is what it was besides.
    """

    gradient: Blocks
    factor: float
    update: Blocks
    rounding: dict[str, float]


class Draw:
    """Random blocks of given shapes, sizes apart."""

    def __init__(self, shapes: Shapes, seed: int) -> None:
        self.shapes, self.generator = shapes, torch.Generator().manual_seed(seed)

    def blocks(self) -> Blocks:
        """Gaussian blocks: of full rank, and well conditioned."""
        return {k: torch.randn(s, generator=self.generator, dtype=torch.float64) for k, s in self.shapes.items()}

    def normal(self) -> float:
        """A Gaussian number."""
        return float(torch.randn((), generator=self.generator, dtype=torch.float64))


Gradients = Callable[[Draw], Iterator[Blocks]]


def changing(draw: Draw) -> Iterator[Blocks]:
    """New directions, sizes over ten decades, then one direction that shrinks, then reversals and growth."""
    log_size, apart = 0.0, dict.fromkeys(draw.shapes, 0.0)
    base = draw.blocks()
    for t in range(TWIN_CHANGING):
        if t < 90:
            log_size = max(-4.0, min(4.0, log_size + 0.4 * draw.normal() + (3.0 * draw.normal() if t % 17 == 9 else 0)))
            apart = {k: max(-1.0, min(1.0, a + 0.2 * draw.normal())) for k, a in apart.items()}
            blocks = draw.blocks()
        else:
            if t == 90:
                log_size = 3.0
            log_size += -0.1 if t < 150 else 0.07
            noise = draw.blocks()
            sign = -1.0 if t >= 150 and t % 3 == 0 else 1.0
            blocks = {k: sign * b + 0.1 * noise[k] for k, b in base.items()}
        yield {k: 10.0 ** (log_size + apart[k]) * b for k, b in blocks.items()}


def low_rank(draw: Draw) -> Iterator[Blocks]:
    """Matrices that stay in one subspace of deficient rank: two, or one where two would be full."""

    def factors(shape: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
        rank = max(1, min(2, min(shape) - 1))
        return [
            (
                torch.randn(shape[0], generator=draw.generator, dtype=torch.float64),
                torch.randn(shape[1], generator=draw.generator, dtype=torch.float64),
            )
            for _ in range(rank)
        ]

    kept = {k: factors(s) for k, s in draw.shapes.items() if len(s) == 2}
    for _ in range(TWIN_SPECIAL):
        blocks = draw.blocks()
        size = 10.0 ** draw.normal()
        for k, pairs in kept.items():
            terms = [(1.0 + 0.3 * draw.normal()) * torch.outer(a, b) for a, b in pairs]
            blocks[k] = torch.stack(terms).sum(0)
        yield {k: size * b for k, b in blocks.items()}


def absent(draw: Draw) -> Iterator[Blocks]:
    """The last row and the first column of matrices, and the last entry of vectors, are exactly 0."""
    masks = {k: torch.ones(s, dtype=torch.float64) for k, s in draw.shapes.items()}
    for mask in masks.values():
        if mask.shape[0] > 1:
            mask[-1] = 0.0
        if mask.ndim == 2 and mask.shape[1] > 1:
            mask[:, 0] = 0.0
    for _ in range(TWIN_SPECIAL):
        size = 10.0 ** draw.normal()
        yield {k: size * masks[k] * b for k, b in draw.blocks().items()}


def late(draw: Draw) -> Iterator[Blocks]:
    """Gradients that drift, from a tenth a step to a ten-thousandth, as the end of training shows them."""
    yield from falling(0.0)(draw)


def falling(rate: float) -> Gradients:
    """The same while their size falls by the factor exp(−rate) a step."""

    def gradients(draw: Draw) -> Iterator[Blocks]:
        base, log_size = draw.blocks(), 0.0
        for t in range(TWIN_LATE):
            log_size = max(-1.0, min(1.0, log_size + 0.05 * draw.normal()))
            noise = draw.blocks()
            change = 10.0 ** (-1.0 - 3.0 * t / TWIN_LATE)
            base = {k: (1.0 - change**2 / 2) * b + change * noise[k] for k, b in base.items()}
            size = 10.0**log_size * exp(-rate * t)
            yield {k: size * b for k, b in base.items()}

    return gradients


def tiny(depth: float) -> Gradients:
    """As small as the optimizer was seen to be itself, for an eps that nothing larger would show."""

    def gradients(draw: Draw) -> Iterator[Blocks]:
        for _ in range(TWIN_SPECIAL):
            size = 10.0 ** abs(draw.normal())
            yield {k: depth * size * b for k, b in draw.blocks().items()}

    return gradients


def far(draw: Draw) -> Iterator[Blocks]:
    """As usual; it is the weights that are not."""
    for _ in range(TWIN_SPECIAL):
        size = 10.0 ** draw.normal()
        yield {k: size * b for k, b in draw.blocks().items()}


def moves(
    target: Target,
    shapes: Shapes,
    about: Probe,
    gradients: Gradients,
    seed: int,
    *,
    steady: bool = False,
    anew: bool = True,
) -> Rehearsal:
    """Let a fresh instance of the black box make steps on these gradients, at learning rates changed on the way.

    Args:
        target: The black box.
        shapes: Of its parameters.
        about: What the probe found.
        gradients: The sequence.
        seed: Of its numbers.
        steady: At a learning rate that makes up for the gradient's size, and is constant else, instead.
        anew: Whether the weights are drawn anew before each step.

    Returns:
        Its moves, which prove nothing where they are cut short.
    """
    draw = Draw(shapes, seed)
    params = [torch.nn.Parameter(0.3 * b) for b in draw.blocks().values()]
    torch.manual_seed(seed)
    handle = Handle(target, params)
    share = TWIN_LONG_SHARE if anew else TWIN_SHARE
    unit = share * _size(p.detach() for p in params) / max(about.step_per_lr, 1e-300)
    typical = _size(draw.blocks().values())
    keep = 1.0 - 1.0 / max(1.0, min(about.memory, 1e6))
    reach = 0.0  # how large the momentum can be: an update of degree 1 is as large
    never = [torch.ones(s, dtype=torch.bool) for s in shapes.values()]  # gradient was 0 in every step so far
    found: list[Move] = []
    heaviest = 0.0
    for g in gradients(draw):
        reach = max(keep * reach, _size(g.values()))
        factor = unit * 3.0 ** torch.tanh(torch.tensor(draw.normal())).item() * (typical / reach) ** about.update_degree
        if steady:
            factor = unit
        if anew:
            at = 10.0 ** (0.5 * draw.normal())
            if gradients is far:
                at = TWIN_FAR ** (len(found) / (TWIN_SPECIAL - 1))
            handle.put([0.3 * at * b for b in draw.blocks().values()], about.copies)
        before = [p.detach().clone() for p in params]
        heaviest = max(heaviest, _size(before))
        handle.set_lr(factor * _size(g.values()) ** -about.update_degree if steady else factor)
        update = handle.advance(list(g.values()))
        rounding = []
        for p, b, u, zero, block in zip(params, before, update, never, g.values(), strict=True):
            zero &= block == 0
            undefined = torch.isnan(u) & zero
            if undefined.any():
                p.data.copy_(torch.where(undefined, b, p.detach()))
                u[undefined] = 0.0
            rounding.append(4e-16 * float(torch.maximum(p.detach().abs(), b.abs()).norm()))
        if not all(bool(torch.isfinite(u).all()) for u in update):
            return Rehearsal(found, len(found) + 1, heaviest)
        names = list(shapes)
        found.append(Move(g, factor, dict(zip(names, update, strict=True)), dict(zip(names, rounding, strict=True))))
    return Rehearsal(found, None, heaviest)


def _size(blocks: Iterable[Tensor]) -> float:
    return float(torch.cat([b.reshape(-1) for b in blocks]).norm())
