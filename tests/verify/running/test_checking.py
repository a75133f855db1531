"""The parts of ``check`` that decide by themselves; the whole is tested by the gate and the command line's tests."""

from __future__ import annotations

import pytest
import torch
from msgspec.structs import replace

from maxmargin.solvers.norms import NormError
from maxmargin.verify.judging.facts import Facts
from maxmargin.verify.judging.rules import decide, hopeless
from maxmargin.verify.lab.twin.search import Search
from maxmargin.verify.results.answer import Answer, NoNorm
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


# -- Regimes ------------------------------------------------------------------------------------------------------


class OneMomentABlock(torch.optim.Optimizer):
    """Adam with one second moment for a whole block, behind an eps far below every gradient of a run."""

    def __init__(self, params, lr=1e-3, eps=1e-20):
        super().__init__(params, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state |= {"m": torch.zeros_like(p), "v": p.new_zeros(())}
                state["m"].mul_(0.9).add_(0.1 * p.grad)
                state["v"].mul_(0.95).add_(0.05 * p.grad.square().mean())
                p.sub_(group["lr"] * state["m"] / (state["v"].sqrt() + group["eps"]))


class Uphill(torch.optim.SGD):
    """Gradient ascent."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr, maximize=True)


ADAM = {"betas": (0.9, 0.95)}  # a short memory; eps is torch's default, 1e-8


@pytest.fixture(scope="module")
def adam():
    return check("torch.optim:Adam", kwargs=ADAM, problems=["blocks"])


def test_adam_with_its_default_eps_holds_in_regimes_each_measured(adam):
    assert (adam.answer, adam.norm, adam.claim) == (Answer.REGIMES, "linf", None)
    assert [(r.norm, r.degree, r.outcome) for r in adam.regimes] == [
        ("linf", 0.0, Outcome.HOLDS),
        ("l2", 1.0, Outcome.HOLDS),
    ]
    above, below = adam.regimes
    assert above.above == below.below == adam.probe["floor"]
    assert 1e-7 < above.above < 1e-5
    assert "√v̂ + 0" in above.twin
    assert "l2 ball" in below.twin
    assert above.problems == adam.problems
    assert below.problems[0].evidence["l2"].kkt_gap < 1e-3
    assert adam.until_problem == "blocks@linear"
    assert 1_000 < adam.until_step < 100_000
    assert "the linf margin while the gradient's norm is above" in adam.sentence
    for regime in adam.regimes:  # each has the hypotheses of its own
        assert regime.problems[0].hypotheses["scale invariant"].met is True


@pytest.mark.parametrize(
    ("claim", "answer"),
    [
        ("linf, then l2", Answer.REGIMES),
        ("l2", Answer.REFUTED),  # a plain claim is about what training starts with
        ("spectral", Answer.REFUTED),  # neither regime's
    ],
)
def test_a_claim_of_one_regime_or_of_both(claim, answer):
    found = check("torch.optim:Adam", kwargs=ADAM, claim=claim, problems=["blocks"])
    assert (found.answer, found.claim) == (answer, claim)


def test_an_eps_shields_no_fault():
    """Its steps follow l2 above its eps and below."""
    found = check(OneMomentABlock, claim="linf", problems=["blocks"])
    assert (found.outcome, found.answer) == (Outcome.FAILS, Answer.REFUTED)
    assert [r.norm for r in found.regimes] == [None, "l2"]


def test_two_regimes_cannot_be_claimed_of_an_optimizer_that_has_one():
    found = check("torch.optim:SGD", claim="linf, then l2", problems=["blocks"])
    assert (found.answer, found.norm) == (Answer.REFUTED, None)
    assert "there is one regime" in found.reasons[0]
    with pytest.raises(NormError, match="claims 3 norms"):
        check("torch.optim:SGD", claim="linf, then l2, then l1")


def test_gradient_ascent_has_no_norm_for_that_reason():
    found = check(Uphill, problems=["blocks"])
    assert (found.answer, found.why, found.norm) == (Answer.NO_NORM, NoNorm.ASCENDS, None)
    assert found.sentence.endswith("maximizes no norm's margin: it ascends.")
