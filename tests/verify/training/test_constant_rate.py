"""An optimizer left to itself: when its gradient falls below a size, seen or extrapolated, and as theory predicts."""

from __future__ import annotations

import pytest
from toys import Descent, SignDescent

from maxmargin.models import problems
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.schedules.crossover import crossover
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.training import constant_rate
from maxmargin.verify.training.constant_rate import falls_below

PROBLEM = problems.get("multiclass")


class Ascent(Descent):
    """Uphill."""

    def direction(self, p, state):
        return -p.grad


def test_sign_descent_falls_as_fast_as_its_margin_grows():
    """log ‖g‖ falls by lr times the linf margin a step."""
    target, margin = load(SignDescent, {"lr": 1e-3}), solve_margin(PROBLEM, get_norm("linf")).margin
    (first, seen_first), (second, seen_second) = (falls_below(target, PROBLEM, e) for e in (1e-12, 1e-24))
    assert (seen_first, seen_second) == (False, False)
    assert (second - first) * 1e-3 * margin == pytest.approx(27.63, rel=0.05)  # 12 ln 10


def test_what_was_extrapolated_is_seen_by_a_longer_run(monkeypatch):
    target = load("torch.optim:Adam", {"betas": (0.9, 0.99), "lr": 2e-3})
    short, seen = falls_below(target, PROBLEM, 1e-8, memory=100.0)
    assert not seen
    monkeypatch.setattr(constant_rate, "PLAIN_STEPS", (100_000, 100_000))
    long, seen = falls_below(target, PROBLEM, 1e-8, memory=100.0)
    assert seen
    assert short == pytest.approx(long, rel=0.1)


def test_the_formula_for_adam_agrees():
    """The step at which √v = eps, beside the one at which ‖g‖ falls below the floor that belongs to it."""
    eps, target = 1e-8, load("torch.optim:Adam", {"betas": (0.9, 0.99), "lr": 2e-3})
    gamma = solve_margin(PROBLEM, get_norm("linf")).margin
    step, _ = falls_below(target, PROBLEM, eps, memory=100.0)
    theory = crossover(2e-3, eps, 0.9, 0.99, gamma, log_gradient=0.0).step
    assert step == pytest.approx(theory, rel=0.25)


def test_a_gradient_that_does_not_fall_never_gets_there():
    assert falls_below(load(Ascent), PROBLEM, 1e-6) is None


def test_a_floor_above_the_first_gradient_is_there_at_once():
    assert falls_below(load(SignDescent), PROBLEM, 100.0) == (0, True)
