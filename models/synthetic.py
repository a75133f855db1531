"""Data separable by construction: draw a unit teacher, then push every sample to a margin of at least 1."""

from __future__ import annotations

import numpy as np

from maxmargin.models.registry import Data, dataset


def push(X: np.ndarray, signs: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """X moved along the teacher until ``signs_i ⟨teacher, x_i⟩ >= 1``.

    Args:
        X: Samples, (n, d).
        signs: ±1, (n,).
        teacher: Unit vector, (d,).

    Returns:
        The samples, (n, d); those that had the margin are unchanged.
    """
    short = np.maximum(0.0, 1.0 - signs * (X @ teacher))
    return X + (signs * short)[:, None] * teacher


def push_multiclass(X: np.ndarray, y: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """X moved until ``⟨T_{y_i} − T_c, x_i⟩ >= 1`` for every c ≠ y_i, T the teacher with independent rows.

    Args:
        X: Samples, (n, d).
        y: Labels 0 … k−1, (n,).
        teacher: (k, d), k <= d.

    Returns:
        The samples, (n, d); those that had the margin are unchanged.
    """
    # Column c of the pseudo-inverse raises score c alone: one step along column y_i lifts all its contrasts alike.
    raise_score = np.linalg.pinv(teacher)[:, y].T
    scores = X @ teacher.T
    own = np.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    np.put_along_axis(scores, y[:, None], -np.inf, axis=1)
    short = np.maximum(0.0, 1.0 - (own - scores.max(axis=1)))
    return X + short[:, None] * raise_score


@dataset("multiclass", "k classes, separable by a drawn unit teacher with margin >= 1", listed=["linear"])
def multiclass(*, n: int = 8, d: int = 8, k: int = 3, seed: int = 11) -> Data:
    """n Gaussian samples of k balanced classes in d dimensions, pushed to a teacher's margin of 1."""
    rng = np.random.default_rng(seed)
    teacher = rng.standard_normal((k, d))
    teacher /= np.linalg.norm(teacher)
    y = np.arange(n) % k
    X = push_multiclass(rng.standard_normal((n, d)), y, teacher)
    return Data(X, y, note=f"Gaussian, pushed to margin 1 of a drawn unit teacher (seed {seed})")
