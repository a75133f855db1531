"""The floating-point numbers and tensors that an optimizer remembers, wherever it keeps them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from maxmargin.verify.blackbox.learning_rate import is_rate
from maxmargin.verify.thresholds.adapter import STATE_DEPTH

Path = tuple[Any, ...]
_NOT_STATE = frozenset({"state", "param_groups", "defaults"})


@dataclass(frozen=True)
class Leaf:
    """One floating-point number or tensor in an optimizer's state, and where it lives."""

    path: Path
    parameter: int | None  # index of the parameter it belongs to; None for state shared by a group
    container: Any
    key: Any

    @property
    def value(self) -> Any:
        """The number or tensor now."""
        return self.container[self.key]

    def multiply(self, factor: float) -> None:
        """Rescale in place."""
        if isinstance(self.value, Tensor):
            self.value.mul_(factor)
        else:
            self.container[self.key] = self.value * factor


class Finder:
    """Finds the leaves of one optimizer instance: in ``state``, in its groups, and in its own attributes.

    A plain number of a group or of the object is state only if it has changed since construction; until then it is a
    hyperparameter. Where one tensor can be reached by several ways, it is found once.
    """

    def __init__(self, optimizer: Any, params: Sequence[Tensor]) -> None:
        self._optimizer = optimizer
        self._constants = {leaf.path: leaf.value for leaf in self._all(params) if isinstance(leaf.value, float)}

    def find(self, params: Sequence[Tensor]) -> list[Leaf]:
        """Return the leaves, those of the parameters first."""
        found: list[Leaf] = []
        seen = {(p.data_ptr(), p.numel()) for p in params}
        for leaf in sorted(self._all(params), key=lambda leaf: leaf.parameter is None):
            if isinstance(leaf.value, Tensor):
                where = (leaf.value.data_ptr(), leaf.value.numel())
                if leaf.value.numel() and where in seen:
                    continue
                seen.add(where)
            elif "state" not in leaf.path and self._constants.get(leaf.path) == leaf.value:
                continue
            found.append(leaf)
        return found

    def _all(self, params: Sequence[Tensor]) -> list[Leaf]:
        optimizer = self._optimizer
        copies = getattr(optimizer, "copies", ())  # what an optimizer in float32 has in the parameters' place
        index = {id(p): i for those in (params, copies) for i, p in enumerate(those)}
        found: list[Leaf] = []
        state = getattr(optimizer, "state", {})
        for i, p in enumerate(params):
            if isinstance(state, Mapping) and p in state:
                found.extend(_walk({"state": state[p]}, (i,), i, index))
        for j, group in enumerate(optimizer.param_groups):
            for leaf in _walk(group, ("group", j), None, index):
                if leaf.path[2] != "params" and not (len(leaf.path) == 3 and is_rate(leaf.path[2])):
                    found.append(leaf)
        found.extend(_of_object(getattr(optimizer, "raw", optimizer), ("object",), index))
        return found


def _of_object(owner: Any, path: Path, index: Mapping[int, int]) -> Iterator[Leaf]:
    """The leaves in an object's attributes, and in those of optimizers that it is made of."""
    attributes = getattr(owner, "__dict__", {})
    kept = {k: v for k, v in attributes.items() if k not in _NOT_STATE and not is_rate(k)}
    for leaf in _walk(kept, path, None, index):
        outermost = len(leaf.path) == len(path) + 1
        yield Leaf(leaf.path, leaf.parameter, attributes, leaf.key) if outermost else leaf
    if len(path) > STATE_DEPTH:
        return
    for name, value in kept.items():
        for j, part in enumerate(value if isinstance(value, (list, tuple)) else [value]):
            if callable(getattr(part, "step", None)) and getattr(part, "param_groups", None) is not None:
                inside = (*path, name, j)
                yield from _walk({"state": getattr(part, "state", {})}, inside, None, index)
                yield from _of_object(part, inside, index)


def _walk(container: Any, path: Path, parameter: int | None, index: Mapping[int, int]) -> Iterator[Leaf]:
    """The leaves in a tree of mappings and sequences; a key that is a parameter, or its id, becomes its index."""
    if len(path) > STATE_DEPTH + 4:
        return
    items: Any = ()
    if isinstance(container, Mapping):
        items = list(container.items())
    elif isinstance(container, (list, tuple, deque)):
        items = list(enumerate(container))
    for key, value in items:
        owner, at = parameter, (*path, key)
        belongs = index.get(id(key) if isinstance(key, Tensor) else key) if isinstance(key, (Tensor, int)) else None
        if isinstance(key, Tensor) and belongs is None:
            continue
        if belongs is not None and isinstance(container, Mapping):
            owner, at = belongs, (belongs, *path)
        is_tensor = isinstance(value, Tensor) and value.is_floating_point()
        if is_tensor or (isinstance(value, float) and not isinstance(container, tuple)):  # no number of a tuple changes
            if id(value) not in index:
                yield Leaf(at, owner, container, key)
        elif isinstance(value, (Mapping, list, tuple, deque)):
            yield from _walk(value, at, owner, index)
