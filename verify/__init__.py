"""What happened: optimizers, engine, the black-box adapter, evidence, claims and verdicts.

The names below load on first use, so that ``maxmargin --help`` need not load torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maxmargin.verify.running.campaign import verify
    from maxmargin.verify.running.checking import check

_HOME = {
    "check": "maxmargin.verify.running.checking",
    "verify": "maxmargin.verify.running.campaign",
}

__all__ = ["check", "verify"]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Folder(ModuleType):
    """``maxmargin.verify`` is this folder, and a function to those who write ``import maxmargin``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module(_HOME["verify"]).verify(*args, **kwargs)


sys.modules[__name__].__class__ = _Folder
