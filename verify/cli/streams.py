"""Standard output and standard error: usable whatever they were handed over as, and results apart from all else."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

_apart: TextIO | None = None


def usable_streams() -> None:
    """Replace closed streams, which Python holds as None, and let what a terminal cannot show be escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ASCII terminal must not turn θ into a traceback


def keep_results_apart() -> None:
    """From now on only :func:`results` writes to standard output; what else is printed goes to standard error."""
    global _apart
    if _apart is None:
        _apart = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
        os.dup2(sys.stderr.fileno(), 1)
        sys.stdout = sys.stderr


def results() -> TextIO:
    """Where results go: standard output."""
    return _apart or sys.stdout
