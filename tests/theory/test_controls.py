"""Spoiled twins: optimizers that are subtly wrong, and claims that are, must not hold."""

from dataclasses import dataclass, replace

import pytest
import torch

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.claims.catalogue import CLAIMS, Plan
from maxmargin.verify.optimizers.core.base import OPTIMIZERS, Entry
from maxmargin.verify.optimizers.core.logscale import Scaled
from maxmargin.verify.optimizers.steepest import MomentumSteepestDescent
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.verdict import Verdict
from maxmargin.verify.running.campaign import Part
from maxmargin.verify.thresholds.judging import CLAIM_NETWORK

STEPS = {"quick": 16_000, "full": 16_000}


def short(claim, problem="blocks"):
    """The claim's plan on one problem, cut to 16,000 steps and the network's easier bounds."""
    plan = next(p for p in CLAIMS[claim].plans if p.problem == problem)
    return replace(plan, steps=STEPS, bounds=CLAIM_NETWORK)


def verdict_of(claim, plan):
    found = Part(claim, plan, plan.problem, seed=0, first=False).job("quick", "auto").verdict()
    return Verdict(claim.optimizer, {}, found.outcome, None, {}, claim.norm, found.reasons, (found,))


@pytest.mark.theory("controls")
@pytest.mark.parametrize("norm", ["l2", "linf", "spectral", "hybrid"])
def test_a_wrong_claim_fails_and_the_right_one_holds(norm, record_verdict):
    signum = CLAIMS["signum-linf"]
    verdict = verdict_of(replace(signum, norm=norm, id=f"signum-{norm}"), short("signum-linf"))
    if norm == "linf":
        assert record_verdict(verdict).outcome is Outcome.HOLDS
    else:
        assert verdict.outcome is Outcome.FAILS
        assert "linf" in verdict.reasons[0]


@dataclass(frozen=True)
class Spoiled(MomentumSteepestDescent):
    """Momentum steepest descent with one fault, put into its direction."""

    fault: str = ""

    def direction(self, state, gradient, step):
        if self.fault == "reshaped":  # the polar factor of the transposed shape: a classic
            flat = {k: b.reshape(tuple(reversed(b.shape))) for k, b in gradient.blocks.items()}
            u, state = super().direction(state, Scaled(flat, gradient.log_scale), step)
            return {k: v.reshape(gradient.blocks[k].shape) for k, v in u.items()}, state
        u, state = super().direction(state, gradient, step)
        return {k: self.spoil(v) for k, v in u.items()}, state

    def init(self, theta):
        if self.fault == "reshaped":
            theta = {k: b.reshape(tuple(reversed(b.shape))) for k, b in theta.items()}
        return super().init(theta)

    def spoil(self, u):
        if self.fault == "frozen row":
            keep = torch.ones_like(u)
            keep[..., 0] = 0.0
            return u * keep
        if self.fault == "one row flipped" and u.ndim == 2:
            sign = torch.ones_like(u)
            sign[0] = -1.0
            return u * sign
        if self.fault == "vectors ten times slower" and u.ndim == 1:
            return 0.1 * u
        return u


@pytest.mark.theory("controls")
@pytest.mark.parametrize("fault", ["", "frozen row", "one row flipped", "vectors ten times slower", "reshaped"])
def test_a_broken_optimizer_does_not_hold(fault, monkeypatch, record_verdict):
    monkeypatch.setitem(
        OPTIMIZERS, "spoiled", Entry("spoiled", fault, lambda: Spoiled(get_norm("spectral"), 0.9, "ema", fault))
    )
    claim = replace(CLAIMS["muon-spectral"], optimizer="spoiled", id=f"muon: {fault or 'intact'}")
    verdict = verdict_of(claim, short("muon-spectral"))
    if fault:
        assert verdict.outcome is not Outcome.HOLDS
    else:  # the twin without a fault, so that nothing else is what is being caught
        assert record_verdict(verdict).outcome is Outcome.HOLDS


@pytest.mark.theory("controls")
def test_too_few_steps_are_inconclusive_not_a_pass(record_verdict):
    claim = CLAIMS["adam-linf"]
    plan = replace(short("adam-linf"), steps={"quick": 800, "full": 800}, bounds=claim.plans[0].bounds)
    assert isinstance(plan, Plan)
    verdict = record_verdict(verdict_of(claim, plan))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "still closing" in " ".join(verdict.reasons)
