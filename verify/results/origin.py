"""Where a result comes from: when it was made, by which command, of which file, at which commit."""

from __future__ import annotations

import hashlib
import subprocess
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

COMMAND: ContextVar[str] = ContextVar("COMMAND", default="")
"""The command line that is at work; "" where Python calls."""

SECONDS = 10.0
"""That git may take."""


class Origin(Struct, frozen=True):
    """Where a result comes from.

    Attributes:
        date: In UTC, to the second, as work began.
        command: The command line; "" from Python.
        file: The name, without folders, of the file that holds the optimizer; "" for our own, and where there is none.
        sha256: Of that file.
        commit: That the file's repository is at (of our own optimizers: this package's); None outside of one.
        changed: Whether the file (this package) differs from that commit.
    """

    date: str = ""
    command: str = ""
    file: str = ""
    sha256: str | None = None
    commit: str | None = None
    changed: bool | None = None

    @classmethod
    def now(cls, file: Path | None = None) -> Origin:
        """State it for a result that is about to be made."""
        commit, changed = _commit(file or Path(__file__).resolve().parents[2])
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else None
        except OSError:
            digest = None
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            command=COMMAND.get(),
            file=file.name if file is not None else "",
            sha256=digest,
            commit=commit,
            changed=changed,
        )


def _commit(path: Path) -> tuple[str | None, bool | None]:
    """The commit of the repository that keeps a path, and whether the path differs; Nones where none does."""
    folder = path if path.is_dir() else path.parent
    head = _git(folder, "rev-parse", "HEAD")
    state = _git(folder, "status", "--porcelain", "--ignored=matching", "--", str(path))
    if head is None or state is None or (path.is_file() and state.startswith("!!")):
        return None, None
    return head, any(not line.startswith("!!") for line in state.splitlines())


def _git(folder: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.strip()
