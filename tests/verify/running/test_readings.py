"""From steps to verdict: small weights and other powers have norms of their own, and the plain names do not hold."""

from __future__ import annotations

import pytest
import torch
from toys import Momentum, Rule

from maxmargin.verify import check
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.thresholds.training import STEPS

HOLDS, FAILS, INCONCLUSIVE = Outcome


class Whole(Momentum):
    """Momentum along one direction of all blocks together, vectors by a factor further; ``power`` of the entries."""

    def __init__(self, params, lr=1e-2, factor=1.0, power=1.0):
        super().__init__(params, lr, factor=factor, power=power)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            moments = [super(Whole, self).direction(p, self.state[p]) for p in group["params"]]
            raised = [m.sign() * m.abs() ** group["power"] for m in moments]
            size = torch.stack([u.abs().max() for u in raised]).max()
            for p, u in zip(group["params"], raised, strict=True):
                p.sub_(group["lr"] * (group["factor"] if p.ndim == 1 else 1.0) * u / size)


class FourthRoot(torch.optim.Optimizer):
    """Adam with a root too many: m over the fourth root of v."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.95)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                m, v = (state.setdefault(key, torch.zeros_like(p)) for key in "mv")
                m.lerp_(p.grad, 1 - group["betas"][0])
                v.lerp_(p.grad**2, 1 - group["betas"][1])
                p.sub_(group["lr"] * m / v**0.25)


def signum(factor):
    return {"rule": lambda m: m.sign() * (factor if m.ndim == 1 else 1.0)}


ROWS = [
    (Rule, signum(1.04), None, "weighted linf", {HOLDS}),
    (Rule, signum(1.04), "linf", None, {FAILS}),
    (Rule, signum(1.0), "linf", "linf", {HOLDS}),
    (Whole, {"factor": 1.1}, None, "weighted l2", {HOLDS}),
    (Whole, {"factor": 1.1}, "l2", None, {FAILS, INCONCLUSIVE}),
    (Whole, {"factor": 1.0}, "l2", "l2", {HOLDS}),
    (Whole, {"power": 0.5}, None, "entrywise:3", {HOLDS}),
    (Whole, {"power": 0.5}, "l2", None, {FAILS}),
    (FourthRoot, {}, "linf", None, {FAILS}),
]


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")  # of how far apart two norms are
@pytest.mark.parametrize(("build", "kwargs", "claim", "norm", "outcomes"), ROWS)
def test_verdicts(build, kwargs, claim, norm, outcomes, monkeypatch):
    monkeypatch.setitem(STEPS, "quick", 8_000)
    verdict = check(build, kwargs=kwargs, claim=claim, problems=["blocks"])
    assert verdict.outcome in outcomes, verdict.explain()
    assert verdict.norm == norm


def test_the_norm_that_the_steps_follow_is_named_beside_a_claim(monkeypatch):
    monkeypatch.setitem(STEPS, "quick", 4_000)
    verdict = check(Whole, kwargs={"power": 0.5}, claim="l2", problems=["blocks"])
    assert "gradient enter with power 0.50" in verdict.explain()
    assert "they follow entrywise:3, not l2" in verdict.explain()


def test_a_small_weight_is_named_with_its_digits(monkeypatch):
    monkeypatch.setitem(STEPS, "quick", 4_000)
    verdict = check(Rule, kwargs=signum(1.04), claim="linf", problems=["blocks"])
    assert "ector moves 1.04 times as far as the norm says, beside the other blocks" in verdict.explain()
    assert {b: row["weight"] for b, row in verdict.blocks.items()} == pytest.approx(
        {"tall": 1.04, "wide": 1.04, "square": 1.04, "vector": 1.0}, rel=1e-12
    )
