"""The distance to the set of optimal solutions, against sets known in closed form and against another formulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from maxmargin.models import problems
from maxmargin.models.blocks import BlockError
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear import optimal_face as face
from maxmargin.solvers.linear.optimal_face import nearest_on_face
from maxmargin.solvers.linear.optimum import MarginError, gradients, solve_margin
from maxmargin.solvers.norms import get_norm

NEAR = 1e-7  # the cone program stops at 1e-9 or better on these sizes
RESOLUTION = 5e-5  # √(2 · thickness), where the ball is curved
J = np.ones((4, 4))


@pytest.fixture(scope="module")
def basis() -> Problem:
    return Problem.of("G2", MulticlassLinear(4, 4), np.eye(4), np.arange(4))


def distance_to_face(*given):
    return nearest_on_face(*given).distance


class TestSpectralSegment:
    """G2 under the spectral norm: the face is more than a point; it contains {I − c J : 0 ≤ c ≤ 2/k}."""

    @pytest.mark.parametrize("c", [0.0, 0.1, 0.25, 0.4, 0.5])
    def test_zero_everywhere_on_it(self, basis, c):
        norm = get_norm("spectral")
        solution = solve_margin(basis, norm)
        for size in (1e-3, 1.0, 1e3):
            assert distance_to_face(basis, {"W": size * (np.eye(4) - c * J)}, norm, solution) <= NEAR
        assert np.linalg.norm(solution.theta["W"] - (np.eye(4) - c * J)) > 0.01 or c == 0.25

    @given(seed=st.integers(0, 10**6))
    @settings(derandomize=True, deadline=None, max_examples=8)
    def test_beside_it(self, basis, seed):
        # The face is {W : ‖W‖ ≤ 1, W_jj − W_cj ≥ 1}. Whatever it is exactly, no point of the known segment is nearer
        # than the reported distance, and the reported point is on the face.
        norm = get_norm("spectral")
        solution = solve_margin(basis, norm)
        W = np.eye(4) + 0.3 * np.random.default_rng(seed).standard_normal((4, 4))
        found = nearest_on_face(basis, {"W": W}, norm, solution)
        unit = W / np.linalg.norm(W, 2)
        segment = minimize_scalar(lambda c: np.linalg.norm(np.eye(4) - c * J - unit), bounds=(0, 0.5), method="bounded")
        assert 0 < found.distance <= segment.fun / np.linalg.norm(unit) + NEAR
        point = found.theta["W"]
        assert np.linalg.norm(point, 2) <= 1 + 1e-8
        assert (np.diag(point)[None, :] - point + 10 * np.eye(4)).min() >= 1 - 1e-8
        assert found.distance == pytest.approx(np.linalg.norm(point - unit) / np.linalg.norm(unit), rel=1e-12)
        # Variational inequality of the projection against the segment's ends and the solution itself: the face is made
        # thick by THICKNESS, and a ball's surface bends away from it by the root of that.
        for other in (np.eye(4), np.eye(4) - J / 2, solution.theta["W"]):
            assert np.sum((unit - point) * (other - point)) <= np.sqrt(2 * face.THICKNESS) * np.linalg.norm(
                unit - point
            )


class TestUniqueOptima:
    @pytest.mark.parametrize(
        ("name", "optimum"),
        [("linf", 2 * np.eye(4) - J), ("l2", np.eye(4) - J / 4), ("nuclear", np.eye(4) - J / 4)],
    )
    def test_distance_to_a_single_point(self, basis, name, optimum):
        norm = get_norm(name)
        solution = solve_margin(basis, norm)
        optimum = optimum / float(norm.value({"W": optimum}))
        tolerance = NEAR if name != "nuclear" else RESOLUTION
        assert distance_to_face(basis, {"W": 7 * optimum}, norm, solution) <= NEAR
        for W in (np.eye(4), np.eye(4) + 0.1 * np.arange(16).reshape(4, 4) / 16):
            unit = W / float(norm.value({"W": W}))
            expected = np.linalg.norm(unit - optimum) / np.linalg.norm(unit)
            assert distance_to_face(basis, {"W": W}, norm, solution) == pytest.approx(expected, abs=tolerance)


class TestPolyhedralFace:
    def test_the_free_coordinate_of_linf(self):
        # One point x = (1, 0): θ = (1, s) is optimal for all |s| ≤ 1.
        problem = Problem.of("x", BlockLinear((("w", (2,)),)), np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([1, -1]))
        norm = get_norm("linf")
        solution = solve_margin(problem, norm)
        for s in (-1.0, -0.3, 0.0, 0.9):
            assert distance_to_face(problem, {"w": np.array([1.0, s])}, norm, solution) <= NEAR
        # (0.5, 1): already of norm 1, nearest is (1, 1).
        expected = 0.5 / np.hypot(0.5, 1)
        assert distance_to_face(problem, {"w": np.array([0.5, 1.0])}, norm, solution) == pytest.approx(
            expected, abs=NEAR
        )

    @pytest.mark.parametrize("name", ["linf", "l1", "spectral", "hybrid"])
    def test_two_formulations_agree(self, name, monkeypatch):
        import cvxpy as cp

        # Thicker than by default, so that a squared distance can be solved for in cvxpy to five digits too.
        monkeypatch.setattr(face, "THICKNESS", 1e-6)

        problem, norm = problems.get("blocks@linear"), get_norm(name)
        solution = solve_margin(problem, norm)
        rng = np.random.default_rng(0)
        theta = {key: block + 0.2 * rng.standard_normal(block.shape) for key, block in solution.theta.items()}
        size = float(norm.value(theta))
        z = {key: cp.Variable(block.shape) for key, block in theta.items()}
        vector = cp.hstack([cp.vec(z[key], order="C") for key in problem.shapes])
        target = np.concatenate([theta[key].ravel() / size for key in problem.shapes])
        away = cp.Problem(
            cp.Minimize(cp.sum_squares(vector - target)),
            [norm.atom(z) <= 1, gradients(problem) @ vector >= solution.margin * (1 - 1e-6)],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "inaccurate": the face has next to no interior
            away.solve(solver="CLARABEL")
        expected = np.sqrt(away.value) / np.linalg.norm(target)
        assert distance_to_face(problem, theta, norm, solution) == pytest.approx(expected, abs=2e-5)
        assert expected > 0.01
        # The default face is part of this one, and nearly all of it: √(2e-6) bounds the difference.
        monkeypatch.undo()
        assert expected - 1e-5 <= distance_to_face(problem, theta, norm, solution) <= expected + 2e-3


@pytest.mark.parametrize("name", ["l1", "l2", "linf", "spectral", "nuclear", "hybrid"])
def test_the_solution_itself_is_at_distance_zero_and_others_are_not(name):
    problem, norm = problems.get("multiclass@linear"), get_norm(name)
    solution = solve_margin(problem, norm)
    assert distance_to_face(problem, solution.theta, norm, solution) <= 1e-12
    rng = np.random.default_rng(0)
    off = {"W": solution.theta["W"] + 0.05 * rng.standard_normal((3, 8))}
    assert distance_to_face(problem, off, norm, solution) >= 1e-2


@pytest.mark.parametrize("theta", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_no_direction_no_distance(basis, theta):
    norm = get_norm("l2")
    with pytest.raises(MarginError, match="finite θ that is not zero"):
        distance_to_face(basis, {"W": theta}, norm, solve_margin(basis, norm))


def test_wrong_shapes_are_named(basis):
    norm = get_norm("l2")
    with pytest.raises(BlockError, match=r"block 'W' has shape \(3, 3\)"):
        distance_to_face(basis, {"W": np.eye(3)}, norm, solve_margin(basis, norm))
