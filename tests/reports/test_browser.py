"""The page in a browser, where there is one: no sideways scrolling, no errors, sorting, unfolding, printing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from maxmargin.reports.render import render

Stored = Callable[..., Path]
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
WIDTHS = (400, 800, 1280)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on PATH")


def browse(tmp_path: Path, *options: str) -> tuple[str, str]:
    """What a headless browser prints, and what it says of errors."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def asked(page: Path, tmp_path: Path, script: str, *options: str) -> dict[str, Any]:
    """What a script answers that sees the page in frames of each width, as ``views[i]`` with ``widths[i]``."""
    html = escape(page.read_text(encoding="utf-8"))
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{html}"></iframe>' for width in WIDTHS)
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(
        f"<!doctype html><style>iframe {{ border: 0 }}</style>{frames}<pre id='answer'></pre><script>"
        f"addEventListener('load', () => {{ const widths = {list(WIDTHS)}; const answer = {{}};"
        "const views = [...document.querySelectorAll('iframe')].map(f => f.contentDocument);"
        f"try {{ {script} }} catch (error) {{ answer.error = String(error) }}"
        "document.getElementById('answer').textContent = JSON.stringify(answer) })</script>",
        encoding="utf-8",
    )
    printed, errors = browse(tmp_path, *options, "--dump-dom", wrapper.as_uri())
    assert errors == ""
    (found,) = re.findall(r'<pre id="answer">(.*?)</pre>', printed, flags=re.DOTALL)
    return json.loads(unescape(found))


@pytest.mark.parametrize(("scheme", "paper"), [(1, range(230, 256)), (0, range(40))], ids=["light", "dark"])
def test_no_page_scrolls_sideways_folded_or_not(scheme: int, paper: range, stored: Stored, tmp_path: Path) -> None:
    page = render(stored(outcomes=("holds", "fails")))
    script = """
      answer.paper = views.map(view => getComputedStyle(view.body).backgroundColor);
      const wide = () => views.map(view => view.documentElement.scrollWidth);
      answer.folded = wide();
      for (const view of views) for (const fold of view.querySelectorAll('details')) fold.open = true;
      answer.open = wide();
      answer.figures = views.map(view => Math.min(...[...view.querySelectorAll('.f')].map(f => f.clientWidth)));
    """
    found = asked(page, tmp_path, script, f"--blink-settings=preferredColorScheme={scheme}")
    assert all(int(part) in paper for color in found["paper"] for part in re.findall(r"\d+", color))
    assert found["folded"] == list(WIDTHS)
    assert found["open"] == list(WIDTHS)
    assert min(found["figures"]) > 180, "figures are drawn, and readable"


def test_the_page_of_the_tables_does_not_scroll_sideways(stored: Stored, tmp_path: Path) -> None:
    page = render(stored(claims=1, figures=False)).with_name("published.html")
    if not page.exists():
        pytest.skip("the tables have not been measured yet")
    found = asked(page, tmp_path, "answer.wide = views.map(view => view.documentElement.scrollWidth)")
    assert found["wide"] == list(WIDTHS)


def test_tables_sort_and_filter_and_links_unfold(stored: Stored, tmp_path: Path) -> None:
    page = render(stored(outcomes=("holds", "fails"), figures=False))
    script = """
      const view = views[2], table = view.getElementById('table');
      const rows = () => [...table.tBodies[0].rows].filter(row => !row.hidden);
      const names = () => rows().map(row => row.cells[0].querySelector('a').textContent);
      const values = () => rows().map(row => Number(row.cells[3].dataset.sort));
      answer.before = names();
      const button = table.tHead.rows[0].cells[3].querySelector('button');
      button.click(); answer.up = values(); answer.aria = table.tHead.rows[0].cells[3].ariaSort;
      button.click(); answer.down = values();
      const tools = view.querySelector('.tools');
      answer.shown = !tools.hidden;
      tools.querySelector('[value=holds]').click();
      answer.bad = names();
      tools.querySelector('[value=holds]').click();
      const search = tools.querySelector('[type=search]');
      search.value = 'ADAM'; search.dispatchEvent(new Event('input', {bubbles: true}));
      answer.adam = names().sort();
      answer.said = tools.querySelector('output').textContent;
      const fold = view.querySelector('details:not([open])');
      view.defaultView.location.hash = '#' + fold.querySelector('article').id;
      view.defaultView.dispatchEvent(new HashChangeEvent('hashchange'));
      answer.unfolded = fold.open;
    """
    found = asked(page, tmp_path, script)
    assert found["up"] == sorted(found["up"]) != found["down"] == sorted(found["down"], reverse=True)
    assert (found["aria"], found["shown"], found["unfolded"]) == ("ascending", True, True)
    assert set(found["bad"]) == {"nsd-linf", "muon-spectral", "muon-signum-hybrid"}
    assert found["adam"] == ["adam-linf", "muon-adam-hybrid"]
    assert found["said"] == "2 of 7 rows"


def test_seven_claims_that_hold_print_on_eight_pages_at_most(stored: Stored, tmp_path: Path) -> None:
    printed = tmp_path / "page.pdf"
    browse(tmp_path, f"--print-to-pdf={printed}", "--no-pdf-header-footer", render(stored()).as_uri())
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", printed.read_bytes())) <= 8
