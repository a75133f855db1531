"""The parts of ``check`` that decide by themselves; the whole is tested by the gate and the command line's tests."""

from __future__ import annotations

import pytest
import torch
from msgspec.structs import replace

from maxmargin.verify.judging.facts import Facts
from maxmargin.verify.judging.rules import decide, hopeless
from maxmargin.verify.lab.twin.search import Search
from maxmargin.verify.results.verdict import Hypothesis, NormEvidence, Outcome, ProblemVerdict
from maxmargin.verify.running.checking import check
from maxmargin.verify.thresholds.judging import CHECK_LINEAR, CHECK_NETWORK, FAR, LATE_MARGIN, SCOUT
from maxmargin.verify.training.train import Training

BOUNDS = CHECK_LINEAR["quick"]
FLAT = NormEvidence(0.2, (0.2, 0.2), 0.6, None, None, 0.0, (-0.01, 0.01))
REFUTED = ProblemVerdict("p", 1, Outcome.FAILS, 100, 2 * LATE_MARGIN, {"l2": FLAT}, {}, norm="l2")


@pytest.mark.parametrize(
    ("changes", "evidence", "hope"),
    [
        ({}, {}, False),
        ({"outcome": Outcome.INCONCLUSIVE}, {}, True),
        ({"final_margin": 0.9 * LATE_MARGIN}, {}, True),  # too early: every sample still counts
        ({}, {"slope_interval": (-0.5, 0.1)}, True),  # it may be falling
        ({}, {"slope_interval": None}, True),
        ({}, {"kkt_gap_range": (0.9 * FAR * BOUNDS.gap, 0.5)}, True),  # one run is not far off
        ({"norm": "linf"}, {}, True),  # nothing was measured
    ],
)
def test_what_leaves_hope(changes, evidence, hope):
    verdict = replace(REFUTED, evidence={"l2": replace(FLAT, **evidence)}, **changes)
    assert hopeless(verdict, BOUNDS) is not hope


SEPARATED = {"separated": Hypothesis(True, 1.0)}


def _decided(tier="full", short_of=10.0, steady=1.0, margin=1e3, **changes):
    """Adam (β₂ = 0.999, eps = 0) on the two-layer network after 8,000,000 steps, as measured."""
    own = NormEvidence(
        0.0214, (0.0147, 0.0295), 0.99997, 0.936, 0.068, -0.275, (-0.284, -0.266), residual=3e-16, apart=0.0
    )
    rows = {"linf": replace(own, **changes), "l2": NormEvidence(0.31, (0.31, 0.33), 0.7, None, None, 0.0, apart=0.2)}
    facts = Facts("linf", rows, SEPARATED, CHECK_NETWORK, tier, 8_000_000, margin, steady, short_of)
    decision = decide(facts)
    return decision.outcome, decision.texts


def test_a_memory_beyond_the_tier_is_judged_by_the_quick_tiers_bounds_and_that_is_said():
    outcome, reasons = _decided()
    assert outcome is Outcome.HOLDS
    assert "by the quick tier's bounds, as its memory asks for 10 times more steps than the full tier" in reasons[-1]
    assert "would be met after about 3.3e+07" in reasons[-1]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"short_of": 1.0}, Outcome.INCONCLUSIVE),  # the tier gave all steps: its own bounds count
        ({"kkt_gap_range": (0.05, 0.11)}, Outcome.INCONCLUSIVE),  # not even the quick tier's
        ({"slope_interval": (-0.3, -0.05)}, Outcome.INCONCLUSIVE),  # perhaps not closing
        ({"slope_interval": (-0.3, -0.05), "steady": 0.9}, Outcome.FAILS),
        ({"alignment": 0.4}, Outcome.FAILS),
        ({"kkt_gap_range": (0.01, 0.019)}, Outcome.HOLDS),  # by the full tier's own
    ],
)
def test_the_quick_tiers_bounds_excuse_nothing_else(changes, outcome):
    found, reasons = _decided(**changes)
    assert found is outcome
    assert not any("quick tier" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.INCONCLUSIVE),  # ADOPT and AdEMAMix remember 10,000 steps
        ({"alignment": 0.4}, Outcome.INCONCLUSIVE),  # momentum lags behind gradients that still turn
        ({"margin": LATE_MARGIN}, Outcome.FAILS),
        ({"short_of": 1.0}, Outcome.FAILS),
        ({"steady": 0.98}, Outcome.FAILS),
        ({"steady": None}, Outcome.FAILS),
    ],
)
def test_a_long_memory_is_not_refuted_while_margins_are_small(changes, outcome):
    plateau = {"kkt_gap_range": (0.3, 0.4), "slope": 0.0, "slope_interval": (-0.01, 0.01), "margin": 0.5 * LATE_MARGIN}
    found, reasons = _decided(**(plateau | changes))
    assert found is outcome
    assert ("too early to tell" in reasons[-1]) == (outcome is Outcome.INCONCLUSIVE)


class Half(torch.optim.Optimizer):
    """Sign descent that moves no odd entries."""

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                step = p.grad.sign().reshape(-1)
                step[1::2] = 0
                p.sub_(group["lr"] * step.reshape(p.shape))


@pytest.fixture
def steps_of(monkeypatch):
    """The share of the steps of every training, in order; quick ones, and in this process."""
    shares = []
    run = Training.run

    def counted(*args, share=1.0, **options):
        shares.append(share)
        return run(*args, share=min(share, 0.6 * SCOUT), **options)

    monkeypatch.setattr(Training, "run", counted)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    return shares


def test_a_hopeless_claim_is_given_up_early_and_only_a_claim(steps_of):
    refuted = check(Half, claim="linf", problems=["multiclass"])
    assert refuted.outcome is Outcome.FAILS
    assert "never move" in " ".join(refuted.reasons)
    assert steps_of == [SCOUT]
    steps_of.clear()
    check(Half, problems=["multiclass"])
    assert steps_of == [1.0]


def test_a_claim_that_may_hold_is_never_judged_early(steps_of, monkeypatch):
    monkeypatch.setattr("maxmargin.verify.lab.examine.search", lambda *_, **__: Search())
    check("torch.optim:SGD", claim="l2", problems=["multiclass"])
    assert steps_of == [SCOUT, 1.0]
