"""What the arguments give, made ready: options, problems with their data, and the files and folders to write."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from maxmargin.verify.cli.output import printable
from maxmargin.verify.cli.status import CliError


def options(given: Sequence[tuple[str, Any]], option: str = "--kw") -> dict[str, Any]:
    """The pairs of an option as a mapping; a name that is given twice is refused."""
    names = [name for name, _ in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CliError(f"{option} {twice}=… is given twice; give it once")
    return dict(given)


def with_data(problems: Sequence[str] | None, data: str | None) -> list[str] | None:
    """Problems whose models are given by themselves, joined with the data file of ``--data``.

    Returns:
        ``FILE.npz@MODEL`` for each model, or the file alone; what has data of its own as it is.

    Example:
        >>> with_data(["mynet.py:Net", "multiclass@linear"], "mine.npz")
        ['mine.npz@mynet.py:Net', 'multiclass@linear']
    """
    if data is None:
        return None if problems is None else list(problems)
    return [p if "@" in p else f"{data}@{p}" for p in problems] if problems else [data]


@contextmanager
def not_left_empty(folder: Path) -> Iterator[None]:
    """Take a folder away again, if it is made here and nothing came into it."""
    new = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        yield
    except BaseException:
        for made in (*(d for d in (folder.iterdir() if folder.is_dir() else ()) if d.is_dir()), *new):
            with suppress(OSError):  # not empty, or not made after all
                made.rmdir()
        raise


def append(text: str, where: str | None) -> None:
    """Append to a file: a step summary may hold what other commands said."""
    if where is not None:
        with Path(where).open("a", encoding="utf-8") as file:
            file.write(printable(text) + "\n")


def writable(path: Path, option: str) -> None:
    """Refuse before the work, not after it, a file that cannot be written."""
    if path.is_dir():
        raise CliError(f"{option} {path} is a folder; give a file")
    if path.exists() and not path.is_file():  # a pipe or a device: it is written to, not replaced
        if not os.access(path, os.W_OK):
            raise CliError(f"{option} {path} is not writable")
        return
    if not path.resolve().parent.is_dir():
        raise CliError(f"{option} {path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.resolve().parent, os.W_OK):
        raise CliError(f"{option} {path}: the folder {path.parent} is not writable")
