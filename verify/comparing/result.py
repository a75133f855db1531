"""What a comparison found: rows by shape, and the answer in a sentence. Its JSON is that of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from maxmargin.verify.results.encoding import Real, as_json


class Row(Struct, frozen=True, kw_only=True):
    """One block, over all gradients that it was tried on.

    Attributes:
        block: Its shape, in words.
        steps: Compared.
        same: Whether all of them are the same; None where neither side takes such a block.
        kind: The gradients under which they part first; None where they do not.
        step: The first step there, from 1; None where they do not part in a step.
        difference: Of the two steps there, relative to the longer one; null in JSON where only one is finite.
        largest: Over all steps.
        parallel: Whether each of B's steps is a positive multiple of A's.
        factor: B's steps are so many times A's, each of them; None where they are not.
        note: What else is to be said.
    """

    block: str
    steps: int = 0
    same: bool | None = None
    kind: str | None = None
    step: int | None = None
    difference: Real = Real(0.0)
    largest: Real = Real(0.0)
    parallel: bool = False
    factor: float | None = None
    note: str = ""


class SideReport(Struct, frozen=True, kw_only=True):
    """One side.

    Attributes:
        target: As it was given.
        kwargs: Its arguments.
        file: Where its code lies; None for one of our own.
        version: Of its distribution, if known.
        check: What it maximizes: the JSON of ``check``; None if that was not asked.
        maximizes: The same in a sentence.
    """

    target: str
    kwargs: Mapping[str, Any]
    file: str | None = None
    version: str | None = None
    check: Mapping[str, Any] | None = None
    maximizes: str | None = None


class Comparison(Struct, frozen=True, kw_only=True):
    """The answer.

    Attributes:
        a: One side.
        b: The other.
        same: Whether they make the same steps; None where that cannot be decided.
        factor: B's steps are so many times A's, everywhere; None where they are not.
        reasons: Sentences, most important first.
        rows: One a block.
        tolerance: A relative difference up to it is none.
        seed: Of gradients and weights.
        versions: Of what the comparison ran with.
        seconds: It took.
    """

    kind: Literal["compare"] = "compare"
    schema: Literal[1] = 1
    a: SideReport
    b: SideReport
    same: bool | None
    factor: float | None
    reasons: tuple[str, ...]
    rows: tuple[Row, ...]
    tolerance: float
    seed: int
    versions: Mapping[str, str]
    seconds: float

    @property
    def steps(self) -> int:
        """Compared, over all blocks."""
        return sum(row.steps for row in self.rows)

    @property
    def word(self) -> str:
        """The answer in a word."""
        return "UNDECIDED" if self.same is None else "SAME" if self.same else "DIFFERENT"

    @property
    def sentence(self) -> str:
        """The answer in a sentence."""
        if self.same is None:
            return "whether A and B make the same steps cannot be decided."
        if not self.same:
            return "A and B part."
        largest = max(row.largest for row in self.rows)
        exact = "to the last bit" if largest == 0 else f"to {largest:.0e}"
        tried = sum(row.same is not None for row in self.rows)
        return f"A and B make the same steps {exact}: {self.steps} steps of {tried} blocks."

    @property
    def exit_status(self) -> int:
        """0 the same, 1 not, 3 undecided."""
        return 3 if self.same is None else 0 if self.same else 1

    def to_json(self) -> dict[str, Any]:
        """The documented JSON."""
        return as_json(self)
