"""The README is short, its links lead somewhere, its commands are read, and what it prints is what they print."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.cli.grammar import build_parser
from maxmargin.verify.cli.project import Project
from maxmargin.verify.lab.examine import PROBLEMS, Laboratory

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
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
    lines = [
        part.strip()
        for block in blocks
        for line in block.splitlines()
        for part in line[line.startswith("$ ") * 2 :].split("&&")
    ]
    found = [line for line in lines if line.startswith("maxmargin ")]
    return [line.partition("  #")[0] for line in (*found, *re.findall(r"\| `(maxmargin [^`]+)` \|", content))]


LINES = sorted({line for path in PAGES for line in commands(text(path))})


@pytest.mark.parametrize("line", LINES)
def test_every_command_is_read(line):
    build_parser().parse_args(shlex.split(line)[1:])


def test_there_are_commands_to_read():
    assert len(LINES) >= 10


NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
ROUNDING = 1e-9
"""Numbers below are rounding, which differs from machine to machine: they are as small as is said, or ten times."""


def shown(path: Path) -> list[tuple[str, list[str]]]:
    """Each command of the console blocks, with the lines that it is said to print."""
    blocks = re.findall(r"```console\n(.*?)```", text(path), flags=re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(part.splitlines()[0], part.splitlines()[1:]) for part in parts]


def alike(said: str, printed: str) -> bool:
    """Whether two lines have the same words, and the same digits."""
    if said.endswith("…"):
        said, printed = said[:-1], printed[: len(said) - 1]
    pairs = list(zip(*(map(float, NUMBER.findall(line)) for line in (said, printed)), strict=False))
    same = all(a == b or (max(a, b) < ROUNDING and b <= 10 * a) for a, b in pairs)
    return same and NUMBER.sub("#", said).split() == NUMBER.sub("#", printed).split()


def missing(said: list[str], printed: list[str]) -> list[str]:
    """The lines that are not printed, or not in this order; "..." stands for any."""
    rest = iter(printed)
    return [line for line in said if line.strip() not in ("", "...") and not any(alike(line, one) for one in rest)]


CHEAP = (
    "maxmargin solve --problem digits-3@linear",
    'maxmargin solve --problem "F1\'"',
    "maxmargin check torch.optim:SGD",
)
SHOWN = {
    command: [said for path in (README, ROOT / "reports" / "tour.md") for one, said in shown(path) if one == command]
    for path in (README, ROOT / "reports" / "tour.md")
    for command, _ in shown(path)
    if command.startswith(CHEAP)
}


@pytest.mark.parametrize("command", SHOWN)
def test_what_is_shown_is_what_the_command_prints(command, capsys):
    from maxmargin.verify.cli.entry import main

    assert main(shlex.split(command)[1:]) == 0
    printed = capsys.readouterr().out.splitlines()
    for said in SHOWN[command]:
        assert not missing(said, printed)
        for i, line in enumerate(said):
            for found in (f for f in NUMBER.finditer(line) if float(f[0]) > ROUNDING):
                wrong = f"{line[: found.start()]}{float(found[0]) * 1.1:.6g}{line[found.end() :]}"
                assert missing([*said[:i], wrong], printed), "a wrong digit is seen"


def test_the_cheap_ones_are_shown():
    assert len(SHOWN) == len(CHEAP)
    assert max(map(len, SHOWN.values())) == 2, "what the README and the tour both show is compared with both"


INLINE = sorted(set(re.findall(r"`(maxmargin list [a-z]+)`", "".join(map(text, PAGES)))))


@pytest.mark.parametrize("line", INLINE)
def test_lists_that_are_spoken_of_are_printed(line, capsys):
    from maxmargin.verify.cli.entry import main

    assert main(line.split()[1:]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 7


def others(content: str) -> list[str]:
    """Commands that are not ours: of pip, python and pytest, in blocks and in the running text."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", content, flags=re.DOTALL)
    found = [line.partition("  #")[0] for block in blocks for line in block.splitlines()] + re.findall(
        r"`([^`\n]+)`", content
    )
    parts = [part.strip() for line in found for part in re.split(r"&&|;", line)]
    return [part for part in parts if part.startswith(("pip install ", "python ", "pytest ", "bash "))]


def unreal(command: str) -> list[str]:
    """What a command names that is not there: a file, a module, an extra of ours, a marker."""
    words = shlex.split(command)
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [e for w in words for m in re.findall(r"^(?:\.|maxmargin)\[([\w,-]+)\]$", w) for e in m.split(",")]
    found = [e for e in asked if e not in extras]
    files = [w for w in words[1:] if re.fullmatch(r"(?:tests|reports|\.ci)/[\w/.-]+", w) or w == "constraints.txt"]
    found += [w for w in files if not (ROOT / w).exists()]
    if words[:2] == ["python", "-m"] and words[2] != "venv":
        found += [words[2]] if importlib.util.find_spec(words[2]) is None and words[2] not in extras["docs"][0] else []
    return found


@pytest.mark.parametrize("command", sorted({line for path in PAGES for line in others(text(path))}))
def test_every_other_command_names_what_is_there(command):
    assert unreal(command) == []


def test_a_command_that_names_nothing_is_found():
    assert unreal("pip install '.[tset]'") == ["tset"]
    assert unreal("python tests/benchmarks/bench_nothing.py") == ["tests/benchmarks/bench_nothing.py"]
    assert unreal("python -m maxmargin.reports.nothing DIR") == ["maxmargin.reports.nothing"]


def test_the_readmes_python_runs():
    (code,) = re.findall(r"```python\n(import maxmargin\n.*?)```", text(README), flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})


def test_the_notebook_runs():
    cells = json.loads(text(ROOT / "reports" / "first_steps.ipynb"))["cells"]
    names: dict[str, object] = {}
    for cell in (c for c in cells if c["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), "first_steps.ipynb", "exec"), names)
    assert names["figure"].axes


def test_the_notebook_runs_in_a_kernel_and_shows_its_figure():
    """Where there is a kernel to run it in: that is too much for the test extra."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "reports" / "first_steps.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    assert not [o for c in cells for o in c.outputs if o.output_type == "stream" and o.name == "stderr"]
    shown = [o.data for c in cells[-2:] for o in c.outputs if o.output_type == "execute_result"]
    assert "<strong>✓ HOLDS</strong>" in shown[0]["text/html"]
    assert "image/png" in shown[1]


def test_the_recipes_table_is_understood():
    import msgspec

    (table,) = re.findall(r"```toml\n(.*?)```", text(ROOT / "reports" / "ci.md"), flags=re.DOTALL)
    rows = msgspec.convert(tomllib.loads(table)["tool"]["maxmargin"], Project).rows()
    assert [row.claim for row in rows] == [None, "spectral"]


def test_the_reference_builds_from_the_docstrings(tmp_path):
    pytest.importorskip("pdoc")
    from maxmargin.reports.reference import build

    assert build(tmp_path, "maxmargin.models").exists()
    names = (tmp_path / "maxmargin" / "models.html").read_text(encoding="utf-8")
    for name in ("check_homogeneity", "HomogeneousModel", "Problem"):
        assert f'id="{name}"' in names, "a name that loads on first use is described"
    assert 'id="check_homogeneity"' in (tmp_path / "maxmargin" / "models" / "checks.html").read_text(encoding="utf-8")


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
