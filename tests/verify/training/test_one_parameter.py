"""One parameter for all blocks of a run: the steps of the blocks, or else the blocks."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from toys import Descent, ErrorFeedback, Momentum, SignDescent

from maxmargin.models import problems
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.engine.run import starts
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.training import blackbox_run
from maxmargin.verify.training.blackbox_run import run_blackbox
from maxmargin.verify.training.one_parameter import one_parameter

SHAPES = {"W": (3, 4), "square": (2, 2), "a": (3,)}
LINEAR, NETWORK = "blocks@linear", "binary@relu2:h=6"


class UnitBlocks(Descent):
    def direction(self, p, state):
        return p.grad / p.grad.norm()


class UnitRows(Descent):
    """Treats vectors as entries, matrices by their rows."""

    def direction(self, p, state):
        return p.grad / p.grad.norm(dim=-1, keepdim=True) if p.ndim > 1 else torch.sign(p.grad)


class CountsBlocks(Momentum):
    """A counter in the group that advances at every parameter: four times as fast with four blocks."""

    def direction(self, p, state):
        group = self.param_groups[0]
        group["k"] = group.get("k", 0) + 1
        return super().direction(p, state)


class CountsBlocksItself(Momentum):
    count = 0

    def direction(self, p, state):
        self.count += 1
        return super().direction(p, state)


class RemembersLengths(SignDescent):
    """Steps by signs, and keeps of each block what nothing but a later step would show."""

    def direction(self, p, state):
        state["length"] = p.grad.norm().clone()
        return super().direction(p, state)


class LaterByBlocks(Momentum):
    """Signs of the average, from its 300th call on the average over each block's norm."""

    def direction(self, p, state):
        state["calls"] = state.get("calls", 0) + 1
        m = super().direction(p, state)
        return m.sign() if state["calls"] < 300 else m / m.norm()


def sgd_and_adam(params, lr=0.1):
    first, *rest = params
    groups = [{"params": [first], "lr": lr}, {"params": rest, "lr": lr / 8}] if rest else [{"params": [first]}]
    return torch.optim.SGD(groups, lr=lr)


def _against(target, kwargs=None, shapes=SHAPES):
    loaded = load(target, kwargs)
    return one_parameter(loaded, shapes, probe(loaded, shapes))


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [
        ("torch.optim:SGD", {"momentum": 0.9}),
        ("torch.optim:Adam", {}),
        ("torch.optim:NAdam", {"eps": 0.0}),
        (Descent, {}),
        (Momentum, {}),
    ],
)
def test_one_parameter_stands_for_all_blocks_where_that_changes_nothing(target, kwargs):
    assert _against(target, kwargs) is None


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (UnitBlocks, "moves in another way"),
        (UnitRows, "moves in another way"),
        (ErrorFeedback, "moves in another way"),
        ("torch.optim:Adafactor", "its blocks keep different state"),
        (CountsBlocks, "its state is not that of its blocks"),
        (CountsBlocksItself, "belongs to no parameter (count"),
        (RemembersLengths, "its state is not that of its blocks"),
        (sgd_and_adam, ""),
        ("torch.optim:Rprop", "learning rates in torch's own way"),
        ("torch.optim:Adagrad", "read off block by block"),
    ],
)
def test_otherwise_blocks_stay_parameters(target, why):
    assert why in _against(target)


def test_one_block_is_one_parameter_anyway():
    assert "one block only" in _against(Descent, shapes={"W": (3, 4)})


def _runs(target, problem, steps, **how):
    loaded, problem = load(target, {}), problems.get(problem)
    start = starts(problem, 2, seed=0, scale=0.02)
    return run_blackbox(loaded, problem, start, probe(loaded, problem.shapes), steps=steps, **how)


@pytest.mark.parametrize("problem", [LINEAR, NETWORK])
@pytest.mark.parametrize("target", ["torch.optim:Adam", Momentum])
def test_runs_are_those_of_the_blocks_to_the_last_bit(target, problem, caplog):
    with caplog.at_level(logging.INFO):
        found = _runs(target, problem, 600)
    assert "one parameter stands for all blocks" in caplog.text
    blocks = _runs(target, problem, 600, whole=False)
    for name, theta in blocks.theta.items():
        np.testing.assert_array_equal(found.theta[name], theta)


def test_a_step_that_differs_on_the_way_is_seen_and_the_run_made_on_blocks(caplog, monkeypatch):
    assert _against(LaterByBlocks) is None  # its first steps are the same
    with caplog.at_level(logging.INFO):
        found = _runs(LaterByBlocks, LINEAR, 600)
    assert "moves in another way than on its blocks" in caplog.text
    blocks = _runs(LaterByBlocks, LINEAR, 600, whole=False)
    np.testing.assert_array_equal(found.theta["tall"], blocks.theta["tall"])
    monkeypatch.setattr(blackbox_run, "CHECKED", 10**9)
    unseen = _runs(LaterByBlocks, LINEAR, 600)
    assert np.abs(unseen.theta["tall"] - blocks.theta["tall"]).max() > 1e-3
