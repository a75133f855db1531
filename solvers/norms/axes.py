"""Norms along an axis: ℓ_P of the rows' or of the columns' ℓ2 norms; maxrow, sumrow, maxcolumn, sumcolumn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from array_api_compat import array_namespace
from typing_extensions import override

from maxmargin.models.blocks import Array
from maxmargin.solvers.norms import lp
from maxmargin.solvers.norms.atoms import lp_atom
from maxmargin.solvers.norms.block import GaugeNorm, Rebuild, matrix_only
from maxmargin.solvers.norms.families import register
from maxmargin.solvers.norms.magnitudes import Magnitudes, directions

if TYPE_CHECKING:
    from flint import arb, arb_mat


@dataclass(frozen=True)
class _Lines(GaugeNorm):
    """(Σ ‖x_l‖_2^P)^(1/P) over the rows or the columns x_l."""

    axis: ClassVar[int]
    """Along which a row (1) or a column (0) runs."""

    @override
    def split(self, x: Array) -> tuple[Array, Rebuild]:
        xp, shape = array_namespace(x), tuple(x.shape)
        matrix_only(x, self.family)
        M = x if len(shape) == 2 else xp.reshape(x, (1, -1))
        if self.axis == 1:
            v, unit = row_norms(M)
            return v, lambda t: xp.reshape(unit * xp.reshape(t, (-1, 1)), shape)
        v, unit = row_norms(xp.matrix_transpose(M))
        return v, lambda t: xp.reshape(xp.matrix_transpose(unit * xp.reshape(t, (-1, 1))), shape)

    @override
    def atom(self, x: Any) -> Any:
        import cvxpy as cp

        matrix_only(x, self.family)
        if x.ndim == 1:
            return cp.norm(x, 2) if self.axis == 1 else lp_atom(x, self.p)
        return lp_atom(cp.norm(x, 2, axis=self.axis), self.p)

    @override
    def linearized(self, x: np.ndarray) -> Magnitudes:
        return directions(x, np.atleast_2d(x).shape, axis=1 + self.axis)

    @override
    def upper_bound(self, W: arb_mat) -> arb:
        from maxmargin.solvers.norms.exact.balls import absolute, join

        lines = absolute(W if self.axis == 1 else W.transpose())
        return join([join(line, 2) for line in lines], self.p)


@register
@final
@dataclass(frozen=True)
class Rows(_Lines):
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
    axis: ClassVar[int] = 1


@register
@final
@dataclass(frozen=True)
class Columns(_Lines):
    """(Σ_c ‖x_·c‖_2^P)^(1/P) over the columns x_·c; a vector is one row, so its columns are its entries.

    ``lmo`` of maxcolumn normalizes every column of −G (zero columns stay zero); of sumcolumn it is one.

    Example:
        >>> import numpy as np
        >>> W = np.array([[3.0, 0.0], [4.0, 2.0]])
        >>> float(Columns(math.inf).value(W)), float(Columns(1.0).value(W))
        (5.0, 7.0)
    """

    family: ClassVar[str] = "columns"
    members: ClassVar[Mapping[str, float]] = {"maxcolumn": math.inf, "sumcolumn": 1.0}
    axis: ClassVar[int] = 0


def row_norms(x: Array) -> tuple[Array, Array]:
    """The ℓ2 norms (m,) of a matrix's rows, and the rows divided by them (m, n); zero rows stay zero."""
    xp = array_namespace(x)
    top = lp.nonzero(xp.max(xp.abs(x), axis=1, keepdims=True))
    y = x / top
    norm = xp.linalg.vector_norm(y, axis=1, keepdims=True)
    return xp.reshape(top * norm, (-1,)), y / lp.nonzero(norm)
