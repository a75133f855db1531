"""Norms of exact numbers: the same block norms, weights and joins as :mod:`maxmargin.solvers.norms`, in sympy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import sympy as sp

from maxmargin.solvers.norms import NormError, get_norm
from maxmargin.solvers.norms.entrywise import Entrywise
from maxmargin.solvers.norms.lp import conjugate
from maxmargin.solvers.norms.parameter import Norm
from maxmargin.solvers.norms.schatten import Schatten

ExactBlocks = Mapping[str, Any]
"""Block name → ``sympy.Array`` of one or two axes."""


def exact_value(norm: str | Norm, theta: ExactBlocks) -> sp.Expr:
    """‖θ‖ as an exact number.

    Args:
        norm: Of entrywise or Schatten blocks with exponents 1, 2 or inf, joined by 1, 2 or inf.
        theta: The blocks, exact entries.

    Returns:
        The number.

    Raises:
        NormError: a norm whose exact value is not known here, or singular values that sympy finds no radicals for.

    Example:
        >>> exact_value("nuclear", {"W": sp.Array([[3, 0], [4, 0]]), "a": sp.Array([1, 1])})
        sqrt(2) + 5
    """
    return _norm(get_norm(norm), theta, dual=False)


def exact_dual(norm: str | Norm, G: ExactBlocks) -> sp.Expr:
    """‖G‖_* as an exact number.

    Returns:
        The number.

    Raises:
        NormError: as :func:`exact_value`.
    """
    return _norm(get_norm(norm), G, dual=True)


def _norm(norm: Norm, theta: ExactBlocks, dual: bool) -> sp.Expr:
    parts = []
    for name, block in theta.items():
        rule, weight = norm.block(name, tuple(block.shape))
        factor = Fraction(weight)  # exact, and inverted exactly for the dual: 1/3 is no float
        if dual:
            rule, factor = rule.dual_norm, 1 / factor
        if isinstance(rule, Entrywise):
            magnitudes = [abs(entry) for entry in sp.flatten(block)]
        elif isinstance(rule, Schatten):
            magnitudes = singular_values(block, rule.p)
        else:
            raise NormError(f"no exact value of the block norm {rule.name!r}; known: entrywise and Schatten")
        parts.append(sp.Rational(factor.numerator, factor.denominator) * _join(magnitudes, rule.p))
    return _join(parts, conjugate(norm.aggregation) if dual else norm.aggregation)


def singular_values(block: Any, p: float = math.inf) -> list[sp.Expr]:
    """The singular values with multiplicity (zeros left out), exact; for p = 2 the entries, which serve as well.

    Args:
        block: A vector (its one singular value is its length) or a matrix.
        p: What they are wanted for.

    Returns:
        The values, in no order.

    Raises:
        NormError: where sympy finds no radicals for them.
    """
    if len(block.shape) == 1 or p == 2:
        entries = [abs(entry) for entry in sp.flatten(block)]
        return entries if p == 2 else [_join(entries, 2)]
    M = sp.Matrix(block.tolist())
    gram = (M * M.T if M.rows <= M.cols else M.T * M).applyfunc(sp.expand)
    x = sp.Symbol("x")
    values: list[sp.Expr] = []
    charpoly = sp.factor_list(gram.charpoly(x).as_expr(), x)
    for factor, multiplicity in charpoly[1]:
        roots = sp.roots(factor, x)
        if sum(roots.values()) != sp.degree(factor, x):
            raise NormError(f"the singular values are roots of {factor}, for which sympy finds no radicals")
        values += [sp.sqrt(root) for root, times in roots.items() for _ in range(times * multiplicity) if root != 0]
    return values or [sp.Integer(0)]


def _join(parts: list[sp.Expr], p: float) -> sp.Expr:
    if len(parts) == 1:
        return parts[0]
    if math.isinf(p):
        # Max of exact numbers; sympy compares them to as many digits as it takes.
        return sp.Max(*parts)
    if p == 1:
        return sp.Add(*parts)
    if p == 2:
        return sp.sqrt(sp.expand(sp.Add(*(part**2 for part in parts))))
    raise NormError(f"no exact value of an ℓ_{p:g} join; known: 1, 2 and inf")
