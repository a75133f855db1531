"""An engine optimizer behind torch's interface, so that what is asked of a black box can be asked of it too."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any, final

import torch
from torch import Tensor

from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.optimizers.core.logscale import scaled


@final
class AsTorch(torch.optim.Optimizer):
    """``native`` as a ``torch.optim.Optimizer`` over float64 parameters, at the learning rate of each one's group.

    Example:
        >>> from maxmargin.verify.optimizers import get_optimizer
        >>> w = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        >>> w.grad = torch.tensor([3.0, -0.5], dtype=torch.float64)
        >>> AsTorch([w], get_optimizer("sign-gd"), lr=0.1).step()
        >>> w.tolist()
        [-0.1, 0.1]
    """

    def __init__(self, params: Iterable[Any], native: Optimizer, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})
        self.native = native
        self._names = {str(i): p for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        self._moments = native.init(self._blocks())
        self._count = 0

    def _blocks(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self._names.items()}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch declares overloads
        """One step along the parameters' gradients; ``closure`` is not called."""
        del closure
        self._count += 1
        gradient = {name: _gradient(p) for name, p in self._names.items()}
        one = torch.tensor(float(self._count), dtype=torch.float64)
        direction, self._moments = self.native.direction(self._moments, scaled(gradient), one)
        before = self._blocks()
        moved: dict[str, Tensor] = {}
        for rate, own in self._at_rates().items():
            after = self.native.move(before, direction, torch.tensor(rate, dtype=torch.float64), one)
            moved |= {name: after[name] for name in own}
        for name, p in self._names.items():
            p.copy_(moved[name])

    def _at_rates(self) -> dict[float, list[str]]:
        """The blocks' names, by the learning rates of their groups."""
        names, found = iter(self._names), dict[float, list[str]]()
        for group in self.param_groups:
            found.setdefault(float(group["lr"]), []).extend(islice(names, len(group["params"])))
        return found


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def as_target(native: Optimizer, spec: str) -> Target:
    """The engine optimizer as a black box named ``spec``."""
    return Target(spec, factory=partial(AsTorch, native=native), given=True)
