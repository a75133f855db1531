"""Two optimizers in one: what it is for large gradients, and what it is for small ones, each measured by itself.

An eps makes Adam scale invariant while √v ≫ eps, and momentum gradient descent far below; clipping makes steps of one
length of large gradients, and leaves small ones alone. In units in which every gradient of a run lies far above (or
far below) the size at which the one passes into the other, each regime is an optimizer of its own, invariant or of
degree 1 to rounding: it is probed, rehearsed, trained and judged as any other. One that makes no steps at all on small
gradients (a threshold) has a regime in which it stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, isfinite
from typing import NamedTuple

from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.difference import difference, size
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.learning_rate import OUTSIDE
from maxmargin.verify.blackbox.targets import Target, Units
from maxmargin.verify.lab.harness.session import Degree, Session
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.thresholds.judging import INDEPENDENT
from maxmargin.verify.thresholds.probe import EXACT_SCALE, STEP_LOST
from maxmargin.verify.thresholds.twin import (
    REGIME_DEEPEST,
    REGIME_FAR,
    REGIME_STEP,
    REGIME_STRIDE,
    REGIME_WIDTH,
    SHORT_DEEPEST,
    SHORT_ENDS,
    SHORT_FAR,
)


@dataclass(frozen=True)
class Regimes:
    """An optimizer of two regimes.

    Attributes:
        floor: The gradient's norm (ℓ2), to a factor of 2, below which its steps are no longer those of large gradients
            to 10 %, or to half of all that the gradient's size changes in them, where that is less.
        above: The optimizer in units in which gradients lie far above the floor.
        below: Far below.
        degrees: Of the update above and below; None where blocks differ.
        shift: The gradient's norm, to a factor of 2, at which steps above the floor change in length alone, if they do.
        stands: Whether it stands still below.
    """

    floor: float
    above: Target
    below: Target
    degrees: tuple[float | None, float | None]
    shift: float | None = None
    stands: bool = False


def regimes(target: Target, shapes: Shapes, about: Probe, seed: int = 0) -> Regimes | None:
    """Find the two regimes of an optimizer whose steps change with the gradient's scale.

    Args:
        target: The optimizer.
        shapes: Of its parameters.
        about: What the probe found there.
        seed: Of the gradients.

    Returns:
        The regimes; None where it has one at every size that was tried, where it has more than two (but for steps that
        differ from those of the largest gradients by one length alone, as diffGrad's), or where one of them is no power
        law to rounding, or lies beyond what float32 holds of an optimizer that keeps state in it. Nor is one looked
        for where steps are random, where those on large gradients depend on the weights, or where small ones no longer
        count beside these (a decay).
    """
    outside, reads = about.lr_knob == OUTSIDE.name, about.value_dependence > INDEPENDENT
    if about.random > INDEPENDENT or about.decay > 0 or about.ruled or (reads and outside):
        return None
    with seeded(0):
        if outside:
            target = replace(target, units=Units(at_zero=True))
        own = tuple(about.uneven.values()) or about.update_degree
        scales = _Scales(target, shapes, seed, own, about.other_step, may_stand=about.floor > 0)
        return _found(scales, IN_FLOAT32 if about.state_formats else IN_FLOAT64, reads)


class Ends(NamedTuple):
    """At what sizes of gradients regimes are measured, in powers of two of order one.

    Attributes:
        least: Those far below are at most so large,
        down: and this much smaller than where the regimes meet;
        deepest: where that is smaller still, there is no telling.
        most: Those far above are at most so large.
    """

    least: int
    down: int
    deepest: float
    most: int


IN_FLOAT64 = Ends(REGIME_DEEPEST[0], REGIME_FAR, -inf, REGIME_DEEPEST[0] + REGIME_FAR)
IN_FLOAT32 = Ends(SHORT_ENDS[0], SHORT_FAR, SHORT_DEEPEST, SHORT_ENDS[1])
"""Of an optimizer that keeps state in float32 or less."""


class _Scales:
    """Steps on gradients of every size, in powers of two of order one, each taken once."""

    def __init__(
        self, target: Target, shapes: Shapes, seed: int, own: Degree, other_step: float, *, may_stand: bool
    ) -> None:
        self.target, self.session = target, Session(target, shapes, seed, late=True)
        self.other_step, self.may_stand = other_step, may_stand
        known = isinstance(own, tuple) or isfinite(own)
        self.degrees: tuple[Degree, ...] = tuple(dict.fromkeys((0.0, 1.0, own) if known else (0.0, 1.0)))
        self.lost = STEP_LOST * size(self.session.start)  # shorter steps are rounding of the weights
        self._seen: dict[tuple[int, Degree], list[Tensor]] = {}

    def at(self, k: int, degree: Degree) -> Sequence[Tensor]:
        """The last step on gradients times 2^k, at a learning rate that undoes 2^(k degree)."""
        if (k, degree) not in self._seen:
            self._seen[k, degree] = self.session.at_scale(2.0**k, degree)
        return self._seen[k, degree]

    def degree(self, k: int) -> Degree | None:
        """0, 1, its own or each block's, where steps at 2^k and at REGIME_STRIDE below obey that law to rounding.

        Returns:
            The power; 0 for no steps at all, but where underflow leaves none. None where none fits.
        """
        for d in self.degrees:
            large, small = self.at(k, d), self.at(k - REGIME_STRIDE, d)
            if min(size(large), size(small)) > self.lost and difference(large, small) <= EXACT_SCALE:
                return d
        return 0.0 if self.may_stand and self.stands(k) and self.stands(k - REGIME_STRIDE) else None

    def stands(self, k: int) -> bool:
        """Whether it makes no step, at a learning rate that would make up for squares, too."""
        return size(self.at(k, 2.0)) == 0  # else steps may be lost in the weights' digits

    def read_weights(self, k: int, degree: Degree) -> bool:
        """Whether steps at 2^k are others where the weights are three times as large."""
        there = self.session.at_scale(2.0**k, degree, start_factor=3.0)
        return difference(self.at(k, degree), there) > INDEPENDENT

    def like(self, k: int, end: tuple[int, Degree]) -> bool:
        """Whether steps at 2^k are those of an end, to 10 %, or to what tells these ends apart."""
        return difference(self.at(end[0], end[1]), self.at(k, end[1])) <= self.other_step

    def like_but_for_length(self, k: int, end: tuple[int, Degree]) -> bool:
        """Whether they are, but for a common length that is another one by more than that."""
        own, other = self.at(end[0], end[1]), self.at(k, end[1])
        if self.like(k, end) or not 0 < size(other) < inf:
            return False
        return difference(own, [b * (size(own) / size(other)) for b in other]) <= self.other_step


def _found(scales: _Scales, sizes: Ends, reads: bool) -> Regimes | None:
    """The regimes, measured at these sizes, of an optimizer that somewhere reads its weights or never does."""
    above = _end(scales, range(0, REGIME_DEEPEST[0] + 1, REGIME_STRIDE))
    if above is None:
        return None
    below = _end(scales, range(-REGIME_STRIDE, -REGIME_DEEPEST[1], -REGIME_STRIDE), other=above)
    if below is None:
        return None
    ends = [above, below]
    if (longer := _of_other_length(scales, above, below)) is not None:
        ends.insert(1, longer)
    tops = [_crossing(scales, *pair) for pair in pairwise(ends)]
    top = tops[-1]
    between = range(below[0] + REGIME_STRIDE, above[0], REGIME_STRIDE)
    if not all(
        any(scales.like(k, end) for end in ends) or min(abs(k - t) for t in tops) <= REGIME_WIDTH for k in between
    ):
        return None

    small, far = min(top - sizes.down, sizes.least), max(0, min(top + REGIME_FAR, sizes.most))
    if small < sizes.deepest or not scales.like(far, above):  # which a float16 on the way does not hold
        return None
    large = min(max(above[0], far), sizes.most)  # an eps behind another one is 1e-8 of the gradients far above both
    if reads and scales.read_weights(large, above[1]):
        return None
    return Regimes(
        floor=scales.session.norm * 2.0**top,
        above=_in_units(scales.target, large, above[1]),
        below=_in_units(scales.target, small, below[1]),
        degrees=(_of_all(above[1]), _of_all(below[1])),
        shift=scales.session.norm * 2.0 ** tops[0] if len(tops) > 1 else None,
        stands=size(scales.at(*below)) == 0,
    )


def _in_units(target: Target, gain: int, degree: Degree) -> Target:
    """The target on gradients times 2^gain, at a learning rate that undoes what this does to its steps."""
    d = 0.0 if isinstance(degree, tuple) else degree
    at_zero = target.units is not None and target.units.at_zero
    return replace(target, units=Units(gain, round(-gain * d), at_zero))


def _of_all(degree: Degree) -> float | None:
    return None if isinstance(degree, tuple) else degree


def _end(scales: _Scales, sizes: range, other: tuple[int, Degree] | None = None) -> tuple[int, Degree] | None:
    """The first size at which steps obey a power law to rounding, and are not the other end's; with its degree."""
    for k in sizes:
        if (d := scales.degree(k)) is not None and (other is None or not scales.like(k, other)):
            return k, d
    return None


def _of_other_length(
    scales: _Scales, above: tuple[int, Degree], below: tuple[int, Degree]
) -> tuple[int, Degree] | None:
    """The largest size at which steps are those above but for one length, which they keep; None where there is none."""
    sizes = range(above[0] - REGIME_STEP, below[0], -REGIME_STEP)
    return next(
        (
            (k, above[1])
            for k in sizes
            if scales.like_but_for_length(k, above) and scales.like(k - REGIME_STEP, (k, above[1]))
        ),
        None,
    )


def _crossing(scales: _Scales, above: tuple[int, Degree], below: tuple[int, Degree]) -> int:
    """The largest k, of gradients times 2^k, at which steps are no longer those above; by bisection."""
    high, low = above[0], below[0]
    while high - low > 1:
        middle = (high + low) // 2
        if scales.like(middle, above):
            high = middle
        else:
            low = middle
    return low
