"""Polar factors of many small matrices at once, by Newton's iteration on the triangular factors (CPU).

One LAPACK call a matrix spends most of its time on bookkeeping. Here the batch is the last axis, every operation works
on rows of thousands of numbers, and the whole is a few matrix inverses a matrix. What the iteration cannot answer as
well as a singular value decomposition (nearly singular matrices, null spaces of dimension two and more) it says.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

EPS = 2.0**-52
HARDEST = 1e7
"""Condition number (Frobenius) beyond which a matrix is left to the SVD: each factor of 10 costs digits either way."""
SKEW = 32.0
"""Largest asymmetry of PᵀA, in eps ‖A‖_F, of an answer as good as the SVD's (which has 2 to 8)."""
CLOSE = 4e-9
"""Singular values of the iterate within 1 ± CLOSE: the last correction, of second order, then reaches rounding."""


def newton_polar(A: Tensor) -> tuple[Tensor, Tensor]:
    """Pseudo-polar factors U Vᵀ of rank min(m, n) or one less, and which of them to believe.

    A = Q R by Householder reflections without pivoting; a null vector (the last column of R⁻¹, if R is that close to
    singular) takes the place of R's last row, which decouples it; then X ← (ζX + (ζX)⁻ᵀ)/2 with the suboptimal ζ of
    Byers & Xu (SIAM J. Matrix Anal. Appl. 30 (2008) 822), one correction of second order, and P = Q X.
    Every iterate of a triangular R with positive diagonal is N R with N symmetric positive definite, so its leading
    minors are positive and Gauss-Jordan needs no pivots. Rounding is checked, not trusted: P must be orthogonal
    and PᵀA symmetric to :data:`SKEW` eps.

    Args:
        A: (rows, columns, batch), rows ≥ columns ≥ 2, float64, largest entry about 1; overwritten.

    Returns:
        The factors, of A's shape, and a mask (batch,): True where the answer is as good as the SVD's.
    """
    rows, columns, _ = A.shape
    script = _scripted()
    tau = script.triangularize(A)
    R, sign = script.upper(A)
    last = R[-1, -1].clone()
    R.diagonal().clamp_(min=1e-30)  # a zero pivot still gives the null vector, and its square is finite
    Y = script.inverse(R.clone())
    size = (R * R).sum((0, 1)).sqrt_()
    null_vector = Y[:, -1] * (Y[:, -1] * Y[:, -1]).sum(0).rsqrt_()
    # R n = r e_k for the unit null vector n: the smallest singular value is r n_k, up to its own square.
    least = last * null_vector[-1] / size
    cut = max(rows, columns) * EPS
    null = least <= cut / 4
    if bool(null.any()):
        R[-1] = torch.where(null, null_vector * size, R[-1])
        Y = script.inverse(R.clone())
    size = (R * R).sum((0, 1)).sqrt_()
    inverse_size = (Y * Y).sum((0, 1)).sqrt_()
    condition = size * inverse_size
    ok = (condition < HARDEST) & (size > 0.5)  # False for NaN, and for a zero matrix
    if not bool(ok.all()):
        one = torch.ones_like(size)
        eye = torch.eye(columns, dtype=A.dtype).unsqueeze(-1)
        R, Y = torch.where(ok, R, eye), torch.where(ok, Y, eye)
        size, inverse_size = torch.where(ok, size, one), torch.where(ok, inverse_size, one)
    worst = float((size * inverse_size).amax())
    X = script.iterate(R, Y, size, inverse_size, _growth(worst))
    skew, orthogonality = script.polish(X, R)
    ok &= (skew <= SKEW * EPS * size) & (orthogonality <= 16 * CLOSE)
    X[-1].masked_fill_(null, 0.0)
    X.mul_(sign.unsqueeze(1))
    return script.reflect(A, tau, X), ok


def _growth(condition: float) -> list[float]:
    """The largest singular value of the iterates X_1, X_2, …: all lie in [1, bound]; the last is within CLOSE of 1.

    Returns:
        One bound an iterate, falling.
    """
    root = condition**0.5
    bounds = [(root + 1 / root) / 2]
    while bounds[-1] - 1 > CLOSE:
        root = bounds[-1] ** 0.5
        bounds.append((root + 1 / root) / 2)
    return bounds


# The kernels below are compiled by TorchScript: half the overhead of Python's, and no C++ compiler needed. Outside of
# it they are plain functions and give the same numbers (the tests call both).


def triangularize(A: Tensor) -> Tensor:
    """Householder's reflections, without pivoting: R over the diagonal of A, the vectors below it and in the result."""
    rows, columns = A.shape[0], A.shape[1]
    heads = torch.zeros(2, columns, A.shape[2], dtype=A.dtype)  # first entries of the vectors, and 2/‖v‖²
    for j in range(columns if rows > columns else columns - 1):
        x = A[j:, j]
        length = torch.copysign((x * x).sum(0).sqrt_(), x[0])
        head = x[0] + length
        x[0] = head
        tau = (length * head).clamp_(min=1e-300).reciprocal_()
        if j + 1 < columns:
            rest = A[j:, j + 1 :]
            w = (x.unsqueeze(1) * rest).sum(0).mul_(tau)
            rest.addcmul_(x.unsqueeze(1), w.unsqueeze(0), value=-1.0)
        heads[0, j] = head
        heads[1, j] = tau
        x[0] = -length
    return heads


def upper(A: Tensor) -> tuple[Tensor, Tensor]:
    """The triangular factor with a nonnegative diagonal, and the signs that its rows were multiplied by."""
    columns = A.shape[1]
    R = A[:columns].clone()
    sign = torch.empty_like(R[0])
    for i in range(columns):
        sign[i] = torch.copysign(torch.ones_like(R[i, i]), R[i, i])
        R[i, :i] = 0.0
    return R.mul_(sign.unsqueeze(1)), sign


def inverse(X: Tensor) -> Tensor:
    """The inverse of X (k, k, batch) by Gauss-Jordan without pivoting, in place."""
    for j in range(X.shape[0]):
        column = X[:, j].clone()
        X[:, j] = 0.0
        X[j, j] = 1.0
        row = X[j] / column[j]
        X.addcmul_(column.unsqueeze(1), row.unsqueeze(0), value=-1.0)
        X[j] = row
    return X


def iterate(R: Tensor, Y: Tensor, size: Tensor, inverse_size: Tensor, bounds: list[float]) -> Tensor:
    """Newton's iterates of R, whose inverse is Y, as many as there are bounds."""
    zeta = (inverse_size / size).sqrt()
    X = R * (0.5 * zeta)
    X.addcmul_(Y.transpose(0, 1), 0.5 / zeta)
    root = (size * inverse_size).sqrt()
    zeta = (2.0 / (root + 1.0 / root)).sqrt()
    for i in range(1, len(bounds)):
        Y = inverse(X.clone())
        if bounds[i - 1] > 1.5:
            X.mul_(0.5 * zeta).addcmul_(Y.transpose(0, 1), 0.5 / zeta)
            zeta = (2.0 / (zeta + 1.0 / zeta)).sqrt()
        else:  # scaling gains nothing any more
            X.add_(Y.transpose(0, 1)).mul_(0.5)
    return X


def gram(X: Tensor, Y: Tensor) -> Tensor:
    """The product Xᵀ Y of (k, k, batch)."""
    out = X[0].unsqueeze(1) * Y[0].unsqueeze(0)
    for r in range(1, X.shape[0]):
        out.addcmul_(X[r].unsqueeze(1), Y[r].unsqueeze(0))
    return out


def polish(X: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """Correct X ← X (3 − XᵀX)/2 in place; largest |entry| of XᵀR − RᵀX afterwards, and of XᵀX − 1 before."""
    E = gram(X, X)
    for i in range(X.shape[0]):
        E[i, i].sub_(1.0)
    X.sub_(gram(X.transpose(0, 1), E), alpha=0.5)
    H = gram(X, R)
    return (H - H.transpose(0, 1)).abs_().amax((0, 1)), E.abs_().amax((0, 1))


def reflect(A: Tensor, heads: Tensor, X: Tensor) -> Tensor:
    """Multiply by the orthogonal factor: Q [X; 0] from the reflections that ``triangularize`` left in A."""
    rows, columns = A.shape[0], A.shape[1]
    P = torch.zeros_like(A)
    P[:columns] = X
    for i in range(columns if rows > columns else columns - 1):
        j = (columns if rows > columns else columns - 1) - 1 - i
        v = A[j:, j]
        v[0] = heads[0, j]
        w = (v.unsqueeze(1) * P[j:]).sum(0).mul_(heads[1, j])
        P[j:].addcmul_(v.unsqueeze(1), w.unsqueeze(0), value=-1.0)
    return P


class _Kernels:
    """The functions above, compiled."""

    def __init__(self, compiler: Any) -> None:
        self.triangularize, self.upper, self.inverse = compiler(triangularize), compiler(upper), compiler(inverse)
        self.iterate, self.polish, self.reflect = compiler(iterate), compiler(polish), compiler(reflect)


@cache
def _scripted() -> _Kernels:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its deprecation at each call
        return _Kernels(torch.jit.script)
