"""Two optimizers' steps on one play, laid side by side: the same, parallel, or where they part and by how much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor

from maxmargin.verify.lab.rehearsal import Move
from maxmargin.verify.thresholds.twin import FACTOR_SEEN, FACTOR_TIE


@dataclass
class Beside:
    """What is known of one block so far.

    Attributes:
        tolerance: A relative difference up to it is none.
        steps: Compared.
        first: The first step, from 1, at which the two part; None so far.
        at_first: The relative difference there; inf where one side is not finite and the other is.
        largest: Over all steps.
        broken: The first step that is not finite on either side; None so far.
        askew: The largest part of a second step that is not along the first one, relative.
        low: Smallest factor from the first side's steps to the second's.
        high: Largest.
    """

    tolerance: float
    steps: int = 0
    first: int | None = None
    at_first: float = 0.0
    largest: float = 0.0
    broken: int | None = None
    askew: float = 0.0
    low: float = inf
    high: float = -inf

    def take(self, first: Tensor, second: Tensor, rounding: float) -> None:
        """Compare one step of both sides.

        Args:
            first: One side's.
            second: The other's.
            rounding: How far they may be apart by rounding of the weights alone.
        """
        self.steps += 1
        if self.broken is None and not bool((torch.isfinite(first) & torch.isfinite(second)).all()):
            self.broken = self.steps
        both = torch.isnan(first) & torch.isnan(second) | (first == second)
        if bool(both.all()):
            u = torch.where(torch.isfinite(first), first, 0.0)
            if bool((u != 0).any()):
                self._factor(1.0)
            return
        # What both sides agree on cannot make the difference undefined.
        u, v = torch.where(both & ~torch.isfinite(first), 0.0, torch.stack([first, second]))
        sizes = float(u.norm()), float(v.norm())
        if not all(map(isfinite, sizes)):
            self.askew = inf
            self._apart(inf)
            return
        gap = max(0.0, float((v - u).norm()) - rounding)
        self._apart(gap / max(sizes))
        if rounding > FACTOR_SEEN * min(sizes) and gap == 0.0:
            return
        if min(sizes) == 0.0:
            self.askew = inf
            return
        c = float((u * v).sum()) / sizes[0] ** 2
        self.askew = max(self.askew, max(0.0, float((v - c * u).norm()) - (1.0 + abs(c)) * rounding) / sizes[1])
        if rounding <= FACTOR_SEEN * min(sizes):
            self._factor(c)

    def _apart(self, found: float) -> None:
        self.largest = max(self.largest, found)
        if found > self.tolerance and self.first is None:
            self.first, self.at_first = self.steps, found

    def _factor(self, c: float) -> None:
        self.low, self.high = min(self.low, c), max(self.high, c)

    @property
    def parallel(self) -> bool:
        """Whether each step of the second side is a positive multiple of the first's."""
        return self.askew <= self.tolerance and 0.0 < self.low <= self.high < inf

    @property
    def factor(self) -> float | None:
        """The second side's steps are so many times the first's, each of them; None where there is no such number."""
        return self.low if self.parallel and self.high - self.low <= FACTOR_TIE * self.high else None


def lay(first: Iterable[Move], second: Iterable[Move], tolerance: float) -> list[Beside]:
    """Return two sides' moves on one play compared, one entry a block.

    Args:
        first: One side's.
        second: The other's.
        tolerance: A relative difference of a block's step up to it is none.
    """
    found: list[Beside] = []
    for a, b in zip(first, second, strict=True):
        found = found or [Beside(tolerance) for _ in a.update]
        for beside, u, v, r, s in zip(found, a.update, b.update, a.rounding, b.rounding, strict=True):
            beside.take(u, v, r + s)
    return found


def alike(first: Move, second: Move) -> bool:
    """Whether two steps are the same to the last bit, and what they leave in ``p.grad``; NaN is like NaN."""
    return all(_equal(a, b) for a, b in zip(first.update, second.update, strict=True)) and all(
        a is b or (a is not None and b is not None and _equal(a, b))
        for a, b in zip(first.left, second.left, strict=True)
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or bool((torch.isnan(a) & torch.isnan(b) | (a == b)).all())
