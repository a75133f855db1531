"""CONTRIBUTING.md and GLOSSARY.md say what the code does: pictures drawn anew, the path walked, files that exist."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import draw
import pytest

from maxmargin.verify.cli import main
from maxmargin.verify.thresholds.table import THRESHOLDS

ROOT = Path(__file__).resolve().parents[1]
TERMS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in (ROOT / "GLOSSARY.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "`" in line
]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md"])
def test_the_pictures_are_drawn_from_the_code_as_it_is(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert draw.redrawn(text) == text, f"{name} is stale: run python tests/draw.py"


def test_the_rules_in_short_have_the_thresholds_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    apart = THRESHOLDS["APART"]
    monkeypatch.setitem(THRESHOLDS, "APART", replace(apart, value=0.0625))
    assert "is 0.0625 or more" in " ".join(draw.redrawn(text).split())


def test_a_stale_picture_is_found() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert draw.redrawn(text.replace("solvers_norms", "solvers_forms")) == text


def test_a_check_goes_through_ten_functions_each_once(tmp_path: Path) -> None:
    wanted = {tuple(name.split(":")): name for name in draw.PATH}
    called: list[str] = []
    frames: list[FrameType] = []  # a generator's frame is entered again and again

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            key = (frame.f_globals.get("__name__", "").removeprefix("maxmargin."), frame.f_code.co_qualname)
            if key in wanted and frame not in frames:
                frames.append(frame)
                called.append(wanted[key])

    sys.setprofile(watch)
    try:
        main(["check", "ngd", "--claim", "l2", "--problem", "multiclass", "--quiet", "--json", str(tmp_path / "out")])
    finally:
        sys.setprofile(None)
    assert tuple(called) == draw.PATH
    assert len(called) <= 10


@pytest.mark.parametrize(("term", "formula", "file"), TERMS, ids=[term for term, *_ in TERMS])
def test_a_term_is_spoken_of_where_the_glossary_says(term: str, formula: str, file: str) -> None:
    text = (ROOT / file.strip("`")).read_text(encoding="utf-8").lower()
    words = re.findall(r"[a-zA-Z]+", term.partition(",")[0].lower())
    assert all(word.rstrip("s") in text for word in words if word not in ("of", "a", "the")), f"{file}: {term}"
    assert formula
