"""What every KKT direction has in common, without a solver: how its norm is divided among the blocks.

At a KKT point h = Σ λ_i g_i lies in the subdifferential of ½‖θ‖², so ⟨θ_k, h_k⟩ = ‖θ‖^{2−p} (w_k ‖θ_k‖_k)^p for block
norms joined by ℓ_p; and by Euler's identity ⟨θ_k, h_k⟩ = d_k Σ λ_i m_i, with d_k the model's degree in block k. Hence
(w_k ‖θ_k‖_k / ‖θ‖)^p = d_k / L: squared Frobenius norms in the ratio of the degrees under ℓ2, and, p → ∞, blocks of
equal norm under ℓ∞, spectral and hybrid (where d_k > 0 alone is needed, so also for blocks that add up in the model,
unless one has no gradient).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf

import numpy as np

from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm


def block_balance(problem: Problem, theta: Mapping[str, np.ndarray], norm: Norm) -> float | None:
    """Worst relative deviation of a block's share of the norm from what a KKT direction has.

    Args:
        problem: The problem; its model's degrees are needed unless blocks are joined by a maximum.
        theta: Weights, one numpy array a block.
        norm: The norm whose KKT directions are meant.

    Returns:
        0 at a KKT direction; max_k |(w_k ‖θ_k‖_k/‖θ‖)^p L/d_k − 1|, without the power under a maximum. None for a
        single block, of which nothing is asked, at 0, and where the degrees are not defined.

    Example:
        >>> from maxmargin.models import problems
        >>> from maxmargin.solvers.norms import get_norm
        >>> problem = problems.get("binary@relu2:h=2")
        >>> theta = {name: np.ones(shape) for name, shape in problem.shapes.items()}
        >>> block_balance(problem, theta, get_norm("linf"))
        0.0
    """
    length = float(norm.value(theta))
    if len(theta) < 2 or not length > 0:
        return None
    parts = {}
    for name, block in theta.items():
        of_block, weight = norm.block(name, block.shape)
        parts[name] = weight * float(of_block.value(block)) / length
    if isinf(norm.aggregation):
        return max(abs(part - 1.0) for part in parts.values())
    degrees = problem.model.block_degrees
    if degrees is None or min(degrees.values()) <= 0:
        return None
    return max(abs(part**norm.aggregation * problem.degree / degrees[name] - 1.0) for name, part in parts.items())
