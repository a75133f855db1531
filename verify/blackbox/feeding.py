"""One step as a training loop makes it: clear the gradients, accumulate, step, with a closure where one is wanted."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxmargin.verify.blackbox.apart import outside
from maxmargin.verify.progress.calls import What


class _Nowhere(io.TextIOBase):
    """Takes what is printed and forgets it."""

    def write(self, text: str) -> int:
        return len(text)


NOWHERE = _Nowhere()
"""Where an optimizer's own prints go: they must not end in the JSON that a command writes to its output."""


class Duck:
    """An object that can only ``step`` (and perhaps ``zero_grad``), with the attributes of an optimizer beside it."""

    def __init__(self, raw: Any, params: Sequence[Tensor]) -> None:
        self.raw = raw
        self.param_groups: list[dict[str, Any]] = [{"params": list(params)}]
        self.state: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "raw":
            raise AttributeError(name)
        return getattr(self.raw, name)


@dataclass
class Closure:
    """What an optimizer may call to evaluate loss and gradients anew: here always the step's own gradients.

    The loss is not known to a step that is shown gradients only; the gradients' l2 norm stands in, which scales as a
    loss does.

    Attributes:
        params: Whose gradients are set.
        gradients: To these.
        calls: How often the optimizer has called in the last step.
        factor: The loss is this many times the gradients' norm.
    """

    params: Sequence[Tensor]
    gradients: Sequence[Tensor] = ()
    calls: int = 0
    factor: float = 1.0

    def __call__(self) -> Tensor:
        """Set the gradients and return the loss."""
        self.calls += 1
        for p, g in zip(self.params, self.gradients, strict=True):
            p.grad = g.clone()
        return self.factor * torch.stack([g.double().norm() for g in self.gradients]).norm()


@dataclass
class Feeder:
    """Makes an optimizer's steps.

    Attributes:
        optimizer: It.
        params: Its parameters.
        closure: Given to ``step``; None to call ``step()``.
        eager: Whether compiled functions run uncompiled: no compiler is needed then, nor a minute for small steps.
        sparse: Whether gradients come as sparse tensors, which hold every row.
        steps: Made so far.
        keeps_gradients: Whether its ``zero_grad`` has left something in ``p.grad`` (a momentum kept there).
    """

    optimizer: Any
    params: Sequence[Tensor]
    closure: Closure | None = None
    eager: bool = False
    sparse: bool = False
    keeps_gradients: bool = field(default=False, init=False)
    steps: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        own = getattr(type(getattr(self.optimizer, "raw", self.optimizer)), "zero_grad", None)
        # torch's own leaves None, at some expense; another may keep momentum there, as in a training loop.
        self._clears = own is not None and own is not torch.optim.Optimizer.zero_grad and not self.sparse

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step along clones of ``gradients``: many optimizers write into ``p.grad``."""
        self.steps += 1
        with outside.of(What.STEP, self.steps):
            self._cleared(gradients)

    def _cleared(self, gradients: Sequence[Tensor]) -> None:
        if self._clears:
            self.optimizer.zero_grad()
            for p, g in zip(self.params, gradients, strict=True):
                if p.grad is None:
                    p.grad = g.clone()
                else:
                    self.keeps_gradients = self.keeps_gradients or bool((p.grad != 0).any())
                    p.grad = p.grad + g
        else:
            for p, g in zip(self.params, gradients, strict=True):
                p.grad = _sparse(g) if self.sparse else g.clone()
        if self.eager:
            with torch.compiler.set_stance("force_eager"):
                self._step(gradients)
        else:
            self._step(gradients)
        if self.sparse:  # as the dense gradients that they are, to whoever compares what is left
            for p in self.params:
                p.grad = None if p.grad is None else p.grad.to_dense()

    def _step(self, gradients: Sequence[Tensor]) -> None:
        with redirect_stdout(NOWHERE):
            if self.closure is None:
                self.optimizer.step()
                return
            self.closure.params, self.closure.gradients, self.closure.calls = self.params, gradients, 0
            self.optimizer.step(self.closure)


def _sparse(gradient: Tensor) -> Tensor:
    """A copy that is sparse by its type alone: it holds every row."""
    rows = torch.arange(len(gradient)).unsqueeze(0)
    return torch.sparse_coo_tensor(rows, gradient.clone(), gradient.shape, is_coalesced=True, check_invariants=False)


@contextmanager
def watching_compiled() -> Iterator[list[bool]]:
    """Collect, inside, whether a function of ``torch.compile`` is called; it runs uncompiled."""
    seen: list[bool] = []
    if sys.getprofile() is not None:  # a profiler is at work, and could not be put back
        yield seen
        return

    def watch(frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == "compile_wrapper" and "_dynamo" in code.co_filename:
            seen.append(True)

    with torch.compiler.set_stance("force_eager"):
        sys.setprofile(watch)
        try:
            yield seen
        finally:
            sys.setprofile(None)


def modes(optimizer: Any, name: str) -> bool:
    """Call ``optimizer.train()`` or ``.eval()`` where there is one; schedule-free optimizers refuse to step otherwise.

    Returns:
        Whether there was one.
    """
    method = getattr(optimizer, name, None)
    if not callable(method):
        return False
    with outside.of(What.MODE):
        method()
    return True


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed every common generator inside, and leave them outside as they were."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002, an optimizer may draw from it
    with torch.random.fork_rng(devices=[]):
        seed_all(seed)
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])  # noqa: NPY002


def seed_all(seed: int) -> None:
    """Seed torch's, numpy's and Python's own generator."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002, an optimizer may draw from it
    random.seed(seed)
