"""One thing that is wrong with, or peculiar to, an optimizer's steps, in a sentence that its author can act on."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from maxmargin.verify.lab.harness.sentence import Sentence


class Kind(StrEnum):
    """From what ruins an optimizer to what only colours it; each with what else is then seen, and need not be said."""

    FROZEN = "frozen"
    STALE = "stale", "rule", "power", "weight", "clipping", "scale", "symmetry"
    ASCENT = "ascent"
    LAYOUT = "layout", "null directions"
    RULE = "rule", "null directions", "one-sided"
    POWER = "power"
    PRECONDITIONED = "preconditioned"
    DROPPED = "dropped state"
    CROSSTALK = "crosstalk", "one-sided", "stale"
    NULL = "null directions"
    NEWTON_SCHULZ = "newton-schulz"
    CLIPPING = "clipping", "power", "one-sided", "scale", "rule", "preconditioned"
    CENTRED = "centred", "rule", "power", "newton-schulz", "null directions", "preconditioned"
    ONE_SIDED = "one-sided", "scale", "preconditioned"
    WEIGHTS = "weights", "one-sided", "weight", "scale", "centred"
    SHARED = "shared state"
    RANDOM = "random"
    SCALE = "scale", "power"
    WEIGHT = "weight"
    SYMMETRY = "symmetry"
    OTHER_SHAPES = "other shapes"
    OTHER = "other"

    hides: tuple[str, ...]

    def __new__(cls, value: str, *hides: str) -> Kind:
        """A kind of this name, which hides the kinds of these names on the same block."""
        kind = str.__new__(cls, value)
        kind._value_, kind.hides = value, hides
        return kind

    @property
    def rank(self) -> int:
        """0 for the most important."""
        return list(Kind).index(self)


@dataclass(frozen=True)
class Finding:
    """A finding.

    Attributes:
        block: The block that it is about; "" for the whole optimizer.
        kind: What it is.
        size: How large the effect is, relative to the step unless the sentence says otherwise.
        says: A sentence without its full stop.
    """

    block: str
    kind: Kind
    size: float
    says: Sentence

    @classmethod
    def of(cls, kind: Kind, block: str, size: float, form: str, **facts: Any) -> Finding:
        """A finding in this form of words, of the block, the size and these facts."""
        return cls(block, kind, size, Sentence.of(form, block=block, size=size, **facts))

    @property
    def text(self) -> str:
        """The sentence in words; rows and entries are counted from 0."""
        return self.says.text

    @property
    def alike(self) -> Hashable:
        """Equal for findings that differ in block and numbers alone."""
        return self.kind, self.says.alike

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts the most important first."""
        return self.kind.rank, -self.size


def essential(found: list[Finding]) -> list[Finding]:
    """Each finding once, most important first, without those that another one on the block explains."""
    hidden = {(f.block, other) for f in found for other in f.kind.hides}
    return sorted((f for f in dict.fromkeys(found) if (f.block, f.kind) not in hidden), key=lambda f: f.rank)
