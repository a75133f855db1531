"""The sample that the README shows: whole, small, and without a place of the machine that it was made on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from html_page import Page

from maxmargin.reports.published import without_places

SAMPLE = Path(__file__).parents[2] / "reports" / "sample"


@pytest.mark.parametrize("name", ["index.html", "published.html"])
def test_a_page_of_the_sample_is_whole_and_small(name: str) -> None:
    html = (SAMPLE / name).read_text(encoding="utf-8")
    page = Page(html)
    assert len(html.encode()) < 1.5e6
    inside = {link[1:] for link in page.values("href") if link.startswith("#")}
    assert inside <= set(page.values("id"))
    assert {link for link in page.values("href") if not link.startswith("#")} <= {"index.html", "published.html"}
    assert without_places(text := re.sub(r"<[^>]*>", "\n", html)) == text
    for place in (*(f"/{folder}/" for folder in ("tmp", "home", "root")), f"{SAMPLE.parents[1]}/"):
        assert place not in html


@pytest.mark.parametrize("name", ["first-screen.png", "evidence.png"])
def test_a_picture_is_small(name: str) -> None:
    content = (SAMPLE / name).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 150_000


def test_every_file_of_the_sample_is_known() -> None:
    assert {path.name for path in SAMPLE.iterdir()} == {
        "index.html",
        "published.html",
        "first-screen.png",
        "evidence.png",
    }
