"""The API reference, from the docstrings, by pdoc: ``python -m maxmargin.reports.reference DIR``."""

from __future__ import annotations

import pkgutil
import sys
import warnings
from importlib import import_module
from pathlib import Path

LAZY = ("maxmargin", "maxmargin.models", "maxmargin.solvers", "maxmargin.verify")
"""Packages whose names load on first use: pdoc describes those that are there, and no file beside them."""


def build(folder: Path, root: str = "maxmargin") -> Path:
    """Write the reference.

    Args:
        folder: Where to.
        root: Of which package, and of all below it.

    Returns:
        The page to begin with.
    """
    import pdoc

    for package in map(import_module, LAZY):
        vars(package).update({name: getattr(package, name) for name in package.__all__})
    below = pkgutil.walk_packages(import_module(root).__path__, f"{root}.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* adds a module named ")  # by a package's __all__, too
        warnings.filterwarnings("ignore", "Error parsing type annotation")  # a name for type checkers stays as it is
        pdoc.pdoc(root, *(m.name for m in below if not m.name.endswith("__main__")), output_directory=folder)
    return folder / "index.html"


if __name__ == "__main__":
    print(build(Path(*sys.argv[1:2])))
