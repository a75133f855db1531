"""A worker seen from its parent: whether it keeps to its limits, and where it was when it ended.

The parent runs nothing of the optimizer's, so that it can tell whatever the optimizer does: a step that never returns,
holds the interpreter, takes all memory, or ends its process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from maxmargin.models.memory import at_hand
from maxmargin.verify.progress.calls import Call, What

LOOK = 0.25
"""Seconds between two looks."""
AGAIN = 5.0
"""Seconds after which a signal that has not ended the worker is sent to it again."""
MOST = 0.9
"""Of the memory at hand, what the processes may take together unless a limit is given."""
TIMED = (What.STEP, What.CONSTRUCTOR, What.MODE)
"""Calls that may not take longer than the step timeout; an import may."""


@dataclass
class Watch:
    """The limits of one worker and of the processes that it starts, and the folder in which they record calls.

    Attributes:
        folder: Theirs.
        timeout: Seconds that a call may take; None for any number.
        memory: GiB that they may take together; None for nine tenths of what is at hand.
    """

    folder: Path
    timeout: float | None = None
    memory: float | None = None
    _most: float = field(init=False)
    _asked: tuple[int, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._most = MOST * at_hand() if self.memory is None else self.memory * 2**30

    def end(self, worker: subprocess.Popen[bytes], number: int) -> None:
        """Pass a signal on, and again while the worker goes on: an ``except:`` of a library may have swallowed it."""
        self._asked = number, time.monotonic()
        worker.send_signal(number)

    @staticmethod
    def pause(worker: subprocess.Popen[bytes]) -> None:
        """Stop with the worker's processes (Ctrl-Z), and let them go on when this process does."""
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGCONT)

    def wait(self, worker: subprocess.Popen[bytes]) -> str | None:
        """Wait for the end of a worker, and end it when it exceeds a limit.

        Returns:
            Which limit it exceeded, in words; None where it ended by itself.
        """
        while True:
            try:
                worker.wait(LOOK)
                return None
            except subprocess.TimeoutExpired:
                found = self.exceeded(worker.pid)
            if self._asked is not None and time.monotonic() - self._asked[1] > AGAIN:
                self.end(worker, self._asked[0])
            if found is not None:
                for pid in self._processes(worker.pid):
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                worker.wait()
                return found

    def exceeded(self, worker: int) -> str | None:
        """The limit that the processes exceed now, in words; None where there is none."""
        for pid in self._processes(worker):
            call = Call.read(self.folder / str(pid))
            if self.timeout is not None and call is not None and call.what in TIMED and call.seconds > self.timeout:
                return (
                    f"the optimizer has been {call.place} for more than {self.timeout:g} s and was ended; if that is "
                    "no endless loop, give it longer with --step-timeout SECONDS"
                )
        taken = sum(map(_taken, self._processes(worker)))
        if taken > self._most:
            call = self.last()
            where = "" if call is None else f" {call.place}"
            return (
                f"the processes took {taken / 2**30:.3g} GiB, more than the limit of {self._most / 2**30:.3g} GiB, "
                f"while the optimizer was{where or ' loaded'}, and were ended; raise it with --memory-limit GIB"
            )
        return None

    def last(self) -> Call | None:
        """The call that was under way last, of any process; else the last one that was."""
        calls = [call for path in self._files() if (call := Call.read(path)) is not None]
        return min(calls, key=lambda call: (call.what is What.NOTHING, call.seconds), default=None)

    def _files(self) -> list[Path]:
        with suppress(OSError):
            return sorted(self.folder.iterdir())
        return []

    def _processes(self, worker: int) -> Iterator[int]:
        """The worker, and those that it started and that have called the optimizer."""
        yield worker
        for path in self._files():
            if path.name.isdecimal() and _parent(int(path.name)) == worker:
                yield int(path.name)


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _taken(pid: int) -> float:
    """Bytes of memory of a process that it shares with none; 0 where that cannot be seen."""
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    except (OSError, ValueError):
        return 0.0
    return float(resident - shared) * os.sysconf("SC_PAGE_SIZE")
