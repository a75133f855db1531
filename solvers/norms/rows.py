"""Norms of the rows' ℓ2 norms: the largest (maxrow), their sum (sumrow), and ℓ_P between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from array_api_compat import array_namespace
from typing_extensions import override

from maxmargin.models.blocks import Array
from maxmargin.solvers.norms import lp
from maxmargin.solvers.norms.atoms import lp_atom
from maxmargin.solvers.norms.block import GaugeNorm, Rebuild, matrix_only
from maxmargin.solvers.norms.families import register


@register
@final
@dataclass(frozen=True)
class Rows(GaugeNorm):
    """(Σ_r ‖x_r‖_2^P)^(1/P) over the rows x_r; a vector is one row.

    ``lmo`` of maxrow normalizes every row of −G (zero rows stay zero); of sumrow it is one normalized row.
    Max row norm: Kim, Song & Yun, "From Geometry to Generalization" (2026).

    Example:
        >>> import numpy as np
        >>> W = np.array([[3.0, 4.0], [0.0, 2.0]])
        >>> float(Rows(math.inf).value(W)), float(Rows(1.0).value(W))
        (5.0, 7.0)
    """

    family: ClassVar[str] = "rows"
    members: ClassVar[Mapping[str, float]] = {"maxrow": math.inf, "sumrow": 1.0}

    @override
    def magnitudes(self, x: Array) -> Array:
        return row_norms(_matrix(x))[0]

    @override
    def split(self, x: Array) -> tuple[Array, Rebuild]:
        shape, xp = tuple(x.shape), array_namespace(x)
        v, unit = row_norms(_matrix(x))
        return v, lambda t: xp.reshape(unit * xp.reshape(t, (-1, 1)), shape)

    @override
    def lmo(self, G: Array) -> Array:
        v, rebuild = self.split(G)
        return -rebuild(lp.maximiser(v, self.p))

    @override
    def atom(self, x: Any) -> Any:
        import cvxpy as cp

        matrix_only(x, "rows")
        return cp.norm(x, 2) if x.ndim == 1 else lp_atom(cp.norm(x, 2, axis=1), self.p)


def row_norms(x: Array) -> tuple[Array, Array]:
    """The ℓ2 norms of a matrix's rows, and the rows divided by them (zero rows stay zero).

    Returns:
        Norms (m,) and unit rows (m, n).
    """
    xp = array_namespace(x)
    top = lp.nonzero(xp.max(xp.abs(x), axis=1, keepdims=True))
    y = x / top
    norm = xp.linalg.vector_norm(y, axis=1, keepdims=True)
    return xp.reshape(top * norm, (-1,)), y / lp.nonzero(norm)


def _matrix(x: Array) -> Array:
    matrix_only(x, "rows")
    return x if len(x.shape) == 2 else array_namespace(x).reshape(x, (1, -1))
