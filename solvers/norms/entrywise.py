"""Entrywise ℓ_p norms of a block: l1 (greedy coordinate descent), l2 (gradient descent), linf (Signum, Adam)."""

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
from maxmargin.solvers.norms.block import GaugeNorm, Rebuild, Size
from maxmargin.solvers.norms.families import register
from maxmargin.solvers.norms.magnitudes import Magnitudes, entries

if TYPE_CHECKING:
    import sympy as sp
    from flint import arb, arb_mat


@register
@final
@dataclass(frozen=True)
class Entrywise(GaugeNorm):
    """(Σ |x_ij|^P)^(1/P), whatever the block's shape.

    ``lmo``: −G/‖G‖ for l2, −sign(G) with sign(0) = 0 for linf, and for l1 a signed unit vector at one of the
    largest entries (which of several equal ones is not specified).

    Example:
        >>> import numpy as np
        >>> Entrywise(math.inf).lmo(np.array([3.0, -4.0]))
        array([-1.,  1.])
        >>> print(f"{Entrywise(2.0).value(np.array([3e200, -4e200])):.3g}")
        5e+200
    """

    family: ClassVar[str] = "entrywise"
    members: ClassVar[Mapping[str, float]] = {"l1": 1.0, "l2": 2.0, "linf": math.inf}

    @override
    def magnitudes(self, x: Array) -> Array:
        xp = array_namespace(x)
        return xp.reshape(xp.abs(x), (-1,))

    @override
    def split(self, x: Array) -> tuple[Array, Rebuild]:
        xp = array_namespace(x)
        sign, shape = lp.sign(x), tuple(x.shape)
        return self.magnitudes(x), lambda t: sign * xp.reshape(t, shape)

    @override
    def lmo(self, G: Array) -> Array:
        xp = array_namespace(G)
        if math.isinf(self.p):
            return lp.sign(G, -1.0)
        if self.p == 2:
            return -lp.unit(G)
        return lp.sign(G, -1.0) * lp.maximiser(xp.abs(G), self.p)

    @override
    def atom(self, x: Any) -> Any:
        return lp_atom(vector(x), self.p)

    @override
    def linearized(self, x: np.ndarray) -> Magnitudes:
        return entries(x)

    @override
    def upper_bound(self, W: arb_mat) -> arb:
        from maxmargin.solvers.norms.exact.balls import join

        return join([abs(entry) for entry in W.entries()], self.p)

    @override
    def exact_value(self, block: Any) -> sp.Expr:
        from maxmargin.solvers.norms.exact.radicals import entries, join

        return join(entries(block), self.p)

    @override
    def largest(self, shape: tuple[int, ...], size: Size) -> float:
        n = math.prod(shape)
        if size == "largest entry":
            return 1.0
        if size == "sum of entries":
            return n ** (1 - 1 / self.p)
        return n ** max(0.0, 0.5 - 1 / self.p)  # also the operator norm's: a constant matrix has rank one
