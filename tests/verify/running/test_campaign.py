"""``verify`` broken off in the middle of a job: the next call goes on from there and ends where one call would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.verify import verify
from maxmargin.verify.claims.catalogue import CLAIMS
from maxmargin.verify.engine.run import starts
from maxmargin.verify.progress import joint
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import NormEvidence, ProblemVerdict
from maxmargin.verify.running import campaign
from maxmargin.verify.running.job import Job


@pytest.fixture
def claim(monkeypatch):
    """One claim with two short jobs."""
    signum = CLAIMS["signum-linf"]
    short = [
        replace(p, steps={"quick": 800, "full": 808}) for p in signum.plans if p.problem in ("multiclass", "blocks")
    ]
    monkeypatch.setitem(CLAIMS, "short", replace(signum, id="short", plans=tuple(short)))
    return "short"


class Interrupting:
    """Stands in for StepRate: Ctrl-C at a step of a job, known by its place."""

    armed, step, seen = 0, 400, []

    def __init__(self, report, before, total, what):
        self.job = ["short on multiclass", "short on blocks"].index(what)

    def __call__(self, done, steps):
        Interrupting.seen.append((self.job, done))
        if self.job == Interrupting.armed and done >= Interrupting.step:
            raise KeyboardInterrupt


@pytest.fixture
def once(monkeypatch):
    """A job is one run, whatever it decides."""
    monkeypatch.setattr(Job, "_again", lambda self, training, decision: None)


@pytest.fixture
def arm(monkeypatch):
    def set_off(job, step):
        monkeypatch.setattr(joint, "StepRate", Interrupting)
        Interrupting.armed, Interrupting.step, Interrupting.seen = job, step, []

    return set_off


def _arrays(folder):
    found = {}
    for path in sorted((folder / "arrays").glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            found[path.name] = dict(file)
    return found


def _ignore(done, total, text):
    pass


def test_ctrl_c_in_the_second_job_and_resume(tmp_path, claim, arm, once):
    verify([claim], out=tmp_path / "whole")
    broken = tmp_path / "broken"
    arm(job=1, step=400)
    with pytest.raises(KeyboardInterrupt):
        verify([claim], out=broken, progress=_ignore)
    assert len(list((broken / "running").glob("*.npz"))) == 1  # the first job's is gone: that job is done
    assert len(list((broken / "jobs").glob("*.json"))) == 1
    arm(job=-1, step=0)
    verify([claim], out=broken, resume=True, progress=_ignore)
    assert Interrupting.seen[0][0] == 1  # the first job is not run again,
    assert min(done for _, done in Interrupting.seen) >= 392  # nor the first half of the second
    assert not (broken / "running").exists()
    whole, resumed = _arrays(tmp_path / "whole"), _arrays(broken)
    assert whole.keys() == resumed.keys()
    assert len(whole) == 2
    for name, arrays in whole.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(resumed[name][key], array, err_msg=f"{name} {key}")


def test_ctrl_c_in_another_run_of_a_job_and_resume(tmp_path, claim, arm):
    """800 steps leave it open; it is the run after them that is broken off, and gone on with."""
    verify([claim], out=tmp_path / "whole")
    broken = tmp_path / "broken"
    arm(job=0, step=1_600)
    with pytest.raises(KeyboardInterrupt):
        verify([claim], out=broken, progress=_ignore)
    assert len(list((broken / "running").glob("*.npz"))) == 2
    arm(job=-1, step=0)
    verify([claim], out=broken, resume=True, progress=_ignore)
    assert min(done for job, done in Interrupting.seen if job == 0) >= 792
    assert not (broken / "running").exists()
    whole, resumed = _arrays(tmp_path / "whole"), _arrays(broken)
    for name, arrays in whole.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(resumed[name][key], array, err_msg=f"{name} {key}")


def test_without_resume_a_broken_off_job_starts_afresh(tmp_path, claim, arm):
    arm(job=0, step=400)
    with pytest.raises(KeyboardInterrupt):
        verify([claim], out=tmp_path, progress=_ignore)
    arm(job=-1, step=0)
    verify([claim], out=tmp_path, progress=_ignore)
    assert (0, 0) in Interrupting.seen


def test_a_job_of_another_tier_is_not_gone_on_with(tmp_path, claim, arm, once):
    arm(job=0, step=400)
    with pytest.raises(KeyboardInterrupt):
        verify([claim], out=tmp_path, progress=_ignore)
    arm(job=-1, step=0)
    verdicts = verify([claim], out=tmp_path, tier="full", resume=True, progress=_ignore)
    assert (0, 0) in Interrupting.seen
    assert {p.steps for p in verdicts[0].problems} == {808}


def _held(problem, blurred):
    """A problem that holds for linf; it cannot tell l2 from it if ``blurred``."""
    rows = {
        name: NormEvidence(0.3, (0.3, 0.3), 0.5, None, None, -0.5, apart=0.01 if blurred and name == "l2" else 0.2)
        for name in CANDIDATES
    }
    return ProblemVerdict(problem, 1, Outcome.HOLDS, 8, 1.0, rows, {}, norm="linf")


def test_a_claim_that_no_problem_tells_from_another_norms_is_not_passed():
    claim = CLAIMS["signum-linf"]

    def judged(*blurred):
        done = {p.name: _held(p.label, i in blurred) for i, p in enumerate(campaign.parts(claim, "quick"))}
        return campaign._verdict(claim, done)

    everywhere = judged(*range(len(claim.plans)))
    assert everywhere.outcome is Outcome.INCONCLUSIVE
    assert "cannot tell linf from l2" in everywhere.reasons[-1]
    assert judged().outcome is Outcome.HOLDS
    assert judged(*range(1, len(claim.plans))).outcome is Outcome.HOLDS  # one problem that can tell is enough


def test_the_seeds_of_a_case_share_no_start():
    """Run i of a batch starts from its seed plus i."""
    claim = CLAIMS["gv-degrees"]
    of_first = [part.seed for part in campaign.parts(claim, "full") if part.on is claim.cases[0]]
    assert len(of_first) == claim.seeds["full"] >= 3
    problem = problems.get(claim.cases[0].params["problem"])
    drawn = [starts(problem, 8, seed=seed)["W"].reshape(8, -1) for seed in of_first]
    assert len({tuple(run.tolist()) for batch in drawn for run in batch}) == 8 * len(of_first)
