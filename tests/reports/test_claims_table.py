"""The table of claims: one row a claim, the deciding number, the control, and why something does not hold."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from maxmargin.reports.claims import markdown, table_of
from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.encoding import ReportError
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ControlVerdict, Number, ProblemVerdict
from maxmargin.verify.results.store import Store


def claim(name, *values, **changes):
    outcomes = {True: Outcome.HOLDS, False: Outcome.FAILS}
    numbers = tuple(Number(f"n{i}", v, "≤ 1", outcomes[v <= 1]) for i, v in enumerate(values))
    control = ControlVerdict("a wrong norm", refused=True)
    problem = ProblemVerdict("p", 0, Outcome.HOLDS, 0, math.nan, {}, {}, numbers=numbers, control=control)
    fields = {
        "target": "signum",
        "kwargs": {},
        "outcome": Outcome.HOLDS,
        "norm": None,
        "blocks": {},
        "claim": None,
        "reasons": ("p: n1 is 3 | <b>",),
        "problems": (problem,),
        "id": name,
        "source": "A paper, theorem 1|2",
        "paper": "toy",
        "kind": "bound",
    }
    return ClaimVerdict(**(fields | changes))


def test_every_claim_has_its_row_and_what_does_not_hold_its_reason():
    campaign = Campaign(
        tier="quick",
        seed=0,
        claims=(
            claim("held", 0.5, 0.25),
            claim("failed", 0.5, 3.0, outcome=Outcome.FAILS),
            claim("known", 3.0, outcome=Outcome.FAILS, expected=Outcome.FAILS, because="It is known."),
        ),
    )
    text = markdown(campaign)
    assert "3 claims, 1 holds, 2 fails, 0 inconclusive" in text
    assert "| held | bound | A paper, theorem 1\\|2 | HOLDS | n0 = 0.5, asked ≤ 1 | refused: a wrong norm |" in text
    assert "| failed | bound | A paper, theorem 1\\|2 | FAILS | n1 = 3, asked ≤ 1 | refused: a wrong norm |" in text
    assert "- **failed** FAILS: p: n1 is 3 \\| &lt;b>" in text
    assert "- **known** FAILS: It is known." in text


def test_two_tiers_stand_side_by_side_and_each_is_explained():
    quick = Campaign(tier="quick", seed=0, claims=(claim("both", 0.5), claim("later", 3.0, outcome=Outcome.FAILS)))
    full = Campaign(
        tier="full", seed=0, seconds=120.0, claims=(claim("both", 3.0, outcome=Outcome.FAILS), claim("later", 0.5))
    )
    text = markdown(quick, full)
    assert (
        "| claim | kind | source | outcome | full tier | decided by | control |\n|---|---|---|---|---|---|---|" in text
    )
    assert "| both | bound | A paper, theorem 1\\|2 | HOLDS | FAILS |" in text
    assert "| later | bound | A paper, theorem 1\\|2 | FAILS | HOLDS |" in text
    assert "--tier full --seed 0 --out DIR`, 2 min: 2 claims, 1 holds, 1 fails, 0 inconclusive." in text
    quick_part, full_part = text.split("## What does not hold in the full tier, and why")
    assert "- **later** FAILS" in quick_part
    assert "- **both** FAILS" in full_part
    assert "later" not in full_part


def test_what_the_check_said_of_the_controls_is_told_and_counted():
    def with_control(name, refused, outcome):
        (problem,) = claim(name, 0.5).problems
        control = ControlVerdict("a wrong norm", refused, outcome=outcome)
        return claim(name, 0.5, problems=(replace(problem, control=control),))

    text = markdown(
        Campaign(
            tier="quick",
            seed=0,
            claims=(
                with_control("one", True, Outcome.FAILS),
                with_control("two", True, Outcome.FAILS),
                with_control("three", True, Outcome.INCONCLUSIVE),
                with_control("four", False, Outcome.HOLDS),
            ),
        )
    )
    assert "What it said there: 2 FAILS, 1 INCONCLUSIVE, 1 NOT REFUSED." in text
    assert "| FAILS: a wrong norm |" in text
    assert "| NOT REFUSED: a wrong norm |" in text


def test_a_known_failure_that_comes_out_otherwise_is_not_explained_away():
    odd = claim("odd", 3.0, outcome=Outcome.INCONCLUSIVE, expected=Outcome.FAILS, because="It is known.")
    assert "It is known." not in markdown(Campaign(tier="quick", seed=0, claims=(odd,)))


def test_the_table_is_made_of_a_folder_and_others_are_refused(tmp_path):
    Store.at(tmp_path).save_results(Campaign(tier="quick", seed=0, claims=(claim("held", 0.5),)).to_json())
    assert "| held | bound |" in table_of(str(tmp_path))
    with pytest.raises(ReportError, match="does not exist"):
        table_of(str(tmp_path / "none"))
    Store.at(tmp_path).save_results({"schema": 1, "kind": "check"})
    with pytest.raises(ReportError):
        table_of(str(tmp_path))


def test_only_what_is_missing_is_told_and_once():
    numbers = (Number("gap", 0.1, "≤ 1", Outcome.HOLDS), Number("fall", 0.8, "≤ 0.7", Outcome.INCONCLUSIVE))
    said = ("gap is 0.1, asked is ≤ 1", "fall is 0.8, asked is ≤ 0.7")
    p, q = (ProblemVerdict(name, 0, Outcome.INCONCLUSIVE, 0, math.nan, {}, {}, said, numbers=numbers) for name in "pq")
    unmet = replace(p, problem="r", reasons=("the hypothesis separated is 0.5, asked is ≥ 1 is not met", *said))
    open_ = claim("open", outcome=Outcome.INCONCLUSIVE, problems=(p, q, unmet))
    text = markdown(Campaign(tier="quick", seed=0, claims=(open_,)))
    assert "- **open** INCONCLUSIVE: p and 1 more: fall is 0.8, asked is ≤ 0.7. r: the hypothesis separated" in text
    assert "gap is" not in text.partition("does not hold")[2]
