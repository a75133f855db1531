"""Code paths of one optimizer (for-loop, foreach, fused, capturable, differentiable, compiled): whether they agree.

Where the constructor offers such options, each path is built on the CPU and given the same weights, gradients and
learning rates; a step that differs by more than reordered rounding is a fact with path, place and size. Rounding is
what the optimizer's own is: where it computes or keeps its state in a low precision that format's, and where steps are
rounding themselves (a polar factor of a matrix of deficient rank) what noise in the gradients' last digits makes. A
path that refuses to be built or stepped here is named with its reason.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.learning_rate import GROUPS_LR
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.lab.probe.precision import format_of, granularity, state_formats
from maxmargin.verify.lab.rehearsal import KINDS, Move, Play, played
from maxmargin.verify.lab.side_by_side import Beside, lay
from maxmargin.verify.thresholds.twin import COARSE, FLOAT32_ROUNDING, OWN_ROUNDING, PATH_STEPS, REORDERED

_PATH = re.compile(r"(use_)?(foreach|fused|capturable|differentiable|compiled?|multi_tensor|torch_compile)")
_LOOPS = re.compile(r"(use_)?(foreach|fused|multi_tensor)")


def is_path(name: str) -> bool:
    """Whether an option chooses how steps are computed, and not which."""
    return bool(_PATH.fullmatch(name))


@dataclass(frozen=True)
class PathDifference:
    """A path whose steps are not those of the reference.

    Attributes:
        path: ``foreach=True``, or "the default".
        reference: What it was held against.
        kind: The gradients under which they part first.
        step: The first step there, from 1.
        block: The block.
        difference: Of the two steps there, relative; inf where only one is finite.
        factor: The path's steps on this block are so many times the reference's; None where they are not.
    """

    path: str
    reference: str
    kind: str
    step: int
    block: str
    difference: float
    factor: float | None

    @property
    def text(self) -> str:
        """A sentence."""
        factor = "" if self.factor is None else f"; its steps there are {self.factor:.6g} times as long"
        return (
            f"Its code paths differ: {self.path} and {self.reference} part at step {self.step} of {self.kind} on "
            f"{self.block}, by {self.difference:.1e} (relative){factor}."
        )


@dataclass(frozen=True)
class CodePaths:
    """What was compared.

    Attributes:
        reference: The path that the others were held against.
        agree: The paths that make its steps.
        coarse: Of these, path → relative difference, where they make them to the rounding of a low precision only.
        differences: Those that do not.
        skipped: Path → why it could not be tried here.
    """

    reference: str = ""
    agree: tuple[str, ...] = ()
    coarse: Mapping[str, float] = field(default_factory=dict)
    differences: tuple[PathDifference, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def code_paths(target: Target, blocks: Shapes, seed: int = 0) -> CodePaths:
    """Compare the code paths that an optimizer's constructor offers.

    Args:
        target: A black box; of one of our own, nothing is found.
        blocks: Shapes that it accepts.
        seed: Of the plays.

    Returns:
        What was found; nothing where there is but one path.
    """
    options = _options(target)
    if target.native is not None or not options:
        return CodePaths()
    loop = {name: False for name in options if _LOOPS.fullmatch(name)}
    flags: dict[str, Mapping[str, bool]] = {"the for-loop": loop} if loop else {}
    flags["as set" if any(map(is_path, target.kwargs)) else "the default"] = {}
    flags |= {f"{name}=True": {**loop, name: True} for name in options}
    plays = [Play(kind, blocks, PATH_STEPS, seed) for kind in KINDS]
    skipped: dict[str, str] = {}
    paths: list[_Path] = []
    for name, these in flags.items():
        one = replace(target, kwargs={**target.kwargs, **these})
        if "compile" in name:  # it must be seen to compile, to be run without: no compiler is needed, nor a minute
            one = replace(one, callings={})
        try:
            paths.append(_Path(name, one, [list(played(one, play, knob=GROUPS_LR)) for play in plays], blocks))
        except TargetError as error:
            skipped[name] = str(error.__cause__ or error).partition("\n")[0]
    agree, coarse, differences = [], {}, []
    for path in paths[1:]:
        difference, size = _compare(paths[0], path, plays, list(blocks))
        if difference is not None:
            differences.append(difference)
            continue
        agree.append(path.name)
        if size > REORDERED:
            coarse[path.name] = size
    return CodePaths(paths[0].name if paths else "", tuple(agree), coarse, tuple(differences), skipped)


@dataclass(frozen=True)
class _Path:
    """One path: its name, the optimizer so built, its moves on each play."""

    name: str
    target: Target
    moves: list[list[Move]]
    shapes: Shapes

    @cached_property
    def precision(self) -> float:
        """The rounding of the format in which it computes or keeps its state, where that is less than float64's."""
        try:
            with seeded(0):
                session = Session(self.target, self.shapes, 0)
                handle, update = session.run()
                found = [format_of(granularity(session, update))]
        except TargetError:
            return 0.0  # it fails on those gradients; its rounding is taken for float64's
        kept = [text.rpartition(" ")[2] for text in state_formats(handle, {}) if not text.startswith("step")]
        found += [name for name in COARSE for format_ in kept if format_ in name]
        return max((COARSE[name] for name in found if name is not None), default=0.0)


def _compare(ours: _Path, theirs: _Path, plays: list[Play], blocks: list[str]) -> tuple[PathDifference | None, float]:
    """Where two paths part, if they do; and the largest relative difference of their steps so far."""
    size = 0.0
    for play, a, b in zip(plays, ours.moves, theirs.moves, strict=True):
        found = lay(a, b, REORDERED)
        if any(beside.first is not None for beside in found):
            own = min(_own_rounding(ours, play, a), _own_rounding(theirs, play, b))
            found = lay(a, b, max(FLOAT32_ROUNDING, own))
        size = max(size, *(beside.largest for beside in found))
        if (difference := _first(found, blocks, theirs.name, ours.name, play.kind)) is not None:
            return difference, size
    return None, size


def _first(found: list[Beside], blocks: list[str], path: str, reference: str, kind: str) -> PathDifference | None:
    parted = [(b.first, -b.at_first, name, b) for b, name in zip(found, blocks, strict=True) if b.first is not None]
    if not parted:
        return None
    step, _, name, beside = min(parted, key=lambda row: row[:3])
    return PathDifference(path, reference, kind, step, name, beside.at_first, beside.factor)


def _own_rounding(path: _Path, play: Play, usual: list[Move]) -> float:
    """How far a path's steps may be off by its own rounding: relative, the largest of a block and step."""
    try:
        touched = list(played(path.target, play.touched(), knob=GROUPS_LR))
    except TargetError:
        return path.precision
    noise = max(beside.largest for beside in lay(usual, touched, REORDERED))
    return max(OWN_ROUNDING * noise, path.precision)


def _options(target: Target) -> list[str]:
    found: Mapping[str, Any] = {}
    with suppress(TypeError, ValueError):  # a builtin, or an object that hides how it is called
        if target.factory is not None:
            found = inspect.signature(target.factory).parameters
    return [name for name in found if is_path(name)]
