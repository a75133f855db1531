"""Two regimes, one answer: which of them a plain claim is about, and what both together are."""

from __future__ import annotations

from math import exp, inf

import pytest

from maxmargin.verify.judging.conclusion import Conclusion
from maxmargin.verify.judging.regimes import Left, alone, join, main_regime
from maxmargin.verify.results.answer import Answer, NoNorm
from maxmargin.verify.thresholds.judging import LATE_MARGIN, STARTS_ABOVE

SMALL, LARGE = 2e-6, 4.0  # floors: of Adam's default eps, and of clipping


def _held(norm, claim=None):
    return Conclusion(Answer.HOLDS, norm, claim, (f"{norm} closes.",))


def _failed(claim=None, answer=Answer.REFUTED, norm=None):
    return Conclusion(answer, norm, claim, ("it stands.",))


def _open(claim=None):
    return Conclusion(Answer.UNDECIDED, None, claim, ("too few steps.",))


@pytest.mark.parametrize(
    ("above", "below", "answer", "norm"),
    [
        (_held("linf"), _held("l2"), Answer.REGIMES, "linf"),
        (_held("linf"), _open(), Answer.REGIMES, "linf"),  # of the regime below nothing is said
        (_held("linf"), _failed(), Answer.REGIMES, "linf"),
        (_held("l2"), _held("l2"), Answer.HOLDS, "l2"),  # clipped gradient descent
        (_open(), _held("l2"), Answer.UNDECIDED, None),
        (_failed(), _held("l2"), Answer.REFUTED, None),
        (_failed(answer=Answer.FACTOR, norm="spectral"), _held("l2"), Answer.FACTOR, "spectral"),
        (_failed(answer=Answer.NO_NORM), _held("l2"), Answer.NO_NORM, None),
        (_held("linf", "linf"), _held("l2"), Answer.REGIMES, "linf"),
        (_failed("l2"), _held("l2"), Answer.REFUTED, None),  # a plain claim is about the regime above
        (_failed("spectral"), _held("l2"), Answer.REFUTED, None),  # neither regime is the claim's
        (_failed("spectral"), _open(), Answer.REFUTED, None),
    ],
)
def test_the_regime_that_training_starts_in_decides(above, below, answer, norm):
    joined = join(SMALL, [above, below], both_claimed=False)
    assert (joined.answer, joined.norm, joined.first) == (answer, norm, 0)


def test_a_regime_that_is_left_at_once_is_not_what_is_claimed():
    joined = join(LARGE, [_held("linf"), _held("l2", "l2")], both_claimed=False)
    assert (joined.answer, joined.norm, joined.first) == (Answer.REGIMES, "l2", 1)
    assert join(LARGE, [_held("linf"), _failed("linf")], both_claimed=False).answer is Answer.REFUTED
    assert (main_regime(0.99 * STARTS_ABOVE), main_regime(STARTS_ABOVE)) == (0, 1)


def test_weights_that_stand_still_before_margins_are_late_stop():
    """A direction that is left at margins of 14 is nobody's limit; at e^−20 of a gradient it is a regime's."""
    still = Conclusion(Answer.NO_NORM, None, None, ("it never moves.",), why=NoNorm.STILL)
    early, late = (
        join(floor, [_held("linf"), still], both_claimed=False, stands=True)
        for floor in (1.01 * exp(-LATE_MARGIN), 0.99 * exp(-LATE_MARGIN))
    )
    assert (early.answer, early.norm, early.why) == (Answer.NO_NORM, None, NoNorm.STOPS)
    assert (late.answer, late.norm, late.why) == (Answer.REGIMES, "linf", None)
    assert join(1e-6, [_held("linf"), _failed()], both_claimed=False).answer is Answer.REGIMES  # it moves
    assert join(LARGE, [still, still], both_claimed=False, stands=True).why is NoNorm.STILL


@pytest.mark.parametrize(
    ("left", "first"),
    [
        (Left("p", 15, True, 2000.0), 1),  # Prodigy's
        (Left("p", 15, False, 2000.0), 0),  # extrapolated
        (Left("p", 1713, True, 100.0), 0),  # RMSprop's
        (Left("p", 15, True, 100.0), 0),
        (Left("p", 15, True, inf), 0),
    ],
)
def test_a_regime_that_is_left_long_before_memory_fills_is_not_the_one_that_decides(left, first):
    joined = join(SMALL, [_open(), _held("l2")], both_claimed=False, left=left)
    assert (joined.answer, joined.first) == (Answer.REGIMES if first else Answer.UNDECIDED, first)
    refuted = join(SMALL, [_failed(), _held("l2")], both_claimed=False, left=left)
    assert refuted.answer is (Answer.REGIMES if first else Answer.REFUTED)  # more evidence above changes nothing
    assert join(SMALL, [_failed("linf"), _held("l2")], both_claimed=False, left=left).answer is Answer.REFUTED
    assert join(SMALL, [_held("linf"), _held("l2")], both_claimed=False, left=left).norm == "linf"
    # What starts anew below may not do what is done there after the regime above: it refutes nothing.
    for below in (_open(), _failed()):
        assert join(SMALL, [_open(), below], both_claimed=False, left=left).answer is Answer.UNDECIDED
        assert join(SMALL, [_held("linf"), below], both_claimed=False, left=left).norm == "linf"


@pytest.mark.parametrize(
    ("above", "below", "answer"),
    [
        (_held("linf", "linf"), _held("l2", "l2"), Answer.REGIMES),
        (_held("l2", "l2"), _held("l2", "l2"), Answer.HOLDS),
        (_held("linf", "linf"), _failed("linf"), Answer.REFUTED),
        (_failed("l2"), _held("l2", "l2"), Answer.REFUTED),
        (_held("linf", "linf"), _open("l2"), Answer.UNDECIDED),
        (_open("linf"), _failed("linf"), Answer.REFUTED),
    ],
)
@pytest.mark.parametrize("floor", [SMALL, LARGE])
def test_both_claims_must_hold(above, below, answer, floor):
    joined = join(floor, [above, below], both_claimed=True)
    assert joined.answer is answer
    assert (joined.norm is not None) == (answer.outcome.exit_status == 0)


@pytest.mark.parametrize("floor", [SMALL, LARGE])
def test_of_two_claims_the_first_is_of_large_gradients(floor):
    joined = join(floor, [_held("linf", "linf"), _held("l2", "l2")], both_claimed=True)
    assert (joined.norm, joined.first) == ("linf", 0)
    assert joined.reasons[-1] == "Below that size: l2 closes."


def test_two_regimes_claimed_of_an_optimizer_that_has_one():
    assert alone(_held("linf", "linf"), both_claimed=False, one=True).answer is Answer.HOLDS
    claimed = alone(_held("linf", "linf"), both_claimed=True, one=True)
    assert (claimed.answer, claimed.norm) == (Answer.REFUTED, None)
    assert "there is one regime" in claimed.reasons[0]
    assert alone(_held("linf", "linf"), both_claimed=True, one=False).answer is Answer.UNDECIDED


def test_what_is_said_of_both():
    joined = join(
        SMALL, [_held("linf"), _held("l2")], both_claimed=False, left=Left("blocks@linear", 21016, False, 1000.0)
    )
    assert joined.reasons == (
        "Its steps change where the gradient's norm falls below 2e-06 (an eps, or clipping), at its own constant "
        "learning rate after about 21,016 steps (blocks@linear): linf above, l2 below, each measured by itself.",
        "linf closes.",
        "Below that size: l2 closes.",
    )
    assert (
        "after 12 steps"
        in join(SMALL, [_held("linf"), _open()], both_claimed=False, left=Left("p", 12, True, 10.0)).reasons[0]
    )
    assert "not l2 above, l2 below" in join(SMALL, [_failed("l2"), _held("l2")], both_claimed=False).reasons[0]
    assert "claims both" in join(SMALL, [_failed("l2"), _held("l2")], both_claimed=False).reasons[0]
    assert "where training soon is" in join(LARGE, [_held("linf"), _held("l2")], both_claimed=False).reasons[0]


def test_where_steps_change_in_length_alone_is_said():
    found = [_held("linf"), _held("l2")]
    plain, told = (join(SMALL, found, both_claimed=False, shift=shift).reasons for shift in (None, 4.0))
    assert [text for text in told if text not in plain] == [told[1]]
    assert "gradient's norm is 4e+00 its steps pass from one length to another" in told[1]


def test_what_both_regimes_say_alike_is_said_once():
    same = Conclusion(Answer.HOLDS, "l2", None, ("It is handed groups.",))
    assert join(SMALL, [same, same], both_claimed=False).reasons[1:] == ("It is handed groups.",)
