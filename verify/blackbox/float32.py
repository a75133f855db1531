"""An optimizer that takes no float64, over float32 copies of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from maxmargin.verify.blackbox.conventions import Params


class InFloat32:
    """Steps copies of the weights, which are rounded to float32, and puts the weights where the copies are.

    Its groups and all else are the optimizer's own; the state of a copy is found under its parameter.

    Attributes:
        copies: What the optimizer was given, in the parameters' order.
        raw: It.
    """

    def __init__(self, params: Params, build: Callable[[Params], Any]) -> None:
        self._params = list(params)
        self.copies = [torch.nn.Parameter(p.detach().float()) for p in self._params]
        given = [c.detach().clone() for c in self.copies]
        self._built = build(self.copies)
        self.raw = getattr(self._built, "raw", self._built)
        if not all(torch.equal(c, g) for c, g in zip(self.copies, given, strict=True)):
            self._put_back()

    def __getattr__(self, name: str) -> Any:
        if name in ("_built", "raw"):  # a copy that is being made
            raise AttributeError(name)
        value = getattr(self._built, name)
        return partial(self._swapping, value) if name in ("train", "eval") else value

    @property
    def state(self) -> Mapping[Any, Any]:
        """By parameter, or by whatever else the optimizer keeps it."""
        owner = {id(c): p for c, p in zip(self.copies, self._params, strict=True)}
        kept = getattr(self._built, "state", {})
        return {owner.get(id(key), key): value for key, value in kept.items()} if isinstance(kept, Mapping) else {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients; the copies' are made anew by each step."""
        for p in self._params:
            p.grad = None

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """One step of the copies from where the weights are, along the gradients rounded to float32."""
        for p, c in zip(self._params, self.copies, strict=True):
            c.data.copy_(p.data)
        self._hand_gradients()
        if closure is None:
            self._built.step()
        else:
            self._built.step(partial(self._asked, closure))
        self._put_back()

    def _asked(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        self._hand_gradients()
        return loss.float()

    def _hand_gradients(self) -> None:
        for p, c in zip(self._params, self.copies, strict=True):
            c.grad = None if p.grad is None else p.grad.float()

    def _swapping(self, mode: Callable[[], Any]) -> None:
        """``train()`` or ``eval()``, which may swap the weights."""
        mode()
        self._put_back()

    def _put_back(self) -> None:
        for p, c in zip(self._params, self.copies, strict=True):
            p.data.copy_(c.data)
