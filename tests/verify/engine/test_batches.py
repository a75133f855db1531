"""Orders of samples, and the engine's stochastic steps against a plain loop over the same samples."""

from __future__ import annotations

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.verify.engine.batches import OrderError, SampleOrder
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.optimizers import get_optimizer


def _present(order, done, count):
    rows, absent = order.steps(done, count)
    assert rows.shape == absent.shape == (order.runs, count, order.size)
    return [
        [r[a == 0].tolist() for r, a in zip(run_rows, run_absent, strict=True)]
        for run_rows, run_absent in zip(rows, absent, strict=True)
    ]


@pytest.mark.parametrize("how", ["shuffled", "cyclic"])
@pytest.mark.parametrize(("n", "b"), [(6, 1), (7, 3), (8, 8), (5, 2), (20, 1)])
def test_each_epoch_has_every_sample_once(n, b, how):
    order = SampleOrder(n, b, runs=3, seed=4, order=how)
    for batches in _present(order, 0, 4 * order.epoch):
        for e in range(4):
            epoch = batches[e * order.epoch : (e + 1) * order.epoch]
            assert sorted(i for batch in epoch for i in batch) == list(range(n))
            assert [len(batch) for batch in epoch[:-1]] == [b] * (order.epoch - 1)


def test_shuffled_epochs_differ_from_each_other_and_between_runs_and_seeds():
    order = SampleOrder(9, 1, runs=2, seed=4)
    first, second = _present(order, 0, 9)[0], _present(order, 9, 9)[0]
    assert first != second
    assert _present(order, 0, 9)[1] != first
    assert _present(SampleOrder(9, 1, runs=2, seed=5), 0, 9)[0] != first
    assert _present(SampleOrder(9, 1, runs=2, seed=4), 0, 9)[0] == first
    assert _present(SampleOrder(9, 1, runs=1, seed=4), 9, 9)[0] == second  # alone as in a batch


@pytest.mark.parametrize(("n", "b"), [(6, 1), (7, 3), (50, 1)])
def test_any_cut_of_the_steps_gives_the_same_batches(n, b):
    order = SampleOrder(n, b, runs=2, seed=1)
    whole = _present(order, 0, 64)
    for done in range(0, 64, 8):
        piece = _present(order, done, 8)
        assert [piece[i] == whole[i][done : done + 8] for i in range(2)] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": 0}, "batch_size is 0; needed is 1 … 5"),
        ({"size": 6}, "batch_size is 6; needed is 1 … 5"),
        ({"size": 1, "order": "random"}, "order is 'random'; needed is 'shuffled' or 'cyclic'"),
        ({"size": 1, "seed": -1}, "seed is -1"),
    ],
)
def test_what_is_no_order_is_refused(arguments, text):
    with pytest.raises(OrderError, match=text):
        SampleOrder(5, runs=1, **arguments)


def _logistic(theta, X, y, rows):
    margins = y[rows] * (X[rows] @ theta)
    return -(y[rows] / (1 + np.exp(margins))) @ X[rows]


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("name", ["ngd", "adam"])
def test_stochastic_steps_are_those_of_a_plain_loop(name, batch):
    """200 steps over 7 samples (the last batch of an epoch is smaller), in the order that was drawn."""
    problem = problems.get("binary:n=7,d=4,seed=1@linear")
    X, y = problem.X.numpy(), problem.labels
    theta0 = starts(problem, 2, seed=5, scale=0.3)
    got = run(
        problem, get_optimizer(name), theta0, steps=200, checkpoints=9, native=False, schedule=PowerLaw(0.02),
        batch_size=batch, seed=6,
    )  # fmt: skip
    plans = _present(SampleOrder(7, batch, runs=2, seed=6), 0, 208)
    for i in range(2):
        theta, m, v = theta0["w"][i].numpy(), 0.0, 0.0
        for t in range(201):
            if t in got.steps:
                at = got.steps.tolist().index(t)
                np.testing.assert_allclose(got.theta["w"][at, i], theta, rtol=1e-9, atol=1e-11)
                scale = np.exp(got.log_scale[at, i])  # the gradient kept is that of all samples
                np.testing.assert_allclose(
                    got.gradient["w"][at, i] * scale, _logistic(theta, X, y, np.arange(7)), rtol=1e-9
                )
            g = _logistic(theta, X, y, plans[i][t])
            m, v = 0.9 * m + (1 - 0.9) * g, 0.95 * v + (1 - 0.95) * g**2
            adam = m / (1 - 0.9 ** (t + 1)) / np.sqrt(v / (1 - 0.95 ** (t + 1)))
            step = -0.02 * (adam if name == "adam" else g / np.linalg.norm(g))
            if t in got.steps:
                np.testing.assert_allclose(got.update["w"][at, i], step, rtol=1e-7, atol=1e-10)
            theta = theta + step


def test_batches_of_all_samples_are_the_full_gradient_and_smaller_ones_are_not():
    problem = problems.get("multiclass@linear")
    theta0 = starts(problem, 2, seed=2)

    def train(**batches):
        return run(problem, get_optimizer("muon"), theta0, steps=64, native=False, **batches).theta["W"][-1]

    np.testing.assert_allclose(train(batch_size=8), train(), rtol=1e-9, atol=1e-11)
    assert np.abs(train(batch_size=4) - train()).max() > 1e-3


@pytest.mark.parametrize("spec", ["multiclass@linear", "binary@relu2:h=4"])
def test_a_stochastic_batch_is_its_runs_one_by_one_and_traced_is_untraced(spec):
    problem = problems.get(spec)
    theta0 = starts(problem, 3, seed=2, scale=0.3)
    options = {"steps": 80, "batch_size": 3, "seed": 9}
    together = run(problem, get_optimizer("signum"), theta0, native=False, **options)
    script = run(problem, get_optimizer("signum"), theta0, **options)
    first = run(problem, get_optimizer("signum"), {k: b[:1] for k, b in theta0.items()}, native=False, **options)
    for k in problem.shapes:
        np.testing.assert_allclose(script.theta[k], together.theta[k], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(first.theta[k][:, 0], together.theta[k][:, 0], rtol=1e-10, atol=1e-12)


def test_data_sets_in_a_stochastic_batch():
    each = [problems.get(f"binary:seed={s}@linear") for s in (6, 7)]
    theta0 = starts(each[0], 2, seed=2)
    options = {"steps": 80, "batch_size": 2, "seed": 9, "native": False}
    together = run(each, get_optimizer("ngd"), theta0, **options)
    alone = run(each[0], get_optimizer("ngd"), {k: b[:1] for k, b in theta0.items()}, **options)
    np.testing.assert_allclose(together.theta["w"][:, 0], alone.theta["w"][:, 0], rtol=1e-10, atol=1e-12)
