"""A declared weight decay, and the optimizer without it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

import torch

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.handle import Handle, is_decay
from maxmargin.verify.blackbox.targets import Target, TargetError


def without_decay(target: Target, shapes: Shapes) -> tuple[Target, Mapping[str, float]]:
    """The target with its declared weight decay switched off.

    Weights that decay stay bounded, whatever the steps: in the limit no margin is maximized, but the loss minimized
    within a ball of the norm (Xie & Li 2404.04454 for AdamW). Which ball that is, the steps without the decay say.

    Args:
        target: A black box, or one of our own, which comes back as it is.
        shapes: Of its parameters.

    Returns:
        The target without, and what was switched off, by name; the target itself, and nothing, where no decay is
        declared or no argument switches it off.

    Raises:
        TargetError: when the optimizer cannot be built.
    """
    if target.native is not None or not _declared(target, shapes):
        return target, {}
    assert target.factory is not None
    known: Mapping[str, inspect.Parameter] = {}
    with suppress(TypeError, ValueError):
        known = inspect.signature(target.factory).parameters
    values = {name: p.default for name, p in known.items()} | dict(target.kwargs)
    decays = {name: float(v) for name, v in values.items() if is_decay(name) and _is_number(v) and v != 0}
    free = replace(target, kwargs=MappingProxyType({**target.kwargs, **dict.fromkeys(decays, 0.0)}))
    free = replace(free, callings={}, rates={})
    with suppress(TargetError):
        if decays and not _declared(free, shapes):
            return free, decays
    return target, {}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _declared(target: Target, shapes: Shapes) -> float:
    params = [torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for s in shapes.values()]
    return Handle(target, params).weight_decay()
