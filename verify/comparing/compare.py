"""Compare two optimizers: both make the steps of one rehearsal, each in its own process; then the steps are compared.

A difference is a step of a block that differs by more than a tolerance, after what rounding of the weights may do, and
by more than ten times what noise in the gradients' last digits makes of *both* sides' own steps: where a step is
rounding (a polar factor of a matrix of deficient rank), nothing is to be compared. An optimizer that differs from
itself under another random seed cannot be told from another.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from math import isinf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace as restruct

from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.versions import versions
from maxmargin.verify.blackbox.targets import TargetError
from maxmargin.verify.claims.record import check_tier
from maxmargin.verify.comparing.process import SideProcess
from maxmargin.verify.comparing.result import Comparison, Row, SideReport
from maxmargin.verify.comparing.rooms import ROOMS, Room
from maxmargin.verify.lab.rehearsal import Move, Play
from maxmargin.verify.lab.side_by_side import Beside, lay
from maxmargin.verify.progress.report import Progress, silent
from maxmargin.verify.results.encoding import Real
from maxmargin.verify.thresholds.twin import COMPARED, FACTOR_TIE, OWN_ROUNDING

Moves = dict[str, list[Move]]
"""Kind of gradients → the moves of one side."""


def compare(
    a: str,
    b: str,
    *,
    kwargs_a: Mapping[str, Any] | None = None,
    kwargs_b: Mapping[str, Any] | None = None,
    claim: str | None = None,
    quick: bool = False,
    tier: str = "quick",
    tolerance: float = COMPARED,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Say whether two optimizers make the same steps, or where they part, and what each maximizes.

    Args:
        a: One: ``module:attr``, ``path/to/file.py:attr``, one of our own names, or ``FOLDER::module:attr`` for a
            package that lies in a folder (``pip install --target FOLDER``).
        b: The other.
        kwargs_a: Constructor arguments, Python literals.
        kwargs_b: Likewise.
        claim: A norm that each is tested for; None to find what each maximizes.
        quick: Leave out what they maximize.
        tier: Of those checks.
        tolerance: A relative difference of a step up to it is none.
        seed: Of gradients and weights.
        progress: Called with (plays done, plays, text).

    Returns:
        The comparison.

    Raises:
        TargetError: a target cannot be loaded, or makes no step on any shape.
        NormError: the claim is no norm.
    """
    started = time.perf_counter()
    check_tier(tier)
    if claim is not None:
        get_norm(claim)
    given = dict(kwargs_a or {}), dict(kwargs_b or {})
    for kwargs in given:
        _literal(kwargs)
    with SideProcess("A", a, given[0]) as one, SideProcess("B", b, given[1]) as other, TemporaryDirectory() as folder:
        stage = _Stage(one, other, Path(folder), seed, progress or silent)
        stage.both(lambda side: side.load())
        rows = tuple(row for room in stage.rooms() for row in _room(stage, room, tolerance))
        if all(row.same is None for row in rows):
            raise TargetError(f"neither side makes a step on any shape: {rows[0].note}")
        random = [] if _same(rows) else stage.random()
        same = None if random else _same(rows)
        reports = [SideReport(target=s.spec, kwargs=s.kwargs, **s.about) for s in (one, other)]
        factor = _common_factor(rows)
        reasons = (*random, *_reasons(rows, same, factor), *_sources(reports))
        if not quick:
            sides = (one,) if same else (one, other)
            for i, side in enumerate(sides):
                answer = side.ask("check", stage.progress, claim=claim, tier=tier, seed=seed)
                reports[i] = restruct(reports[i], check=answer["verdict"], maximizes=answer["sentence"])
    return Comparison(
        a=reports[0],
        b=reports[1],
        same=same,
        factor=factor,
        reasons=reasons,
        rows=rows,
        tolerance=tolerance,
        seed=seed,
        versions=versions(),
        seconds=round(time.perf_counter() - started, 3),
    )


def _literal(kwargs: Mapping[str, Any]) -> None:
    try:
        ast.literal_eval(repr(kwargs))
    except (ValueError, SyntaxError):
        raise TargetError(
            f"the arguments {kwargs!r} cannot be handed to another process; give numbers, texts, lists and tuples, "
            "or a factory in a file that sets the rest"
        ) from None


class _Stage:
    """Both sides, and where their steps are put."""

    def __init__(self, one: SideProcess, other: SideProcess, folder: Path, seed: int, progress: Progress) -> None:
        self.sides, self.folder, self.seed, self.progress = (one, other), folder, seed, progress
        self.refused: dict[str, str] = {}
        self._done, self._total = 0, len(ROOMS)

    def both(self, ask: Callable[[SideProcess], Any]) -> list[Any]:
        """Ask both at once."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(ask, self.sides))

    def rooms(self) -> Sequence[Room]:
        """The rooms, without those that only stand in for others; found as they are entered."""
        return [room for name, room in ROOMS.items() if name != "small, matrices alone"]

    def moves(self, room: Room, *, touched: bool = False, torch_seed: int = 0) -> list[Moves | str]:
        """What each side does in a room, or why it refuses it."""
        plays = [play.touched() if touched else play for play in room.plays(self.seed)]
        asked = [asdict(play) for play in plays]

        def ask(side: SideProcess) -> Moves | str:
            path = self.folder / f"{side.name}.npz"
            answer = side.ask("play", plays=asked, path=str(path), torch_seed=torch_seed)
            return str(answer["refused"]) if "refused" in answer else _read(path, plays)

        found: list[Moves | str] = self.both(ask)
        self._done = min(self._done + (not touched), self._total)
        self.progress(self._done, self._total, room.name)
        return found

    def random(self) -> list[str]:
        """Which sides differ from themselves under another seed, in sentences."""
        room = ROOMS["small, matrices alone"]
        usual, again = self.moves(room), self.moves(room, torch_seed=1)
        said = []
        for side, first, second in zip(self.sides, usual, again, strict=True):
            if isinstance(first, str) or isinstance(second, str):
                continue
            size = max(b.largest for kind in first for b in lay(first[kind], second[kind], 0.0))
            if size > COMPARED:
                said.append(
                    f"{side.name} is random: under another seed its own steps differ by up to {size:.1e} (relative)."
                )
        return said


def _read(path: Path, plays: Sequence[Play]) -> Moves:
    found: Moves = {}
    with np.load(path) as arrays:
        for k, play in enumerate(plays):
            updates = [torch.from_numpy(arrays[f"{k}:{i}"]) for i in range(len(play.shapes))]
            rounding = arrays[f"{k}:rounding"]
            found[play.kind] = [Move([u[t] for u in updates], list(map(float, r)), []) for t, r in enumerate(rounding)]
    return found


def _room(stage: _Stage, room: Room, tolerance: float) -> list[Row]:
    """Compare both sides in one room."""
    first, second = stage.moves(room)
    if room == ROOMS["small"] and isinstance(first, str) and isinstance(second, str):
        room = ROOMS["small, matrices alone"]
        first, second = stage.moves(room)
    names = [side.name for side in stage.sides]
    if isinstance(first, str) or isinstance(second, str):
        refusals = [f"{n}: {m}" for n, m in zip(names, (first, second), strict=True) if isinstance(m, str)]
        both = len(refusals) == 2
        note = f"both refuse it ({refusals[0]})" if both else f"{refusals[0][:1]} alone refuses it ({refusals[0][3:]})"
        same = None if both else False
        return [Row(block=name, same=same, note=note) for name in room.shapes]
    besides = {kind: lay(first[kind], second[kind], tolerance) for kind in first}
    notes = [""] * len(room.shapes)
    if any(b.first is not None for found in besides.values() for b in found):
        one, other = stage.moves(room, touched=True)
        if not isinstance(one, str) and not isinstance(other, str):
            for kind, found in besides.items():
                own = [lay(m[kind], t[kind], tolerance) for m, t in ((first, one), (second, other))]
                limits = [max(tolerance, OWN_ROUNDING * min(x.largest, y.largest)) for x, y in zip(*own, strict=True)]
                again = _at(first[kind], second[kind], limits)
                for i, (beside, limit) in enumerate(zip(again, limits, strict=True)):
                    if found[i].first is not None and beside.first is None:
                        notes[i] = (
                            f"not told apart under {kind}: both sides' own steps change by {limit / OWN_ROUNDING:.0e} "
                            "when gradients change in their last digits"
                        )
                besides[kind] = again
    return [_row(name, i, besides, notes[i]) for i, name in enumerate(room.shapes)]


def _at(first: list[Move], second: list[Move], limits: Sequence[float]) -> list[Beside]:
    """Both sides' moves compared, each block by its own tolerance."""
    return [lay(_only(first, i), _only(second, i), limit)[0] for i, limit in enumerate(limits)]


def _only(moves: list[Move], i: int) -> list[Move]:
    return [replace(move, update=[move.update[i]], rounding=[move.rounding[i]]) for move in moves]


def _row(block: str, i: int, besides: Mapping[str, list[Beside]], note: str) -> Row:
    """One block over all kinds of gradients."""
    mine = {kind: found[i] for kind, found in besides.items()}
    parted = next(((kind, b) for kind, b in mine.items() if b.first is not None), None)
    low, high = min(b.low for b in mine.values()), max(b.high for b in mine.values())
    broken = next(
        (f"a step is not finite, the first at step {b.broken} of {k}" for k, b in mine.items() if b.broken), ""
    )
    parallel = all(b.askew <= b.tolerance for b in mine.values()) and 0.0 < low <= high and not isinf(high)
    return Row(
        block=block,
        steps=sum(b.steps for b in mine.values()),
        same=parted is None,
        kind=parted[0] if parted else None,
        step=parted[1].first if parted else None,
        difference=Real(parted[1].at_first if parted else 0.0),
        largest=Real(max(b.largest for b in mine.values())),
        parallel=parallel,
        factor=low if parallel and high - low <= FACTOR_TIE * high else None,
        note="; ".join(filter(None, (note, broken))),
    )


def _same(rows: Sequence[Row]) -> bool:
    return all(row.same is not False for row in rows)


def _common_factor(rows: Sequence[Row]) -> float | None:
    """B's steps over A's, if that is one number on all blocks."""
    factors = [row.factor for row in rows if row.same is not None]
    known = [f for f in factors if f is not None]
    if len(known) < len(factors) or max(known) - min(known) > FACTOR_TIE * max(known):
        return None
    return known[0]


def _reasons(rows: Sequence[Row], same: bool | None, factor: float | None) -> list[str]:
    """Where they part first, up to what factor, and where they do not part."""
    parted = [row for row in rows if row.same is False]
    said = []
    if parted:
        first = parted[0]
        if first.step is None:
            said.append(f"On {first.block} {first.note}.")
        else:
            by = (
                f"by {first.difference:.2g} (relative)"
                if not isinf(first.difference)
                else "for only one of them is finite"
            )
            said.append(f"They part first on {first.block}, at step {first.step} of {first.kind}, {by}.")
        if factor is not None:
            said.append(f"B's steps are {factor:.6g} times A's, everywhere.")
        elif all(row.factor is not None for row in parted):
            each = ", ".join(f"{row.factor:.6g} on {row.block}" for row in parted)
            said.append(f"There B's steps are A's to a factor: {each}.")
        elif all(row.parallel for row in parted):
            said.append("There B's steps have A's directions, and lengths of their own.")
        rest = [row.block for row in rows if row.same]
        if rest:
            said.append(f"They are the same on {', '.join(rest)}.")
        elif len(parted) > 1 and same is False and factor is None:
            said.append("They are the same nowhere.")
    said += list(dict.fromkeys(f"{row.block}: {row.note}." for row in rows if row.note and row.same is not False))
    return said


def _sources(reports: Sequence[SideReport]) -> list[str]:
    a, b = reports
    if a.file is not None and (a.file, dict(a.kwargs)) == (b.file, dict(b.kwargs)) and _name(a) == _name(b):
        return ["Both sides are the same code with the same arguments: only its repeatability was seen."]
    return []


def _name(report: SideReport) -> str:
    return report.target.rpartition(":")[2]
