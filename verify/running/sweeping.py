"""``sweep``: a grid of optimizers × arguments × problems × schedules × seeds, each cell once, in one table.

A finished cell is a line of ``cells.jsonl``, on disk before the next one is told; what is torn or foreign there is run
again. The table, ``cells.parquet``, is written from it at the end.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from maxmargin.models import problems
from maxmargin.models.errors import InputError
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.progress.report import Progress, silent
from maxmargin.verify.results.encoding import as_json
from maxmargin.verify.results.store import Store
from maxmargin.verify.running.cell import Cell, Row, arguments_of, row_of
from maxmargin.verify.running.spread import Backend

LINES = "cells.jsonl"


class SweepError(InputError):
    """A sweep that is not described as it must be."""


class Optimizers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[optimizer]]``: a target, and its arguments; a list of values is crossed with the others."""

    target: str
    kw: dict[str, Any] = {}


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sweep's file.

    Attributes:
        problems: By name.
        optimizer: At least one.
        decays: Schedules: the pace falls like t^(−decay).
        seeds: Their number, from 0, or themselves.
        steps: Of each run; the quick tier's by default.
        claim: The norm that is judged; by default each optimizer's own.
    """

    problems: tuple[str, ...]
    optimizer: tuple[Optimizers, ...]
    decays: tuple[float, ...] = (0.2,)
    seeds: int | tuple[int, ...] = 1
    steps: int | None = None
    claim: str | None = None

    @classmethod
    def read(cls, path: Path) -> Grid:
        """Return the grid of a file, of which every name is known.

        Raises:
            SweepError: saying what is wrong, and where.
        """
        try:
            found = msgspec.toml.decode(path.read_bytes(), type=cls)
        except (OSError, ValueError) as error:  # msgspec's and tomllib's own derive from ValueError
            raise SweepError(f"{path}: {error}; 'maxmargin sweep --help' shows one") from None
        found._check(path)
        return found

    def _check(self, path: Path) -> None:
        seeds = self.seeds if isinstance(self.seeds, tuple) else range(self.seeds)
        if not (self.problems and self.optimizer and self.decays and seeds):
            raise SweepError(f"{path}: problems, optimizer, decays and seeds need at least one each")
        if not all(0 <= decay <= 1 for decay in self.decays):
            raise SweepError(f"{path}: decays lie from 0 to 1, not {self.decays}")
        if min(seeds) < 0 or (self.steps is not None and self.steps < 1):
            raise SweepError(f"{path}: seeds are 0 or more, steps 1 or more")
        if self.claim is not None:
            get_norm(self.claim)
        for name in self.problems:
            problems.get(name)
        for target, arguments in {(cell.optimizer, cell.arguments) for cell in self.cells()}:
            load(target, dict(arguments))

    def cells(self) -> list[Cell]:
        """All cells, each once."""
        seeds = self.seeds if isinstance(self.seeds, tuple) else range(self.seeds)
        return list(
            dict.fromkeys(
                Cell(one.target, arguments_of(kw), problem, decay, seed, self.steps, self.claim)
                for one in self.optimizer
                for kw in _crossed(one.kw)
                for problem, decay, seed in itertools.product(self.problems, self.decays, seeds)
            )
        )


def _crossed(kw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    values = [value if isinstance(value, list) else [value] for value in kw.values()]
    for chosen in itertools.product(*values):
        yield dict(zip(kw, chosen, strict=True))


def sweep(
    grid: Grid, out: str | Path, *, backend: Backend | None = None, progress: Progress | None = None
) -> list[Row]:
    """Run the cells that ``out`` does not hold yet.

    Args:
        grid: What is crossed.
        out: Directory for the rows; a sweep that was broken off, or killed, goes on there.
        backend: Where cells are spread; by default over the cores of this machine.
        progress: Called with (cells done, cells, what was just finished).

    Returns:
        A row a cell, in the grid's order.

    Raises:
        StoreError: ``out`` cannot be written, or another run is writing there.
    """
    backend, progress = backend or Backend(workers=os.cpu_count() or 1), progress or silent
    store, cells = Store.at(out), {cell.key: cell for cell in grid.cells()}
    with store.locked():
        kept = read_rows(store.root / LINES)
        done = {key: kept[key] for key in cells if key in kept and kept[key]["error"] is None}
        progress(len(done), len(cells))
        todo = [(key, cell) for key, cell in cells.items() if key not in done]
        with (store.root / LINES).open("ab") as file:
            file.write(b"\n")  # the last line may be torn
            # Not threads, unless asked for: a cell is mostly Python, which they would share.
            backend = replace(backend, name="loky") if backend.name == "auto" else backend
            native = all(cell.native for _, cell in todo)
            parent = 0 if backend.name in ("dask", "threads") else os.getpid()
            for row in map(as_json, backend.spread(row_of, [(key, (cell, parent)) for key, cell in todo], native)):
                file.write(_line(row))
                file.flush()
                os.fsync(file.fileno())
                done[row["key"]] = row
                progress(len(done), len(cells), f"{row['optimizer']} on {row['problem']}")
    return [done[key] for key in cells]


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of a file of lines, by key, without what is damaged; the last of a key counts."""
    rows = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        checksum, _, text = line.partition(b" ")
        if checksum.decode("ascii", "replace") == _checksum(text):
            row = json.loads(text)
            rows[row["key"]] = row
    return rows


def _line(row: Row) -> bytes:
    text = json.dumps(row).encode()
    return f"{_checksum(text)} ".encode() + text + b"\n"


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def columns_of(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The rows as columns; None where a row has no such entry."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def parquet(rows: Sequence[Row]) -> bytes:
    """The rows as a Parquet file; a column of mixed types becomes text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for name, values in columns_of(rows).items():
        kinds = {type(value) for value in values if value is not None}
        if not (len(kinds) <= 1 or kinds == {int, float}):
            values = [None if value is None else str(value) for value in values]
        columns[name] = pa.array(
            [float(v) if v is not None else v for v in values] if kinds == {int, float} else values
        )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())
