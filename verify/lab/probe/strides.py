"""How often an optimizer moves: where it gathers gradients, or takes its blocks in turn, several calls are one step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from math import lcm

import torch

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.thresholds.probe import CALLS_WATCHED, MOVES_SEEN, SLOWEST_STRIDE


def in_stride(target: Target, problems: Iterable[Shapes], seed: int = 0) -> Target:
    """The target, its calls of ``step()`` put together so that every block moves in each step.

    Args:
        target: A black box.
        problems: The shapes that it is going to be tried on.
        seed: Of the gradients.

    Returns:
        The same target where each block moves in every call, never, or at irregular intervals.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    stride = lcm(*(_stride(target, shapes, seed) for shapes in problems))
    return replace(target, stride=stride, rates={}) if 1 < stride <= SLOWEST_STRIDE else target


def _stride(target: Target, shapes: Shapes, seed: int) -> int:
    with seeded(0):
        session = Session(target, shapes, seed)
        handle = session.open()
        moved: list[list[int]] = [[] for _ in shapes]  # the calls in which each block moved
        for call in range(CALLS_WATCHED):
            changes = handle.advance(session.gradients[call % len(session.gradients)])
            for calls, change in zip(moved, changes, strict=True):
                if bool(torch.any(change != 0)):
                    calls.append(call)
    return lcm(*(_interval(calls) for calls in moved))


def _interval(calls: list[int]) -> int:
    """The number of calls from one move to the next, if it is always the same, after a first gap of any length."""
    gaps = {later - call for call, later in pairwise(calls)}
    return gaps.pop() if len(gaps) == 1 and len(calls) >= MOVES_SEEN else 1
