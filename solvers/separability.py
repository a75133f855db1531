"""Separable or not, with a proof either way: a θ with positive margins, or λ in the simplex with Σ λ_i g_i = 0.

Gordan's theorem: exactly one of the two exists. Both are looked for in floats; then each is made exact, because
near the border rounding decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from maxmargin.solvers.inner import InnerSolver, within
from maxmargin.solvers.norms import get_norm

_ZERO = 1e-11  # of the largest gradient: what an LP vertex leaves of a sum that is zero


class NotSeparable(ValueError):
    """No θ has all margins positive, proved by multipliers.

    Attributes:
        multipliers: λ (n_margins,) in the simplex with Σ λ_i g_i = 0 up to ``residual``.
        residual: ‖Σ λ_i g_i‖_∞ of these floats, relative to the largest |entry| of all g_i.
        exact: Whether rational numbers that round to λ were found for which the sum is exactly 0.
    """

    def __init__(self, name: str, multipliers: np.ndarray, residual: float, exact: bool) -> None:
        self.multipliers, self.residual, self.exact = multipliers, residual, exact
        support = np.flatnonzero(multipliers)
        shown = ", ".join(f"λ[{i}] = {multipliers[i]:.4g}" for i in support[:6]) + (
            f", … ({len(support)} in all)" if len(support) > 6 else ""
        )
        how = "exactly (in rational arithmetic)" if exact else f"up to {residual:.1e} of the largest gradient"
        super().__init__(
            f"{name} is not separable: with the multipliers {shown} in the simplex, Σ λ_i g_i = 0 {how}, while any θ "
            "with positive margins would make Σ λ_i ⟨g_i, θ⟩ > 0. Drop the contradicting samples, add features or a "
            "constant feature, or choose a model that can separate these data"
        )


@final
@dataclass(frozen=True)
class Conflict:
    """λ in the simplex and how nearly Σ λ_i a_i = 0.

    Attributes:
        multipliers: λ (n,).
        residual: ‖Σ λ_i a_i‖_∞ / max |a_ij|.
        exact: Whether the sum is exactly 0 for rationals that round to λ.
    """

    multipliers: np.ndarray
    residual: float
    exact: bool

    @property
    def proves(self) -> bool:
        """Whether this settles that the rows are not separable."""
        return self.exact or self.residual <= _ZERO


def conflict(A: np.ndarray) -> Conflict:
    """The λ in the simplex with the least ‖Σ λ_i a_i‖_∞, by linear programming (HiGHS), then in rationals.

    Args:
        A: Rows a_i, (n, p).

    Returns:
        The multipliers; they prove non-separability if the residual is 0.

    Example:
        >>> found = conflict(np.array([[1.0, 0.1], [-1.0, 0.2], [0.0, -0.3], [5.0, 5.0]]))
        >>> found.exact, int((found.multipliers > 0).sum())
        (True, 3)
    """
    size = float(np.abs(A).max(initial=0.0))
    zero = np.flatnonzero(~A.any(axis=1))
    if len(zero):
        return Conflict(np.eye(len(A))[zero[0]], 0.0, True)
    bounds = InnerSolver(get_norm("l1"), {"a": (A.shape[1],)}).solve(A, within(1e-9))
    lam, residual = bounds.lam, bounds.upper / size
    if residual <= 1e-6 and (better := exact_combination(A, lam)) is not None:
        return Conflict(better, float(np.abs(better @ A).max() / size), True)
    return Conflict(lam, residual, False)


def exact_combination(A: np.ndarray, lam: np.ndarray) -> np.ndarray | None:
    """λ ≥ 0 on (part of) the support with Σ λ_i a_i = 0 exactly, in rationals, rounded to floats in the simplex.

    The floats of A are taken as the rationals that they are. Only a support on which the answer is unique is
    tried: that is what a vertex of the linear program has.

    Returns:
        λ (n,), or None where there is none on this support.
    """
    support = np.flatnonzero(lam > 1e-9 * lam.max())
    if len(support) > A.shape[1] + 1:
        return None
    ratios = [[float(value).as_integer_ratio() for value in row] for row in A[support]]
    common = max(denominator for row in ratios for _, denominator in row)  # all are powers of 2
    integers = [[fmpz(numerator * (common // denominator)) for numerator, denominator in row] for row in ratios]
    kernel, dimension = fmpz_mat(integers).transpose().nullspace()
    if dimension != 1:
        return None
    column = [kernel[i, 0] for i in range(len(support))]
    if all(value <= 0 for value in column):
        column = [-value for value in column]
    if not all(value >= 0 for value in column):
        return None
    total = sum(column, fmpz(0))
    exact = np.zeros(len(A))
    exact[support] = [_float(fmpq(value, total)) for value in column]
    return exact


def _float(value: fmpq) -> float:
    return int(value.p) / int(value.q)
