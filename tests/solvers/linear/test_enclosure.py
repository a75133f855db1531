"""Enclosures: they hold for any θ and λ whatever, are narrow for good ones, and a wrong digit only widens them."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxmargin.models import problems
from maxmargin.models.datasets.synthetic import push
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.enclosure import CertifyError, enclose
from maxmargin.solvers.linear.optimum import gradients, solve_margin
from maxmargin.solvers.linear.separability import certainly_separates
from maxmargin.solvers.norms import BlockNorm, ParameterNorm, Rule, get_block_norm, get_norm
from maxmargin.solvers.norms.exact.balls import matrix, precision

WIDTH = 1e-9  # the figure for the reference margins
BLOCK_NORMS = [
    "l1",
    "l2",
    "linf",
    "spectral",
    "nuclear",
    "maxrow",
    "sumrow",
    "maxcolumn",
    "schatten:1.5",
    "entrywise:3",
]


def basis(k: int) -> Problem:
    return Problem.of("G2", MulticlassLinear(k, k), np.eye(k), np.arange(k))


# γ² as a rational, so that lo ≤ γ* ≤ hi can be asked without rounding.
SQUARES = {
    "spectral": lambda k: Fraction(1),
    "linf": lambda k: Fraction(4),
    "l2": lambda k: Fraction(1, k - 1),
    "nuclear": lambda k: Fraction(1, (k - 1) ** 2),
}


def holds(box, square: Fraction) -> bool:
    return Fraction(box.lo) ** 2 <= square <= Fraction(box.hi) ** 2


class TestAlwaysTrue:
    @given(seed=st.integers(0, 10**6), k=st.integers(2, 5), decades=st.integers(-12, 12))
    @settings(derandomize=True, deadline=None, max_examples=15)
    @pytest.mark.parametrize("name", SQUARES)
    def test_garbage_in_truth_out(self, name, seed, k, decades):
        rng = np.random.default_rng(seed)
        theta = {"W": np.eye(k) * rng.integers(0, 3) + 10.0**decades * rng.standard_normal((k, k))}
        lam = rng.standard_normal(k * (k - 1))
        lam[0] = 0.5  # at least one positive; the negative ones must be clipped
        box = enclose(basis(k), theta, lam, get_norm(name))
        assert box.lo >= 0
        assert holds(box, SQUARES[name](k))

    @pytest.mark.parametrize("k", [3, 5, 10])
    @pytest.mark.parametrize("name", SQUARES)
    def test_solved_ones_hold_the_exact_value_and_are_narrow(self, name, k):
        norm = get_norm(name)
        solution = solve_margin(basis(k), norm)
        box = enclose(basis(k), solution.theta, solution.multipliers, norm)
        assert holds(box, SQUARES[name](k))
        assert box.width <= WIDTH
        assert math.sqrt(SQUARES[name](k)) * (1 + 1e-8) not in box

    @pytest.mark.parametrize("name", SQUARES)
    def test_bounds_are_not_rounded_past_the_value(self, name):
        # θ and λ exactly optimal in floats: lo and hi may touch γ*, never cross it. k = 5: I − J/5 is not a float.
        k = 5
        theta = {"linf": 2 * np.eye(k) - 1, "spectral": np.eye(k)}.get(name, np.eye(k) - np.ones((k, k)) / k)
        box = enclose(basis(k), {"W": theta}, np.full(k * (k - 1), 1.0), get_norm(name))
        assert holds(box, SQUARES[name](k))
        assert box.width <= 1e-14


def lp_optimum(A: np.ndarray, norm: str) -> Fraction:
    """max t with A θ ≥ t in the ℓ∞ or ℓ1 ball of the plane, exactly: the best feasible vertex, in fractions."""
    rows = [[Fraction(float(a)), Fraction(float(b)), Fraction(-1), Fraction(0)] for a, b in A]
    corners = [(s, r) for s in (1, -1) for r in (1, -1)]
    ball = {"linf": [(1, 0), (-1, 0), (0, 1), (0, -1)], "l1": corners}[norm]
    rows += [[Fraction(-a), Fraction(-b), Fraction(0), Fraction(-1)] for a, b in ball]  # c·x ≥ right side

    def det(m):
        return (
            m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
        )

    best = Fraction(0)  # θ = 0
    for chosen in combinations(rows, 3):
        whole = det([row[:3] for row in chosen])
        if whole == 0:
            continue
        x = [det([[*row[:j], row[3], *row[j + 1 : 3]] for row in chosen]) / whole for j in range(3)]
        if all(sum(c * v for c, v in zip(row[:3], x, strict=True)) >= row[3] for row in rows):
            best = max(best, x[2])
    return best


class TestAgainstExactPrograms:
    @given(seed=st.integers(0, 10**6), n=st.integers(1, 4))
    @settings(derandomize=True, deadline=None, max_examples=25)
    @pytest.mark.parametrize("name", ["l1", "linf"])
    def test_exact_vertex_lies_inside(self, name, seed, n):
        rng = np.random.default_rng(seed)
        angle = rng.uniform(0, 2 * np.pi)
        X = rng.standard_normal((n + 1, 2))
        y = np.where(np.arange(n + 1) % 2 == 0, 1, -1)
        problem = Problem.of(
            "plane", BlockLinear((("w", (2,)),)), push(X, y, np.array([np.cos(angle), np.sin(angle)])), y
        )
        solution = solve_margin(problem, get_norm(name))
        box = enclose(problem, solution.theta, solution.multipliers, get_norm(name))
        exact = lp_optimum(gradients(problem), name)
        assert exact > 0
        assert Fraction(box.lo) <= exact <= Fraction(box.hi)
        assert box.width <= 1e-12

    def test_the_gradients_are_the_data_exactly(self):
        # Recomputed in rationals from the model's own code (solvers/exact/interpreter.py), which shares nothing with
        # jacobian.
        from maxmargin.solvers.exact.interpreter import Ring, margins

        problem = problems.get("multiclass@linear")
        rng = np.random.default_rng(0)
        W = rng.standard_normal((3, 8))
        ring = Ring(lambda q: q, lambda z: z)
        exact = margins(problem, {"W": np.vectorize(Fraction, otypes=[object])(W)}, ring)
        by_rows = [
            sum((Fraction(float(g)) * Fraction(float(w)) for g, w in zip(row, W.ravel(), strict=True)), Fraction(0))
            for row in gradients(problem)
        ]
        assert list(exact) == by_rows


class TestSpoiled:
    @pytest.mark.parametrize("name", ["l2", "linf", "spectral", "hybrid", "nuclear"])
    def test_a_wrong_digit_widens(self, name):
        problem, norm = problems.get("multiclass@linear"), get_norm(name)
        good = solve_margin(problem, norm, tol=1e-10)
        box = enclose(problem, good.theta, good.multipliers, norm)
        assert box.width <= WIDTH
        # The third digit of one number; an entry that matters: the largest.
        W = good.theta["W"].copy()
        W[np.unravel_index(np.abs(W).argmax(), W.shape)] *= 1.005
        lam = good.multipliers.copy()
        lam[lam.argmax()] *= 1.005
        of_theta = enclose(problem, {"W": W}, good.multipliers, norm)
        of_lam = enclose(problem, good.theta, lam, norm)
        assert of_theta.hi == box.hi
        assert of_theta.lo < box.lo * (1 - 1e-7)
        assert of_lam.lo == box.lo
        # λ is optimal to second order only where the dual norm is smooth: 5e-3 squared, times the curvature.
        assert of_lam.hi > box.hi * (1 + 1e-8)
        for spoiled in (of_theta, of_lam):
            assert spoiled.lo <= box.hi
            assert spoiled.hi >= box.lo

    def test_negative_multipliers_do_not_count(self):
        # g = (1, 0) and (3, 0): γ* = 1. With λ = (1, −0.3) taken as it is, ‖Σλg‖ / Σλ would be 0.1 / 0.7 < 1.
        problem = Problem.of("x", BlockLinear((("w", (2,)),)), np.array([[1.0, 0.0], [-3.0, 0.0]]), np.array([1, -1]))
        box = enclose(problem, {"w": np.array([1.0, 0.0])}, np.array([1.0, -0.3]), get_norm("l2"))
        assert (box.lo, box.hi) == (1.0, 1.0)

    @pytest.mark.parametrize(
        "lie",
        [
            lambda U, s, Vt: (np.round(U, 3), np.round(s, 3), np.round(Vt, 3)),
            lambda U, s, Vt: (U, 0.9 * s, Vt),  # caught by the residual ‖E‖_F
            lambda U, s, Vt: (U, 0 * s, Vt),  # everything is residual: needs its √r
            lambda U, s, Vt: (1.1 * U, s / 1.1, Vt),  # no residual, caught by ‖U‖_op
            lambda U, s, Vt: (U, s / 1.1, 1.1 * Vt),
        ],
        ids=["rounded", "short", "zero", "long-u", "long-v"],
    )
    def test_a_wrong_decomposition_cannot_lower_the_bound(self, lie):
        exact, plain = np.ones(4), np.linalg.svd
        W = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 4)))[0].T
        for spec, value in (("spectral", exact[0]), ("nuclear", exact.sum()), ("schatten:1.5", 4 ** (2 / 3))):
            with pytest.MonkeyPatch.context() as patch, precision():
                patch.setattr(np.linalg, "svd", lambda M, **kwargs: lie(*plain(M, **kwargs)))
                high = float(get_block_norm(spec).upper_bound(matrix(W)).upper())
            assert high >= value * (1 - 1e-14)


class TestNormBounds:
    @given(seed=st.integers(0, 10**6), m=st.integers(1, 5), n=st.integers(1, 5), rank=st.integers(0, 5))
    @settings(derandomize=True, deadline=None, max_examples=20)
    @pytest.mark.parametrize("spec", BLOCK_NORMS)
    def test_above_the_float_value_and_close(self, spec, seed, m, n, rank):
        rng = np.random.default_rng(seed)
        W = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
        norm = get_block_norm(spec)
        value = float(norm.value(W))
        with precision():
            high = norm.upper_bound(matrix(W))
            assert float(high.upper()) >= value * (1 - 1e-14)
            assert float(high.upper()) <= value * (1 + 1e-12)

    @pytest.mark.parametrize("aggregation", [1.0, 2.0, 3.0, math.inf])
    def test_aggregated_and_weighted(self, aggregation):
        rng = np.random.default_rng(1)
        X = rng.standard_normal((3, 9))
        problem = Problem.of("b", BlockLinear((("A", (2, 3)), ("v", (3,)))), X, np.array([1, 1, -1]))
        norm = ParameterNorm(
            (Rule("A", get_block_norm("spectral"), 3.0), Rule("v", get_block_norm("l2"), 0.25)), aggregation
        )
        theta = problem.model.init(0)
        lam = np.array([0.2, 0.3, 0.5])
        box = enclose(problem, theta, lam, norm)
        G = problem.pullback({k: t.numpy() for k, t in theta.items()}, lam)
        assert box.hi == pytest.approx(float(norm.dual(G)), rel=1e-12)
        q = float(problem.min_margin(theta))
        assert box.lo == pytest.approx(max(0.0, q / float(norm.value(theta))), rel=1e-12)

    def test_python_flint_precision_is_left_alone(self):
        before = flint.ctx.prec
        enclose(basis(3), {"W": np.eye(3)}, np.ones(6), get_norm("spectral"))
        assert flint.ctx.prec == before


class TestDigits:
    @pytest.mark.parametrize("name", ["l2", "linf", "spectral", "hybrid"])
    def test_references_are_certified(self, name):
        problem, norm = problems.get("digits-3@linear"), get_norm(name)
        solution = solve_margin(problem, norm)
        box = enclose(problem, solution.theta, solution.multipliers, norm)
        assert box.lo > 0
        assert box.width <= WIDTH


class TestRefusals:
    @pytest.mark.parametrize(
        ("theta", "lam", "message"),
        [
            (np.eye(3), np.ones(5), r"λ has shape \(5,\); needed is one multiplier a margin, \(6,\)"),
            (np.eye(3), -np.ones(6), "no positive entry"),
            (np.eye(3), np.full(6, np.nan), "NaN or infinite"),
            (np.full((3, 3), np.inf), np.ones(6), "NaN or infinite"),
        ],
    )
    def test_bad_input(self, theta, lam, message):
        with pytest.raises(CertifyError, match=message):
            enclose(basis(3), {"W": theta}, lam, get_norm("l2"))

    def test_a_norm_without_a_proved_bound(self):
        class Odd(BlockNorm):
            name, aggregation, dual_norm = "odd", 2.0, property(lambda self: self)

            def value(self, x):
                return np.abs(x).sum()

            lmo = project = atom = value

        norm = ParameterNorm((Rule("*", Odd()),), 2.0)
        with pytest.raises(CertifyError, match=r"'odd' \(Odd\): no proved upper bound"):
            enclose(basis(3), {"W": np.eye(3)}, np.ones(6), norm)

    def test_a_norm_brings_its_own_bound(self):
        class Twice(BlockNorm):  # 2 Σ|w_ij|, registered nowhere: one class is all that an enclosure asks for
            name, aggregation, dual_norm = "twice", 1.0, property(lambda self: Peak())

            def value(self, x):
                return 2 * np.abs(x).sum()

            def upper_bound(self, W):
                return 2 * sum(abs(entry) for entry in W.entries())

            lmo = project = atom = value

        class Peak(Twice):
            name, aggregation = "peak", math.inf

            def value(self, x):
                return np.abs(x).max() / 2

            def upper_bound(self, W):
                return get_block_norm("linf").upper_bound(W) / 2

        norm = ParameterNorm((Rule("*", Twice()),), 1.0)
        ours, l1 = (enclose(basis(3), {"W": np.eye(3)}, np.ones(6), n) for n in (norm, get_norm("l1")))
        assert (2 * ours.lo, 2 * ours.hi) == pytest.approx((l1.lo, l1.hi), rel=1e-15)

    def test_gradients_that_are_not_data(self):
        class Thirds(MulticlassLinear):
            def scores(self, theta, X):
                return X @ theta["W"].T / 3

            def pullback(self, theta, X, c):
                return {"W": c.T @ X / 3}

        problem = Problem.of("x", Thirds(3, 3), np.eye(3), np.arange(3))
        with pytest.raises(CertifyError, match="not 0 or ± entries of the data"):
            enclose(problem, {"W": np.eye(3)}, np.ones(6), get_norm("l2"))


def test_separation_is_decided_exactly():
    # 0.1 + 0.2 > 0.3 in floats' own rational values: a margin of 2^-54, which float64 sums lose.
    A = np.array([[1.0, 1.0, -1.0]])
    assert certainly_separates(A, np.array([0.1, 0.2, 0.3]))
    assert not certainly_separates(A, np.array([0.1, 0.2, 0.30000000000000004]))
    assert not certainly_separates(A, np.zeros(3))
    assert not certainly_separates(A, np.array([np.nan, 1.0, 1.0]))
