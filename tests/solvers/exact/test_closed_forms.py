"""The exact answers: verified without rounding, spoiled digit by digit, and not beaten by any search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from scipy.optimize import minimize

from maxmargin.models.blocks import flatten, size, unflatten
from maxmargin.models.fixtures import OPTIMA
from maxmargin.solvers.exact.closed_forms import (
    CATALOGUE,
    ClosedForm,
    NoClosedForm,
    closed_forms,
    deep_linear_point,
    diagonal_point,
    matrix_factorization,
    multiclass_simplex,
    squared_relu_point,
    verify_exactly,
)
from maxmargin.solvers.exact.kkt_certificate import as_floats, exact_sign, verify_kkt
from maxmargin.solvers.exact.norm_values import exact_dual, exact_value
from maxmargin.solvers.kkt.gap import kkt_gap
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import NormError, get_norm

RECORDS = closed_forms()
SIZES = [
    *(multiclass_simplex(norm, k, s=2.5) for k in (5, 10) for norm in CATALOGUE["G2"][1]),
    *(diagonal_point(norm, 3) for norm in CATALOGUE["G3"][1]),
    *(deep_linear_point(norm, (4,), (1, -2, 2)) for norm in CATALOGUE["G4"][1]),
    *(matrix_factorization(norm, 5, 6) for norm in CATALOGUE["G5"][1]),
    *(squared_relu_point(norm, 5, (1, 2, -2)) for norm in CATALOGUE["G6"][1]),
]


def ids(record: ClosedForm) -> str:
    return record.id


@pytest.mark.parametrize("record", [*RECORDS, *SIZES], ids=ids)
def test_every_record_is_an_exact_kkt_point_with_its_margin(record: ClosedForm) -> None:
    found = verify_exactly(record)
    assert found.holds, {name for name, met in found.checks.items() if not met}
    assert set(found.checks) == {"multipliers", "separated", "complementarity", "stationarity", "margin"}


@pytest.mark.parametrize("record", [*RECORDS, *SIZES], ids=ids)
def test_exact_margins_are_the_float_ones(record: ClosedForm) -> None:
    theta, norm = as_floats(record.theta), get_norm(record.norm)
    reached = record.problem.min_margin(theta) / norm.value(theta) ** record.problem.degree
    assert reached == pytest.approx(float(record.margin), rel=1e-13)
    assert float(norm.dual(theta)) == pytest.approx(float(exact_dual(record.norm, record.theta)), rel=1e-13)


def nudge(theta: dict, by: sp.Rational) -> list[dict]:
    """Every parameter vector with one entry changed, but for multiples of the vector itself."""
    spoiled = []
    alone = sum(entry != 0 for block in theta.values() for entry in sp.flatten(block)) == 1
    for name, block in theta.items():
        for k in range(len(sp.flatten(block))):
            entries = sp.flatten(block)
            if alone and entries[k] != 0:
                continue
            entries[k] += by
            spoiled.append({**theta, name: sp.Array(entries).reshape(*block.shape)})
    return spoiled


# Where a single changed entry is bound to spoil the point: optima that are unique, and no larger than this test wants.
SHARP = [r for r in RECORDS if (r.norm in ("l2", "nuclear", "l1") or r.id.startswith("G3-pair")) and "k10" not in r.id]


@pytest.mark.parametrize("record", SHARP, ids=ids)
def test_one_changed_digit_in_theta_is_rejected(record: ClosedForm) -> None:
    for spoiled in nudge(dict(record.theta), sp.Rational(1, 10**9)):
        assert not verify_exactly(replace(record, theta=spoiled)).holds


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_one_changed_digit_in_the_margin_is_rejected(record: ClosedForm) -> None:
    found = verify_exactly(replace(record, margin=record.margin + sp.Rational(1, 10**12)))
    assert found.checks["margin"] is False
    assert not found.holds
    assert all(met for name, met in found.checks.items() if name != "margin")


@pytest.mark.parametrize("record", [r for r in RECORDS if len(r.multipliers) > 1], ids=ids)
def test_changed_multipliers_are_rejected_by_the_right_check(record: ClosedForm) -> None:
    tiny, lam = sp.Rational(1, 10**9), record.multipliers
    longer = verify_exactly(replace(record, multipliers=(lam[0] + tiny, *lam[1:])))
    assert longer.checks["multipliers"] is False
    negative = verify_exactly(replace(record, multipliers=(-lam[0], lam[1] + 2 * lam[0], *lam[2:])))
    assert negative.checks["multipliers"] is False
    moved = verify_exactly(replace(record, multipliers=(lam[0] + tiny, lam[1] - tiny, *lam[2:])))
    if record.norm in ("l2", "nuclear"):  # one normal only; the others have cones of them
        assert moved.checks["stationarity"] is False
        assert not moved.holds


def test_multipliers_on_an_inactive_margin_are_rejected() -> None:
    record = multiclass_simplex("l2", 3)
    W = sp.Array([[2, -1, -1], [-1, 2, -1], [-1, -1, 3]])
    assert verify_exactly(replace(record, theta={"W": W})).checks["complementarity"] is False


@pytest.mark.parametrize(
    "theta", [{"w": sp.Array([3, 4])}, {"w": sp.Array([[3, -4, 0]])}], ids=["too short", "a matrix"]
)
def test_blocks_of_the_wrong_shape_are_refused(theta: dict) -> None:
    record = CATALOGUE["G1"][0]("l2")
    with pytest.raises(ValueError, match="needed is"):
        verify_kkt(record.problem, "l2", theta, [1])


@pytest.mark.parametrize("k", [3, 5, 10])
def test_the_simplex_table_of_theory(k: int) -> None:
    s = sp.Rational(5, 2)
    wanted = {"spectral": s, "linf": 2 * s, "l2": s / sp.sqrt(k - 1), "nuclear": s / (k - 1)}
    for norm, margin in wanted.items():
        assert sp.simplify(multiclass_simplex(norm, k, s=2.5).margin - margin) == 0


def test_the_spectral_maximiser_of_the_simplex_is_not_unique() -> None:
    record = multiclass_simplex("spectral", 4)
    for c in (0, sp.Rational(1, 7), sp.Rational(1, 2)):
        W = sp.Array((sp.eye(4) - c * sp.ones(4, 4)).tolist())
        assert verify_exactly(replace(record, theta={"W": W})).holds
    beyond = sp.Array((sp.eye(4) - sp.Rational(501, 1000) * sp.ones(4, 4)).tolist())
    assert not verify_exactly(replace(record, theta={"W": beyond})).holds


def test_our_exact_margins_are_those_of_the_models_fixtures() -> None:
    ours = {
        **{
            f"G2/k={k}/{n}": multiclass_simplex(n, k) for k in (3, 5, 10) for n in ("spectral", "linf", "l2", "nuclear")
        },
        **{f"G5/k={k}/{n}": matrix_factorization(n, k) for k in (3, 5) for n in ("l2", "spectral")},
        **{f"G6/m={m}/{n}": squared_relu_point(n, m, (3, 4)) for m in (2, 4) for n in ("l2", "linf", "spectral")},
    }
    theirs = {o.id: o for o in OPTIMA}
    assert set(ours) <= set(theirs)
    for name, record in ours.items():
        assert exact_sign(record.margin - sp.sympify(theirs[name].exact, rational=True)) == 0, name


# --- nothing beats them -----------------------------------------------------------------------------------------


def climb(record: ClosedForm, seed: int) -> float:
    """The normalized margin that projected gradient ascent on the least margin reaches from a random start.

    Smooth in between: ascends −log Σ exp(−β m)/β with β rising, projects onto the ball; an independent, crude search.
    """
    problem, norm = record.problem, get_norm(record.norm)
    rng = np.random.default_rng(seed)
    theta = {name: rng.standard_normal(shape) for name, shape in problem.shapes.items()}
    theta = norm.project(theta)
    best = -np.inf
    for k in range(400):
        m = problem.margins(theta)
        weights = np.exp(-(m - m.min()) * 10 * 1.02**k / max(1e-12, abs(float(record.margin))))
        g = problem.pullback(theta, weights / weights.sum())
        length = np.sqrt(sum((b * b).sum() for b in g.values()))
        if length == 0:
            break
        step = 0.5 * 0.985**k * np.sqrt(sum((b * b).sum() for b in theta.values()))
        theta = norm.project({name: theta[name] + step * g[name] / length for name in theta})
        value = float(norm.value(theta))
        best = max(best, float(problem.min_margin(theta)) / value**problem.degree)
    return best


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_a_crude_search_comes_near_the_margin_and_never_above(record: ClosedForm) -> None:
    reached = [climb(record, seed) for seed in range(3)]
    for seed in range(3, 40):  # three live neurons at once are a matter of luck
        if max(reached) >= float(record.margin) * 0.97:
            break
        reached.append(climb(record, seed))
    assert max(reached) <= float(record.margin) * (1 + 1e-9)
    assert max(reached) >= float(record.margin) * 0.97


@pytest.mark.parametrize("record", [r for r in RECORDS if r.norm == "l2" and r.problem.degree > 1], ids=ids)
def test_slsqp_reaches_the_l2_margin_exactly(record: ClosedForm) -> None:
    problem = record.problem
    p = size(problem.shapes)

    def margins(x: np.ndarray) -> np.ndarray:
        return problem.margins(unflatten(x, problem.shapes)) - 1

    def jacobian(x: np.ndarray) -> np.ndarray:
        return flatten(problem.jacobian(unflatten(x, problem.shapes)), problem.shapes)

    best = 0.0
    for seed in range(8):
        x = np.random.default_rng(seed).standard_normal(p)
        constraint = {"type": "ineq", "fun": margins, "jac": jacobian}
        end = minimize(
            lambda x: (x @ x / 2, x),
            x,
            jac=True,
            constraints=[constraint],
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        ).x
        if margins(end).min() > -1e-9:
            best = max(best, (1 + margins(end).min()) / np.linalg.norm(end) ** problem.degree)
    assert best == pytest.approx(float(record.margin), rel=1e-6)


# --- exact norms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l1", "l2", "linf", "spectral", "nuclear", "schatten:2", "hybrid:3", "spectral;sum"])
def test_exact_norms_are_the_float_norms(name: str) -> None:
    theta = {"W": sp.Array([[1, 2, 0], [0, -3, sp.sqrt(2)]]), "a": sp.Array([sp.Rational(1, 3), -2])}
    norm, floats = get_norm(name), as_floats(theta)
    assert float(exact_value(name, theta)) == pytest.approx(float(norm.value(floats)), rel=1e-13)
    assert float(exact_dual(name, theta)) == pytest.approx(float(norm.dual(floats)), rel=1e-13)


def test_a_norm_without_exact_value_is_refused() -> None:
    theta = {"W": sp.Array([[1, 2], [3, 4]])}
    with pytest.raises(NormError, match="known: 1, 2 and inf"):
        exact_value("entrywise:3", theta)
    with pytest.raises(NormError, match="known: entrywise and Schatten"):
        exact_value("maxrow", theta)


@pytest.mark.parametrize("family", CATALOGUE)
def test_a_norm_without_closed_form_is_refused_by_name(family: str) -> None:
    with pytest.raises(NoClosedForm, match=r"no closed form under the norm 'schatten:3'"):
        CATALOGUE[family][0]("schatten:3")


def test_sizes_without_closed_form_are_refused() -> None:
    with pytest.raises(NoClosedForm, match="three at least"):
        multiclass_simplex("l2", 2)
    with pytest.raises(NoClosedForm, match="width 2"):
        matrix_factorization("l2", 3, 2)


def test_signs_of_algebraic_numbers_are_decided() -> None:
    zero = sp.sqrt(3) * sp.sqrt(2) - sp.sqrt(6) + sp.sqrt(5 + 2 * sp.sqrt(6)) - sp.sqrt(2) - sp.sqrt(3)
    assert exact_sign(zero) == 0
    assert exact_sign(zero + sp.Rational(1, 10**40)) == 1
    assert exact_sign(zero - sp.Rational(1, 10**40)) == -1


# --- the package's own solvers against the exact answers ----------------------------------------------------------


@pytest.mark.parametrize("record", [r for r in [*RECORDS, *SIZES] if r.problem.linear], ids=ids)
def test_the_margin_solver_meets_the_exact_margin(record: ClosedForm) -> None:
    solution = solve_margin(record.problem, get_norm(record.norm))
    assert solution.margin == pytest.approx(float(record.margin), rel=1e-9)
    assert solution.upper == pytest.approx(float(record.margin), rel=1e-9)


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_the_kkt_gap_vanishes_at_the_exact_points(record: ClosedForm) -> None:
    found = kkt_gap(record.problem, as_floats(record.theta), get_norm(record.norm))
    assert abs(found.value) <= 1e-7
    assert found.margin == pytest.approx(float(record.margin), rel=1e-12)
