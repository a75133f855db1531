"""The page of the experiment on odd and even digits: measured on a small problem, written, drawn."""

import importlib.util
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.claims.measures import starts

SPEC = importlib.util.spec_from_file_location("bench_mnist", Path(__file__).with_name("bench_mnist.py"))
assert SPEC is not None
assert SPEC.loader is not None
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)


@pytest.fixture(scope="module")
def rows():
    patch = pytest.MonkeyPatch()
    plan = {"data": "binary", "h": 8, "steps": 2_000, "first": (0.3,), "lowest": None, "seeds with Γ": 2, "matched": 1}
    patch.setattr(bench, "SIZES", {"digits": plan, "mnist": plan | {"first": (0.1, 0.3), "lowest": 5}})
    patch.setattr(bench, "SEEDS", 3)
    keys = ["digits relu2 ngd", "digits relu2 muon"]
    yield json.loads(json.dumps({key: bench.measure(key) for key in keys}, allow_nan=False))
    patch.undo()


def test_a_row_has_margins_and_gaps_that_fit(rows):
    row = rows["digits relu2 ngd"]
    margins = {n: np.array(row["margin"][n]) for n in bench.NORMS}
    assert margins["l2"].shape == (len(row["steps"]), row["separated"])
    # ‖W‖_sp ≤ ‖θ‖₂, so the other way round for margins of one q.
    assert (margins["spectral"][-1] >= margins["l2"][-1]).all()
    assert 0 <= row["gaps at the end"]["l2"][0] < row["gaps at the end"]["linf"][0] <= 1
    if row["matched"]["residual"] <= 1e-8:
        assert row["matched"]["cos"] > 0.8


def test_the_page_names_the_own_norm_and_the_figure_is_drawn(rows):
    text = bench.report(rows)
    assert "## digits, squared ReLU" in text
    (own,) = [
        line for line in text.splitlines() if line.startswith("| muon |") and "of 10" not in line and "of 3" not in line
    ]
    assert own.split("|")[4].strip().startswith("**")
    none = {"digits relu2 signum": {"separated": 0, "wrong": 17.0, "n": 6, "weights": 5}}
    assert "| signum | – | – | – | – | 0 of 3: 17 images on the wrong side | – |" in bench.report(rows | none)
    drawn = ElementTree.fromstring(bench.figure(rows, "digits", "relu2"))
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}path")) >= 8 + 8 * 2
    assert bench.figure(rows, "mnist", "relu2") == ""


def test_gaps_are_of_the_weights_and_not_of_their_length():
    problem = problems.get("binary:n=6,d=4@relu2:h=4")
    gap = bench.Gap(problem, get_norm("l2"))
    theta = {k: np.abs(b.numpy()) for k, b in problem.model.init(3).items()}
    one, two = gap(theta), gap({k: 7 * b for k, b in theta.items()})
    assert one == two or abs(one - two) < 1e-9


def test_few_multipliers_bound_the_gap_from_above():
    problem, norm = problems.get("blocks"), get_norm("l2")
    theta = {k: b.numpy() for k, b in starts(problem, 1, scale=1.0).items()}
    theta = {k: b[0] + 30 * _mean(problem)[k] for k, b in theta.items()}
    exact, *bounds = (bench.Gap(problem, norm, n)(theta) for n in (None, problem.n_margins, 4, 1))
    assert exact < 1
    assert bounds[0] == pytest.approx(exact, abs=1e-6)
    assert bounds == sorted(bounds)
    assert bounds[-1] > exact + 0.01


def _mean(problem):
    gradient = problem.pullback({k: np.zeros(s) for k, s in problem.shapes.items()}, np.ones(problem.n_margins))
    return {k: np.asarray(g) / problem.n_margins for k, g in gradient.items()}


def test_the_first_rate_is_one_that_separates_else_the_one_with_the_fewest_wrong():
    problem = problems.get("blocks")
    best = _mean(problem)

    def ended(share):
        class Path:
            @staticmethod
            def at(_, __):
                return {k: (1 if share < 0.5 else -1) * b for k, b in best.items()}

        return Path

    assert bench._first(problem, (1.0, 0.3, 0.1), ended) == 0.3
    assert bench._first(problem, (2.0, 1.0), ended) == 2.0
