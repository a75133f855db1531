"""Dead knobs: arguments of the constructor that are set, and whose change changes no step.

An argument is called dead if its half, its double and values far from it leave each step of three plays as it is, to
the last bit: gradients that change in direction and size, weights that change from step to step, a drift in which the
weights are the optimizer's own, larger matrices and a convolution's kernel. Values that the optimizer refuses say
nothing. So a threshold (a clip, a warm-up) that lies far away is met by one of the values tried, or nothing is said.

Asked are the arguments that the user gave, and of the defaults those whose meaning is common knowledge
(:data:`COMMON`). One that is dead only because of another (``nesterov`` without momentum) is said of the user's own,
with the other's name. What is off is not asked, nor are zeros by default, learning rates and code paths
(:mod:`maxmargin.verify.lab.paths`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.learning_rate import GROUPS_LR, is_rate
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.paths import is_path
from maxmargin.verify.lab.rehearsal import Move, Play, played
from maxmargin.verify.lab.side_by_side import alike
from maxmargin.verify.thresholds.twin import DEAD_STEPS, KNOB_LADDER, KNOB_LARGE, KNOB_STEPS, KNOBS_SHOWN, WAITS_FOR

COMMON = re.compile(r"momentum|beta[1-9]?|betas|weight_decay|nesterov")
"""Defaults that are asked for, if they are set to something."""
_IDLE = re.compile(r".*(verbose|debug|compile|jit|dtype|device|distributed|async|world|rank|stat_reduce|log).*")
"""Options that are not meant to change a step."""


@dataclass(frozen=True)
class DeadKnob:
    """An argument without effect.

    Attributes:
        name: As it is written, with the place in a tuple: ``betas[1]``.
        value: What it is set to.
        tried: The values tried in its place.
        steps: In so many steps, all the same.
        given: Whether the user set it; else it is the constructor's default.
        waits_for: Another argument, as it is set, that keeps it from having an effect; "" for none.
    """

    name: str
    value: float | bool
    tried: tuple[float | bool, ...]
    steps: int
    given: bool
    waits_for: str = ""

    @property
    def text(self) -> str:
        """A sentence."""
        default = "" if self.given else " (its default)"
        waits = f" as long as {self.waits_for}" if self.waits_for else ""
        shown = [_short(value) for value in self.tried]
        rest = ["any other value tried"] if len(shown) > KNOBS_SHOWN else []
        *most, last = [*shown[:KNOBS_SHOWN], *rest]
        tried = f"{', '.join(most)} or {last}" if most else last
        return (
            f"{self.name}={_short(self.value)}{default} has no effect{waits}: with {tried} in its place each of "
            f"{self.steps} steps is the same to the last bit."
        )


def dead_knobs(target: Target, blocks: Shapes, seed: int = 0) -> tuple[DeadKnob, ...]:
    """Return the arguments without effect: each that is set is turned, to see whether any step changes.

    Args:
        target: A black box; of one of our own, nothing is found.
        blocks: Shapes that it accepts.
        seed: Of the plays.

    Raises:
        TargetError: when the optimizer cannot be built or stepped on the blocks.
    """
    if target.native is not None:
        return ()
    asked = list(_set(target))
    if not asked:
        return ()
    plays = _Plays(target, blocks, seed)
    if not plays.repeatable:
        return ()
    return tuple(dead for name, place, value, given in asked if (dead := plays.ask(name, place, value, given)))


def _set(target: Target) -> Iterator[tuple[str, int | None, float | bool, bool]]:
    """(Argument, place in a tuple or None, value, whether given by the user) of all that are to be turned."""
    defaults = dict(_defaults(target))
    values: dict[str, tuple[Any, bool]] = {
        n: (default, False) for n, default in defaults.items() if COMMON.fullmatch(n)
    }
    values |= {name: (value, True) for name, value in target.kwargs.items()}
    for name, (value, given) in values.items():
        if is_rate(name) or is_path(name) or _IDLE.fullmatch(name):
            continue
        for place, entry in enumerate(value) if isinstance(value, (tuple, list)) else [(None, value)]:
            off = entry == 0 and (isinstance(entry, bool) or not given or defaults.get(name) in (0, None))
            if isinstance(entry, Real) and not off:
                yield name, place, entry if isinstance(entry, (bool, int)) else float(entry), given


def others(value: float | bool) -> Iterator[float | bool]:
    """Values to try in place of one.

    Example:
        >>> list(others(2.0)), list(others(5)), list(others(True)), list(others(0))
        ([1.0, 4.0, 0.002, 2e-06, 2e-09, 2000.0, 2000000.0], [2, 10, 1, 4, 6], [False], [1, 2, 1000])

    Yields:
        Each value; its constructor may refuse it.
    """
    if isinstance(value, bool):
        yield not value
    elif value == 0:
        yield from (1, 2, 1000) if isinstance(value, int) else (WAITS_FOR, 1.0, *KNOB_LADDER)
    elif isinstance(value, int):
        yield from dict.fromkeys(v for v in (value // 2, 2 * value, 1, value - 1, value + 1) if v > 0 and v != value)
    else:
        yield value / 2
        yield 2 * value
        if 0 < value < 1:
            yield (1 + value) / 2
        yield from (factor * value for factor in KNOB_LADDER)
        if 0 < value < 1:
            yield KNOB_LARGE


class _Plays:
    """The optimizer as it is set, on a short play and on longer ones, each played once."""

    def __init__(self, target: Target, blocks: Shapes, seed: int) -> None:
        self.target = target
        changing, drifting, larger = DEAD_STEPS
        self.short = Play("changing gradients", blocks, KNOB_STEPS, seed)
        self.larger = tuple(Play("changing gradients", shapes, larger, seed) for shapes in LARGER)
        self.long = (
            Play("changing gradients", blocks, changing, seed),
            Play("late drift", blocks, drifting, seed),
            *self.larger,
        )
        self._usual: dict[int, list[Move] | None] = {}

    @property
    def repeatable(self) -> bool:
        """Whether it moves, and makes the same steps again."""
        return self._same(self.target, self.short) is True

    def ask(self, name: str, place: int | None, value: float | bool, given: bool) -> DeadKnob | None:
        """Return the argument if it is dead; a default only if it waits for no other."""
        tried: list[float | bool] = []
        for other in others(value):
            if (same := self._same(_turned(self.target, name, place, other), self.short)) is False:
                return None
            if same:
                tried.append(other)
        if not tried:
            return None
        steps = 0
        for play in self.long:
            if self._usually(play) is None:
                continue  # it refuses these shapes, whatever the argument
            if any(self._same(_turned(self.target, name, place, other), play) is False for other in tried):
                return None
            steps += play.steps
        if not steps:
            return None
        waits_for = self._waits_for(name, place, tried)
        if waits_for and not given and not waits_for.startswith("nesterov="):  # a momentum is one without it
            return None
        return DeadKnob(name if place is None else f"{name}[{place}]", value, tuple(tried), steps, given, waits_for)

    def _waits_for(self, name: str, place: int | None, tried: list[float | bool]) -> str:
        """Another argument that, set otherwise, lets this one have an effect; "" for none."""
        for other, value, setting in _switches(self.target):
            if other == name:
                continue
            context = replace(self.target, kwargs={**self.target.kwargs, other: setting})
            for play in (self.short, *self.larger):
                usual = _moves(context, play)
                if usual and any(_repeats(_turned(context, name, place, v), play, usual) is False for v in tried):
                    return f"{other}={value}"
        return ""

    def _usually(self, play: Play) -> list[Move] | None:
        """The steps as it is set; None where it cannot make them."""
        if id(play) not in self._usual:
            self._usual[id(play)] = _moves(self.target, play)
        return self._usual[id(play)]

    def _same(self, target: Target, play: Play) -> bool | None:
        """Whether another one makes the same steps; None where one of them refuses to."""
        usual = self._usually(play)
        return None if usual is None else _repeats(target, play, usual)


def _moves(target: Target, play: Play) -> list[Move] | None:
    """Its steps; None where it refuses, never moves, or makes steps that are not finite: they would be alike."""
    try:
        moves = list(played(target, play, knob=GROUPS_LR))
    except TargetError:
        return None
    steps = [torch.cat([b.reshape(-1) for b in move.update]) for move in moves]
    finite = all(bool(torch.isfinite(step).all()) for step in steps)
    return moves if finite and any(bool((step != 0).any()) for step in steps) else None


def _repeats(target: Target, play: Play, usual: list[Move]) -> bool | None:
    """Whether an optimizer makes these steps; None where it refuses to."""
    try:
        return all(map(alike, played(target, play, knob=GROUPS_LR), usual))
    except TargetError:
        return None


def _turned(target: Target, name: str, place: int | None, value: float | bool) -> Target:
    """The optimizer with one argument set otherwise."""
    kwargs: Mapping[str, Any] = target.kwargs
    if place is None:
        return replace(target, kwargs={**kwargs, name: value})
    whole = kwargs[name] if name in kwargs else dict(_defaults(target))[name]
    return replace(target, kwargs={**kwargs, name: type(whole)([*whole[:place], value, *whole[place + 1 :]])})


def _switches(target: Target) -> Iterator[tuple[str, Any, Any]]:
    """(Argument, value, another value) of what may keep others from having an effect: off, or far away."""
    for name, value in (dict(_defaults(target)) | dict(target.kwargs)).items():
        if is_rate(name) or is_path(name) or _IDLE.fullmatch(name) or not isinstance(value, Real):
            continue
        if isinstance(value, bool):
            yield name, value, not value
        elif value == 0:
            yield name, value, WAITS_FOR
        elif isinstance(value, int) and value > 1:
            yield name, value, 1


def _defaults(target: Target) -> Iterator[tuple[str, Any]]:
    """The constructor's defaults."""
    assert target.factory is not None
    with suppress(TypeError, ValueError):  # a builtin, or an object that hides how it is called
        for name, parameter in inspect.signature(target.factory).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                yield name, parameter.default


LARGER: tuple[Shapes, ...] = ({"M": (40, 30), "K": (6, 4, 3, 3)}, {"M": (40, 30), "v": (50,)})
"""For arguments that wait for larger blocks, a kernel or a vector; each is left out where it is refused."""


def _short(value: float | bool) -> str:
    return str(value) if isinstance(value, (bool, int)) else f"{value:.6g}"
