"""Fixture G7: the momentum itself, which no step shows (what steps show are the records of verify/claims/lag.py)."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from typing_extensions import override

from maxmargin.models.families.linear import BlockLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.schedules.lag import adam_lag, momentum_lag, momentum_lag_discrete
from maxmargin.verify.engine.run import run
from maxmargin.verify.engine.schedules import PowerLaw
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
