"""Spectral norms weighted by the block's shape: what Muon's shape-dependent learning-rate factors make of its norm.

A step c(rows, columns) · U Vᵀ is steepest descent for ‖W‖ = σ_1(W) / c(rows, columns): a factor on the learning rate
is the inverse weight of the norm. The weight is known once the shape is, so these are norms of a block like others:
``spectral-original:1`` for every block, or ``blocks:@matrix=spectral-original:1,@vector=linf;max``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

from typing_extensions import override

from maxmargin.models.blocks import Array
from maxmargin.models.errors import NormError
from maxmargin.solvers.norms.block import BlockNorm, Family, number
from maxmargin.solvers.norms.families import FAMILIES, register
from maxmargin.solvers.norms.schatten import Schatten


def original(rows: int, columns: int) -> float:
    """√max(1, rows/columns): Jordan's Muon (2024), ``adjust_lr_fn="original"`` of ``torch.optim.Muon``."""
    return math.sqrt(max(1.0, rows / columns))


def match_rms(rows: int, columns: int) -> float:
    """√max(rows, columns): steps of Adam's size (Liu et al. 2502.16982), ``adjust_lr_fn="match_rms_adamw"``."""
    return math.sqrt(max(rows, columns))


@dataclass(frozen=True)
class Shaped(Family):
    """A Schatten norm over c = factor · law(rows, columns), or times c; a vector is one row.

    Raises:
        NormError: a factor that is not positive and finite.
    """

    factor: float
    base: ClassVar[Schatten]
    """Of the unweighted block: spectral (then c divides) or nuclear."""
    law: ClassVar[Callable[[int, int], float]]

    def __post_init__(self) -> None:
        if not (self.factor > 0 and math.isfinite(self.factor)):
            raise NormError(
                f"{self.family}:{self.factor:g}: the factor of the learning rate must be a positive finite number; "
                f"try {self.family}:1"
            )

    def weight(self, shape: tuple[int, ...]) -> float:
        """What ``base`` is multiplied by for a block of this shape."""
        if len(shape) not in (1, 2):
            raise NormError(f"{self.family} norms take a vector or a matrix, a block of shape {shape} came; reshape it")
        c = self.factor * type(self).law(shape[0] if len(shape) == 2 else 1, shape[-1])
        return 1.0 / c if self.base.p > 1 else c

    @property
    @override
    def name(self) -> str:
        return f"{self.family}:{number(self.factor)}"

    @property
    @override
    def aggregation(self) -> float:
        return self.base.aggregation

    @property
    @override
    def dual_norm(self) -> BlockNorm:
        base, law = self.family.split("-", 1)
        return FAMILIES[f"{'nuclear' if base == 'spectral' else 'spectral'}-{law}"](self.factor)

    @override
    def value(self, x: Array) -> Array:
        return self.weight(tuple(x.shape)) * self.base.value(x)

    @override
    def lmo(self, G: Array) -> Array:
        return (1.0 / self.weight(tuple(G.shape))) * self.base.lmo(G)

    @override
    def project(self, x: Array, radius: float) -> Array:
        return self.base.project(x, radius / self.weight(tuple(x.shape)))

    @override
    def atom(self, x: Any) -> Any:
        return self.weight(tuple(x.shape)) * self.base.atom(x)


@register
@final
@dataclass(frozen=True)
class SpectralOriginal(Shaped):
    """σ_1(W) / (P √max(1, rows/columns)): the norm of Muon with its original shape factor.

    Example:
        >>> import numpy as np
        >>> norm = SpectralOriginal(1.0)
        >>> [round(float(norm.value(np.ones(shape))), 12) for shape in ((8, 2), (2, 8))]
        [2.0, 4.0]
        >>> norm.dual_norm.name
        'nuclear-original:1'
    """

    family, base, law = "spectral-original", Schatten(math.inf), original


@register
@final
@dataclass(frozen=True)
class NuclearOriginal(Shaped):
    """P √max(1, rows/columns) · Σ σ_i(W): the dual of ``spectral-original:P``."""

    family, base, law = "nuclear-original", Schatten(1.0), original


@register
@final
@dataclass(frozen=True)
class SpectralMatchRms(Shaped):
    """σ_1(W) / (P √max(rows, columns)): the norm of Muon with steps of Adam's size (P = 0.2)."""

    family, base, law = "spectral-match-rms", Schatten(math.inf), match_rms


@register
@final
@dataclass(frozen=True)
class NuclearMatchRms(Shaped):
    """P √max(rows, columns) · Σ σ_i(W): the dual of ``spectral-match-rms:P``."""

    family, base, law = "nuclear-match-rms", Schatten(1.0), match_rms
