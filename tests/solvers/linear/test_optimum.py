"""The margin problem of linear models: known optima, both bounds recomputed here, a second route, refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxmargin.models import problems
from maxmargin.models.datasets.synthetic import push, push_multiclass
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear import optimum as margin_module
from maxmargin.solvers.linear.dual_check import margin_by_duality
from maxmargin.solvers.linear.optimum import MarginError, NotSeparable, gradients, solve_margin
from maxmargin.solvers.linear.separability import conflict
from maxmargin.solvers.norms import NORMS, get_norm
from maxmargin.solvers.routes.route import Route
from maxmargin.solvers.routes.saddle import Bounds, InnerSolver, within

CERTIFIED = 1e-9  # what solve_margin promises
SECOND = 1e-6  # Clarabel through cvxpy stops at 1e-8; a factor 100 for the conditioning of these data
SPECS = [*NORMS, "hybrid:3", "schatten:3", "entrywise:1.5", "blocks:A=2*spectral,v=linf;sum", "spectral;l2"]


def basis(k: int, s: float = 1.0) -> Problem:
    return Problem.of("G2", MulticlassLinear(k, k), s * np.eye(k), np.arange(k))


def binary(X: np.ndarray, y: np.ndarray, **shapes: tuple[int, ...]) -> Problem:
    blocks = shapes or {"w": (X.shape[1],)}
    return Problem.of("binary", BlockLinear(tuple(blocks.items())), X, y)


def blocks_problem(seed: int = 0, n: int = 9) -> Problem:
    rng = np.random.default_rng(seed)
    teacher = rng.standard_normal(11)
    teacher /= np.linalg.norm(teacher)
    y = np.where(np.arange(n) % 2 == 0, 1, -1)
    return binary(push(rng.standard_normal((n, 11)), y, teacher), y, A=(2, 4), v=(3,))


def gradients_by_hand(X: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """∇(f_{y_i} − f_c) of f = W x, one loop a margin; nothing of the package."""
    rows = []
    for x, label in zip(X, y, strict=True):
        for c in range(k):
            if c != label:
                g = np.zeros((k, len(x)))
                g[label] += x
                g[c] -= x
                rows.append(g)
    return np.array(rows)


class TestKnownOptima:
    @pytest.mark.parametrize("k", [3, 5, 10])
    @pytest.mark.parametrize(
        ("norm", "optimum"),
        [
            ("spectral", lambda k: 1.0),
            ("linf", lambda k: 2.0),
            ("l2", lambda k: (k - 1) ** -0.5),
            ("nuclear", lambda k: 1 / (k - 1)),
        ],
    )
    def test_basis_vectors(self, k, norm, optimum):
        # THEORY G2: x_i = s e_i, one class each.
        for s in (1.0, 3.5):
            solution = solve_margin(basis(k, s), get_norm(norm))
            assert solution.margin == pytest.approx(s * optimum(k), rel=CERTIFIED)
            assert solution.upper == pytest.approx(s * optimum(k), rel=CERTIFIED)

    @pytest.mark.parametrize(("norm", "optimum"), [("l2", 5.0), ("linf", 7.0), ("l1", 4.0), ("spectral", 5.0)])
    def test_one_point_has_the_dual_norm_of_it(self, norm, optimum):
        # THEORY G1: γ = ‖x‖_*, x = (3, 4); a vector is one row, so its spectral norm is ℓ2.
        solution = solve_margin(problems.get("point:x=3:4@linear"), get_norm(norm))
        assert solution.margin == pytest.approx(optimum, rel=1e-12)
        assert solution.multipliers == pytest.approx([1.0])

    def test_one_point_of_two_blocks_under_the_weighted_hybrid_norm(self):
        # max(3 ‖A‖_op, ‖v‖_∞): γ = ‖X_A‖_nuc / 3 + ‖x_v‖_1.
        x = np.array([[3.0, 0.0, 0.0, 4.0, 1.0, -2.0]])
        problem = binary(np.vstack([x, -x]), np.array([1, -1]), A=(2, 2), v=(2,))
        solution = solve_margin(problem, get_norm("hybrid:3"))
        assert solution.margin == pytest.approx(7 / 3 + 3, rel=CERTIFIED)

    def test_opposite_pairs_have_half_their_distance(self):
        X = np.array([[1.0, 0.0], [1.0, 0.25]])
        assert solve_margin(binary(X, np.array([1, -1])), get_norm("linf")).margin == pytest.approx(0.125)


class TestBounds:
    @given(seed=st.integers(0, 10**6), n=st.integers(1, 9), k=st.integers(2, 4), d=st.integers(4, 6))
    @settings(derandomize=True, deadline=None, max_examples=12)
    @pytest.mark.parametrize("name", ["l1", "l2", "linf", "spectral", "nuclear"])
    def test_multiclass_bounds_recomputed_by_hand(self, name, seed, n, k, d):
        rng = np.random.default_rng(seed)
        y = np.concatenate([np.arange(k), rng.integers(0, k, n)])
        X = push_multiclass(rng.standard_normal((len(y), d)), y, np.linalg.qr(rng.standard_normal((d, k)))[0].T)
        norm = get_norm(name)
        solution = solve_margin(Problem.of("drawn", MulticlassLinear(k, d), X, y), norm)
        g, W, lam = gradients_by_hand(X, y, k), solution.theta["W"], solution.multipliers
        value = {"l1": np.abs(W).sum(), "l2": np.linalg.norm(W), "linf": np.abs(W).max()}
        value |= {"spectral": np.linalg.norm(W, 2), "nuclear": np.linalg.norm(W, "nuc")}
        Z = np.einsum("i,ijk->jk", lam, g)
        dual = {"l1": np.abs(Z).max(), "l2": np.linalg.norm(Z), "linf": np.abs(Z).sum()}
        dual |= {"spectral": np.linalg.norm(Z, "nuc"), "nuclear": np.linalg.norm(Z, 2)}
        assert value[name] == pytest.approx(1, rel=1e-12)
        assert lam.min() >= 0
        assert lam.sum() == pytest.approx(1, rel=1e-12)
        assert np.einsum("ijk,jk->i", g, W).min() == pytest.approx(solution.margin, rel=1e-12)
        assert dual[name] == pytest.approx(solution.upper, rel=1e-12)
        assert dual[name] >= solution.margin * (1 - 1e-14)
        assert solution.gap <= CERTIFIED

    @pytest.mark.parametrize("spec", SPECS)
    def test_second_route_agrees(self, spec):
        # The primal, solved by our routes, against the dual problem in cvxpy with the dual norm's own atom.
        for problem in (blocks_problem(), problems.get("multiclass@linear")):
            if spec.startswith("blocks:") and "W" in problem.shapes:
                continue
            norm = get_norm(spec)
            solution = solve_margin(problem, norm)
            assert solution.gap <= CERTIFIED, solution.solver
            assert solution.margin == pytest.approx(margin_by_duality(problem, norm), rel=SECOND)

    def test_the_multipliers_live_on_the_active_margins(self):
        problem = problems.get("multiclass@linear")
        solution = solve_margin(problem, get_norm("spectral"))
        m = problem.margins(solution.theta)
        # Σ λ_i (m_i − q) ≤ upper − margin: complementarity is part of the gap.
        assert solution.multipliers @ (m - m.min()) <= 2 * CERTIFIED * solution.upper
        assert (m > 1.01 * m.min()).any()


class TestNothingIsBelieved:
    def test_a_lying_route_changes_nothing(self):
        class Liar(Route):
            name = "liar"

            @classmethod
            def build(cls, flat):
                return cls()

            def solve(self, A, tol):
                return np.full(A.shape[1], np.nan), -np.ones(len(A))

        class Random(Liar):
            name = "random"

            def solve(self, A, tol):
                rng = np.random.default_rng(0)
                return 1e6 * rng.standard_normal(A.shape[1]), 1e6 * rng.random(len(A))

        from maxmargin.solvers.routes.saddle import ROUTES

        problem = problems.get("multiclass@linear")
        A = gradients(problem)
        solver = InnerSolver(get_norm("l2"), problem.shapes)
        honest = solver.solve(A, within(1e-12))
        mixed = solver.solve(A, within(1e-12), routes=(Liar, Random, *ROUTES))
        assert (mixed.lower, mixed.upper) == pytest.approx((honest.lower, honest.upper), rel=1e-14)
        alone = solver.solve(A, within(1e-12), routes=(Random,))
        assert alone.lower < honest.lower < honest.upper < alone.upper
        assert alone.gap > 0.05

    def test_a_wide_bracket_is_refused(self, monkeypatch):
        problem = basis(3)
        solver = InnerSolver(get_norm("l2"), problem.shapes)

        class Sloppy:
            flat = solver.flat

            def solve(self, A, done, tol):
                good = solver.solve(A, done)
                theta = good.theta + 1e-3 * np.arange(len(good.theta))
                theta /= np.linalg.norm(theta)
                return Bounds(theta, good.lam, float((A @ theta).min()), good.upper, "sloppy")

        monkeypatch.setattr(margin_module, "inner_solver", lambda norm, shapes: Sloppy())
        with pytest.raises(MarginError, match=r"certified bracket is .* rescale the features"):
            solve_margin(problem, get_norm("l2"))


class TestScaling:
    @pytest.mark.parametrize("name", ["l1", "l2", "linf", "spectral", "nuclear", "maxrow"])
    @pytest.mark.parametrize("factor", [1e-8, 1e8])
    def test_uniform_scale_scales_the_margin(self, name, factor):
        X, y = problems.get("multiclass@linear").X.numpy(), problems.get("multiclass@linear").labels
        plain = solve_margin(Problem.of("x", MulticlassLinear(3, 8), X, y), get_norm(name))
        scaled = solve_margin(Problem.of("x", MulticlassLinear(3, 8), factor * X, y), get_norm(name))
        assert scaled.margin == pytest.approx(factor * plain.margin, rel=2 * CERTIFIED)

    @pytest.mark.parametrize("name", ["l1", "l2", "linf", "spectral", "nuclear"])
    @pytest.mark.parametrize("axis", ["features", "samples"])
    @pytest.mark.parametrize("decades", [4, 8])
    def test_uneven_scales_are_solved_or_refused(self, name, axis, decades):
        from maxmargin.solvers.linear.enclosure import enclose

        problem = blocks_problem(1)
        X, y = problem.X.numpy(), problem.labels
        spread = 10.0 ** np.linspace(-decades, decades, X.shape[1 if axis == "features" else 0])
        bad = binary(X * (spread if axis == "features" else spread[:, None]), y, A=(2, 4), v=(3,))
        try:
            solution = solve_margin(bad, get_norm(name))
        except MarginError as refusal:
            solution, reason = None, str(refusal)
        if solution is None:
            assert decades == 8, f"eight decades in all are within float64's reach: {reason}"
            assert "rescale" in reason
        else:
            # Right, by arithmetic that does not round.
            assert enclose(bad, solution.theta, solution.multipliers, get_norm(name)).width <= 2e-6


class TestDegenerate:
    @pytest.mark.parametrize("name", ["l1", "l2", "linf", "spectral", "nuclear"])
    def test_duplicates_and_redundant_samples_change_nothing(self, name):
        problem = blocks_problem()
        X, y = problem.X.numpy(), problem.labels
        norm = get_norm(name)
        plain = solve_margin(problem, norm)
        doubled = solve_margin(binary(np.vstack([X, X[::-1]]), np.append(y, y[::-1]), A=(2, 4), v=(3,)), norm)
        farther = solve_margin(binary(np.vstack([X, 5 * X]), np.append(y, y), A=(2, 4), v=(3,)), norm)
        for other in (doubled, farther):
            assert other.margin == pytest.approx(plain.margin, rel=2 * CERTIFIED)

    @pytest.mark.parametrize(("name", "gain"), [("l1", 1.0), ("l2", 2**0.5), ("linf", 2.0)])
    def test_repeated_features_of_rank_deficient_data(self, name, gain):
        X, y = blocks_problem().X.numpy(), blocks_problem().labels
        once = solve_margin(binary(X, y), get_norm(name))
        twice = solve_margin(binary(np.hstack([X, X]), y), get_norm(name))
        assert twice.margin == pytest.approx(gain * once.margin, rel=2 * CERTIFIED)

    @pytest.mark.parametrize("name", ["l2", "linf", "spectral", "nuclear"])
    def test_more_parameters_than_samples(self, name):
        rng = np.random.default_rng(2)
        X, y = rng.standard_normal((6, 200)), np.array([1, -1, 1, -1, 1, 1])
        assert solve_margin(binary(X, y, A=(10, 20)), get_norm(name)).gap <= CERTIFIED

    @pytest.mark.parametrize("name", ["l2", "linf", "spectral"])
    def test_many_more_samples_than_parameters(self, name):
        # More than the working set holds: constraints are generated, the bounds are over all of them.
        rng = np.random.default_rng(3)
        teacher = rng.standard_normal(12)
        teacher /= np.linalg.norm(teacher)
        X = rng.standard_normal((1500, 12))
        y = np.where(X @ teacher > 0, 1, -1)
        problem = binary(push(X, y, teacher), y, A=(3, 4))
        solution = solve_margin(problem, get_norm(name))
        assert solution.gap <= CERTIFIED
        assert problem.margins(solution.theta).min() == pytest.approx(solution.margin, rel=1e-12)


class TestNotSeparable:
    @pytest.mark.parametrize("name", ["l1", "l2", "linf", "spectral", "nuclear", "hybrid"])
    def test_proof_by_multipliers(self, name):
        rng = np.random.default_rng(4)
        X, y = rng.standard_normal((30, 4)), np.where(rng.standard_normal(30) > 0, 1, -1)
        with pytest.raises(NotSeparable, match=r"not separable.*Σ λ_i g_i = 0 exactly") as caught:
            solve_margin(binary(X, y), get_norm(name))
        lam = caught.value.multipliers
        assert lam.min() >= 0
        assert lam.sum() == pytest.approx(1, rel=1e-12)
        assert np.abs((lam * y) @ X).max() <= 1e-13
        assert caught.value.exact

    def test_multiclass(self):
        X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
        with pytest.raises(NotSeparable) as caught:
            solve_margin(Problem.of("x", MulticlassLinear(3, 2), X, np.array([0, 0, 1, 2])), get_norm("spectral"))
        Z = np.einsum("i,ijk->jk", caught.value.multipliers, gradients_by_hand(X, np.array([0, 0, 1, 2]), 3))
        assert np.abs(Z).max() <= 1e-15

    def test_a_sample_at_the_origin(self):
        X = np.array([[1.0, 2.0], [0.0, 0.0]])
        with pytest.raises(NotSeparable) as caught:
            solve_margin(binary(X, np.array([1, -1])), get_norm("l2"))
        assert caught.value.multipliers == pytest.approx([0.0, 1.0])

    @pytest.mark.parametrize("name", ["l2", "linf"])
    def test_all_digits_odd_against_even(self, name):
        from maxmargin.models.datasets.digits import images

        X, digit = images()
        X = X[:, X.any(axis=0)] / 16.0
        with pytest.raises(NotSeparable) as caught:
            solve_margin(binary(X, digit % 2), get_norm(name))
        assert caught.value.exact
        assert np.abs((caught.value.multipliers * (2 * (digit % 2.0) - 1)) @ X).max() <= 1e-12

    def test_a_conflict_up_to_rounding_has_multipliers_for_the_rows_as_they_are(self):
        # Rows of lengths 1 and 1000 that cancel but for 1e-14: no exact answer on this support, λ ∝ (1000, 1).
        found = conflict(np.array([[1.0, 0.0], [-1000.0, 1e-11]]))
        assert not found.exact
        assert found.multipliers == pytest.approx(np.array([1000, 1]) / 1001, rel=1e-9)
        assert found.residual <= 1e-11

    @pytest.mark.parametrize("name", ["l2", "linf"])
    @pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-9, 1e-12])
    def test_the_border_is_decided_by_numbers(self, name, apart):
        # Two opposite samples ``apart`` from each other: the margin is half of that, not 0 (ℓ2: up to apart²/8).
        X = np.array([[1.0, 0.0], [1.0, apart]])
        solution = solve_margin(binary(X, np.array([1, -1])), get_norm(name))
        assert solution.margin == pytest.approx(apart / 2, rel=1e-6)
        # A third sample turns the same pair into a contradiction.
        third = np.vstack([X, [0.0, 1.0]])
        with pytest.raises(NotSeparable):
            solve_margin(binary(third, np.array([1, -1, 1])), get_norm(name))


def test_the_error_survives_a_worker_process():
    X = np.array([[1.0, 2.0], [0.0, 0.0]])
    with pytest.raises(NotSeparable) as caught:
        solve_margin(binary(X, np.array([1, -1])), get_norm("l2"))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert np.array_equal(copy.multipliers, caught.value.multipliers)


def test_nonlinear_models_are_turned_away():
    problem = problems.get("binary@relu2:h=8")
    with pytest.raises(MarginError, match=r"not linear in its parameters \(L = 3\).*use kkt_gap"):
        solve_margin(problem, get_norm("l2"))
