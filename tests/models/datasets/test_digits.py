import hashlib

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.datasets.digits import digits, digits_3, digits_odd_even, first_of_each, images

SHA_X = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
SHA_Y = "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
FIRST = """
0  0  5 13  9  1  0  0
0  0 13 15 10 15  5  0
0  3 15  2  0 11  8  0
0  4 12  0  0  8  8  0
0  5  8  0  0  9  8  0
0  4 11  0  1 12  7  0
0  2 14  5 10 12  0  0
0  0  6 13 10  0  0  0
"""


def test_the_shipped_images_are_the_known_ones():
    X, y = images()
    assert hashlib.sha256(X.tobytes()).hexdigest() == SHA_X
    assert hashlib.sha256(y.tobytes()).hexdigest() == SHA_Y
    assert (X.shape, X.dtype, y.dtype, int(X.max())) == ((1797, 64), np.uint8, np.uint8, 16)
    # Facts of the data set as published, whatever the file says.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(X[0].reshape(8, 8), np.array(FIRST.split(), dtype=int).reshape(8, 8))
    assert y[0] == 0


def test_the_images_cannot_be_changed_by_a_caller():
    X, _ = images()
    with pytest.raises(ValueError, match="read-only"):
        X[0, 0] = 1


def test_subset_takes_the_first_of_each_class_and_no_dead_pixel():
    X, y = images()
    data = digits(classes="5-3", per=20)
    assert data.y.tolist() == [3] * 20 + [5] * 20
    fives = X[np.flatnonzero(y == 5)[:20]] / 16
    threes = X[np.flatnonzero(y == 3)[:20]] / 16
    alive = np.concatenate([threes, fives]).any(axis=0)
    np.testing.assert_array_equal(data.X, np.concatenate([threes, fives])[:, alive])
    assert data.X.any(axis=0).all()
    assert data.X.max() == 1.0
    assert not alive.all()


def test_more_images_than_there_are_gives_all_of_them():
    data = digits(classes="0-8", per=1000)
    assert np.unique(data.y, return_counts=True)[1].tolist() == [178, 174]


def test_three_classes():
    problem = problems.get("digits-3")
    assert np.unique(problem.labels, return_counts=True)[0].tolist() == [3, 4, 8]
    assert (problem.n_samples, problem.n_margins) == (45, 90)
    np.testing.assert_array_equal(digits_3().X, digits(classes="3-4-8", per=15).X)


def test_odd_against_even():
    X, y = images()
    data = digits_odd_even(per=30)
    assert np.unique(data.y, return_counts=True)[1].tolist() == [30, 30]
    pixels, group = first_of_each([(0, 2, 4, 6, 8), (1, 3, 5, 7, 9)], 30)
    np.testing.assert_array_equal(data.X, pixels)
    np.testing.assert_array_equal(data.y, 2 * group - 1)
    odd = X[np.flatnonzero(y % 2 == 1)[:30]] / 16
    even = X[np.flatnonzero(y % 2 == 0)[:30]] / 16
    alive = np.concatenate([even, odd]).any(axis=0)
    np.testing.assert_array_equal(data.X[data.y == 1], odd[:, alive])
