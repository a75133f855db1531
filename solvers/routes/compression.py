"""Blocks restricted to the row and column spaces of all gradients, where these are smaller than the block."""

from __future__ import annotations

from typing import final

import numpy as np

from maxmargin.models.blocks import flatten, unflatten
from maxmargin.solvers.norms.measured.metric import Metric
from maxmargin.solvers.norms.schatten import Schatten
from maxmargin.solvers.routes.flat import FlatNorm

_WORTHWHILE = 8  # below this side of a block, looking for its rank costs more than it saves
_RANK = 1e-13


@final
class Compression:
    """The inner problem with matrix blocks W = L W' Rᵀ, W' smaller, where the block's norm is a Schatten norm.

    Projecting a block onto these spaces changes no margin and raises no Schatten norm, so nothing is lost. Gradients
    of a layer are Σ δ xᵀ: with fewer samples than features this is most of the block.

    Attributes:
        flat: The norm on the smaller blocks.
        A: The gradients (n, p') in them.
    """

    def __init__(self, flat: FlatNorm, A: np.ndarray) -> None:
        blocks = unflatten(A, dict(flat.shapes))
        self._bases = {}
        for name, shape in flat.shapes:
            whole = isinstance(flat.norm, Metric)  # no choice block by block
            if len(shape) == 2 and not whole and isinstance(flat.norm.block(name, shape)[0], Schatten):
                bases = _basis(blocks[name].transpose(1, 0, 2)), _basis(blocks[name].transpose(2, 0, 1))
                if any(basis is not None for basis in bases):
                    L, R = self._bases[name] = [
                        np.eye(side) if basis is None else basis for side, basis in zip(shape, bases, strict=True)
                    ]
                    blocks[name] = L.T @ blocks[name] @ R
        shapes = {name: blocks[name].shape[1:] for name, _ in flat.shapes}
        self.flat = FlatNorm.of(flat.norm, shapes) if self._bases else flat
        self.A = np.asarray(flatten(blocks, shapes)) if self._bases else A
        self._full = dict(flat.shapes)

    def expand(self, theta: np.ndarray) -> np.ndarray:
        """The θ of the full blocks (p,) of one in the smaller blocks (p',)."""
        if not self._bases:
            return theta
        blocks = self.flat.blocks(theta)
        for name, (L, R) in self._bases.items():
            blocks[name] = L @ blocks[name] @ R.T
        return np.asarray(flatten(blocks, self._full))


def _basis(vectors: np.ndarray) -> np.ndarray | None:
    """An orthonormal basis (d, r) of the span of vectors (d, …), or None where it is (or may as well be) everything."""
    d = len(vectors)
    if d < _WORTHWHILE:
        return None
    U, s, _ = np.linalg.svd(vectors.reshape(d, -1), full_matrices=False)
    rank = max(1, int((s > _RANK * s[0]).sum()))
    return U[:, :rank] if rank < 0.9 * d else None
