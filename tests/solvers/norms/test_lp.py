"""ℓ_p of magnitudes, the root of every norm: projections with weights, against their optimality conditions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from maxmargin.solvers.norms import lp

EXPONENTS = [1.0, 1.0001, 1.1, 1.5, 2.0, 2.5, 4.0, 30.0, 1000.0, math.inf]


def check_projection(v, p, radius, weights, t, tolerance=1e-11):
    """t is the projection iff it is feasible and radius · ‖(v − t)/w‖_q = ⟨v − t, t⟩ (t = v inside the ball)."""
    w = np.broadcast_to(weights, v.shape)
    assert (t >= 0).all()
    assert float(lp.value(w * t, p)) <= radius * (1 + tolerance)
    if float(lp.value(w * v, p)) <= radius:
        np.testing.assert_array_equal(t, v)
        return
    size = float(np.linalg.norm(v))
    rest, reach = (v - t) / size, radius / size * float(lp.value(abs(v - t) / w / size, lp.conjugate(p)))
    assert reach - float((rest * t / size).sum()) <= tolerance * max(1.0, reach)


@st.composite
def problems(draw):
    size = draw(st.integers(1, 6))
    entry = st.one_of(st.integers(0, 3).map(float), st.floats(0, 10, width=32, allow_subnormal=False))
    v = np.array(draw(st.lists(entry, min_size=size, max_size=size)))
    weights = 1.0
    if draw(st.booleans()):
        weights = np.array(draw(st.lists(st.floats(0.1, 10), min_size=size, max_size=size)))
    return v, weights, 10.0 ** draw(st.integers(-6, 2))


@pytest.mark.parametrize("p", EXPONENTS)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(problem=problems())
def test_projection_by_its_conditions(p, problem):
    v, weights, radius = problem
    check_projection(v, p, radius, weights, lp.project(v, p, radius, weights))


@pytest.mark.parametrize("p", EXPONENTS)
def test_projection_in_torch(p):
    rng = np.random.default_rng(0)
    v, w = abs(rng.standard_normal(6)), rng.uniform(0.3, 3, 6)
    for weights, tensor in ((1.0, 1.0), (w, torch.as_tensor(w))):
        got = lp.project(torch.as_tensor(v), p, 0.8, tensor)
        np.testing.assert_allclose(got.numpy(), lp.project(v, p, 0.8, weights), atol=1e-13)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 4.0])
def test_projection_by_a_general_solver(p):
    rng = np.random.default_rng(1)
    v, w = abs(rng.standard_normal(4)), rng.uniform(0.5, 2, 4)
    inside = {"type": "ineq", "fun": lambda t: 1 - ((w * t) ** p).sum()}
    bounds = [(0, None)] * 4
    start = 0.1 * np.ones(4)
    best = minimize(lambda t: ((t - v) ** 2).sum(), start, bounds=bounds, constraints=[inside], tol=1e-14)
    np.testing.assert_allclose(lp.project(v, p, 1.0, w), best.x, atol=1e-6)


def test_wrong_projections_fail_the_conditions():
    v, w = np.array([3.0, 1.0, 0.5]), np.array([2.0, 1.0, 0.5])
    right = lp.project(v, 1.0, 1.0, w)
    check_projection(v, 1.0, 1.0, w, right)
    by_ray = v / float(lp.value(w * v, 1.0))
    unweighted = lp.project(v, 1.0, 1.0)
    for wrong in (by_ray, unweighted, right * 1.001, right * 0.999, np.zeros(3)):
        with pytest.raises(AssertionError):
            check_projection(v, 1.0, 1.0, w, wrong)


@pytest.mark.parametrize("p", [1.0, 1.5, 3.0, math.inf])
def test_far_points_lose_no_digits(p):
    # v = far + fine: near the top of the simplex the fine part decides, and a threshold from 0 would drown it.
    v = 1e12 + np.array([0.0, 0.25, 0.5])
    t = lp.project(v, p, 1.0)
    assert float(lp.value(t, p)) == pytest.approx(1, rel=1e-12)
    if p == 1:
        np.testing.assert_allclose(t, [1 / 12, 1 / 3, 7 / 12], atol=1e-15)


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("c", [0.0, 1e-8, 0.3, 7.0, 1e8])
def test_shrunk_length_by_its_condition(p, c):
    # ‖v − t‖_q = c ‖t‖_p with t the projection onto the ball of that radius.
    v = np.array([3.0, 1.0, 1.0, 0.2, 0.0])
    length = float(lp.shrunk_length(v, p, np.float64(c)))
    t = lp.project(v, p, length)
    assert float(lp.value(t, p)) == pytest.approx(length, rel=1e-13)
    assert float(lp.value(abs(v - t), lp.conjugate(p))) == pytest.approx(c * length, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("p", EXPONENTS)
def test_maximiser_attains_the_dual_value(p):
    for v in (np.array([3.0, 1.0, 0.0]), np.ones(4), np.array([1e-300, 1e-200]), np.array([1e300, 1.0])):
        t = lp.maximiser(v, p)
        assert float(lp.value(t, p)) <= 1 + 1e-12
        assert float((v / v.max() * t).sum()) == pytest.approx(float(lp.value(v / v.max(), lp.conjugate(p))), rel=1e-12)
    np.testing.assert_array_equal(lp.maximiser(np.zeros(3), p), np.zeros(3))


def test_conjugate_exponents():
    for p in EXPONENTS:
        q = lp.conjugate(p)
        assert (1 / p + 1 / q) == pytest.approx(1, abs=1e-15)
        assert lp.conjugate(q) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_crossing_finds_roots_and_ends(sign):
    for kind in (np.float64, lambda x: torch.tensor(x, dtype=torch.float64)):
        found = lp.crossing(lambda x: x**3 - 2, kind(0.0), kind(2.0))
        assert float(found) == pytest.approx(2 ** (1 / 3), rel=1e-14)
        end = lp.crossing(lambda x: sign + 0 * x, kind(1.0), kind(2.0))
        assert float(end) == pytest.approx(1 if sign > 0 else 2)
