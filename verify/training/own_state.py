"""What an optimizer object, or its class, keeps besides its per-parameter state, and whether steps change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KNOWN = frozenset({"state", "param_groups", "defaults"})


def own_state(optimizer: Any) -> dict[str, Any]:
    """Everything that an optimizer object, or its class, keeps besides its per-parameter state, by name."""
    found: dict[str, Any] = {}
    seen: set[int] = {id(p) for group in optimizer.param_groups for p in group["params"]}

    def walk(name: str, value: Any, depth: int) -> None:
        if isinstance(value, (bool, int, float, str, bytes, type(None))):
            found[name] = value
        elif id(value) in seen or depth > 6 or callable(value):
            return
        elif isinstance(value, torch.Generator):
            found[name] = value.get_state()
        elif isinstance(value, Tensor):
            found[name] = value.detach().clone()
        elif isinstance(value, np.ndarray):
            found[name] = torch.as_tensor(value.copy()) if value.dtype.kind in "biuf" else value.tolist()
        else:
            seen.add(id(value))
            inner: Any = getattr(value, "__dict__", {})
            if isinstance(value, Mapping):
                inner = value
            elif isinstance(value, (list, tuple, set)):
                inner = dict(enumerate(value))
            for key, entry in inner.items():
                walk(f"{name}.{key}", entry, depth + 1)

    for key, entry in vars(optimizer).items():
        if key not in _KNOWN:
            walk(key, entry, 0)
    for kind in type(optimizer).__mro__:
        if kind is not object and kind is not torch.optim.Optimizer:
            for key, entry in vars(kind).items():
                if not key.startswith("__"):
                    walk(f"{kind.__name__}.{key}", entry, 0)
    return found


def first_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The name of the first entry that is not as it was; None where all are."""
    for name in sorted({*before, *after}):
        a, b = before.get(name), after.get(name)
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if not torch.equal(a, b):
                return name
        elif isinstance(a, Tensor) or isinstance(b, Tensor) or a != b or type(a) is not type(b):
            return name
    return None
