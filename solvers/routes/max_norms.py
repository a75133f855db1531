"""Norms that are a maximum of operator norms and |entries|: recognized, normalized, and restricted to what matters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from maxmargin.solvers.norms import BlockNorm, Norm
from maxmargin.solvers.routes.operator_cone import Layout

_PROBES = 3
_SAME = 1e-12
_WORTHWHILE = 8  # below this side of a block, looking for its rank costs more than it saves
_RANK = 1e-13


@final
@dataclass(frozen=True, eq=False)
class MaxLayout:
    """A norm that is the largest of operator norms and |entries|, each times a weight: its ball, normalized.

    Attributes:
        layout: The blocks, matrices first.
        order: Which entry of the flat vector each entry of y is.
        radius: Ball radius at each entry of y: θ[order] = radius · y.
    """

    layout: Layout
    order: np.ndarray
    radius: np.ndarray

    @classmethod
    def of(cls, norm: Norm, shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> MaxLayout | None:
        """Recognize such a norm, block by block, by evaluation.

        Returns:
            The layout, or None for other norms, or where there is no matrix (those are linear programs).
        """
        if not math.isinf(norm.aggregation) and len(shapes) > 1:
            return None
        matrices: list[tuple[np.ndarray, float]] = []
        boxes: list[tuple[np.ndarray, float]] = []
        start = 0
        for name, shape in shapes:
            block, weight = norm.block(name, shape)
            index = np.arange(start, start + math.prod(shape)).reshape(shape)
            start += index.size
            unit = np.zeros(shape)
            unit.flat[0] = 1.0
            size = float(block.value(unit))
            kind = _kind(block, shape, size)
            if kind is None:
                return None
            (matrices if kind == "operator" else boxes).append((np.atleast_2d(index), 1 / (size * weight)))
        if not matrices:
            return None
        layout = Layout(tuple((i.shape[0], i.shape[1]) for i, _ in matrices), sum(i.size for i, _ in boxes))
        everything = [*matrices, *boxes]
        order = np.concatenate([index.ravel() for index, _ in everything])
        return cls(layout, order, np.concatenate([np.full(index.size, r) for index, r in everything]))

    def columns(self, A: np.ndarray) -> np.ndarray:
        """The matrix B with A θ = B y."""
        return A[:, self.order] * self.radius


def _kind(norm: BlockNorm, shape: tuple[int, ...], unit: float) -> str | None:
    """``"operator"`` or ``"box"``, if the norm is that up to a factor (probed; nothing rests on it), else None."""
    rng = np.random.default_rng(0)
    possible = ["box", "operator"]
    for _ in range(_PROBES):
        x = rng.standard_normal(shape)
        value = float(norm.value(x)) / unit
        sizes = {"operator": np.linalg.norm(np.atleast_2d(x), 2), "box": np.abs(x).max()}
        possible = [kind for kind in possible if abs(value - sizes[kind]) <= _SAME * value]
    return possible[0] if possible else None


@final
class Compression:
    """The blocks restricted to the row and column spaces of all gradients, where smaller.

    Projecting a block onto these spaces changes no margin and raises no operator norm (nor nuclear norm), so nothing
    is lost. Gradients of a layer are Σ δ xᵀ: with fewer samples than features this is most of the block.
    """

    def __init__(self, B: np.ndarray, layout: Layout) -> None:
        blocks, box = _split_rows(B, layout)
        self._full = layout
        self._bases = [(_basis(T.transpose(1, 0, 2)), _basis(T.transpose(2, 0, 1))) for T in blocks]
        small = [_times(T, L, R) for T, (L, R) in zip(blocks, self._bases, strict=True)]
        self.layout = Layout(tuple((T.shape[1], T.shape[2]) for T in small), layout.boxes)
        self.B = np.hstack([*(T.reshape(len(B), -1) for T in small), box])

    def expand(self, y: np.ndarray) -> np.ndarray:
        """The full y of a compressed one."""
        matrices, box = self.layout.split(y)
        parts = []
        for W, (L, R) in zip(matrices, self._bases, strict=True):
            W = W if L is None else L @ W
            parts.append((W if R is None else W @ R.T).ravel())
        return np.concatenate([*parts, box])


def _split_rows(B: np.ndarray, layout: Layout) -> tuple[list[np.ndarray], np.ndarray]:
    blocks, start = [], 0
    for m, k in layout.matrices:
        blocks.append(B[:, start : start + m * k].reshape(len(B), m, k))
        start += m * k
    return blocks, B[:, start:]


def _basis(vectors: np.ndarray) -> np.ndarray | None:
    """An orthonormal basis (d, r) of the span of vectors (d, …), or None where it is (or may as well be) everything."""
    d = len(vectors)
    if d < _WORTHWHILE:
        return None
    U, s, _ = np.linalg.svd(vectors.reshape(d, -1), full_matrices=False)
    rank = max(1, int((s > _RANK * s[0]).sum()))
    return U[:, :rank] if rank < 0.9 * d else None


def _times(T: np.ndarray, L: np.ndarray | None, R: np.ndarray | None) -> np.ndarray:
    T = T if L is None else L.T @ T
    return T if R is None else T @ R
