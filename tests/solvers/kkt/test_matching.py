"""Projections and their derivatives, the natural residual, and matching: graded by code that the solver did not use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maxmargin.models import problems
from maxmargin.models.blocks import flatten, scale, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.answers import answers
from maxmargin.solvers.exact.kkt_certificate import Stated, as_floats
from maxmargin.solvers.kkt.descent import descend, small_starts
from maxmargin.solvers.kkt.gap import kkt_gap
from maxmargin.solvers.kkt.levenberg import levenberg, newton
from maxmargin.solvers.kkt.matching import Match, match
from maxmargin.solvers.kkt.projection import Ball
from maxmargin.solvers.kkt.proxlinear import ProxLinear
from maxmargin.solvers.kkt.residual import Pattern, ResidualMap, natural_residual, project_simplex
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import NORMS, NormError, ParameterNorm, get_norm
from maxmargin.solvers.routes.slsqp import slsqp

DIFFERENCES = 1e-7  # central differences with step 1e-6: truncation 1e-12 · third derivatives, rounding 1e-10
KKT = 1e-8  # what a match promises

SHAPES = {"W": (4, 3), "V": (3, 5), "a": (4,)}
SPECS = [
    "l1",
    "l2",
    "linf",
    "spectral",
    "nuclear",
    "hybrid:2",
    "schatten:3",
    "schatten:1.5",
    "entrywise:1.5",
    "entrywise:4",
    "maxrow",
    "sumrow",
    "maxcolumn",
    "sumcolumn",
    "spectral;sum",  # no formula: central differences
    "blocks:W=2*spectral,V=0.5*maxrow,a=3*l2;max",
    "blocks:W=2*nuclear,V=0.5*l1,a=3*l1;sum",
    "blocks:W=2*l2,V=0.5*l2,a=3*l2;l2",
]
PAPER = ["l2", "linf", "spectral", "hybrid"]
NETWORKS = ["binary@relu2-fixed:h=6", "binary@relu2:h=6", "binary@deep-linear:depth=3,width=4"]


def differences(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    columns = [(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(len(x))]
    return np.stack(columns, axis=1)


# --- projections


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [0.2, 1.0, 4.0])
def test_projection_is_the_norms_own_and_its_derivative_is_right(spec: str, size: float) -> None:
    ball = Ball(get_norm(spec), SHAPES)
    z = size * np.random.default_rng(7).standard_normal(31)
    projection = ball.project(z)
    np.testing.assert_allclose(projection.point, ball.nearest(z), atol=1e-14)
    np.testing.assert_allclose(
        projection.derivative(np.eye(31)), differences(ball.nearest, z), atol=20 * DIFFERENCES, err_msg=spec
    )


@pytest.mark.parametrize("spec", ["spectral", "nuclear", "hybrid"])
@pytest.mark.parametrize("sigma", [(3.0, 3.0, 0.5), (3.0, 0.4, 0.4), (2.0, 2.0, 2.0), (2.0, 0.0, 0.0), (3.0, 3.0, 0.0)])
def test_derivative_at_ties_and_at_deficient_rank(spec: str, sigma: tuple[float, ...]) -> None:
    rng = np.random.default_rng(3)
    U, V = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((4, 3), (3, 3)))
    shapes = {"W": (4, 3)}
    ball = Ball(get_norm(spec), shapes)
    z = ((U * np.array(sigma)) @ V.T).ravel()
    np.testing.assert_allclose(
        ball.project(z).derivative(np.eye(12)), differences(ball.nearest, z), atol=20 * DIFFERENCES
    )


def test_derivative_on_a_piece_equals_the_true_one_on_its_own_piece_only() -> None:
    ball = Ball(get_norm("spectral"), {"W": (3, 4)})
    z = 1.5 * np.random.default_rng(0).standard_normal(12)
    projection = ball.project(z)
    own = projection.kinks > 0
    assert own.any()
    assert not own.all()
    np.testing.assert_array_equal(ball.project(z, own).point, projection.point)
    other = ball.project(z, np.ones(3, dtype=bool))
    np.testing.assert_allclose(np.linalg.svd(other.point.reshape(3, 4))[1], 1.0, atol=1e-14)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(z=hnp.arrays(float, st.integers(1, 7), elements=st.floats(-5, 5, width=32)))
def test_simplex_projection_by_its_variational_inequality(z: np.ndarray) -> None:
    point = project_simplex(z)
    assert point.min() >= 0
    assert point.sum() == pytest.approx(1, abs=1e-13)
    assert ((z - point) @ (np.eye(len(z)) - point).T).max() <= 1e-12  # ⟨z − P, e_i − P⟩ ≤ 0 at every vertex


# --- the residual


@pytest.mark.parametrize("spec", [*PAPER, "nuclear", "blocks:W=2*spectral,a=0.7*l2;max"])
def test_jacobian_of_the_residual_by_differences(spec: str) -> None:
    problem = problems.get("binary@relu2:h=3")
    norm, rng = get_norm(spec), np.random.default_rng(2)
    theta = {name: rng.standard_normal(shape) for name, shape in problem.shapes.items()}
    theta["a"] *= np.sign(float(problem.min_margin(theta))) or 1.0
    lam = rng.dirichlet(np.ones(problem.n_margins))
    residual = ResidualMap(problem, Ball(norm, problem.shapes), step=0.1, rate=0.003)
    x = residual.join(scale(theta, 1 / float(norm.value(theta))), lam)
    r, J = residual.linearize(x)
    np.testing.assert_allclose(r, residual.value(x), atol=1e-13)
    np.testing.assert_allclose(J, differences(residual.value, x), atol=50 * DIFFERENCES)


def test_jacobian_of_the_residual_at_tied_singular_values() -> None:
    problem = problems.get("binary@relu2-fixed:h=4")
    Q = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 4)))[0].T
    residual = ResidualMap(problem, Ball(get_norm("spectral"), problem.shapes), step=0.0, rate=0.01)
    x = residual.join({"W": 2 * Q}, np.full(problem.n_margins, 1 / problem.n_margins))
    np.testing.assert_allclose(residual.linearize(x)[1], differences(residual.value, x), atol=50 * DIFFERENCES)


G_FAMILIES = [problems.get(name) for name in problems.THEOREMS if name.startswith("G")]
RECORDS = [record for problem in G_FAMILIES if problem.degree > 1 for record in answers(problem)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_residual_is_zero_at_exact_points_and_not_beside_them(record: Stated) -> None:
    problem, norm = record.problem, get_norm(record.norm)
    theta, lam = as_floats(record.theta), np.array([float(v) for v in record.multipliers])
    assert natural_residual(problem, norm, theta, lam) <= 1e-14
    assert natural_residual(problem, norm, scale(theta, 7.3), lam) <= 1e-14
    # On a face of optima a small step may stay optimal, so the direction is one that lowers the margin.
    rng = np.random.default_rng(0)
    q = float(problem.min_margin(theta)) / float(norm.value(theta)) ** problem.degree
    for step in np.repeat([0.02, 0.1, 0.3], 20):
        moved = {name: block + step * rng.standard_normal(block.shape) for name, block in theta.items()}
        other = float(problem.min_margin(moved)) / float(norm.value(moved)) ** problem.degree
        if other > 0 and kkt_gap(problem, moved, norm).value > 1e-3 and other < q * (1 - 1e-3):
            assert natural_residual(problem, norm, moved, lam) > 1e-4
            return
    pytest.fail("no spoiled twin was found")


def test_residual_sees_wrong_multipliers() -> None:
    problem, norm = problems.get("binary@deep-linear:depth=2,width=4"), get_norm("l2")
    found = match(problem, end(problem, "l2", 300), norm)
    lam = found.multipliers
    assert natural_residual(problem, norm, found.theta, lam) <= KKT
    for wrong in (np.roll(lam, 1), np.full(len(lam), 1 / len(lam)), 1.01 * lam, lam - 0.01):
        assert natural_residual(problem, norm, found.theta, wrong) > 1e-4


def test_residual_is_infinite_where_it_is_undefined() -> None:
    problem, norm = problems.get("binary@relu2:h=3"), get_norm("linf")
    zero = {name: np.zeros(shape) for name, shape in problem.shapes.items()}
    lam = np.full(problem.n_margins, 1 / problem.n_margins)
    assert natural_residual(problem, norm, zero, lam) == np.inf
    wrong = {"W": np.ones((3, 6)), "a": -np.ones(3)}
    assert float(problem.min_margin(wrong)) <= 0
    assert natural_residual(problem, norm, wrong, lam) == np.inf
    assert natural_residual(problem, norm, wrong, lam * np.nan) == np.inf


# --- the iterations


def test_levenberg_and_newton_solve_what_they_are_for() -> None:
    def linearize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([x @ x - 1, 0.0]), np.vstack([2 * x, 0 * x])  # a circle of solutions, J of rank 1

    start = np.array([0.6, 1.2])
    end = levenberg(lambda x: linearize(x)[0], linearize, start, span=2, cap=1.0)
    assert end.size < 1e-12
    np.testing.assert_allclose(end.x, start / np.linalg.norm(start), atol=1e-9)  # the nearest of them
    assert newton(linearize, start, span=2, cap=1.0).size < 1e-9

    kinked = lambda x: (np.maximum(x, 0.3 * x) - 1, np.diag(np.where(x > 0, 1.0, 0.3)))  # noqa: E731
    assert newton(kinked, np.array([-5.0]), span=1, cap=10.0).x == pytest.approx(1.0)
    far = levenberg(lambda x: kinked(x)[0], kinked, np.array([-5.0]), span=1, cap=0.01, iterations=10)
    assert far.x[0] < -4.8  # no step is longer than the cap


def end(problem: Problem, norm: str, steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    torch.set_num_threads(1)
    ends = descend(problem, get_norm(norm), small_starts(problem, range(seed, seed + 1)), steps=steps)
    return {name: block[0].numpy() for name, block in ends.items()}


CASES = [(spec, norm) for spec in NETWORKS for norm in PAPER if (spec, norm) != (NETWORKS[0], "hybrid")]  # no vector


@pytest.fixture(scope="module")
def matched() -> list[tuple[Problem, str, dict[str, np.ndarray], Match]]:
    """Three short runs a network and norm, each matched. (The benchmark does the same at full length.)"""
    torch.set_num_threads(1)
    found = []
    for spec, norm in CASES:
        problem, runs = problems.get(spec), range(3)
        ends = descend(problem, get_norm(norm), small_starts(problem, runs), steps=400)
        for k in runs:
            theta = {name: block[k].numpy() for name, block in ends.items()}
            assert float(problem.min_margin(theta)) > 0
            found.append((problem, norm, theta, match(problem, theta, get_norm(norm))))
    return found


def test_ends_of_trajectories_are_matched(matched: list[tuple[Problem, str, dict[str, np.ndarray], Match]]) -> None:
    # One of the 33, a degenerate point whose multipliers vanish together, is known to be approached only to 1e-5.
    assert np.mean([m.success for *_, m in matched]) >= 0.95
    assert max(m.residual for *_, m in matched) < 1e-3
    assert np.median([m.distance for *_, m in matched]) < 0.1
    assert max(m.distance for *_, m in matched) < 0.7


def test_matches_hold_by_code_that_did_not_find_them(
    matched: list[tuple[Problem, str, dict[str, np.ndarray], Match]],
) -> None:
    for problem, norm, theta, found in matched:
        if not found.success:
            continue
        assert found.residual <= KKT
        # Optimal multipliers of the gap by another solver, and nothing of the residual.
        assert kkt_gap(problem, found.theta, get_norm(norm)).value <= 1e-6
        assert float(get_norm(norm).value(found.theta)) == pytest.approx(1)
        a, b = (flatten(t, problem.shapes) for t in (theta, found.theta))
        assert found.distance == pytest.approx(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)))
        assert found.margin == pytest.approx(float(problem.min_margin(found.theta)))


SADDLES = {
    "F2": ("point:x=1:2@diagonal:depth=2", {"u1": [1.0, 0.0], "u2": [1.0, 0.0]}, 0.5),
    "F4": ("point:x=1:1@diagonal:depth=3", {u: [1.0, 1.0] for u in ("u1", "u2", "u3")}, 6**-1.5 * 2),
}


@pytest.mark.parametrize("name", SADDLES)
def test_matching_does_not_climb_away_from_a_saddle(name: str) -> None:
    spec, point, margin = SADDLES[name]
    problem, norm = problems.get(spec), get_norm("l2")
    rng = np.random.default_rng(1)
    near = {block: np.array(v) + 0.02 * rng.standard_normal(2) for block, v in point.items()}
    found = match(problem, near, norm)
    assert found.success
    assert found.margin == pytest.approx(margin, rel=1e-9)  # the saddle's own, not a better point's
    assert found.distance < 0.05
    climbed = ProxLinear(problem, norm).run(flatten(near, problem.shapes), steps=200)
    assert climbed is not None
    ascended = float(problem.min_margin(unflatten(climbed.theta, problem.shapes)))
    assert ascended > 1.2 * margin  # so staying was not for want of somewhere to go


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_three_routes_reach_points_of_one_margin(norm: str) -> None:
    problem, N = problems.get("binary@deep-linear:depth=2,width=3"), get_norm(norm)
    theta = end(problem, norm, 300)
    matched = match(problem, theta, N).margin
    smooth = slsqp(problem, N, theta)
    assert smooth is not None
    assert float(problem.min_margin(smooth)) / float(N.value(smooth)) ** 2 == pytest.approx(matched, rel=1e-7)
    ascent = ProxLinear(problem, N).run(flatten(theta, problem.shapes), steps=100)
    assert ascent is not None
    assert float(problem.min_margin(unflatten(ascent.theta, problem.shapes))) == pytest.approx(matched, rel=1e-6)


def test_slsqp_declines_norms_that_are_not_smooth_programs() -> None:
    problem = problems.get("binary@relu2:h=3")
    assert slsqp(problem, get_norm("spectral"), end(problem, "l2", 300)) is None


def test_an_end_that_does_not_separate_is_not_matched() -> None:
    problem = problems.get("binary@relu2:h=3")
    for theta in ({"W": np.ones((3, 6)), "a": -np.ones(3)}, {"W": np.zeros((3, 6)), "a": np.zeros(3)}):
        found = match(problem, theta, get_norm("l2"))
        assert not found.success
        assert found.residual == np.inf
        assert found.gap == 1


def test_an_exhausted_search_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problems.get("binary@relu2:h=3")
    theta = end(problem, "linf", 300)
    monkeypatch.setattr("maxmargin.solvers.kkt.matching._attempts", lambda *args: iter(()))
    found = match(problem, theta, get_norm("linf"))
    assert not found.success
    assert found.residual > KKT
    assert found.distance == 0
    assert found.route == "as given"


def test_patterns_name_the_pieces_around_a_point() -> None:
    problem, norm = problems.get("binary@relu2-fixed:h=4"), get_norm("linf")
    found = match(problem, end(problem, "linf", 300), norm)
    residual = ResidualMap.at(problem, norm, found.theta, found.multipliers)
    x = residual.join(found.theta, found.multipliers)
    ball, active = residual.kinks(x)
    assert np.linalg.norm(residual.value(x)) < 1e-7
    np.testing.assert_array_equal(active > 1e-9, found.multipliers > 1e-9)
    piece = ResidualMap(problem, residual.ball, residual.step, residual.rate, Pattern(ball > 0, active > 0))
    np.testing.assert_allclose(piece.value(x), residual.value(x), atol=1e-13)
    np.testing.assert_allclose(piece.linearize(x)[1], residual.linearize(x)[1], atol=1e-13)


def test_a_norm_without_a_convex_program_is_matched_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, norm = problems.get("binary@deep-linear:depth=2,width=3"), get_norm("schatten:3")
    theta = end(problem, "l2", 300)
    full = match(problem, theta, norm)

    def refuse(self: ParameterNorm, variables: object) -> None:
        raise NormError("no cvxpy form is known")

    monkeypatch.setattr(ParameterNorm, "atom", refuse)
    assert ProxLinear.build(problem, norm) is None
    lam = np.full(problem.n_margins, 1 / problem.n_margins)
    found = match(problem, theta, norm, multipliers=lam)
    assert full.success
    assert found.success
    assert found.margin == pytest.approx(full.margin, rel=1e-8)


@pytest.mark.parametrize("spec", [*NORMS, "schatten:3", "entrywise:1.5", "hybrid:3", "spectral;sum"])
def test_on_a_convex_problem_every_norm_is_matched_to_the_certified_optimum(spec: str) -> None:
    problem, norm = problems.get("multiclass:n=6,d=5,k=3@linear"), get_norm(spec)
    optimum = solve_margin(problem, norm)
    rng = np.random.default_rng(0)
    near = {
        name: block + 0.05 * np.abs(block).max() * rng.standard_normal(block.shape)
        for name, block in optimum.theta.items()
    }
    found = match(problem, near, norm)
    assert found.success
    assert found.margin == pytest.approx(optimum.margin, rel=2 * max(optimum.gap, 1e-9))


def test_projection_onto_the_simplex_at_the_ends_of_the_numbers():
    np.testing.assert_allclose(project_simplex(np.array([1e300, 1e300, 0.0])), [0.5, 0.5, 0.0])
    np.testing.assert_allclose(project_simplex(1e17 + np.array([0.0, -1e16])), [1.0, 0.0])
    assert np.isnan(project_simplex(np.array([np.inf, 1.0]))).all()
    assert np.isnan(project_simplex(np.array([np.nan, 1.0]))).all()
