"""The UCI handwritten digits: 1797 images of 8 × 8 pixels, 0 … 16 (models/datasets/README.md has the licence).

A subset takes the first images of each class in the file's order, divides by 16, and drops the pixels that
are 0 in all of them: their gradients are exactly 0, which leaves Adam without eps at 0/0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np

from maxmargin.models.registry import Data, ProblemError, at_least, dataset

PIXEL_MAX = 16.0


@cache
def images() -> tuple[np.ndarray, np.ndarray]:
    """All images (1797, 64) and their digits (1797,), uint8, in the original order, read-only."""
    with (files("maxmargin.models.datasets") / "digits.npz").open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        X, y = archive["X"], archive["y"]
    X.flags.writeable = y.flags.writeable = False  # shared by all callers
    return X, y


def first_of_each(groups: Sequence[Sequence[int]], per: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``per`` images of every group of digits, group by group.

    Args:
        groups: Digits that make one class together.
        per: Images a group, or all there are.

    Returns:
        Pixels in [0, 1] without those that are always 0, (n, pixels), and the number of the group, (n,).
    """
    X, digit = images()
    chosen = [np.flatnonzero(np.isin(digit, list(group)))[:per] for group in groups]
    scaled = X[np.concatenate(chosen)].astype(np.float64) / PIXEL_MAX
    return scaled[:, scaled.any(axis=0)], np.repeat(np.arange(len(groups)), [len(index) for index in chosen])


@dataset(
    "digits",
    "handwritten digits, the classes named as in classes=3-5, the first `per` images of each",
    listed=[":classes=3-5,per=20@linear"],
)
def digits(*, classes: str = "0-1", per: int = 15) -> Data:
    """Some of the ten digits against each other, ``classes=3-5``, each labelled by itself; two at least, each once."""
    wanted = classes.split("-")
    if len(wanted) < 2 or len(set(wanted)) < len(wanted) or not set(wanted) <= set("0123456789"):
        raise ProblemError(f"digits: classes={classes!r}; needed are two or more different digits, as in 3-5")
    at_least("digits", 1, per=per)
    chosen = sorted(int(c) for c in wanted)
    X, group = first_of_each([(c,) for c in chosen], per)
    return Data(X, np.array(chosen)[group], note=f"UCI digits {classes}, first {per} images of each, pixels / 16")


@dataset(
    "digits-3",
    "handwritten digits 3, 4 and 8, the first 15 images of each",
    listed=["@linear", "@deep-linear:depth=2,width=4", "@relu2:h=8"],
)
def digits_3(*, per: int = 15) -> Data:
    """The three digits whose optimal points under ℓ2 and spectral norm are farthest apart of all 120 triples.

    With 15 images each, q*/max‖g_i‖_* is 0.128 (ℓ2), 0.135 (ℓ∞) and 0.167 (spectral), and an optimal point of
    one of these norms has a KKT gap of at least 0.068 under another.

    Returns:
        By default 45 images of 49 pixels, the digit itself as label.
    """
    return digits(classes="3-4-8", per=per)


@dataset(
    "digits-odd-even",
    "handwritten digits, odd (+1) against even (-1), the first 8 images of each",
    listed=["@linear", "@relu2:h=8"],
)
def digits_odd_even(*, per: int = 8, shift: float = 0.0) -> Data:
    """Odd against even digits.

    With 8 images each q*/max‖g_i‖_* is 0.155 (ℓ2) and 0.147 (ℓ∞); with 10 it is 0.112 and 0.095, with 50
    0.055 and 0.040, and training takes accordingly longer. A ``shift`` is subtracted from every pixel: then none is 0,
    and no neuron that is off on the few images that use a pixel is without a gradient there.

    Returns:
        The first ``per`` odd and ``per`` even images, labels +1 and −1.
    """
    at_least("digits-odd-even", 1, per=per)
    X, group = first_of_each([(0, 2, 4, 6, 8), (1, 3, 5, 7, 9)], per)
    return Data(X - shift, 2 * group - 1, note=f"UCI digits, odd against even, first {per} of each, pixels / 16")
