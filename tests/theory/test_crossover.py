"""What the law of the crossover refuses, and that its throttle binds; runs are records, verify/claims/crossover.py."""

import numpy as np
import pytest

from maxmargin.solvers.schedules.crossover import CrossoverError, crossover, throttle

pytestmark = pytest.mark.theory("crossover", verdict=False)

GAMMA, B1 = 1.75, 0.9


def test_the_throttle_binds():
    """25 times the learning rate crosses only about twice as early, at little less than 1/2 ln(1/b2) a step."""
    slow, fast = (crossover(eta, 1e-8, B1, 0.99, GAMMA, -1.0, at=800) for eta in (0.002, 0.05))
    assert fast.rate == pytest.approx(throttle(0.99), rel=5e-3)
    assert 1 < (slow.step - 800) / (fast.step - 800) < 2.5
    assert slow.rate < 0.6 * throttle(0.99)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eps": 0.0}, "must be positive"),
        ({"log_gradient": -np.inf}, "nonzero"),
        ({"log_gradient": []}, "nonzero"),
        ({"b1": 1.0}, "b1"),
        ({"b1": 0.99, "b2": 0.9, "eta": 10.0}, "falls behind"),
    ],
)
def test_what_cannot_cross_is_refused(change, words):
    good = {"eta": 0.01, "eps": 1e-8, "b1": 0.9, "b2": 0.99, "gamma": 1.0, "log_gradient": 0.0}
    with pytest.raises(CrossoverError, match=words):
        crossover(**(good | change))
