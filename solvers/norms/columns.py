"""Norms of the columns' ℓ2 norms: the largest (maxcolumn), their sum (sumcolumn), and ℓ_P between."""

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
from maxmargin.solvers.norms.rows import row_norms


@register
@final
@dataclass(frozen=True)
class Columns(GaugeNorm):
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

    @override
    def magnitudes(self, x: Array) -> Array:
        return row_norms(_transposed(x))[0]

    @override
    def split(self, x: Array) -> tuple[Array, Rebuild]:
        shape, xp = tuple(x.shape), array_namespace(x)
        v, unit = row_norms(_transposed(x))
        return v, lambda t: xp.reshape(xp.matrix_transpose(unit * xp.reshape(t, (-1, 1))), shape)

    @override
    def lmo(self, G: Array) -> Array:
        v, rebuild = self.split(G)
        return -rebuild(lp.maximiser(v, self.p))

    @override
    def atom(self, x: Any) -> Any:
        import cvxpy as cp

        matrix_only(x, "columns")
        return lp_atom(x if x.ndim == 1 else cp.norm(x, 2, axis=0), self.p)


def _transposed(x: Array) -> Array:
    """The columns as rows: (n, m) of a matrix (m, n), (n, 1) of a vector (n,)."""
    matrix_only(x, "columns")
    xp = array_namespace(x)
    return xp.matrix_transpose(x) if len(x.shape) == 2 else xp.reshape(x, (-1, 1))
