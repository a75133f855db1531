"""The rules from evidence to outcome, as a table; each outcome turns when the one field that carries it changes."""

from __future__ import annotations

from math import nan

import pytest
from msgspec.structs import replace

from maxmargin.verify.judging.facts import Facts, controls_of, steps_needed, untold
from maxmargin.verify.judging.rules import judge
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import Hypothesis, NormEvidence
from maxmargin.verify.thresholds.judging import APART, FALLING, LATE_MARGIN, LEFT, PLATEAU, REACHED, STEADY, TOLD
from maxmargin.verify.thresholds.table import Bounds

HOLDS, FAILS, INCONCLUSIVE = Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE
BOUNDS = Bounds(gap=5e-3, alignment=0.95, distance=0.05)


def _row(gap, alignment=0.99, slope=-0.5, interval=(-0.6, -0.4), apart=0.2, told=1.0, spread=0.0, same=False):
    return NormEvidence(
        kkt_gap=gap,
        kkt_gap_range=(gap - spread, gap + spread),
        alignment=alignment,
        margin_ratio=1 - gap,
        distance=None,
        slope=slope,
        slope_interval=interval,
        apart=apart,
        told=None if told is None else (told, told),
        same=same,
    )


def _own(gap=2e-3, **changes):
    return _row(gap, apart=0.0, told=None, same=True, **changes)


FLAT = {"slope": -0.02, "interval": (-0.05, 0.01)}
GOOD = {"linf": _own(), "l2": _row(0.1), "spectral": _row(0.3)}
MET = {"separated": Hypothesis(True, 1.0), "kappa": Hypothesis(None, 0.9, "number")}


def _judge(evidence=GOOD, hypotheses=MET, claim="linf", steps=1000, **known):
    decision = judge(Facts(claim, evidence, hypotheses, BOUNDS, steps=steps, **known))
    return decision.outcome, decision.texts


def test_all_in_order_holds_and_names_the_nearest_rival():
    outcome, reasons = _judge()
    assert outcome is HOLDS
    assert reasons == ("KKT gap 2.0e-03 under linf; nearest other norm: l2 at 1.0e-01",)


# Each row changes one thing of GOOD.
TABLE = {
    "another norm's set is reached, this one's gap stands": (
        {"linf": _own(0.2, **FLAT), "l2": _row(1e-3, told=0.01)},
        FAILS,
        "the margin that is maximized is another norm's: KKT gap 1.0e-03 under l2, 0.01 times what it is at linf's own "
        "nearest point, and 2.0e-01 under linf",
    ),
    "another norm's set is reached, though this one's gap is within its bound": (
        {"linf": _own(4e-3, **FLAT), "l2": _row(1e-3, told=0.02)},
        FAILS,
        "the margin that is maximized is another norm's: KKT gap 1.0e-03 under l2",
    ),
    "a plateau above the bound": ({"linf": _own(2e-2, **FLAT)}, FAILS, "a plateau"),
    "a slope that may be flat, of steps that are not the norm's": (
        {"linf": _own(2e-2, alignment=0.9, slope=-0.3, interval=(-0.52, -0.08))},
        FAILS,
        "a plateau",
    ),
    "a slope that may be flat": (
        {"linf": _own(2e-2, slope=-0.3, interval=(-0.52, -0.08))},
        INCONCLUSIVE,
        "a plateau, or nearly",
    ),
    "too large but still falling": (
        {"linf": _own(2e-2)},
        INCONCLUSIVE,
        "still closing, the bound would be met after about 1.6e+04 steps",  # 1000 · 4^(1/0.5)
    ),
    "too few checkpoints for a slope": (
        {"linf": _own(2e-2, slope=None, interval=None)},
        INCONCLUSIVE,
        "too few checkpoints for a slope",
    ),
    "misaligned steps, though the gap still falls": (
        {"linf": _own(2e-2, alignment=0.8)},
        INCONCLUSIVE,
        "steps are only 0.800 aligned with steepest descent under linf, needed ≥ 0.95",
    ),
    "misaligned steps with a gap that may stand still": (
        {"linf": _own(alignment=0.8, slope=-0.3, interval=(-0.52, -0.08))},
        FAILS,
        "steps are only 0.800 aligned",
    ),
    "a rival on the way to its own set": (
        {"l2": _row(1e-2, told=0.4)},
        INCONCLUSIVE,
        "l2's gap 1.0e-02 is 0.4 times what it is at linf's own nearest point, needed ≥ 0.5: the two norms are not",
    ),
    "a direction far from the optimal face, though the gap is small": (
        {"linf": replace(_own(), distance=0.06)},
        INCONCLUSIVE,
        "the direction is 6.0e-02 from the optimal face under linf, needed ≤ 0.05",
    ),
    "a small gap of a rival that is small at the norm's own point too": ({"l2": _row(1e-2)}, HOLDS, "l2 at 1.0e-02"),
    "the same rival, where the two are not apart": ({"l2": _row(1e-2, apart=0.01, told=0.1)}, HOLDS, "spectral"),
    "the same rival, where it is the same norm": ({"l2": _row(1e-2, told=None, same=True)}, HOLDS, "spectral"),
    "no point of the norm's own": (
        {name: replace(row, apart=None, told=None) for name, row in GOOD.items() if name != "linf"},
        INCONCLUSIVE,
        "no KKT point under linf was found near the end of every run",
    ),
    "a small gap that has stopped falling": ({"linf": _own(**FLAT)}, FAILS, "2.0e-03 under linf does not close"),
    "a small gap that may have stopped falling": (
        {"linf": _own(slope=-0.2, interval=(-0.4, 0.0))},
        INCONCLUSIVE,
        "95 %",
    ),
    "a small gap without a slope": ({"linf": _own(slope=None, interval=None)}, INCONCLUSIVE, "too few checkpoints"),
    "a plateau that may be the learning rates'": (
        {"linf": _own(0.9 * PLATEAU, slope=0.0, interval=(-0.01, 0.01))},
        INCONCLUSIVE,
        "a plateau",
    ),
    "a gap that has reached rounding": ({"linf": _own(REACHED, slope=0.0, interval=(0.0, 0.0))}, HOLDS, "l2"),
    "a gap that was not measured": ({"linf": _own(nan)}, INCONCLUSIVE, "KKT gap under linf could not be"),
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
    "the nearest is the one whose best run is closest, not whose median is": (
        {
            "l2": replace(_row(0.05), kkt_gap_range=(0.04, 0.06)),
            "spectral": replace(_row(0.3), kkt_gap_range=(4e-3, 1)),
        },
        HOLDS,
        "nearest other norm: spectral at 4.0e-03",
    ),
    "a rival whose best run leaves": (
        {"l2": replace(_row(0.1), told=(0.4, 1.0))},
        INCONCLUSIVE,
        "is 0.4 times",
    ),
    "a rival that one run is farther from": ({"l2": replace(_row(0.1), told=(1.0, 1.6))}, HOLDS, "l2"),
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
    outcome, _ = _judge({"linf": _own(gap), "l2": _row(0.5)})
    assert (outcome is HOLDS) == bound_kept
    outcome, _ = _judge(GOOD | {"linf": _own(alignment=0.95)})
    assert outcome is HOLDS
    for told, outcome in ((TOLD, HOLDS), (TOLD - 1e-9, INCONCLUSIVE)):
        assert _judge(GOOD | {"l2": _row(0.1, told=told)})[0] is outcome
    for distance, outcome in ((0.05, HOLDS), (0.05 + 1e-9, INCONCLUSIVE)):
        assert _judge(GOOD | {"linf": replace(_own(), distance=distance)})[0] is outcome


@pytest.mark.parametrize(
    ("alignment", "steady", "gap", "outcome"),
    [
        (0.7, 1.0, 2e-3, HOLDS),
        (0.4, 1.0, 2e-3, HOLDS),
        (0.7, STEADY - 0.01, 2e-3, FAILS),  # its steps are not the norm's even where nothing changes
        (0.7, None, 2e-3, INCONCLUSIVE),  # where nothing changes they were not seen, and the gap closes
        (0.7, 1.0, 2e-2, INCONCLUSIVE),  # still closing
        (0.4, 1.0, 2e-2, INCONCLUSIVE),
    ],
)
def test_steps_that_chatter_are_excused_only_if_they_are_the_norms_own(alignment, steady, gap, outcome):
    rows = {"linf": _own(gap, alignment=alignment), "l2": _row(0.5)}
    assert _judge(rows, steady=steady)[0] is outcome


@pytest.mark.parametrize(
    ("margin", "interval", "outcome"),
    [
        (LATE_MARGIN, (-0.52, -0.08), FAILS),
        (0.5 * LATE_MARGIN, (-0.52, -0.08), INCONCLUSIVE),  # Adam with a long memory after 10,000 steps
        (LATE_MARGIN, (-0.6, -0.4), INCONCLUSIVE),  # Signum with a long memory: its gap closes like 1/t
        (LATE_MARGIN, None, INCONCLUSIVE),  # how the gap moves is not known: nothing is made of that
    ],
)
def test_misaligned_steps_alone_refute_late_and_while_the_gap_does_not_close(margin, interval, outcome):
    rows = {"linf": _own(2e-2, alignment=0.8, slope=-0.3, interval=interval), "l2": _row(0.5)}
    assert _judge(rows, margin=margin)[0] is outcome
    assert _judge(rows, margin=margin, steady=STEADY - 0.01)[0] is FAILS


# -- Hypotheses ---------------------------------------------------------------------------------------------------

UNMET_BY_THE_RUN, NOT_KNOWN = {"schedule": Hypothesis(False, -0.2)}, {"direction settles": Hypothesis(None, 0.148)}
FAULT = {"scale invariant": Hypothesis(False, 1e-8, "optimizer")}
REFUTED = GOOD | {"linf": _own(2e-2, **FLAT)}


def test_an_unmet_hypothesis_makes_a_pass_inconclusive():
    outcome, reasons = _judge(hypotheses=MET | {"A1": Hypothesis(False, 0.1)} | FAULT)
    assert outcome is INCONCLUSIVE
    assert "a hypothesis of the theorem is unmet: A1 (0.1), scale invariant" in reasons[0]
    assert _judge(hypotheses=MET | {"A1": Hypothesis(True, 0.0)})[0] is HOLDS


def test_a_judged_hypothesis_that_is_not_known_is_no_pass():
    outcome, reasons = _judge(hypotheses=MET | NOT_KNOWN)
    assert outcome is INCONCLUSIVE
    assert reasons == ("a hypothesis of the theorem could not be decided: direction settles (0.15)",)
    assert _judge(hypotheses=MET | {"direction settles": Hypothesis(None, 0.148, "number")})[0] is HOLDS


def test_an_unmet_hypothesis_of_the_theorem_never_ends_in_a_refutation():
    assert _judge(REFUTED)[0] is FAILS
    outcome, reasons = _judge(REFUTED, MET | UNMET_BY_THE_RUN)
    assert outcome is INCONCLUSIVE
    assert "does not close" in reasons[0]
    assert reasons[-1] == "nothing is refuted where a hypothesis of the theorem is unmet: schedule (-0.2)"


def test_a_fault_of_the_optimizer_shields_nothing():
    assert _judge(REFUTED, MET | FAULT)[0] is FAILS
    assert _judge(REFUTED, MET | NOT_KNOWN)[0] is FAILS
    assert _judge(REFUTED, MET | FAULT | UNMET_BY_THE_RUN)[0] is INCONCLUSIVE


@pytest.mark.parametrize("change", [*TABLE.values(), ({}, None, "")], ids=[*TABLE, "nothing"])
def test_less_that_is_known_never_makes_a_verdict_easier(change):
    """Whatever the evidence, taking a hypothesis or a norm's own points away leads to no pass."""
    rows = GOOD | change[0]
    for worse in (MET | NOT_KNOWN, MET | UNMET_BY_THE_RUN, MET | FAULT):
        assert _judge(rows, worse)[0] is not HOLDS
    blind = {name: row if name == "linf" else replace(row, apart=None, told=None) for name, row in rows.items()}
    if not all(row.same for row in blind.values()):
        assert _judge(blind)[0] is not HOLDS


def test_nothing_separated_is_inconclusive():
    outcome, reasons = _judge({}, {"separated": Hypothesis(False, 0.0)})
    assert outcome is INCONCLUSIVE
    assert "no run separated the data" in reasons[0]


@pytest.mark.parametrize(("share", "said"), [(1.0, False), (0.5, True)])
def test_runs_that_did_not_separate_do_not_drop_out_silently(share, said):
    for evidence in (GOOD, REFUTED):
        _, reasons = _judge(evidence, {"separated": Hypothesis(True, share)})
        assert any("said of 50% of the runs" in reason for reason in reasons) is said


# -- Other norms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "told", "apart", "outcome"),
    [
        (4e-3, LEFT, 0.2, FAILS),
        (4e-3, LEFT + 1e-9, 0.2, INCONCLUSIVE),
        (6e-3, LEFT, 0.2, INCONCLUSIVE),  # the rival is itself not convincing
        (4e-3, LEFT, 0.0, INCONCLUSIVE),  # a norm that cannot be told from the claimed one is no rival
    ],
)
def test_a_rival_fails_the_claim_only_if_it_is_itself_convincing(gap, told, apart, outcome):
    rows = {"linf": _own(0.5, slope=None, interval=None), "l2": _row(gap, told=told, apart=apart)}
    assert _judge(rows)[0] is outcome


def test_no_rival_fails_a_claim_whose_gap_still_closes():
    assert _judge({"linf": _own(0.5), "l2": _row(4e-3, told=0.01)})[0] is INCONCLUSIVE


def test_the_slope_must_be_surely_below_the_limit():
    for high, outcome in ((FALLING - 0.01, HOLDS), (FALLING + 0.01, INCONCLUSIVE)):
        assert _judge(GOOD | {"linf": _own(slope=-0.3, interval=(-0.5, high))})[0] is outcome


@pytest.mark.parametrize(
    ("interval", "alignment", "steady", "outcome"),
    [
        ((-0.20, -0.06), 0.96, 1.0, INCONCLUSIVE),  # Adam with a long memory on a network
        ((-0.77, 0.01), 0.96, 1.0, INCONCLUSIVE),  # a wide interval is no plateau
        ((-0.20, -0.06), 0.96, STEADY - 0.01, FAILS),
        ((-0.20, -0.06), 0.94, None, FAILS),
        ((-0.20, -0.06), 0.96, None, INCONCLUSIVE),  # nothing is known against it
        ((FALLING, -0.06), 0.96, 1.0, FAILS),  # surely flat
    ],
)
@pytest.mark.parametrize("gap", [0.2, 4e-3])
def test_what_may_still_close_refutes_nothing_unless_the_steps_are_not_the_norms(
    gap, interval, alignment, steady, outcome
):
    rows = {"linf": _own(gap, alignment=alignment, slope=-0.13, interval=interval), "l2": _row(0.5)}
    found, reasons = _judge(rows, steady=steady)
    assert found is outcome
    assert ("only 0.980 aligned with linf's" in reasons[0]) == (steady == STEADY - 0.01)


def test_a_small_gap_of_foreign_steps_that_is_seen_to_close_is_no_plateau():
    rows = {"linf": _own(4e-3, interval=(-0.3, FALLING - 0.01)), "l2": _row(0.5)}
    assert _judge(rows, steady=STEADY - 0.01)[0] is HOLDS


@pytest.mark.parametrize(
    ("margin", "steady", "outcome"),
    [
        (0.5 * LATE_MARGIN, 1.0, INCONCLUSIVE),  # ADOPT and AdEMAMix remember 10,000 steps
        (LATE_MARGIN, 1.0, FAILS),
        (0.5 * LATE_MARGIN, 0.98, FAILS),
        (0.5 * LATE_MARGIN, None, INCONCLUSIVE),  # what is not known is no evidence
        (LATE_MARGIN, None, FAILS),
    ],
)
def test_steps_that_may_be_the_norms_own_are_not_refuted_while_margins_are_small(margin, steady, outcome):
    found, reasons = _judge(REFUTED, margin=margin, steady=steady)
    assert found is outcome
    assert ("too early to tell: margins are 10" in reasons) == (outcome is INCONCLUSIVE)


@pytest.mark.parametrize("slope", [-0.2, -0.5, -2.0])
def test_the_extrapolation_is_the_power_law(slope):
    _, reasons = _judge(GOOD | {"linf": _own(5e-2, slope=slope, interval=(slope - 0.05, slope + 0.05))}, steps=2000)
    needed = float(reasons[-1].split("about ")[1].split(" steps")[0])
    # gap(t) = 5e-2 (t / 2000)^slope reaches 5e-3 there
    assert 5e-2 * (needed / 2000) ** slope == pytest.approx(BOUNDS.gap, rel=0.15)


def test_no_number_of_steps_is_named_where_the_gap_does_not_fall():
    assert steps_needed(_row(5e-2, slope=-0.2, interval=(-0.35, -0.05)), BOUNDS, 1000) is None
    assert steps_needed(_row(5e-2, slope=None, interval=None), BOUNDS, 1000) is None
    assert steps_needed(_row(5e-3, slope=-0.5), BOUNDS, 1000) == 1000
    assert steps_needed(_row(2e-2, slope=-0.5), BOUNDS, 1000) == pytest.approx(16_000)


@pytest.mark.parametrize(("gap", "distance", "needed"), [(5e-3, 0.15, 3000), (5e-3, 0.04, 1000), (2e-2, 0.15, 16_000)])
def test_a_direction_that_is_far_from_its_face_needs_its_own_time(gap, distance, needed):
    own = replace(_row(gap, slope=-0.5), distance=distance)
    assert steps_needed(own, BOUNDS, 1000) == pytest.approx(needed)


EVIDENCE = {
    "linf": _own(),
    "l2": _row(0.1, apart=APART),
    "spectral": _row(0.1, apart=0.99 * APART),
    "nuclear": _row(0.1, apart=None, told=None),  # the norm's own points are not known
    "hybrid": _row(0.1, apart=0.0, same=True),
    "l1": _row(nan),
}


def test_controls_are_those_that_can_be_told_apart():
    assert controls_of("linf", EVIDENCE) == ["l2"]


def test_untold_is_what_no_problem_tells_apart_and_is_not_the_same_norm():
    asked = ("l2", "linf", "spectral", "hybrid", "nuclear", "schatten:3")
    assert untold("linf", [EVIDENCE], asked) == ["spectral", "nuclear", "schatten:3"]
    other = EVIDENCE | {"spectral": _row(0.1), "hybrid": _row(0.1, apart=0.0)}
    # The same norm on one problem and told apart on none: hybrid is not known to be another.
    assert untold("linf", [EVIDENCE, other], asked) == ["hybrid", "nuclear", "schatten:3"]
    assert untold("linf", [], ("linf", "l2")) == ["l2"]


def test_judging_changes_nothing():
    before = dict(GOOD)
    _judge()
    assert before == GOOD


# -- What another run may bring -----------------------------------------------------------------------------------

SETTLES = {"direction settles": Hypothesis(None, 0.08)}
OWN_STEPS = {"steady": 0.9999}


@pytest.mark.parametrize(
    ("evidence", "hypotheses", "more", "may"),
    [
        (GOOD, SETTLES, {}, True),
        (GOOD, {"direction settles": Hypothesis(False, 1.4)}, {}, True),
        (GOOD | {"linf": _own(2e-2)}, {}, {}, True),  # too large, and closing
        (GOOD | {"linf": _own(2e-2, slope=None, interval=None)}, {}, {}, True),
        (GOOD | {"linf": _own(2e-2, **FLAT)}, {}, OWN_STEPS, True),  # it fails: perhaps the pace does it
        (GOOD | {"linf": _own(2e-2, **FLAT)}, {}, OWN_STEPS | {"slower": 0.25}, False),  # it does not
        (GOOD | {"linf": _own(2e-2, **FLAT)}, {}, {"steady": 0.9}, False),
        (
            GOOD | {"linf": _own(2e-2, **FLAT)},  # it fails, and its weights are others: no pace does that
            {"blocks as far as the norm says": Hypothesis(False, 1.1, "optimizer")},
            OWN_STEPS,
            False,
        ),
        (GOOD | {"linf": _own(2e-2, **FLAT)}, {}, {}, True),
        (GOOD | {"linf": _own(1e-4, alignment=0.9, slope=0.0, interval=(-0.3, 0.3))}, {}, {}, True),
        (GOOD | {"linf": _own(1e-4, alignment=0.9, slope=0.0, interval=(-0.3, 0.3))}, {}, {"steady": 0.9}, False),
        (GOOD | {"linf": _own(2e-2, **FLAT)}, {}, OWN_STEPS | {"elsewhere": "another rule"}, False),
        (GOOD, {"deterministic": Hypothesis(None, 0.1, "optimizer")}, {}, False),
        (GOOD, SETTLES | {"schedule": Hypothesis(None, -0.5)}, {}, False),
        (GOOD, {"beta1 <= beta2": Hypothesis(False, "0.95, 0.9")}, {}, False),
        (GOOD, {}, {}, False),  # it holds
    ],
)
def test_another_run_is_made_only_where_nothing_but_the_run_speaks_against_the_norm(evidence, hypotheses, more, may):
    facts = Facts("linf", evidence, MET | hypotheses, BOUNDS, steps=1000, **more)
    assert judge(facts).another_run_may_do is may


UNLED = {
    "learning rate honoured": Hypothesis(False, 0.2, "optimizer"),
    "learning rate honoured at once": Hypothesis(False, 0.2, "number"),
}
LAGGING = UNLED | {"learning rate honoured": Hypothesis(True, 0.0, "optimizer")}


@pytest.mark.parametrize(
    ("own", "more"),
    [(_own(2e-2, **FLAT), {}), (_own(2e-2, **FLAT), OWN_STEPS), (_own(alignment=0.8, **FLAT), {})],
)
def test_a_run_whose_learning_rate_is_not_honoured_refutes_only_whose_steps_are_another_norms(own, more):
    """It is not led as the optimizer would be: Nesterov's momentum of (t − 1)/(t + 2) keeps rolling on a network."""
    evidence = GOOD | {"linf": own}
    assert _judge(evidence, **more)[0] is FAILS
    outcome, texts = _judge(evidence, MET | UNLED, **more)
    assert outcome is INCONCLUSIVE
    assert any("a hypothesis of the theorem is unmet: learning rate honoured (0.2)" in text for text in texts)
    assert _judge(evidence, MET | UNLED, **(more | {"steady": 0.9}))[0] is FAILS
    assert _judge(evidence, MET | LAGGING, **more)[0] is INCONCLUSIVE
    assert _judge(GOOD, MET | LAGGING, **more)[0] is HOLDS  # what is seen of it is the norm's


def test_a_run_at_a_slower_pace_is_told():
    decision = judge(Facts("linf", GOOD, MET, BOUNDS, slower=0.25))
    assert decision.outcome is HOLDS
    assert decision.texts[-1].startswith("that is said of a run at 0.25 times the pace")


def test_another_rule_at_realistic_shapes_refutes_whatever_the_gaps():
    decision = judge(
        Facts("linf", GOOD, MET, BOUNDS, elsewhere="a 64 × 48 block follows l2: no one norm is followed at all shapes")
    )
    assert decision.outcome is FAILS
    assert decision.texts[0] == "a 64 × 48 block follows l2: no one norm is followed at all shapes"
