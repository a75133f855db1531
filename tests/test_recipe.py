"""The GitHub workflow of reports/ci.md, tried: its ``run:`` steps, in a throwaway repository, as on a runner."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPE = (ROOT / "reports" / "ci.md").read_text(encoding="utf-8")
WORKFLOW = re.findall(r"```yaml\n(.*?)```", RECIPE, flags=re.DOTALL)[0]
TABLE = re.findall(r"```toml\n(.*?)```", RECIPE, flags=re.DOTALL)[0]
STEPS = re.findall(r"^ +- run: (.*)$", WORKFLOW, flags=re.MULTILINE)
OPTIM = """\
import torch


class Momentum(torch.optim.Optimizer):
    def __init__(self, params, lr=0.02, momentum=0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(group["momentum"]).add_(p.grad)
                p.sub_(group["lr"] * self.direction(m))


class MySign(Momentum):
    def direction(self, m):
        return m.sign()


class MyMuon(Momentum):
    def direction(self, m):
        u, s, vt = torch.linalg.svd(m, full_matrices=False)
        return (u * (s > 1e-12 * s[0])) @ vt
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What a user who follows the recipe has committed, and a machine on which maxmargin can be installed."""
    root = tmp_path_factory.mktemp("repository")
    (root / "mypkg").mkdir()
    (root / "mypkg" / "__init__.py").touch()
    (root / "mypkg" / "optim.py").write_text(OPTIM)
    project = '[project]\nname = "mypkg"\nversion = "1"\n\n[tool.setuptools]\npackages = ["mypkg"]\n\n'
    (root / "pyproject.toml").write_text(project + TABLE + 'problems = ["multiclass"]\n')
    (root / ".github" / "workflows").mkdir(parents=True)
    (root / ".github" / "workflows" / "margins.yml").write_text(WORKFLOW)
    for command in ("git init -q", "git add -A", "git -c user.name=x -c user.email=x commit -q -m x"):
        subprocess.run(shlex.split(command), cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """A fresh environment that sees what is installed here, so that nothing is downloaded."""
    place = tmp_path_factory.mktemp("runner")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    # Not the path alone: what is installed to be edited is named by a .pth file there.
    (site / "here.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name, module in (("pip", "pip"), ("maxmargin", "maxmargin.verify")):
        script = place / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{place}/bin/python" -m {module} "$@"\n')
        script.chmod(0o755)
    path = os.pathsep.join([str(place / "bin"), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}


def steps(root: Path, environment: dict[str, str], summary: Path) -> list[subprocess.CompletedProcess[str]]:
    """Take the steps until one fails, with the shell that GitHub takes."""
    done: list[subprocess.CompletedProcess[str]] = []
    for step in STEPS:
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step]
        environment = environment | {"GITHUB_STEP_SUMMARY": str(summary)}
        done.append(subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False))
        if done[-1].returncode:
            break
    return done


def test_the_steps_pass_and_write_what_is_uploaded(repository, runner, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("What another step said.\n\n")
    install, check = steps(repository, runner, summary)
    assert (install.returncode, check.returncode) == (0, 0), install.stderr + check.stdout + check.stderr
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("What another step said.\n")
    assert "mypkg.optim:MySign maximizes the linf margin." in text
    assert "mypkg.optim:MyMuon(momentum=0.95) maximizes the spectral margin." in text
    (uploaded,) = re.findall(r"path: (\S+) ", WORKFLOW)
    assert json.loads((repository / uploaded).read_text())["outcome"] == "holds"


def test_a_failing_optimizer_stops_the_workflow(repository, runner, tmp_path):
    file = repository / "mypkg" / "optim.py"
    file.write_text(OPTIM.replace("(u * (s > 1e-12 * s[0])) @ vt", "m / m.norm()"))
    check = steps(repository, runner, tmp_path / "summary.md")[-1]
    file.write_text(OPTIM)
    assert check.returncode == 1, check.stdout + check.stderr
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "mypkg.optim:MySign maximizes the linf margin." in text
    assert "mypkg.optim:MyMuon(momentum=0.95) does not maximize the spectral margin." in text


def test_the_workflow_is_the_one_that_is_meant():
    assert STEPS[0] == "pip install maxmargin -e ."
    assert len(STEPS) == 2
    assert "if: always()" in WORKFLOW, "the verdicts are uploaded when they fail, too"
