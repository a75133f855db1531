"""Schatten norms of a block: spectral (Muon) and nuclear among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from array_api_compat import array_namespace
from typing_extensions import override

from maxmargin.models.blocks import Array
from maxmargin.solvers.norms import lp
from maxmargin.solvers.norms.atoms import lp_atom, vector
from maxmargin.solvers.norms.block import GaugeNorm, NormError, Rebuild, matrix_only
from maxmargin.solvers.norms.families import register


@register
@final
@dataclass(frozen=True)
class Schatten(GaugeNorm):
    """(Σ σ_i^P)^(1/P) over the singular values σ_i; a vector has one, its l2 norm.

    ``lmo`` of the spectral norm is minus the pseudo-polar factor U Vᵀ over σ_i > max(m, n)·eps·σ_1: directions
    that rounding noise alone would choose stay at 0, and lmo(0) = 0. The same cut serves every P > 1; of the
    nuclear norm it is −u_1 v_1ᵀ (any pair, if several σ are largest).
    A block with a single row or column, and P = 2, need no singular value decomposition and get none.

    Example:
        >>> import numpy as np
        >>> Schatten(math.inf).lmo(np.array([[3.0, 0.0], [0.0, 0.0]])) + 0.0
        array([[-1.,  0.],
               [ 0.,  0.]])
    """

    family: ClassVar[str] = "schatten"
    members: ClassVar[Mapping[str, float]] = {"spectral": math.inf, "nuclear": 1.0}

    @override
    def magnitudes(self, x: Array) -> Array:
        xp = array_namespace(x)
        if _single(x):
            return xp.reshape(lp.value(xp.abs(x), 2), (1,))
        if self.p == 2:
            return xp.reshape(xp.abs(x), (-1,))
        top = lp.peak(x)
        return top * xp.linalg.svdvals(x / top)

    @override
    def split(self, x: Array) -> tuple[Array, Rebuild]:
        xp = array_namespace(x)
        shape = tuple(x.shape)
        if _single(x):
            unit = lp.maximiser(x, 2)
            return self.magnitudes(x), lambda t: xp.reshape(t, (1,) * len(shape)) * unit
        if self.p == 2:
            sign = xp.sign(x)
            return self.magnitudes(x), lambda t: sign * xp.reshape(t, shape)
        top = lp.peak(x)
        U, sigma, Vt = xp.linalg.svd(x / top, full_matrices=False)
        return top * sigma, lambda t: (U * t) @ Vt

    @override
    def lmo(self, G: Array) -> Array:
        if _single(G) or self.p == 2:
            return -lp.maximiser(G, 2)
        xp = array_namespace(G)
        U, sigma, Vt = xp.linalg.svd(G / lp.peak(G), full_matrices=False)
        cut = max(G.shape) * float(xp.finfo(G.dtype).eps)
        sigma = xp.where(sigma > cut * sigma[0], sigma, xp.zeros_like(sigma))
        return (U * -lp.maximiser(sigma, self.p)) @ Vt

    @override
    def atom(self, x: Any) -> Any:
        import cvxpy as cp

        if _single(x):
            return cp.norm(vector(x), 2)
        if self.p == 2:
            return lp_atom(vector(x), 2)
        if math.isinf(self.p):
            return cp.sigma_max(x)
        if self.p == 1:
            return cp.normNuc(x)
        raise NormError(f"{self.name}: no cvxpy form is known for this exponent")


def _single(x: Any) -> bool:
    """Whether x has one singular value by its shape alone."""
    matrix_only(x, "schatten")
    return len(x.shape) == 1 or 1 in x.shape
