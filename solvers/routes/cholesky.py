"""Cholesky solves of matrices whose condition number outgrows float64, as at the end of an interior-point method."""

from __future__ import annotations

from typing import final

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

_RIDGES = (0.0, 1e-15, 1e-14, 1e-13, 1e-12)
_REFINEMENTS = 2


@final
class Factor:
    """A Cholesky factor of a positive definite M whose condition number outgrows float64 near the solution.

    M is brought to unit diagonal, a ridge of some roundings is added where that does not suffice, and two steps of
    refinement take the ridge out of the solution again.
    """

    def __init__(self, M: np.ndarray) -> None:
        self.scale = 1 / np.sqrt(M.diagonal())
        self.M = M * self.scale * self.scale[:, None]
        for ridge in _RIDGES:
            try:
                shifted = self.M.copy()
                shifted[np.diag_indices(len(M))] += ridge
                self.factor = cho_factor(shifted, check_finite=False)
            except LinAlgError:
                continue
            return
        raise LinAlgError("no factor")

    def solve(self, right: np.ndarray) -> np.ndarray:
        """M⁻¹ right."""
        right = self.scale * right
        x = cho_solve(self.factor, right, check_finite=False)
        for _ in range(_REFINEMENTS):
            x += cho_solve(self.factor, right - self.M @ x, check_finite=False)
        return self.scale * x
