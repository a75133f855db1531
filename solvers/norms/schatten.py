"""Schatten norms of a block: spectral (Muon) and nuclear among them."""

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
from maxmargin.solvers.norms.atoms import lp_atom, vector
from maxmargin.solvers.norms.block import GaugeNorm, Rebuild, Size, matrix_only
from maxmargin.solvers.norms.families import register
from maxmargin.solvers.norms.magnitudes import Magnitudes, directions, singular
from maxmargin.solvers.norms.polar.factor import polar

if TYPE_CHECKING:
    import sympy as sp
    from flint import arb, arb_mat


@register
@final
@dataclass(frozen=True)
class Schatten(GaugeNorm):
    """(Σ σ_i^P)^(1/P) over the singular values σ_i; a vector has one, its l2 norm.

    ``lmo`` of the spectral norm is minus the pseudo-polar factor U Vᵀ over σ_i > max(m, n)·eps·σ_1:
    directions that rounding noise alone would choose stay at 0, and lmo(0) = 0. The same cut serves every
    P > 1; for the nuclear norm it is −u_1 v_1ᵀ (any pair, if several σ are largest).
    A block with a single row or column, and P = 2, need no singular value decomposition and get none.
    A matrix with a NaN or an infinity gives NaN, and leaves the other runs of a vmapped batch alone.

    Example:
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
            return xp.reshape(lp.value(x, 2), (1,))
        if self.p == 2:
            return xp.reshape(xp.abs(x), (-1,))
        y, top, spoilt = _normalized(x)
        return top * xp.linalg.svdvals(y) + spoilt

    @override
    def split(self, x: Array) -> tuple[Array, Rebuild]:
        xp = array_namespace(x)
        shape = tuple(x.shape)
        if _single(x):
            unit = lp.unit(x)
            return self.magnitudes(x), lambda t: xp.reshape(t, (1,) * len(shape)) * unit
        if self.p == 2:
            sign = lp.sign(x)
            return self.magnitudes(x), lambda t: sign * xp.reshape(t, shape)
        y, top, spoilt = _normalized(x)
        U, sigma, Vt = xp.linalg.svd(y, full_matrices=False)
        return top * sigma + spoilt, lambda t: (U * t) @ Vt

    @override
    def lmo(self, G: Array) -> Array:
        if _single(G) or self.p == 2:
            return -lp.unit(G)
        if math.isinf(self.p):
            return -polar(G)
        xp = array_namespace(G)
        y, _, spoilt = _normalized(G)
        U, sigma, Vt = xp.linalg.svd(y, full_matrices=False)
        cut = max(G.shape) * float(xp.finfo(G.dtype).eps)
        sigma = xp.where(sigma > cut * sigma[0], sigma, xp.zeros_like(sigma))
        return (U * (spoilt - lp.maximiser(sigma, self.p))) @ Vt

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
        return _majorized(x, self.p)

    @override
    def linearized(self, x: np.ndarray) -> Magnitudes:
        return directions(x, (1, x.size), axis=2) if _single(x) else singular(x)

    @override
    def upper_bound(self, W: arb_mat) -> arb:
        from maxmargin.solvers.norms.exact.balls import join, singular_bound

        if self.p == 2 or min(W.nrows(), W.ncols()) == 1:
            return join([abs(entry) for entry in W.entries()], 2)
        return singular_bound(W, self.p)

    @override
    def exact_value(self, block: Any) -> sp.Expr:
        from maxmargin.solvers.norms.exact.radicals import join, singular_values

        return join(singular_values(block, self.p), self.p)

    @override
    def largest(self, shape: tuple[int, ...], size: Size) -> float:
        rank = min(shape) if len(shape) == 2 else 1
        euclidean = rank ** max(0.0, 0.5 - 1 / self.p)
        if size == "sum of entries":
            return math.sqrt(math.prod(shape)) * euclidean
        return euclidean if size == "frobenius" else 1.0


def _majorized(x: Any, p: float) -> Any:
    """Return min ‖t‖_p over t whose partial sums are at least the Ky Fan norms of x, which is ‖σ(x)‖_p.

    Source: Ben-Tal & Nemirovski, Lectures on Modern Convex Optimization (2001), Proposition 4.2.2 (weak
    majorization, Fan's dominance theorem). The sum of the k largest singular values is that of the k largest
    eigenvalues of [[0, x], [xᵀ, 0]]. The inner problem is solved (by Clarabel) only where a value is asked for.
    """
    import cvxpy as cp
    from cvxpy.transforms.partial_optimize import partial_optimize

    rows, columns = x.shape
    rank = min(rows, columns)
    dilation = cp.bmat([[np.zeros((rows, rows)), x], [x.T, np.zeros((columns, columns))]])
    fans = [cp.sigma_max(x), *(cp.lambda_sum_largest(dilation, k) for k in range(2, rank)), cp.normNuc(x)]
    t = cp.Variable(rank)
    dominates = [cp.sum(t[: k + 1]) >= fan for k, fan in enumerate(fans)]
    inner = cp.Problem(cp.Minimize(lp_atom(t, p)), dominates)
    tight: dict[str, Any] = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
    return partial_optimize(inner, opt_vars=[t], solver=cp.CLARABEL, **tight)


def _normalized(x: Array) -> tuple[Array, Array, Array]:
    """The matrix over its peak, the peak, and 0, or NaN (the matrix then zeroed: LAPACK refuses NaN, for all runs).

    Returns:
        Matrix, scalar, scalar.
    """
    xp = array_namespace(x)
    top = lp.peak(x)
    y = x / top
    return xp.where(xp.isfinite(top), y, xp.zeros_like(y)), top, top - top


def _single(x: Any) -> bool:
    """Whether x has one singular value by its shape alone: vectors, and matrices of one row or column."""
    matrix_only(x, "schatten")
    return len(x.shape) == 1 or 1 in x.shape
