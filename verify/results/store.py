"""Results on disk: JSON and npz without pickle, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET, Struct
from msgspec.structs import replace

from maxmargin.models.errors import InputError
from maxmargin.verify.results.encoding import ReportError, as_json, decode, json_text, read_json
from maxmargin.verify.results.problem_verdict import ProblemVerdict

try:
    import fcntl
except ImportError:  # not on Windows: there two runs in one folder are not kept apart
    fcntl = None  # type: ignore[assignment]


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""Names of the files through which others are written."""


class StoreError(InputError):
    """A results directory that cannot be read or written."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, through a temporary one beside it; it is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(4)}"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # as private as the umask says
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_through(path: Path, data: bytes) -> None:
    """Write to what somebody gave a name of: into a pipe or a device, at the end of a link, else atomically."""
    if path.exists() and not path.is_file():
        try:
            with path.open("wb") as file:
                file.write(data)
        except BrokenPipeError:
            raise
        except OSError as error:  # a full device does not say which it is
            raise OSError(error.errno, error.strerror, str(path)) from error
    else:
        write_atomically(path.resolve(), data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinities become null, and what is no Unicode an escape."""
    write_atomically(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """The text of a JSON file; NaN and infinities become null, and what is no Unicode an escape."""
    return json_text(value).encode("utf-8", "backslashreplace")


def array_file(folder: Path, name: str) -> Path:
    """Return the path of an array file of a results directory.

    Raises:
        ReportError: when it is not in the directory: the name may come from anyone.
    """
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise ReportError(f"{folder} refers to the arrays {name[:60]!r}: {error}") from None
    if not inside:
        raise ReportError(f"{folder} refers to the arrays {name[:60]!r}, which leaves the folder")
    return path


class _Job(Struct, frozen=True):
    """A finished job, the hash of what it depends on, and that of what it holds: itself and its arrays."""

    fingerprint: str
    verdict: ProblemVerdict
    checksum: str = ""


def checksum_of(job: Any, arrays: bytes) -> str:
    """SHA-256 of a job as JSON, without its checksum, and of its arrays file."""
    kept = {name: value for name, value in job.items() if name != "checksum"}
    text = json.dumps(kept, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode() + b"\0" + arrays).hexdigest()


@dataclass(frozen=True)
class Store:
    """One results directory: ``results.json``, ``arrays/*.npz`` and, to resume from, what jobs left.

    ``jobs/*.json`` are finished jobs, ``running/*.npz`` snapshots of those under way.
    """

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> Store:
        """Return the store of a directory, created if need be.

        Raises:
            StoreError: when it is a file or cannot be created.
        """
        root = Path(path)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot use {root} as a results directory: {error.strerror}") from error
        except ValueError as error:  # a NUL
            raise StoreError(f"cannot use {str(root)!r} as a results directory: {error}") from error
        if not os.access(root, os.W_OK | os.X_OK):
            raise StoreError(f"cannot write into {root}; give another folder")
        return cls(root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one run; the lock goes with the process, however that ends.

        Raises:
            StoreError: another run holds it.
        """
        if fcntl is None:
            yield
            return
        with (self.root / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = file.read().strip() or "unknown"
                raise StoreError(
                    f"{self.root} is in use by another run (process {who}); wait for it, or give another folder"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self._sweep_out()
            yield

    def _sweep_out(self) -> None:
        """Remove the temporary files of runs that were killed as they wrote them; nobody else is writing now."""
        for folder in (self.root, *(self.root / name for name in ("arrays", "jobs", "running"))):
            for file in folder.glob(".*") if folder.is_dir() else ():
                if _TEMPORARY.fullmatch(file.name):
                    file.unlink(missing_ok=True)

    def save(self, key: str, fingerprint: str, verdict: ProblemVerdict) -> ProblemVerdict:
        """Keep one finished job; the returned verdict names its arrays file."""
        stored = self.save_arrays(key, verdict)
        job = as_json(_Job(fingerprint, stored.stored))
        write_json(self.root / "jobs" / f"{key}.json", job | {"checksum": checksum_of(job, self._arrays(stored))})
        return stored

    def _arrays(self, verdict: ProblemVerdict) -> bytes:
        file = verdict.arrays_file
        return b"" if file is UNSET else array_file(self.root, file).read_bytes()

    def save_arrays(self, key: str, verdict: ProblemVerdict) -> ProblemVerdict:
        """Write the arrays of a verdict beside the results; the returned verdict names their file, if there are any."""
        if not verdict.arrays:
            return verdict
        name = f"arrays/{key}.npz"
        buffer = BytesIO()
        np.savez_compressed(buffer, **verdict.arrays)
        write_atomically(self.root / name, buffer.getvalue())
        return replace(verdict, arrays_file=name)

    def load(self, key: str, fingerprint: str) -> ProblemVerdict | None:
        """A finished job with the same fingerprint; None where it is absent, damaged or changed: it runs again."""
        path = self.root / "jobs" / f"{key}.json"
        try:
            raw = read_json(path, missing="it was not finished")
            job = decode(raw, _Job, str(path))
            whole = job.checksum == checksum_of(raw, self._arrays(job.verdict))
        except (ReportError, OSError):
            return None
        return job.verdict if whole and job.fingerprint == fingerprint else None

    def snapshot(self, key: str) -> Path:
        """Where a job under way keeps its state."""
        return self.root / "running" / f"{key}.npz"

    def drop_snapshot(self, key: str) -> None:
        """Remove the snapshots of a job that is done: of its run, and of those that came after it."""
        first = self.snapshot(key)
        for path in first.parent.glob("*.npz"):
            if path.name == first.name or path.name.startswith(f"{first.stem}."):
                path.unlink(missing_ok=True)

    def drop_snapshots(self) -> None:
        """Remove all snapshots, and the temporary file of a worker that is killed as it writes one."""
        folder = self.root / "running"
        if folder.is_dir():
            for file in [*folder.glob("*.npz"), *folder.glob(".*.npz.*")]:
                file.unlink(missing_ok=True)
            with suppress(OSError):  # something of somebody else's is in it
                folder.rmdir()

    def save_results(self, results: Mapping[str, Any]) -> Path:
        """Write ``results.json``."""
        path = self.root / "results.json"
        write_json(path, results)
        return path


def fingerprint_of(*parts: Any) -> str:
    """A short hash of what a job depends on."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def digest_of(path: Path) -> str:
    """A hash of a file's bytes."""
    about = path.stat()
    return _digest(path.resolve(), about.st_mtime_ns, about.st_size)


@cache
def _digest(path: Path, changed: int, size: int) -> str:
    del changed, size  # a file that was changed is read again
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_key(text: str) -> str:
    """Return a file name of at most 77 ASCII letters, digits, dots and dashes, distinct for distinct texts.

    A text that is such a name already is kept. Any other gets an underscore and a hash, which no kept one has.
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in text).strip("-.") or "job"
    return plain if plain == text and len(plain) <= 60 else f"{plain[:60]}_{fingerprint_of(text)}"
