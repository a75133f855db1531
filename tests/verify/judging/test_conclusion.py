"""From problems to one answer: what may be named, what is said of the optimizer, and what turns the answer."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from msgspec import structs

from maxmargin.models import problems
from maxmargin.solvers.norms import ParameterNorm, get_norm
from maxmargin.verify.blackbox.learning_rate import ANCHORED
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.measure import Evidence
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.conclusion import conclude, nearest_norm
from maxmargin.verify.judging.wording import about_optimizer
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.lab.harness.sentence import Place
from maxmargin.verify.lab.norm.fingerprint import BlockReading, Fingerprint
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.lab.twin.search import Twin
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import Hypothesis, NormEvidence, ProblemVerdict
from maxmargin.verify.thresholds.judging import APPROXIMATE, FINDINGS, NEAR, PERFECT

HOLDS, FAILS, INCONCLUSIVE = Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE
SPECS = ("blocks@linear", "multiclass@linear")

SOUND = Probe(
    update_degree=0.0,
    state_degrees={},
    defect=0.0,
    floor=0.0,
    lag_limit=0.1,
    memory=10.0,
    decay=0.0,
    value_dependence=0.0,
    random=0.0,
    lr_error=0.0,
    step_per_lr=1.0,
)


def _row(gap, alignment=0.5, apart=0.2):
    told = None if apart == 0.0 else (1.0, 1.0)
    return NormEvidence(gap, (gap, gap), alignment, None, None, -0.5, (-0.6, -0.4), apart=apart, told=told)


def _rows(best="spectral", gap=1e-3, alignment=0.999, apart=0.2):
    return {n: _row(gap, alignment, 0.0) if n == best else _row(0.3, apart=apart) for n in CANDIDATES}


def _trajectory(log_scale=(0.0, -10.0, -30.0)):
    """Three checkpoints of one run whose gradient has norm e^log_scale."""
    gradient = np.zeros((3, 1, 2))
    gradient[:, :, 0] = 1.0
    ones = np.ones((3, 1))
    return Trajectory(
        problem="p",
        optimizer="o",
        steps=np.array([0, 8, 64]),
        theta={"w": gradient},
        gradient={"w": gradient},
        update={"w": -gradient},
        log_scale=np.array(log_scale)[:, None],
        margin=ones,
        eta=ones,
        travelled=ones,
        separated_at=np.zeros(1, dtype=int),
    )


def _fingerprint(name="spectral", alignment=0.9):
    return Fingerprint(get_norm(name), alignment, {"w": BlockReading("l2", 1.0, {"l2": 1.0}, 1.0)})


def _measured(spec, rows=None, probe=SOUND, norms=None, seconds=0.0, full_steps=0, **known):
    rows = _rows() if rows is None else rows
    norms = {n: get_norm(n) for n in CANDIDATES} if norms is None else norms
    exam = Exam(spec, about=probe, candidates=tuple(norms.values()), **known)
    return Measured(problems.get(spec), _trajectory(), Evidence(rows, {}), exam, seconds, full_steps)


def _verdict(found, outcome, norm="spectral", **changes):
    fields = {
        "problem": found.problem.name,
        "degree": 1,
        "outcome": outcome,
        "steps": 64,
        "final_margin": 1.0,
        "evidence": found.evidence.norms,
        "hypotheses": {},
        "reasons": (f"reason of {found.problem.name}",),
        "norm": norm,
    }
    return ProblemVerdict(**(fields | changes))


def _conclude(outcomes=(HOLDS, HOLDS), claim=None, norm="spectral", **measured):
    found = [_measured(spec, **measured) for spec in SPECS]
    verdicts = [_verdict(m, o, norm) for m, o in zip(found, outcomes, strict=True)]
    return conclude(found, verdicts, claim=claim)


# -- Which norm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("best", CANDIDATES)
def test_the_nearest_norm_has_small_gaps_and_aligned_steps(best):
    assert nearest_norm([_measured(spec, _rows(best)) for spec in SPECS]).name == best


def test_all_problems_count():
    one, other = _rows("linf", gap=1e-4), _rows("spectral", gap=1e-4)
    other["linf"] = _row(5e-3, 0.99)
    assert nearest_norm([_measured(SPECS[0], one), _measured(SPECS[1], other)]).name == "linf"


def test_alignment_decides_between_equal_gaps():
    rows = _rows("linf")
    rows["l2"] = structs.replace(rows["linf"], alignment=0.9)
    assert nearest_norm([_measured(SPECS[0], rows)]).name == "linf"


def test_ties_go_to_the_simpler_norm():
    """Without vectors, hybrid is spectral; and a matrix of one row has one norm only."""
    rows = _rows("spectral")
    rows["hybrid"] = rows["spectral"]
    assert nearest_norm([_measured(SPECS[1], rows)]).name == "spectral"


@pytest.mark.parametrize("spoilt", [{"alignment": nan}, {"kkt_gap": nan}])
def test_what_was_not_measured_speaks_for_no_norm(spoilt):
    rows = _rows("spectral")
    rows["l2"] = structs.replace(rows["l2"], **spoilt)
    assert nearest_norm([_measured(spec, rows) for spec in SPECS]).name == "spectral"


def test_a_norm_of_one_problems_blocks_says_nothing_of_the_others():
    own = get_norm("blocks:W=2*spectral,*=linf;max")
    rows = _rows("spectral") | {own.name: _row(1e-8, 1.0)}
    norms = {n: get_norm(n) for n in CANDIDATES} | {own.name: own}
    found = [_measured(SPECS[0], rows, norms=norms), _measured(SPECS[1])]
    assert nearest_norm(found).name == "spectral"
    assert nearest_norm(found[:1]).name == own.name


def test_a_weighted_norm_of_one_problem_is_not_anothers_even_under_its_name():
    """AdaGO: blocks differ in weight on every problem; each norm is called "weighted …" and has rules of its own."""
    name = "weighted spectral"
    own = [ParameterNorm.of({block: "spectral"}, name=name) for block in ("W", "tall")]
    rows = _rows("spectral") | {name: structs.replace(_rows("spectral")["spectral"], kkt_gap=1e-6)}
    norms = {n: get_norm(n) for n in CANDIDATES}
    found = [
        _measured(s, rows, norms=norms | {name: n}, fingerprint=Fingerprint(n, 1.0, {}, unweighted=norms["spectral"]))
        for s, n in zip(SPECS, own, strict=True)
    ]
    assert nearest_norm(found).name == "spectral"
    assert nearest_norm(found[:1]).name == name


def test_without_evidence_there_is_still_an_answer():
    assert nearest_norm([_measured(SPECS[0], {})]).name == "l2"


# -- The outcome, and what may be named ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "claim", "outcome", "norm"),
    [
        ((HOLDS, HOLDS), None, HOLDS, "spectral"),
        ((HOLDS, HOLDS), "spectral", HOLDS, "spectral"),
        ((HOLDS, INCONCLUSIVE), None, INCONCLUSIVE, "spectral"),
        ((HOLDS, INCONCLUSIVE), "spectral", INCONCLUSIVE, None),
        ((HOLDS, FAILS), None, FAILS, None),
        ((INCONCLUSIVE, FAILS), "spectral", FAILS, None),
    ],
)
def test_outcome_and_name(outcomes, claim, outcome, norm):
    answer = _conclude(outcomes, claim)
    assert (answer.outcome, answer.norm, answer.approximate) == (outcome, norm, None)
    for spec in SPECS:
        assert any(f"{spec}: reason of {spec}." in reason for reason in answer.reasons)


def test_a_norm_that_no_problem_can_tell_from_it_withholds_the_pass():
    rows = _rows("spectral")
    rows["nuclear"] = structs.replace(rows["nuclear"], apart=0.001)
    answer = _conclude(rows=rows)
    assert answer.outcome is INCONCLUSIVE
    assert "These problems cannot tell spectral from nuclear; add one that can (--problem)." in answer.reasons
    assert _conclude().outcome is HOLDS


def test_one_problem_that_can_tell_is_enough():
    blurred = _rows("spectral")
    blurred["nuclear"] = structs.replace(blurred["nuclear"], apart=0.001)
    found = [_measured(SPECS[0]), _measured(SPECS[1], blurred)]
    assert conclude(found, [_verdict(m, HOLDS) for m in found], claim=None).outcome is HOLDS


def test_a_norm_that_is_the_same_everywhere_is_no_blind_spot():
    rows = _rows("spectral")
    rows["hybrid"] = structs.replace(rows["spectral"], apart=0.0, same=True)
    assert _conclude(rows=rows).outcome is HOLDS


def test_a_norm_that_shares_every_point_without_being_the_same_is_a_blind_spot():
    """On one sample the KKT directions of ℓ2 and ℓ∞ are the same, to the last digit."""
    rows = _rows("spectral")
    rows["hybrid"] = structs.replace(rows["spectral"], apart=0.0)
    assert _conclude(rows=rows).outcome is INCONCLUSIVE


def test_a_norm_that_was_nowhere_measured_is_a_blind_spot():
    rows = {name: row for name, row in _rows("spectral").items() if name != "nuclear"}
    answer = _conclude(rows=rows)
    assert answer.outcome is INCONCLUSIVE
    assert any("cannot tell spectral from nuclear" in reason for reason in answer.reasons)


def test_blind_spots_do_not_soften_a_failure():
    rows = _rows("spectral", apart=0.001)
    assert _conclude((HOLDS, FAILS), rows=rows).outcome is FAILS


def test_few_problems_make_a_verdict_on_them_alone():
    three = [_measured(spec) for spec in (*SPECS, "matrices@linear")]
    assert not any("alone" in r for r in conclude(three, [_verdict(m, HOLDS) for m in three], claim=None).reasons)
    assert any("That is said of these problems alone" in r for r in _conclude().reasons)
    one = conclude(three[:1], [_verdict(three[0], HOLDS)], claim=None)
    assert any("said of this problem alone: a verdict on the optimizer takes 3" in r for r in one.reasons)
    assert one.reasons[-1].startswith("Weights of norms above ")  # so large they were led
    assert not any("alone" in r for r in _conclude((HOLDS, FAILS)).reasons)


# -- Approximately ------------------------------------------------------------------------------------------------


def _nearly(**changes):
    usual = {"alignment": 0.9, "trajectory": 0.8, "probe": SOUND, "name": "spectral", "claim": None, "mixed": ""}
    options = usual | changes
    return _conclude(
        (FAILS, FAILS),
        options["claim"],
        rows=_rows("spectral", gap=0.08, alignment=options["trajectory"]),
        probe=options["probe"],
        fingerprint=_fingerprint(options["name"], options["alignment"]),
        mixed=options["mixed"],
    )


def test_approximately_is_an_answer_of_its_own():
    answer = _nearly()
    assert answer.outcome is FAILS
    assert answer.norm == "spectral"
    assert answer.approximate == {"signature": 0.9, "alignment": 0.8, "margin_lost": 0.08}
    assert answer.reasons[0].startswith("Approximately spectral: ")
    assert (
        "0.900 aligned with steepest descent under spectral, on trajectories 0.800, and up to 8 %" in answer.reasons[0]
    )


@pytest.mark.parametrize(("best", "approximate"), [(1.0, True), (0.9, True), (APPROXIMATE - 0.01, False)])
def test_the_worst_problems_steps_say_how_nearly(best, approximate):
    """On one problem a polar factor may happen to be exact: a single singular value is."""
    rows = _rows("spectral", gap=0.08, alignment=0.8)
    found = [
        _measured(s, rows=rows, fingerprint=_fingerprint(alignment=a)) for s, a in zip(SPECS, (best, 0.8), strict=True)
    ]
    answer = conclude(found, [_verdict(m, FAILS) for m in found], claim=None)
    assert (answer.approximate is not None) is approximate
    if approximate:
        assert answer.approximate["signature"] == 0.8


def test_a_claim_that_holds_approximately_is_not_named():
    answer = _nearly(claim="spectral")
    assert answer.norm is None
    assert answer.approximate is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"alignment": APPROXIMATE - 0.01},  # too far
        {"alignment": PERFECT},  # its signature is the norm's own: something else is wrong
        {"trajectory": NEAR - 0.01},
        {"trajectory": nan},
        {"name": "linf"},  # the signature speaks for another norm
        {"probe": replace(SOUND, memory=inf)},  # Adagrad
        {"mixed": "parameters of one shape are mixed up"},
        {"probe": None},  # our own are exact
    ],
    ids=str,
)
def test_what_is_not_approximately(changes):
    answer = _nearly(**changes)
    assert (answer.outcome, answer.norm, answer.approximate) == (FAILS, None, None)
    assert not answer.reasons[0].startswith("Approximately")


# -- What is said of the optimizer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "unmet", "text"),
    [
        (
            {"floor": 1e-7},
            "scale invariant",
            "Once the gradient's norm falls below 1e-07 its steps are others (an eps, a clipping threshold, a decay), "
            "and what they are there was not measured.",
        ),
        ({"defect": 1e-3}, "scale invariant", None),
        ({"update_degree": nan, "floor": 4.0}, "scale invariant", "neither independent of the gradient's scale nor"),
        ({"state_degrees": {(0, "state", "m"): nan}}, "scale invariant", None),
        ({"rescaling_error": 0.4}, "scale invariant", "it keeps state outside optimizer.state, or casts"),
        ({"decay": 0.1}, "no weight decay", "Weight decay 0.1 is set in its parameter groups"),
        ({"value_dependence": 1e-3}, "independent of the weights", "a hidden decay or a trust ratio"),
        ({"random": 0.1}, "deterministic", "It is random: two runs with different seeds differ by 1.0e-01."),
        (
            {"lr_knob_error": 0.5},
            "learning rate honoured",
            "Twice the learning rate, set on the way, does not move twice as far (error 5.0e-01).",
        ),
        ({"memory": inf}, "forgets", "Its state never forgets"),
        ({"lr_knob": ANCHORED.name}, "goes on from its weights", "each step puts the weights anew"),
    ],
)
def test_each_finding_is_a_hypothesis_and_a_sentence(changes, unmet, text):
    about = replace(SOUND, **changes)
    judged = {name: h for name, h in about_optimizer(about).items() if h.kind != "number"}
    assert [name for name, h in judged.items() if h.met is False] == [unmet]
    reasons = " ".join(_conclude(probe=about).reasons)
    if text is not None:
        assert text in reasons
        assert text not in " ".join(_conclude().reasons)


def test_no_run_at_another_pace_refutes_who_puts_the_weights_anew():
    """A hypothesis of the theorem, as it is the run that was not the optimizer's."""
    assert about_optimizer(replace(SOUND, lr_knob=ANCHORED.name))["goes on from its weights"].kind == "theorem"


def test_a_sound_optimizer_meets_every_hypothesis():
    assert all(h.met is True for h in about_optimizer(SOUND).values())
    assert about_optimizer(None) == {}


def test_a_twin_makes_up_for_state_that_cannot_be_rescaled():
    hidden, twin = replace(SOUND, rescaling_error=inf), Twin(get_optimizer("signum"), 1.0, 0.0, 760, "")
    assert about_optimizer(hidden)["scale invariant"].met is False
    assert about_optimizer(hidden, twin)["scale invariant"].met is True
    seen = replace(SOUND, rescaling_error=0.4)
    assert "outside optimizer.state" in " ".join(_conclude(probe=seen).reasons)
    assert "outside optimizer.state" not in " ".join(_conclude(probe=seen, twin=twin).reasons)
    assert about_optimizer(replace(hidden, floor=1e-8), twin)["scale invariant"].met is False


def test_a_declared_decay_is_not_called_hidden():
    reasons = " ".join(_conclude(probe=replace(SOUND, decay=0.1, value_dependence=0.1)).reasons)
    assert "Weight decay 0.1" in reasons
    assert "hidden" not in reasons


# -- What would decide --------------------------------------------------------------------------------------------


def _undecided(needed, tier="quick", probe=SOUND, **known):
    found = [_measured(SPECS[0], probe=probe, seconds=2.0, full_steps=6400, **known), _measured(SPECS[1], probe=probe)]
    verdicts = [_verdict(found[0], INCONCLUSIVE, steps_needed=needed), _verdict(found[1], HOLDS)]
    return " ".join(conclude(found, verdicts, claim=None, tier=tier).reasons)


def test_an_open_question_names_the_steps_that_would_decide_it():
    """64 steps took 2 s."""
    reasons = _undecided(3200.0)
    assert "To decide, blocks@linear needs about 3.2e+03 steps (it had 6.4e+01), some 100 s here" not in reasons
    assert "To decide, blocks@linear needs about 3.2e+03 steps (it had 6.4e+01), some 2 min here" in reasons
    assert "--tier full takes 6.4e+03." in reasons
    assert "which may not be enough" in _undecided(10_000.0)
    assert "more than the full tier takes" in _undecided(3200.0, tier="full")


@pytest.mark.parametrize(
    ("name", "met", "kind", "told"),
    [
        ("direction settles", False, "theorem", True),
        ("learning rate honoured at once", False, "number", True),
        ("scale invariant", True, "optimizer", True),
        ("scale invariant", False, "optimizer", False),
        ("scale invariant", None, "optimizer", False),
    ],
)
def test_no_steps_are_named_where_they_would_not_decide(name, met, kind, told):
    found = [_measured(spec, probe=SOUND, seconds=2.0, full_steps=6400) for spec in SPECS]
    why = {name: Hypothesis(met, 0.3, kind)}
    verdicts = [_verdict(m, INCONCLUSIVE, steps_needed=3200.0, hypotheses=why) for m in found]
    reasons = " ".join(conclude(found, verdicts, claim=None, tier="quick").reasons)
    assert ("To decide" in reasons) is told
    assert "remembers about 1000 steps" in _undecided(3200.0, probe=replace(SOUND, memory=1000.0))


@pytest.mark.parametrize("needed", [None, 64.0])
def test_where_steps_are_not_what_is_missing_none_are_named(needed):
    assert "To decide" not in _undecided(needed)


# -- Diagnosis and twins ------------------------------------------------------------------------------------------


def _frozen(row):
    return Finding.of(Kind.FROZEN, "W", 1.0, "{place:{block}} never moves.", place=Place("row", ((row,),), 64))


FROZEN = _frozen(7)


def test_a_finding_is_said_once_with_what_shows_it():
    found = [_measured(spec, findings=(FROZEN,)) for spec in SPECS]
    answer = conclude(found, [_verdict(m, FAILS) for m in found], claim="spectral")
    assert "Row 7 of W (W[7, :]) never moves (blocks@linear; likewise on W)." in answer.reasons
    held = conclude(found, [_verdict(m, HOLDS) for m in found], claim="spectral").reasons
    assert not any("never moves" in reason for reason in held)


def test_findings_that_differ_in_numbers_alone_are_one_the_largest_first():
    def bounds(block, low):
        form = "the step on {block} has singular values {low} … 1.1"
        return Finding.of(Kind.NEWTON_SCHULZ, block, 1 - low, form, low=low)

    found = [
        _measured(SPECS[0], findings=(bounds("tall", 0.7), bounds("wide", 0.6))),
        _measured(SPECS[1], findings=(bounds("W", 0.65), FROZEN, _frozen(8))),
    ]
    reasons = conclude(found, [_verdict(m, FAILS) for m in found], claim="spectral").reasons
    assert reasons[:3] == (
        "Row 7 of W (W[7, :]) never moves (multiclass@linear).",
        "Row 8 of W (W[8, :]) never moves (multiclass@linear).",
        "The step on wide has singular values 0.6 … 1.1 (blocks@linear; likewise on W, tall).",
    )


def test_notes_are_said_once_whatever_the_outcome():
    found = [_measured(spec, notes=("On a matrix its step is rows times as long.",)) for spec in SPECS]
    reasons = conclude(found, [_verdict(m, HOLDS) for m in found], claim=None).reasons
    assert reasons.count("On a matrix its step is rows times as long.") == 1


def test_few_findings_are_said_and_the_rest_counted():
    many = tuple(_frozen(i) for i in range(FINDINGS + 2))
    found = [_measured(spec, findings=many) for spec in SPECS]
    reasons = conclude(found, [_verdict(m, FAILS) for m in found], claim="spectral").reasons
    assert sum("never moves" in r for r in reasons) == FINDINGS
    assert "2 more findings in the JSON." in reasons


def test_what_two_problems_say_alike_is_said_once():
    found = [
        _measured(spec, probe=replace(SOUND, order_dependence=by, idle_steps=1))
        for spec, by in zip(SPECS, (0.89, 0.31), strict=True)
    ]
    reasons = conclude(found, [_verdict(m, HOLDS) for m in found], claim=None).reasons
    said = {r for m in found for r in m.exam.about.findings}
    assert len(said) == 3
    assert [r for r in reasons if r in said] == [*found[0].exam.about.findings]


def test_the_worst_of_the_problems_is_what_is_warned_of():
    found = [_measured(SPECS[0]), _measured(SPECS[1], probe=replace(SOUND, random=0.25))]
    assert "It is random" in " ".join(conclude(found, [_verdict(m, HOLDS) for m in found], claim=None).reasons)


def test_the_engine_speaks_for_a_proved_twin_and_says_so():
    twin = Twin(get_optimizer("signum"), 1.0, 2e-13, 930, "follows m to 2e-13 over 930 steps")
    found = [_measured(SPECS[0], twin=twin), _measured(SPECS[1])]
    reasons = conclude(found, [_verdict(m, HOLDS) for m in found], claim=None).reasons
    assert (
        "It follows m to 2e-13 over 930 steps (blocks@linear): the engine made the long runs in its place." in reasons
    )
    assert not any("engine" in r for r in _conclude().reasons)
