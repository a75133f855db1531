"""Parameters of one shape that are mixed up, and sound optimizers that only treat them together."""

from __future__ import annotations

import pytest
import torch
from toys import Descent, Momentum, polar

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.faults.same_shapes import mixed_up
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.running.checking import check


class Shared(Descent):
    """One momentum for all parameters of a shape."""

    def direction(self, p, state):
        m = self.state.setdefault(tuple(p.shape), {"m": torch.zeros_like(p)})["m"]
        return m.mul_(0.9).add_(0.1 * p.grad).clone()


class Stacked(Descent):
    """The polar factors of all matrices of a shape at once; ``swapped`` hands them back in the wrong order."""

    def __init__(self, params, lr=1e-2, swapped=False):
        super().__init__(params, lr, swapped=swapped)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                by_shape.setdefault(tuple(p.shape), []).append(p)
            for those in by_shape.values():
                steps = [polar(p.grad) for p in those]
                for p, step in zip(those, steps[::-1] if group["swapped"] else steps, strict=True):
                    p.sub_(group["lr"] * step)


class Common(Descent):
    """Gradient descent at a rate for all, doubled where all gradients together point along the weights."""

    @torch.no_grad()
    def step(self, closure=None):
        params = [p for group in self.param_groups for p in group["params"]]
        along = sum(float((p.grad * p).sum()) for p in params)
        for p in params:
            p.sub_(self.param_groups[0]["lr"] * (2.0 if along > 0 else 1.0) * p.grad)


@pytest.mark.parametrize(("optimizer", "kwargs"), [(Shared, {}), (Stacked, {"swapped": True})])
def test_what_mixes_them_up_is_seen(optimizer, kwargs):
    assert "mixed up where shapes are equal" in mixed_up(load(optimizer, kwargs))


@pytest.mark.parametrize(
    "optimizer", [Stacked, Momentum, torch.optim.Adam, torch.optim.LBFGS], ids=lambda o: o.__name__
)
def test_sound_ones_do_not(optimizer):
    assert not mixed_up(load(optimizer))


def test_what_all_share_is_not_what_one_shape_shares():
    """By chance, the first of these gradients changes the common rate with the sign of a vector of one length alone."""
    assert not mixed_up(load(Common), seed=4)


def test_it_refutes_where_no_problem_has_two_of_a_shape(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    found = check(Shared, claim="l2", problems=["multiclass"])
    assert found.outcome is Outcome.FAILS
    assert "mixed up where shapes are equal" in found.reasons[0]
