"""A norm that the state sets is concluded only where every problem bears it out; less evidence never helps."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from maxmargin.models import problems as registry
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.measure import Evidence
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.evidence.state_norm import StateNorm
from maxmargin.verify.judging.conclusion import conclude
from maxmargin.verify.judging.own_norm import own_norm, own_norm_missing
from maxmargin.verify.lab.examine import Exam
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import NormEvidence, ProblemVerdict

PROBLEMS = ("blocks@linear", "multiclass@linear", "binary@relu2:h=8")
FIXED = dict.fromkeys(CANDIDATES, 0.4) | {"l2": 0.25}
GOOD = StateNorm(
    runs=1,
    error=1e-12,
    asymmetry=1e-12,
    spread=500.0,
    drift=1e-9,
    gap=2e-3,
    alignment=1.0,
    form="diagonal",
    accumulated=True,
    fixed=FIXED,
)
NEVER = Probe(
    update_degree=0.0,
    state_degrees={},
    defect=0.0,
    floor=0.0,
    lag_limit=1.0,
    memory=inf,
    stays=True,
    decay=0.0,
    value_dependence=0.0,
    random=0.0,
    step_per_lr=1.0,
)
ROW = NormEvidence(0.4, (0.4, 0.4), 0.5, None, None, -0.5, (-0.6, -0.4), apart=0.2)
ONES = np.ones((3, 1))
BLOCK = np.ones((3, 1, 2))
RUN = Trajectory(
    "p", "o", np.array([0, 8, 64]), {"w": BLOCK}, {"w": BLOCK}, {"w": -BLOCK}, log_scale=-ONES, margin=ONES, eta=ONES,
    travelled=ONES, separated_at=np.zeros(1, dtype=int),
)  # fmt: skip


def found_with(*states, probe=NEVER, problems=PROBLEMS):
    states = states or (GOOD,) * len(problems)
    evidence = Evidence(dict.fromkeys(CANDIDATES, ROW), {})
    return [
        Measured(registry.get(p), RUN, evidence, Exam(p, about=probe), state=s)
        for p, s in zip(problems, states, strict=True)
    ]


def verdict_of(m, outcome):
    rows = m.evidence.norms
    return ProblemVerdict(m.problem.name, m.problem.degree, outcome, 64, 1.0, rows, {}, ("reason",), norm="linf")


def concluded(found, claim=None, outcome=Outcome.FAILS):
    return conclude(found, [verdict_of(m, outcome) for m in found], claim=claim)


def test_a_metric_of_its_own_is_the_answer():
    found = found_with()
    answer = concluded(found)
    assert answer.outcome is Answer.DATA_DEPENDENT.outcome is Outcome.FAILS
    assert answer.norm is None
    assert answer.own is not None
    text = answer.reasons[0]
    assert text.startswith("Data-dependent: its state never forgets, and it maximizes the l2 margin in the metric")
    assert "diagonal, the roots of its summed squared gradients" in text
    assert "l2, the nearest, leaves 0.25 on " in text
    assert "where its own norm leaves 2.0e-03." in text


def test_another_law_is_not_called_adagrads():
    text = own_norm(found_with(*[replace(GOOD, accumulated=False, form="Kronecker")] * 3), "quick").text
    assert "squared gradients" not in text
    assert "a Kronecker product L ⊗ R on each matrix" in text


@pytest.mark.parametrize(
    "spoiled",
    [
        {"error": 0.1},
        {"error": nan},
        {"asymmetry": 0.1},
        {"asymmetry": inf},
        {"spread": inf},
        {"spread": nan},
        {"drift": 0.2},
        {"drift": inf},
        {"gap": 0.2},
        {"gap": nan},
        {"alignment": 0.8},
        {"alignment": nan},
    ],
    ids=str,
)
def test_each_part_is_needed_on_every_linear_problem(spoiled):
    for place in (0, 1):
        states = [GOOD] * 3
        states[place] = replace(GOOD, **spoiled)
        found = found_with(*states)
        assert own_norm(found, "quick") is None
        assert concluded(found).own is None
        missing = own_norm_missing(found, "quick")
        assert len(missing) == 1
        assert missing[0].startswith(PROBLEMS[place])
        assert missing[0] in concluded(found).reasons


def test_no_measurement_is_no_evidence():
    assert own_norm(found_with(GOOD, None, GOOD), "quick") is None
    assert own_norm([], "quick") is None
    found = found_with()
    lost = replace(RUN, margin=np.array([[1.0], [1.0], [-1.0]]))
    assert own_norm([*found[:2], replace(found[2], trajectory=lost)], "quick") is None


@pytest.mark.parametrize("spoiled", [{"decay": 0.1}, {"value_dependence": 0.1}, {"random": 0.1}], ids=str)
def test_steps_that_depend_on_more_than_gradients_have_no_metric(spoiled):
    assert own_norm(found_with(probe=replace(NEVER, **spoiled)), "quick") is None


def test_each_fixed_norm_is_told_apart_somewhere():
    near = replace(GOOD, fixed=FIXED | {"l2": 3e-3})
    assert own_norm(found_with(near, near, near), "quick") is None  # it says no more than l2
    assert own_norm(found_with(near, GOOD, near), "quick") is not None
    unmeasured = replace(GOOD, fixed={"linf": 0.4})
    assert own_norm(found_with(unmeasured, unmeasured, unmeasured), "quick") is None


def test_a_network_may_be_on_its_way_if_its_steps_are_the_metrics():
    late = replace(GOOD, gap=0.6)
    answer = own_norm(found_with(GOOD, GOOD, late), "quick")
    assert answer.open == ((PROBLEMS[2], 0.6),)
    assert answer.gap == GOOD.gap
    assert "the gap is still 0.6" in answer.text
    assert own_norm(found_with(GOOD, GOOD, replace(late, alignment=0.95)), "quick") is None
    assert own_norm(found_with(late, problems=PROBLEMS[2:]), "quick") is None
    assert own_norm(found_with(GOOD, problems=PROBLEMS[2:]), "quick") is None  # no linear problem bears it out


def test_a_claim_is_refuted_by_it_and_a_pass_stays_a_pass():
    assert concluded(found_with(), claim="linf").outcome is Outcome.FAILS
    # Of a norm that no problem was measured under, it says nothing.
    other = concluded(found_with(), claim="schatten:3", outcome=Outcome.INCONCLUSIVE)
    assert other.outcome is Outcome.INCONCLUSIVE
    assert other.own is None
    assert concluded(found_with(), outcome=Outcome.HOLDS).own is None


def test_one_problem_speaks_for_itself_alone():
    answer = concluded(found_with(GOOD, problems=PROBLEMS[:1]))
    assert answer.own is not None
    assert any("this problem alone" in text for text in answer.reasons)


def test_a_layerwise_norm_is_said_as_one_and_must_close_everywhere():
    layered = replace(GOOD, form="layers", accumulated=False, error=1e-3)
    probe = replace(NEVER, memory=1.0, stays=False, value_dependence=0.67)
    answer = own_norm(found_with(*[layered] * 3, probe=probe), "quick")
    assert "a trust ratio" in answer.text
    assert "squared gradients" not in answer.text
    assert own_norm(found_with(layered, layered, replace(layered, gap=0.6), probe=probe), "quick") is None
    assert own_norm(found_with(layered, layered, replace(layered, error=0.5), probe=probe), "quick") is None
    assert own_norm(found_with(layered, layered, GOOD, probe=probe), "quick") is None
