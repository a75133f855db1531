"""The page: self-contained, reproducible, escaped, and saying what the stored data say."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from html_page import Page

from maxmargin.reports.cases import cases_of, fitted
from maxmargin.reports.data import source
from maxmargin.reports.render import render as render_with
from maxmargin.verify.results.encoding import ReportError

Stored = Callable[..., Path]


def render(folder: Path) -> Path:
    """The page without the package's own tables (test_tables.py), whatever they will say."""
    return render_with(folder, tables=folder / "no tables")


def page_of(folder: Path) -> Page:
    return Page(render(folder).read_text(encoding="utf-8"))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change results.json in place."""
    path = folder / "results.json"
    payload = json.loads(path.read_text(encoding="utf-8"))
    change(payload)
    path.write_text(json.dumps(payload), encoding="utf-8")
    return folder


def test_the_page_loads_nothing_and_runs_its_one_script_by_its_hash(stored: Stored) -> None:
    folder = stored(claims=2)
    page = page_of(folder)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not page.values("src")
    assert all(link.startswith("#") for link in page.values("href"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert set(re.findall(r"url\(\s*([^#)]?)", page.html)) <= {""}, "CSS or SVG refers to something outside"
    assert "@import" not in page.html
    assert set(re.findall(r"https?://[^\"'<> ]+", page.html)) <= {"http://www.w3.org/2000/svg"}
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [value for value in page.values("content") if "default-src" in value]
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_ids_are_unique_and_every_reference_resolves(stored: Stored) -> None:
    page = page_of(stored(claims=2))
    ids = page.values("id")
    assert not [name for name, n in Counter(ids).items() if n > 1]
    wanted = {link[1:] for link in page.values("href")} | set(page.values("data-for"))
    assert wanted
    assert wanted <= set(ids)


def test_every_problem_has_its_figures_and_every_figure_is_well_formed(stored: Stored) -> None:
    page = page_of(stored(claims=2))
    figures = re.findall(r'<svg class="f".*?</svg>', page.html, flags=re.DOTALL)
    assert len(figures) == 2 * 3 * 3 + 3, "gap, alignment and profile of each problem, and three of the theory"
    for figure in figures:
        ElementTree.fromstring(figure)


def test_two_renders_are_identical_wherever_the_folder_lies(stored: Stored, tmp_path: Path) -> None:
    folder = stored(claims=1)
    first = render(folder).read_bytes()
    assert render(folder).read_bytes() == first
    elsewhere = shutil.copytree(folder, tmp_path / "a quite different place")
    assert render(elsewhere).read_bytes() == first


def test_processes_with_other_hash_seeds_write_the_same_bytes(stored: Stored) -> None:
    folder = stored(claims=1)
    pages = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "maxmargin.verify", "report", str(folder), "--quiet"]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.DEVNULL)
        pages.add((folder / "index.html").read_bytes())
    assert len(pages) == 1


def test_twenty_one_problems_stay_below_a_megabyte_and_a_half(stored: Stored) -> None:
    path = render(stored())
    assert path.read_text(encoding="utf-8").count("<figure>") == 21 + 1
    assert path.stat().st_size < 1.5e6


def test_figures_beyond_the_pages_length_are_left_out_of_what_holds_first(stored: Stored) -> None:
    cases = cases_of(source(stored(claims=3, outcomes=("holds", "fails"))))
    each = max(sum(len(d.svg) for d in p.drawings) for case in cases for p in case.problems)
    kept = [[bool(p.drawings) for p in case.problems] for case in fitted(cases, 5 * each)]
    assert kept[1] == [True] * 3, "the one that fails"
    assert kept[0] == [True, True, False]
    assert kept[2] == [False] * 3
    assert fitted(cases) == list(cases)
    page = page_of(stored(claims=1))
    assert "Figures are left out" not in page.text


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;$x_1${{ 7*7 }}'


def spoil(value: Any, at: str = "") -> Any:
    """Every text that a user or a file could have chosen, made hostile; keys of free names too."""
    keep = {"kind", "outcome", "arrays"}
    if isinstance(value, dict):
        free = at in ("evidence", "hypotheses", "blocks", "versions", "kwargs")
        return {(f"{k}{HOSTILE}" if free else k): spoil(v, k) if k not in keep else v for k, v in value.items()}
    if isinstance(value, list):
        return [spoil(item, at) for item in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


@pytest.mark.parametrize("kind", ["verify", "check"])
def test_hostile_text_is_shown_not_obeyed(stored: Stored, kind: str) -> None:
    folder = stored(claims=1, kind=kind)
    clean = page_of(folder)
    path = folder / "results.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))), encoding="utf-8")
    for arrays in (folder / "arrays").iterdir():
        with np.load(arrays) as old:
            renamed = {k if k == "steps" else f"{k}{HOSTILE}": old[k] for k in old.files}
        np.savez(arrays, **renamed)
    page = page_of(folder)
    assert set(page.tags) <= set(clean.tags), "a hostile norm has no formula"
    assert page.tags["script"] == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text


def test_text_that_is_no_unicode_is_shown_as_a_question_mark(stored: Stored) -> None:
    folder = edit(stored(claims=1, figures=False), lambda p: p["claims"][0].update(optimizer="bad\ud800name"))
    assert "bad?name" in page_of(folder).text


@pytest.mark.parametrize(
    ("outcomes", "word", "answer"),
    [
        (("holds",), "HOLDS", "4 of 4 claims hold."),
        (("holds", "fails"), "FAILS", "2 of 4 claims hold; 2 fail."),
        (("holds", "inconclusive"), "INCONCLUSIVE", "2 of 4 claims hold; 2 inconclusive."),
        (("fails", "inconclusive", "holds", "fails"), "FAILS", "1 of 4 claims hold; 2 fail; 1 inconclusive."),
    ],
)
def test_the_header_answers(stored: Stored, outcomes: tuple[str, ...], word: str, answer: str) -> None:
    html = render(stored(claims=4, outcomes=outcomes, figures=False)).read_text(encoding="utf-8")
    header = Page(html[html.index('<header class="top"') : html.index("</header>") + len("</header>")]).text
    assert word in header
    assert answer in header


@pytest.mark.parametrize(
    ("outcome", "claim", "norm", "answer"),
    [
        ("holds", None, "l2", "SGD(momentum=0.9) maximizes the l2 margin."),
        ("holds", "l2", "l2", "SGD(momentum=0.9) maximizes the l2 margin."),
        ("fails", "linf", None, "SGD(momentum=0.9) does not maximize the linf margin."),
        ("fails", None, None, "SGD(momentum=0.9) maximizes the margin of none of the candidate norms."),
        ("fails", None, "l2", "SGD(momentum=0.9) maximizes the l2 margin only approximately."),
        ("inconclusive", "l2", None, "Whether torch.optim:SGD(momentum=0.9) maximizes the l2 margin is not decided."),
        ("inconclusive", None, "l2", "maximizes is not decided; l2 comes nearest."),
        ("inconclusive", None, None, "maximizes is not decided."),
    ],
)
def test_the_page_of_a_check_says_its_verdict(
    stored: Stored, outcome: str, claim: str | None, norm: str | None, answer: str
) -> None:
    folder = edit(
        stored(claims=1, kind="check", figures=False), lambda p: p.update(outcome=outcome, claim=claim, norm=norm)
    )
    assert answer in page_of(folder).text


def test_the_verdict_table_says_what_was_measured(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        e = payload["claims"][0]["problems"][0]["evidence"]
        for name, gap in (("l2", 0.002), ("linf", 0.16), ("spectral", 0.1), ("nuclear", None), ("hybrid", 0.002)):
            e[name] |= {"kkt_gap": gap, "kkt_gap_range": [gap, gap]}
        for name in ("linf", "spectral", "nuclear"):
            e[name]["apart"] = 0.1
        e["hybrid"] |= {"apart": 0.1, "same": True}  # the same norm on this problem: no control

    page = page_of(edit(stored(claims=1, figures=False), change))
    head, row = page.rows("table")
    assert head == ["Claim", "Verdict", "Norm", "multiclass@linear", "digits-3@linear", "teacher@relu2"]
    assert row[0].split(" # ") == ["momentum-gd-l2", "MomentumGD(beta=0.9)"]
    assert row[1:4] == ["✓ HOLDS", "l2", "✓ 2.0×10⁻³ next: spectral 0.1"]


def test_a_claim_without_problems_or_curves_still_has_its_place(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        payload["claims"][0]["problems"] = []
        payload["claims"][1]["problems"][0].update(evidence={}, hypotheses={})

    page = page_of(edit(stored(claims=2, outcomes=("inconclusive",), figures=False), change))
    assert "No problem was run." in page.text
    assert "No curves were stored for this problem." in page.text


def test_no_claims_at_all_is_inconclusive(stored: Stored) -> None:
    page = page_of(edit(stored(claims=1), lambda p: p.update(claims=[])))
    assert "? 0 of 0 claims hold." in page.text
    assert "No claim was tested." in page.text


def test_a_reason_told_at_its_problem_is_not_told_twice(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        claim = payload["claims"][0]
        claim["problems"][0]["reasons"] = ["the gap levels off", "it is a plateau"]
        claim["reasons"] = ["multiclass@linear: the gap levels off; it is a plateau", "binary: not run yet"]

    text = page_of(edit(stored(claims=1, figures=False), change)).text
    assert text.count("the gap levels off") == 1
    assert text.count("binary: not run yet") == 1


def test_damaged_data_leave_the_old_page_alone(stored: Stored) -> None:
    folder = stored(claims=1)
    before = render(folder).read_bytes()
    next((folder / "arrays").iterdir()).unlink()
    with pytest.raises(ReportError, match="does not exist, but results"):
        render(folder)
    assert (folder / "index.html").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["arrays", "index.html", "results.json"]
