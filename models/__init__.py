"""What is trained: homogeneous models, data sets, and problems that join the two.

The names below load on first use, so that ``maxmargin --help`` need not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maxmargin.models import problems
    from maxmargin.models.checks import check_homogeneity
    from maxmargin.models.model import HomogeneousModel
    from maxmargin.models.problem import Problem

_HOME = {
    "HomogeneousModel": "maxmargin.models.model",
    "Problem": "maxmargin.models.problem",
    "check_homogeneity": "maxmargin.models.checks",
}

__all__ = ["HomogeneousModel", "Problem", "check_homogeneity", "problems"]


def __getattr__(name: str) -> object:
    if name == "problems":
        return import_module("maxmargin.models.problems")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
