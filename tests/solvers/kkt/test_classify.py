"""Classes of KKT points: the fixtures F1–F4 with their verdicts, exact optima, and twins that must not pass."""

from __future__ import annotations

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.blocks import add, flatten, scale, unflatten
from maxmargin.solvers.exact.answers import answers
from maxmargin.solvers.exact.kkt_certificate import Stated, as_floats
from maxmargin.solvers.kkt import classify as classify_module
from maxmargin.solvers.kkt.bounds import upper_bound
from maxmargin.solvers.kkt.classify import Class, classify
from maxmargin.solvers.kkt.residual import natural_residual
from maxmargin.solvers.kkt.second_order import curvature
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm

# F1–F4 of Vardi, Shamir & Srebro 2110.02732 with theory's verdicts, those under linf by our own algebra.
FIXTURES = [a for name in problems.THEOREMS if name.startswith("F") for a in answers(problems.get(name))]
FIXTURES = [a for a in FIXTURES if a.norm != "l1" and not a.id.endswith("-optimum")]


def multipliers(fixture: Stated) -> np.ndarray:
    return np.array([float(v) for v in fixture.multipliers])


def verdict(fixture: Stated) -> Class:
    return classify(fixture.problem, as_floats(fixture.theta), multipliers(fixture), get_norm(fixture.norm))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda f: f.id)
def test_fixtures_have_their_verdicts(fixture: Stated) -> None:
    problem, norm, theta = fixture.problem, get_norm(fixture.norm), as_floats(fixture.theta)
    assert natural_residual(problem, norm, theta, multipliers(fixture)) < 1e-12  # it is a KKT point
    normalized = float(problem.min_margin(theta)) / float(norm.value(theta)) ** problem.degree
    assert normalized == pytest.approx(float(fixture.margin), rel=1e-6)
    assert verdict(fixture).kind == fixture.kind


SADDLES = [fixture for fixture in FIXTURES if fixture.kind == "saddle"]


@pytest.mark.parametrize("fixture", SADDLES, ids=lambda f: f.id)
def test_witnesses_gain_at_no_norm_cost(fixture: Stated) -> None:
    problem, norm = fixture.problem, get_norm(fixture.norm)
    theta = as_floats(fixture.theta)
    theta = scale(theta, 1 / float(norm.value(theta)))
    witness = verdict(fixture).witness
    assert witness is not None
    assert list(witness.epsilons) == sorted(witness.epsilons, reverse=True)
    assert min(witness.gains) > 0
    # The nearest point, evaluated here: same norm, larger margin, as near as was said.
    better = add(theta, witness.displacement)
    ratio = float(problem.min_margin(better)) / float(norm.value(better)) ** problem.degree / float(fixture.margin)
    assert ratio - 1 == pytest.approx(witness.gains[-1], rel=1e-3, abs=1e-6)
    away = np.linalg.norm(flatten(witness.displacement, problem.shapes))
    assert away / np.linalg.norm(flatten(theta, problem.shapes)) == pytest.approx(witness.epsilons[-1])


@pytest.mark.parametrize(
    ("name", "order", "factor"),
    [
        ("F2-l2", 2, 1.0),  # relative gain 1.0 ε² (theory, with ε per coordinate, ‖θ‖² = 2)
        ("F2-linf", 2, 2.0),
        ("F3-linf", 3, 2.0),
    ],
)
def test_gains_have_the_order_of_the_algebra(name: str, order: int, factor: float) -> None:
    fixture = next(f for f in FIXTURES if f.id == name)
    witness = verdict(fixture).witness
    assert witness is not None
    slopes = np.diff(np.log(witness.gains)) / np.diff(np.log(witness.epsilons))
    np.testing.assert_allclose(slopes, order, atol=0.15)
    layers = len(fixture.theta)
    coordinate = witness.epsilons[-1]  # ‖θ‖₂ = √layers and the woken vector has one entry a layer: ε each
    assert layers == fixture.problem.degree
    assert witness.gains[-1] == pytest.approx(factor * coordinate**order, rel=0.1)


NONLINEAR = [a for name in problems.THEOREMS for a in answers(problems.get(name)) if a.problem.degree > 1]


@pytest.mark.parametrize("record", NONLINEAR, ids=lambda record: record.id)
def test_no_bound_is_below_an_exact_optimum(record: Stated) -> None:
    bound = upper_bound(record.problem, get_norm(record.norm))
    if bound is not None:
        assert bound >= float(record.margin) * (1 - 1e-8)


ATTAINED = {"G3", "G4", "G5", "G6", "G6-relu", "G6-power3", "G6-quadratic"}


def test_bounds_are_attained_on_the_families_they_were_made_for() -> None:
    seen = set()
    for record in NONLINEAR:
        bound = upper_bound(record.problem, get_norm(record.norm))
        if bound is not None and bound == pytest.approx(float(record.margin), rel=1e-7):
            seen.add(record.id.rsplit("-m", 1)[0] if record.id.startswith("G6") else record.id.split("-")[0])
    assert seen >= ATTAINED


def test_bounds_hold_at_random_points() -> None:
    rng = np.random.default_rng(0)
    specs = [
        "binary@deep-linear:depth=3,width=3",
        "binary@diagonal:depth=2",
        "basis@deep-linear:depth=2,width=3",
        "point:x=3:4@relu2:h=3",
        "point:x=3:4@relu-power:q=1.5,h=3",
        "point:x=3:4@quadratic:h=3",
        "point:x=3:4@deep-relu:h=3",
    ]
    for spec in specs:
        problem = problems.get(spec)
        for name in ("l1", "l2", "linf", "spectral", "nuclear", "hybrid:2", "schatten:3", "entrywise:1.5"):
            norm = get_norm(name)
            bound = upper_bound(problem, norm)
            assert bound is not None
            for _ in range(30):
                theta = {k: rng.standard_normal(s) for k, s in problem.shapes.items()}
                q = float(problem.min_margin(theta)) / float(norm.value(theta)) ** problem.degree
                assert q <= bound * (1 + 1e-9)
    assert upper_bound(problems.get("binary@relu2-fixed:h=4"), get_norm("l2")) is None
    assert upper_bound(problems.get("binary@diagonal:depth=2"), get_norm("maxrow")) is None


def test_linear_optimum_is_global_and_a_worse_point_is_not() -> None:
    problem, norm = problems.get("multiclass:n=6,d=5,k=3@linear"), get_norm("spectral")
    solution = solve_margin(problem, norm)
    assert classify(problem, solution.theta, solution.multipliers, norm).kind == "global"
    moved = {"W": solution.theta["W"] + 0.01 * np.random.default_rng(0).standard_normal((3, 5))}
    worse = classify(problem, moved, solution.multipliers, norm)
    assert worse.kind == "unknown"
    assert "not a KKT point" in worse.evidence


def test_a_search_in_vain_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # F3 under l2 with the second-order test and the bound taken away: no ascent exists, so none may be claimed,
    # and without a proof it must not be called a maximum either.
    fixture = next(f for f in FIXTURES if f.id == "F3-l2")
    monkeypatch.setattr(classify_module, "curvature", lambda *args: None)
    monkeypatch.setattr(classify_module, "upper_bound", lambda *args: None)
    found = verdict(fixture)
    assert found.kind == "unknown"
    assert found.witness is None
    assert found.tries > 40


@pytest.mark.parametrize("fixture", [f for f in FIXTURES if f.problem.model.smooth], ids=lambda f: f.id)
def test_the_second_order_form_against_differences(fixture: Stated) -> None:
    """Along the direction of largest curvature the margin on the sphere has the second difference that was said."""
    problem, norm = fixture.problem, get_norm(fixture.norm)
    theta = as_floats(fixture.theta)
    theta = scale(theta, 1 / float(norm.value(theta)))
    form = curvature(problem, theta, multipliers(fixture), norm)
    if form.direction is None or fixture.norm != "l2":
        return
    x, v = flatten(theta, problem.shapes), form.direction / np.linalg.norm(form.direction)
    lam = multipliers(fixture)

    def combined(t: float) -> float:  # Σ λ_i m_i, normalized: one smooth function instead of a minimum
        y = x + t * v
        return float(lam @ problem.margins(unflatten(y, problem.shapes)) / np.linalg.norm(y) ** problem.degree)

    t = 1e-4
    second = (combined(t) - 2 * combined(0.0) + combined(-t)) / t**2
    pull = np.linalg.norm(flatten(problem.pullback(theta, lam), problem.shapes))
    assert second == pytest.approx(form.largest * pull, abs=1e-5)


@pytest.mark.parametrize("fixture", [f for f in FIXTURES if f.kind == "local maximum"], ids=lambda f: f.id)
def test_no_perturbation_beats_a_proved_local_maximum(fixture: Stated) -> None:
    problem, norm = fixture.problem, get_norm(fixture.norm)
    rng = np.random.default_rng(0)
    for size in (0.03, 0.01):
        for _ in range(1000):
            near = {k: v + size * rng.standard_normal(v.shape) for k, v in as_floats(fixture.theta).items()}
            q = float(problem.min_margin(near)) / float(norm.value(near)) ** problem.degree
            assert q < float(fixture.margin)


def test_curvature_of_the_spectral_ball_decides() -> None:
    # One point, squared ReLU with one neuron and a trained head: w = x/|x|, a = 1 is the optimum under every norm whose
    # blocks are Euclidean; its sphere curves in w, so the second-order form is −‖h_w‖ there, not 0.
    problem, norm = problems.get("point:x=3:4@relu2:h=1"), get_norm("spectral")
    theta = {"W": np.array([[0.6, 0.8]]), "a": np.array([1.0])}
    form = curvature(problem, theta, np.array([1.0]), norm)
    assert form.dimension == 1
    # m = (w·x)² = 25 cos² φ along the circle: second derivative −50, in units of ‖h‖₂/‖θ‖₂ with h = (50 w, 25).
    assert form.largest == pytest.approx(-50 / (np.hypot(50, 25) / 2**0.5), rel=1e-6)
