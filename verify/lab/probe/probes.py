"""Short experiments on a black-box optimizer, before any long run: how it scales, remembers, and what it depends on.

Twin runs on gradients g and c·g give each state tensor's degree (momentum 1, second moment 2, counters 0) and the
update's (0 for a scale-invariant optimizer, 1 for SGD). With the degrees known, loss and state can be rescaled
together, exactly, whenever the gradient drifts out of range. An eps shows up as lost invariance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, isnan, log2, nan
from typing import Any

import torch
from torch import Tensor

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.difference import difference, size
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.handle import Leaf, Path
from maxmargin.verify.blackbox.learning_rate import ANCHORED, OUTSIDE
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.lab.probe.floor import floor_of, weights_below
from maxmargin.verify.lab.probe.habits import Habits, habits
from maxmargin.verify.lab.probe.memory import remembered, shapes_steps
from maxmargin.verify.lab.probe.own_pace import own_schedule, trust_power
from maxmargin.verify.lab.probe.precision import lengthen, state_formats
from maxmargin.verify.thresholds.probe import BLURRED, EXACT_SCALE, HABIT_SEEN, OTHER_STEP, POWER_FITS


@dataclass(frozen=True, kw_only=True)
class Probe(Habits):
    """What the short experiments found: how it scales and remembers, besides its :class:`Habits`.

    Attributes:
        update_degree: d in Δθ(c g) = c^d Δθ(g): 0 scale invariant, 1 like SGD; NaN if no power law fits.
        state_degrees: Degree of each state leaf; NaN where no power law fits.
        copies: State leaves that are places among the weights: from a start elsewhere they are as far away.
        uneven: d of each block by name, where it is 0 of some and 1 of others: as gradients vanish, the latter stand
            still beside the former. Empty otherwise.
        defect: Relative error of that scaling at c = 2^-20.
        floor: Gradient norm below which the update departs from it by more than 10 %; 0 if none was found.
        depth: The smallest gradient norm at which it was seen not to; inf where it was not looked for.
        lag_limit: Change of the log-gradient in one step that the state can follow; 1 without memory.
        memory: Steps that its slowest moment remembers; inf where a state never forgets (Adagrad).
        stays: Whether a state that never forgets keeps its proportions under small gradients, as a sum, a maximum and
            an average of squares over all steps do.
        decay: Largest weight decay declared in the parameter groups.
        value_dependence: Relative change of the update when the weights are tripled and the gradients are not; at the
            floor, too, if there is one.
        ruled: The floor, if far below it steps follow the weights and not the gradient; else 0.
        random: Relative difference of two runs with different random seeds.
        step_per_lr: ‖Δθ‖₂ of a warm step at the groups' own learning rates.
        coupling: Power with which one block's step answers to the size of its own gradient, beside the others': 0 where
            blocks are joined by a maximum, 1 by ℓ2; None with a single block.
        shared_state: Whether a group keeps state tensors of its own.
        rescaling_error: Relative error of a step before which gradient and state were rescaled together: large where
            an optimizer keeps state that cannot be seen in its ``state``.
        own_schedule: Power of the call's number with which its steps change under constant gradients and rates.
        trust: Power of the weights' length with which its steps' length goes: 1 for a trust ratio.
    """

    update_degree: float
    state_degrees: Mapping[Path, float]
    defect: float
    floor: float
    lag_limit: float
    memory: float
    decay: float
    value_dependence: float
    random: float
    step_per_lr: float
    coupling: float | None = None
    stays: bool = False
    shared_state: bool = False
    rescaling_error: float = 0.0
    depth: float = inf
    own_schedule: float = 0.0
    trust: float = 0.0
    ruled: float = 0.0
    copies: frozenset[Path] = frozenset()
    uneven: Mapping[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[str, ...]:
        """Its remarks in words."""
        return tuple(r.text for r in self.remarks)

    @property
    def unevenly(self) -> str:
        """How blocks differ in what the gradient's size does to their steps, in words."""
        fixed, shrink = (", ".join(k for k, d in self.uneven.items() if d == power) for power in (0.0, 1.0))
        return (
            f"its steps on {fixed} are as long whatever the gradient's size, on {shrink} they shrink with it: as "
            f"gradients vanish {shrink} stands still beside {fixed}"
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but what is known of parts of the state, whose paths are the optimizer's own."""
        own = ("state_degrees", "copies")
        return {k: v for k, v in vars(self).items() if k not in own} | {"findings": self.findings}

    @property
    def rescalable(self) -> bool:
        """Whether gradient and state can be rescaled together without changing what the optimizer does."""
        known = self.update_degree == self.update_degree and all(d == d for d in self.state_degrees.values())
        return known and self.rescaling_error <= OTHER_STEP

    @property
    def rounded_late(self) -> bool:
        """Whether steps shrink with the gradients of a long run, and no learning rate answers that makes up for it."""
        scaled = self.lr_knob in (OUTSIDE.name, ANCHORED.name)
        return scaled and (self.stays or isnan(self.update_degree))

    @property
    def exactly_invariant(self) -> bool:
        """Whether that rescaling is exact to rounding."""
        return self.rescalable and max(self.defect, self.rescaling_error) <= self._rounding and self.floor == 0.0

    @property
    def other_step(self) -> float:
        """The relative change of a step by which a gradient's size tells regimes apart: half of what is no floor."""
        slight = self.floor == 0.0 and self._rounding < self.defect <= OTHER_STEP
        return self.defect / 2 if slight else OTHER_STEP

    @property
    def _rounding(self) -> float:
        return max(EXACT_SCALE, min(self.blur, BLURRED))


def _is_finite(leaf: Leaf) -> bool:
    return bool(torch.as_tensor(leaf.value, dtype=torch.float64).isfinite().all())


def _degree(small: object, large: object, c: float) -> float:
    """The power d with small = c^d · large, entry by entry; NaN if there is none; 0 for zeros."""
    a = torch.as_tensor(small, dtype=torch.float64).reshape(-1)
    b = torch.as_tensor(large, dtype=torch.float64).reshape(-1)
    if a.shape != b.shape:
        return nan
    top, bottom = float(b.abs().amax()) if b.numel() else 0.0, float(a.abs().amax()) if a.numel() else 0.0
    if top == 0 and bottom == 0:
        return 0.0
    if top == 0 or bottom == 0:
        return nan
    ratio = bottom / top
    if not (isfinite(ratio) and ratio > 0):
        return nan
    d = round(log2(ratio) / log2(c) * 12) / 12  # Shampoo's roots are quarters
    return d if float((a - c**d * b).abs().amax()) <= 1e-2 * bottom else nan


def probe(target: Target, shapes: Shapes, seed: int = 0) -> Probe:
    """Return the findings of the short experiments on parameters of these shapes.

    Raises:
        TargetError: when the optimizer cannot be built or stepped on them.
    """
    with seeded(0):
        # In a regime, what counts is what weights do where they are late; a decay was looked for before, at any.
        session = Session(target, shapes, seed, late=target.units is not None)
        lengthen(session)
        return _probe(session)


def _probe(session: Session) -> Probe:
    handle, update = session.run()
    # Where no learning rate makes up for steps that shrink with the gradient, these must not be lost in the weights.
    c = 2.0**-8 if handle.rate.knob.outside else 2.0**-20
    update_degree, defect = _update_degree(session, update, c)
    apart = () if defect <= EXACT_SCALE or handle.rate.knob.outside else _apart(session, update, c)
    if apart:
        update_degree, defect = nan, inf
    # At the rate that undoes the scale, as a long run rescales: weights that a state keeps (Lookahead's) stay alike.
    scaled_handle, _ = session.run(c, lr=1.0 if isnan(update_degree) else c**-update_degree)
    large = {leaf.path: leaf for leaf in handle.leaves()}
    small = {leaf.path: leaf for leaf in scaled_handle.leaves()}
    tripled_handle, tripled = session.run(start_factor=3.0)
    copies = _copies(session, large, {leaf.path: leaf for leaf in tripled_handle.leaves()})
    degrees = {
        path: 0.0 if path in copies else _degree(small[path].value, leaf.value, c) if path in small else nan
        for path, leaf in large.items()
    }
    for path, leaf in large.items():
        known = path in small and all(map(_is_finite, (leaf, small[path])))
        if degrees[path] != degrees[path] and known and not shapes_steps(session, path):
            degrees[path] = 0.0  # whatever it is, steps are the same
    floor, depth = floor_of(session, update, apart or update_degree, bool(state_formats(handle, degrees)))
    at_floor, ruled = weights_below(session, update, floor, apart or update_degree)
    lag, memory, stays = remembered(session, degrees, copies if update_degree == 1.0 else ())
    random = max(difference(update, session.run(seed=s)[1]) for s in (0, 1))
    lr_error = difference([2 * u for u in session.at_rate(1.0)], session.at_rate(2.0)) if handle.has_lr else nan
    return Probe(
        update_degree=update_degree,
        state_degrees=degrees,
        defect=defect,
        floor=floor,
        depth=depth,
        own_schedule=own_schedule(session, memory, copies) if random <= HABIT_SEEN else 0.0,
        trust=trust_power(session, size(update)),
        lag_limit=lag,
        memory=memory,
        stays=stays,
        decay=handle.weight_decay(),
        value_dependence=max(difference(update, tripled), at_floor),
        uneven=dict(zip(session.shapes, apart, strict=False)),
        ruled=floor if ruled and handle.weight_decay() == 0 else 0.0,
        copies=copies,
        random=random,
        step_per_lr=size(update) / session.rate,
        coupling=_coupling(session, update),
        shared_state=any(leaf.parameter is None for leaf in large.values()),
        rescaling_error=_rescaling_error(session, degrees, update_degree, 1 / c),
        **vars(habits(session, handle, update, degrees, random, lr_error)),
    )


def _copies(session: Session, leaves: Mapping[Path, Leaf], away: Mapping[Path, Leaf]) -> frozenset[Path]:
    """The leaves that from a start three times away are moved by as much as it is, and of their parameter's shape."""
    found = set()
    for path, leaf in leaves.items():
        if leaf.parameter is None or path not in away:
            continue
        here, there = (torch.as_tensor(one.value, dtype=torch.float64) for one in (leaf, away[path]))
        moved = 2.0 * session.start[leaf.parameter]
        if here.shape == moved.shape and difference([moved], [there - here]) <= EXACT_SCALE:
            found.add(path)
    return frozenset(found)


def _update_degree(session: Session, update: Sequence[Tensor], c: float) -> tuple[float, float]:
    """Return the degree, 0 or 1, whichever fits better, else the power that does, and its error at c; NaN if none fits.

    Where none fits at c, 2^-5 decides, where an eps weighs less.
    """
    fits = {d: difference(update, session.at_scale(c, d)) for d in (0.0, 1.0)}
    if min(fits.values()) >= POWER_FITS:
        d, half = _power(update, session.at_scale(c, 0.0), c), c**0.5
        # g/v, or g over the root of its root: a fault, but one that can be followed. An eps near c is no power law.
        if isfinite(d) and d == _power(update, session.at_scale(half, 0.0), half):
            fits[d] = difference(update, session.at_scale(c, d))
    near = (
        fits if min(fits.values()) < POWER_FITS else {d: difference(update, session.at_scale(2.0**-5, d)) for d in fits}
    )
    best = min(near, key=lambda d: near[d])
    return (best, fits[best]) if near[best] < POWER_FITS else (nan, inf)


def _apart(session: Session, update: Sequence[Tensor], c: float) -> tuple[float, ...]:
    """0 or 1 for each block, whichever its steps obey by themselves at c and half-way; () unless both are found."""
    steps = {d: [session.at_scale(scale, d) for scale in (c, c**0.5)] for d in (0.0, 1.0)}

    def power(i: int) -> float:
        fits = (d for d, seen in steps.items() if all(difference([update[i]], [s[i]]) <= OTHER_STEP for s in seen))
        return next(fits, nan)

    found = tuple(power(i) for i, block in enumerate(update))
    return found if set(found) == {0.0, 1.0} else ()


def _power(large: Sequence[Tensor], small: Sequence[Tensor], c: float) -> float:
    """The power d, a multiple of 1/12, with which steps answer to gradients c times as large; NaN for none."""
    ratio = size(small) / size(large) if size(large) > 0 else nan
    return round(log2(ratio) / log2(c) * 12) / 12 if isfinite(ratio) and ratio > 0 else nan


def _rescaling_error(session: Session, degrees: Mapping[Path, float], degree: float, c: float) -> float:
    """Return the relative error of the step after gradient and state are rescaled by c; inf where no degrees are known.

    That step's gradient is turned round: along the old one, a sign would not show what its momentum has lost. And c is
    large: a small one would leave a state that was not rescaled in charge, which decides as a rescaled one does.
    """
    if degree != degree or any(d != d for d in degrees.values()):
        return inf
    plain, _ = session.run()
    wanted = session.one_more(plain, 1.0)
    scaled, _ = session.run()
    for leaf in scaled.leaves():
        if d := degrees.get(leaf.path, 0.0):
            leaf.multiply(c**d)
    scaled.set_lr(session.rate * c**-degree)
    return difference(wanted, session.one_more(scaled, c))


def _coupling(session: Session, update: Sequence[Tensor]) -> float | None:
    """Scale the first block's gradient by 2^-4 alone, and see how its step shrinks relative to the others'."""
    if len(update) == 1:
        return None
    other = session.run(first=2.0**-4)[1]
    sizes = [size(update[:1]), size(update[1:]), size(other[:1]), size(other[1:])]
    if min(sizes) == 0:
        return None
    return log2((sizes[0] / sizes[1]) / (sizes[2] / sizes[3])) / 4
