"""Outcomes, exit statuses and the JSON that other programs rely on."""

from __future__ import annotations

import json
from math import inf, nan

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from maxmargin.verify.results.answer import Answer, NoNorm
from maxmargin.verify.results.claim_verdict import ClaimVerdict, weakest
from maxmargin.verify.results.encoding import ReportError, as_json
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import Hypothesis, NormEvidence, ProblemVerdict
from maxmargin.verify.results.verdict import CheckVerdict, Factor, Regime

HOLDS, FAILS, INCONCLUSIVE = Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE


def _evidence(**changes):
    fields = {
        "kkt_gap": 1e-3,
        "kkt_gap_range": (5e-4, 2e-3),
        "alignment": 0.99,
        "margin_ratio": 0.999,
        "distance": 0.01,
        "slope": -0.5,
        "slope_interval": (-0.6, -0.4),
        "rung": "convex dual certificate",
    }
    return NormEvidence(**(fields | changes))


def _problem(outcome=HOLDS, **changes):
    fields = {
        "problem": "multiclass@linear",
        "degree": 1,
        "outcome": outcome,
        "steps": 1000,
        "final_margin": 12.5,
        "evidence": {"linf": _evidence(), "l2": _evidence(kkt_gap=0.2, kkt_gap_range=(0.1, 0.3))},
        "hypotheses": {"A1": Hypothesis(True, 0.0), "R": Hypothesis(None, nan)},
        "reasons": ("because",),
        "rung": "convex dual certificate",
    }
    return ProblemVerdict(**(fields | changes))


def _judged(outcome=HOLDS, **changes):
    fields = {
        "target": "torch.optim:Adam",
        "kwargs": {"eps": 0.0, "betas": (0.9, 0.95)},
        "outcome": outcome,
        "norm": "linf",
        "blocks": {"W": {"norm": "linf", "weight": 1.0}},
        "claim": None,
        "reasons": ("one.", "two."),
        "problems": (_problem(),),
    }
    return fields | changes


def _verdict(outcome=HOLDS, **changes):
    facts = {"tier": "quick", "versions": {"torch": "2"}, "seed": 0, "device": "cpu", "seconds": 1.5}
    return CheckVerdict(**_judged(outcome, **(facts | changes)))


def _claim(outcome=HOLDS, **changes):
    return ClaimVerdict(**_judged(outcome, **({"id": "adam-linf", "statement": "s", "source": "p"} | changes)))


def test_exit_statuses():
    assert {o.value: o.exit_status for o in Outcome} == {"holds": 0, "fails": 1, "inconclusive": 3}


@pytest.mark.parametrize(
    ("outcomes", "together"),
    [
        ([], INCONCLUSIVE),  # silence is no pass
        ([HOLDS], HOLDS),
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, INCONCLUSIVE], INCONCLUSIVE),
        ([INCONCLUSIVE, FAILS, HOLDS], FAILS),
        ([FAILS], FAILS),
    ],
)
def test_outcomes_together(outcomes, together):
    assert Outcome.of_all(iter(outcomes)) is together


# DESIGN, section 6. What is more is listed, so that a key cannot vanish, or appear, unnoticed.
CONTRACT = {"schema", "target", "kwargs", "outcome", "norm", "blocks", "claim", "reasons", "problems"} | {
    "versions",
    "seed",
    "device",
    "seconds",
}
PROBLEM = {"problem", "degree", "outcome", "steps", "final_margin", "evidence", "hypotheses"}
EVIDENCE = {"kkt_gap", "alignment", "margin_ratio", "distance", "slope"}
MORE = {
    "verdict": {"approximate", "tier", "probe", "twin", "findings", "answer", "sentence", "regimes", "until_step"}
    | {"until_problem", "factor", "settles_on", "why", "origin", "switched_off"},
    "problem": {"model", "norm", "reasons", "rung", "runs", "separated_runs", "steps_needed", "numbers", "control"},
    "claim": {"kwargs", "claim", "paper", "kind", "formula", "expected", "because"},
    "evidence": {"kkt_gap_range", "slope_interval", "residual", "matched", "rung", "apart", "told", "same"},
}


def test_the_json_of_check_has_the_contracts_keys():
    data = _verdict().to_json()
    assert set(data) == CONTRACT | MORE["verdict"]
    assert data["schema"] == 1
    (problem,) = data["problems"]
    assert set(problem) == PROBLEM | MORE["problem"]
    assert set(problem["evidence"]) == {"linf", "l2"}
    for row in problem["evidence"].values():
        assert set(row) == EVIDENCE | MORE["evidence"]
    assert problem["hypotheses"] == {
        "A1": {"met": True, "value": 0.0, "kind": "theorem"},
        "R": {"met": None, "value": None, "kind": "theorem"},
    }
    assert set(as_json(_problem(arrays_file="arrays/x.npz"))) == PROBLEM | MORE["problem"] | {"arrays"}


def test_the_json_of_a_claim_has_the_contracts_keys():
    row = _claim().to_json()
    contract = {"id", "statement", "source", "optimizer", "norm", "outcome", "reasons", "rung", "blocks", "problems"}
    assert set(row) == contract | MORE["claim"]
    assert (row["id"], row["optimizer"], row["outcome"]) == ("adam-linf", "torch.optim:Adam", "holds")
    assert row["rung"] == "convex dual certificate"
    assert _claim(norm=None, claim="l2").to_json()["norm"] == "l2"


def test_nothing_that_json_does_not_know_gets_out():
    """NaN, infinities, numpy and torch numbers: strict JSON takes all of it."""
    spoilt = {
        "kwargs": {"eps": nan, "f": print, "n": 3, "flag": True, "none": None},
        "blocks": {"W": {"norm": "l2", "weight": np.float64(2.0), "alignment": nan}},
        "approximate": {"alignment": nan, "margin_lost": inf},
        "problems": (
            _problem(
                arrays={"steps": np.arange(3)},
                final_margin=inf,
                evidence={"linf": _evidence(kkt_gap=nan, kkt_gap_range=(nan, nan), slope=None, slope_interval=None)},
                hypotheses={"met": Hypothesis(True, np.float64(nan))},
            ),
        ),
    }
    facts = {"seconds": torch.tensor(1.5), "probe": {"memory": inf, "path": (1, nan), "sizes": np.arange(3)}}
    data = _verdict(**spoilt, **facts).to_json()
    for row in (data, _claim(**spoilt).to_json()):
        text = json.dumps(row, allow_nan=False)
        assert "NaN" not in text
    assert data["approximate"] == {"alignment": None, "margin_lost": None}
    assert data["blocks"]["W"] == {"norm": "l2", "weight": 2.0, "alignment": None}
    assert data["kwargs"] == {"eps": None, "f": repr(print), "n": 3, "flag": True, "none": None}
    assert data["seconds"] == 1.5
    assert data["probe"] == {"memory": None, "path": [1, None], "sizes": [0, 1, 2]}
    (problem,) = data["problems"]
    assert problem["final_margin"] is None
    assert problem["evidence"]["linf"]["kkt_gap_range"] == [None, None]


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (nan, None),
        (-inf, None),
        (1.5, 1.5),
        ("nan", "nan"),
        (True, True),
        (None, None),
        ({1: (nan, 2)}, {"1": [None, 2]}),
        (np.int64(3), 3),
        (np.array([[1.0, nan]]), [[1.0, None]]),
        (torch.tensor([1.0, inf], dtype=torch.float64), [1.0, None]),
        (np.bool_(False), False),
    ],
)
def test_what_is_written_is_plain(value, cleaned):
    got = as_json(value)
    assert got == cleaned
    assert type(got) is type(cleaned)


def test_the_weakest_rung_speaks_for_all():
    assert weakest(["certified", "convex dual certificate", "symbolic"]) == "convex dual certificate"
    assert weakest(["symbolic"]) == "symbolic"
    assert weakest([]) == "numerical"
    assert weakest(["symbolic", "hearsay"]) == "numerical"


@pytest.mark.parametrize(
    ("outcome", "norm", "claim", "text"),
    [
        (HOLDS, "linf", None, "maximizes the linf margin. one. two."),
        (FAILS, None, "l2", "does not maximize the l2 margin."),
        (FAILS, None, None, "torch.optim:Adam maximizes the margin of none of the candidate norms."),
        (FAILS, "spectral", None, "maximizes the spectral margin only approximately."),
        (INCONCLUSIVE, None, "l2", "Whether torch.optim:Adam maximizes the l2 margin is not decided."),
        (
            INCONCLUSIVE,
            "linf",
            None,
            "Which norm's margin torch.optim:Adam maximizes is not decided; linf comes nearest.",
        ),
        (INCONCLUSIVE, None, None, "Which norm's margin torch.optim:Adam maximizes is not decided. one."),
    ],
)
def test_explain(outcome, norm, claim, text):
    assert text in _verdict(outcome, norm=norm, claim=claim, kwargs={}).explain()


def test_a_claim_that_holds_nearly_is_said_to():
    nearly = replace(_verdict(FAILS, norm=None, claim="spectral"), approximate={"margin_lost": 0.1})
    assert "maximizes the spectral margin only approximately." in nearly.explain()


# -- Classes of answer --------------------------------------------------------------------------------------------


def test_the_classes_of_answer_their_outcomes_and_exit_statuses():
    assert {a.value: a.outcome.exit_status for a in Answer} == {
        "holds": 0,
        "holds in regimes": 0,
        "holds to a factor": 1,
        "data-dependent": 1,
        "refuted": 1,
        "no norm": 1,
        "undecided": 3,
    }
    assert all(Answer.of(o).outcome is o for o in Outcome)
    assert all(a.meaning for a in Answer)


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_alone_gets_the_plain_answer(outcome):
    assert _verdict(outcome).answer is Answer.of(outcome)
    assert _verdict(outcome).to_json()["answer"] == Answer.of(outcome).value


def test_an_answer_of_another_outcome_is_refused():
    with pytest.raises(ValueError, match="has the outcome"):
        _verdict(HOLDS, answer=Answer.FACTOR)


def _regimes(below="l2", outcome=None):
    top = Regime(above=2e-6, below=None, degree=0.0, outcome=HOLDS, norm="linf", problems=(_problem(arrays={}),))
    outcome = outcome or (HOLDS if below else FAILS)
    return (top, Regime(above=None, below=2e-6, degree=1.0, outcome=outcome, norm=below))


@pytest.mark.parametrize(
    ("answer", "changes", "sentence"),
    [
        (
            Answer.REGIMES,
            {"regimes": _regimes()},
            "maximizes the linf margin while the gradient's norm is above 2e-06, then the l2 margin.",
        ),
        (Answer.REGIMES, {"regimes": _regimes(None)}, "is above 2e-06, then a margin that was not identified."),
        (
            Answer.REGIMES,
            {"regimes": _regimes(outcome=INCONCLUSIVE)},  # l2 is only the nearest
            "is above 2e-06, then a margin that was not identified.",
        ),
        (
            Answer.FACTOR,
            {"norm": "spectral", "factor": Factor(0.614, 0.871)},
            "maximizes the spectral margin to a factor: at least 0.61 of it is guaranteed, 0.87 was reached.",
        ),
        (
            Answer.FACTOR,
            {"norm": "spectral", "factor": Factor(0.979, 0.965)},  # at least: rounded down
            "maximizes the spectral margin to a factor: at least 0.97 of it is guaranteed, 0.96 was reached.",
        ),
        (
            Answer.DATA_DEPENDENT,
            {"settles_on": "l2 in the metric of its last preconditioner"},
            "maximizes no fixed norm's margin, but that of one its state settles on: l2 in the metric of its last prec",
        ),
        (Answer.NO_NORM, {"why": NoNorm.ASCENDS}, "maximizes no norm's margin: it ascends."),
    ],
)
def test_each_class_of_answer_has_a_sentence_that_can_be_quoted(answer, changes, sentence):
    verdict = _verdict(answer.outcome, answer=answer, kwargs={}, **changes)
    assert sentence in verdict.sentence
    assert verdict.to_json()["sentence"] == verdict.sentence
    assert verdict.explain().startswith(verdict.sentence)


def test_the_regimes_problems_are_stored_without_their_arrays():
    data = _verdict(HOLDS, answer=Answer.REGIMES, regimes=_regimes()).to_json()
    assert [r["norm"] for r in data["regimes"]] == ["linf", "l2"]
    assert set(data["regimes"][0]["problems"][0]) == PROBLEM | MORE["problem"]


def test_a_notebook_shows_a_verdict_with_everything_escaped():
    seen = _verdict(HOLDS, target="<script>x</script>")._repr_html_()
    assert "<script>" not in seen
    assert "&lt;script&gt;" in seen
    assert seen.count("<tr>") == 2


def test_a_verdict_in_memory_has_a_page_and_a_figure():
    steps = np.array([10, 100, 1000])
    arrays = {"steps": steps, "kkt_gap:l2": 1.0 / steps[:, None], "kkt_gap:linf": np.full((3, 1), 0.3)}
    problem = replace(_problem(), arrays=arrays)
    blocks = {"W": {"norm": "linf", "weight": 1.0, "alignment": 1.0}}
    verdict = replace(_verdict(HOLDS), problems=(problem,), blocks=blocks)
    figure = verdict.plot()
    assert figure._repr_png_().startswith(b"\x89PNG"), "a notebook shows it"
    (axes,) = figure.axes
    assert {line.get_label().removesuffix(" (judged)") for line in axes.lines} == {"l2", "linf"}
    assert verdict.to_html().startswith("<!doctype html>")
    with pytest.raises(ReportError, match="has no curves in memory"):
        _verdict(HOLDS).plot()
