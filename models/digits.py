"""The UCI handwritten digits: 1797 images of 8 × 8 pixels, 0 … 16 (source and licence: models/data/README.md)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np

from maxmargin.models.problem import DataError
from maxmargin.models.registry import Data, dataset

PIXEL_MAX = 16.0


@cache
def images() -> tuple[np.ndarray, np.ndarray]:
    """All images (1797, 64) and their digits (1797,), uint8, in the original order."""
    with (files("maxmargin.models") / "data" / "digits.npz").open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        return archive["X"], archive["y"]


def subset(groups: list[tuple[int, ...]], per: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``per`` images of every group of digits, in their original order, scaled, dead pixels dropped."""
    X, digit = images()
    index = np.concatenate([np.flatnonzero(np.isin(digit, group))[:per] for group in groups])
    label = np.concatenate(
        [[j] * min(per, int(np.isin(digit, group).sum())) for j, group in enumerate(groups)]
    )
    chosen = X[index].astype(np.float64) / PIXEL_MAX
    return chosen[:, chosen.any(axis=0)], label


@dataset("digits", "handwritten digits, the classes you name, 8 × 8 pixels")
def digits(*, classes: str = "0-1-2", per: int = 15) -> Data:
    """The first ``per`` images of each of the digits named, ``classes=3-5``."""
    wanted = classes.split("-")
    if len(wanted) < 2 or len(set(wanted)) < len(wanted) or not all(c in set("0123456789") for c in wanted):
        raise DataError(f"digits: classes={classes!r}; name at least two different digits, as 3-5 or 0-1-2")
    chosen = [int(c) for c in wanted]
    X, label = subset([(c,) for c in chosen], per)
    return Data(
        X, np.array(chosen)[label], note=f"UCI digits {classes}, first {per} images of each, pixels / 16"
    )


@dataset("digits-3", "handwritten digits 0, 1, 2", listed=["linear"])
def digits_3(*, per: int = 15) -> Data:
    """Three classes of handwritten digits."""
    return digits(classes="0-1-2", per=per)
