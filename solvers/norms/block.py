"""The contract of a norm on one block of parameters, and the one way to make one from ℓ_p."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace
from typing_extensions import override

from maxmargin.models.blocks import Array
from maxmargin.models.errors import NormError
from maxmargin.solvers.norms import lp
from maxmargin.solvers.norms.magnitudes import Magnitudes

if TYPE_CHECKING:
    import sympy as sp
    from flint import arb, arb_mat

Size = Literal["operator", "frobenius", "largest entry", "sum of entries"]
"""Sizes of a block that bounds of a model's margin are written in."""


class BlockNorm(ABC):
    """A norm on one block: a vector (n,) or a matrix (m, n), numpy or torch; ⟨A, B⟩ = Σ A·B.

    Unless its docstring says otherwise, a norm of matrices takes a vector as a matrix of one row.
    ``value``, ``dual``, ``lmo`` and ``project`` take finite arrays, branch on shapes only, never on data, and so
    can be traced and vmapped; scalars come back as 0-d arrays of the input's kind.

    Laws (:mod:`maxmargin.solvers.norms.laws` checks all of them, for whole parameters):
        - ``value`` is a norm, and ``dual(G) = max ⟨G, S⟩ over value(S) ≤ 1`` = ``dual_norm.value(G)``;
        - ``value(lmo(G)) ≤ 1`` and ``⟨G, lmo(G)⟩ = −dual(G)``; ``lmo(0) = 0``;
        - ``project(x, r)`` = P has ``value(P) ≤ r`` and ``⟨x − P, P⟩ = r · dual(x − P)`` or P = x;
        - ``atom`` of a constant has the value ``value``.

    What a norm may know besides, each None unless it is written: :meth:`linearized` (Newton's method in place of
    differences), :meth:`upper_bound` (enclosures), :meth:`exact_value` (exact answers) and :meth:`largest` (global
    optimality on networks).
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """How the command line calls it; :func:`get_norm` reads it back."""

    @property
    @abstractmethod
    def aggregation(self) -> float:
        """The exponent that joins the blocks when this norm's name is given for a whole parameter."""

    @property
    @abstractmethod
    def dual_norm(self) -> BlockNorm:
        """The norm ‖G‖_* = max ⟨G, S⟩ over ‖S‖ ≤ 1."""

    @abstractmethod
    def value(self, x: Array) -> Array:
        """‖x‖."""

    @abstractmethod
    def lmo(self, G: Array) -> Array:
        """A minimiser of ⟨G, ·⟩ over the unit ball."""

    @abstractmethod
    def project(self, x: Array, radius: float) -> Array:
        """The nearest point to x (Frobenius) in the ball of this radius."""

    @abstractmethod
    def atom(self, x: Any) -> Any:
        """The norm as a convex cvxpy expression of the cvxpy expression x.

        Raises:
            NormError: no cvxpy form is known.
        """

    def dual(self, G: Array) -> Array:
        """The dual norm ‖G‖_*, a scalar of the array's kind."""
        return self.dual_norm.value(G)

    def normal_cone_residual(self, x: Array, H: Array) -> Array:
        """How far H is from the normal cone of the ball at x, in [0, 2]; see :func:`cone_residual`."""
        norm, dual = self.value(x), self.dual(H)
        return cone_residual((H / lp.nonzero(dual) * (x / lp.nonzero(norm))).sum(), dual)

    def linearized(self, x: np.ndarray) -> Magnitudes | None:
        """The block x taken apart into magnitudes and alignment, for derivatives; None where no formula is known."""
        return None

    def upper_bound(self, W: arb_mat) -> arb | None:
        """Return a proved upper bound of ‖W‖ in ball arithmetic, or None where none is known.

        Args:
            W: The block, a vector as one row.
        """
        return None

    def exact_value(self, block: Any) -> sp.Expr | None:
        """‖block‖ of a ``sympy.Array`` of exact numbers, or None where it is not known."""
        return None

    def largest(self, shape: tuple[int, ...], size: Size) -> float | None:
        """The largest ``size`` of an array of this shape with norm at most 1, or a bound of it; None if not known."""
        return None


class Family(BlockNorm):
    """A norm of one number, known as ``NAME:P``; some members have names of their own."""

    family: ClassVar[str]
    members: ClassVar[Mapping[str, float]] = {}

    def __init__(self, number: float) -> None:
        """The member of this number."""


Rebuild = Callable[[Array], Array]


@dataclass(frozen=True)
class GaugeNorm(Family):
    """‖x‖ = ‖v(x)‖_p with v(x) ≥ 0 the magnitudes of x: |entries|, singular values, row norms and the like.

    The magnitudes must be such that x ↦ ‖v(x)‖_p is a norm for every p, with dual exponent q for the dual norm,
    and that ``rebuild`` of :meth:`split` turns magnitudes t into an array aligned with x: v(rebuild(t)) = t up to
    order and ⟨x, rebuild(t)⟩ = Σ v(x) t. (For singular values this is von Neumann's trace inequality.)
    A subclass is one family ``NAME:P`` with 1 ≤ P ≤ inf.

    Raises:
        NormError: an exponent outside [1, inf].
    """

    p: float

    def __post_init__(self) -> None:
        if not self.p >= 1:
            raise NormError(
                f"{self.family}:{self.p:g}: the exponent is {self.p:g}, but only 1 <= P <= inf makes a norm; "
                f"try {self.family}:1"
            )

    @property
    @override
    def name(self) -> str:
        for name, p in self.members.items():
            if p == self.p:
                return name
        return f"{self.family}:{number(self.p)}"

    @property
    @override
    def aggregation(self) -> float:
        return self.p

    @property
    @override
    def dual_norm(self) -> GaugeNorm:
        return type(self)(lp.conjugate(self.p))

    @abstractmethod
    def split(self, x: Array) -> tuple[Array, Rebuild]:
        """Magnitudes v(x), and the map from magnitudes to arrays aligned with x."""

    def magnitudes(self, x: Array) -> Array:
        """The magnitudes v(x) ≥ 0, one axis."""
        return self.split(x)[0]

    @override
    def value(self, x: Array) -> Array:
        return lp.value(self.magnitudes(x), self.p)

    @override
    def lmo(self, G: Array) -> Array:
        v, rebuild = self.split(G)
        return -rebuild(lp.maximiser(v, self.p))

    @override
    def project(self, x: Array, radius: float) -> Array:
        v, rebuild = self.split(x)
        return rebuild(lp.project(v, self.p, radius))


def cone_residual(cosine: Array, dual: Array) -> Array:
    """Return 1 − ⟨H, x⟩ / (‖H‖_* ‖x‖), of the quotient ``cosine`` and of ‖H‖_*; scale free, in [0, 2].

    Zero iff H lies in the normal cone of the ball at x, that is iff H is a nonnegative multiple of a subgradient
    of the norm at x. H = 0 lies in every cone (0); at x = 0 every other H is outside (1).
    """
    return (1 - cosine) * array_namespace(dual).astype(dual > 0, dual.dtype)


def number(x: float) -> str:
    """The shortest text that reads back as x: ``2`` for 2.0, ``0.1`` for 0.1, ``inf``."""
    return str(int(x)) if math.isfinite(x) and x == int(x) and abs(x) < 1e15 else repr(float(x))


def matrix_only(x: Array, family: str) -> None:
    """Raise unless x is a vector or a matrix."""
    if len(x.shape) not in (1, 2):
        raise NormError(
            f"{family} norms take a vector or a matrix, a block of shape {tuple(x.shape)} came; "
            "reshape it to the matrix that is meant"
        )
