"""The flow against closed forms, conserved quantities, a second integrator and a second solver of its steps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from maxmargin.models import problems
from maxmargin.models.blocks import flatten, unflatten
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.flow import FlowError, flow
from maxmargin.verify.engine.implicit_step import implicit_step
from maxmargin.verify.engine.run import starts

GRID = np.array([0.0, 0.5, 1.0, 2.0, 4.0])


def start(problem, seed=1, scale=0.3):
    return {k: b[0].numpy() for k, b in starts(problem, 1, seed=seed, scale=scale).items()}


def gaps_between(a, b):
    return max(np.abs(a.theta[k] - b.theta[k]).max() for k in a.theta)


@pytest.mark.parametrize("method", ["implicit", "ivp"])
@pytest.mark.parametrize("norm", ["l2", "linf", "entrywise:1.5"])
def test_towards_one_point_the_flow_is_a_straight_line(norm, method):
    """θ(N) = θ₀ − N lmo(−x): there the gradient never turns."""
    problem = problems.get("point:x=3:4@linear")
    theta0 = start(problem)
    got = flow(problem, norm, theta0, GRID, method=method, tol=1e-6)
    along = get_norm(norm).lmo({"w": -np.array([3.0, 4.0])})["w"]
    # A step with a deficit of 1e-11 may be off by its root, per unit of N.
    np.testing.assert_allclose(got.theta["w"], theta0["w"] + GRID[:, None] * along, atol=1.3e-5)
    np.testing.assert_allclose(got.margin, got.theta["w"] @ [3.0, 4.0], rtol=1e-12)
    assert got.travelled.tolist() == GRID.tolist()


@pytest.mark.parametrize(
    ("spec", "norm"), [("binary@linear", "l2"), ("binary@linear", "entrywise:1.7"), ("binary@relu2:h=2", "l2")]
)
def test_two_integrators_agree(spec, norm):
    problem = problems.get(spec)
    theta0 = start(problem)
    fine = flow(problem, norm, theta0, GRID, method="ivp", tol=1e-9)
    distances = [gaps_between(flow(problem, norm, theta0, GRID, tol=tol), fine) for tol in (1e-3, 1e-4)]
    assert distances[1] <= 1e-3
    assert distances[1] <= 0.3 * distances[0]  # a step's error is of second order or better
    assert (
        gaps_between(flow(problem, norm, theta0, GRID, tol=1e-4), fine) <= flow(problem, norm, theta0, GRID).error[-1]
    )


def test_the_l2_flow_conserves_the_balance_of_layers():
    """d‖W_k‖²/dN is the same multiple of d_k for every layer, d_k its degree (Euler's identity, block by block)."""
    problem = problems.get("binary@relu2:h=4")
    got = flow(problem, "l2", start(problem), GRID, method="ivp", tol=1e-9)
    size = {k: (b**2).reshape(len(GRID), -1).sum(axis=1) for k, b in got.theta.items()}
    degrees = problem.model.block_degrees
    balance = size["W"] / degrees["W"] - size["a"] / degrees["a"]
    assert degrees["W"] != degrees["a"]
    np.testing.assert_allclose(balance, balance[0], atol=1e-6)
    assert np.ptp(size["W"]) > 1
    assert np.ptp(size["W"] - size["a"]) > 0.1  # the spoiled twin: without the degrees nothing is conserved


@pytest.mark.parametrize(("method", "error"), [("implicit", 1e-3), ("ivp", 1e-3)])
def test_the_l2_flow_of_diagonal_networks_conserves_each_coordinate(method, error):
    """f = Σ u_j v_j x_j keeps u_j² − v_j² (and not |u_j| − |v_j|, which the sign flow keeps)."""
    problem = problems.get("binary@diagonal:depth=2")
    theta0 = {"u1": np.linspace(0.5, 1.0, 6), "u2": np.linspace(0.3, -0.2, 6)}
    got = flow(problem, "l2", theta0, GRID, method=method)
    u, v = np.abs(got.theta["u1"]), np.abs(got.theta["u2"])
    np.testing.assert_allclose(u**2 - v**2, np.broadcast_to(u[0] ** 2 - v[0] ** 2, u.shape), atol=error)
    assert np.ptp(u - v, axis=0).max() > 0.2


def test_the_sign_flow_keeps_the_other_difference():
    """Where no weight slides: one sample, for which each product grows at full speed."""
    problem = problems.get("point:x=1:2@diagonal:depth=2")
    got = flow(problem, "linf", {"u1": np.array([0.5, 0.9]), "u2": np.array([0.3, 0.2])}, GRID)
    u, v = got.theta["u1"], got.theta["u2"]
    np.testing.assert_allclose(u - v, np.broadcast_to(u[0] - v[0], u.shape), atol=1e-9)
    assert np.ptp(u**2 - v**2, axis=0).max() > 1


def _oracle(problem):
    A = flatten(problem.jacobian(start(problem)), problem.shapes)

    def f(x):
        m = A @ x
        return -A.T @ np.exp(-m - np.logaddexp.reduce(-m))

    return A, f


def test_an_implicit_step_is_the_minimum_over_the_ball():
    """In the ℓ∞ ball, against scipy's L-BFGS-B with bounds."""
    problem = problems.get("binary:n=9,d=6,seed=2@linear")
    (A, f), theta = _oracle(problem), 3.0 * start(problem)["w"]
    for h in (0.01, 0.3, 3.0):
        got = implicit_step(f, theta, get_norm("linf"), problem.shapes, h, guess=np.zeros(6), curvature=1e-3, tol=1e-11)

        def log_loss(v):
            return np.logaddexp.reduce(-A @ (theta + v))

        other = minimize(log_loss, np.zeros(6), jac=lambda v: f(theta + v), bounds=[(-h, h)] * 6, tol=1e-14)
        assert got.deficit <= 1e-11
        assert np.abs(got.v).max() <= h * (1 + 1e-12)
        assert log_loss(got.v) <= other.fun + 1e-9 * h
        np.testing.assert_allclose(got.v, other.x, atol=1e-4 * h)
    assert (np.abs(got.v) < 0.99 * h).any()  # the longest step slides: not every weight moves at full speed


@pytest.mark.parametrize(("spec", "norm"), [("multiclass@linear", "spectral"), ("blocks@linear", "hybrid")])
def test_each_implicit_step_is_aligned_with_the_gradient_at_its_end(spec, norm):
    problem, ball = problems.get(spec), get_norm(norm)
    shapes = problem.shapes
    _, f = _oracle(problem)
    theta = flatten(start(problem), shapes)
    got = implicit_step(f, theta, ball, shapes, 0.1, guess=0 * theta, curvature=1.0)
    g = f(theta + got.v)
    aligned = -float(g @ got.v) / (0.1 * float(ball.dual(unflatten(g, shapes))))
    assert aligned == pytest.approx(1 - got.deficit, abs=1e-12)
    assert aligned >= 1 - 1e-8
    assert float(ball.value(unflatten(got.v, shapes))) <= 0.1 * (1 + 1e-9)


@pytest.mark.parametrize("spec", ["multiclass@linear", "binary@relu2:h=4", "binary@deep-linear:depth=3,width=3"])
def test_the_gradient_has_a_native_form(spec, caplog):
    problem = problems.get(spec)
    start = {k: b[0].numpy() for k, b in starts(problem, 1, seed=0, scale=0.1).items()}
    flow(problem, "l2", start, at=[0.0, 0.1])
    assert "no native form" not in caplog.text


def test_what_a_path_says_of_itself():
    problem = problems.get("blocks@linear")
    got = flow(problem, "hybrid", start(problem), GRID)
    assert got.deficit <= 1e-7
    assert (np.diff(got.error) >= 0).all()
    assert got.steps > 10
    assert got.calls > got.steps
    norm = get_norm("hybrid")
    for t in range(1, len(GRID)):
        moved = norm.value({k: b[t] - b[t - 1] for k, b in got.theta.items()})
        assert float(moved) <= (GRID[t] - GRID[t - 1]) * (1 + 1e-3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"at": [1.0, 0.5]}, "increasing values of N"),
        ({"at": [-1.0, 0.5]}, "from 0 on"),
        ({"at": []}, "increasing values"),
        ({"at": [1.0], "method": "euler"}, "method is 'euler'; needed is 'implicit' or 'ivp'"),
        ({"at": [1.0], "tol": 0.0}, "tol is 0.0; needed is a positive number"),
        ({"at": [50.0], "norm": "linf", "method": "ivp", "most": 500}, "500 evaluations .* method='implicit'"),
    ],
)
def test_what_cannot_be_integrated_is_refused(arguments, text):
    problem = problems.get("binary@linear")
    options = {"norm": "l2"} | arguments
    with pytest.raises(FlowError, match=text):
        flow(problem, options.pop("norm"), start(problem), options.pop("at"), **options)
