"""A trajectory's shapes are checked at birth; what counts as separated."""

from __future__ import annotations

import numpy as np
import pytest

from maxmargin.verify.engine.trajectory import Trajectory

T, B = 3, 4


def _fields(**changes):
    rng = np.random.default_rng(0)

    def blocks():
        return {"W": rng.standard_normal((T, B, 2, 5)), "a": rng.standard_normal((T, B, 2))}

    return {
        "problem": "p",
        "optimizer": "o",
        "steps": np.array([0, 8, 16]),
        "theta": blocks(),
        "gradient": blocks(),
        "update": blocks(),
        "log_scale": np.zeros((T, B)),
        "margin": np.ones((T, B)),
        "eta": np.ones((T, B)),
        "travelled": np.ones((T, B)),
        "separated_at": np.zeros(B, dtype=int),
    } | changes


def test_a_good_one():
    trajectory = Trajectory(**_fields())
    assert trajectory.runs == B
    assert trajectory.separated.all()
    np.testing.assert_array_equal(trajectory.at(2, 1)["W"], trajectory.theta["W"][2, 1])
    np.testing.assert_array_equal(trajectory.at(-1, 3, "update")["a"], trajectory.update["a"][2, 3])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": np.array([0, 8])}, r"margin leads with \(3, 4\), but there are 2 checkpoints"),
        ({"theta": {"W": np.zeros((T, B + 1, 2))}}, r"theta\['W'\] leads with \(3, 5\), margin is \(3, 4\) = \(T, B\)"),
        ({"gradient": {"a": np.zeros((T, 2))}}, r"gradient\['a'\] leads with \(3, 2\)"),
        ({"update": {"a": np.zeros((T + 1, B, 2))}}, r"update\['a'\] leads with \(4, 4\)"),
        ({"log_scale": np.zeros(T)}, r"log_scale has shape \(3,\)"),
        ({"eta": np.zeros((T, 1))}, r"eta has shape \(3, 1\)"),
        ({"travelled": np.zeros((B, T))}, r"travelled has shape \(4, 3\)"),
        ({"separated_at": np.zeros(1)}, r"separated_at has shape \(1,\), needed is one entry a run, \(4,\)"),
        ({"alive": np.ones(T, dtype=bool)}, r"alive has shape \(3,\)"),
        ({"undefined": np.zeros((B, 1))}, r"undefined has shape \(4, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        Trajectory(**_fields(**changes))


def test_separated_needs_a_positive_margin_finite_weights_and_life_at_the_end():
    fields = _fields(alive=np.array([True, True, True, False]))
    fields["margin"][-1, 0] = 0.0
    fields["margin"][0, 1] = -5.0  # at the start it does not matter
    fields["theta"]["a"][-1, 2, 0] = np.inf
    trajectory = Trajectory(**fields)
    assert trajectory.separated.tolist() == [False, True, False, False]
    assert trajectory.alive is not None
    assert trajectory.alive.tolist() == [True, True, True, False]  # asking changes nothing


def test_a_nan_margin_is_not_separated():
    fields = _fields()
    fields["margin"][-1, 1] = np.nan
    assert Trajectory(**fields).separated.tolist() == [True, False, True, True]
