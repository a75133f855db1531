"""``solve``: known answers, the JSON contract, the readable table, refusals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.families.linear import BlockLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers import solve
from maxmargin.solvers.exact.closed_forms import ClosedForm, closed_forms
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
    record for record in closed_forms() if record.problem.degree > 1 and record.id.split("-")[0] in {"G3", "G4", "G6"}
]


@pytest.mark.parametrize("record", CHEAP, ids=lambda record: record.id)
def test_exact_optima_of_nonlinear_problems_are_found(record: ClosedForm) -> None:
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
