"""The file that an optimizer is written in."""

from __future__ import annotations

import inspect
from contextlib import suppress
from pathlib import Path

from maxmargin.verify.blackbox.targets import Target


def file_of(target: Target) -> Path | None:
    """Where the target's class or factory is written; None for our own, and for what has no file."""
    if target.factory is not None:
        with suppress(TypeError, OSError):
            return Path(inspect.getfile(inspect.unwrap(target.factory))).resolve()
    return None
