"""Optimizers that move on only every so often: several calls are one step, and all else is as if they always did."""

from __future__ import annotations

import pickle

import pytest
import torch
from toys import ErrorFeedback, Momentum

from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import Target, load
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.probe.strides import in_stride

SHAPES = {"W": (4, 3), "a": (5,)}


class Gathers(torch.optim.Optimizer):
    """Adds up gradients, and steps along their sign in every ``every``-th call."""

    def __init__(self, params, lr=1e-3, every=4):
        super().__init__(params, {"lr": lr, "every": every})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["calls"] = state.get("calls", 0) + 1
                total = state.setdefault("total", torch.zeros_like(p)).add_(p.grad)
                if state["calls"] % group["every"] == 0:
                    p.sub_(group["lr"] * total.sign())
                    total.zero_()


class Turns(torch.optim.Optimizer):
    """Block i moves in every call whose number is i modulo the blocks' number."""

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.calls = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for group in self.param_groups:
            p = group["params"][self.calls % len(group["params"])]
            p.sub_(group["lr"] * p.grad.sign())


class Seldom(torch.optim.Optimizer):
    """The vector moves in every third call only: three calls a step, of which it makes one move."""

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.calls = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim == 2 or self.calls % 3 == 0:
                    p.sub_(group["lr"] * p.grad.sign())


class Whenever(Turns):
    """Moves at the squares: no regular interval."""

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        if round(self.calls**0.5) ** 2 == self.calls:
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(group["lr"] * p.grad.sign())


class GoesBack(Momentum):
    """Lookahead (1907.08610): every so often it goes part of the way back to where it last stood."""

    def __init__(self, params, lr=1e-3, every=6, kept=0.5):
        super().__init__(params, lr, every=every, kept=kept)

    @torch.no_grad()
    def step(self, closure=None):
        [group] = self.param_groups
        for p in group["params"]:
            self.state[p].setdefault("slow", p.detach().clone())
        super().step()
        for p in group["params"]:
            state = self.state[p]
            state["calls"] = state.get("calls", 0) + 1
            if state["calls"] % group["every"] == 0:
                p.copy_(state["slow"].lerp_(p, group["kept"]))


def _stride(cls, **kwargs):
    return in_stride(load(cls, kwargs), [SHAPES]).stride


def test_the_interval_is_found():
    assert _stride(Gathers) == 4
    assert _stride(Gathers, every=12) == 12
    assert _stride(Turns) == 2
    assert _stride(Seldom) == 3


def test_a_step_back_every_so_often_ends_one_step():
    assert _stride(GoesBack) == 6
    assert _stride(GoesBack, every=10) == 10
    assert _stride(GoesBack, every=3) == 3
    assert _stride(GoesBack, kept=0.9) == 1  # the way back is shorter than its step
    assert _stride(GoesBack, kept=-0.5) == 1  # it goes the wrong way, and that is for others to say
    assert _stride(ErrorFeedback) == 1
    assert _stride(ErrorFeedback, kept=False) == 1


def test_a_step_that_ends_so_leaves_it_where_it_stands():
    target = in_stride(load(GoesBack), [SHAPES])
    params = [torch.nn.Parameter(torch.randn(s, dtype=torch.float64)) for s in SHAPES.values()]
    handle = Handle(target, params)
    handle.step([torch.randn(s, dtype=torch.float64) for s in SHAPES.values()])
    for p in params:
        torch.testing.assert_close(handle.optimizer.state[p]["slow"], p.detach())


def test_no_interval_or_too_long_a_one_changes_nothing():
    for cls, kwargs in ((Whenever, {}), (Gathers, {"every": 13}), (Gathers, {"every": 1})):
        target = load(cls, kwargs)
        assert in_stride(target, [SHAPES]) is target
    waits_first = load("torch.optim:Adam", {"lr": 1e-3})
    assert in_stride(waits_first, [SHAPES]) is waits_first


def test_several_problems_share_one_stride():
    assert in_stride(load(Turns), [SHAPES, SHAPES | {"b": (2,)}]).stride == 6


def _step(target: Target):
    params = [torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for s in SHAPES.values()]
    handle = Handle(target, params)
    handle.set_lr(1.0)
    gradients = [torch.randn(s, dtype=torch.float64) for s in SHAPES.values()]
    handle.step(gradients)
    return [p.detach() for p in params], gradients


@pytest.mark.parametrize(("cls", "length"), [(Gathers, (1, 1)), (Turns, (1, 1)), (Seldom, (3, 1))])
def test_a_step_moves_every_block(cls, length):
    moved, gradients = _step(in_stride(load(cls), [SHAPES]))
    for after, g, times in zip(moved, gradients, length, strict=True):
        torch.testing.assert_close(after, -1e-3 * times * g.sign())


def test_the_probe_sees_a_memoryless_sign_and_says_how_it_steps():
    found = probe(in_stride(load(Gathers), [SHAPES]), SHAPES)
    assert (found.stride, found.idle_steps, found.skips) == (4, 0, 0)
    assert found.update_degree == 0
    assert found.memory == 1.0
    assert found.lr_error == pytest.approx(0, abs=1e-12)
    assert "Every 4th call of step() is of another kind than those between" in found.findings[0]
    plain = probe(load(Gathers), SHAPES)
    assert plain.stride == 1
    assert plain.idle_steps == 3  # what it looks like without a stride
    assert not any("call of step()" in text for text in plain.findings)


def test_the_stride_travels_to_other_processes():
    target = in_stride(load("torch.optim:SGD", {"lr": 0.1}), [SHAPES])
    assert pickle.loads(pickle.dumps(target)).stride == 1
    strided = Target(target.spec, target.kwargs, factory=target.factory, stride=5)
    there = pickle.loads(pickle.dumps(strided))
    assert (there.stride, there.factory, dict(there.kwargs)) == (5, torch.optim.SGD, {"lr": 0.1})
