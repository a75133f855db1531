"""Norms of exact numbers, in sympy, which loads with this module and not with the norms."""

from __future__ import annotations

import math
from typing import Any

import sympy as sp

from maxmargin.models.errors import NormError


def entries(block: Any) -> list[sp.Expr]:
    """The magnitudes of the entries."""
    return [abs(entry) for entry in sp.flatten(block)]


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
        return entries(block) if p == 2 else [join(entries(block), 2)]
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


def join(parts: list[sp.Expr], p: float) -> sp.Expr:
    """‖parts‖_p of numbers ≥ 0, p one of 1, 2 and inf."""
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
