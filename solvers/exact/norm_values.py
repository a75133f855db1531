"""Norms of exact numbers: the same block norms, weights and joins as :mod:`maxmargin.solvers.norms`, in sympy."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import sympy as sp

from maxmargin.solvers.norms import NormError, get_norm
from maxmargin.solvers.norms.exact.radicals import join
from maxmargin.solvers.norms.lp import conjugate
from maxmargin.solvers.norms.parameter import Norm

ExactBlocks = Mapping[str, Any]
"""Block name → ``sympy.Array`` of one or two axes."""


def exact_value(norm: str | Norm, theta: ExactBlocks) -> sp.Expr:
    """Return ‖θ‖ as an exact number.

    Args:
        norm: Of entrywise or Schatten blocks with exponents 1, 2 or inf, joined by 1, 2 or inf.
        theta: The blocks, exact entries.

    Raises:
        NormError: a norm whose exact value is not known here, or singular values that sympy finds no radicals for.

    Example:
        >>> exact_value("nuclear", {"W": sp.Array([[3, 0], [4, 0]]), "a": sp.Array([1, 1])})
        sqrt(2) + 5
    """
    return _norm(get_norm(norm), theta, dual=False)


def exact_dual(norm: str | Norm, G: ExactBlocks) -> sp.Expr:
    """‖G‖_* as an exact number; errors as of :func:`exact_value`."""
    return _norm(get_norm(norm), G, dual=True)


def _norm(norm: Norm, theta: ExactBlocks, dual: bool) -> sp.Expr:
    parts = []
    for name, block in theta.items():
        rule, weight = norm.block(name, tuple(block.shape))
        factor = Fraction(weight)  # exact, and inverted exactly for the dual: 1/3 is no float
        if dual:
            rule, factor = rule.dual_norm, 1 / factor
        value = rule.exact_value(block)
        if value is None:
            raise NormError(f"no exact value of the block norm {rule.name!r}; known: entrywise and Schatten")
        parts.append(sp.Rational(factor.numerator, factor.denominator) * value)
    return join(parts, conjugate(norm.aggregation) if dual else norm.aggregation)
