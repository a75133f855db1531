"""The linear map that a trained optimizer makes of gradients: what its next step answers to small changes of one.

Late in training an optimizer that never forgets (Adagrad, Shampoo with sums) takes steps −B g with a B that no longer
changes: gradient descent in the metric P = B⁻¹. B is measured column by column, in the state that training left, and
whether the answer is linear at all is measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maxmargin.verify.thresholds.state_norm import RESPONSE_TRIALS

Answer = Callable[[np.ndarray], np.ndarray]
"""Gradients (B, p), one a run → the steps (B, p) that the optimizers would take on them from the state they are in."""


@dataclass(frozen=True)
class Response:
    """What the next steps of R runs make of gradients near the one that is due.

    Attributes:
        step: After which it was measured.
        maps: (R, p, p), the B of Δ(g + δ) ≈ Δ(g) − B δ; NaN where steps were not finite.
        errors: (R,) how far such steps are from it, relative, at drawn δ as large as g: 0 where they are linear.
        squares: (R, p) the sums of the squared gradients fed so far, where they were kept.
    """

    step: int
    maps: np.ndarray
    errors: np.ndarray
    squares: np.ndarray | None = None


def respond(answer: Answer, gradient: np.ndarray, step: int) -> Response:
    """Measure the response at the gradients that are due.

    Args:
        answer: Takes a step from the state as it is, always the same one.
        gradient: (R, p), what the optimizers would be fed now.
        step: Number of steps taken so far.

    Returns:
        The response; its error includes what the same question answered twice differs by.
    """
    runs, p = gradient.shape
    size = np.linalg.norm(gradient, axis=1, keepdims=True)
    size = np.where(size > 0, size, 1.0)
    here = answer(gradient)
    maps = np.empty((runs, p, p))
    for j in range(p):
        probe = gradient.copy()
        probe[:, j] += size[:, 0]
        maps[:, :, j] = (here - answer(probe)) / size
    rng, worst = np.random.default_rng(0), np.zeros(runs)
    for factor in RESPONSE_TRIALS:
        change = rng.standard_normal((runs, p))
        change *= factor * size / np.linalg.norm(change, axis=1, keepdims=True)
        wanted = np.einsum("rij,rj->ri", maps, change)
        worst = np.fmax(worst, _relative(here - answer(gradient + change) - wanted, wanted))
    again = _relative(answer(gradient) - here, np.einsum("rij,rj->ri", maps, gradient))
    errors = np.where(np.isfinite(maps).all(axis=(1, 2)), np.fmax(worst, again), np.inf)
    return Response(step, maps, errors)


def _relative(error: np.ndarray, size: np.ndarray) -> np.ndarray:
    """‖error‖/‖size‖ of each run; inf where that is no number."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = np.linalg.norm(error, axis=1) / np.linalg.norm(size, axis=1)
    return np.where(np.isfinite(found), found, np.inf)
