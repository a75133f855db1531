"""What is said of an optimizer: a form of words, and the facts in it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sentence:
    """A form of words, as for ``str.format``, and its facts.

    Example:
        >>> Sentence.of("{block} moves {factor:.2g} times as far", block="W", factor=2.0).text
        'W moves 2 times as far'
    """

    form: str
    facts: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, form: str, **facts: Any) -> Sentence:
        """The sentence of this form with these facts."""
        return cls(form, tuple(facts.items()))

    @property
    def text(self) -> str:
        """The words."""
        return self.form.format(**dict(self.facts))

    @property
    def alike(self) -> Hashable:
        """Equal for sentences that differ in the block and in numbers alone: they say the same of two problems."""
        return self.form, tuple(f for f in self.facts if f[0] != "block" and not isinstance(f[1], (int, float)))


@dataclass(frozen=True)
class Place:
    """Part of a block: whole rows or columns where it is that, else entries.

    Attributes:
        word: "row", "column" or "entry".
        indices: Of each, from 0.
        numel: Entries of the block.
    """

    word: str
    indices: tuple[tuple[int, ...], ...]
    numel: int

    @classmethod
    def of(cls, mask: np.ndarray) -> Place:
        """The marked entries."""
        if mask.ndim == 2:
            for axis, word in ((1, "row"), (0, "column")):
                full = np.flatnonzero(mask.all(axis))
                if len(full) and mask.sum() == len(full) * mask.shape[axis]:
                    return cls(word, tuple((int(i),) for i in full), mask.size)
        return cls("entry", tuple(tuple(int(j) for j in i) for i in np.argwhere(mask)), mask.size)

    @property
    def plural(self) -> bool:
        """Whether it is several rows, columns or entries."""
        return len(self.indices) > 1

    def __format__(self, block: str) -> str:
        """In words for its block, ``"{place:W}"``: ``row 0 of W (W[0, :])``, ``3 rows of W (0, 2, 5)``."""
        names = [", ".join(map(str, i)) for i in self.indices]
        shown = [f"({n})" for n in names] if self.word == "entry" else names
        if not self.plural:
            code = {"row": "{}, :", "column": ":, {}", "entry": "{}"}[self.word].format(names[0])
            return f"{self.word} {shown[0]} of {block} ({block}[{code}])"
        words = "entries" if self.word == "entry" else f"{self.word}s"
        return f"{len(names)} {words} of {block} ({', '.join(shown[:4])}{', …' if len(names) > 4 else ''})"

    def listed(self, block: str) -> str:
        """With all indices, ``rows 0, 2 of W``; of entries the first three, ``4 of 6 entries of W ([0], [1], ...)``."""
        if self.word == "entry":
            first = ", ".join(str(list(i)) for i in self.indices[:3])
            more = ", ..." if len(self.indices) > 3 else ""
            return f"{len(self.indices)} of {self.numel} entries of {block} ({first}{more})"
        return f"{self.word}{'s' if self.plural else ''} {', '.join(str(i) for (i,) in self.indices)} of {block}"
