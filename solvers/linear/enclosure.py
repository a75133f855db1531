"""Rigorous enclosures lo ≤ γ* ≤ hi of a linear problem's optimal margin, from rounded θ and λ alone.

γ* = max over ‖θ‖ ≤ 1 of min_i ⟨g_i, θ⟩. For every θ ≠ 0 and every λ ≥ 0, λ ≠ 0,

    min_i ⟨g_i, θ⟩ / ‖θ‖  ≤  γ*  ≤  ‖Σ λ_i g_i‖_* / Σ λ_i.

Floats are exact rationals and the data are floats, so both sides are sums and products of known rationals and the
norm of a known array. All of it runs in ball arithmetic (FLINT's arb through python-flint), whose results carry a
proved radius; an upper bound of each norm is all that is needed (:mod:`maxmargin.solvers.exact.norm_bounds`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from flint import arb, arb_mat

from maxmargin.models.blocks import as_numpy, check_shapes, flatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.norm_bounds import CertifyError, upper_norm
from maxmargin.solvers.linear.optimum import gradients
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.norms.exact.balls import matrix, precision

__all__ = ["CertifyError", "Enclosure", "enclose"]


@final
@dataclass(frozen=True)
class Enclosure:
    """lo ≤ γ* ≤ hi, proved.

    Attributes:
        lo: A float not above the exact lower bound; 0 where θ proves nothing (γ* ≥ 0 always, by θ = 0).
        hi: A float not below the exact upper bound.
    """

    lo: float
    hi: float

    @property
    def width(self) -> float:
        """hi / lo − 1, the relative width; inf where lo is 0."""
        return self.hi / self.lo - 1 if self.lo > 0 else math.inf

    def __contains__(self, value: float) -> bool:
        return self.lo <= value <= self.hi


def enclose(problem: Problem, theta: Mapping[str, Any], lam: Any, norm: Norm) -> Enclosure:
    """Enclose the optimal margin of a linear problem, trusting nothing but the data.

    θ and λ may be anything: wrong ones widen the enclosure, they cannot make it false.

    Args:
        problem: A linear problem.
        theta: A direction; only its exact float entries count, not its length.
        lam: Multipliers (n_margins,); negative ones are taken as 0, and the sum need not be 1.
        norm: A norm whose dual has a proved upper bound: all entrywise, Schatten, row and column norms, and their
            weighted aggregations.

    Returns:
        The enclosure.

    Raises:
        CertifyError: θ or λ is not finite or has the wrong shape, λ has no positive entry, the norm has no proved
            bound, or the model's gradients are not exactly the data's entries.

    Example:
        >>> from maxmargin.models.families.linear import MulticlassLinear
        >>> from maxmargin.solvers.norms import get_norm
        >>> problem = Problem.of("G2", MulticlassLinear(3, 3), np.eye(3), np.arange(3))
        >>> theta, lam = {"W": np.eye(3) - 1 / 3}, np.full(6, 1 / 6)
        >>> box = enclose(problem, theta, lam, get_norm("l2"))
        >>> box.lo <= 2**-0.5 <= box.hi, box.width < 1e-15
        (True, True)
    """
    A = gradients(problem)
    theta = as_numpy(theta)
    check_shapes(theta, problem.shapes)
    lam = np.asarray(lam, dtype=np.float64)
    if lam.shape != (len(A),):
        raise CertifyError(f"λ has shape {lam.shape}; needed is one multiplier a margin, ({len(A)},)")
    if not (np.isfinite(lam).all() and all(np.isfinite(block).all() for block in theta.values())):
        raise CertifyError("θ or λ has a NaN or infinite entry; both must be finite numbers")
    if not (lam > 0).any():
        raise CertifyError("λ has no positive entry, so it proves no upper bound; needed is λ ≥ 0, λ ≠ 0")
    _check_exact(problem, A)
    with precision():
        return Enclosure(_lower(A, theta, problem, norm), _upper(A, lam, problem, norm))


def _lower(A: np.ndarray, theta: Mapping[str, np.ndarray], problem: Problem, norm: Norm) -> float:
    vector = flatten(theta, problem.shapes)
    used = np.flatnonzero(vector)
    if not len(used):
        return 0.0
    margins = matrix(A[:, used]) * matrix(vector[used, None])
    least = margins[0, 0]
    for i in range(1, len(A)):
        least = least.min(margins[i, 0])
    if not least > 0:
        return 0.0
    blocks = {name: matrix(np.atleast_2d(theta[name])) for name in problem.shapes}
    return round_down(least / upper_norm(norm, problem.shapes, blocks))


def _upper(A: np.ndarray, lam: np.ndarray, problem: Problem, norm: Norm) -> float:
    used = np.flatnonzero(lam > 0)
    weights = matrix(lam[None, used])
    total = sum((weights[0, i] for i in range(len(used))), arb(0))
    combined = weights * matrix(A[used])
    blocks, start = {}, 0
    for name, shape in problem.shapes.items():
        rows, columns = (1, shape[0]) if len(shape) == 1 else shape
        entries = [combined[0, start + j] for j in range(rows * columns)]
        blocks[name] = arb_mat(rows, columns, entries)
        start += rows * columns
    return round_up(upper_norm(norm.dual_norm, problem.shapes, blocks) / total)


def _check_exact(problem: Problem, A: np.ndarray) -> None:
    """Raise unless every gradient entry is 0 or ± a data entry, so that computing the gradients rounded nothing."""
    data = np.unique(np.abs(problem.X.detach().cpu().numpy()))
    if not np.isin(np.abs(A), np.append(data, 0.0)).all():
        raise CertifyError(
            f"{problem.name}: the gradients of the model {problem.model.name!r} are not 0 or ± entries of the data, so "
            "their rounding errors are unknown and nothing can be enclosed"
        )


def round_down(x: arb) -> float:
    """A float not above the ball x."""
    value = float(x.lower())
    while not arb(value) <= x:
        value = math.nextafter(value, -math.inf)
    return value


def round_up(x: arb) -> float:
    """A float not below the ball x."""
    value = float(x.upper())
    while not arb(value) >= x:
        value = math.nextafter(value, math.inf)
    return value
