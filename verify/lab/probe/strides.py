"""How often an optimizer moves on: where it gathers gradients, takes its blocks in turn, or goes back every so often.

Several calls are one step then. Lookahead goes back half the way every sixth call, three steps at once: that changes
margins by as much as six calls together, and a pace set by single ones is a sixth of what its memory can follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import lcm

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.thresholds.probe import CALLS_WATCHED, GOES_BACK, MOVES_SEEN, SLOWEST_STRIDE


def in_stride(target: Target, problems: Iterable[Shapes], seed: int = 0) -> Target:
    """The target, its calls of ``step()`` put together so that every block moves in each step, and none goes back.

    Args:
        target: A black box.
        problems: The shapes that it is going to be tried on.
        seed: Of the gradients.

    Returns:
        The same target where each block moves on in every call, never, or at irregular intervals.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    stride = lcm(*(_stride(target, shapes, seed) for shapes in problems))
    return replace(target, stride=stride, rates={}) if 1 < stride <= SLOWEST_STRIDE else target


def _stride(target: Target, shapes: Shapes, seed: int) -> int:
    with seeded(0):
        session = Session(target, shapes, seed)
        changing = _steps(session, [session.gradients[call % len(session.gradients)] for call in range(CALLS_WATCHED)])
        constant = _steps(session, [session.gradients[-1]] * CALLS_WATCHED)
    moved = [[call for call, step in enumerate(steps) if bool(torch.any(step != 0))] for steps in changing]
    back = [
        [call for call, step in enumerate(steps) if _goes_back(step, torch.stack(steps).sum(0))] for steps in constant
    ]
    return lcm(*(_interval(calls) for calls in (*moved, *back)))


def _steps(session: Session, gradients: Sequence[Sequence[Tensor]]) -> list[tuple[Tensor, ...]]:
    """Each block's steps, one a call."""
    handle = session.open()
    return list(zip(*(handle.advance(blocks) for blocks in gradients), strict=True))


def _goes_back(step: Tensor, together: Tensor) -> bool:
    """Whether a step is turned round, beside all steps together."""
    along = torch.sum(step * together)
    return bool(along < -GOES_BACK * torch.linalg.vector_norm(step) * torch.linalg.vector_norm(together))


def _interval(calls: list[int]) -> int:
    """The number of calls from one move to the next, if it is always the same, after a first gap of any length."""
    gaps = {later - call for call, later in pairwise(calls)}
    return gaps.pop() if len(gaps) == 1 and len(calls) >= MOVES_SEEN else 1
