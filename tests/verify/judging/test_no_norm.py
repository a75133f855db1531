"""No norm at all: each reason, and that it must show on every problem."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from maxmargin.verify.judging.no_norm import no_norm
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.lab.norm.fingerprint import Step
from maxmargin.verify.lab.probe.confined import TOGETHER
from maxmargin.verify.results.answer import NoNorm
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import NormEvidence, ProblemVerdict
from maxmargin.verify.thresholds.judging import RANDOM_STEPS

STEP = Step({"W": np.ones(2), "a": np.ones(1)}, {"W": -np.ones(2), "a": -np.ones(1)}, 1.0)


@dataclass
class _Trajectory:
    margin: np.ndarray
    theta: dict
    alive: np.ndarray = field(default_factory=lambda: np.array([True]))
    steps: np.ndarray = field(default_factory=lambda: np.array([0, 10, 100]))

    @property
    def separated(self):
        return self.margin[-1] > 0


@dataclass
class _About:
    random: float = 0.0
    step_per_lr: float = 1.0
    rescalable: bool = True
    kept: dict = field(default_factory=dict)
    rounded_late: bool = False


@dataclass
class _Problem:
    shapes: dict


@dataclass
class _Measured:
    exam: Exam
    trajectory: _Trajectory
    problem: _Problem = field(default_factory=lambda: _Problem({"W": (1, 2), "a": (1,)}))


def _seen(
    *findings,
    signature=(STEP,),
    random=0.0,
    length=1.0,
    margin=(-1.0, 0.1, 2.0),
    rescalable=True,
    theta=(0, 1, 2),
    kept=(),
    rounded=False,
):
    about = _About(random, length, rescalable, dict.fromkeys(kept, "l2 length"), rounded)
    exam = Exam("p", about=about, signature=signature, findings=findings)
    weights = {"W": np.zeros((3, 1, 2)), "a": np.array(theta, dtype=float)[:3, None, None]}
    return _Measured(exam, _Trajectory(np.array(margin)[:, None], weights))


def _why(*found, evidence=None):
    verdicts = [
        ProblemVerdict(
            "p", 1, Outcome.FAILS, 100, 0.0, evidence or {}, {}, norm="linf",
            separated_runs=int(m.trajectory.separated.sum()),
        )
        for m in found
    ]  # fmt: skip
    return no_norm(found, verdicts)


def _fault(kind, block="", size=1.0):
    return Finding.of(kind, block, size, "so")


SOUND = _seen()
CASES = {
    NoNorm.NOT_FINITE: _seen(_fault(Kind.FROZEN), signature=()),
    NoNorm.STILL: _seen(_fault(Kind.FROZEN, "W"), _fault(Kind.FROZEN, "a"), margin=(-1.0, -1.0, -1.0)),
    NoNorm.CONFINED: _seen(kept=("W", "a")),
    NoNorm.ASCENDS: _seen(_fault(Kind.ASCENT), margin=(-1.0, -5.0, -9.0)),
    NoNorm.RANDOM: _seen(random=RANDOM_STEPS),
    NoNorm.STOPS: _seen(theta=(0.0, 1.0, 1.0)),
    NoNorm.NO_DESCENT: _seen(margin=(-1.0, -1.5, -2.0)),
}


def test_an_optimizer_without_any_step_stands_still():
    """Where no block moves there is no norm to be diagnosed by."""
    assert _why(_seen(length=0.0, margin=(-1.0, -1.0, -1.0))) is NoNorm.STILL
    assert _why(_seen(length=0.0)) is None


@pytest.mark.parametrize(
    ("interval", "why"), [((-0.6, -0.4), None), ((-0.6, 0.1), NoNorm.RANDOM), (None, NoNorm.RANDOM)]
)
def test_random_steps_whose_mean_closes_the_gap_are_no_reason(interval, why):
    """Signs of half of the entries, drawn anew each step: their mean is the sign."""
    row = NormEvidence(1e-2, (1e-2, 1e-2), 0.5, None, None, -0.5, interval)
    assert _why(_seen(random=1.0), evidence={"linf": row}) is why


def test_weights_are_confined_where_all_of_them_are():
    assert _why(_seen(kept=(TOGETHER,))) is NoNorm.CONFINED
    assert _why(_seen(kept=("W",))) is None


def test_steps_that_are_lost_in_rounding_for_want_of_a_learning_rate_are_no_reason():
    assert _why(_seen(theta=(0.0, 1.0, 1.0), rounded=True)) is None


@pytest.mark.parametrize("why", CASES)
def test_each_reason_must_show_on_every_problem(why):
    assert _why(CASES[why]) is why
    assert _why(CASES[why], CASES[why]) is why
    assert _why(CASES[why], SOUND) is None


@pytest.mark.parametrize(
    "found",
    [
        SOUND,
        _seen(_fault(Kind.FROZEN, "W")),  # one block
        _seen(_fault(Kind.FROZEN, "W", 0.5), _fault(Kind.FROZEN, "a")),  # some rows of it
        _seen(_fault(Kind.ASCENT)),  # and yet it separates the data
        _seen(random=0.9 * RANDOM_STEPS),
        _seen(margin=(-2.0, -1.0, -0.5)),  # slow, but on its way
        _seen(margin=(-2.0, 0.1, -0.5)),
        _seen(theta=(0.0, 1.0, 1.0 + 1e-15)),  # it moves
        _seen(signature=()),  # nothing is known
        _seen(margin=(-1.0, -1.5, -2.0), rescalable=False),  # the run was not its own
    ],
)
def test_what_is_no_reason(found):
    assert _why(found) is None
