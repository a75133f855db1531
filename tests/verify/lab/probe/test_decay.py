"""A declared weight decay is switched off, and said to be; one that cannot be is still held against a verdict."""

from __future__ import annotations

import pytest
import torch

from maxmargin.verify import check
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.examine import Laboratory
from maxmargin.verify.lab.probe.decay import without_decay
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.outcome import Outcome

SHAPES = {"W": (4, 3), "a": (5,)}


class Stubborn(torch.optim.SGD):
    """Declares no decay once told so, and decays all the same."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1 - 0.05 * group["lr"])
        super().step(closure)


class Ignores(torch.optim.SGD):
    """Takes a weight decay, and drops it."""

    def __init__(self, params, lr=1e-2, weight_decay=0.0):
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group["weight_decay"] = weight_decay

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad)


@pytest.mark.parametrize(
    ("target", "kwargs", "off"),
    [
        ("torch.optim:AdamW", {}, {"weight_decay": 0.01}),
        ("torch.optim:SGD", {"weight_decay": 0.5, "lr": 0.1}, {"weight_decay": 0.5}),
        ("torch.optim:SGD", {}, {}),
        (Ignores, {"weight_decay": 0.25}, {"weight_decay": 0.25}),
        ("signum", {}, {}),
        (lambda p: torch.optim.SGD(p, weight_decay=0.1), {}, {}),  # no argument switches it off
    ],
)
def test_what_is_switched_off(target, kwargs, off):
    loaded = load(target, kwargs)
    free, found = without_decay(loaded, SHAPES)
    assert found == off
    assert free.kwargs == {**kwargs, **dict.fromkeys(off, 0.0)}
    assert found or free is loaded


def test_the_verdict_says_so():
    verdict = check(torch.optim.SGD, momentum=0.9, weight_decay=0.02, problems=["blocks"])
    assert verdict.answer is Answer.REGIMES
    assert verdict.holds
    assert "while its weight_decay of 0.02 is negligible, maximizes the l2 margin" in verdict.sentence
    assert "switched off for all that follows (weight_decay=0)" in verdict.reasons[0]
    assert verdict.to_json()["switched_off"] == {"weight_decay": 0.02}
    assert verdict.to_json()["kwargs"] == {"momentum": 0.9, "weight_decay": 0.02}


def test_one_that_goes_on_decaying_does_not_hold():
    verdict = check(Stubborn, weight_decay=0.02, problems=["blocks"])
    assert verdict.outcome is not Outcome.HOLDS


def test_a_decay_without_effect_is_still_told():
    laboratory = Laboratory(load(Ignores, {"weight_decay": 0.1}))
    exam = laboratory.examine(["blocks@linear"])[0]
    assert laboratory.switched_off == {"weight_decay": 0.1}
    assert [(k.name, k.value) for k in exam.knobs] == [("weight_decay", 0.1)]
