"""The file that an optimizer, or a function, is written in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from maxmargin.verify.blackbox.targets import Target


def file_of(target: Target) -> Path | None:
    """Where the target's class or factory is written; None for our own, and for what has no file."""
    return None if target.factory is None else written_in(target.factory)


def written_in(named: Callable[..., Any]) -> Path | None:
    """Where a class or a function is written; None for what has no file."""
    with suppress(TypeError, OSError):
        return Path(inspect.getfile(inspect.unwrap(named))).resolve()
    return None
