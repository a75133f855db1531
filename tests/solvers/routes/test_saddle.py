"""Every route alone reaches its accuracy (together, a broken one would hide behind the next), and what they rest on."""

from __future__ import annotations

import numpy as np
import pytest

from maxmargin.solvers.norms import NormError, get_norm
from maxmargin.solvers.norms.measured.metric import Metric
from maxmargin.solvers.routes.compression import Compression
from maxmargin.solvers.routes.conic import Clarabel, ClarabelOther, Polyhedral, Scs
from maxmargin.solvers.routes.flat import FlatNorm
from maxmargin.solvers.routes.nnls import NearestInMetric, NearestPoint
from maxmargin.solvers.routes.saddle import ROUTES, InnerSolver, within
from maxmargin.solvers.routes.simplex import Box, CrossPolytope

SHAPES = {"A": (3, 5), "v": (4,), "B": (4, 2)}
_ROOT = np.random.default_rng(0).standard_normal((27, 27)) + 2 * np.eye(27)
METRIC = Metric.of("metric", _ROOT @ _ROOT.T, SHAPES)
ALONE = [
    (NearestInMetric, METRIC, 1e-12),
    (NearestPoint, "l2", 1e-13),
    (NearestPoint, "blocks:A=2*l2,v=0.5*l2,B=l2;l2", 1e-13),
    (Box, "linf", 1e-11),
    (Box, "blocks:A=2*linf,v=0.5*linf,B=linf;max", 1e-11),
    (CrossPolytope, "l1", 1e-10),
    (Polyhedral, "blocks:A=l1,v=3*linf,B=l1;max", 1e-10),
    (Polyhedral, "blocks:A=linf,v=3*l1,B=linf;sum", 1e-10),
    (Clarabel, "spectral", 3e-8),  # its last digits depend on the processor: 2.1e-8 on one, below 1e-8 on another
    (Clarabel, "hybrid:3", 1e-8),
    (Clarabel, "blocks:A=2*spectral,v=l2,B=0.5*linf;max", 1e-8),
    (Clarabel, "nuclear", 1e-8),
    (Clarabel, "blocks:A=2*nuclear,v=l1,B=l1;sum", 1e-8),
    (Clarabel, "maxrow", 1e-8),
    (Clarabel, "spectral;l2", 1e-8),
    (Clarabel, "entrywise:1.5", 1e-8),
    (ClarabelOther, "spectral", 1e-8),
    (ClarabelOther, "nuclear", 1e-8),
    (ClarabelOther, "entrywise:1.5", 1e-8),
    (Scs, "spectral", 1e-8),
]
NAMES = [f"{route.__name__}-{get_norm(spec).name}" for route, spec, _ in ALONE]


def instance(seed: int, n: int = 14, p: int = 27) -> np.ndarray:
    rng = np.random.default_rng(seed)
    teacher = rng.standard_normal(p)
    teacher /= np.linalg.norm(teacher)
    A = rng.standard_normal((n, p))
    A *= np.where(A @ teacher > 0, 1.0, -1.0)[:, None]
    return A + np.maximum(0, 1 - A @ teacher)[:, None] * teacher


@pytest.mark.parametrize(
    ("route", "spec", "accuracy"), ALONE, ids=[f"{r.__name__}-{get_norm(s).name}" for r, s, _ in ALONE]
)
@pytest.mark.parametrize("size", [1.0, 1e-8, 1e8])
def test_each_route_alone(route, spec, accuracy, size):
    solver = InnerSolver(get_norm(spec), SHAPES)
    for seed in range(3):
        bounds = solver.solve(size * instance(seed), within(0), tol=accuracy / 2, routes=(route,))
        assert bounds.solver == route.name
        assert 0 < bounds.lower <= bounds.upper * (1 + 1e-14)
        assert bounds.gap <= accuracy


@pytest.mark.parametrize("spec", sorted({spec for _, spec, _ in ALONE}, key=str))
@pytest.mark.parametrize("size", [1.0, 1e-8, 1e8])
def test_the_fast_routes_together_reach_nine_digits(spec, size):
    fast = tuple(route for route in ROUTES if route is not Scs)
    for seed in range(3):
        bounds = InnerSolver(get_norm(spec), SHAPES).solve(size * instance(seed), within(1e-9), tol=1e-9, routes=fast)
        assert bounds.gap <= 1e-9


@pytest.mark.parametrize(
    ("route", "spec", "accuracy"), [(NearestPoint, "l2", 1e-8), (Box, "linf", 1e-7), (CrossPolytope, "l1", 1e-7)]
)
def test_features_of_ten_decades(route, spec, accuracy):
    # What the polish on the support, and the second solve in units of the margin, are for: without them, 0.6 and 0.01.
    for seed in range(10):
        A = instance(seed, 30, 20) * 10.0 ** np.linspace(-5, 5, 20)
        bounds = InnerSolver(get_norm(spec), {"w": (20,)}).solve(A, within(0), routes=(route,))
        assert bounds.gap <= accuracy


def test_every_route_is_listed_and_tested():
    assert {route for route, _, _ in ALONE} == set(ROUTES)


def test_all_routes_of_a_norm_meet():
    # The same numbers from different formulations: brackets must overlap, pairwise.
    for spec in ("l2", "linf", "l1", "spectral", "nuclear"):
        solver = InnerSolver(get_norm(spec), SHAPES)
        brackets = []
        for route in ROUTES:
            if route.build(solver.flat) is not None and route is not Scs:
                bounds = solver.solve(instance(5), within(0), routes=(route,))
                brackets.append((bounds.lower, bounds.upper))
        assert len(brackets) >= 2
        assert max(low for low, _ in brackets) <= min(high for _, high in brackets) * (1 + 1e-12)


def test_compression_loses_nothing():
    # 4 samples, a 9 × 30 block: the gradients span 4 columns and 4 rows (here, low rank by construction).
    rng = np.random.default_rng(1)
    X, delta = rng.standard_normal((4, 30)), rng.standard_normal((4, 9, 1))
    A = (delta * X[:, None, :]).reshape(4, -1)
    small = Compression(FlatNorm.of(get_norm("spectral"), {"W": (9, 30)}), A)
    assert small.flat.shapes == (("W", (4, 4)),)
    y = rng.standard_normal(16)
    assert small.A @ y == pytest.approx(A @ small.expand(y), rel=1e-10)
    assert np.linalg.norm(small.expand(y).reshape(9, 30), 2) == pytest.approx(np.linalg.norm(y.reshape(4, 4), 2))
    bounds = InnerSolver(get_norm("spectral"), {"W": (9, 30)}).solve(A, within(0), routes=(Clarabel,))
    assert bounds.gap <= 1e-9


def test_only_blocks_of_schatten_norms_are_compressed():
    A = np.outer(np.ones(3), np.arange(1.0, 1 + 9 * 30 + 8 * 8))  # one gradient, three times
    flat = FlatNorm.of(get_norm("blocks:W=nuclear,V=maxrow;max"), {"W": (9, 30), "V": (8, 8)})
    small = Compression(flat, A)
    assert dict(small.flat.shapes) == {"W": (2, 2), "V": (8, 8)}
    assert small.A[0, 4:] == pytest.approx(A[0, 270:])


@pytest.mark.parametrize(
    ("spec", "p", "expected"),
    [
        ("l2", 2, [1.0] * 6),
        ("schatten:2", 2, [1.0] * 6),
        ("blocks:W=3*l2,v=rows:2;l2", 2, [3.0] * 4 + [1.0] * 2),
        ("hybrid", np.inf, None),
        ("linf", np.inf, [1.0] * 6),
        ("spectral", 2, None),
        ("entrywise:2.0000001", 2, None),
    ],
)
def test_norms_are_recognized_by_evaluation(spec, p, expected):
    weights = FlatNorm.of(get_norm(spec), {"W": (2, 2), "v": (2,)}).weights(p)
    assert (weights is None) if expected is None else weights == pytest.approx(expected, rel=1e-14)


def test_gradients_that_vanish_give_zero_bounds():
    bounds = InnerSolver(get_norm("spectral"), {"W": (2, 2)}).solve(np.zeros((3, 4)), within(1e-9))
    assert (bounds.lower, bounds.upper, bounds.gap) == (0.0, 0.0, 0.0)


def test_a_norm_that_nobody_serves():
    solver = InnerSolver(get_norm("spectral"), {"W": (2, 2)})
    with pytest.raises(NormError, match="no solver serves it"):
        solver.solve(np.eye(4), within(1e-9), routes=(NearestPoint, Box))
