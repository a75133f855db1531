"""F1–F4: the numbers stated about the points that are no optima, measured again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
import torch

from maxmargin.models import problems
from maxmargin.models.blocks import as_torch, flatten, unflatten
from maxmargin.solvers.exact.answers import answers
from maxmargin.solvers.exact.kkt_certificate import Stated, as_floats, verify_kkt
from maxmargin.solvers.exact.krawczyk import prove
from maxmargin.solvers.exact.norm_values import exact_value
from maxmargin.solvers.norms import get_norm

POINTS = [a for name in problems.THEOREMS if name.startswith("F") for a in answers(problems.get(name))]


def by_id(name: str) -> Stated:
    """F2-l2 the fixture's own point; F2-l2-optimum what is better."""
    fixture, norm, *optimum = name.split("-")
    found = answers(problems.get(fixture), norm)
    return next(a for a in found if a.kind == "global") if optimum else next(a for a in found if a.id == name)


@pytest.mark.parametrize("point", [p for p in POINTS if p.norm == "l2"], ids=lambda point: point.id)
def test_a_changed_digit_is_no_kkt_point(point: Stated) -> None:
    for name, block in point.theta.items():
        for k in range(block.rank() and len(sp.flatten(block))):
            entries = sp.flatten(block)
            entries[k] += sp.Rational(1, 10**9)
            spoiled = {**point.theta, name: sp.Array(entries).reshape(*block.shape)}
            assert not verify_kkt(point.problem, "l2", spoiled, point.multipliers, point.margin).holds, (name, k)


# id, ‖θ‖², Σλ-free multipliers of min ½‖θ‖² s.t. m_i >= 1 (h = Σ λ_i g_i = θ), as THEORY states them
UNSCALED = [
    ("F1-l2", "8", ["2", "2"]),
    ("F2-l2", "2", ["1"]),
    ("F3-l2", "3", ["1"]),
    ("F4-l2", "6*2**(-2/3)", None),
]


@pytest.mark.parametrize(("name", "square", "lam"), UNSCALED, ids=[row[0] for row in UNSCALED])
def test_norm_and_multipliers_at_margin_one(name: str, square: str, lam: list[str] | None) -> None:
    point = by_id(name)
    found, L = point.verify(), point.problem.degree
    q = sp.Min(*found.margins)
    # Scaled to margin 1: θ / q^{1/L}.
    assert sp.simplify(found.norm_value**2 / q ** sp.Rational(2, L) - sp.sympify(square)) == 0
    if lam is not None:
        unit = {key: block / q ** sp.Rational(1, L) for key, block in point.theta.items()}
        h = verify_kkt(point.problem, "l2", unit, point.multipliers).gradient
        total = sum(map(sp.Rational, lam))
        assert [w * total for w in point.multipliers] == [sp.Rational(v) for v in lam]
        for key, block in unit.items():
            assert [sp.simplify(total * a - b) for a, b in zip(sp.flatten(h[key]), sp.flatten(block), strict=True)] == [
                0
            ] * len(sp.flatten(block))


STATED = {
    "F1-l2": 0.125,
    "F1'-l2": 0.0240563,
    "F2-l2": 0.5,
    "F2-l2-optimum": 1.0,
    "F3-l2": 0.19245,
    "F3-l2-optimum": 0.38490,
    "F4-l2": 0.136083,
    "F4-l2-optimum": 0.192450,
}


@pytest.mark.parametrize("name", STATED)
def test_margins_are_the_stated_numbers(name: str) -> None:
    assert float(by_id(name).margin) == pytest.approx(STATED[name], abs=5e-7 if name != "F3-l2-optimum" else 5e-6)


def test_the_two_neuron_split_of_f1() -> None:
    margin = float(by_id("F1-l2-optimum").margin)
    # ‖θ‖² = 4 √(16/17) = 3.8806 at margin 1.
    assert 1 / margin == pytest.approx(4 * np.sqrt(16 / 17), rel=1e-14)
    assert 1 / margin == pytest.approx(3.8806, abs=5e-5)
    assert margin == pytest.approx(0.25769, abs=5e-6)


def margin_of(point: Stated, theta: dict[str, np.ndarray]) -> float:
    problem = point.problem
    return float(problem.min_margin(theta)) / float(get_norm(point.norm).value(theta)) ** problem.degree


def f1(eps: float) -> dict[str, np.ndarray]:
    """Neuron 2 wakes along x1, neuron 1 tilts towards x2 until both margins are equal."""
    x1 = np.array([1.0, 0.25])
    length = np.linalg.norm(x1)
    return {"W": np.array([[-(eps**2) * length / 4, 2.0], eps * x1 / length]), "a": np.array([2.0, eps])}


def alike(first: Callable[[float], float], second: Callable[[float], float], depth: int) -> Callable[[float], dict]:
    return lambda eps: {f"u{k}": np.array([first(eps), second(eps)]) for k in range(1, depth + 1)}


# id, path from the point, power of ε, coefficient of the relative gain (derived: see each comment)
GAINS = [
    ("F1-l2", f1, 2, np.sqrt(17) / 8 - 1 / 4),  # ≈ 0.2654: margins gain √17/8 ε², ‖θ‖² = 8 + 2ε² loses ε²/4
    ("F2-l2", alike(lambda e: 1.0, lambda e: e, 2), 2, 1.0),  # (1 + 2ε²) / (1 + ε²)
    ("F2-linf", alike(lambda e: 1.0, lambda e: e, 2), 2, 2.0),  # 1 + 2ε², the norm unchanged
    ("F3-linf", alike(lambda e: 1.0, lambda e: e, 3), 3, 2.0),  # 1 + 2ε³
    ("F4-l2", alike(lambda e: 1 + e, lambda e: 1 - e, 3), 2, 1.5),  # (1 + 3ε²) (1 + ε²)^{−3/2}
]


@pytest.mark.parametrize(("name", "path", "power", "wanted"), GAINS, ids=[row[0] for row in GAINS])
def test_the_stated_ascent_gains_what_is_stated(name: str, path: Callable, power: int, wanted: float) -> None:
    point = by_id(name)
    assert point.kind == "saddle"
    start = as_floats(point.theta)
    for key, block in path(0.0).items():
        np.testing.assert_array_equal(block, start[key])
    for eps in (0.02, 0.01):
        gain = margin_of(point, path(eps)) / float(point.margin) - 1
        assert gain / eps**power == pytest.approx(wanted, rel=5 * eps)


def test_raising_the_zero_neuron_is_free_under_linf_in_f1_prime() -> None:
    point = by_id("F1'-linf")
    assert point.kind == "saddle"
    for eps in (0.05, 0.1):
        theta = {"W": np.array([[0.0, 1.0], [eps, eps]]), "a": np.array([1.0, eps])}
        # Only x1 gains, so the gain shows once neuron 1 tilts towards x2 to share it.
        gain = max(
            margin_of(point, {**theta, "W": theta["W"] + np.array([[-tilt, 0.0], [0.0, 0.0]])})
            for tilt in np.linspace(0, eps**3, 200)
        )
        assert gain > point.margin * (1 + eps**3)


def best_nearby(point: Stated, scales: tuple[float, ...] = (0.03, 0.003, 0.0003), draws: int = 20_000) -> float:
    """The largest relative gain among random points at distances of about scale · √p · ‖θ‖ from a point."""
    problem = point.problem
    rng = np.random.default_rng(0)
    center = flatten(as_floats(point.theta), problem.shapes)
    best = -np.inf
    for scale in scales:
        near = center + scale * np.linalg.norm(center) * rng.standard_normal((draws, center.size))
        margins = torch.func.vmap(problem.margins)(as_torch(unflatten(near, problem.shapes))).numpy().min(axis=1)
        best = max(best, float((margins / np.linalg.norm(near, axis=1) ** problem.degree).max()))
    return best / float(point.margin) - 1


@pytest.mark.parametrize("name", ["F1'-l2", "F3-l2", "F2-l2-optimum", "F3-l2-optimum", "F4-l2-optimum"])
def test_no_random_neighbour_beats_a_local_maximum(name: str) -> None:
    assert by_id(name).kind in ("local maximum", "global")
    assert best_nearby(by_id(name)) <= 0


@pytest.mark.parametrize("name", ["F2-l2", "F4-l2"])
def test_the_same_search_leaves_saddles(name: str) -> None:
    """The twin of the test above: were its search blind, it would find nothing here either."""
    assert best_nearby(by_id(name)) > 0


KINKS = ("F1-l2", "F1-linf")


@pytest.mark.parametrize("point", [p for p in POINTS if p.id not in KINKS], ids=lambda point: point.id)
def test_the_interval_proof_finds_the_same_points(point: Stated) -> None:
    found = prove(point.problem, as_floats(point.theta), [float(w) for w in point.multipliers], point.norm)
    assert found.proved, found.reasons
    assert found.margin is not None
    assert found.margin[0] <= point.margin <= found.margin[1]


@pytest.mark.parametrize("name", KINKS)
def test_the_interval_proof_refuses_the_kink_of_f1(name: str) -> None:
    point = by_id(name)
    found = prove(point.problem, as_floats(point.theta), [float(w) for w in point.multipliers], point.norm)
    assert not found.proved
    assert any("not smooth" in reason for reason in found.reasons)


def test_the_exact_norm_of_f1_is_eight() -> None:
    assert exact_value("l2", by_id("F1-l2").theta) ** 2 == 8
