"""Other people's norms, models, optimizers and claims, from a file outside the package: README's table, run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).with_name("plugin") / "mine.py"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A folder of somebody else's, with the plugin in it."""
    (tmp_path / "mine.py").write_text(PLUGIN.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "models").mkdir()  # as other repositories have
    (tmp_path / "models" / "__init__.py").write_text("raise RuntimeError('somebody else’s models')\n", encoding="utf-8")
    return tmp_path


def maxmargin(folder: Path, *args: str, **env: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, JSON and standard error of a command run in ``folder``."""
    command = [sys.executable, "-m", "maxmargin.verify", *args, "--json", "out.json", "--quiet"]
    done = subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)
    file = folder / "out.json"
    return done.returncode, json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}, done.stderr


def test_a_norm_is_solved_for(stranger: Path) -> None:
    args = ("solve", "--problem", "multiclass", "--norm", "maxmodulus")
    assert maxmargin(stranger, *args)[0] == 2
    status, found, stderr = maxmargin(stranger, *args, "--plugin", "mine.py")
    assert status == 0, stderr
    assert found["kkt_gap"] < 1e-8
    assert maxmargin(stranger, *args, MAXMARGIN_PLUGINS="mine")[1]["margin"] == found["margin"]


def test_a_model_and_data_are_solved(stranger: Path) -> None:
    args = ("solve", "--problem", "corners@quadratic-units:h=2", "--norm", "l2", "--starts", "3")
    status, found, stderr = maxmargin(stranger, *args, "--plugin", "mine.py")
    assert status == 0, stderr
    assert found["margin"] > 0
    assert found["kkt_gap"] < 1e-6


def test_an_optimizer_and_its_norm_are_checked_without_a_claim(stranger: Path) -> None:
    args = ("check", "modulus-descent", "--problem", "multiclass", "--plugin", "mine.py")
    status, found, stderr = maxmargin(stranger, *args)
    assert (status, found["norm"]) == (0, "maxmodulus"), (found.get("reasons"), stderr)


def test_a_stranger_s_optimizer_is_named_and_a_wrong_claim_meets_the_probe(stranger: Path) -> None:
    args = ("check", "mine.py:ModulusDescent", "--problem", "multiclass", "--plugin", "mine.py")
    status, found, stderr = maxmargin(stranger, *args)
    assert (status, found["norm"]) == (0, "maxmodulus"), (found.get("reasons"), stderr)
    status, found, _ = maxmargin(stranger, *args, "--claim", "linf")
    assert status == 1
    assert "the entries of W move in pairs of one modulus" in [f["text"] for f in found["findings"]]


def test_a_claim_is_verified(stranger: Path) -> None:
    args = ("verify", "modulus", "--jobs", "2", "--out", "out", "--plugin", "mine.py")
    status, found, stderr = maxmargin(stranger, *args)
    assert status == 0, (found, stderr)
    assert [c["outcome"] for c in found["claims"]] == ["holds"]


def test_everything_is_listed(stranger: Path) -> None:
    for what, name in (
        ("norms", "maxmodulus"),
        ("problems", "corners@quadratic-units"),
        ("optimizers", "modulus-descent"),
        ("claims", "modulus"),
    ):
        found = maxmargin(stranger, "list", what, "--plugin", "mine.py")[1]
        assert name in [entry["name"] for entry in found["entries"]]
        assert name not in [entry["name"] for entry in maxmargin(stranger, "list", what)[1]["entries"]]


def test_a_plugin_may_import_what_lies_beside_it(stranger: Path) -> None:
    (stranger / "elsewhere").mkdir()
    (stranger / "elsewhere" / "beside.py").write_text("import mine_too\n", encoding="utf-8")
    (stranger / "elsewhere" / "mine_too.py").write_text("", encoding="utf-8")
    status, _, stderr = maxmargin(stranger, "list", "claims", "--plugin", "elsewhere/beside.py")
    assert status == 0, stderr


def test_a_plugin_that_fails_says_where(stranger: Path) -> None:
    (stranger / "bad.py").write_text("x = 1\ny = x / 0\n", encoding="utf-8")
    status, _, stderr = maxmargin(stranger, "list", "norms", "--plugin", "bad.py")
    assert status == 2
    assert "ZeroDivisionError" in stderr
    assert "(bad.py, line 2)" in stderr
    status, _, stderr = maxmargin(stranger, "list", "norms", "--plugin", "absent.py")
    assert status == 2
    assert "absent.py" in stderr


def test_a_name_that_is_taken_is_refused(stranger: Path) -> None:
    text = (
        (stranger / "mine.py")
        .read_text(encoding="utf-8")
        .replace('"modulus-descent", "momentum', '"signum", "momentum')
    )
    (stranger / "taken.py").write_text(text, encoding="utf-8")
    status, _, stderr = maxmargin(stranger, "list", "optimizers", "--plugin", "taken.py")
    assert status == 2
    assert "signum" in stderr
