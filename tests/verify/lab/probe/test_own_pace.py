"""An optimizer's own pace: schedules and trust ratios are found, averages that fill up are not taken for one."""

from __future__ import annotations

from math import cos, pi

import pytest
import torch
from toys import Momentum, SignDescent

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.running.checking import check

SHAPES = {"W": (4, 3), "a": (3,)}


class Scheduled(Momentum):
    """Signs of an average, at a learning rate that goes its own way."""

    @staticmethod
    def factor(t):
        return 1.0

    def direction(self, p, state):
        state["step"] = state.get("step", 0) + 1
        return self.factor(state["step"]) * super().direction(p, state).sign()


class Shrinking(Scheduled):
    factor = staticmethod(lambda t: t**-2.0)


class WarmUp(Scheduled):
    factor = staticmethod(lambda t: min(1.0, t / 90))


class Cosine(Scheduled):
    factor = staticmethod(lambda t: 0.5 + 0.5 * cos(min(1.0, t / 500) * pi))


class Trust(Momentum):
    """LARS: as long as the weights."""

    def direction(self, p, state):
        g = super().direction(p, state)
        return g / g.norm() * p.norm()


@pytest.mark.parametrize(("optimizer", "power"), [(Shrinking, -2.0), (WarmUp, 0.85), (Cosine, -2.8)])
def test_a_schedule_of_its_own_is_seen(optimizer, power):
    found = probe(load(optimizer), SHAPES)
    assert found.own_schedule == pytest.approx(power, rel=0.3)
    assert found.trust == 0


@pytest.mark.parametrize(
    ("spec", "kwargs"),
    [
        (Scheduled, {}),
        (Momentum, {}),
        ("torch.optim:SGD", {"momentum": 0.99, "dampening": 0.99}),
        ("torch.optim:SGD", {"momentum": 0.999}),
        ("torch.optim:Adam", {"eps": 0.0}),
        ("torch.optim:RMSprop", {"eps": 0.0, "alpha": 0.999}),
        ("torch.optim:RAdam", {}),
    ],
)
def test_averages_that_fill_up_are_no_schedule(spec, kwargs):
    assert probe(load(spec, kwargs), SHAPES).own_schedule == 0


def test_a_trust_ratio_is_no_schedule_though_the_weights_grow():
    found = probe(load(Trust), SHAPES)
    assert (found.trust, found.own_schedule) == (1.0, 0.0)
    assert probe(load(Scheduled), SHAPES).trust == 0


def test_what_the_pacing_undid_stands_in_the_verdict():
    """Signum with lr/t² covers a finite distance and maximizes nothing in use; only our pacing makes it hold."""
    said = check(Shrinking, problems=["multiclass"]).reasons
    assert any(r.startswith("Its own schedule was undone by our pacing") and "t^-2 " in r for r in said)


class Growing(SignDescent):
    """Each step is a twentieth longer than the one before."""

    def direction(self, p, state):
        state["long"] = 1.05 * state.get("long", 1.0)
        return state["long"] * p.grad.sign()


def test_steps_that_grow_in_each_call_are_no_power_of_their_number():
    said = check(Growing, problems=["multiclass"]).reasons
    assert any("steps change by a factor of 2e+04 while calls double (at most, over 400 calls)" in r for r in said)


def test_how_far_a_twin_was_seen_stands_in_the_verdict():
    verdict = check(torch.optim.SGD, kwargs={"momentum": 0.9}, problems=["multiclass"])
    assert any(r.startswith("What it does after 2000 calls of step(), or on gradients") for r in verdict.reasons)
    assert not any("schedule" in r for r in verdict.reasons)
