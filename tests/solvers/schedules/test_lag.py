"""The lag of moments and the critical law, against recursions run step by step."""

from __future__ import annotations

from math import exp, inf, log, sqrt

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from maxmargin.solvers.schedules.lag import (
    LagError,
    adam_lag,
    adam_lag_discrete,
    critical_law,
    momentum_lag,
    momentum_lag_discrete,
    resonance_limit,
)


@pytest.mark.parametrize(
    ("b1", "b2", "r"), [(0.9, 0.99, 0.003), (0.9, 0.999, 0.0002), (0.5, 0.9, 0.04), (0.0, 0.9, 0.05)]
)
def test_discrete_lags_are_those_of_the_recursions(b1: float, b2: float, r: float) -> None:
    m = v = 0.0  # relative to the current gradient: dividing by g scales the old moments by e^r and e^{2r}
    for _ in range(40_000):
        m = b1 * m * exp(r) + (1 - b1)
        v = b2 * v * exp(2 * r) + (1 - b2)
    assert momentum_lag_discrete(r, b1) == pytest.approx(m, rel=1e-9)
    assert adam_lag_discrete(r, b1, b2) == pytest.approx(m / sqrt(v), rel=1e-9)


@pytest.mark.parametrize(("c1", "c2", "r"), [(0.1, 0.01, 0.003), (1.0, 0.5, 0.2)])
def test_continuous_lags_are_those_of_the_differential_equations(c1: float, c2: float, r: float) -> None:
    def slope(_: float, y: np.ndarray) -> list[float]:
        return [c1 * (1 - y[0]) + r * y[0], c2 * (1 - y[1]) + 2 * r * y[1]]

    end = solve_ivp(slope, (0, 60 / min(c1 - r, c2 - 2 * r)), [0.0, 0.0], rtol=1e-10, atol=1e-12).y[:, -1]
    assert momentum_lag(r, c1) == pytest.approx(end[0], rel=1e-7)
    assert adam_lag(r, c1, c2) == pytest.approx(end[0] / sqrt(end[1]), rel=1e-7)


def test_discrete_lag_tends_to_the_continuous_one_for_slow_rates() -> None:
    b1, b2, r = 1 - 1e-5, 1 - 1e-6, 1e-7
    assert adam_lag_discrete(r, b1, b2) == pytest.approx(adam_lag(r, 1e-5, 1e-6), rel=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: momentum_lag(0.2, 0.1),
        lambda: adam_lag(0.06, 1.0, 0.1),
        lambda: momentum_lag_discrete(-log(0.9), 0.9),
        lambda: adam_lag_discrete(0.06, 0.5, 0.9),
        lambda: critical_law(0.0, 0.9, 0.99, 2),
        lambda: critical_law(0.1, 1.0, 0.99, 2),
    ],
)
def test_rates_beyond_the_memory_are_refused(call) -> None:
    with pytest.raises(LagError):
        call()


# Fixture G8, for f = a·w (degree 2, linf margin 1), betas (0.9, 0.99).
@pytest.mark.parametrize(("eta0", "rate", "kappa"), [(0.05, 3.4175e-3, 0.5846), (0.2, 4.8856e-3, None)])
def test_the_critical_law_gives_the_table_of_theory(eta0: float, rate: float, kappa: float | None) -> None:
    law = critical_law(eta0, 0.9, 0.99, degree=2)
    assert law.rate == pytest.approx(rate, abs=5e-8)
    assert law.rate == pytest.approx((law.kappa * eta0 * 2) ** 2, rel=1e-12)
    if kappa is not None:
        assert law.kappa == pytest.approx(kappa, abs=5e-5)


def adam_at_the_edge(eta0: float, degree: int, steps: int) -> np.ndarray:
    """Adam itself, eps = 0, at η₀ t^{1/L − 1} on f = θ_1 ⋯ θ_L with equal factors w and the exponential loss.

    Gradients and moments relative to the current gradient, so nothing underflows. Returns w at steps 1, 2, ….
    """
    b1, b2 = 0.9, 0.99
    w, m, v, last = 0.3, 0.0, 0.0, None
    path = np.empty(steps)
    for k in range(1, steps + 1):
        path[k - 1] = w
        log_g = -(w**degree) + (degree - 1) * log(w)
        shift = 0.0 if last is None else last - log_g
        m = b1 * m * exp(shift) + (1 - b1)
        v = b2 * v * exp(2 * shift) + (1 - b2)
        last = log_g
        w += eta0 * k ** (1 / degree - 1) * (m / (1 - b1**k)) / sqrt(v / (1 - b2**k))
    return path


def rates(path: np.ndarray, degree: int, end: int) -> tuple[float, float]:
    """The margin's growth a step over (end/2, end], and the L-th power of the growth of w in t^{1/L}.

    At a finite time w = r^{1/L} t^{1/L} + const: the constant raises the first, while the approach to the fixed point
    lowers the second.
    """
    half = end // 2
    margin = (path[end - 1] ** degree - path[half - 1] ** degree) / (end - half)
    slope = (path[end - 1] - path[half - 1]) / (end ** (1 / degree) - half ** (1 / degree))
    return float(margin), float(slope**degree)


@pytest.mark.parametrize("eta0", [0.05, 0.2])
def test_adam_at_the_critical_schedule_of_degree_two_obeys_the_law_within_one_percent(eta0: float) -> None:
    law = critical_law(eta0, 0.9, 0.99, degree=2)
    measured, _ = rates(adam_at_the_edge(eta0, 2, 200_000), 2, 200_000)
    assert measured == pytest.approx(law.rate, rel=0.01)


@pytest.mark.parametrize(("eta0", "degree"), [(0.05, 2), (0.2, 2), (0.04, 3)])
def test_two_estimates_close_in_on_the_law_from_both_sides(eta0: float, degree: int) -> None:
    law = critical_law(eta0, 0.9, 0.99, degree)
    path = adam_at_the_edge(eta0, degree, 200_000)
    width = []
    for end in (20_000, 200_000):
        above, below = rates(path, degree, end)
        assert below < law.rate < above
        width.append(above - below)
    assert width[1] < 0.5 * width[0]


def test_the_critical_law_is_refused_where_the_momentum_falls_behind_first() -> None:
    with pytest.raises(LagError, match="falls"):
        critical_law(5.0, 0.99, 0.5, degree=1, gamma=100.0)


@pytest.mark.parametrize(("b1", "b2"), [(0.95, 0.9), (0.99, 0.9), (0.948, 0.9), (0.9, 0.5), (0.99, 0.95)])
def test_below_the_resonance_the_shrinkage_settles_and_far_above_it_runs_away(b1, b2):
    """The feedback r ← c κ(r), iterated: a fixed point below the limit, none at three times it."""
    limit = resonance_limit(b1, b2)

    def settles(c):
        r = 0.0
        for _ in range(10_000):
            try:
                before, r = r, c * adam_lag_discrete(r, b1, b2)
            except LagError:
                return False
        return abs(r - before) < 1e-9 * c

    assert settles(limit)
    if b1 > b2**0.5:
        assert not settles(3 * limit)


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.999), (0.9, 0.95), (0.9, 0.9), (0.0, 0.9), (0.93, 0.9), (0.0, 0.0)])
def test_where_the_second_moment_lags_more_nothing_changes(b1, b2):
    assert resonance_limit(b1, b2) == inf
