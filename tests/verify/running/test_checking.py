"""What a check decides as a whole, on problems where the answer is known beforehand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toys import ErrorFeedback, OnSphere, SignDescent, Sums, Tires

from maxmargin.models import problems
from maxmargin.solvers.norms import NormError, get_norm
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.examine import Laboratory
from maxmargin.verify.results.answer import Answer, NoNorm
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.running import trial
from maxmargin.verify.running.checking import check
from maxmargin.verify.training import train as training

SHARED = "point:x=1:1@relu2:h=1"
"""One sample: the KKT directions of ℓ2, ℓ∞ and ℓ1 are one and the same."""


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)


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


def test_a_fault_is_refuted_and_named():
    refuted = check(Half, claim="linf", problems=["multiclass"])
    assert refuted.outcome is Outcome.FAILS
    assert "never move" in " ".join(refuted.reasons)


def test_norms_that_share_the_kkt_point_are_not_told_apart():
    found = check("signum", problems=[SHARED])
    assert found.outcome is Outcome.INCONCLUSIVE
    assert any("cannot tell l2 from linf, l1" in reason for reason in found.reasons)
    (problem,) = found.problems
    assert problem.evidence["linf"].apart < 1e-6
    assert not problem.evidence["linf"].same


def test_a_correct_claim_is_not_refuted_where_norms_share_the_kkt_point():
    found = check("signum", claim="linf", problems=[SHARED])
    assert found.outcome is Outcome.INCONCLUSIVE
    assert any("cannot tell linf from l2, l1" in reason for reason in found.reasons)
    assert check("signum", claim="spectral", problems=[SHARED]).outcome is Outcome.FAILS


def test_a_run_that_is_left_alone_is_no_pass():
    """The first of the two starts never separates there."""
    (problem,) = check("signum", claim="linf", problems=[SHARED]).problems
    assert (problem.runs, problem.separated_runs) == (2, 1)
    assert problem.hypotheses["separated"].met is None


@pytest.mark.parametrize("wrong", ["spectral", "l2"])
def test_a_norm_that_differs_on_the_vector_alone_is_a_control(wrong):
    """Hybrid is spectral but on vectors: on blocks that decides."""
    found = check("muon-signum", claim=wrong, problems=["blocks"])
    assert found.outcome is Outcome.FAILS
    assert any("another norm's" in reason and "under hybrid" in reason for reason in found.problems[0].reasons)
    (problem,) = check("muon-signum", problems=["blocks"]).problems
    assert problem.outcome is Outcome.HOLDS
    assert problem.evidence["spectral"].apart == pytest.approx(0.51, abs=0.02)


def test_what_is_judged_for_a_norm_that_was_not_asked_for_is_matched_then():
    laboratory = Laboratory(load("signum", None))
    (exam,) = laboratory.examine([SHARED])
    job = trial._job(laboratory.target, dataclasses.replace(exam, claimed=()), trial.Plan("quick", 0, "cpu"), "")
    job = dataclasses.replace(job, training=dataclasses.replace(job.training, steps=4000))
    found = job.run()
    assert found.evidence.matches == {}
    judged = job.judge(found, get_norm("linf"))
    assert judged.evidence["spectral"].apart > 0.1
    assert list(found.evidence.matches) == ["linf"]
    assert problems.get(SHARED).name == judged.problem


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


def test_who_stops_has_no_norm_for_that_reason(monkeypatch):
    monkeypatch.setitem(training.STEPS, "quick", 3_000)
    found = check(Tires, problems=["blocks"])
    assert (found.answer, found.why, found.outcome) == (Answer.NO_NORM, NoNorm.STOPS, Outcome.FAILS)
    assert found.sentence.endswith("maximizes no norm's margin: it stops, whatever the learning rate.")
    assert found.reasons[0].startswith("blocks@linear: its weights stand still from step ")
    assert "on, where the gradient's norm is " in found.reasons[0]
    assert "nan" not in " ".join(found.reasons)
    assert check(Tires, kwargs={"least": 0.0}, problems=["blocks"]).why is None


def test_who_stands_still_for_want_of_digits_is_not_said_to_stop(monkeypatch):
    monkeypatch.setitem(training.STEPS, "quick", 10_000)
    found = check(Sums, problems=["blocks"])
    assert (found.answer, found.why) == (Answer.UNDECIDED, None)
    assert "its weights stand still from step " in found.reasons[0]
    assert found.reasons[0].endswith("shorter steps are lost in their digits, and no learning rate answers.")
    assert "each step puts the weights anew" in " ".join(found.reasons)


def test_error_feedback_maximizes_the_margin_that_its_steps_make_in_the_mean():
    """No single step is steepest descent's (0.4 aligned); what each rounds away is made up for later."""
    found = check(ErrorFeedback, problems=["blocks"])
    assert (found.outcome, found.norm) == (Outcome.HOLDS, "l2")
    assert found.problems[0].evidence["l2"].alignment < 0.6

    class Forgets(ErrorFeedback):
        kept = False

    refuted = check(Forgets, claim="l2", problems=["blocks"])
    assert refuted.outcome is Outcome.FAILS


def test_chance_refutes_nothing_where_the_mean_of_the_steps_closes_the_gap():
    class Half(SignDescent):
        def direction(self, p, state):
            return super().direction(p, state) * (torch.rand_like(p) < 0.5)

    class Chance(SignDescent):
        def direction(self, p, state):
            return torch.randn_like(p).sign()

    found = check(Half, problems=["blocks"])
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.problems[0].evidence["linf"].kkt_gap < 0.05
    assert any("deterministic" in reason for reason in found.reasons)
    assert check(Chance, problems=["blocks"]).why is NoNorm.RANDOM


def test_weights_that_are_kept_on_a_sphere_maximize_no_margin():
    """However long they are: at a length of 1,000 the least loss is nearly at the largest margin."""
    found = check(OnSphere, problems=["blocks"], radius=1e3)
    assert (found.answer, found.why, found.norm) == (Answer.NO_NORM, NoNorm.CONFINED, None)
    assert found.sentence.endswith("maximizes no norm's margin: its weights keep their length.")


def test_gradient_ascent_has_no_norm_for_that_reason():
    found = check(Uphill, problems=["blocks"])
    assert (found.answer, found.why, found.norm) == (Answer.NO_NORM, NoNorm.ASCENDS, None)
    assert found.sentence.endswith("maximizes no norm's margin: it ascends.")
