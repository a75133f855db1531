"""The API reference, from the docstrings, by pdoc: ``python -m maxmargin.reports.reference DIR``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

LAZY = ("maxmargin", "maxmargin.models", "maxmargin.solvers", "maxmargin.verify")
"""Packages whose names load on first use; pdoc sees those that are there."""


def build(folder: Path, *modules: str) -> Path:
    """Write the reference.

    Args:
        folder: Where to.
        modules: Of what; the whole by default.

    Returns:
        The page to begin with.
    """
    import pdoc

    for package in map(import_module, LAZY):
        vars(package).update({name: getattr(package, name) for name in package.__all__})
    pdoc.pdoc(*(modules or LAZY[:1]), output_directory=folder)
    return folder / "index.html"


if __name__ == "__main__":
    print(build(Path(*sys.argv[1:2])))
