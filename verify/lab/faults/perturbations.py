"""Experiments that change one thing that an optimizer is given, and watch what its last step makes of it.

Each function returns findings on a :class:`Bench`; steepest descent along an average of the gradients has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from maxmargin.models.blocks import Blocks, Shapes, inner
from maxmargin.solvers.norms import Norm, get_block_norm
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.faults.finding import Finding
from maxmargin.verify.lab.norm.signature import STEADY, follow, opened, random_start, spread_gradient

LOUD = 1e4  # a gradient times this is heard through any average; times its negative, it turns signs
DEAF = 1e-9  # relative change of a step that shows no influence at all
CROSS = 1e-2  # relative change of one block's step with the sign of another's gradients
ODD = 1e-2  # relative; ‖Δ(−g) + Δ(g)‖ / ‖Δ(g)‖ of an even part
LOPSIDED = 0.8  # ratio of the largest moves up and down
CENTRED = (0.02, 0.15)  # a step that changes by at most the first where the norm's changes by the second
NULL = 0.05  # of the step's singular values: what moves in directions without gradient
RANDOM = 1e-6  # relative
OTHER = -2.0  # weights are replaced by so many times themselves: another length, and another sign
DECAYED = (1e-6, 0.99)  # relative change with the weights, and its cosine with them, that shows a decay
DEPENDS = 1e-3  # relative change with the weights, of no known form: above float32's rounding of the weights
TURNED = 0.99  # cosine of two steps on gradients of one direction and different sizes
SIZES = tuple(2.0**k for k in range(-8, 9, 2))
TIED = 1e-6  # relative; entries of one size
CLIPPED = (0.15, 0.9)  # share of a block's entries that are of its largest size, between free and all clipped
MANY = {1: 2, 2: 3}  # entries of one size, by dimensions: a matrix rounded to bf16 may have two by accident
BETAS = ("betas", "momentum", "beta", "beta1", "mu")  # what a group may call its momentum; a name, not a branch

Change = Callable[[int, str, np.ndarray], np.ndarray]  # (age, block, gradient) -> what is fed instead


@dataclass(frozen=True)
class Bench:
    """A black-box optimizer on one history of prescribed gradients, all different.

    Attributes:
        target: The optimizer.
        shapes: Of its parameters.
        history: A gradient for each step.
        start: The weights at first.
        norm: The norm that its steps should follow.
        usual: Its last step.
    """

    target: Target
    shapes: Shapes
    history: Sequence[Mapping[str, np.ndarray]]
    start: Mapping[str, np.ndarray]
    norm: Norm
    usual: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, target: Target, shapes: Shapes, norm: Norm, seed: int) -> Bench:
        """Draw a history and a start.

        Returns:
            The bench.

        Raises:
            TargetError: when the optimizer cannot be built or stepped.
        """
        rng = np.random.default_rng(seed)
        history = [{name: spread_gradient(rng, shape) for name, shape in shapes.items()} for _ in range(STEADY)]
        start = random_start(rng, shapes)
        return cls(target, shapes, history, start, norm, follow(target, history, start))

    def step(self, change: Change) -> dict[str, np.ndarray]:
        """The last step where ``change(age, block, gradient)`` is fed; the last gradient's age is 0."""
        last = len(self.history) - 1
        fed = [{name: change(last - t, name, g) for name, g in row.items()} for t, row in enumerate(self.history)]
        return follow(self.target, fed, self.start)


def _changes(a: Blocks, b: Blocks) -> dict[str, float]:
    """Relative change of each block, NaN where a step is not finite (comparisons with it are false)."""
    return {name: relative(a[name], b[name]) for name in a}


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖ / max(‖a‖, ‖b‖); 0 for zeros, NaN where one is not finite."""
    scale = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
    if not np.isfinite(scale):
        return nan
    return float(np.linalg.norm(a - b)) / scale if scale > 0 else 0.0


def _louder_at(age: int, factor: float) -> Change:
    return lambda at, _, g: factor * g if at == age else g


def _turned_on(block: str) -> Change:
    return lambda _, name, g: -g if name == block else g


def _shifted_by(shifts: Mapping[str, np.ndarray]) -> Change:
    return lambda _, name, g: g + shifts[name]


def memory(bench: Bench) -> list[Finding]:
    """Steps that do not answer to the gradient they should: a stale one, or none; momentum that is declared only."""
    heard: dict[str, list[bool]] = {name: [] for name in bench.shapes}
    for age in range(len(bench.history)):
        against = _changes(bench.step(_louder_at(age, -LOUD)), bench.usual)
        # A sign may happen to be what it is turned to, so a deaf one is asked twice.
        along = against if min(against.values()) > DEAF else _changes(bench.step(_louder_at(age, LOUD)), bench.usual)
        for name in heard:
            heard[name].append(not max(against[name], along[name]) <= DEAF)
    declared = _declared(bench)
    out = []
    for name, ages in heard.items():
        if not bench.usual[name].any():
            continue  # it does not move at all, which is another finding
        if not any(ages):
            out.append(Finding(name, "stale", f"the step on {name} does not depend on any gradient", 1.0))
        elif not ages[0]:
            late = ages.index(True)
            what = (
                "the first gradient alone: its state is never updated"
                if late == len(ages) - 1
                else f"the gradient {late} step{'s' * (late > 1)} before"
            )
            out.append(
                Finding(name, "stale", f"the step on {name} ignores the current gradient and follows {what}", 1.0)
            )
        elif name in declared and not any(ages[1:]):
            text = f"{declared[name]} is set, but the step on {name} depends on the current gradient alone"
            out.append(Finding(name, "dropped state", f"{text}: its state is dropped, or never used", 1.0))
    return out


def _declared(bench: Bench) -> dict[str, str]:
    """The momentum that the parameter groups declare, by block: words, where it is above 0."""
    handle = opened(bench.target, bench.start)
    out = {}
    for group in handle.optimizer.param_groups:
        for key in BETAS:
            value = group.get(key)
            first = value[0] if isinstance(value, (tuple, list)) and value else value
            if isinstance(first, (int, float)) and 0 < first < 1:
                for name, p in zip(bench.start, handle.params, strict=True):
                    if any(p is q for q in group.get("params", ())):
                        out[name] = f"{key}={value!r}"
                break
    return out


def crosstalk(bench: Bench) -> list[Finding]:
    """Blocks whose step changes with the sign of another block's gradients, which no norm makes it do."""
    out = []
    for other in bench.shapes if len(bench.shapes) > 1 else ():
        step = bench.step(_turned_on(other))
        for name, change in _changes(step, bench.usual).items():
            if name != other and change > CROSS:
                text = f"the step on {name} changes by {change:.2g} (relative) with the sign of {other}'s gradients"
                out.append(Finding(name, "crosstalk", f"{text}: state or gradients are mixed up", change))
    return out


def oddness(bench: Bench) -> list[Finding]:
    """Blocks that do not answer to −g with the opposite step."""
    turned = {n: -u for n, u in bench.step(lambda _, __, g: -g).items()}
    out = []
    for name, change in _changes(turned, bench.usual).items():
        if change > ODD:
            both = np.array([bench.usual[name], -turned[name]])  # the steps on g and on −g, as they were
            up, down = float(both.max(initial=0)), float((-both).max(initial=0))
            text = f"the step on {name} answers to −g by other than the opposite step ({change:.2g} relative)"
            if min(up, down) < LOPSIDED * max(up, down):
                text += f": at most {up:.2g} up but {down:.2g} down"
            out.append(Finding(name, "one-sided", text, change))
    return out


def centring(bench: Bench) -> list[Finding]:
    """Blocks that a constant added to rows, columns or everything does not touch: centred gradients."""
    out: dict[str, Finding] = {}
    rng = np.random.default_rng(0)
    for words, along in (("every row", 1), ("every column", 0), ("all entries", None)):
        shifts = {}
        for name, shape in bench.shapes.items():
            size = [1] * len(shape)
            if along is not None and len(shape) == 2:
                size[1 - along] = shape[1 - along]
            shifts[name] = (2.0 + rng.random(size)) * np.sqrt(np.mean(np.square(bench.history[0][name])))
        step = bench.step(_shifted_by(shifts))
        changes = _changes(step, bench.usual)
        if min(changes.values()) <= CENTRED[0]:  # signs may stay when shifted one way, but not both
            back = _changes(bench.step(_shifted_by({n: -c for n, c in shifts.items()})), bench.usual)
            changes = {name: max(change, back[name]) for name, change in changes.items()}
        plain = {name: np.mean([row[name] for row in bench.history], axis=0) for name in bench.shapes}
        wanted = _changes(bench.norm.lmo({n: g + shifts[n] for n, g in plain.items()}), bench.norm.lmo(plain))
        for name, change in changes.items():
            if along is not None and len(bench.shapes[name]) == 1:
                continue
            if change <= CENTRED[0] and wanted[name] >= CENTRED[1] and bench.usual[name].any() and name not in out:
                text = f"the step on {name} ignores a constant added to {words} of its gradient"
                out[name] = Finding(name, "centred", f"{text}: gradients are centred", wanted[name])
    return list(out.values())


def randomness(bench: Bench) -> list[Finding]:
    """Whether two runs differ, with torch seeds alike or not."""
    again = follow(bench.target, bench.history, bench.start)
    other = follow(bench.target, bench.history, bench.start, torch_seed=1)
    for step, words in ((again, "even with one seed"), (other, "with different seeds")):
        size = max(_changes(step, bench.usual).values())
        if size > RANDOM:
            return [
                Finding("", "random", f"its steps are random: two runs {words} differ by {size:.2g} (relative)", size)
            ]
    return []


def weights(bench: Bench) -> list[Finding]:
    """Blocks whose step depends on the weights: decay, trust ratios, weights that are added to the gradients."""
    other = {n: OTHER * x for n, x in bench.start.items()}
    changed = follow(bench.target, bench.history, other)
    quiet = [{n: g / LOUD for n, g in row.items()} for row in bench.history]
    small = _changes(follow(bench.target, quiet, bench.start), follow(bench.target, quiet, other))
    out = []
    for name, x in bench.start.items():
        usual, moved = bench.usual[name], changed[name] - bench.usual[name]
        size = relative(changed[name], usual)
        if size > DECAYED[0] and _cos(moved, x) > DECAYED[1]:
            rate = float(np.linalg.norm(moved) / ((1 - OTHER) * np.linalg.norm(x)))
            text = f"{name} is decayed by {rate:.2g} of itself each step at the optimizer's own learning rate"
        elif size > DEPENDS and _cos(changed[name], usual) > 1 - DEPENDS:
            ratio = float(np.linalg.norm(changed[name]) / np.linalg.norm(usual))
            text = f"the step on {name} is {ratio:.3g} times as long when the weights are doubled: a trust ratio"
        elif max(size, small[name]) > DEPENDS:
            size = max(size, small[name])
            when = f"weights {OTHER:g} times" + (
                "" if size > small[name] else f", gradients {1 / LOUD:g} times as large"
            )
            text = f"the step on {name} depends on the weights: it changes by {size:.2g} (relative) with {when}"
        else:
            continue
        out.append(Finding(name, "weights", text, size))
    return out


def null_directions(bench: Bench) -> list[Finding]:
    """Polar factors that move along directions in which there is no gradient."""
    spectral = get_block_norm("spectral")
    ranks, history = {}, [dict(row) for row in bench.history]
    for name, shape in bench.shapes.items():
        if len(shape) == 2 and min(shape) > 1 and bench.norm.block(name, tuple(shape))[0] == spectral:
            u, s, vt = np.linalg.svd(bench.history[0][name], full_matrices=False)
            keep = max(1, min(shape) // 2)
            ranks[name] = u[:, :keep], vt[:keep]
            for row in history:
                row[name] = (u[:, :keep] * s[:keep]) @ vt[:keep]
    if not ranks:
        return []
    step, out = follow(bench.target, history, bench.start), []
    for name, (u, vt) in ranks.items():
        d = step[name]
        if not np.isfinite(d).all() or not d.any():
            continue
        left = d - u @ (u.T @ d)
        size = float(np.linalg.norm(left - (left @ vt.T) @ vt, 2) / np.linalg.norm(u.T @ d @ vt.T, 2))
        if size > NULL:
            text = f"on {name} it moves {size:.2g} times as far in directions without gradient as in those with one"
            out.append(Finding(name, "null directions", f"{text}: a polar factor of rounding noise", size))
    return out


def sizes(bench: Bench) -> list[Finding]:
    """Blocks whose step's direction depends on the gradient's size: clipped entries, an eps, a cast."""
    constant = bench.history[0]
    steps = []
    for c in SIZES:
        fed = {name: c * g for name, g in constant.items()}
        steps.append(follow(bench.target, [fed] * STEADY, bench.start))
    out = []
    for name in bench.shapes:
        moved = [s[name] for s in steps if np.isfinite(s[name]).all() and s[name].any()]
        if not moved:
            continue
        expected = _tied(bench.norm.lmo(constant)[name])
        tied = [_tied(u) for u in moved]
        least = max(CLIPPED[0], MANY[moved[0].ndim] / moved[0].size, expected + TIED)
        clipped = [t for t in tied if least <= t <= CLIPPED[1]]
        turned = min(_cos(a, b) for a in moved for b in moved)
        if len(clipped) > 1:
            text = f"entries of the step on {name} are clipped: {max(clipped):.0%} of them share the largest size"
            out.append(Finding(name, "clipping", text, max(clipped)))
        elif turned < TURNED:
            why = "clipping, an eps, a cast"
            text = (
                f"the direction of the step on {name} depends on the gradient's size (cosine {turned:.3f} between sizes"
            )
            out.append(Finding(name, "scale", f"{text} {SIZES[0]:.1g} … {SIZES[-1]:.3g}): {why}", 1 - turned))
    return out


def _tied(u: np.ndarray) -> float:
    """The share of entries that are as large as the largest, of one sign or of both, whichever is more; 0 for zeros."""
    views = [v for v in (u, -u, np.abs(u)) if v.max() > 0]
    return max((float((v >= (1 - TIED) * v.max()).mean()) for v in views), default=0.0)


def _cos(a: np.ndarray, b: np.ndarray) -> float:
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(inner({"": a}, {"": b})) / scale if scale > 0 else 0.0
