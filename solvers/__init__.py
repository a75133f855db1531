"""What theory says: norms, margin problems, KKT gaps, matching, certificates.

The names below load on first use, so that ``maxmargin --help`` need not load cvxpy or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maxmargin.solvers.kkt.gap import kkt_gap
    from maxmargin.solvers.norms import NORMS
    from maxmargin.solvers.solving import solve

_HOME = {
    "NORMS": "maxmargin.solvers.norms",
    "kkt_gap": "maxmargin.solvers.kkt.gap",
    "solve": "maxmargin.solvers.solving",
}

__all__ = ["NORMS", "kkt_gap", "solve"]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
