"""Data separable by construction: draw a unit teacher, then push every sample to a margin of at least 1.

Nothing is filtered out, so every seed gives a problem. The default seeds were chosen by two measurements
(tests/models/test_apart.py repeats them): the optimal margin over the largest dual norm of a margin's
gradient, q*/max‖g_i‖_* >= 0.1, or training takes 10–100 times longer; and the smallest KKT gap under one norm that any
optimal point of another norm reaches, so that the norms can be told apart. Of 150 seeds of ``multiclass`` the
worst such pair of norms has a gap between 0.001 and 0.09, ℓ2 and spectral being the close ones.
"""

from __future__ import annotations

import numpy as np

from maxmargin.models.registry import Data, ProblemError, at_least, dataset

APART_SEEDS = {
    "multiclass": (11, 76, 139, 148, 72, 21, 17, 74),
    "binary": (6, 7, 9, 11, 15, 0, 12, 18),
    "blocks": (3, 26, 15, 25, 10, 19, 8, 14),
}
"""Seeds at the default sizes with ratio >= 0.15 and the norms >= 0.06 apart, the default first."""

BLOCK_SHAPES = (("tall", (6, 3)), ("wide", (3, 6)), ("square", (4, 4)), ("vector", (6,)))


def push(X: np.ndarray, signs: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """X moved along the teacher until ``signs_i ⟨teacher, x_i⟩ >= 1``.

    Args:
        X: Samples, (n, d).
        signs: ±1, (n,).
        teacher: Unit vector, (d,).

    Returns:
        The samples, (n, d); those that had the margin are unchanged.

    Example:
        >>> push(np.array([[0.5, 3.0], [-2.0, 1.0]]), np.array([1, -1]), np.array([1.0, 0.0]))
        array([[ 1.,  3.],
               [-2.,  1.]])
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
    # Column c of the pseudo-inverse raises score c alone: a step along column y_i lifts all contrasts alike.
    raise_score = np.linalg.pinv(teacher)[:, y].T
    scores = X @ teacher.T
    own = np.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    np.put_along_axis(scores, y[:, None], -np.inf, axis=1)
    short = np.maximum(0.0, 1.0 - (own - scores.max(axis=1)))
    return X + short[:, None] * raise_score


def teacher_of(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A Gaussian direction of unit Euclidean norm."""
    drawn = rng.standard_normal(shape)
    return drawn / np.linalg.norm(drawn)


@dataset(
    "multiclass",
    "k classes, separable by a drawn unit teacher with margin >= 1",
    listed=[
        "@linear",
        ":n=10,d=8,k=4,seed=20@linear",  # the norms farthest apart: gaps of 0.138 and more
        "@deep-linear:depth=2,width=4",
        "@relu2:h=8",
    ],
)
def multiclass(*, n: int = 8, d: int = 8, k: int = 3, seed: int = 11) -> Data:
    """Gaussian samples of k balanced classes, n and d at least k, pushed to a teacher's margin of 1."""
    at_least("multiclass", 2, k=k)
    at_least("multiclass", 0, seed=seed)
    if min(n, d) < k:
        raise ProblemError(f"multiclass: n={n}, d={d}, k={k}; needed are n >= k and d >= k")
    rng = np.random.default_rng(seed)
    teacher = teacher_of(rng, (k, d))
    y = np.arange(n) % k
    X = push_multiclass(rng.standard_normal((n, d)), y, teacher)
    return Data(X, y, note=f"Gaussian, pushed to margin 1 of a drawn unit teacher (seed {seed})")


@dataset(
    "binary",
    "two classes, separable by a drawn unit teacher with margin >= 1",
    listed=[
        "@linear",
        "@deep-linear:depth=2,width=4",
        "@deep-linear:depth=3,width=4",
        "@diagonal:depth=2",
        "@diagonal:depth=3",
        "@relu2-fixed:h=8",
        "@relu2:h=8",
        "@relu:h=8",
    ],
)
def binary(*, n: int = 6, d: int = 6, seed: int = 6) -> Data:
    """Gaussian samples, two at least, of two balanced classes in d dimensions, pushed to a teacher's margin of 1."""
    at_least("binary", 2, n=n)
    at_least("binary", 1, d=d)
    at_least("binary", 0, seed=seed)
    rng = np.random.default_rng(seed)
    teacher = teacher_of(rng, (d,))
    y = 1 - 2 * (np.arange(n) % 2)
    X = push(rng.standard_normal((n, d)), y, teacher)
    return Data(X, y, note=f"Gaussian, pushed to margin 1 of a drawn unit teacher (seed {seed})")


@dataset(
    "blocks",
    "two classes; a linear model with a tall, a wide and a square matrix and a vector",
    listed=["@linear"],
)
def blocks(*, n: int = 8, seed: int = 3) -> Data:
    """Gaussian samples, two at least, that a linear model sees as four blocks, pushed to a teacher's margin of 1."""
    at_least("blocks", 2, n=n)
    at_least("blocks", 0, seed=seed)
    return _in_blocks(BLOCK_SHAPES, n, seed)


@dataset(
    "matrices",
    "two classes; a linear model with a tall, a wide and a square matrix, for optimizers that take no vectors",
    listed=["@linear"],
)
def matrices(*, n: int = 8, seed: int = 0) -> Data:
    """``blocks`` without the vector."""
    at_least("matrices", 2, n=n)
    at_least("matrices", 0, seed=seed)
    return _in_blocks(BLOCK_SHAPES[:-1], n, seed)


def _in_blocks(shapes: tuple[tuple[str, tuple[int, ...]], ...], n: int, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    # Every block of the teacher has the same norm, so none can be left out of a good classifier.
    parts = [teacher_of(rng, shape).reshape(-1) for _, shape in shapes]
    teacher = np.concatenate(parts) / np.sqrt(len(parts))
    y = 1 - 2 * (np.arange(n) % 2)
    X = push(rng.standard_normal((n, len(teacher))), y, teacher)
    note = f"Gaussian, pushed to margin 1 of a drawn teacher, its {len(shapes)} blocks of equal norm (seed {seed})"
    return Data(X, y, note=note, blocks=shapes)
