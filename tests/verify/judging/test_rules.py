"""The rules from evidence to outcome, as a table; each outcome turns when the one field that carries it changes."""

from __future__ import annotations

from math import nan

import pytest
from msgspec.structs import replace

from maxmargin.verify.judging.facts import Facts, controls_of, steps_needed
from maxmargin.verify.judging.rules import judge
from maxmargin.verify.results.verdict import Hypothesis, NormEvidence, Outcome
from maxmargin.verify.thresholds.judging import APART, CHATTER, FALLING, PLATEAU, REACHED, STEADY
from maxmargin.verify.thresholds.table import Bounds

HOLDS, FAILS, INCONCLUSIVE = Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE
BOUNDS = Bounds(gap=5e-3, ratio=10, alignment=0.95)


def _row(gap, alignment=0.99, slope=-0.5, interval=(-0.6, -0.4), apart=0.2, spread=0.0):
    return NormEvidence(
        kkt_gap=gap,
        kkt_gap_range=(gap - spread, gap + spread),
        alignment=alignment,
        margin_ratio=1 - gap,
        distance=None,
        slope=slope,
        slope_interval=interval,
        apart=apart,
    )


def _own(**changes):
    return _row(2e-3, apart=0.0, **changes)


GOOD = {"linf": _own(), "l2": _row(0.1), "spectral": _row(0.3)}
MET = {"separated": Hypothesis(True, 1.0), "kappa": Hypothesis(None, 0.9)}


def _judge(evidence=GOOD, hypotheses=MET, claim="linf", steps=1000, steady=None):
    decision = judge(Facts(claim, evidence, hypotheses, {"quick": BOUNDS}, steps=steps, steady=steady))
    return decision.outcome, decision.texts


def test_all_in_order_holds_and_names_the_nearest_rival():
    outcome, reasons = _judge()
    assert outcome is HOLDS
    assert reasons == ("KKT gap 2.0e-03 under linf; nearest other norm: l2 at 1.0e-01",)


# Each row changes one thing of GOOD.
TABLE = {
    "another norm's gap closes, this one's does not": (
        {"linf": _row(0.2, apart=0.0), "l2": _row(1e-3)},
        FAILS,
        "the margin that is maximized is another norm's: KKT gap 1.0e-03 under l2, 2.0e-01 under linf",
    ),
    "a plateau above the bound": (
        {"linf": _row(2e-2, slope=-0.02, interval=(-0.05, 0.01), apart=0.0)},
        FAILS,
        "a plateau",
    ),
    "a slope that may be flat": (
        {"linf": _row(2e-2, slope=-0.3, interval=(-0.52, -0.08), apart=0.0)},
        FAILS,
        "a plateau",
    ),
    "too large but still falling": (
        {"linf": _row(2e-2, slope=-0.5, interval=(-0.6, -0.4), apart=0.0)},
        INCONCLUSIVE,
        "still closing, the bound would be met after about 1.6e+04 steps",  # 1000 · 4^(1/0.5)
    ),
    "too few checkpoints for a slope": (
        {"linf": _row(2e-2, slope=None, interval=None, apart=0.0)},
        INCONCLUSIVE,
        "too few checkpoints for a slope",
    ),
    "misaligned steps, though the gap still falls": (
        {"linf": _row(2e-2, alignment=0.8, apart=0.0)},
        FAILS,
        "steps are only 0.800 aligned with steepest descent under linf, needed ≥ 0.95",
    ),
    "misaligned steps with a small gap": (
        {"linf": _row(2e-3, alignment=0.8, apart=0.0)},
        FAILS,
        "steps are only 0.800 aligned",
    ),
    "a rival that is too close": (
        {"l2": _row(1e-2)},
        INCONCLUSIVE,
        "l2's gap 1.0e-02 is only 5.0 times linf's 2.0e-03, needed ≥ 10 times",
    ),
    "the same rival, where the problem cannot tell the two apart": ({"l2": _row(1e-2, apart=0.01)}, HOLDS, "spectral"),
    "a rival too close to tell, though the gap has stopped falling": (
        {"linf": _own(slope=-0.02, interval=(-0.05, 0.01)), "l2": _row(1e-2)},
        INCONCLUSIVE,
        "not told apart",
    ),
    "a small gap that has stopped falling": (
        {"linf": _own(slope=-0.02, interval=(-0.05, 0.01))},
        FAILS,
        "within its bound, but it is not seen to close",
    ),
    "a small gap that may have stopped falling": (
        {"linf": _own(slope=-0.2, interval=(-0.4, 0.0))},
        INCONCLUSIVE,
        "95 %",
    ),
    "a small gap without a slope": ({"linf": _own(slope=None, interval=None)}, INCONCLUSIVE, "too few checkpoints"),
    "a plateau that may be the learning rates'": (
        {"linf": _row(0.9 * PLATEAU, slope=0.0, interval=(-0.01, 0.01), apart=0.0)},
        INCONCLUSIVE,
        "a plateau",
    ),
    "a gap that has reached rounding": (
        {"linf": _row(REACHED, slope=0.0, interval=(0.0, 0.0), apart=0.0)},
        HOLDS,
        "l2",
    ),
    "a gap that was not measured": ({"linf": _row(nan, apart=0.0)}, INCONCLUSIVE, "KKT gap under linf could not be"),
    "an alignment that was not measured": (
        {"linf": _own(alignment=nan)},
        INCONCLUSIVE,
        "alignment of the last steps under linf could not be measured",
    ),
    "a worst run above the bound": (
        {"linf": replace(_own(), kkt_gap_range=(1e-3, 8e-3)), "l2": _row(0.5)},
        INCONCLUSIVE,
        "KKT gap 8.0e-03 under linf",
    ),
    "the rival is the one whose best run is closest, not whose median is": (
        {
            "l2": replace(_row(0.05), kkt_gap_range=(0.04, 0.06)),
            "spectral": replace(_row(0.3), kkt_gap_range=(4e-3, 1)),
        },
        INCONCLUSIVE,
        "spectral's gap 4.0e-03 is only 2.0 times",
    ),
    "a rival whose best run is close": (
        {"l2": replace(_row(0.1), kkt_gap_range=(5e-3, 0.2))},
        INCONCLUSIVE,
        "l2's gap 5.0e-03",
    ),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_one_change_decides(row):
    changes, outcome, text = row
    got, reasons = _judge(GOOD | changes)
    assert got is outcome
    assert text in " | ".join(reasons)
    assert _judge(GOOD)[0] is HOLDS


@pytest.mark.parametrize(
    ("gap", "bound_kept"), [(BOUNDS.gap, True), (BOUNDS.gap * (1 + 1e-9), False)], ids=["at the bound", "just above"]
)
def test_bounds_are_inclusive(gap, bound_kept):
    outcome, _ = _judge({"linf": _row(gap, apart=0.0), "l2": _row(0.5)})
    assert (outcome is HOLDS) == bound_kept
    outcome, _ = _judge(GOOD | {"linf": _own(alignment=0.95)})
    assert outcome is HOLDS
    outcome, _ = _judge({"linf": _own(), "l2": _row(10 * 2e-3)})
    assert outcome is HOLDS


@pytest.mark.parametrize(
    ("alignment", "steady", "gap", "outcome"),
    [
        (0.7, 1.0, 2e-3, HOLDS),
        (0.4, 1.0, 2e-3, HOLDS),  # the gap is seen to close
        (0.7, STEADY - 0.01, 2e-3, FAILS),  # its steps are not the norm's even where nothing changes
        (0.7, None, 2e-3, FAILS),
        (0.7, 1.0, 2e-2, INCONCLUSIVE),  # still closing
        (CHATTER - 0.01, 1.0, 2e-2, FAILS),
    ],
)
def test_steps_that_chatter_are_excused_only_if_they_are_the_norms_own(alignment, steady, gap, outcome):
    rows = {"linf": _row(gap, alignment=alignment, apart=0.0), "l2": _row(0.5)}
    assert _judge(rows, steady=steady)[0] is outcome


def test_an_unmet_hypothesis_makes_a_pass_inconclusive():
    outcome, reasons = _judge(hypotheses=MET | {"A1": Hypothesis(False, 0.1), "scale invariant": Hypothesis(False)})
    assert outcome is INCONCLUSIVE
    assert "a hypothesis of the theorem is unmet: A1, scale invariant" in reasons[0]
    assert _judge(hypotheses=MET | {"A1": Hypothesis(True, 0.0)})[0] is HOLDS
    assert _judge(hypotheses=MET | {"A1": Hypothesis(None)})[0] is HOLDS


def test_nothing_separated_is_inconclusive():
    outcome, reasons = _judge({}, {"separated": Hypothesis(False, 0.0)})
    assert outcome is INCONCLUSIVE
    assert "no run separated the data" in reasons[0]


def test_a_rival_fails_the_claim_only_if_it_is_itself_convincing():
    """Ten times smaller is not enough: the rival's gap must be within the bound too."""
    assert _judge({"linf": _row(0.5, apart=0.0), "l2": _row(4e-2)})[0] is INCONCLUSIVE
    assert _judge({"linf": _row(0.5, apart=0.0), "l2": _row(4e-3)})[0] is FAILS
    # A norm that the problem cannot tell from the claimed one is no rival.
    assert _judge({"linf": _row(0.5, apart=0.0), "l2": _row(4e-3, apart=0.0)})[0] is INCONCLUSIVE


def test_the_slope_must_be_surely_below_the_limit():
    for high, outcome in ((FALLING - 0.01, INCONCLUSIVE), (FALLING + 0.01, FAILS)):
        assert _judge(GOOD | {"linf": _row(2e-2, slope=-0.3, interval=(-0.5, high), apart=0.0)})[0] is outcome


@pytest.mark.parametrize(
    ("interval", "alignment", "steady", "outcome"),
    [
        ((-0.20, -0.06), 0.96, 1.0, INCONCLUSIVE),  # Adam with a long memory on a network
        ((-0.77, 0.01), 0.96, 1.0, INCONCLUSIVE),  # a wide interval is no plateau
        ((-0.20, -0.06), 0.96, STEADY - 0.01, FAILS),
        ((-0.20, -0.06), 0.94, 1.0, FAILS),
        ((-0.20, -0.06), 0.96, None, FAILS),
        ((FALLING, -0.06), 0.96, 1.0, FAILS),  # surely flat
    ],
)
def test_what_may_still_close_refutes_nothing_if_the_steps_are_the_norms_own(interval, alignment, steady, outcome):
    rows = {"linf": _row(0.2, alignment=alignment, slope=-0.13, interval=interval, apart=0.0), "l2": _row(0.5)}
    assert _judge(rows, steady=steady)[0] is outcome


@pytest.mark.parametrize(
    ("gap", "interval", "steady", "outcome"),
    [
        (4e-3, (-0.12, -0.06), STEADY - 0.01, FAILS),  # a polar factor of nearly the right matrix
        (4e-3, (-0.12, -0.06), 1.0, INCONCLUSIVE),
        (4e-3, (-0.12, -0.06), None, INCONCLUSIVE),
        (4e-3, (-0.3, FALLING - 0.01), STEADY - 0.01, HOLDS),  # it is seen to close, whatever the steps are
        (0.9 * PLATEAU, (-0.12, -0.06), STEADY - 0.01, INCONCLUSIVE),
        (4e-3, (-0.09, -0.06), 1.0, FAILS),  # surely flat
    ],
)
def test_a_small_gap_of_foreign_steps_must_be_seen_to_close(gap, interval, steady, outcome):
    rows = {"linf": _row(gap, slope=sum(interval) / 2, interval=interval, apart=0.0), "l2": _row(0.5)}
    found, reasons = _judge(rows, steady=steady)
    assert found is outcome
    assert ("only 0.980 aligned with linf's" in reasons[0]) == (steady == STEADY - 0.01 and outcome is not HOLDS)


@pytest.mark.parametrize("slope", [-0.2, -0.5, -2.0])
def test_the_extrapolation_is_the_power_law(slope):
    _, reasons = _judge(
        GOOD | {"linf": _row(5e-2, slope=slope, interval=(slope - 0.05, slope + 0.05), apart=0.0)}, steps=2000
    )
    needed = float(reasons[-1].split("about ")[1].split(" steps")[0])
    # gap(t) = 5e-2 (t / 2000)^slope reaches 5e-3 there
    assert 5e-2 * (needed / 2000) ** slope == pytest.approx(BOUNDS.gap, rel=0.15)


def test_no_number_of_steps_is_named_where_the_gap_does_not_fall():
    assert steps_needed(_row(5e-2, slope=-0.2, interval=(-0.35, -0.05)), 5e-3, 1000) is None
    assert steps_needed(_row(5e-2, slope=None, interval=None), 5e-3, 1000) is None
    assert steps_needed(_row(5e-3, slope=-0.5), 5e-3, 1000) == 1000
    assert steps_needed(_row(2e-2, slope=-0.5), 5e-3, 1000) == pytest.approx(16_000)


def test_controls_are_those_that_can_be_told_apart():
    evidence = {
        "linf": _own(),
        "l2": _row(0.1, apart=APART),
        "spectral": _row(0.1, apart=0.99 * APART),
        "nuclear": _row(0.1, apart=None),  # a network: nothing is known beforehand
        "hybrid": _row(0.1, apart=0.0),
        "l1": _row(nan),
    }
    assert controls_of("linf", evidence) == ["l2", "nuclear"]


def test_judging_changes_nothing():
    before = dict(GOOD)
    _judge()
    assert before == GOOD
