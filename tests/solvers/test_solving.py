"""``solve``: known answers, the JSON contract, the readable table, refusals."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers import solve
from maxmargin.solvers.exact import near
from maxmargin.solvers.exact.agreement import compare
from maxmargin.solvers.exact.answers import answers
from maxmargin.solvers.exact.kkt_certificate import Stated
from maxmargin.solvers.exact.near import prove_near
from maxmargin.solvers.linear import dual_check
from maxmargin.solvers.linear.dual_check import second_route
from maxmargin.solvers.linear.optimum import NotSeparable
from maxmargin.solvers.norms import NormError, get_norm
from maxmargin.solvers.solving import NoKKTPoint
from maxmargin.solvers.versions import versions

KEYS = {
    "schema",
    "problem",
    "norm",
    "margin",
    "enclosure",
    "kkt_gap",
    "class",
    "rung",
    "multipliers",
    "parameters",
    "points",
    "theory",
    "second_route",
    "proof",
    "versions",
    "seconds",
}
POINT = {"margin", "enclosure", "kkt_gap", "class", "rung", "multipliers", "parameters"}


@pytest.mark.parametrize(("norm", "margin"), [("spectral", 1.0), ("linf", 2.0), ("l2", 2**-0.5), ("nuclear", 0.5)])
def test_g2_is_solved_and_enclosed(norm: str, margin: float) -> None:
    solution = solve(problems.get("basis:k=3@linear"), norm, certify=True)
    assert solution.best.margin == pytest.approx(margin, rel=1e-9)
    assert solution.best.kind == "global"
    assert solution.best.rung == "certified"
    box = solution.best.enclosure
    assert box is not None
    assert box.lo <= margin * (1 + 1e-15)
    assert margin * (1 - 1e-15) <= box.hi
    assert box.hi / box.lo - 1 <= 1e-8


CHEAP = [
    record
    for name in ("G3", "G3-pair", "G4", "G6")
    for record in answers(problems.get(name))
    if record.kind == "global"
]


@pytest.mark.parametrize("record", CHEAP, ids=lambda record: record.id)
def test_exact_optima_of_nonlinear_problems_are_found(record: Stated) -> None:
    solution = solve(record.problem, record.norm, starts=2, seed=2)
    assert solution.best.margin == pytest.approx(float(record.margin), rel=1e-7)
    assert solution.best.kkt_gap <= 1e-7
    assert solution.best.residual <= 1e-8
    assert solution.best.rung == "numerical"


@pytest.mark.parametrize(
    ("spec", "norm", "starts"),
    [("multiclass:n=6,d=5,k=3@linear", "hybrid", 1), ("point:x=1:2@diagonal:depth=3", "l2", 6)],
)
def test_json_has_the_contract_and_its_numbers_hold(spec: str, norm: str, starts: int) -> None:
    problem = problems.get(spec)
    solution = solve(problem, norm, starts=starts)
    data = json.loads(json.dumps(solution.to_json(), allow_nan=False))
    assert set(data) >= KEYS
    assert data["schema"] == 1
    assert (data["problem"], data["norm"]) == (problem.name, norm)
    assert data["enclosure"] is None
    assert data["versions"] == versions()
    assert data["seconds"] > 0
    assert len(data["points"]) == (0 if problem.linear else 2)
    margins = [data["margin"]]
    for point in [data, *data["points"]]:
        assert set(point) >= POINT
        # Recomputed from the JSON alone.
        theta = {name: np.array(block) for name, block in point["parameters"].items()}
        lam = np.array(point["multipliers"])
        L, N = problem.degree, get_norm(norm)
        assert {name: block.shape for name, block in theta.items()} == dict(problem.shapes)
        assert lam.min() >= 0
        assert lam.sum() == pytest.approx(1)
        margin = float(problem.min_margin(theta)) / float(N.value(theta)) ** L
        gap = 1 - L * float(problem.min_margin(theta)) / float(N.value(theta)) / float(
            N.dual(problem.pullback(theta, lam))
        )
        assert margin == pytest.approx(point["margin"], rel=1e-12)
        assert gap == pytest.approx(point["kkt_gap"], abs=1e-12)
        assert gap <= 1e-7
        assert point["class"] in {"global", "local maximum", "saddle", "unknown"}
        margins.append(point["margin"])
    assert margins == sorted(margins, reverse=True)
    if problem.linear:
        assert data["duality_gap"] <= 1e-7
        assert data["rung"] == "convex dual certificate"
    else:
        assert data["duality_gap"] is None


def test_table_is_readable() -> None:
    text = solve(problems.get("basis:k=3@linear"), "linf", certify=True).table()
    assert text.splitlines()[0].endswith("under linf")
    for word in ("margin", "KKT gap", "global", "certified", " over ", "enclosure of the optimum"):
        assert word in text
    assert "[" in text  # the enclosure
    several = solve(problems.get("point:x=1:2@diagonal:depth=3"), "l2", starts=6).table()
    assert "saddle" in several
    assert "local maximum" in several
    assert "enclosure" not in several  # nonlinear: there is none, and no empty column for it
    assert "\n3  0.172" in several


def test_progress_counts_to_its_total() -> None:
    for spec, certify in (("basis:k=3@linear", True), ("point:x=1:2@diagonal:depth=2", False)):
        calls: list[tuple[int, int, str]] = []
        solve(problems.get(spec), "l2", certify=certify, progress=lambda *call: calls.append(call))  # noqa: B023
        assert calls[-1][0] == calls[-1][1]
        assert all(isinstance(text, str) for _, _, text in calls)


def test_what_cannot_be_solved_is_refused() -> None:
    X = np.array([[1.0, 0.0], [1.0, 0.0]])
    same = Problem.of("twins", BlockLinear((("w", (2,)),)), X, [0, 1])
    with pytest.raises(NotSeparable) as caught:
        solve(same, "l2")
    np.testing.assert_allclose(caught.value.multipliers, 0.5)
    with pytest.raises(NormError, match="did you mean 'spectral'"):
        solve(same, "specral")
    from maxmargin.models.families.diagonal import Diagonal

    with pytest.raises(NoKKTPoint, match="none of 9 starts"):
        solve(Problem.of("twins", Diagonal(2, 2), X, [0, 1]), "l2")


def test_numbers_json_cannot_hold_become_null() -> None:
    solution = solve(problems.get("basis:k=3@linear"), "l2")
    object.__setattr__(solution.best, "residual", math.inf)
    assert solution.to_json()["residual"] is None


@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_the_margin_lies_in_its_enclosure_at_any_scale_of_the_data(norm, factor):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((12, 6))
    problem = Problem.of("scaled", BlockLinear((("w", (6,)),)), factor * X, np.sign(X @ rng.standard_normal(6)))
    found = solve(problem, norm, certify=True).to_json()
    assert found["enclosure"][0] <= found["margin"] <= found["enclosure"][1]
    assert found["enclosure"][1] / found["enclosure"][0] - 1 <= 1e-9


# --- theory beside what was found


@pytest.mark.parametrize(
    ("name", "norm", "exact", "kind"),
    [("F1", "l2", "sqrt(17)/16", "global"), ("F2", "linf", "3", "global"), ("G2:k=5", "spectral", "1", "global")],
)
def test_theory_is_shown_beside_what_was_found(name: str, norm: str, exact: str, kind: str) -> None:
    solution = solve(problems.get(name), norm, starts=3)
    theory = json.loads(json.dumps(solution.to_json()["theory"]))
    assert theory["agrees"] is True
    first = theory["points"][0]
    assert (first["exact"], first["class"], first["found"], first["verified"]) == (exact, kind, 1, None)
    assert first["difference"] <= 1e-7
    assert first["margin"] == pytest.approx(solution.best.margin, rel=1e-7)
    assert f"theory says: {kind}, margin {exact}" in solution.table()


def test_what_theory_states_and_nobody_found_is_said() -> None:
    solution = solve(problems.get("F1"), "l2")
    assert solution.theory is not None
    missed = [point for point in solution.theory.points if point.stated.id == "F1-l2"]
    assert [(point.stated.kind, point.found, point.difference) for point in missed] == [("saddle", None, None)]
    assert "theory says: saddle, margin 1/8 = 0.125 (F1-l2); not among the points found" in solution.table()


def test_theory_is_silent_where_it_has_no_answer() -> None:
    solution = solve(problems.get("multiclass"), "l2")
    assert solution.theory is None
    assert solution.to_json()["theory"] is None
    assert "theory" not in solution.table()


@pytest.mark.parametrize(
    ("found", "agrees"),
    [
        ([(3**0.5 / 9, "global")], True),
        ([(3**0.5 / 9, "unknown"), (6**0.5 / 18, "saddle")], True),
        ([(0.2, "unknown")], False),  # above the stated optimum
        ([(3**0.5 / 9, "saddle")], False),
        ([(3**0.5 / 9, "global"), (6**0.5 / 18, "local maximum")], False),
    ],
)
def test_a_contradiction_to_theory_is_said(found: list[tuple[float, str]], agrees: bool) -> None:
    theory = compare(problems.get("F4"), "l2", found, verify=True)
    assert theory is not None
    assert theory.agrees is agrees
    assert ("DISAGREE" in theory.text()) is not agrees
    assert [point.verified for point in theory.points] == [True, True]


# --- the second route


def test_the_second_route_agrees_and_a_wrong_margin_does_not() -> None:
    problem, norm = problems.get("multiclass"), get_norm("spectral")
    solution = solve(problem, norm, certify=True)
    assert solution.second_route is not None
    assert solution.second_route.difference is not None
    assert solution.second_route.difference <= 1e-6
    assert "second route" in solution.table()
    wrong = second_route(problem, norm, 1.01 * solution.best.margin)
    assert wrong.difference == pytest.approx(0.01, rel=0.02)
    assert solve(problem, norm).second_route is None


def test_a_second_route_that_leads_nowhere_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual_check, "SECONDS", 1e-9)
    found = second_route(problems.get("digits-3"), get_norm("spectral"), 1.0)
    assert found.margin is None
    assert found.refused is not None
    assert "CLARABEL" in found.refused or "Solver" in found.refused
    assert "second route: none" in found.text()


# --- the proof


@pytest.mark.parametrize(
    ("spec", "norm"), [("G2", "l2"), ("G6", "l2"), ("multiclass", "spectral"), ("binary@relu2:h=4", "linf")]
)
def test_a_solution_is_proved_to_lie_near_an_exact_kkt_point(spec: str, norm: str) -> None:
    problem = problems.get(spec)
    solution = solve(problem, norm, prove=True)
    proof = json.loads(json.dumps(solution.to_json()["proof"], allow_nan=False))
    assert set(proof) == {"proved", "radius", "argument", "statement", "refused"}
    assert proof["proved"] is True
    assert proof["refused"] is None
    assert 0 <= proof["radius"] <= 1e-4
    assert "Krawczyk" in proof["argument"]
    assert ("global optimum" in proof["statement"]) == problem.linear
    lo, hi = (float(v) for v in re.search(r"margin in \[(.*), (.*)\]", proof["statement"]).groups())
    assert lo == pytest.approx(solution.best.margin, rel=1e-5)
    assert lo <= hi <= lo * (1 + 1e-12)
    if solution.theory is not None:  # the exact number lies in the interval, compared exactly
        exact = next(a.margin for a in answers(problem, norm) if a.kind == "global")
        assert lo <= exact <= hi
        assert solution.theory.points[0].verified is True


def test_a_wrong_point_is_not_proved() -> None:
    problem, norm = problems.get("binary@relu2:h=4"), get_norm("l2")
    best = solve(problem, norm).best
    rng = np.random.default_rng(0)
    off = {name: block + 1e-3 * rng.standard_normal(block.shape) for name, block in best.parameters.items()}
    assert prove_near(problem, best.parameters, best.multipliers, norm).proved
    fewer = np.where(best.multipliers == best.multipliers.max(), 0, best.multipliers)  # a margin taken for inactive
    for theta, lam in ((off, best.multipliers), (best.parameters, fewer)):
        found = prove_near(problem, theta, lam, norm)
        assert (found.proved, found.radius, found.statement) == (False, None, "")
        assert found.refused
        assert found.text().startswith("not proved: ")


def test_what_cannot_be_proved_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problems.get("G2")
    assert "no polynomial system" in str(solve(problem, "nuclear", prove=True).to_json()["proof"]["refused"])
    best = solve(problem, "l2").best
    monkeypatch.setattr(near, "LARGEST", 8)
    large = prove_near(problem, best.parameters, best.multipliers, get_norm("l2"))
    assert large.refused == "the model has 9 parameters; a proof is attempted up to 8"
    monkeypatch.undo()

    class Shifted(MulticlassLinear):
        def scores(self, theta, X):
            return super().scores(theta, X) + 2.0**-60

    shifted = Problem.of("shifted", Shifted(3, 3), np.eye(3), np.arange(3))
    untrue = prove_near(shifted, best.parameters, best.multipliers, get_norm("l2"))
    assert untrue.refused is not None
    assert "degree is not proved" in untrue.refused
    assert solve(problem, "l2").to_json()["proof"] is None
