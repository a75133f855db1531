"""Where an optimizer keeps its learning rate, found by turning each knob and seeing whether the step follows.

Setting ``param_groups[i]["lr"]`` before every step is the rule; some call it otherwise, keep it on the object, keep
one a rule (``lr`` and ``adamw_lr``), or read it once. Where no knob is honoured the step itself is scaled, which is
exact for an update that does not read the weights. One that puts them anew in each step (dual averaging: the start less
a sum of gradients) is shown them where it has put them, and what it then does is scaled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

import torch
from torch import Tensor

from maxmargin.verify.blackbox.difference import relative, rounding_unit, size
from maxmargin.verify.thresholds.adapter import RATE_BEFORE, RATE_HONOURED, RATE_PATIENCE, RATE_USABLE

_RATE = re.compile(r"(lr|lrate|learning_rate|step_?size|.*_lr|lr_.*|.*_learning_rate)")
_NO_RATE = re.compile(
    r"(.*decay.*|.*precond.*|.*power.*|.*warm.*|.*sched.*|.*ratio.*|.*fn|use_.*|min_lr|lr_min|init.*|.*initial.*)"
)


def is_rate(name: object) -> bool:
    """Whether a name is that of a learning rate."""
    return isinstance(name, str) and bool(_RATE.fullmatch(name)) and not _NO_RATE.fullmatch(name)


@dataclass(frozen=True)
class Place:
    """One number that may be a learning rate: ``container[key]``, and its value at construction."""

    container: Any
    key: Any
    base: Any

    def set(self, factor: float) -> None:
        """Set it to ``factor`` times its value at construction."""
        if not isinstance(self.base, Tensor) or self.container[self.key] is self.base:
            self.container[self.key] = self.base * factor
        else:
            self.container[self.key].copy_(self.base * factor)


@dataclass(frozen=True)
class Knob:
    """A way to set the learning rate.

    Attributes:
        name: In words, for reports.
        places: The numbers to set, of an optimizer just constructed; none if it has no such knob.
        outside: Whether the step is scaled after the optimizer has made it.
    """

    name: str
    places: Callable[[Any], list[Place]]
    outside: bool = False


def _is_number(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.numel() == 1
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _in(container: Any, wanted: Callable[[str], bool]) -> list[Place]:
    if not isinstance(container, Mapping):
        return []
    return [
        Place(container, key, value)
        for key, value in container.items()
        if isinstance(key, str) and wanted(key) and _is_number(value) and float(value) != 0
    ]


def parts_of(optimizer: Any, depth: int = 3) -> Iterator[Any]:
    """The optimizer and the optimizers that it is made of."""
    owner = getattr(optimizer, "raw", optimizer)
    yield owner
    if depth:
        for value in list(getattr(owner, "__dict__", {}).values()):
            for part in value if isinstance(value, (list, tuple)) else [value]:
                if callable(getattr(part, "step", None)) and hasattr(part, "param_groups"):
                    yield from parts_of(part, depth - 1)


def _groups(optimizer: Any, wanted: Callable[[str], bool]) -> list[Place]:
    return [place for group in optimizer.param_groups for place in _in(group, wanted)]


def _inner_groups(optimizer: Any) -> list[Place]:
    return [
        place
        for part in parts_of(optimizer)
        for group in getattr(part, "param_groups", None) or []
        for place in _in(group, is_rate)
    ]


def _attributes(optimizer: Any) -> list[Place]:
    found = []
    for part in parts_of(optimizer):
        found += _in(getattr(part, "__dict__", {}), is_rate)
        found += _in(getattr(part, "defaults", {}), is_rate)
    return found


def _everywhere(optimizer: Any) -> list[Place]:
    places = [*_inner_groups(optimizer), *_attributes(optimizer)]
    return list({(id(p.container), p.key): p for p in places}.values())


GROUPS_LR = Knob("lr of the parameter groups", lambda o: _groups(o, lambda key: key == "lr"))
UNTOUCHED = Knob("none is touched", lambda o: [])
OUTSIDE = Knob("none: its steps are scaled from outside", lambda o: [], outside=True)
ANCHORED = Knob("none: what it does to the weights that it has put is scaled from outside", lambda o: [], outside=True)
KNOBS: tuple[Knob, ...] = (
    GROUPS_LR,
    Knob("every learning rate in the parameter groups", lambda o: _groups(o, is_rate)),
    Knob("the learning rates of the optimizers that it is made of", _inner_groups),
    Knob("a learning rate that the object keeps", _attributes),
    Knob("every learning rate in groups and object together", _everywhere),
)


@dataclass(frozen=True)
class Rate:
    """The knob in use.

    Attributes:
        knob: It.
        error: Relative error of "twice the rate moves twice as far", the rate doubled on the way.
    """

    knob: Knob
    error: float


class Opened(Protocol):
    """What :class:`~maxmargin.verify.blackbox.handle.Handle` offers here."""

    optimizer: Any

    @property
    def params(self) -> Sequence[Tensor]:
        """Its parameters."""

    def set_lr(self, factor: float) -> None:
        """Set the learning rate by the knob that it was opened with."""

    def advance(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Make a step; return what it did to the weights."""


def find(opened: Callable[[Knob], Opened], gradients: Sequence[Tensor]) -> Rate:
    """Find the first knob that is honoured; else the best one that is answered at all; else scale from outside.

    Args:
        opened: Returns a fresh optimizer, always alike, whose learning rate is set by this knob.
        gradients: Of each step.

    Returns:
        What was found.
    """

    def run(knob: Knob, until: int | None, base: float = 1.0, then: float = 2.0) -> tuple[list[Tensor], int]:
        handle = opened(knob)
        handle.set_lr(base)
        for step in range(RATE_BEFORE + RATE_PATIENCE):
            if step == (RATE_BEFORE if until is None else until):
                handle.set_lr(then * base)
            moved = handle.advance(gradients)
            if step >= RATE_BEFORE and (step == until or (until is None and any(bool((m != 0).any()) for m in moved))):
                break
        ends.append([p.detach().clone() for p in handle.params])
        return moved, step

    def error_of(knob: Knob) -> float:
        error = _doubling_error(plain, run(knob, moving)[0])
        if error <= RATE_HONOURED or rounding_unit(ends[0]) == 0:
            return error
        # Weights that are rounded blur short steps, and no rate is to blame: make them as long as the weights.
        base = size(ends[0]) / max(size(plain), 1e-300)
        return min(error, _doubling_error(run(knob, moving, base, 1.0)[0], run(knob, moving, base)[0]))

    ends: list[list[Tensor]] = []  # the weights after each run
    plain, moving = run(UNTOUCHED, None)
    optimizer = opened(UNTOUCHED).optimizer
    tried: list[Rate] = []
    counted: set[tuple[Any, ...]] = set()
    for knob in KNOBS:
        places = knob.places(optimizer)
        which = tuple(sorted((id(p.container), str(p.key)) for p in places))
        if not places or which in counted:
            continue
        counted.add(which)
        error = error_of(knob)
        tried.append(Rate(knob, error))
        if error <= RATE_HONOURED:
            return tried[-1]
    least = min((rate.error for rate in tried), default=inf)
    if least < RATE_USABLE:
        return next(rate for rate in tried if rate.error <= 3 * least)  # the simplest of those about as good
    return Rate(OUTSIDE, 0.0)


def _doubling_error(one: Sequence[Tensor], two: Sequence[Tensor]) -> float:
    a, b = (torch.cat([u.double().reshape(-1) for u in step]) for step in (one, two))
    return relative(float((2 * a - b).norm()), float(2 * a.norm()), float(b.norm()))
