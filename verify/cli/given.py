"""What the user gave: options, problems with their data, files and folders to write; and whether it is at fault."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from maxmargin.models.errors import InputError
from maxmargin.verify.cli.output import emit_json, printable
from maxmargin.verify.cli.status import BAD_INPUT, INCONCLUSIVE, CliError
from maxmargin.verify.results.encoding import ReportError

READ = ("target", "a", "b", "problem", "data", "file", "dir", "before", "after", "baseline")
WRITTEN = ("json", "md", "html", "out")
OWN_DATA = ("check", "verify")  # what these cannot render they have just written: then a ReportError is our fault


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


def is_input_error(error: Exception, args: argparse.Namespace) -> bool:
    """Whether the user's input is at fault; anything else is a fault of ours and keeps its traceback."""
    if isinstance(error, OSError):
        return error.filename is not None and _is_users(os.fspath(error.filename), args)
    if args.command in OWN_DATA and isinstance(error, ReportError):
        return False
    return isinstance(error, InputError)


def _is_users(filename: Any, args: argparse.Namespace) -> bool:
    """Whether a path lies at or below one that the user gave."""
    given = vars(args)
    texts = [given.get(key) for key in (*READ, *WRITTEN)]
    flat = [text for item in texts for text in (item if isinstance(item, list) else [item]) if text]
    paths = [Path(text.rsplit(sep, 1)[0]).resolve() for text in flat for sep in ("@", ":")]
    here = Path(os.fsdecode(filename)).resolve()
    return any(here == path or path in here.parents for path in paths)


def report_input_error(error: Exception, args: argparse.Namespace) -> int:
    """Say what is wrong on standard error, and in the JSON when it was asked for; return the exit status."""
    message = printable(str(error)).strip()
    print(f"maxmargin: error: {message}", file=sys.stderr)
    record: dict[str, Any] = {"schema": 1, "error": {"type": type(error).__name__, "message": message}}
    multipliers = vars(error).get("multipliers")
    if multipliers is not None:  # NotSeparable carries its proof: λ in the simplex with Σ λ_i g_i = 0
        record["error"] |= {"multipliers": [float(value) for value in multipliers]}
    if args.json in (None, "-") or Path(args.json).resolve().parent.is_dir():  # else --json itself is what is wrong
        with suppress(OSError):
            emit_json(record, args.json)
    return INCONCLUSIVE if isinstance(error, InputError) and error.undecided else BAD_INPUT
