"""The first table: what each state takes, and what stands in a cell over several problems."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_page import Page

from maxmargin.reports.cases import cases_of
from maxmargin.reports.data import Source, Standing, source
from maxmargin.reports.matrix import SHARED, State, of_norms, of_problems, state_of
from maxmargin.reports.render import render
from maxmargin.verify.results.encoding import ReportError
from maxmargin.verify.thresholds.judging import APART, TOLD

Stored = Callable[..., Path]


def edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Source:
    path = folder / "results.json"
    payload = json.loads(path.read_text(encoding="utf-8"))
    change(payload)
    path.write_text(json.dumps(payload), encoding="utf-8")
    return source(folder)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({"apart": APART, "told": [TOLD, 1.0]}, State.AWAY),
        ({"apart": APART, "told": [TOLD - 1e-9, 1.0]}, State.NEARED),
        ({"apart": APART - 1e-9, "told": [1.0, 1.0]}, State.UNTOLD),
        ({"apart": None, "told": None}, State.UNTOLD),
        ({"apart": APART, "told": None}, State.UNTOLD),
        ({"apart": 0.0, "same": True}, State.SAME),
        ({"kkt_gap": None}, State.UNTRIED),
    ],
)
def test_a_state_follows_the_thresholds_of_the_judging(stored: Stored, row: dict[str, Any], state: State) -> None:
    def change(payload: dict[str, Any]) -> None:
        payload["claims"][0]["problems"][0]["evidence"]["linf"] |= row

    (claim,) = edited(stored(claims=1, figures=False), change).results.claims
    standing = Standing.of(claim, claim.problems[0])
    assert state_of("linf", standing) is state
    assert state_of("l2", standing) is State.HOLDS
    assert state_of("schatten:3", standing) is State.UNTRIED


def test_every_state_has_words_and_a_mark_but_the_plain_one() -> None:
    assert len({state.words for state in State}) == len(State)
    assert [state for state in State if not state.mark] == [State.AWAY]
    assert len({state.mark for state in State}) == len(State)


def test_over_problems_the_worst_own_gap_and_the_nearest_other_one_are_shown(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        for i, p in enumerate(payload["problems"]):
            p["evidence"]["l2"]["kkt_gap_range"] = [1e-5, 1e-3 * (i + 1)]
            p["evidence"]["linf"]["kkt_gap_range"] = [0.4 - 0.1 * i, 0.9]
            p["evidence"]["hybrid"] |= {"same": True, "kkt_gap_range": [1e-5, 1e-3 * (i + 1)]}
        payload["problems"][2]["evidence"]["linf"]["apart"] = 0.0  # there it is no control

    found = edited(stored(claims=1, kind="check", figures=False), change)
    (row,) = of_norms("Optimizer", [case.line for case in cases_of(found)]).rows
    cells = {cell.column: cell for cell in row.cells}
    assert (cells["l2"].state, cells["l2"].gap) == (State.HOLDS, pytest.approx(3e-3))
    assert (cells["linf"].state, cells["linf"].gap) == (State.AWAY, pytest.approx(0.3))
    assert cells["l2"].href.endswith("teacher-relu2-2"), "a cell opens the problem that its number is of"
    assert cells["linf"].href.endswith("digits-3-linear-1")
    assert cells["l1"].state is State.UNTRIED
    assert (cells["hybrid"].state, cells["hybrid"].gap) == (State.SAME, pytest.approx(3e-3))


def test_problems_of_one_claim_alone_have_no_column(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        for i in range(3):
            payload["claims"][0]["problems"][i]["problem"] = f"own-{i}"

    table = of_problems(case.line for case in cases_of(edited(stored(claims=3, figures=False), change)))
    assert table.columns == ("multiclass@linear", "digits-3@linear", "teacher@relu2")
    assert [cell.column for cell in table.rows[0].rest] == ["own-0", "own-1", "own-2"]
    assert {cell.state for cell in table.rows[0].cells} == {State.UNTRIED}
    assert len(table.columns) <= SHARED


def test_a_claim_that_numbers_decide_is_not_said_to_maximize(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        claim = payload["claims"][0]
        claim |= {"claim": None, "norm": None, "outcome": "fails", "statement": "A norm is conserved."}
        for p in claim["problems"]:
            p |= {"evidence": {}, "degree": 0, "steps": 0, "norm": "", "outcome": "fails", "final_margin": None}

    folder = stored(claims=1)
    edited(folder, change)
    page = Page(render(folder, tables=folder).read_text(encoding="utf-8"))
    assert page.rows("table")[1][1:4] == ["✗ FAILS", "none", "✗ fails"]
    assert "What it predicts is contradicted by what was measured. Claimed: A norm is conserved." in page.text
    assert "maximized" not in page.text[: page.text.index("The theory at a glance")]


def test_several_results_make_one_table_of_optimizers_and_norms(stored: Stored, tmp_path: Path) -> None:
    one = stored(claims=1, kind="check")
    other = shutil.copytree(one, tmp_path / "other")

    def change(payload: dict[str, Any]) -> None:
        payload |= {"target": "mine.py:Opt", "outcome": "fails", "norm": None, "claim": "linf"}
        for p in payload["problems"]:
            p |= {"outcome": "fails", "norm": "linf"}

    edited(other, change)
    plain = tmp_path / "third.json"  # as 'check --json' writes it: no kind, no arrays
    payload = json.loads((one / "results.json").read_text()) | {"target": "third:Opt"}
    del payload["kind"]
    plain.write_text(json.dumps(payload))
    out = tmp_path / "together"
    out.mkdir()
    page = Page(render(one, other, plain, out=out, tables=tmp_path).read_text(encoding="utf-8"))
    assert "Of 3 optimizers 2 maximize a norm’s margin, 1 does not." in page.text
    head, *rows = page.rows("table")
    assert head == ["Optimizer", "Verdict", "l2", "linf", "spectral", "hybrid", "l1", "nuclear"]
    assert [row[0].removesuffix(" #") for row in rows] == [
        f"{t}(momentum=0.9)" for t in ("torch.optim:SGD", "mine.py:Opt", "third:Opt")
    ]
    assert [row[1] for row in rows] == ["✓ HOLDS", "✗ FAILS", "✓ HOLDS"]
    assert rows[1][3].startswith("✗ ")
    assert rows[0][2].startswith("✓ ")
    assert rows[0][6] == "– not tried"
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    assert {link[1:] for link in page.values("href") if link.startswith("#")} <= set(ids)
    assert page.text.count("No curves were stored for this problem.") == 3


def test_a_check_in_regimes_has_a_row_and_a_section_for_each(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        parts = [{"above": 2e-6, "below": None, "degree": 0.0}, {"above": None, "below": 2e-6, "degree": 1.0}]
        for part in parts:
            part |= {"outcome": "holds", "norm": "l2", "problems": payload["problems"], "reasons": []}
        payload |= {"answer": "holds in regimes", "regimes": parts}

    folder = stored(claims=1, kind="check")
    edited(folder, change)
    page = Page(render(folder, tables=folder).read_text(encoding="utf-8"))
    names = [row[0] for row in page.rows("table")[1:]]
    assert [name.partition(" # ")[2] for name in names] == [
        "while the gradient's norm is above 2.0×10⁻⁶",
        "once the gradient's norm is below 2.0×10⁻⁶",
    ]
    assert page.tags["section"] == 2 + 4
    assert len(set(page.values("id"))) == len(page.values("id"))


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 1, "target": 3}', "no JSON"])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ReportError, match=r"x\.json"):
        source(tmp_path / "x.json")
