"""The response of a state to gradients: exact where it is linear, and its error large where it is not."""

import numpy as np
import pytest

from maxmargin.verify.engine.response import respond

RNG = np.random.default_rng(0)
ROOT = RNG.standard_normal((2, 5, 5))
B = ROOT @ ROOT.transpose(0, 2, 1) + 0.1 * np.eye(5)
G = RNG.standard_normal((2, 5)) * np.array([[1e-3], [1e-80]])


def linear(g):
    return -np.einsum("rij,rj->ri", B, g)


def test_a_linear_answer_is_measured_to_rounding():
    found = respond(linear, G, 7)
    assert np.abs(found.maps - B).max() <= 1e-10 * np.abs(B).max()
    assert found.errors.max() <= 1e-10
    assert found.step == 7


def test_what_momentum_adds_does_not_matter():
    rest = np.array([[1.0], [1e-77]])
    found = respond(lambda g: linear(g) + rest, G, 7)
    assert np.abs(found.maps - B).max() <= 1e-8 * np.abs(B).max()


@pytest.mark.parametrize(
    "answer",
    [
        lambda g: -np.sign(g),
        lambda g: linear(g) / np.linalg.norm(linear(g), axis=1, keepdims=True),
        lambda g: linear(g) + 0.1 * np.abs(linear(g)),
        lambda g: linear(np.clip(g, -np.abs(G), np.abs(G))),
    ],
    ids=["signs", "normalized", "kinked", "clipped"],
)
def test_an_answer_that_is_not_linear_has_a_large_error(answer):
    assert respond(answer, G, 7).errors.min() > 0.05


def test_an_answer_that_changes_from_time_to_time_has_a_large_error():
    calls = iter(range(1000))
    assert respond(lambda g: linear(g) * (1 + 0.1 * next(calls)), G, 7).errors.min() > 0.1


def test_no_number_is_no_response():
    found = respond(lambda g: linear(g) * np.array([[1.0], [np.nan]]), G, 7)
    assert found.errors[0] <= 1e-10
    assert found.errors[1] == np.inf
    assert respond(lambda g: 0.0 * g, G, 7).errors.min() == np.inf
