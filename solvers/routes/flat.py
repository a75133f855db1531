"""A norm seen on flat vectors: the parameters' blocks one after the other, each row-major."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from maxmargin.models.blocks import size, unflatten
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.norms import lp as lp_norm

_SAME = 1e-12  # two formulas for one norm, some tens of roundings
_PROBES = 4


@final
@dataclass(frozen=True)
class FlatNorm:
    """‖·‖ and ‖·‖_* on R^p.

    Attributes:
        norm: The norm of the whole parameter.
        shapes: Block name and shape, in the order of the vector.
    """

    norm: Norm
    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, norm: Norm, shapes: Mapping[str, tuple[int, ...]]) -> FlatNorm:
        """Build from a problem's shapes; equal norms and shapes give equal (and hashable) flat norms."""
        return cls(norm, tuple((name, tuple(shape)) for name, shape in shapes.items()))

    @cached_property
    def size(self) -> int:
        """Number of parameters p."""
        return size(dict(self.shapes))

    @cached_property
    def dual_norm(self) -> FlatNorm:
        """‖·‖_* with the same blocks."""
        return FlatNorm(self.norm.dual_norm, self.shapes)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.shapes)

    def blocks(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The blocks of a vector (p,)."""
        return unflatten(vector, self._shapes)

    def value(self, vector: np.ndarray) -> float:
        """‖θ‖ of a vector (p,)."""
        return float(self.norm.value(self.blocks(vector)))

    def dual(self, vector: np.ndarray) -> float:
        """‖G‖_* of a vector (p,)."""
        return float(self.norm.dual(self.blocks(vector)))

    def weights(self, p: float) -> np.ndarray | None:
        """Return the positive d (p,) with ‖θ‖ = ‖d θ‖_p for all θ, or None if the norm is no such weighted ℓ_p.

        Found by evaluation, not by name, so that every way of writing the same norm finds the same fast solver.
        Probing cannot prove an identity; nothing rests on it, since every bound is recomputed with the norm itself.

        Example:
            >>> from maxmargin.solvers.norms import get_norm
            >>> FlatNorm.of(get_norm("schatten:2"), {"W": (2, 2)}).weights(2)
            array([1., 1., 1., 1.])
            >>> FlatNorm.of(get_norm("spectral"), {"W": (2, 2)}).weights(2) is None
            True
        """
        d, start = np.empty(self.size), 0
        for _, shape in self.shapes:
            stop = start + math.prod(shape)
            unit = np.zeros(self.size)
            unit[start] = 1.0
            d[start:stop] = self.value(unit)
            start = stop
        rng = np.random.default_rng(0)
        for _ in range(_PROBES):
            x = rng.standard_normal(self.size)
            expected = float(lp_norm.value(np.abs(d * x), p))
            if not abs(self.value(x) - expected) <= _SAME * expected:
                return None
        return d
