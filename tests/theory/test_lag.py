"""Fixtures G7 and G8: the lag of moments behind the gradient, and the law at the edge of the schedule condition.

The engine runs them; solvers/schedules/lag.py says what must come out.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from typing_extensions import override

from maxmargin.models.families.diagonal import Diagonal
from maxmargin.models.families.linear import BlockLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.schedules.lag import (
    adam_lag,
    adam_lag_discrete,
    critical_law,
    momentum_lag,
    momentum_lag_discrete,
)
from maxmargin.verify.engine.run import run
from maxmargin.verify.engine.schedules import PowerLaw, PowerLaws
from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.optimizers.steepest import MomentumSteepestDescent

pytestmark = pytest.mark.theory("lag", verdict=False)

# One sample: g = -e^{-margin} x, so at a constant step length it decays like e^{-rt} exactly. No sample sees the last
# weight, whose "step" is free to carry m/g out of the optimizer and into the trajectory.
X = np.array([[0.5, -0.25, 0.125, 0.0]])
POINT = Problem.of("point", BlockLinear((("w", (4,)),)), X, [1], classes=[-1, 1])
MARGIN = 0.875  # its linf margin, |x|_1


def with_lag(direction, moment, gradient):
    """The direction, its last entry replaced by m/g of the first weight."""
    ratio = moment.blocks["w"][0] * torch.exp(moment.log_scale - gradient.log_scale) / gradient.blocks["w"][0]
    return {"w": torch.cat([direction["w"][:-1], ratio.reshape(1)])}


@dataclass(frozen=True)
class ShownAdam(Adam):
    @override
    def direction(self, state, gradient, step):
        u, state = super().direction(state, gradient, step)
        return with_lag(u, state.first, gradient), state


@dataclass(frozen=True)
class ShownSignum(MomentumSteepestDescent):
    @override
    def direction(self, state, gradient, step):
        u, state = super().direction(state, gradient, step)
        return with_lag(u, state, gradient), state


def settled(optimizer, eta, steps):
    """Decay rate of the gradient, step length over eta of the seen weights, and m/g, at the end of a run."""
    start = {"w": torch.zeros(1, 4, dtype=torch.float64)}
    schedule = PowerLaw(eta=eta)
    seen = run(POINT, optimizer, start, steps=steps, schedule=schedule, loss="exponential", checkpoints=64)
    log_g = np.log(np.abs(seen.gradient["w"][-2:, 0, 0])) + seen.log_scale[-2:, 0]
    moved = seen.update["w"][-1, 0] / eta
    return -float(np.diff(log_g)[0]) / float(np.diff(seen.steps[-2:])[0]), np.abs(moved[:3]), float(moved[3])


# G7. Rates from a tenth to nearly all of what v can follow, -1/2 ln(b2).
@pytest.mark.parametrize(
    ("b1", "b2", "eta", "steps"), [(0.9, 0.99, 3e-3, 4000), (0.9, 0.95, 0.05, 2000), (0.5, 0.9, 0.05, 1000)]
)
def test_adam_steps_by_kappa_on_an_exponentially_decaying_gradient(b1, b2, eta, steps):
    rate, kappa, lag = settled(ShownAdam(b1, b2), eta, steps)
    assert kappa == pytest.approx(np.full(3, adam_lag_discrete(rate, b1, b2)), rel=1e-2)  # the theorem's bound
    assert kappa == pytest.approx(np.full(3, adam_lag_discrete(rate, b1, b2)), rel=1e-5)  # what is reached
    assert lag == pytest.approx(momentum_lag_discrete(rate, b1), rel=1e-5)
    assert rate == pytest.approx(MARGIN * eta * float(kappa[0]), rel=1e-6)  # and the rate is what the steps make it
    law = critical_law(eta, b1, b2, degree=1, gamma=MARGIN)
    assert (rate, kappa[0]) == pytest.approx((law.rate, law.kappa), rel=1e-4)
    for wrong1, wrong2 in [(b1 - 0.1, b2), (b1, b2 - 0.2 * (1 - b2))]:  # a spoiled formula is not within 1 %
        assert kappa[0] != pytest.approx(adam_lag_discrete(rate, wrong1, wrong2), rel=1e-2)


@pytest.mark.parametrize(("beta", "eta"), [(0.9, 0.03), (0.9, 0.1), (0.95, 0.01), (0.5, 0.3)])
def test_signums_momentum_lags_by_the_same_factor_and_its_steps_do_not(beta, eta):
    rate, kappa, lag = settled(ShownSignum(get_norm("linf"), beta), eta, 1000)
    assert rate == pytest.approx(MARGIN * eta, rel=1e-9)
    assert lag == pytest.approx(momentum_lag_discrete(rate, beta), rel=1e-6)
    assert kappa == pytest.approx(np.ones(3), rel=1e-12)
    assert lag != pytest.approx(momentum_lag_discrete(rate, beta - 0.05), rel=1e-2)


def test_the_continuous_formulas_are_the_limit_of_slow_rates():
    b1, b2 = 0.9, 0.99
    rate, kappa, lag = settled(ShownAdam(b1, b2), 4e-4, 4000)
    assert lag == pytest.approx(momentum_lag(rate, -np.log(b1)), rel=1e-2)
    assert kappa[0] == pytest.approx(adam_lag(rate, -np.log(b1), -np.log(b2)), rel=1e-2)


# G8. f = a w, degree 2, linf margin 1: the edge of the schedule condition is eta0 t^(-1/2).
B1, B2 = 0.9, 0.99
EDGE = (0.05, 0.2)  # eta0 of the two runs at the edge
BESIDE = (0.45, 0.4, 0.6, 0.8)  # exponents of the four beside it, eta0 = 0.05
TIMES = (2_900, 11_600, 46_400)


@pytest.fixture(scope="module")
def at_the_edge():
    """Decay rates and kappas, each (times, runs)."""
    problem = Problem.of("a*w", Diagonal(1, 2), np.array([[1.0]]), [1], classes=[-1, 1])
    laws = PowerLaws((*EDGE, 0.05, 0.05, 0.05, 0.05), (0.5, 0.5, *BESIDE))
    start = {name: torch.full((6, 1), 0.3, dtype=torch.float64) for name in ("u1", "u2")}
    seen = run(
        problem, Adam(B1, B2), start, steps=48_000, schedule=laws, loss="exponential", checkpoints=200
    )  # fmt: skip
    log_g = np.log(np.abs(seen.gradient["u1"][:, :, 0])) + seen.log_scale
    middle = (seen.steps[1:] + seen.steps[:-1]) / 2  # where the rate between two checkpoints is taken
    rates = -np.diff(log_g, axis=0) / np.diff(seen.steps)[:, None]
    kappas = np.abs(seen.update["u1"][:, :, 0]) / seen.eta
    each = range(rates.shape[1])
    return (
        np.stack([np.interp(TIMES, middle, rates[:, k]) for k in each], axis=1),
        np.stack([np.interp(TIMES, seen.steps, kappas[:, k]) for k in each], axis=1),
    )


def limit(series):
    """Aitken's limit of a series at t, 4t, 16t whose error is a power of t; exact for one power."""
    first, second = np.diff(series)
    return series[-1] - second**2 / (second - first)


@pytest.mark.parametrize("k", range(len(EDGE)))
def test_the_critical_law_holds_within_one_percent(k, at_the_edge):
    """At 2e5 steps rate and kappa are 0.4 % off (48,000: 1 %), an error that falls like t^-0.6: hence the limit."""
    rates, kappas = (series[:, k] for series in at_the_edge)
    law = critical_law(EDGE[k], B1, B2, degree=2)
    assert limit(rates) == pytest.approx(law.rate, rel=5e-3)
    assert limit(kappas) == pytest.approx(law.kappa, rel=5e-3)
    off = np.abs(kappas / law.kappa - 1)
    assert off[-1] < 0.6 * off[-2] < 0.6 * off[-3]  # and it is approached
    assert off[-1] <= 2e-2
    for wrong in (0.988, 0.991):  # a wrong beta2 in the formula is caught; beta1 hardly matters here (G7 catches it)
        spoiled = critical_law(EDGE[k], B1, wrong, degree=2)
        assert limit(rates) != pytest.approx(spoiled.rate, rel=1e-2)
        assert limit(kappas) != pytest.approx(spoiled.kappa, rel=1e-2)


def test_above_the_edge_kappa_tends_to_one_and_below_it_falls(at_the_edge):
    rates, kappas = (series[:, 2:] for series in at_the_edge)
    below, above = kappas[:, :2], kappas[:, 2:]
    assert (np.diff(below, axis=0) < 0).all()
    assert (below[-1] < [0.39, 0.24]).all()
    assert (np.diff(1 - above, axis=0) < 0).all()
    assert (1 - above[-1] < [0.12, 0.005]).all()
    # Above, the rate itself falls to 0; below, it rises towards what the second moment can follow and no further.
    assert (rates[-1, 2:] < 0.7 * rates[0, 2:]).all()
    assert (np.diff(rates[:, :2], axis=0) > 0).all()
    assert (rates[-1, :2] < -np.log(B2) / 2).all()


def test_the_lag_formula_describes_kappa_beside_the_edge_too(at_the_edge):
    """Kappa is a function of the decay rate alone, whatever the schedule."""
    rates, kappas = at_the_edge
    predicted = [adam_lag_discrete(float(r), B1, B2) for r in rates[-1]]
    assert kappas[-1] == pytest.approx(predicted, rel=1e-2)
