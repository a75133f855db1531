"""The page: self-contained, reproducible, escaped, and saying what the stored data say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from maxmargin.reports.render import render as render_with
from maxmargin.verify.results.encoding import ReportError

Stored = Callable[..., Path]
VOID = {"meta", "br", "col"}


def render(folder: Path) -> Path:
    """The page without the package's own tables (test_tables.py), whatever they will say."""
    return render_with(folder, tables=folder / "no tables")


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> is crossed"

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def page_of(folder: Path) -> Page:
    return Page(render(folder).read_text(encoding="utf-8"))


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change results.json in place."""
    path = folder / "results.json"
    payload = json.loads(path.read_text(encoding="utf-8"))
    change(payload)
    path.write_text(json.dumps(payload), encoding="utf-8")
    return folder


def test_the_page_loads_nothing_and_runs_nothing(stored: Stored) -> None:
    folder = stored(claims=2)
    page = page_of(folder)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not page.values("src")
    assert all(link.startswith("#") for link in page.values("href") + page.values("xlink:href"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"url\(\s*([^#)]?)", html)) <= {""}, "CSS or SVG refers to something outside"
    assert "@import" not in html
    addresses = set(re.findall(r"https?://[^\"'<> ]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_ids_are_unique_and_every_reference_resolves(stored: Stored) -> None:
    page = page_of(stored(claims=2))
    ids = page.values("id")
    assert not [name for name, n in Counter(ids).items() if n > 1]
    wanted = {link[1:] for link in page.values("href") + page.values("xlink:href")}
    wanted |= {m for value in page.values("clip-path") for m in re.findall(r"url\(#(.*?)\)", value)}
    assert wanted
    assert wanted <= set(ids)


def test_every_problem_has_a_figure_and_every_figure_is_well_formed(stored: Stored) -> None:
    html = render(stored(claims=2)).read_text(encoding="utf-8")
    figures = re.findall(r"<figure>\s*(<svg.*?</svg>)", html, flags=re.DOTALL)
    assert len(figures) == 6
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


def test_twenty_one_figures_stay_below_five_megabytes(stored: Stored) -> None:
    path = render(stored())
    assert path.read_text(encoding="utf-8").count("<figure>") == 21
    assert path.stat().st_size < 5e6


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
    assert set(page.tags) == set(clean.tags)
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
    header = html[html.index('<p class="answer">') : html.index("</header>")]
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


def rows_of(html: str) -> list[list[str]]:
    """Text of the cells of the verdict table's body."""
    table = html[html.index('<table class="verdicts">') : html.index("</table>")]
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", table[table.index("</thead>") :], flags=re.DOTALL):
        cells = re.findall(r"<t[dh].*?</t[dh]>", row, flags=re.DOTALL)
        found.append([" ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in cells])
    return found


def test_the_verdict_table_says_what_was_measured(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        e = payload["claims"][0]["problems"][0]["evidence"]
        e["l2"]["kkt_gap"], e["linf"]["kkt_gap"], e["spectral"]["kkt_gap"] = 0.002, 0.16, 0.1
        e["nuclear"]["kkt_gap"], e["hybrid"]["kkt_gap"] = None, 0.002
        for name in ("linf", "spectral", "nuclear"):
            e[name]["apart"] = 0.1
        e["hybrid"] |= {"apart": 0.1, "same": True}  # the same norm on this problem: no control

    folder = edit(stored(claims=1, figures=False), change)
    rows = rows_of(render(folder).read_text(encoding="utf-8"))
    assert rows[0][:3] == ["momentum-gd-l2 MomentumGD(beta=0.9)", "l2", "✓ HOLDS"]
    assert rows[0][3:8] == ["✓ multiclass@linear", "1", "2.0×10⁻³", "0.1 spectral", "50"]
    assert len(rows) == 3


def test_a_claim_without_problems_or_curves_still_has_its_place(stored: Stored) -> None:
    def change(payload: dict[str, Any]) -> None:
        payload["claims"][0]["problems"] = []
        payload["claims"][1]["problems"][0].update(evidence={}, hypotheses={})

    page = page_of(edit(stored(claims=2, outcomes=("inconclusive",), figures=False), change))
    assert "no problem was run" in page.text
    assert "No curves were stored for this problem." in page.text


def test_no_claims_at_all_is_inconclusive(stored: Stored) -> None:
    page = page_of(edit(stored(claims=1), lambda p: p.update(claims=[])))
    assert "INCONCLUSIVE 0 of 0 claims hold." in " ".join(page.text.split())


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
