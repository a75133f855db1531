"""Muon-Adam: a lagging Adam steps by kappa < 1, which is a weight of the hybrid norm.

Under that measured weight the gap closes; under the nominal one it stalls, the lower the nearer kappa is to 1.
"""

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.schedules.lag import adam_lag_discrete
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaws
from maxmargin.verify.optimizers import get_optimizer

pytestmark = pytest.mark.theory("muon-adam", verdict=False)

B1, B2 = 0.9, 0.95


# Two constant learning rates: kappa is constant. And one that falls: kappa tends to 1.
GROWTH, EXPONENTS = (0.02, 0.01, 0.15), (0.0, 0.0, 0.4)  # of the smallest margin in a step, about


@pytest.fixture(scope="module")
def trained():
    problem = problems.get("blocks")
    optimum = solve_margin(problem, get_norm("hybrid")).margin
    runs = len(GROWTH)
    theta0 = {k: b.repeat(runs, *[1] * (b.ndim - 1)) for k, b in starts(problem, 1, scale=0.01).items()}
    muon_adam = get_optimizer("muon-adam", {"beta1": B1, "beta2": B2})
    schedule = PowerLaws(tuple(g / optimum for g in GROWTH), EXPONENTS)
    return problem, run(problem, muon_adam, theta0, steps=10_000, schedule=schedule, checkpoints=40)


def kappas(seen, k):
    """Adam's step over eta, the median weight, at the last five checkpoints; Muon's is 1."""
    return np.median(np.abs(seen.update["vector"][-5:, k]), axis=1) / seen.eta[-5:, k]


def gaps(problem, seen, k, weight):
    """The gap under max(weight |W|_msp, |u|_inf), a tenth of the way and at the end."""
    norm = get_norm(f"hybrid:{float(weight)!r}")
    best = solve_margin(problem, norm).upper
    at = [int(np.abs(seen.steps - seen.steps[-1] / 10).argmin()), -1]
    return [1 - seen.margin[t, k] / float(norm.value(seen.at(t, k))) / best for t in at]


CONSTANT = range(2)
FALLING = 2


@pytest.mark.parametrize("k", CONSTANT)
def test_the_gap_closes_under_the_measured_weight_and_under_no_other(k, trained):
    """Per unit of eta, matrices move by 1 and vectors by kappa: steepest descent in max(kappa |W|_msp, |u|_inf)."""
    problem, seen = trained
    kappa = kappas(seen, k)[-1]
    own, nominal, inverse = (gaps(problem, seen, k, weight) for weight in (kappa, 1.0, 1 / kappa))
    assert own[1] <= 1e-2
    assert own[1] <= 0.2 * own[0]
    assert nominal[1] >= 3 * own[1]
    assert inverse[1] >= 1.5 * nominal[1]  # the ratio taken the wrong way round


@pytest.mark.parametrize("k", CONSTANT)
def test_the_weight_is_what_the_lag_formula_says(k, trained):
    """Near the optimum of a linear problem all gradients decay at one rate, the matrices' as well: one kappa."""
    _, seen = trained
    log_g = np.log(np.abs(seen.gradient["square"][-2:, k]).max(axis=(-2, -1))) + seen.log_scale[-2:, k]
    rate = -np.diff(log_g)[0] / np.diff(seen.steps[-2:])[0]
    each = np.abs(seen.update["vector"][-1, k]) / seen.eta[-1, k]
    assert each == pytest.approx(np.full(each.shape, adam_lag_discrete(rate, B1, B2)), rel=1e-4)


def test_the_nominal_gap_closes_as_kappa_tends_to_one(trained):
    """It stalls at a multiple of 1 - kappa, the same for every pace; and where kappa rises to 1 it does not stall."""
    problem, seen = trained
    lost = [gaps(problem, seen, k, 1.0)[1] - gaps(problem, seen, k, kappas(seen, k)[-1])[1] for k in CONSTANT]
    multiple = np.array(lost) / (1 - np.array([kappas(seen, k)[-1] for k in CONSTANT]))
    assert multiple == pytest.approx(np.full(2, multiple.mean()), rel=0.1)
    falling = kappas(seen, FALLING)
    assert (np.diff(falling) > 0).all()
    assert falling[-1] >= 0.95
    early, end = gaps(problem, seen, FALLING, 1.0)
    assert end <= 0.5 * early
    stalled = gaps(problem, seen, 0, 1.0)
    assert stalled[1] >= 0.85 * stalled[0]
