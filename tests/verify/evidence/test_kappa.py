"""Kappa block by block, on steps whose lag is put in by hand."""

import numpy as np
import pytest

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.kappa import block_kappas, measured_weights

SHAPES = {"W": (3, 2), "a": (4,)}
ETA = 0.01


def trajectory(update, gradient, runs=1, checkpoints=8):
    """The same step and gradient at every checkpoint of every run."""
    lead = (checkpoints, runs)

    def spread(blocks):
        return {k: np.broadcast_to(b, (*lead, *np.shape(b))).copy() for k, b in blocks.items()}

    ones = np.ones(lead)
    return Trajectory(
        "p", "o", np.arange(checkpoints), spread(update), spread(gradient), spread(update), 0 * ones, ones,
        ETA * ones, ones, np.zeros(runs, dtype=int),
    )  # fmt: skip


@pytest.fixture
def gradient():
    rng = np.random.default_rng(0)
    return {k: rng.standard_normal(shape) for k, shape in SHAPES.items()}


def lagging(norm, gradient, factors):
    return {k: ETA * factors[k] * step for k, step in norm.lmo(gradient).items()}


@pytest.mark.parametrize("name", ["linf", "spectral", "hybrid", "hybrid:2", "blocks:W=3*spectral,a=linf;max"])
def test_a_blocks_lag_is_read_in_its_own_weighted_norm(name, gradient):
    norm = get_norm(name)
    factors = {"W": 0.8, "a": 0.5}
    found = block_kappas(trajectory(lagging(norm, gradient, factors), gradient), norm, np.arange(1))
    assert {k: v.value for k, v in found.items()} == pytest.approx(factors)
    assert measured_weights(found) == pytest.approx({"W": 1.0, "a": 1.6})


def test_the_reweighted_norm_is_the_one_that_the_lagging_steps_descend(gradient):
    """Up to a common length, the lagging step is the lmo of the reweighted norm, and not of the nominal one."""
    norm = get_norm("hybrid")
    step = lagging(norm, gradient, {"W": 1.0, "a": 0.7})
    weights = measured_weights(block_kappas(trajectory(step, gradient), norm, np.arange(1)))
    followed = get_norm(f"blocks:W={weights['W']}*spectral,a={weights['a']}*linf;max").lmo(gradient)
    for k in SHAPES:
        assert ETA * followed[k] == pytest.approx(step[k])
    # Which is hybrid:0.7 but for a factor of the whole norm: R = kappa of the vectors over that of the matrices.
    other = get_norm("hybrid:0.7").lmo(gradient)
    assert other["W"] / other["a"].max() == pytest.approx(followed["W"] / followed["a"].max())


def test_insignificant_coordinates_do_not_count(gradient):
    norm = get_norm("linf")
    step = lagging(norm, gradient, {"W": 1.0, "a": 1.0})
    gradient["a"][:2] = 1e-5
    step["a"][:2] = ETA * np.array([0.1, -0.2])  # mis-signed, short: they say nothing about the bias
    found = block_kappas(trajectory(step, gradient), norm, np.arange(1))["a"]
    assert (found.value, found.low, found.high, found.share) == pytest.approx((1.0, 1.0, 1.0, 0.5))
    everything = block_kappas(trajectory(step, gradient), norm, np.arange(1), epsilon=0.0)["a"]
    assert everything.low == pytest.approx(0.1)
    gradient["a"][:] = 0.0
    assert "a" not in block_kappas(trajectory(step, gradient), norm, np.arange(1))


def test_only_the_runs_that_count_are_read(gradient):
    norm = get_norm("linf")
    seen = trajectory(lagging(norm, gradient, {"W": 1.0, "a": 1.0}), gradient, runs=2)
    seen.update["a"][:, 1] *= 0.25
    assert block_kappas(seen, norm, np.array([0]))["a"].value == pytest.approx(1.0)
    assert block_kappas(seen, norm, np.array([1]))["a"].value == pytest.approx(0.25)


def test_blocks_joined_by_l2_have_no_kappa_of_their_own(gradient):
    norm = get_norm("l2")
    assert block_kappas(trajectory(lagging(norm, gradient, {"W": 1.0, "a": 1.0}), gradient), norm, np.arange(1)) == {}


def test_blocks_that_stand_still_make_no_weights(gradient):
    norm = get_norm("hybrid")
    found = block_kappas(trajectory(lagging(norm, gradient, {"W": 1.0, "a": 0.0}), gradient), norm, np.arange(1))
    assert measured_weights(found) == {}
    assert measured_weights({}) == {}
