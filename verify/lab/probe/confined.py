"""Lengths of the weights that no step changes: an optimizer that keeps its weights on a sphere.

Weights that do not grow keep the loss of a homogeneous model above a bound. What is approached is the direction of
the least loss at that length, and no KKT point of a margin: as with a weight decay (Xie & Li 2404.04454), but on the
ball's surface from the first step on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm

from maxmargin.verify.blackbox.difference import size
from maxmargin.verify.blackbox.targets import TargetError
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.thresholds.probe import HABIT_SEEN, KEPT_MOVE, KEPT_ROUNDINGS, KEPT_STEP, KEPT_STEPS

TOGETHER = "all weights together"

_LENGTHS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "l2 length of each row": lambda w: vector_norm(w, dim=1),
        "l2 length of each column": lambda w: vector_norm(w, dim=0),
        "l2 length": vector_norm,
        "spectral norm": lambda w: matrix_norm(w, ord=2),
    }
)
"""Most particular first; all but ℓ2 are of matrices."""


def kept_lengths(session: Session, update: Sequence[Tensor], unit: float) -> dict[str, str]:
    """Return the blocks of which a length stays the same, while their steps go far, and which length that is.

    The start's own length does not count: the first step may bring the weights to where they are kept.

    Args:
        session: The target's.
        update: The last of its warm steps, by which steps are made so long that one without such a rule would show.
        unit: The relative error of one rounding of the weights; 0 for float64.

    Returns:
        Block → length; ``TOGETHER`` alone where it is that of all blocks in one. Nothing where weights are rounded so
        coarsely that steps across them would pass for it.
    """
    handle, far, rounding = session.open(), size(session.end), max(HABIT_SEEN, KEPT_ROUNDINGS * unit)
    if size(update) == 0 or rounding >= KEPT_MOVE**2 / 2:
        return {}
    if not handle.rate.knob.outside:  # a step that is scaled from outside would be taken off the sphere by that
        handle.set_lr(session.rate * KEPT_STEP * far / size(update))
    weights: list[list[Tensor]] = []
    try:
        for gradients in session.gradients:
            if size(handle.advance(gradients)) > 0:
                weights.append([p.detach().clone() for p in handle.params])
    except TargetError:
        return {}
    found = {}
    for name, blocks in zip(session.shapes, zip(*weights, strict=True), strict=False):
        if (kept := _kept(blocks, rounding)) is not None:
            found[name] = kept
    whole = [torch.cat([b.reshape(-1) for b in blocks]) for blocks in weights]
    if len(found) < len(session.shapes) and _kept(whole, rounding) is not None:
        return {TOGETHER: "l2 length"}
    return found


def _kept(weights: Sequence[Tensor], rounding: float) -> str | None:
    """The name of a length that is the same after every step; None without one, or where steps are too few or short."""
    stack = torch.stack(list(weights)) if len(weights) >= KEPT_STEPS else torch.zeros(0)
    if not len(stack) or not bool(torch.isfinite(stack).all()):
        return None
    moves = [size([step]) for step in stack.diff(dim=0)]
    if min(moves) < KEPT_MOVE * size([stack[-1]]):
        return None
    matrix = stack[0].ndim == 2 and min(stack[0].shape) > 1
    for name, length in _LENGTHS.items():
        if name == "l2 length" or matrix:
            lengths = torch.stack([length(w) for w in stack])
            least, most = lengths.amin(0), lengths.amax(0)
            if bool((least > 0).all()) and bool((most <= (1.0 + rounding) * least).all()):
                return name
    return None
