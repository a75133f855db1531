"""One thing that is wrong with, or peculiar to, an optimizer's steps, in a sentence that its author can act on."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "frozen",
    "stale",
    "ascent",
    "layout",
    "rule",
    "power",
    "preconditioned",
    "dropped state",
    "crosstalk",
    "null directions",
    "newton-schulz",
    "clipping",
    "centred",
    "one-sided",
    "weights",
    "random",
    "scale",
    "weight",
    "symmetry",
)
"""From what ruins an optimizer to what only colours it."""


@dataclass(frozen=True)
class Finding:
    """A finding.

    Attributes:
        block: The block that it is about; "" for the whole optimizer.
        kind: One of KINDS.
        text: A sentence without its full stop; rows and entries are counted from 0.
        size: How large the effect is, relative to the step unless the text says otherwise.
    """

    block: str
    kind: str
    text: str
    size: float

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts the most important first."""
        return KINDS.index(self.kind), -self.size
