"""Progress of jobs that train side by side, here or in other processes, as one count.

A job in another process writes its steps to a small file, about once a second; a thread here reads them all.
"""

from __future__ import annotations

import struct
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, final

from maxmargin.verify.progress.report import Progress, StepRate, silent

EVERY = 1.0  # seconds between looks, and between what a job writes
_RECORD = struct.Struct("<qq")  # steps done, steps


@final
@dataclass
class StepFile:
    """The file in which a job of another process leaves its steps; it travels there by pickle."""

    path: Path
    _last: float = float("-inf")

    def __call__(self, done: int, steps: int, /) -> None:
        """Report that ``done`` of the job's ``steps`` are taken."""
        now = time.monotonic()
        if now - self._last < EVERY:
            return
        self._last = now
        with suppress(OSError):  # a full disk must not end a run for the sake of its progress
            self.path.write_bytes(_RECORD.pack(done, steps))


@final
class JointProgress:
    """A progress that adds the shares of unfinished jobs to the count of the finished ones.

    Call it like any progress with the number of finished jobs; hand each job the reporter of ``here`` or ``elsewhere``,
    and tell it with ``finished`` when a job is done.

    Example:
        >>> with JointProgress(lambda done, total, text="": print(f"{done:g} of {total}: {text}")) as joint:
        ...     joint(1, 4, "the first is done")
        ...     joint.share("second", 0.5, "halfway")
        ...     joint.share("third", 0.25, "a quarter")
        ...     joint.finished("second")
        ...     joint(2, 4, "so is the second")
        1 of 4: the first is done
        1.5 of 4: halfway
        1.75 of 4: a quarter
        2.25 of 4: so is the second
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress: Progress = silent if progress is None else progress
        self._lock = threading.RLock()
        self._done, self._total = 0.0, 0.0
        self._shares: dict[str, float] = {}
        self._rates: dict[str, StepRate] = {}
        self._files: dict[str, Path] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._folder is not None:
            self._folder.cleanup()

    def __call__(self, done: float, total: float, text: str = "", /) -> None:
        """Report that ``done`` of ``total`` jobs are finished."""
        with self._lock:
            self._done, self._total = done, total
            self._progress(done + sum(self._shares.values()), total, text)

    def share(self, job: str, share: float, text: str = "") -> None:
        """Report that this share of an unfinished job is done; it falls where another, longer run begins."""
        with self._lock:
            self._shares[job] = share
            self._progress(self._done + sum(self._shares.values()), self._total, text)

    def finished(self, job: str) -> None:
        """Count the job's share no more: the next call counts it among the finished."""
        with self._lock:
            self._shares.pop(job, None)
            self._files.pop(job, None)

    def here(self, job: str) -> StepRate:
        """What a job of this process calls with (steps done, steps)."""

        def report(share: float, total: float, text: str = "", /) -> None:
            del total
            self.share(job, share, text)

        return self._rates.setdefault(job, StepRate(report, 0, 1, job))

    def elsewhere(self, job: str) -> StepFile:
        """The same for a job of another process."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="maxmargin-")
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        path = Path(self._folder.name) / str(len(self._rates))
        self.here(job)
        with self._lock:
            self._files[job] = path
        return StepFile(path)

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            with self._lock:
                for job, path in self._files.items():
                    with suppress(OSError, struct.error):  # not begun, or half written
                        self._rates[job](*_RECORD.unpack(path.read_bytes()))
