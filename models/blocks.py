"""Parameters as a mapping of named blocks, and the few operations that need the whole of it.

A block is an array of one or two dimensions, numpy or torch. ``⟨A, B⟩ = Σ A·B`` everywhere.
Flattening is row-major (torch's and numpy's order; cvxpy's own is column-major).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch

Array = Any  # numpy.ndarray or torch.Tensor; the norms' code serves both
Blocks = Mapping[str, Array]
Shapes = Mapping[str, tuple[int, ...]]


class BlockError(ValueError):
    """Parameters whose block names or shapes are not the problem's."""


def inner(a: Blocks, b: Blocks) -> Array:
    """⟨a, b⟩ = Σ over blocks of Σ a·b, a scalar of the arrays' own kind."""
    terms = [(a[name] * b[name]).sum() for name in a]
    return sum(terms[1:], start=terms[0])


def scale(a: Blocks, factor: Any) -> dict[str, Array]:
    """Multiply by a number: factor · a, block by block."""
    return {name: factor * block for name, block in a.items()}


def add(a: Blocks, b: Blocks, factor: Any = 1.0) -> dict[str, Array]:
    """Add: a + factor · b, block by block."""
    return {name: block + factor * b[name] for name, block in a.items()}


def size(shapes: Shapes) -> int:
    """Number of parameters p in all blocks together."""
    return sum(prod(shape) for shape in shapes.values())


def shapes_of(a: Blocks) -> dict[str, tuple[int, ...]]:
    """The shape of each block."""
    return {name: tuple(block.shape) for name, block in a.items()}


def flatten(a: Blocks, shapes: Shapes) -> Array:
    """Return one vector (…, p) of the blocks in the order of ``shapes``, each row-major; leading axes are kept.

    Example:
        >>> flatten({"W": np.array([[1.0, 2.0], [3.0, 4.0]]), "a": np.array([5.0])}, {"W": (2, 2), "a": (1,)})
        array([1., 2., 3., 4., 5.])
    """
    parts = []
    for name, shape in shapes.items():
        block = a[name]
        lead = tuple(block.shape)[: len(block.shape) - len(shape)]
        parts.append(block.reshape((*lead, prod(shape))))
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(parts, dim=-1)
    return np.concatenate(parts, axis=-1)


def unflatten(vector: Array, shapes: Shapes) -> dict[str, Array]:
    """The blocks of a vector (…, p): the inverse of :func:`flatten`."""
    blocks, start = {}, 0
    for name, shape in shapes.items():
        stop = start + prod(shape)
        blocks[name] = vector[..., start:stop].reshape((*vector.shape[:-1], *shape))
        start = stop
    return blocks


def as_numpy(a: Blocks) -> dict[str, np.ndarray]:
    """Float64 numpy copies of the blocks."""
    return {
        name: (block.detach().cpu().numpy() if isinstance(block, torch.Tensor) else np.asarray(block)).astype(
            np.float64
        )
        for name, block in a.items()
    }


def as_torch(a: Blocks, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Float64 torch tensors of the blocks on ``device``."""
    return {name: torch.as_tensor(block, dtype=torch.float64, device=device) for name, block in a.items()}


def check_shapes(a: Blocks, shapes: Shapes) -> None:
    """Raise unless ``a`` has the named blocks with these shapes."""
    if list(a) != list(shapes) and set(a) != set(shapes):
        raise BlockError(f"parameters have blocks {sorted(a)}, the model needs {sorted(shapes)}")
    for name, shape in shapes.items():
        if tuple(a[name].shape) != tuple(shape):
            raise BlockError(f"block {name!r} has shape {tuple(a[name].shape)}, the model needs {tuple(shape)}")
