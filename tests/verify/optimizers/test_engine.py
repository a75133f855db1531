"""Every optimizer through the engine: finite, separating, the same traced or not, and near its own norm's optimum."""

from __future__ import annotations

from math import isfinite

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.solvers.kkt.gap import kkt_gap
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import paced_for, run, starts
from maxmargin.verify.engine.schedules import Paced, PowerLaw
from maxmargin.verify.optimizers import OPTIMIZERS, get_optimizer

PROBLEM = problems.get("blocks")  # tall, wide and square matrices and a vector
NETWORK = problems.get("binary@relu2:h=8")


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_it_separates_an_easy_problem(name):
    path = run(PROBLEM, get_optimizer(name), starts(PROBLEM, 2, scale=0.01), steps=96, checkpoints=2, native=False)
    assert path.separated.all()
    assert all(np.isfinite(b).all() for b in (*path.theta.values(), *path.update.values()))
    assert isfinite(path.margin.sum())
    assert path.margin[-1].min() > path.margin[0].max()


FORGETTING = [(name, {}) for name in sorted(OPTIMIZERS) if isfinite(get_optimizer(name).memory)]
# The momentum remembers longer than what divides it: longer steps make steps longer.
SLOW_FIRST = {"beta1": 0.95, "beta2": 0.9}
RELATIVES = ("adam", "adam-mini", "adamax", "adopt", "grams", "laprop", "nadam", "normalized-adam", "stable-adam")
RESONANT = [(name, SLOW_FIRST) for name in RELATIVES]


def _longest(optimizer, schedule):
    """The last step's length, in lengths of a settled one."""
    data, norm = problems.get("multiclass"), optimizer.pace_norm
    steps = int(40 * optimizer.memory) + 1000
    path = run(data, optimizer, starts(data, 2, scale=0.01), steps=steps, checkpoints=2, schedule=schedule)
    return max(float(norm.value(path.at(-1, i, "update"))) / path.eta[-1, i] for i in range(2)) / optimizer.step_norm


@pytest.mark.parametrize(("name", "kwargs"), [*FORGETTING, *RESONANT, ("ademamix", {"beta2": 0.95})])
def test_the_pace_is_slow_enough_for_the_moments(name, kwargs):
    optimizer = get_optimizer(name, kwargs)
    assert 0.1 < _longest(optimizer, paced_for(optimizer)) < 4.0


@pytest.mark.parametrize(("name", "kwargs", "lag"), [("adam", SLOW_FIRST, 0.05), ("ademamix", {"beta2": 0.95}, 0.01)])
def test_a_pace_that_knows_of_no_resonance_runs_away(name, kwargs, lag):
    assert _longest(get_optimizer(name, kwargs), Paced.following(lag)) > 10.0


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("amsgrad", {}),
        ("rmsprop", {"momentum": 0.5}),
        ("adamw", {"decay": 0.1}),
        ("muon-ns", {"dtype": "float64", "eps": 1e-7}),
        ("shampoo", {"vectors": "full"}),
        ("muon-max", {}),
        ("prgd", {"period": 5}),
    ],
)
def test_traced_or_not_is_the_same_on_a_network(name, kwargs):
    optimizer, theta0 = get_optimizer(name, kwargs), starts(NETWORK, 2, scale=0.3)
    one, other = (
        run(NETWORK, optimizer, theta0, steps=40, checkpoints=2, schedule=PowerLaw(1e-2), native=native)
        for native in (True, False)
    )
    for k in NETWORK.shapes:
        assert np.abs(one.theta[k] - theta0[k].numpy()).max() > 1e-2
        np.testing.assert_allclose(one.theta[k], other.theta[k], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "kwargs", "rivals"),
    [
        ("lion", {"beta2": 0.9}, ("l2", "spectral", "hybrid")),
        ("rmsprop", {"alpha": 0.8}, ("l2", "spectral", "hybrid")),
        ("shampoo", {"beta": 0.5}, ("l2", "linf", "spectral")),
        ("muon", {"beta": 0.5, "factor": "original"}, ("l2", "linf", "spectral")),
        ("layer-gd", {"beta": 0.5}, ("linf", "spectral", "nuclear")),  # l2 itself is 1e-2 away here
        ("coordinate-descent", {}, ("l2", "linf", "spectral")),
        ("prgd", {"period": 50}, ("linf", "spectral", "hybrid")),
    ],
)
def test_its_own_norms_gap_is_the_smallest(name, kwargs, rivals):
    optimizer = get_optimizer(name, kwargs)
    path = run(PROBLEM, optimizer, starts(PROBLEM, 1, scale=0.01), steps=1000, checkpoints=2)
    theta = {k: b[-1, 0] for k, b in path.theta.items()}
    assert optimizer.norm is not None
    own = kkt_gap(PROBLEM, theta, optimizer.norm).value
    assert own < 0.05
    assert min(kkt_gap(PROBLEM, theta, get_norm(n)).value for n in rivals) > 2 * own


def test_weight_decay_holds_the_weights_in_the_ball():
    """‖θ‖_∞ ≤ 1/decay (Xie & Li 2404.04454), where plain Adam's grow past it."""
    schedule, ends = PowerLaw(0.1), {}
    for name, kwargs in (("adamw", {"decay": 2.0}), ("adam", {})):
        start = starts(PROBLEM, 1, scale=0.01)
        path = run(PROBLEM, get_optimizer(name, kwargs), start, steps=200, checkpoints=2, schedule=schedule)
        ends[name] = max(float(np.abs(b[-1]).max()) for b in path.theta.values())
    assert 0.3 < ends["adamw"] <= 0.505  # Adam's own step may pass 1 a little
    assert ends["adam"] > 2 * ends["adamw"]


@pytest.mark.parametrize("name", ["adagrad", "amsgrad", "shampoo-sum"])
def test_normalized_accumulators_go_on_to_large_margins(name):
    """To the letter their steps shrink like e^(−margin); normalized ones keep the schedule's pace."""
    path = run(PROBLEM, get_optimizer(name), starts(PROBLEM, 1, scale=0.01), steps=1000, checkpoints=3)
    assert path.margin[-1].min() > 20
    lengths = [np.sqrt(sum((b[t] ** 2).sum() for b in path.update.values())) for t in range(len(path.steps))]
    np.testing.assert_allclose(lengths, path.eta[:, 0], rtol=1e-9)
