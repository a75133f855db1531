"""Whether the user's input is at fault, and how that is said."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from maxmargin.models.errors import InputError
from maxmargin.verify.cli.output import emit_json, printable
from maxmargin.verify.cli.status import BAD_INPUT, INCONCLUSIVE
from maxmargin.verify.results.encoding import ReportError

READ = ("target", "a", "b", "problem", "data", "file", "dir", "before", "after", "baseline")
WRITTEN = ("json", "md", "html", "out")
OWN_DATA = ("check", "verify")  # what these cannot render they have just written: then a ReportError is our fault


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
    """Say what is wrong on standard error, and in the JSON when it was asked for.

    Returns:
        The exit status.
    """
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
