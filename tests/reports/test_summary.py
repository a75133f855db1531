"""The first screen: wording that follows the verdict, distinct reasons, and advice that fits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_page import Page

from maxmargin.reports.cases import cases_of
from maxmargin.reports.data import source
from maxmargin.reports.render import render
from maxmargin.reports.summary import Summary, summary

Stored = Callable[..., Path]


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    path = folder / "results.json"
    payload = json.loads(path.read_text(encoding="utf-8"))
    change(payload)
    path.write_text(json.dumps(payload), encoding="utf-8")
    return folder


def said(folder: Path) -> Summary:
    found = source(folder)
    return summary([found.results], cases_of(found))


def failing(payload: dict[str, Any]) -> None:
    """A check that fails on its three problems for reasons of the same words, told once more over all."""
    payload |= {"outcome": "fails", "norm": None, "claim": "spectral"}
    for i, p in enumerate(payload["problems"]):
        p["outcome"] = "fails"
        p["norm"] = "spectral"
        p["reasons"] = [f"KKT gap {i + 1}.5e-01 under spectral does not close", "steps are only 0.6 aligned"]
    payload["reasons"] = [
        "It ascends on W.",
        *(f"{p['problem']}: {'; '.join(p['reasons'])}." for p in payload["problems"]),
        "Weight decay 0.01 is set.",
    ]


def test_reasons_in_the_same_words_are_said_once_and_the_diagnosis_first(stored: Stored) -> None:
    found = said(edit(stored(claims=1, kind="check", figures=False), failing))
    everywhere = "multiclass@linear; likewise on digits-3@linear, teacher@relu2"
    assert found.reasons == (
        "It ascends on W.",
        f"KKT gap 1.5e-01 under spectral does not close ({everywhere}).",
        f"Steps are only 0.6 aligned ({everywhere}).",
    )
    assert found.rest == ("Weight decay 0.01 is set.",)


def test_what_holds_is_shown_by_its_largest_gap_its_nearest_control_and_its_hypotheses(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        payload["claims"][1]["problems"][2]["evidence"]["linf"]["kkt_gap_range"] = [0.001, 0.5]
        payload["claims"][0]["problems"][1]["evidence"]["nuclear"]["told"] = [0.61, 0.7]

    gap, control, hypotheses = said(edit(stored(claims=2, figures=False), change)).reasons
    assert "at most 0.5 (nsd-linf on teacher@relu2)" in gap
    assert "the least is nuclear’s, 61 %" in control
    assert "momentum-gd-l2 on digits-3@linear" in control
    assert hypotheses == "12 of 12 hypotheses are met, on 6 problems."


@pytest.mark.parametrize("kind", ["verify", "check"])
@pytest.mark.parametrize("outcome", ["fails", "inconclusive"])
def test_nothing_is_said_to_be_maximized_where_it_is_not(stored: Stored, kind: str, outcome: str) -> None:
    def change(payload: dict[str, Any]) -> None:
        for verdict in payload.get("claims", [payload]):
            verdict |= {"outcome": outcome, "norm": None, "claim": "l2", "statement": "It maximizes the l2 margin."}
            for p in verdict["problems"]:
                p["outcome"] = outcome

    page = Page(render(edit(stored(claims=1, kind=kind, figures=False), change)).read_text(encoding="utf-8"))
    before = page.text[: page.text.index("The theory at a glance")].replace("Claimed: It maximizes the l2 margin", "")
    for found in re.finditer(r"maximizes the l2 margin", before):
        assert "Whether" in before[max(0, found.start() - 50) : found.start()]
        assert before[found.end() :].startswith(" is not decided")
    assert ("does not maximize the l2 margin" in before) == (outcome == "fails")


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"outcome": "holds"}, "exit status is 0 as long as this holds"),
        ({"outcome": "fails", "claim": "l2", "norm": None}, "Compare the curves below"),
        ({"outcome": "fails", "claim": "l2", "norm": None, "findings": [{"text": "x"}]}, "Mend what the first reason"),
        ({"outcome": "fails", "claim": None, "norm": None}, "Run it with --claim"),
        ({"outcome": "inconclusive", "claim": "l2", "norm": None}, "more steps do not decide"),
    ],
)
def test_what_to_do_fits_the_verdict(stored: Stored, change: dict[str, Any], advice: str) -> None:
    assert advice in said(edit(stored(claims=1, kind="check", figures=False), lambda p: p.update(change))).advice


def test_more_steps_are_advised_where_they_decide(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        payload |= {"outcome": "inconclusive", "norm": None, "claim": "l2"}
        payload["problems"][0]["steps_needed"] = 1e9

    assert "--tier full" in said(edit(stored(claims=1, kind="check", figures=False), change)).advice


def test_a_norm_that_is_reached_instead_on_every_problem_is_named(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        failing(payload)
        for p in payload["problems"]:
            p["evidence"]["linf"]["told"] = [0.001, 0.002]

    assert (
        "If linf is what is meant, claim it" in said(edit(stored(claims=1, kind="check", figures=False), change)).advice
    )


def test_the_first_screen_says_when_by_which_command_and_of_which_file(stored: Stored) -> None:
    page = Page(render(stored(claims=1, kind="check", figures=False)).read_text(encoding="utf-8"))
    screen = page.text[: page.text.index("Problems and norms")]
    for wanted in ("2026-11-21 23:30:00 UTC", "maxmargin verify --out results", "mine.py", "abababababab…"):
        assert wanted in screen
    assert "commit c0ffeec0ffee with changes" in screen
    assert "torch 2.13.0" in screen
