"""Which call of somebody else's code a process makes, and since when: in a file that another process can read.

The one that makes the calls may not be able to tell: it has ended, or never returns.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, final

FOLDER = "MAXMARGIN_CALLS"
"""The environment variable that names the folder of the files, one a process, by its number."""
_FIELDS = struct.Struct("<qqqd")  # what is called, steps of the process, of the instance, since when


class What(IntEnum):
    """What is called."""

    NOTHING, IMPORT, CONSTRUCTOR, STEP, MODE = range(5)


WORDS = ("between its calls", "in its import", "in its constructor", "in step()", "in train() or eval()")


@dataclass(frozen=True)
class Call:
    """The last call that a process has recorded.

    Attributes:
        what: It; NOTHING where none is under way.
        steps: Steps that the process has begun.
        of_instance: Of these, of the instance of the last one.
        seconds: Since when it is under way, or none is.
    """

    what: What
    steps: int
    of_instance: int
    seconds: float

    @classmethod
    def read(cls, path: Path) -> Call | None:
        """What a process has recorded; None where there is no such file, or a record is being written just now."""
        try:
            what, steps, of_instance, since = _FIELDS.unpack(_checked(path.read_bytes()))
            return cls(What(what), steps, of_instance, time.monotonic() - since)
        except (OSError, struct.error, ValueError):
            return None

    @classmethod
    def of_the_lost(cls) -> Call | None:
        """The last call of the process that ended first, of those that do not run any more."""
        lost = []
        with suppress(KeyError, OSError):
            for path in Path(os.environ[FOLDER]).iterdir():
                if not _runs(path.name) and (call := cls.read(path)) is not None:
                    lost.append(call)
        return max(lost, key=lambda call: call.seconds, default=None)

    @property
    def place(self) -> str:
        """Where the process is, or was, in words."""
        if self.what is not What.STEP:
            return WORDS[self.what]
        return f"in step {self.of_instance} of an instance (step {self.steps} of all)"


def _record(what: What, steps: int, of_instance: int) -> bytes:
    """A record that begins now, with a sum by which one that is half written is known."""
    fields = _FIELDS.pack(what, steps, of_instance, time.monotonic())
    return fields + zlib.crc32(fields).to_bytes(4, "little")


def _checked(record: bytes) -> bytes:
    fields, check = record[: _FIELDS.size], record[_FIELDS.size :]
    if zlib.crc32(fields).to_bytes(4, "little") != check:
        raise ValueError("half written")
    return fields


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return False
    return True


@final
class CallFile:
    """The file of this process; a forked copy gets one of its own. Nothing is written where no folder is named."""

    def __init__(self) -> None:
        self._process = 0
        self._record: Any = None

    def write(self, what: What, steps: int, of_instance: int) -> None:
        """Record that a call begins, or, with NOTHING, that it has returned."""
        if self._process != os.getpid():
            self._process, self._record = os.getpid(), self._opened()
        if self._record is not None:
            self._record[:] = _record(what, steps, of_instance)

    def _opened(self) -> mmap.mmap | None:
        folder = os.environ.get(FOLDER)
        if folder:
            with suppress(OSError), Path(folder, str(os.getpid())).open("w+b") as file:
                first = _record(What.NOTHING, 0, 0)
                file.write(first)
                file.flush()
                return mmap.mmap(file.fileno(), len(first))
        return None
