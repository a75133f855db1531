"""Adam with eps > 0: an linf phase, then an l2 phase, and the step between them (solvers/schedules/crossover.py)."""

from dataclasses import dataclass
from functools import cache
from math import exp, log

import numpy as np
import pytest
import torch
from typing_extensions import override

from maxmargin.models.families.linear import BlockLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.schedules.crossover import CrossoverError, crossover, throttle
from maxmargin.verify.engine.run import run
from maxmargin.verify.engine.schedules import Schedule
from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.results.alignment import alignment

pytestmark = pytest.mark.theory("crossover", verdict=False)

# Positive samples: (1, 1, 1) has the largest linf margin, 1.75, and every weight a gradient there. The l2 optimum,
# 15 degrees away, is held by two of the samples.
X = np.array([[1.0, 0.5, 0.25], [0.4, 0.6, 1.2], [1.5, 0.2, 0.8]])
DATA = Problem.of("positive", BlockLinear((("w", (3,)),)), X, [1, 1, 1], classes=[-1, 1])
LINF, L2 = get_norm("linf"), get_norm("l2")
GAMMA = solve_margin(DATA, LINF).margin
B1 = 0.9


@dataclass(frozen=True)
class ConstantThenGrowing(Schedule):
    """``eta`` up to step ``until``, then growing by e^growth a step: gradient descent's pace no longer dies out."""

    eta: float
    until: float
    growth: float

    @property
    @override
    def needs_speed(self):
        return False

    @override
    def rate(self, step, speed, *_):
        return torch.full_like(speed, self.eta * exp(self.growth * max(0.0, step - self.until)))


@cache
def trained(b2, eps, eta, steps, until=float("inf"), growth=0.0):
    return run(
        DATA, Adam(B1, b2, eps), {"w": torch.zeros(1, 3, dtype=torch.float64)}, steps=steps,
        schedule=ConstantThenGrowing(eta, until, growth), loss="exponential", checkpoints=240,
    )  # fmt: skip


def located(seen, kappa):
    """Step at which |update|/eta, geometric mean over the weights, falls through half of kappa."""
    ratio = np.log(np.abs(seen.update["w"][:, 0]) / seen.eta[:, :1]).mean(axis=1) - log(kappa / 2)
    k = int(np.flatnonzero(ratio >= 0)[-1])
    return float(np.interp(0.0, [ratio[k + 1], ratio[k]], [seen.steps[k + 1], seen.steps[k]]))


def predicted(seen, b2, eps, eta, at):
    k = int(np.searchsorted(seen.steps, at))
    log_g = np.log(np.abs(seen.gradient["w"][k, 0])) + seen.log_scale[k, 0]
    return crossover(eta, eps, B1, b2, GAMMA, log_g.tolist(), at=float(seen.steps[k]))


# The last is throttled: 1/2 ln(1/b2) binds, and gamma eta, the rate without it, would cross seventeen times as early.
CASES = [
    (0.99, 1e-8, 0.002, 10_000, 0.02),
    (0.95, 1e-6, 0.01, 2_000, 0.02),
    (0.95, 1e-12, 0.01, 3_000, 0.02),
    (0.99, 1e-8, 0.05, 5_000, 0.06),
]


@pytest.mark.parametrize(("b2", "eps", "eta", "steps", "within"), CASES)
def test_the_crossover_is_where_the_formula_says(b2, eps, eta, steps, within):
    """Predicted from the gradient at step 8/(1-b2), long before; a unit of ln(sqrt(v)/eps) is 5 to 8 % of the way."""
    seen = trained(b2, eps, eta, steps)
    law = predicted(seen, b2, eps, eta, 8 / (1 - b2))
    measured = located(seen, law.kappa)
    assert law.rate < law.throttle == throttle(b2)
    assert law.step == pytest.approx(measured, rel=within)
    wrong_eps = predicted(seen, b2, 10 * eps, eta, 8 / (1 - b2))
    wrong_beta = predicted(seen, 1 - (1 - b2) / 2, eps, eta, 8 / (1 - b2))
    assert wrong_eps.step != pytest.approx(measured, rel=within)
    assert wrong_beta.step != pytest.approx(measured, rel=within)


def test_the_throttle_binds():
    """25 times the learning rate crosses only about twice as early, at little less than 1/2 ln(1/b2) a step."""
    slow, fast = (crossover(eta, 1e-8, B1, 0.99, GAMMA, -1.0, at=800) for eta in (0.002, 0.05))
    assert fast.rate == pytest.approx(throttle(0.99), rel=5e-3)
    assert 1 < (slow.step - 800) / (fast.step - 800) < 2.5
    assert slow.rate < 0.6 * throttle(0.99)


def angles(seen):
    """Degrees between the weights and the linf and the l2 optimum, at every checkpoint."""
    w = seen.theta["w"][1:, 0]
    w = w / np.linalg.norm(w, axis=1, keepdims=True)
    out = []
    for norm in (LINF, L2):
        best = solve_margin(DATA, norm).theta["w"]
        out.append(np.degrees(np.arccos(np.clip(w @ (best / np.linalg.norm(best)), -1, 1))))
    return out


def gap(seen, norm, t):
    """1 - margin / optimal margin: the KKT gap of a linear problem."""
    return 1 - seen.margin[t, 0] / float(norm.value(seen.at(t, 0))) / solve_margin(DATA, norm).margin


def test_before_it_linf_after_it_l2():
    b2, eps, eta = 0.95, 1e-12, 0.01
    step = predicted(trained(b2, eps, eta, 3_000), b2, eps, eta, 160).step
    seen = trained(b2, eps, eta, 10_000, until=1.3 * step, growth=0.04)
    before, after = (int(np.searchsorted(seen.steps, share * step)) for share in (0.7, 1.3))

    def aligned(norm, t):
        return alignment(norm, seen.at(t, 0, "gradient"), seen.at(t, 0, "update"))

    assert aligned(LINF, before) >= 0.98 > 0.95 >= aligned(L2, before)
    assert aligned(L2, after) >= 0.99 > 0.8 >= aligned(LINF, after)
    to_linf, to_l2 = angles(seen)
    assert to_linf[before - 1] <= 1.5
    assert to_l2[before - 1] >= 14
    assert to_l2[-1] <= 1.5
    assert to_linf[-1] >= 13
    assert gap(seen, LINF, before) <= 0.02 < 0.05 <= gap(seen, L2, before)
    assert gap(seen, L2, -1) <= 5e-3 < 0.1 <= gap(seen, LINF, -1)


def test_without_eps_nothing_crosses():
    seen = trained(0.95, 0.0, 0.01, 3_000)
    ratio = np.abs(seen.update["w"][:, 0]) / seen.eta[:, :1]
    assert (ratio[seen.steps >= 1000] > 0.6).all()
    to_linf, to_l2 = angles(seen)
    assert to_linf[-1] < 1.5
    assert to_l2[-1] > 14


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
