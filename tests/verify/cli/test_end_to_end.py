"""The real program in somebody else's repository, with folders of its own called models, verify and tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

OPTIM = """\
import torch
from models.scale import SCALE


class Base(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(SCALE * group["lr"] * self.direction(p.grad))


class MySign(Base):
    def direction(self, g):
        return g.sign()


class Still(Base):
    def direction(self, g):
        return 0 * g


class Nan(Base):
    def direction(self, g):
        return g / 0


class Raises(Base):
    def direction(self, g):
        raise KeyError("moment")
"""
TABLE = """\
[project]
name = "mypkg"

[tool.maxmargin]
problems = ["multiclass"]
targets = [{ target = "mypkg.optim:MySign", claim = "linf" }]
"""
NET = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(2, 3, bias=False), torch.nn.Linear(3, 1, bias=False)

    def forward(self, x):
        return self.outer(torch.relu(self.inner(x)) ** 2).squeeze(-1)


class Biased(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)

    def forward(self, x):
        return self.outer(torch.relu(self.inner(x)) ** 2).squeeze(-1)
"""
TEST = """\
import models, verify
from maxmargin.verify.pytest_plugin import parametrize_with_claims


@parametrize_with_claims([("mypkg.optim:MySign", "linf"), ("mypkg.optim:MySign", "l2")], problems=["multiclass"])
def test_implicit_bias(optimizer, check):
    assert models.MINE and verify.MINE
    check(optimizer)
"""


def run(folder: Path, *argv: str, module: str = "maxmargin.verify") -> subprocess.CompletedProcess[str]:
    command, wide = [sys.executable, "-m", module, *argv], os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A project whose one target holds."""
    root = tmp_path_factory.mktemp("foreign")
    for folder in ("models", "verify", "tests", "mypkg"):
        (root / folder).mkdir()
        (root / folder / "__init__.py").write_text("MINE = True\n")
    (root / "models" / "scale.py").write_text("SCALE = 1.0\n")
    (root / "mypkg" / "optim.py").write_text(OPTIM)
    (root / "pyproject.toml").write_text(TABLE)
    (root / "mynet.py").write_text(NET)
    (root / "tests" / "test_margins.py").write_text(TEST)
    np.savez(root / "data.npz", X=[[2.0, 1.0], [1.0, 2.0], [-1.0, 1.0], [1.0, -1.0]], y=[1, 1, -1, -1])
    return root


@pytest.fixture(scope="module")
def held(repository):
    """``maxmargin check`` alone, with all that it can write."""
    return run(repository, "check", "--json", "before.json", "--md", "summary.md", "--html", "pages")


@pytest.fixture(scope="module")
def spoiled(repository, held):
    """The same after a change that takes the sign away, against what was stored."""
    path = repository / "mypkg" / "optim.py"
    path.write_text(OPTIM.replace("g.sign()", "g"))
    done = run(repository, "check", "--baseline", "before.json", "--json", "after.json", "--md", "summary.md")
    path.write_text(OPTIM)
    return done


def test_a_baseline_that_is_not_there_is_bad_input(repository):
    done = run(repository, "check", "--baseline", "nothere.json")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("maxmargin: error: nothere.json does not exist; give a JSON file")


def test_the_gate_alone_checks_the_targets_of_the_project(repository, held):
    assert held.returncode == 0, held.stderr
    lines = held.stdout.splitlines()
    assert lines[0] == "HOLDS: mypkg.optim:MySign maximizes the linf margin."
    assert "HOLDS: 1 of 1 targets hold, 0 fail, 0 inconclusive" in lines
    found = json.loads((repository / "before.json").read_text())
    assert (found["kind"], found["outcome"]) == ("gate", "holds")
    assert [p["problem"] for p in found["verdicts"][0]["problems"]] == ["multiclass@linear"]
    (page,) = (repository / "pages").glob("*/index.html")
    assert f"report: {page}" in lines
    assert "maximizes the linf margin" in page.read_text(encoding="utf-8")


def test_it_is_the_same_from_a_folder_below(repository, held):
    """Paths of the table count from its own folder; refused here, as nothing is trained to see that."""
    done = run(repository / "tests", "check", "--kw", "lr=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--kw is of one target, and none was given" in done.stderr


def test_progress_fits_the_line(held):
    lines = [line for line in held.stderr.splitlines() if line]  # none where it was quick
    assert all(len(line) <= 80 for line in lines)
    assert not [line for line in lines if "Warning" in line]


def test_a_verdict_that_got_worse_fails_the_gate(repository, spoiled):
    assert spoiled.returncode == 1, spoiled.stderr
    assert spoiled.stdout.startswith("FAILS")
    assert "does not maximize the linf margin" in spoiled.stdout
    (row,) = [line for line in spoiled.stdout.splitlines() if line.startswith("WORSE") and "–" in line]
    assert row.split()[1:] == ["mypkg.optim:MySign", "--claim", "linf", "–", "verdict", "HOLDS", "FAILS"]
    assert "changes are for the worse" in spoiled.stdout


def test_the_summary_is_markdown_and_is_appended_to(repository, held, spoiled):
    text = (repository / "summary.md").read_text(encoding="utf-8")
    assert text.index("HOLDS") < text.index("FAILS")
    assert text.count("| multiclass@linear | ") == 2
    assert "mypkg.optim:MySign does not maximize the linf margin" in text


def test_diff_tells_two_real_runs_apart(repository, held, spoiled):
    worse, better, none = (
        run(repository, "diff", *files)
        for files in (("before.json", "after.json"), ("after.json", "before.json"), ("before.json", "before.json"))
    )
    assert (worse.returncode, better.returncode, none.returncode) == (1, 0, 0)
    assert re.search(r"^WORSE +mypkg\.optim:MySign --claim linf +– +verdict +HOLDS +FAILS$", worse.stdout, re.MULTILINE)
    assert re.search(r"^ +mypkg\.optim:MySign --claim linf +– +verdict +FAILS +HOLDS$", better.stdout, re.MULTILINE)
    assert "WORSE" not in better.stdout
    assert none.stdout == "nothing is worse; 0 changes\n"
    found = json.loads(run(repository, "diff", "before.json", "after.json", "--json", "-").stdout)
    assert found["kind"] == "diff"
    assert {c["kind"] for c in found["changes"] if c["worse"]} == {"verdict"}
    missing = run(repository, "diff", "before.json", "nothing.json")
    assert missing.returncode == 2
    assert "nothing.json does not exist; give a JSON file" in missing.stderr


def test_a_strangers_network_is_measured_and_reported(repository):
    asked = ("--problem", "mynet.py:Net", "--data", "data.npz")
    done = run(repository, "check", "signum", *asked, "--json", "-")
    found = json.loads(done.stdout)
    assert done.returncode in (0, 3), done.stderr
    assert found["outcome"] != "fails"
    (problem,) = found["problems"]
    assert (problem["problem"], problem["degree"]) == ("data.npz@mynet.py:Net", 3)
    assert "homogeneous of degree 3" in problem["model"]
    assert problem["model"] in done.stderr


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("mypkg/optim.py:Still",), "moved no weight in 68 calls of step()"),
        (("mypkg/optim.py:Nan",), "the very first call of its step() leaves no weight finite"),
        (("mypkg/optim.py:Raises",), "KeyError: 'moment' (optim.py, line 33, in direction)"),
        (("mypkg/optim.py",), "MySign"),
        (("torch.optim.SGD",), "torch.optim:SGD"),
        (("mypkg.optim:MySing",), "MySign"),
        (("signum", "--problem", "mynet.py:Biased", "--data", "data.npz"), "is not homogeneous"),
    ],
)
def test_what_cannot_be_checked_ends_at_once_with_2_and_one_message(repository, argv, says):
    done = run(repository, "check", *argv, "--html", "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "maxmargin: error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (repository / "nothing").exists()


def test_the_pytest_plugin_works_beside_them(repository):
    done = run(repository, "-q", "-m", "theory", "-p", "no:cacheprovider", module="pytest")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 checks ran: 1 held, 1 failed, 0 inconclusive" in done.stdout
    summary = done.stdout.partition("short test summary")[2]
    assert "FAILS: MySign does not maximize l2" in summary
    failure = done.stdout.partition("FAILURES")[2].partition("short test summary")[0]
    assert all(len(line) < 400 for line in failure.splitlines())


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_completion_script_is_printed(shell, tmp_path):
    pytest.importorskip("shtab")
    done = run(tmp_path, "--print-completion", shell)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("check", "diff", "baseline", "claim", "zsh"))


def test_bash_completes_with_it(tmp_path):
    pytest.importorskip("shtab")
    script = run(tmp_path, "--print-completion", "bash").stdout
    ask = 'COMP_WORDS=(maxmargin check --base) COMP_CWORD=2; "$(complete -p maxmargin | sed "s/.*-F //;s/ .*//")"; '
    done = subprocess.run(
        ["bash", "-c", f'{script}\n{ask} echo "${{COMPREPLY[@]}}"'], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["--baseline"]


def test_without_shtab_it_says_what_to_install(tmp_path):
    (tmp_path / "shtab.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [sys.executable, "-m", "maxmargin.verify", "--print-completion", "bash"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'maxmargin[completion]'" in done.stderr
