"""What a check decides as a whole, on problems where the answer is known beforehand."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.examine import Laboratory
from maxmargin.verify.results.verdict import Outcome
from maxmargin.verify.running import checking
from maxmargin.verify.running.checking import check

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
    job = checking._job(laboratory.target, dataclasses.replace(exam, claimed=()), "quick", 0, "cpu")
    job = dataclasses.replace(job, training=dataclasses.replace(job.training, steps=4000))
    found = job.run()
    assert found.evidence.matches == {}
    judged = job.judge(found, get_norm("linf"))
    assert judged.evidence["spectral"].apart > 0.1
    assert list(found.evidence.matches) == ["linf"]
    assert problems.get(SHARED).name == judged.problem
