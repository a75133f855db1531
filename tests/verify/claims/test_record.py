"""Records that numbers decide: what holds, fails or stays open, controls, selection, storage, and the page."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from maxmargin.reports.render import render
from maxmargin.verify import verify
from maxmargin.verify.claims import catalogue
from maxmargin.verify.claims.catalogue import CLAIMS, PAPERS, select
from maxmargin.verify.claims.record import (
    LONGER,
    UNTIL_DECIDED,
    Case,
    ClaimError,
    Control,
    Measured,
    at_least,
    at_most,
    closing,
    register,
    within,
)
from maxmargin.verify.optimizers.core.base import OptimizerError
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.running.campaign import parts
from maxmargin.verify.thresholds.training import LONGEST_CLAIM

H, F, OPEN = Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE
CALLS: list[dict] = []


def numbers(tier, seed, *, gap, ready=1.0, **more):
    CALLS.append({"tier": tier, "seed": seed, "gap": gap})
    return {"gap": gap, "ready": ready, "curve": np.arange(3.0), "extra": 7.0, **more}


@pytest.fixture
def made(monkeypatch):
    """A record of these gaps, registered for the test alone."""
    CALLS.clear()

    def build(*gaps, control=1.0, **changes):
        fields = {
            "id": "toy",
            "paper": "own",
            "kind": "bound",
            "statement": "It is <b>small</b>.",
            "formula": "Γ ≤ ε & λ ≥ 0",
            "source": "A test",
            "optimizers": ("signum",),
            "measure": numbers,
            "cases": tuple(Case(f"case {i}", gap=gap) for i, gap in enumerate(gaps)),
            "conditions": (at_most("gap", 0.1, refuted=0.5),),
            "control": Control("a large gap", gap=control),
            "hypotheses": (at_least("ready", 1.0),),
            "seeds": {"quick": 1, "full": 2},
        }
        claim = Measured(**(fields | changes))
        monkeypatch.setitem(CLAIMS, claim.id, claim)
        return claim

    return build


def test_a_result_of_code_that_was_changed_since_is_not_resumed(made, tmp_path, monkeypatch):
    file = tmp_path / "measures_of_mine.py"
    monkeypatch.syspath_prepend(tmp_path)
    file.write_text("def measure(tier, seed, *, gap):\n    return {'gap': gap, 'ready': 1.0}\n")
    claim = made(0.1, measure=importlib.import_module("measures_of_mine").measure)
    (part, *_) = parts(claim, "quick")
    before = part.fingerprint("quick")
    assert part.fingerprint("quick") == before
    file.write_text(file.read_text().replace("'gap': gap", "'gap': 10 * gap"))
    assert part.fingerprint("quick") != before


@pytest.mark.parametrize(
    ("gaps", "outcome"),
    [((0.1,), H), ((0.0, 0.3), OPEN), ((0.0, 0.6), F), ((math.nan,), OPEN), ((0.6, math.nan), F)],
)
def test_numbers_and_conditions_decide(gaps, outcome, made):
    made(*gaps)
    (verdict,) = verify(["toy"])
    assert verdict.outcome is outcome
    assert verdict.control.refused
    assert "gap" in verdict.reasons[0]


@pytest.mark.parametrize("control", [0.05, 0.3, math.nan])
def test_a_control_that_is_not_contradicted_leaves_the_claim_open(control, made):
    made(0.0, control=control)
    (verdict,) = verify(["toy"])
    assert verdict.outcome is OPEN
    assert "not refused" in verdict.reasons[-1]


@pytest.mark.parametrize(("gap", "ready"), [(0.0, 0.5), (0.9, 0.5), (0.0, math.nan)])
def test_without_its_hypotheses_nothing_is_decided(gap, ready, made):
    made(gap, cases=(Case("case", gap=gap, ready=ready),))
    (verdict,) = verify(["toy"])
    assert verdict.outcome is OPEN
    assert verdict.problems[0].hypotheses["ready"].met is (None if math.isnan(ready) else False)


@pytest.mark.parametrize(
    ("condition", "value", "outcome"),
    [
        (within("x", 0.8, 1.2), 1.2, H),
        (within("x", 0.8, 1.2), 1.3, F),
        (within("x", 0.8, 1.2), 0.7, F),
        (at_least("x", 1.0, refuted=0.5), 0.7, OPEN),
        (at_least("x", 1.0, refuted=0.5), 0.4, F),
        (at_least("x", 1.0), math.inf, H),
        (at_most("x", 1.0), -math.inf, H),
        (at_most("x", 1.0), math.nan, OPEN),
    ],
)
def test_a_condition_has_two_bounds_and_a_range_between(condition, value, outcome):
    assert condition.outcome({"x": value}) is outcome


@pytest.mark.parametrize(
    ("gap", "fall", "least_other", "outcomes"),
    [
        (0.005, 0.5, 5.0, (H, H, H)),
        (0.005, 1.02, 5.0, (H, OPEN, H)),  # it passes a saddle
        (0.005, 0.5, 1.1, (H, H, OPEN)),  # two closed gaps tell nothing apart,
        (0.005, 0.5, 0.1, (H, H, F)),  # unless the other is far smaller
        (0.3, 0.7, 5.0, (OPEN, OPEN, H)),  # it wants more steps
        (0.3, 1.0, 5.0, (OPEN, F, H)),
        (0.3, 0.5, 0.9, (OPEN, H, OPEN)),
        (0.3, 0.5, 0.4, (OPEN, H, F)),
        (math.nan, 1.0, math.nan, (OPEN, OPEN, OPEN)),  # a gap that was not measured contradicts nothing
    ],
)
def test_a_gap_contradicts_by_stopping_while_it_is_large_or_by_anothers_that_is_half_of_it(
    gap, fall, least_other, outcomes
):
    found = {"gap": gap, "gap, end over a tenth": fall, "least other gap over it": least_other}
    assert tuple(c.outcome(found) for c in closing(0.01, 0.6, stalled=0.9)) == outcomes
    assert [c.number for c in closing(0.01, 0.6, stalled=0.9, others=False)] == list(found)[:2]


def test_what_is_open_and_is_no_contradiction_says_why(made):
    gap = {"gap, end over a tenth": 1.01, "least other gap over it": 5.0}
    made(0.005, cases=(Case("case", gap=0.005, **gap),), conditions=closing(0.01, 0.6, stalled=0.9))
    (verdict,) = verify(["toy"])
    assert verdict.outcome is OPEN
    (why,) = (r for r in verdict.problems[0].reasons if r.endswith(")"))
    assert why.startswith("gap, end over a tenth is 1.01, asked is ≤ 0.6 (")
    assert "a saddle" in why


def of_length(tier, seed, *, steps, decided_after, **more):
    CALLS.append({"steps": steps})
    return {"gap": 0.0 if steps >= decided_after else 0.2, "ready": 1.0, **more}


@pytest.mark.parametrize(
    ("tier", "decided_after", "taken", "outcome"),
    [
        ("quick", 30, [3], OPEN),
        ("full", 3, [3], H),
        ("full", 30, [3, 30], H),
        ("full", 31, [3, 30, 300], H),
        ("full", 301, [3, 30, 300], OPEN),
    ],
)
def test_a_run_is_as_long_as_it_takes_to_decide(tier, decided_after, taken, outcome, made):
    case = Case("case", steps=3, decided_after=decided_after)
    claim = made(measure=of_length, cases=(case,), lengths=UNTIL_DECIDED, seeds={"quick": 1, "full": 1})
    verdict = parts(replace(claim, control=Control("none")), tier)[0].job(tier, "cpu").verdict()
    assert [c["steps"] for c in CALLS] == taken * (2 if verdict.control else 1)  # the control is the case itself here
    assert verdict.outcome is outcome
    assert {n.name: n.value for n in verdict.numbers}.get("steps", 3) == taken[-1]


def test_no_run_is_longer_than_the_longest_and_none_is_made_twice(made):
    case = Case("case", steps=LONGEST_CLAIM // 10, decided_after=math.inf)
    claim = made(measure=of_length, cases=(case,), lengths=LONGER, seeds={"quick": 1, "full": 1})
    parts(replace(claim, control=Control("decided", decided_after=0)), "full")[0].job("full", "cpu").verdict()
    assert [c["steps"] for c in CALLS] == [LONGEST_CLAIM, LONGEST_CLAIM]  # the case, and its control


@pytest.mark.parametrize("lengths", [LONGER, UNTIL_DECIDED, {**LONGER, "full": LONGER["full"][:1]}])
def test_runs_of_several_lengths_name_their_steps(lengths, made):
    with pytest.raises(ClaimError, match="names no steps"):
        made(0.0, lengths=lengths)


def test_seeds_are_jobs_of_their_own_and_the_control_is_measured_once(made):
    claim = made(0.0, 0.05)
    assert [p.label for p in parts(claim, "quick")] == ["case 0", "case 1"]
    assert len({p.fingerprint("full") for p in parts(claim, "full")}) == 4
    verify(["toy"], tier="full", seed=5)
    assert sorted((c["seed"], c["gap"]) for c in CALLS) == [(5, 0.0), (5, 0.05), (5, 1.0), (1005, 0.0), (1005, 0.05)]


def test_finished_jobs_are_not_measured_again_unless_the_record_changed(tmp_path, made):
    made(0.0, 0.05)
    (first,) = verify(["toy"], out=tmp_path)
    CALLS.clear()
    (again,) = verify(["toy"], out=tmp_path, resume=True)
    assert not CALLS
    assert again.to_json() == first.to_json()
    made(0.0, 0.05, conditions=(at_most("gap", 0.2),))
    verify(["toy"], out=tmp_path, resume=True)
    assert len(CALLS) == 3


def test_json_and_page_show_the_record_and_escape_it(tmp_path, made):
    made(0.0, 0.3)
    verify(["toy"], out=tmp_path)
    (row,) = json.loads((tmp_path / "results.json").read_text())["claims"]
    assert (row["kind"], row["paper"], row["formula"]) == ("bound", "own", "Γ ≤ ε & λ ≥ 0")
    assert row["problems"][0]["control"]["refused"] is True
    assert [n["name"] for n in row["problems"][0]["numbers"]] == ["gap", "ready", "extra"]
    page = render(tmp_path).read_text()
    assert "<b>small</b>" not in page
    assert "It is &lt;b&gt;small&lt;/b&gt;." in page
    assert "a large gap" in page
    assert (tmp_path / "arrays").is_dir()


def test_selection_by_paper_optimizer_and_part_of_an_id():
    assert {c.paper for c in select(["gv"])} == {"gv"}
    assert {"muon-spectral", "muon-adam-hybrid", "gv-equal-layers"} <= {c.id for c in select(["muon"])}
    assert [c.id for c in select(["signum-linf", "signum-linf"])] == ["signum-linf"]
    with pytest.raises(ClaimError, match="did you mean 'muon-spectral'"):
        select(["muon-spectra"])
    with pytest.raises(ClaimError, match="unknown claim ''"):
        select([""])


def test_what_cannot_be_a_record_is_refused(made):
    with pytest.raises(ClaimError, match="no cases"):
        made()
    with pytest.raises(ClaimError, match="two cases of one name"):
        made(0.0, cases=(Case("a", gap=0.0), Case("a", gap=1.0)))
    with pytest.raises(ClaimError, match="not known"):
        register(replace(made(0.0), id="elsewhere", paper="nobody"))
    with pytest.raises(ClaimError, match="exists already"):
        register(CLAIMS["signum-linf"])
    with pytest.raises(ClaimError, match="is 'Gronich"):
        catalogue.paper("gv", "Another", "")


def test_a_record_is_held_against_another_optimizer(made):
    def of(tier, seed, *, optimizer, gap):
        return {"gap": gap if optimizer == "signum" else 0.9, "ready": 1.0}

    made(0.0, measure=of, cases=(Case("a", optimizer="signum", gap=0.0),))
    assert verify(["toy"])[0].outcome is H
    (verdict,) = verify(["toy"], optimizer="ngd")
    assert (verdict.target, verdict.outcome) == ("ngd", F)
    made(0.0)
    with pytest.raises(ClaimError, match="not about one optimizer"):
        verify(["toy"], optimizer="ngd")
    with pytest.raises(OptimizerError, match="sigmum"):
        verify(["toy"], optimizer="sigmum")


def test_every_record_says_what_it_is_and_where_it_stands():
    for claim in CLAIMS.values():
        assert claim.statement.endswith(".")
        assert claim.source
        assert claim.formula
        assert claim.paper in PAPERS
        assert claim.optimizers or claim.id == "own-natural-gradient"  # its steps are of no optimizer of ours
