"""First calls of step() of another kind: found, left out, and no more of them than there are."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.probe.beginnings import begun
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.regimes import regimes
from maxmargin.verify.lab.twin.search import search

SHAPES = {"W": (4, 3), "a": (5,)}


class Begins(torch.optim.Optimizer):
    """Plain gradient descent for ``first`` calls, then sign descent; in ``again`` calls more, gradient descent."""

    def __init__(self, params, lr=1e-3, first=5, again=()):
        super().__init__(params, {"lr": lr})
        self.first, self.again, self.calls = first, again, 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        plain = self.calls <= self.first or self.calls in self.again
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * (p.grad if plain else p.grad.sign()))


class Own(torch.optim.Optimizer):
    """Sign descent whose steps, of one length over all blocks in a call, are of another in each; or in each block."""

    def __init__(self, params, lr=1e-3, each=False):
        super().__init__(params, {"lr": lr})
        self.each, self.calls = each, 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for group in self.param_groups:
            for i, p in enumerate(group["params"]):
                own = 1.5 + torch.sin(torch.tensor(1.0 * self.calls * (1 + i * self.each)))
                p.sub_(group["lr"] * own * p.grad.sign())


@pytest.mark.parametrize("first", [1, 5, 12])
def test_first_calls_of_another_kind_are_counted(first):
    assert begun(load(Begins, {"first": first}), [SHAPES]).skipped == first


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [
        ("torch.optim:SGD", {"momentum": 0.9}),
        ("torch.optim:Adam", {}),
        ("torch.optim:Adagrad", {}),
        (Begins, {"first": 0}),
        (Begins, {"first": 5, "again": (30,)}),  # no beginning: it goes on doing so
        (Begins, {"first": 1000}),
    ],
)
def test_nothing_is_left_out_elsewhere(target, kwargs):
    loaded = load(target, kwargs)
    assert begun(loaded, [SHAPES]) is loaded


def test_their_moves_are_taken_back_and_their_state_is_kept():
    target = begun(load("torch.optim:RAdam", {"lr": 0.01}), [SHAPES])
    assert pickle.loads(pickle.dumps(target)).skipped == target.skipped == 5
    params = [torch.nn.Parameter(torch.ones(3, dtype=torch.float64))]
    gradient = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    moved = Handle(target, params).advance([gradient])[0]
    plain = [torch.nn.Parameter(torch.ones(3, dtype=torch.float64))]
    optimizer = torch.optim.RAdam(plain, lr=0.01)
    for _ in range(6):
        before, plain[0].grad = plain[0].detach().clone(), gradient.clone()
        optimizer.step()
    assert torch.allclose(moved, plain[0].detach() - before, rtol=1e-12, atol=0)


def test_without_them_it_has_regimes_and_a_twin():
    plain = load("torch.optim:RAdam")
    assert regimes(plain, SHAPES, probe(plain, SHAPES)) is None
    target = begun(plain, [SHAPES])
    two = regimes(target, SHAPES, probe(target, SHAPES))
    assert two is not None
    assert two.degrees == (0.0, 1.0)
    twin = search(two.above, SHAPES, probe(two.above, SHAPES)).twin
    assert twin is not None
    assert twin.optimizer.norm is not None
    assert twin.optimizer.norm.name == "linf"
    assert "a learning rate of its own each step" in twin.text


def test_one_that_lapses_later_has_no_twin():
    spoiled = load(Begins, {"first": 5, "again": (1500,)})
    target = begun(spoiled, [SHAPES])
    assert target.skipped == 5
    assert search(target, SHAPES, probe(target, SHAPES)).twin is None


class Still(torch.optim.Optimizer):
    """Moves as far as an underflow lets it: not at all."""

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        pass


def test_one_that_never_moves_follows_nothing():
    target = load(Still)
    about = replace(probe(target, SHAPES), update_degree=1.0, step_per_lr=1.0, defect=0.0, floor=0.0)
    assert search(target, SHAPES, about).twin is None


def test_a_factor_of_its_own_is_common_to_all_blocks_or_no_twin_is_found():
    common, apart = load(Own), load(Own, {"each": True})
    twin = search(common, SHAPES, probe(common, SHAPES)).twin
    assert twin is not None
    assert "a learning rate of its own each step" in twin.text
    assert search(apart, SHAPES, probe(apart, SHAPES)).twin is None
