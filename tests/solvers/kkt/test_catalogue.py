"""The catalogue: known KKT points are found, one entry each, whatever the symmetric copy that was met."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.blocks import flatten, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.catalogue import Catalogue, Point, _merge, catalogue, signature
from maxmargin.solvers.kkt.gap import kkt_gap
from maxmargin.solvers.kkt.matching import match
from maxmargin.solvers.kkt.proxlinear import ProxLinear
from maxmargin.solvers.kkt.residual import natural_residual
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm


@pytest.fixture(scope="module")
def f3() -> tuple[Problem, Catalogue]:
    problem = problems.get("point:x=1:2@diagonal:depth=3")
    return problem, catalogue(problem, get_norm("l2"), starts=8, seed=0)


def test_every_kkt_point_of_f3_is_found_once(f3: tuple[Problem, Catalogue]) -> None:
    # β = x_i e_i alone: margins 2, 1 over 3^{3/2}. Both coordinates: u_{l,i} = c_i with c_i x_i equal by stationarity
    # (3 c_i² x_i λ = ... c_i), so c ∝ (1, 1/2) · and f = 1·c₁³ + 2·c₂³ over (3 (c₁² + c₂²))^{3/2}.
    _, found = f3
    c = np.array([1.0, 0.5])
    expected = [2 / 3**1.5, 1 / 3**1.5, float(c**3 @ [1, 2]) / (3 * c @ c) ** 1.5]
    np.testing.assert_allclose([p.match.margin for p in found.points], expected, rtol=1e-8)
    assert [p.kind.kind for p in found.points] == ["global", "local maximum", "saddle"]
    assert sum(p.found for p in found.points) >= 8


def test_entries_are_kkt_points_by_independent_code(f3: tuple[Problem, Catalogue]) -> None:
    problem, found = f3
    for point in found.points:
        assert natural_residual(problem, get_norm("l2"), point.match.theta, point.match.multipliers) <= 1e-8
        assert kkt_gap(problem, point.match.theta, get_norm("l2")).value <= 1e-7


def test_best_of_the_catalogue_is_the_closed_form() -> None:
    # G4: fully connected linear, scalar output. The best KKT point is the linear problem's own optimum.
    problem = problems.get("binary@deep-linear:depth=2,width=2")
    linear = problems.get("binary@linear")
    best = catalogue(problem, get_norm("l2"), starts=2, seed=1).points[0]
    assert best.match.margin == pytest.approx(solve_margin(linear, get_norm("l2")).margin / 2, rel=1e-7)
    assert best.kind.kind == "global"


def test_a_dead_start_is_replaced() -> None:
    problem, norm = problems.get("binary@relu2:h=4"), get_norm("l2")
    found = catalogue(problem, norm, starts=1, seed=0)  # this start loses all its positive neurons
    assert found.starts == 1
    assert len(found.points) == 1
    assert found.points[0].match.residual <= 1e-8


def test_symmetric_copies_are_one_entry_and_other_points_are_not() -> None:
    problem, norm = problems.get("binary@relu2:h=4"), get_norm("l2")
    first = catalogue(problem, norm, starts=1, seed=0).points[0].match
    order = np.array([2, 0, 3, 1])
    copy = match(problem, {"W": first.theta["W"][order], "a": first.theta["a"][order]}, norm)
    found: list[Point] = []
    for candidate in (first, copy):
        _merge(problem, norm, found, candidate)
    assert len(found) == 1
    assert found[0].found == 2
    a, b = (signature(problem, m.theta, m.multipliers) for m in (first, copy))
    assert np.abs(a - b).max() < 1e-9
    # The spoiled twin: a neuron moved between two otherwise equal candidates.
    moved = {"W": first.theta["W"] * np.array([1.0, 1.0, 1.0, 0.9])[:, None], "a": first.theta["a"]}
    assert np.abs(signature(problem, moved, first.multipliers) - a).max() > 1e-3


def test_catalogue_reports_progress_and_is_reproducible() -> None:
    problem, norm = problems.get("point:x=1:2@diagonal:depth=2"), get_norm("linf")
    calls: list[tuple[int, int, str]] = []
    first = catalogue(problem, norm, starts=3, seed=5, progress=lambda *call: calls.append(call))
    assert [done for done, _, _ in calls] == [0, 1, 2, 3, 4]
    assert {total for _, total, _ in calls} == {4}
    again = catalogue(problem, norm, starts=3, seed=5)
    assert [p.match.margin for p in first.points] == [p.match.margin for p in again.points]
    assert first.points[0].match.margin == pytest.approx(3.0, rel=1e-9)  # G3: ‖x‖₁, all u = ±1


def test_a_catalogue_needs_a_start() -> None:
    with pytest.raises(ValueError, match="starts is 0; it must be at least 1"):
        catalogue(problems.get("point:x=1:2@diagonal:depth=2"), get_norm("l2"), starts=0)


def test_prox_linear_ascent_never_loses_margin_and_leaves_sleepers_alone() -> None:
    problem, norm = problems.get("binary@relu2:h=4"), get_norm("linf")
    rng = np.random.default_rng(4)
    W = rng.standard_normal((4, 6))
    W[3] = 0.0  # a dead neuron with a dead head: no margin depends on it
    theta = np.asarray(flatten({"W": W, "a": np.array([1.0, -1.0, 1.0, 0.0])}, problem.shapes))
    theta = theta / np.abs(theta).max()
    ascent = ProxLinear(problem, norm)
    q = [float(problem.min_margin(unflatten(theta, problem.shapes)))]
    for steps in (1, 3, 10, 30):
        end = ascent.run(theta, steps=steps)
        assert end is not None
        blocks = unflatten(end.theta, problem.shapes)
        q.append(float(problem.min_margin(blocks)))
        assert float(norm.value(blocks)) == pytest.approx(1)
        np.testing.assert_allclose(blocks["W"][3], 0, atol=1e-6)
        assert end.lam.sum() == pytest.approx(1)
    assert all(b >= a - 1e-12 for a, b in pairwise(q))
    assert q[-1] > q[0]
