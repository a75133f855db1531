"""Experiments that change one thing that an optimizer is given, and watch what its last step makes of it.

Each function looks for one fault in a :class:`Case`; steepest descent along an average of the gradients has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import nan

import numpy as np

from maxmargin.models.blocks import Blocks, inner
from maxmargin.solvers.norms import get_block_norm
from maxmargin.verify.blackbox.difference import relative, rounding_unit_of
from maxmargin.verify.lab.faults.case import Case, Change
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.lab.norm.signature import opened
from maxmargin.verify.thresholds.faults import (
    CENTRED,
    CLIPPED,
    CROSS_BLOCKS,
    DECAYED,
    EVEN_PART,
    GRADIENT_SIZES,
    LOPSIDED,
    LOUD_GRADIENT,
    MANY_TIED,
    NO_INFLUENCE,
    NULL_SPACE,
    OTHER_WEIGHTS,
    RANDOM_STEP,
    TIED_ENTRIES,
    TURNED,
    TURNED_AROUND,
    WEIGHT_DEPENDENT,
)
from maxmargin.verify.thresholds.norm import SIGNATURE_STEPS
from maxmargin.verify.thresholds.probe import OTHER_STEP, ROUNDINGS

BETAS = ("betas", "momentum", "beta", "beta1", "mu")  # what a group may call its momentum


def _changes(a: Blocks, b: Blocks) -> dict[str, float]:
    """Relative change of each block, NaN where a step is not finite (comparisons with it are false)."""
    return {name: changed_by(a[name], b[name]) for name in a}


def changed_by(a: np.ndarray, b: np.ndarray) -> float:
    """The relative change of a block's step; NaN where one is not finite."""
    gap, *lengths = (float(np.linalg.norm(x)) for x in (a - b, a, b))
    return relative(gap, *lengths, undefined=nan)


def _larger_at(age: int, factor: float) -> Change:
    return lambda at, _, g: factor * g if at == age else g


def _times(factor: float) -> Change:
    return lambda _, __, g: factor * g


def _turned_on(block: str) -> Change:
    return lambda _, name, g: -g if name == block else g


def _shifted_by(shifts: Mapping[str, np.ndarray]) -> Change:
    return lambda _, name, g: g + shifts[name]


def memory(case: Case) -> Iterator[Finding]:
    """Steps that do not answer to the gradient they should: a stale one, or none; momentum that is declared only."""
    answers: dict[str, list[bool]] = {name: [] for name in case.shapes}
    for age in range(len(case.history)):
        against = _changes(case.step(_larger_at(age, -LOUD_GRADIENT)), case.usual)
        # A sign may happen to be what it is turned to, so one that does not answer is asked twice.
        along = (
            against
            if min(against.values()) > NO_INFLUENCE
            else _changes(case.step(_larger_at(age, LOUD_GRADIENT)), case.usual)
        )
        for name, seen in answers.items():
            seen.append(not max(against[name], along[name]) <= NO_INFLUENCE)
    declared = _declared(case)
    for name, ages in answers.items():
        if not case.usual[name].any():
            continue  # it does not move at all, which is another finding
        if not any(ages):
            yield Finding.of(Kind.STALE, name, 1.0, "the step on {block} does not depend on any gradient")
        elif not ages[0]:
            late = ages.index(True)
            what = (
                "the first gradient alone: its state is never updated"
                if late == len(ages) - 1
                else f"the gradient {{late}} step{'s' * (late > 1)} before"
            )
            form = f"the step on {{block}} ignores the current gradient and follows {what}"
            yield Finding.of(Kind.STALE, name, 1.0, form, late=late)
        elif name in declared and not any(ages[1:]):
            form = (
                "{declared} is set, but the step on {block} depends on the current gradient alone: its state is "
                "dropped, or never used"
            )
            yield Finding.of(Kind.DROPPED, name, 1.0, form, declared=declared[name])


def _declared(case: Case) -> dict[str, str]:
    """The momentum that the parameter groups declare, by block: words, where it is above 0."""
    handle = opened(case.target, case.start)
    out = {}
    for group in handle.optimizer.param_groups:
        for key in BETAS:
            value = group.get(key)
            first = value[0] if isinstance(value, (tuple, list)) and value else value
            if isinstance(first, (int, float)) and 0 < first < 1:
                for name, p in zip(case.start, handle.params, strict=True):
                    if any(p is q for q in group.get("params", ())):
                        out[name] = f"{key}={value!r}"
                break
    return out


def crosstalk(case: Case) -> Iterator[Finding]:
    """Blocks whose step changes with the sign of another block's gradients, which no norm makes it do."""
    form = (
        "the step on {block} changes by {size:.2g} (relative) with the sign of {other}'s gradients: state or "
        "gradients are mixed up"
    )
    for other in case.shapes if len(case.shapes) > 1 else ():
        for name, change in _changes(case.step(_turned_on(other)), case.usual).items():
            if name != other and change > CROSS_BLOCKS:
                yield Finding.of(Kind.CROSSTALK, name, change, form, other=other)


def oddness(case: Case) -> Iterator[Finding]:
    """Blocks that do not answer to −g with the opposite step."""
    turned = {n: -u for n, u in case.step(lambda _, __, g: -g).items()}
    for name, change in _changes(turned, case.usual).items():
        if change > EVEN_PART:
            both = np.array([case.usual[name], -turned[name]])  # the steps on g and on −g, as they were
            up, down = float(both.max(initial=0)), float((-both).max(initial=0))
            form = "the step on {block} answers to −g by other than the opposite step ({size:.2g} relative)"
            if min(up, down) < LOPSIDED * max(up, down):
                form += ": at most {up:.2g} up but {down:.2g} down"
            yield Finding.of(Kind.ONE_SIDED, name, change, form, up=up, down=down)


def centring(case: Case) -> Iterator[Finding]:
    """Blocks that a constant added to rows, columns or everything does not touch: centred gradients."""
    seen: set[str] = set()
    rng = np.random.default_rng(0)
    for what, along in (("every row", 1), ("every column", 0), ("all entries", None)):
        shifts = {}
        for name, shape in case.shapes.items():
            size = [1] * len(shape)
            if along is not None and len(shape) == 2:
                size[1 - along] = shape[1 - along]
            shifts[name] = (2.0 + rng.random(size)) * np.sqrt(np.mean(np.square(case.history[0][name])))
        changes = _changes(case.step(_shifted_by(shifts)), case.usual)
        if min(changes.values()) <= CENTRED[0]:  # signs may stay when shifted one way, but not both
            back = _changes(case.step(_shifted_by({n: -c for n, c in shifts.items()})), case.usual)
            changes = {name: max(change, back[name]) for name, change in changes.items()}
        plain = {name: np.mean([row[name] for row in case.history], axis=0) for name in case.shapes}
        wanted = _changes(case.norm.lmo({n: g + shifts[n] for n, g in plain.items()}), case.norm.lmo(plain))
        for name, change in changes.items():
            if along is not None and len(case.shapes[name]) == 1:
                continue
            if change <= CENTRED[0] and wanted[name] >= CENTRED[1] and case.usual[name].any() and name not in seen:
                seen.add(name)
                form = "the step on {block} ignores a constant added to {what} of its gradient: gradients are centred"
                yield Finding.of(Kind.CENTRED, name, wanted[name], form, what=what)


def randomness(case: Case) -> Iterator[Finding]:
    """Whether two runs differ, with torch seeds alike or not; by what other instances did, or by chance."""
    for torch_seed, what in ((0, "even with one seed"), (1, "with different seeds")):
        size = max(_changes(case.run(case.history, torch_seed=torch_seed), case.usual).values())
        if size > RANDOM_STEP:
            turned = _goes_on(case)
            if turned > TURNED_AROUND:
                form = "its instances share state: a new one goes on where another left off"
                yield Finding.of(Kind.SHARED, "", turned, form)
                return
            form = "its steps are random: two runs {what} differ by {size:.2g} (relative)"
            yield Finding.of(Kind.RANDOM, "", size, form, what=what)
            return


def _goes_on(case: Case) -> float:
    """How much an instance's first step turns with the gradients that another instance had before it, 2 at most."""
    after = []
    for sign in (1, -1):
        case.step(_times(sign * LOUD_GRADIENT))
        after.append(case.run(case.history[:1]))
    return min(1 - _cos(after[0][name], after[1][name]) for name in case.shapes)


def weights(case: Case) -> Iterator[Finding]:
    """Blocks whose step depends on the weights: decay, trust ratios, weights that are added to the gradients."""
    other = {n: OTHER_WEIGHTS * x for n, x in case.start.items()}
    changed = case.run(case.history, other)
    tiny = [{n: g / LOUD_GRADIENT for n, g in row.items()} for row in case.history]
    short = case.run(tiny)
    small = _changes(short, case.run(tiny, other))
    rounding = ROUNDINGS * rounding_unit_of(case.subject.probe.weight_format) * abs(OTHER_WEIGHTS)
    for name, x in case.start.items():
        usual, moved = case.usual[name], changed[name] - case.usual[name]
        size = changed_by(changed[name], usual)
        least, least_small = (  # smaller changes may be the rounding of the weights
            max(WEIGHT_DEPENDENT, rounding * float(np.linalg.norm(x)) / max(float(np.linalg.norm(step)), 1e-300))
            for step in (usual, short[name])
        )
        facts: dict[str, float] = {}
        if size > DECAYED[0] and _cos(moved, x) > DECAYED[1]:
            facts["rate"] = float(np.linalg.norm(moved) / ((1 - OTHER_WEIGHTS) * np.linalg.norm(x)))
            form = "{block} is decayed by {rate:.2g} of itself each step at the optimizer's own learning rate"
        elif size > max(least, OTHER_STEP) and _cos(changed[name], usual) > 1 - WEIGHT_DEPENDENT:
            facts["ratio"] = float(np.linalg.norm(changed[name]) / np.linalg.norm(usual))
            form = "the step on {block} is {ratio:.3g} times as long when the weights are doubled: a trust ratio"
        elif size > least or small[name] > least_small:
            facts = {"other": OTHER_WEIGHTS, "gradients": 1 / LOUD_GRADIENT}
            form = (
                "the step on {block} depends on the weights: it changes by {size:.2g} (relative) with weights "
                "{other:g} times"
            )
            if small[name] > least_small and not (size > least and size > small[name]):
                form += ", gradients {gradients:g} times as large"
                size = small[name]
        else:
            continue
        yield Finding.of(Kind.WEIGHTS, name, size, form, **facts)


def null_directions(case: Case) -> Iterator[Finding]:
    """Polar factors that move along directions in which there is no gradient."""
    spectral = get_block_norm("spectral")
    ranks, history = {}, [dict(row) for row in case.history]
    for name, shape in case.shapes.items():
        if len(shape) == 2 and min(shape) > 1 and case.norm.block(name, tuple(shape))[0] == spectral:
            u, s, vt = np.linalg.svd(case.history[0][name], full_matrices=False)
            keep = max(1, min(shape) // 2)
            ranks[name] = u[:, :keep], vt[:keep]
            for row in history:
                row[name] = (u[:, :keep] * s[:keep]) @ vt[:keep]
    step = case.run(history) if ranks else {}
    for name, (u, vt) in ranks.items():
        d = step[name]
        if not np.isfinite(d).all() or not d.any():
            continue
        left = d - u @ (u.T @ d)
        size = float(np.linalg.norm(left - (left @ vt.T) @ vt, 2) / np.linalg.norm(u.T @ d @ vt.T, 2))
        if size > NULL_SPACE:
            form = (
                "on {block} it moves {size:.2g} times as far in directions without gradient as in those with one: a "
                "polar factor of rounding noise"
            )
            yield Finding.of(Kind.NULL, name, size, form)


def sizes(case: Case) -> Iterator[Finding]:
    """Blocks whose step's direction depends on the gradient's size: clipped entries, an eps, a cast."""
    constant = case.history[0]
    steps = [case.run([{name: c * g for name, g in constant.items()}] * SIGNATURE_STEPS) for c in GRADIENT_SIZES]
    for name in case.shapes:
        moved = [s[name] for s in steps if np.isfinite(s[name]).all() and s[name].any()]
        if not moved:
            continue
        expected = _tied(case.norm.lmo(constant)[name])
        tied = [_tied(u) for u in moved]
        least = max(CLIPPED[0], MANY_TIED[moved[0].ndim] / moved[0].size, expected + TIED_ENTRIES)
        clipped = [t for t in tied if least <= t <= CLIPPED[1]]
        turned = min(_cos(a, b) for a in moved for b in moved)
        if len(clipped) > 1:
            form = "entries of the step on {block} are clipped: {size:.0%} of them share the largest size"
            yield Finding.of(Kind.CLIPPING, name, max(clipped), form)
        elif turned < TURNED:
            form = (
                "the direction of the step on {block} depends on the gradient's size (cosine {turned:.3f} between "
                "sizes {least:.1g} … {most:.3g}): clipping, an eps, a cast"
            ) + (" (from norms below {floor:.0e} on)" if case.floor > 0 else "")
            facts = {"turned": turned, "least": GRADIENT_SIZES[0], "most": GRADIENT_SIZES[-1], "floor": case.floor}
            yield Finding.of(Kind.SCALE, name, 1 - turned, form, **facts)


def _tied(u: np.ndarray) -> float:
    """The share of entries that are as large as the largest, of one sign or of both, whichever is more; 0 for zeros."""
    views = [v for v in (u, -u, np.abs(u)) if v.max() > 0]
    return max((float((v >= (1 - TIED_ENTRIES) * v.max()).mean()) for v in views), default=0.0)


def _cos(a: np.ndarray, b: np.ndarray) -> float:
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(inner({"": a}, {"": b})) / scale if scale > 0 else 0.0
