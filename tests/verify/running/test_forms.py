"""Optimizers whose form is unusual and whose steps are sound: each is examined and judged as any other."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from toys import Descent, Momentum, SignDescent, polar

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.examine import MATRIX_PROBLEMS, Laboratory
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.running.checking import check

SHAPES = {"W": (3, 2), "V": (2, 4), "a": (4,)}


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)


class MatricesOnly(Descent):
    """The polar factor, constructed for matrices alone; nothing about it asks for another instance."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        if any(p.ndim != 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("2-D parameters only")

    def direction(self, p, state):
        return polar(p.grad)


def test_one_for_matrices_alone_is_examined_on_matrices():
    laboratory = Laboratory(load(MatricesOnly))
    assert laboratory.problems() == MATRIX_PROBLEMS
    assert laboratory.examine([MATRIX_PROBLEMS[0]])[0].fingerprint.norm.name == "spectral"


class Composite:
    """Two optimizers behind one step(), with the groups of both and no ``state`` of its own."""

    def __init__(self, params, lr=1e-2):
        params = list(params)
        parts = (MatricesOnly, [p for p in params if p.ndim == 2]), (SignDescent, [p for p in params if p.ndim != 2])
        self.parts = [kind(those, lr) for kind, those in parts if those]

    @property
    def param_groups(self):
        return list(chain.from_iterable(part.param_groups for part in self.parts))

    def zero_grad(self):
        for part in self.parts:
            part.zero_grad()

    def step(self):
        for part in self.parts:
            part.step()


def test_one_without_a_state_of_its_own_is_examined():
    found = check(Composite, problems=["blocks"])
    assert (found.outcome, found.norm) == (Outcome.HOLDS, "hybrid")


class Lookahead(Momentum):
    """Every fifth step halves the way from the slow weights (Zhang et al. 1907.08610), which its state keeps."""

    backwards = False

    @torch.no_grad()
    def step(self, closure=None):
        parameters = [p for group in self.param_groups for p in group["params"]]
        for p in parameters:
            self.state[p].setdefault("slow", p.detach().clone())
        super().step()
        for p in parameters:
            state = self.state[p]
            state["calls"] = state.get("calls", 0) + 1
            if state["calls"] % 5 == 0:
                state["slow"].lerp_(p, -0.5 if self.backwards else 0.5)
                p.copy_(state["slow"])


class Backwards(Lookahead):
    """Its slow weights move away from where the fast ones went."""

    backwards = True


def test_weights_that_a_state_keeps_are_no_obstacle():
    about = probe(load(Lookahead), SHAPES)
    assert about.exactly_invariant
    assert {path[-1]: d for path, d in about.state_degrees.items()} == {"m": 1.0, "slow": 0.0}
    found = check(Lookahead, problems=["blocks"])
    assert (found.outcome, found.norm) == (Outcome.HOLDS, "l2")


def test_nor_are_averages_of_weights_that_no_step_reads():
    about = probe(load(torch.optim.ASGD, {"lambd": 0.0}), SHAPES)
    assert about.exactly_invariant
    assert {path[-1] for path in about.copies} == {"ax"}


def test_nor_an_excuse():
    assert check(Backwards, claim="l2", problems=["blocks"]).outcome is not Outcome.HOLDS
