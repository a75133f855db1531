"""The examples in docstrings, run on the installed modules (by their import names, not as loose files)."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

PACKAGES = ("maxmargin.models", "maxmargin.solvers", "maxmargin.verify", "maxmargin.reports")
MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
] + list(PACKAGES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = doctest.ELLIPSIS | doctest.FAIL_FAST
    failed, _ = doctest.testmod(import_module(name), optionflags=flags)
    assert failed == 0, capsys.readouterr().out


def test_there_are_examples_in_every_package() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for package in PACKAGES:
        names = [name for name in MODULES if name.startswith(package)]
        assert any(test.examples for name in names for test in finder.find(import_module(name))), package
