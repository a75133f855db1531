"""A black-box optimizer held at arm's length: parameters, state leaves, learning rates and the step itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maxmargin.verify.targets import Target, TargetError

Path = tuple[Any, ...]


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


def _walk(container: Any, path: Path, parameter: int | None) -> Iterator[Leaf]:
    items: Any = ()
    if isinstance(container, Mapping):
        items = list(container.items())
    elif isinstance(container, list):
        items = list(enumerate(container))
    for key, value in items:
        at = (*path, key)
        is_number = isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point())
        if is_number:
            yield Leaf(at, parameter, container, key)
        elif isinstance(value, (Mapping, list)):
            yield from _walk(value, at, parameter)


class Handle:
    """One optimizer instance over given parameters.

    Gradients go in as clones (many optimizers write into ``p.grad``); learning rates are set as multiples of each
    group's own, so the ratios between groups stay.
    """

    def __init__(self, target: Target, params: Sequence[torch.nn.Parameter]) -> None:
        self.params = list(params)
        self.optimizer = target.build(self.params)
        self.spec = target.spec
        self.base_lrs = [group.get("lr") for group in self.optimizer.param_groups]
        self._needs_closure = False
        train = getattr(self.optimizer, "train", None)
        if callable(train):
            train()  # schedule-free optimizers refuse to step otherwise

    @property
    def has_lr(self) -> bool:
        """Whether any group has a learning rate that can be set."""
        return any(lr is not None for lr in self.base_lrs)

    def weight_decay(self) -> float:
        """The largest declared weight decay."""
        declared = [group.get("weight_decay", 0.0) for group in self.optimizer.param_groups]
        return max((float(d) for d in declared if isinstance(d, (int, float))), default=0.0)

    def set_lr(self, factor: float) -> None:
        """Set every group's learning rate to ``factor`` times its own."""
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            if isinstance(lr, Tensor):
                group["lr"].copy_(lr * factor) if group["lr"] is not lr else group.__setitem__("lr", lr * factor)
            elif lr is not None:
                group["lr"] = lr * factor

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step along ``gradients`` (one a parameter).

        Raises:
            TargetError: when the optimizer's own step fails.
        """
        for p, g in zip(self.params, gradients, strict=True):
            p.grad = g.clone()
        try:
            if self._needs_closure:
                self.optimizer.step(lambda: torch.zeros((), dtype=torch.float64))
                return
            try:
                self.optimizer.step()
            except TypeError:
                self._needs_closure = True
                self.optimizer.step(lambda: torch.zeros((), dtype=torch.float64))
        except Exception as error:
            shapes = ", ".join(str(tuple(p.shape)) for p in self.params)
            raise TargetError(
                f"{self.spec}: step() failed on float64 parameters of shape {shapes}: {type(error).__name__}: {error}"
            ) from error

    def leaves(self) -> list[Leaf]:
        """Every floating-point leaf of the state, per parameter and per group."""
        state = getattr(self.optimizer, "state", {})
        found: list[Leaf] = []
        for i, p in enumerate(self.params):
            if p in state:
                found.extend(_walk({"state": state[p]}, (i,), i))
        for j, group in enumerate(self.optimizer.param_groups):
            tensors = {k: v for k, v in group.items() if k not in ("params", "lr")}
            for leaf in _walk(tensors, ("group", j), None):
                if isinstance(leaf.value, Tensor):  # plain numbers of a group are hyperparameters
                    found.append(Leaf(leaf.path, None, group if len(leaf.path) == 3 else leaf.container, leaf.key))
        return found
