"""A declared weight decay, and the optimizer without it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

import torch

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.handle import DECAYS, Handle
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
    if target.native is not None:
        return target, {}
    declared = _declared(target, shapes)
    if declared:
        assert target.factory is not None
        known: Mapping[str, inspect.Parameter] = {}
        with suppress(TypeError, ValueError):
            known = inspect.signature(target.factory).parameters
        for name in DECAYS:
            if name in target.kwargs or name in known:
                kwargs = MappingProxyType({**target.kwargs, name: 0.0})
                free = replace(target, kwargs=kwargs, callings={}, rates={})
                with suppress(TargetError):
                    if not _declared(free, shapes):
                        return free, {name: declared}
    return target, {}


def _declared(target: Target, shapes: Shapes) -> float:
    params = [torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for s in shapes.values()]
    return Handle(target, params).weight_decay()
