"""Newton–Schulz iterations on singular values: recognised by what they make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maxmargin.verify.thresholds.norm import NEWTON_SCHULZ_FITS, NEWTON_SCHULZ_MOST

ITERATIONS: Mapping[str, tuple[float, float, float]] = {
    "coefficients 3.4445, -4.7750, 2.0315": (3.4445, -4.7750, 2.0315),
    "coefficients 15/8, -10/8, 3/8": (15 / 8, -10 / 8, 3 / 8),
    "coefficients 3/2, -1/2": (1.5, -0.5, 0.0),
}
"""(a, b, c) of x ← a x + b x³ + c x⁵ by name: Muon's, the quintic and the cubic one that converge."""


@dataclass(frozen=True)
class Fit:
    """An iteration that explains singular values.

    Attributes:
        name: One of ITERATIONS.
        steps: How many.
        scale: Step length per unit of singular value.
        residual: Relative, root mean square.
    """

    name: str
    steps: int
    scale: float
    residual: float


def iterate(x: np.ndarray, name: str, steps: int) -> np.ndarray:
    """Singular values after ``steps`` iterations x ← a x + b x³ + c x⁵ (Jordan 2024; Bernstein & Newhouse 2409.20325).

    Args:
        x: Singular values, at most 1.
        name: One of ITERATIONS.
        steps: How many.

    Returns:
        Of the shape of ``x``.
    """
    a, b, c = ITERATIONS[name]
    for _ in range(steps):
        x = x * (a + b * x**2 + c * x**4)
    return x


def fitted(inputs: np.ndarray, outputs: np.ndarray) -> Fit | None:
    """The iteration that takes a gradient's singular values to its step's, up to one common factor.

    Args:
        inputs: (draws, k), one gradient's a row.
        outputs: (draws, k).

    Returns:
        The best fit, of gradients normalized by their Frobenius or spectral norms; None if none fits.
    """
    best: Fit | None = None
    for normal in (np.linalg.norm(inputs, axis=1, keepdims=True), inputs.max(1, keepdims=True)):
        for name in ITERATIONS:
            for steps in range(1, NEWTON_SCHULZ_MOST + 1):
                y = iterate(inputs / normal, name, steps)
                scale = float((y * outputs).sum() / (y * y).sum())
                if scale <= 0:
                    continue
                residual = float(np.linalg.norm(outputs - scale * y) / np.linalg.norm(outputs))
                if residual <= NEWTON_SCHULZ_FITS and (best is None or residual < best.residual):
                    best = Fit(name, steps, scale, residual)
    return best
