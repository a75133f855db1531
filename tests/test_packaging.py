"""What is installed: every module and data file, the entry points, and nothing of the machine it was written on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TOP = ("models", "solvers", "verify", "reports")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def sources() -> list[Path]:
    """Every file of the packages, relative to the root; not the benchmarks' unfinished rows, nor the sample."""
    found = [path for top in TOP for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    found.append(ROOT / "__init__.py")
    return sorted(path.relative_to(ROOT) for path in found if not {"__pycache__", "sample"} & {*path.parts})


def test_every_subpackage_is_listed() -> None:
    folders = {path.parent.as_posix() for path in sources() if path.name == "__init__.py"}
    names = {"maxmargin" if f == "." else f"maxmargin.{f.replace('/', '.')}": f for f in folders}
    assert set(names) == set(SETUPTOOLS["packages"])
    assert names == SETUPTOOLS["package-dir"]


def test_every_module_lies_in_a_package() -> None:
    for path in sources():
        if path.suffix == ".py":
            assert (ROOT / path.parent / "__init__.py").is_file(), f"{path.parent} has no __init__.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that the working tree stays clean."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*TOP, "__init__.py", "pyproject.toml", "README.md", "LICENSE"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out)]
    built = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return zipfile.ZipFile(next(out.glob("maxmargin-*.whl")))


def test_the_wheel_holds_every_file_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == {f"maxmargin/{path.as_posix()}" for path in sources()}


def test_the_wheel_holds_what_is_not_python(wheel: zipfile.ZipFile) -> None:
    """Said by name, in case the file is missing from the tree as well."""
    for name in ("models/datasets/digits.npz", "reports/templates/first.html.j2", "reports/templates/sort.js"):
        assert wheel.getinfo(f"maxmargin/{name}").file_size > 1000
    for top in TOP:
        wheel.getinfo(f"maxmargin/{top}/py.typed")


def test_the_wheel_says_what_it_offers(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = wheel.read(name).decode()
    assert "maxmargin = maxmargin.verify.cli.isolated:run" in text
    assert "maxmargin = maxmargin.verify.pytest_plugin" in text


def test_the_entry_points_are_installed_and_load() -> None:
    from maxmargin.verify import pytest_plugin
    from maxmargin.verify.cli import isolated

    (script,) = entry_points(group="console_scripts", name="maxmargin")
    (plugin,) = entry_points(group="pytest11", name="maxmargin")
    assert script.load() is isolated.run
    assert plugin.load() is pytest_plugin


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("#")[0].strip().split("==") for line in lines if "==" in line]
    return {name.lower().replace("_", "-"): version for name, version in rows}


def test_the_constraints_pin_the_torch_that_has_a_cpu_wheel() -> None:
    assert pins()["torch"] == "2.13.0"


def test_every_requirement_is_pinned_within_its_range() -> None:
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, wanted):
        version = pins().get(requirement.name.lower().replace("_", "-"))
        assert version is not None, f"{requirement.name} is not pinned in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} excludes the pinned {version}"


def tracked() -> list[Path]:
    """Every file under version control, or, outside a clone, every file that looks like a source."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.suffix in (".py", ".md", ".toml", ".txt", ".j2")]


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    places = re.compile(rb"(?<![\w.~<])/(?:work|root|home|tmp|Users)" + rb"/\w")
    for path in tracked():
        found = places.search(path.read_bytes()) if path.suffix != ".npz" else None
        assert found is None, f"{path.relative_to(ROOT)} names {found[0].decode()!r}…" if found else ""


def test_the_ci_script_runs_on_a_fresh_clone() -> None:
    """Executable, valid bash, and by the README's own install command."""
    script = ROOT / ".ci" / "run"
    lowest = ROOT / ".ci" / "lower-bounds"
    assert os.access(script, os.X_OK)
    assert os.access(lowest, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    subprocess.run(["bash", "-n", str(lowest)], check=True)
    assert "-c constraints.txt -e '.[test]'" in script.read_text(encoding="utf-8")
