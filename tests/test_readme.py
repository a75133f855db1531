"""The README is short, its links lead somewhere, its commands are read, and what it prints is what they print."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.cli.grammar import build_parser
from maxmargin.verify.cli.project import Project
from maxmargin.verify.lab.examine import PROBLEMS, Laboratory

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *(ROOT / "reports" / f"{n}.md" for n in ("tour", "ci", "claims", "method"))]
MOST = 9_000  # bytes


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_readme_is_short():
    assert README.stat().st_size <= MOST


def broken_links(path: Path, content: str) -> list[str]:
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", content)
    return [link for link in links if not (path.parent / link).exists()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    assert not broken_links(path, text(path))
    assert broken_links(path, "[a](no/such/file.md)") == ["no/such/file.md"]


def commands(content: str) -> list[str]:
    """The lines of shell blocks that are ours, and the cells of tables."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", content, flags=re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    found = [line for line in lines if line.startswith("maxmargin ")]
    return [line.partition("  #")[0] for line in (*found, *re.findall(r"\| `(maxmargin [^`]+)` \|", content))]


LINES = sorted({line for path in PAGES for line in commands(text(path))})


@pytest.mark.parametrize("line", LINES)
def test_every_command_is_read(line):
    build_parser().parse_args(shlex.split(line)[1:])


def test_there_are_commands_to_read():
    assert len(LINES) >= 10


@pytest.mark.parametrize("path", [README, ROOT / "reports" / "tour.md"], ids=lambda path: path.name)
def test_the_margin_and_its_certificate_are_what_solve_prints(path):
    from maxmargin.solvers import solve

    margin, gap = re.search(r"1 {2}(1\.0479\d+) {2}(\S+) {2}global", text(path)).groups()
    best = solve("digits-3@linear", "spectral").best
    assert f"{best.margin:.10g}" == margin
    assert max(best.kkt_gap, 0.0) <= 10 * float(gap), "the certificate is as good as is said"


def test_the_verdict_and_its_digits_are_what_check_says():
    from maxmargin import check

    said = text(README)
    headline = re.search(r"^HOLDS: torch\.optim:SGD.*$", said, flags=re.MULTILINE)[0]
    verdict = check("torch.optim:SGD", momentum=0.9)
    lines = repr(verdict).splitlines()
    assert lines[0] == headline
    line = re.search(r"^ {2}blocks@linear: KKT gap.*$", said, flags=re.MULTILINE)[0]
    assert line in lines
    assert line.replace("3.2e", "3.3e") not in lines


def test_the_readmes_python_runs():
    (code,) = re.findall(r"```python\n(import maxmargin\n.*?)```", text(README), flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})


def test_the_notebook_runs():
    cells = json.loads(text(ROOT / "reports" / "first_steps.ipynb"))["cells"]
    names: dict[str, object] = {}
    for cell in (c for c in cells if c["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), "first_steps.ipynb", "exec"), names)
    assert names["figure"].axes


def test_the_recipes_table_is_understood():
    import tomllib

    import msgspec

    (table,) = re.findall(r"```toml\n(.*?)```", text(ROOT / "reports" / "ci.md"), flags=re.DOTALL)
    rows = msgspec.convert(tomllib.loads(table)["tool"]["maxmargin"], Project).rows()
    assert [row.claim for row in rows] == [None, "spectral"]


def test_the_reference_builds_from_the_docstrings(tmp_path):
    pdoc = pytest.importorskip("pdoc")
    pdoc.pdoc("maxmargin.models", output_directory=tmp_path)
    assert "check_homogeneity" in (tmp_path / "maxmargin" / "models.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    (code,) = re.findall(r"```python\n(# mine\.py\n.*?)```", text(ROOT / "reports" / "tour.md"), flags=re.DOTALL)
    path = tmp_path_factory.mktemp("readme") / "mine.py"
    path.write_text(code)
    return path


@pytest.mark.parametrize(
    ("name", "norms", "weights"),
    [
        (
            "ShapedMuon",
            ["weighted spectral", "spectral", "weighted spectral"],
            {"tall": 1.0, "wide": 2**0.5, "square": 2**0.5, "vector": 2**0.5},
        ),
        ("LayerNormalizedGD", ["l2;max", "l2", "l2;max"], dict.fromkeys(("tall", "wide", "square", "vector"), 1.0)),
    ],
)
def test_the_readmes_optimizers_have_the_norms_and_weights_it_names(mine, name, norms, weights):
    laboratory = Laboratory(load(f"{mine}:{name}"))
    assert laboratory.problems() == PROBLEMS
    exams = laboratory.examine([f"{p}@linear" if "@" not in p else p for p in PROBLEMS])
    seen = [e.fingerprint.norm.name for e in exams]
    # On one matrix l2;max is l2, and either name will do.
    assert [s.replace("l2;max", "l2") for s in seen] == [n.replace("l2;max", "l2") for n in norms]
    assert {block: row["weight"] for block, row in exams[0].fingerprint.to_json().items()} == pytest.approx(weights)
    assert all(e.twin is not None for e in exams)
    notes = {note for e in exams for note in e.notes}
    assert any("sqrt(max(1, rows/columns))" in note for note in notes) is (name == "ShapedMuon")
