"""Separable or not, with a proof either way: a θ with positive margins, or λ in the simplex with Σ λ_i g_i = 0.

Gordan's theorem: exactly one of the two exists. Both are looked for in floats; then each is made exact, because
near the border rounding decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from maxmargin.models.errors import InputError
from maxmargin.solvers.exact.polynomials import as_float
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.norms.exact.balls import matrix, precision
from maxmargin.solvers.routes.saddle import InnerSolver, within
from maxmargin.solvers.routes.simplex import CrossPolytope

_ZERO = 1e-11  # of the largest gradient: what an LP vertex leaves of a sum that is zero


class NotSeparable(InputError):
    """No θ has all margins positive, proved by multipliers.

    Attributes:
        multipliers: λ (n_margins,) in the simplex with Σ λ_i g_i = 0 up to ``residual``.
        residual: What these floats leave of that sum, relative to its terms.
        exact: Whether rational numbers that round to λ were found for which the sum is exactly 0.
    """

    def __init__(self, name: str, multipliers: np.ndarray, residual: float, exact: bool) -> None:
        self.multipliers, self.residual, self.exact = multipliers, residual, exact
        support = np.flatnonzero(multipliers)
        shown = ", ".join(f"λ[{i}] = {multipliers[i]:.4g}" for i in support[:6]) + (
            f", … ({len(support)} in all)" if len(support) > 6 else ""
        )
        how = (
            "Σ λ_i g_i = 0 exactly (in rational arithmetic), while any θ with positive margins would make "
            "Σ λ_i ⟨g_i, θ⟩ > 0"
            if exact
            else f"Σ λ_i g_i = 0 up to {residual:.1e} of its terms, so no θ has margins that float64 could tell from 0"
        )
        super().__init__(
            f"{name} is not separable: with the multipliers {shown} in the simplex, {how}. "
            "Drop the contradicting samples, add features or a constant feature, or choose a model that can separate "
            "these data"
        )
        self._name = name

    def __reduce__(self) -> tuple[type[NotSeparable], tuple[str, np.ndarray, float, bool]]:
        # Worker processes send their errors back pickled.
        return NotSeparable, (self._name, self.multipliers, self.residual, self.exact)


@final
@dataclass(frozen=True)
class Conflict:
    """The two candidates of Gordan's theorem.

    Attributes:
        multipliers: λ (n,) in the simplex.
        residual: ‖Σ μ_i a_i / |a_i|‖_∞ / Σ μ_i with μ_i = λ_i |a_i|, |a_i| the largest entry of row i.
        exact: Whether Σ λ_i a_i is exactly 0 for rationals that round to λ.
        theta: The direction (p,) with the best margins of the normalized rows.
    """

    multipliers: np.ndarray
    residual: float
    exact: bool
    theta: np.ndarray

    @property
    def proves(self) -> bool:
        """Whether the residual is no more than an LP vertex leaves of a sum that is zero."""
        return self.exact or self.residual <= _ZERO


def conflict(A: np.ndarray) -> Conflict:
    """The λ in the simplex with the least ‖Σ λ_i a_i‖_∞, by linear programming (HiGHS), then in rationals.

    Separability does not depend on the rows' lengths, so they are taken out first.

    Args:
        A: Rows a_i, (n, p).

    Returns:
        The multipliers; they prove non-separability if the residual is 0.

    Example:
        >>> found = conflict(np.array([[1.0, 0.1], [-1.0, 0.2], [0.0, -0.3], [5.0, 5.0]]))
        >>> found.exact, int((found.multipliers > 0).sum())
        (True, 3)
    """
    n, p = A.shape
    sizes = np.abs(A).max(axis=1)
    zero = np.flatnonzero(sizes == 0)
    if len(zero):
        return Conflict(np.eye(n)[zero[0]], 0.0, True, np.zeros(p))
    unit = A / sizes[:, None]
    # The simplex method alone: a vertex has a small support, on which the rational answer is unique.
    bounds = InnerSolver(get_norm("l1"), {"a": (p,)}).solve(unit, within(1e-9), routes=(CrossPolytope,))
    lam = bounds.lam / sizes
    lam /= lam.sum()
    if bounds.upper <= 1e-6 and (better := exact_combination(A, bounds.lam)) is not None:
        weights = better * sizes
        return Conflict(better, float(np.abs(weights @ unit).max() / weights.sum()), True, bounds.theta)
    return Conflict(lam, bounds.upper, False, bounds.theta)


def exact_combination(A: np.ndarray, lam: np.ndarray) -> np.ndarray | None:
    """Return λ ≥ 0 (n,) on part of the support with Σ λ_i a_i = 0 exactly, in rationals, rounded to floats; or None.

    The floats of A are taken as the rationals that they are. Only a support on which the answer is unique is
    tried: that is what a vertex of the linear program has.
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
    exact[support] = [as_float(fmpq(value, total)) for value in column]
    return exact


def certainly_separates(A: np.ndarray, theta: np.ndarray) -> bool:
    """Whether A θ > 0 in every row, in ball arithmetic: true only if it is so for the exact numbers."""
    used = np.flatnonzero(theta)
    if not len(used) or not np.isfinite(theta).all():
        return False
    with precision():
        margins = matrix(A[:, used]) * matrix(theta[used, None])
        return all(margins[i, 0] > 0 for i in range(len(A)))
