"""Norms of drawn exponents keep the laws of norms, and their margin problems weak duality, by formulas of numpy's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st
from theory.properties.drawn import BLOCK, NORMS, SEEDS, Data, data, over

from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm, laws
from maxmargin.solvers.norms.polar.factor import polar

LAWS = tuple(law for law in laws.LAWS if law not in (laws.atom, laws.kinds, laws.vmapped))


@dataclass(frozen=True)
class Sampled:
    """A norm, and Gaussian blocks of ``shapes``; ``rank`` below a matrix's makes it deficient."""

    norm: str
    shapes: tuple[tuple[int, ...], ...]
    seed: int
    radius: float = 0.5
    rank: int = 9


@st.composite
def sampled(draw):
    matrix = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    vector = (draw(st.integers(1, 5)),)
    shapes = draw(st.sampled_from([(matrix,), (vector,), (matrix, vector), (matrix, matrix[::-1], vector)]))
    return Sampled(
        draw(NORMS), shapes, draw(SEEDS), draw(st.sampled_from([0.01, 0.3, 0.9, 1.0, 2.0])), draw(st.integers(1, 5))
    )


def norms_of_drawn_exponents_keep_the_laws(case):
    shapes = {f"b{i}": shape for i, shape in enumerate(case.shapes)}
    sample = laws.Sample.random(shapes, case.seed, case.radius)
    for each in (sample.theta, sample.G):
        for name, block in each.items():
            if block.ndim == 2 and case.rank < min(block.shape):
                each[name] = block[:, : case.rank] @ block[: case.rank]
    norm = get_norm(case.norm)
    laws.check_laws(norm, sample, LAWS)
    laws.check_laws(norm.dual_norm, sample, LAWS)


test_norms_of_drawn_exponents_keep_the_laws = over(sampled(), 200)(norms_of_drawn_exponents_keep_the_laws)


def polar_factors_are_partial_isometries(case):
    rng = np.random.default_rng(case.seed)
    shape = case.shapes[0] if len(case.shapes[0]) == 2 else (1, *case.shapes[0])
    rank = min(case.rank, *shape)
    G = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    U, sigma = polar(G), np.linalg.svd(G, compute_uv=False)
    np.testing.assert_allclose(U @ U.T @ U, U, atol=1e-9)  # its singular values are 0 and 1
    np.testing.assert_allclose((G * U).sum(), sigma.sum(), rtol=1e-10)  # the nuclear norm is attained
    np.testing.assert_allclose(U.T @ G, (U.T @ G).T, atol=1e-9 * sigma[0])  # |G|, symmetric
    np.testing.assert_allclose(U @ (U.T @ G), G, atol=1e-9 * sigma[0])
    assert round((U * U).sum()) == rank, "null directions move"


test_polar_factors_are_partial_isometries = over(sampled(), 150)(polar_factors_are_partial_isometries)


@dataclass(frozen=True)
class Margin:
    norm: str
    data: Data


def by_numpy(norm, x):
    """The norm of one block by numpy's own functions."""
    v = np.atleast_2d(x)
    parts = {
        "entrywise": lambda: np.abs(v).reshape(-1),
        "schatten": lambda: np.linalg.svd(v, compute_uv=False),
        "rows": lambda: np.linalg.norm(v, axis=1),
        "columns": lambda: np.linalg.norm(v, axis=0),
    }[norm.family]()
    return float(np.linalg.norm(parts, norm.p))


def margins_are_between_their_certificates(case):
    problem, norm = case.data.problem(), get_norm(case.norm)
    solution, rng = solve_margin(problem, norm), np.random.default_rng(case.data.seed)
    origin = {name: np.zeros(shape) for name, shape in problem.shapes.items()}
    rows = problem.jacobian(origin)

    def size(blocks, exponent, dual):
        each = [(norm.block(n, b.shape)[0], b) for n, b in blocks.items()]
        return np.linalg.norm([by_numpy(of.dual_norm if dual else of, b) for of, b in each], exponent)

    own = norm.aggregation
    other = np.inf if own == 1 else 1.0 if np.isinf(own) else own / (own - 1)

    def dual(lam):
        return size({name: np.tensordot(lam, g, 1) for name, g in rows.items()}, other, True)

    def margin(theta):
        return min(sum((rows[n][i] * theta[n]).sum() for n in rows) for i in range(problem.n_margins)) / size(
            theta, own, False
        )

    assert solution.multipliers.min() >= 0
    np.testing.assert_allclose(solution.multipliers.sum(), 1)
    np.testing.assert_allclose(margin(solution.theta), solution.margin, rtol=1e-9)
    np.testing.assert_allclose(dual(solution.multipliers), solution.upper, rtol=1e-9)
    assert solution.margin <= solution.upper * (1 + 1e-12)
    assert solution.margin >= solution.upper * (1 - 1e-6), "the bracket is open"
    for _ in range(20):
        assert dual(rng.dirichlet(np.ones(problem.n_margins))) >= solution.margin * (1 - 1e-12), "weak duality"
        theta = {n: solution.theta[n] + rng.choice([0.01, 1]) * rng.standard_normal(b.shape) for n, b in origin.items()}
        assert margin(theta) <= solution.upper * (1 + 1e-12), "a margin above the optimum"


test_margins_are_between_their_certificates = over(st.builds(Margin, BLOCK, data()), 150)(
    margins_are_between_their_certificates
)


def test_a_wrong_norm_is_told_by_numpy():
    with pytest.raises(AssertionError):
        assert by_numpy(get_norm("schatten:3").block("", (2, 2))[0], np.eye(2)) == 2
