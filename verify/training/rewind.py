"""Steps that leave no trace: what optimizer instances would do from the state they are in, as often as is asked."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from maxmargin.models.blocks import Shapes, unflatten
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.engine.response import Response, respond
from maxmargin.verify.training.instances import Instances, Weights


def response_of(instances: Instances, weights: Weights, shapes: Shapes, gradient: torch.Tensor, step: int) -> Response:
    """Measure how the next steps of a black box's runs answer to their gradients, and leave everything as it was.

    Args:
        instances: The optimizers.
        weights: Of the runs.
        shapes: Of the blocks.
        gradient: (runs, p), what they would be fed now.
        step: Number of steps taken so far.

    Returns:
        The response; of infinite error where the optimizer cannot be copied, or its step fails.
    """
    objects = list(dict.fromkeys(_Held(o) for handle in instances.handles for o in _optimizers(handle.optimizer)))
    params = [p for run in instances.params for p in run]
    flat = weights.flat.clone()
    own = [vars(held.object) for held in objects]
    grads = [p.grad for p in params]
    places = [(handle, handle.own) for handle in instances.handles]

    def put(kept: Sequence[dict[str, Any]], gradients: Sequence[torch.Tensor | None]) -> None:
        for held, attributes in zip(objects, kept, strict=True):
            held.object.__dict__ = attributes
        weights.flat.copy_(flat)
        for handle, place in places:
            handle.own = place  # a step makes a new list of it
        for p, g in zip(params, gradients, strict=True):
            p.grad = g

    def answer(fed: np.ndarray) -> np.ndarray:
        same = {id(x): x for x in (*params, *(held.object for held in objects))}
        put(copy.deepcopy(own, same), [None if g is None else g.clone() for g in grads])
        with seeded(0):
            instances.step([list(unflatten(torch.as_tensor(row), shapes).values()) for row in fed])
        weights.gather()
        return (weights.flat - flat).numpy()

    fed = gradient.numpy().copy()
    try:
        return respond(answer, fed, step)
    except Exception:  # whatever somebody's optimizer may raise where it is copied, or fed what training never feeds
        runs, p = fed.shape
        return Response(step, np.full((runs, p, p), np.nan), np.full(runs, np.inf))
    finally:
        put(own, grads)


class _Held:
    """An object by identity."""

    def __init__(self, held: Any) -> None:
        self.object = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.object is other.object

    def __hash__(self) -> int:
        return id(self.object)


def _optimizers(optimizer: Any, depth: int = 3) -> Iterator[Any]:
    """An optimizer and those that it is made of; torch's own copy themselves without their attributes."""
    yield optimizer
    for value in list(getattr(optimizer, "__dict__", {}).values()) if depth else []:
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if callable(getattr(part, "step", None)) and getattr(part, "param_groups", None) is not None:
                yield from _optimizers(part, depth - 1)
