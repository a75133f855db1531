"""Which margin does an optimizer maximize? Checked by numbers one can trust.

    >>> import maxmargin
    >>> maxmargin.check("torch.optim:SGD", momentum=0.9).norm  # doctest: +SKIP
    'l2'

The names below load on first use: ``import maxmargin`` loads no heavy library.

- ``check(optimizer)``: the norm whose margin it maximizes, or a test of one;
- ``verify(claims)``: the claims of the literature;
- ``solve(problem, norm)``: a margin problem, with its certificate;
- ``kkt_gap(problem, θ, norm)``: how far a point is from a KKT point;
- ``problems``: ``problems.get(name)``, ``problems.register``;
- ``NORMS``: the named norms.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maxmargin import verify
    from maxmargin.models import problems
    from maxmargin.models.problem import Problem
    from maxmargin.solvers import NORMS, kkt_gap, solve
    from maxmargin.verify import check

_HOME = {
    "NORMS": "maxmargin.solvers",
    "Problem": "maxmargin.models",
    "check": "maxmargin.verify",
    "kkt_gap": "maxmargin.solvers",
    "problems": "maxmargin.models",
    "solve": "maxmargin.solvers",
}

__all__ = ["NORMS", "Problem", "check", "kkt_gap", "problems", "solve", "verify"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("maxmargin")
    if name == "verify":  # the folder, which can be called as the function
        return import_module("maxmargin.verify")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
