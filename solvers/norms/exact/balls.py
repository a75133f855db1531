"""Norms in ball arithmetic: proved upper bounds, without enclosing an eigenvalue.

For singular values: with any W = U Σ Vᵀ + E (U and V from a float SVD, E exact by subtraction), r the rank,

    ‖W‖_Sp  ≤  ‖U‖_op ‖V‖_op (Σ σ_i^p)^(1/p)  +  r^max(0, 1/p − 1/2) ‖E‖_F,     ‖U‖_op² ≤ 1 + ‖UᵀU − I‖_F,

all of it matrix products of known rationals. U and V are orthonormal to 1e-15, so the bound is that tight.
python-flint loads with this module, not with the norms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import flint
import numpy as np
from flint import arb, arb_mat

_BITS = 320  # sums of products of floats from 1e-30 to 1e30 keep 50 digits; only the width depends on it


@contextmanager
def precision(bits: int = _BITS) -> Iterator[None]:
    """Compute with so many bits inside, and leave python-flint's setting as it was."""
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def matrix(values: np.ndarray) -> arb_mat:
    """The exact matrix of these floats."""
    rows, columns = values.shape
    return arb_mat(rows, columns, [arb(float(value)) for value in values.ravel()])


def join(values: Sequence[arb], p: float) -> arb:
    """‖values‖_p for values ≥ 0."""
    if math.isinf(p):
        largest = arb(0)
        for value in values:
            largest = largest.max(value)
        return largest
    if p == 1:
        return sum(values, arb(0))
    if p == 2:
        return sum((value * value for value in values), arb(0)).sqrt()
    exponent = arb(p)
    total = sum((_power(value, exponent) for value in values), arb(0))
    return _power(total, 1 / exponent)


def _power(value: arb, exponent: arb) -> arb:
    # arb's power goes through the logarithm, which a ball that touches 0 has not.
    if value > 0:
        return value**exponent
    top = arb(value.upper()).nonnegative_part()
    return arb(0) if top == 0 else (top**exponent).union(arb(0))


def singular_bound(W: arb_mat, p: float) -> arb:
    """A ball whose upper end is at least the ℓ_p norm of the singular values."""
    middle = np.array([[float(entry.mid()) for entry in row] for row in W.tolist()])
    scale = np.abs(middle).max()
    if not (np.isfinite(scale) and scale > 0):
        return join([abs(entry) for entry in W.entries()], 1)  # ‖W‖_Sp ≤ Σ|w_ij|: crude, and enough near 0
    U, sigma, Vt = np.linalg.svd(middle / scale, full_matrices=False)
    left, singular, right = matrix(U), [arb(float(s)) * arb(float(scale)) for s in sigma], matrix(Vt)
    rank = len(sigma)
    diagonal = arb_mat(rank, rank, [singular[i] if i == j else 0 for i in range(rank) for j in range(rank)])
    error = W - left * diagonal * right
    main = _operator(left) * _operator(right.transpose()) * join(singular, p)
    exponent = max(0.0, 1 / p - 0.5)
    return main + arb(rank) ** arb(exponent) * join([abs(entry) for entry in error.entries()], 2)


def _operator(U: arb_mat) -> arb:
    """An upper bound of ‖U‖_op for U with nearly orthonormal columns."""
    gram = U.transpose() * U
    n = gram.nrows()
    defect = [abs(gram[i, j] - (1 if i == j else 0)) for i in range(n) for j in range(n)]
    return (1 + join(defect, 2)).sqrt()


def absolute(W: arb_mat) -> list[list[arb]]:
    """|W|, row by row."""
    return [[abs(entry) for entry in row] for row in W.tolist()]
