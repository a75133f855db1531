"""The house's order: imports point one way, no folder is a maze, and each says at its door what lives there."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = ("models", "solvers", "verify", "reports")
MOST = 16  # source files in a folder
FOLDERS = sorted({path.parent.relative_to(ROOT) for top in TOP for path in (ROOT / top).rglob("*.py")})


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """The contract of ``pyproject.toml`` on the copy of the packages at ``folder/maxmargin``."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", ROOT / "pyproject.toml", "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for top in TOP:
        shutil.copytree(ROOT / top, tmp_path / "maxmargin" / top, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "__init__.py", tmp_path / "maxmargin")
    return tmp_path


def test_imports_point_one_way(copy: Path) -> None:
    found = lint(copy)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("models/blocks.py", "from maxmargin.solvers.norms import Norm"),
        ("solvers/routes/conic.py", "from maxmargin.solvers.linear.optimum import solve_margin"),
        ("verify/judging/rules.py", "from maxmargin.reports.figures.palette import *"),
        ("verify/lab/probe/probes.py", "from maxmargin.verify.lab.twin.search import search"),
        ("models/model.py", "def f():\n    from maxmargin.models.problem import Problem"),
    ],
)
def test_a_planted_back_arrow_is_found(copy: Path, file: str, line: str) -> None:
    path = copy / "maxmargin" / file
    path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{line}\n", encoding="utf-8")
    found = lint(copy)
    assert found.returncode == 1, found.stdout
    assert "BROKEN" in found.stdout


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_folder_can_be_taken_in_at_a_glance(folder: Path) -> None:
    files = list((ROOT / folder).glob("*.py"))
    assert len(files) <= MOST, f"{folder} has {len(files)} files; find the idea that some of them share"
    said = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8")))
    assert said is not None
    assert len(said) > 80, f"{folder}/__init__.py does not say what lives there"
