"""The gradient's norm below which an optimizer is another one: its eps, looked for as deep as float64 lets one feed it.

Squares of gradients underflow from 2^-500 on, so nothing is fed below 2^-480. A number of the constructor that is
smaller still (``eps=1e-200``) is made larger instead, and the floor that then appears is scaled back.

Deep down two things change a step. An eps makes another optimizer of it, whose steps are small, but steps. Underflow
(a fifth power, a cast to float32) leaves nothing, or NaN: that is arithmetic at an end which no method is blamed for,
and only ends the search. A decay that is joined to the gradient has a floor as well, which grows with the weights: far
below it steps follow these alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf, log, log2
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from maxmargin.verify.blackbox.difference import difference, size
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.harness.session import Degree, Session
from maxmargin.verify.thresholds.probe import (
    EXACT_SCALE,
    FED_DEEPEST,
    FED_USUAL,
    OTHER_STEP,
    RAISED_TO,
    RULED_BELOW,
    SHORT_USUAL,
    STEP_LOST,
    TINY_NUMBER,
    UNDERFLOWN,
)


def floor_of(session: Session, update: Sequence[Tensor], degree: Degree, short: bool = False) -> tuple[float, float]:
    """Find the floor, and how deep it was looked for.

    Args:
        session: The target's.
        update: Its last warm step.
        degree: Of its update, or of each block.
        short: Whether it keeps state in float32 or less, where squares underflow sooner.

    Returns:
        The largest gradient norm, to a factor of 2, at which the update has changed by 10 % (0 if none was found); and
        the smallest at which it was seen not to have.
    """
    if session.target.units is not None:
        return 0.0, inf  # a regime, which was found with both its ends
    if degree != degree:
        return session.norm, inf
    floor, depth = _fed(session, update, degree, short)
    if floor == 0:
        floor = max(
            (_raised(session, name, value, degree, short) for name, value in _tiny(session.target)), default=0.0
        )
    return floor, depth


def weights_below(session: Session, update: Sequence[Tensor], floor: float, degree: Degree) -> tuple[float, bool]:
    """What the weights have to do with steps at the floor and below, where an eps would look at gradients alone.

    Args:
        session: The target's.
        update: Its last warm step.
        floor: As :func:`floor_of` found it.
        degree: Of its update.

    Returns:
        The relative change of the step at the floor when the weights are tripled; and whether far below it steps follow
        the weights alone, as with a decay that is joined to the gradient: the reversed gradient makes the same step,
        reversed weights make the reversed one. (0, False) without a floor that can be fed.
    """
    c = floor / session.norm
    if not 2.0**-FED_USUAL <= c <= 1:
        return 0.0, False
    degree = 0.0 if degree != degree else degree
    here, tripled = (session.at_scale(c, degree, start_factor=f) for f in (1.0, 3.0))
    far = c * 2.0**-RULED_BELOW
    step, reverse, mirrored = (session.at_scale(far * f, 0.0, start_factor=w) for f, w in ((1, 1), (-1, 1), (1, -1)))
    seen = STEP_LOST * size(session.start) < size(step) < inf and size(update) > 0
    alone = difference(step, reverse) <= OTHER_STEP and difference(step, [-b for b in mirrored]) <= OTHER_STEP
    return difference(here, tripled), seen and alone


def _fed(session: Session, update: Sequence[Tensor], degree: Degree, short: bool) -> tuple[float, float]:
    def changed(k: int) -> bool:
        return difference(update, session.at_scale(2.0**-k, degree)) > OTHER_STEP

    deepest = FED_DEEPEST
    if session.open().rate.knob.outside and not isinstance(degree, tuple) and degree > 0:
        # No learning rate makes up for steps that shrink with the gradient: look no further than weights can hold.
        deepest = int(log2(max(1.0, size(update) / (STEP_LOST * size(session.start)))) / degree)
    rungs = [k for k in (*range(0, FED_USUAL + 1, 5), *range(FED_USUAL + 40, FED_DEEPEST + 1, 40)) if k <= deepest]
    coarse = next((k for k in rungs if changed(k)), None)
    if coarse is None:
        return 0.0, session.norm * 2.0 ** -rungs[-1]
    if coarse == 0:
        return session.norm, inf
    same, other = rungs[rungs.index(coarse) - 1], coarse
    if coarse <= FED_USUAL:  # every rung: steps may change, and change back
        other = next(k for k in range(same + 1, coarse + 1) if k == coarse or changed(k))
        same = other - 1
    while other - same > 1:
        middle = (same + other) // 2
        same, other = (same, middle) if changed(middle) else (middle, other)
    if other > (SHORT_USUAL if short else FED_USUAL) and _underflows(session, other, degree):
        # Digits are lost before everything is: no deeper than where steps are the same to the last one.
        exact = (k for k in range(same, 0, -4) if difference(update, session.at_scale(2.0**-k, degree)) <= EXACT_SCALE)
        return 0.0, session.norm * 2.0 ** -next(exact, 0)
    return session.norm * 2.0**-other, session.norm * 2.0**-same


def _underflows(session: Session, k: int, degree: Degree) -> bool:
    """Whether a little below the steps are gone, or not finite, where an eps would leave some."""
    below = session.at_scale(2.0 ** -(k + UNDERFLOWN), degree)
    return any(not bool(torch.isfinite(b).all()) or not bool(b.any()) for b in below)


def _tiny(target: Target) -> Iterator[tuple[str, float]]:
    """The numbers of the constructor, given or by default, that are too small to be seen in any step."""
    assert target.factory is not None
    known: Mapping[str, inspect.Parameter] = {}
    with suppress(TypeError, ValueError):
        known = inspect.signature(target.factory).parameters
    values = {name: p.default for name, p in known.items()} | target.options()
    for name, value in values.items():
        if isinstance(value, float) and 0 < value < TINY_NUMBER:
            yield name, value


def _raised(session: Session, name: str, value: float, degree: Degree, short: bool) -> float:
    """The floor that a tiny number of the constructor makes, from what larger ones in its place make; 0 for none."""

    def floor_with(number: float) -> float:
        kwargs: dict[str, Any] = {**session.target.kwargs, name: number}
        target = replace(session.target, kwargs=MappingProxyType(kwargs), callings={}, rates={})
        try:
            other = Session(target, session.shapes, session.seed)
            return _fed(other, other.run()[1], degree, short)[0]
        except TargetError:
            return 0.0

    high, low = (floor_with(number) for number in RAISED_TO)
    if high == 0 or low == 0:
        return high
    power = log(high / low) / log(RAISED_TO[0] / RAISED_TO[1])
    return max(high * (value / RAISED_TO[0]) ** power, 5e-324)
