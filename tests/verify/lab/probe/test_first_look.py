"""Optimizers that move nothing, or are finite nowhere, are refused at once; any that does less harm is not."""

import pytest
import torch
from toys import Descent, SignDescent

from maxmargin.models import problems
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.lab.probe.first_look import CALLS, refuse_hopeless

SHAPES = [problems.get(name).shapes for name in ("blocks", "multiclass")]


class Nothing(Descent):
    def step(self, closure=None):
        pass


class Nan(Descent):
    def direction(self, p, state):
        return p.grad * float("nan")


class Inf(Descent):
    def direction(self, p, state):
        return p.grad * float("inf")


class NoVectors(Nan):
    def direction(self, p, state):
        if p.ndim == 1:
            raise ValueError("matrices only")
        return super().direction(p, state)


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        (Nothing, f"moved no weight in {CALLS} calls"),
        (Nan, "the very first call of its step"),
        (Inf, "no weight finite"),
        (NoVectors, "no weight finite"),
    ],
)
def test_the_hopeless_is_refused_in_words(optimizer, says):
    with pytest.raises(TargetError, match=says) as refusal:
        refuse_hopeless(load(optimizer), SHAPES)
    assert "needed " in str(refusal.value)
    assert ("torch.manual_seed(0)" in str(refusal.value)) is (optimizer is not Nothing)


def test_a_rate_of_zero_moves_nothing():
    with pytest.raises(TargetError, match="moved no weight"):
        refuse_hopeless(load("torch.optim:SGD", {"lr": 0.0}), SHAPES)


def some(block, call, bad):
    """Spoiled on one block, or in one call alone: the experiments say more of it than a refusal would."""

    class Some(Descent):
        def direction(self, p, state):
            state["step"] = state.get("step", 0) + 1
            good = p.grad if bad != "still" else 0 * p.grad
            spoiled = p.grad * float("nan") if bad != "still" else p.grad
            return spoiled if (block is None or p.ndim == block) and state["step"] == call else good

    return Some


@pytest.mark.parametrize(
    "optimizer",
    [
        SignDescent,
        some(1, 1, "nan"),  # only the vector is not finite
        some(None, 2, "nan"),  # the first call is sound
        some(None, 30, "still"),  # moves once, late
        some(1, 1, "still"),  # moves the vector alone
    ],
)
def test_what_moves_or_is_finite_somewhere_goes_on(optimizer):
    refuse_hopeless(load(optimizer), SHAPES)


def test_what_is_not_finite_at_one_size_alone_goes_on():
    class Large(Descent):
        def direction(self, p, state):
            return p.grad * (float("nan") if p.grad.norm() > 1e4 else 1.0)

    refuse_hopeless(load(Large), SHAPES)


def test_our_own_are_known():
    refuse_hopeless(load("signum"), SHAPES)


def test_the_random_state_is_left_as_it_was():
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    refuse_hopeless(load(SignDescent), SHAPES)
    assert torch.equal(torch.rand(1), wanted)
