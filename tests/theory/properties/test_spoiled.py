"""Each property refuses a spoiled twin of what it speaks of, and its failing example is one line that runs again."""

from __future__ import annotations

import runpy
import shlex
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from theory.properties import test_descent, test_duality, test_gap, test_limits, test_symmetries
from theory.properties.drawn import Data, again, over, refused
from typing_extensions import override

from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.norms import Norm, get_norm, lp
from maxmargin.verify.optimizers.steepest import MomentumSteepestDescent

pytestmark = pytest.mark.theory("properties", verdict=False)
EASY = Data(6, ((3, 4),), 3, 0.0, 5, easy=True)
BLOCKS = Data(6, ((3, 2), (3,)), 2, 0.5, 7)
DESCENTS = [test_descent.Descent(EASY, "entrywise:3"), test_descent.Descent(BLOCKS, "schatten:3", 0.5, "nesterov", 0.4)]


@dataclass(frozen=True)
class Spoiled(MomentumSteepestDescent):
    """Momentum steepest descent with one fault in its direction."""

    fault: str = ""
    wrong: Norm = test_descent.L2

    @override
    def direction(self, state, gradient, step):
        if self.fault == "another norm's":
            return replace(self, of=self.wrong, fault="").direction(state, gradient, step)
        u, state = super().direction(state, gradient, step)
        if self.fault == "one percent longer":
            return {k: 1.01 * b for k, b in u.items()}, state
        if self.fault == "frozen columns":
            first = next(iter(u))
            half = (u[first].shape[-1] + 1) // 2
            return {**u, first: torch.cat([0 * u[first][..., :half], u[first][..., half:]], -1)}, state
        if self.fault == "uphill in a block":
            first = next(iter(u))
            return {**u, first: -u[first]}, state
        return u, state


FAULTS = ["another norm's", "one percent longer", "frozen columns", "uphill in a block"]


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_the_proved_rate_and_alignment(fault, monkeypatch):
    monkeypatch.setattr(
        test_descent,
        "optimizer",
        lambda case: Spoiled(get_norm(case.norm), case.beta, case.kind, fault, get_norm("l1")),
    )
    assert refused(test_descent.steps_keep_the_rate_and_alignment_that_are_proved, DESCENTS) == (2 if fault else 0)


@pytest.mark.parametrize(("claimed", "count"), [(0.5, 0), (0.1, 1)])
def test_an_inexact_lmo_is_worse_than_it_says(claimed, count, monkeypatch):
    monkeypatch.setattr(
        test_descent, "optimizer", lambda case: test_descent.Mixed(get_norm("l2"), 0.0, "ema", 0.5, get_norm("l1"))
    )
    case = replace(DESCENTS[0], norm="l2", share=claimed, other="l1")
    assert refused(test_descent.steps_keep_the_rate_and_alignment_that_are_proved, [case]) == count


@pytest.mark.parametrize("fault", ["", "another norm's", "frozen columns"])
@pytest.mark.parametrize(
    ("statement", "problem", "wrong"),
    [
        (test_limits.every_loss_order_and_seed_ends_at_the_same_margin, EASY, "linf"),
        (test_limits.separated_networks_approach_a_kkt_point_of_their_norm, "binary:n=3,d=4,seed=1@relu2:h=6", "linf"),
    ],
)
def test_where_runs_end(statement, problem, wrong, fault, monkeypatch):
    monkeypatch.setattr(
        test_limits, "get_optimizer", lambda name, kwargs: Spoiled(get_norm("l2"), 0.5, "ema", fault, get_norm(wrong))
    )
    assert refused(statement, [test_limits.Run("momentum-steepest", (), problem)]) == bool(fault)


@pytest.mark.parametrize(
    "statement", [test_symmetries.norms_turn_with_their_blocks, test_symmetries.margins_and_runs_turn_with_their_data]
)
def test_symmetries_of_another_norm(statement, monkeypatch):
    cases = [test_symmetries.Turned(norm, BLOCKS) for norm in ("entrywise:3", "rows:3", "linf")]
    assert refused(statement, cases) == 0
    own = test_symmetries.isometry
    monkeypatch.setattr(test_symmetries, "isometry", lambda norm, *rest: own(get_norm("schatten:3"), *rest))
    assert refused(statement, cases) == 3


@pytest.mark.parametrize("spoil", ["degree", "scale", "order", "multipliers"])
def test_spoiled_gaps(spoil, monkeypatch):
    statement = test_gap.gaps_are_certified_scale_free_and_blind_to_order
    cases = [test_gap.Point(model, 4, 5, 2, 4, "l2", 3, 1e3) for model in ("relu2", "deep")]
    assert refused(statement, cases) == 0
    right = GapEvaluator.__call__

    def wrong(self, theta):
        found = right(self, theta)
        if spoil == "degree":
            return replace(found, value=1 - (1 - found.value) / self.problem.degree)
        if spoil == "scale":
            return replace(found, value=found.value * (1 - 0.01 * (found.norm_value > 100)))
        if spoil == "order":
            return replace(found, value=found.value * (1 - 0.01 * float(self.problem.X[0, 0])))
        return replace(found, multipliers=found.multipliers[::-1].copy(), value=found.value + 0.01)

    monkeypatch.setattr(GapEvaluator, "__call__", wrong)
    assert refused(statement, cases) == 2


def test_gaps_of_another_norm_at_fixed_points(monkeypatch):
    statement = test_gap.gaps_are_zero_at_fixed_points_of_the_steepest_direction
    cases = [test_gap.Point(model, 4, 5, 2, 1, "entrywise:3", 3) for model in ("relu2", "deep")]
    assert refused(statement, cases) == 0
    monkeypatch.setattr(test_gap, "GapEvaluator", lambda problem, norm: GapEvaluator(problem, get_norm("linf")))
    assert refused(statement, cases) == 2


def test_laws_polar_factors_and_margins(monkeypatch):
    law = test_duality.norms_of_drawn_exponents_keep_the_laws, test_duality.Sampled("schatten:3", ((3, 2), (2,)), 1)
    factor = test_duality.polar_factors_are_partial_isometries, test_duality.Sampled("l2", ((4, 3),), 1, rank=2)
    margin = test_duality.margins_are_between_their_certificates, test_duality.Margin("entrywise:3", BLOCKS)
    for statement, case in (law, factor, margin):
        assert refused(statement, [case]) == 0
    monkeypatch.setattr(test_duality, "polar", lambda G: G / np.linalg.norm(G, 2))
    assert refused(factor[0], [factor[1]]) == 1
    solve = test_duality.solve_margin
    for fault in ("upper", "margin"):
        monkeypatch.setattr(
            test_duality,
            "solve_margin",
            lambda *a, f=fault: (lambda s: replace(s, **{f: 1.001 * getattr(s, f)}))(solve(*a)),
        )
        assert refused(margin[0], [margin[1]]) == 1
    monkeypatch.setattr(lp, "conjugate", lambda p: p)
    assert refused(law[0], [law[1]]) == 1


def seeds_are_even(case):
    assert case.seed % 2 == 0


def test_a_failing_example_ends_in_a_line_that_runs_it_again(monkeypatch, capsys):
    cases = st.builds(Data, st.just(4), st.just(((2, 3),)), seed=st.integers(0, 99))
    with pytest.raises(AssertionError) as caught:
        over(cases, 100)(seeds_are_even)()
    line = caught.value.__notes__[-1]
    assert line == again(seeds_are_even, Data(4, ((2, 3),), seed=1))  # shrunk
    words = shlex.split(line)
    assert words[:4] == ["PYTHONPATH=tests", "python", "-m", "theory.properties"]
    monkeypatch.setattr(sys, "argv", words[3:])
    with pytest.raises(AssertionError):
        runpy.run_module("theory.properties", run_name="__main__")
    monkeypatch.setattr(sys, "argv", [*words[3:5], words[5].replace("seed=1", "seed=2")])
    runpy.run_module("theory.properties", run_name="__main__")
    assert "holds" in capsys.readouterr().out
