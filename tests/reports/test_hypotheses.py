"""Hypotheses, sorted: met, missing, and mere numbers; and every name that is written has its meaning."""

from __future__ import annotations

import re
from pathlib import Path

from maxmargin.reports.hypotheses import MEANING, Hypotheses
from maxmargin.verify.results.problem_verdict import Hypothesis

VERIFY = Path(__file__).parents[2] / "verify"


def test_unmet_and_unknown_ones_are_missing_and_numbers_are_not_counted() -> None:
    found = Hypotheses.of(
        {
            "smooth": Hypothesis(True),
            "separated": Hypothesis(False, 0.5),
            "forgets": Hypothesis(None, kind="optimizer"),
            "kappa: W": Hypothesis(None, 0.9, "number"),
        }
    )
    assert [row.name for row in found.missing] == ["separated", "forgets"]
    assert [row.name for row in found.numbers] == ["kappa: W"]
    assert found.numbers[0].meaning == MEANING["kappa"]
    assert found.sentence == "1 of 3 hypotheses met: 1 unmet, 1 not known"
    assert Hypotheses.of({"smooth": Hypothesis(True)}).sentence == "1 of 1 hypotheses met"


def test_every_hypothesis_that_the_evidence_names_has_a_meaning() -> None:
    text = (VERIFY / "evidence" / "hypotheses.py").read_text(encoding="utf-8")
    text += (VERIFY / "judging" / "wording.py").read_text(encoding="utf-8")
    text += (VERIFY / "running" / "job.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"([A-Za-z0-9][^"\n:]*)": (?:Hypothesis\(|\()', text))
    assert {"smooth", "scale invariant", "the same norm at realistic shapes"} <= names
    assert names <= set(MEANING)
