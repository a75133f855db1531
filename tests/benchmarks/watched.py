"""Numbers that know what they would be if a threshold were another, and which comparisons would then be flipped.

A run with watched thresholds takes the branches that it takes with plain ones. Each number carries, beside its value,
what it would be under every variation of the thresholds that it was computed from, and each comparison notes the
variations that would flip it. A variation that flips none leaves the run as it is; but for what leaves Python's and
numpy's arithmetic, and is not seen: how often a loop runs, a tensor's factor.

>>> near = watched("NEAR", 4.0)
>>> bool(3.0 * near < 10.0), sorted(FLIPPED)
(False, ['NEAR*0.5'])
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np

FACTORS = (0.5, 2.0)
FLIPPED: Counter[str] = Counter()
"""Variation → comparisons that it would flip."""
COMPARED: Counter[str] = Counter()
"""Threshold → comparisons that it took part in."""

Variants = Mapping[str, Any]


class Watched:
    """What watched floats and ints share: themselves without variants, and the variants that differ."""

    plain: Any
    variants: Variants

    def __reduce__(self) -> Any:
        return type(self.plain), (self.plain,)

    def __hash__(self) -> int:
        return hash(self.plain)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        def at(key: str | None) -> Any:
            return getattr(ufunc, method)(*(_at(x, key) for x in inputs), **kwargs)

        value, keys = at(None), _keys(inputs)
        if kwargs.get("out") is not None or method != "__call__":
            return value
        if np.asarray(value).dtype.kind == "b":
            _note(value, {key: at(key) for key in keys})
            return value
        return _made(value, {key: at(key) for key in keys}) if np.ndim(value) == 0 else value


class WatchedFloat(Watched, float):
    """A float with variants."""


class WatchedInt(Watched, int):
    """An int with variants."""


def watched(name: str, value: Any) -> Any:
    """A threshold's value, watched under ``NAME*0.5`` and ``NAME*2.0``; tiers and bounds part by part."""
    if isinstance(value, dict):
        return {key: watched(name, v) for key, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: watched(f"{name}.{f.name}", getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return _made(value, {f"{name}*{factor}": other(value, factor) for factor in FACTORS})


def other(value: Any, factor: float) -> Any:
    """A threshold, moved; the same object where it is not a number.

    >>> other(0.02, 2.0), other(0.95, 2.0), other(4, 0.5), other({"quick": 8}, 2.0), other((3, 4), 2.0)
    (0.04, 0.8999999999999999, 2, {'quick': 16}, (3, 4))
    """
    if isinstance(value, dict):
        return {key: other(v, factor) for key, v in value.items()}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if isinstance(value, int):
        return max(1, round(value * factor))
    return 1 - (1 - value) * factor if 0.5 < value < 1 else value * factor


def _made(value: Any, variants: Variants) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    kind = WatchedInt if isinstance(value, int) and not isinstance(value, bool) else WatchedFloat
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return value
    made = kind(value)
    made.plain = value
    made.variants = {key: v for key, v in variants.items() if v != value}
    return made


def _at(x: Any, key: str | None) -> Any:
    """A number as it would be under a variation."""
    return x.variants.get(key, x.plain) if isinstance(x, Watched) else x


def _keys(operands: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(key for x in operands if isinstance(x, Watched) for key in x.variants))


def _note(value: Any, others: Variants) -> None:
    COMPARED.update(_thresholds(tuple(others)))
    if isinstance(value, np.ndarray):
        flipped = [key for key, other in others.items() if np.any(other != value)]
    else:
        flipped = [key for key, other in others.items() if other != value]
    if flipped:
        FLIPPED.update(flipped)


@cache
def _thresholds(keys: tuple[str, ...]) -> frozenset[str]:
    return frozenset(key.partition("*")[0] for key in keys)


def _under(function: Callable[..., Any], operands: tuple[Any, ...]) -> dict[str, Any]:
    """What a function gives under each variation of its operands."""
    found = {}
    watched = [x for x in operands if isinstance(x, Watched)]
    for key in watched[0].variants if len(watched) == 1 else _keys(watched):
        try:
            found[key] = function(*(_at(x, key) for x in operands))
        except (ArithmeticError, ValueError):
            found[key] = float("nan")
    return found


def _arithmetic(function: Callable[..., Any], swapped: bool) -> Callable[..., Any]:
    def method(self: Watched, *others: Any) -> Any:
        for x in others:
            if not isinstance(x, (int, float, np.ndarray, np.generic)):
                return NotImplemented
        operands = (others[0], self) if swapped else (self, *others)
        value = function(*(_at(x, None) for x in operands))
        return value if isinstance(value, np.ndarray) else _made(value, _under(function, operands))

    return method


def _comparison(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Watched, other: Any) -> Any:
        if type(other) is float or type(other) is int:  # most comparisons: quickly
            value = function(self.plain, other)
            _note(value, {key: function(variant, other) for key, variant in self.variants.items()})
            return value
        if not isinstance(other, (int, float, np.ndarray, np.generic)):
            return NotImplemented
        operands = self, other
        value = function(*(_at(x, None) for x in operands))
        _note(value, _under(function, operands))
        return value

    return method


for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    for _kind in (WatchedFloat, WatchedInt):
        setattr(_kind, f"__{_name}__", _comparison(getattr(operator, _name)))
for _kind in (WatchedFloat, WatchedInt):
    _kind.__hash__ = Watched.__hash__  # type: ignore[method-assign]  # a class that compares has no hash of its own
    for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
        setattr(_kind, f"__{_name}__", _arithmetic(getattr(operator, _name), False))
        setattr(_kind, f"__r{_name}__", _arithmetic(getattr(operator, _name), True))
    for _name in ("neg", "abs"):
        setattr(_kind, f"__{_name}__", _arithmetic(getattr(operator, _name), False))
