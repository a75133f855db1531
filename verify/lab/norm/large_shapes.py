"""What norm an optimizer's steps follow at realistic shapes, beside what they follow at small ones.

Some rules change with the shape: matrices of few entries are flattened and large ones preconditioned, second moments
are factored from so many rows on, a factor is computed from a kernel's dimensions. So the steps under constant
gradients are taken once more on LARGE: matrices, a vector, and blocks of three and four axes (convolutions). A norm
is one of vectors and matrices; a block of more axes is read as code takes it for one: entry by entry, flattened to
(first axis, rest), or as a batch of matrices over its last two axes; and it is compared with the matrix that it
flattens to, under the same gradient. Where all matrices follow one norm exactly, how far they move is compared too: a
factor that only large ones have is a weight that no small block shows.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, prod

import numpy as np
import torch

from maxmargin.models.blocks import Blocks, Shapes
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.learning_rate import GROUPS_LR, parts_of
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.norm.reading import SIMPLEST, readings, tie
from maxmargin.verify.lab.norm.shape_law import weight_law
from maxmargin.verify.lab.norm.signature import late_start, mean_step, spread_gradient
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.thresholds.adapter import STATE_DEPTH
from maxmargin.verify.thresholds.faults import FOLLOWS_NORM
from maxmargin.verify.thresholds.norm import (
    BLOCK_TIE,
    LARGE_APART,
    LARGE_DRAWS,
    LARGE_PATIENCE,
    LARGE_START,
    LENGTH_EXACT,
    SAME_DIRECTION,
    SIGNATURE_START,
    SIGNATURE_STEPS,
    SMALL_DRAWS,
    SMALL_SIZES,
)

LONGEST_WATCHED = "middle"
"""The block of LARGE that is watched for longer where its state is of another kind than a small one's."""
LARGE: Shapes = {
    "tall": (160, 144),
    "middle": (64, 48),
    "wide": (48, 96),
    "vector": (1000,),
    "sequence": (24, 8, 5),
    "convolution": (16, 8, 3, 3),
}
"""Blocks of realistic shapes."""

SMALL: Shapes = {"tall": (8, 6), "middle": (8, 6), "wide": (6, 8), "vector": (5,)}
"""The small block that each is compared with."""

FLAT, BATCH = "flattened", "as a batch of matrices"
Alignments = Mapping[tuple[str, str], float]
"""(norm, view) → alignment; the view is "" for a block as it is, entry by entry where it has more than two axes."""


@dataclass(frozen=True)
class Large:
    """How one block of a realistic shape steps.

    Attributes:
        block: Its name in LARGE.
        shape: Its shape.
        norm: The block norm that its steps follow best.
        view: How the block is read for it.
        alignment: With that norm, mean over the draws.
        expected: The norm that small blocks of its kind follow (of a block of more axes: that the matrix follows to
            which it flattens), and how well.
        own: Its alignment with the expected norm, and the small block's with ``norm``.
        factor: How many times as far a block of more axes moves as the matrix that it flattens to, along the same
            step; None where the step is another one, or that matrix is refused.
        other_state: Its optimizer state, in words, where it is of another kind than a small block's; else "".
        steps: After how many that was seen.
    """

    block: str
    shape: tuple[int, ...]
    norm: str
    view: str
    alignment: float
    expected: tuple[str, float]
    own: tuple[float, float]
    factor: float | None = None
    other_state: str = ""
    steps: int = SIGNATURE_STEPS

    @property
    def apart(self) -> bool:
        """Whether a matrix or a vector surely follows another norm than a small one.

        Small ones follow their norm exactly and this one plainly does not; or each follows its own norm by far better
        than the other's.
        """
        if len(self.shape) > 2:
            return False
        (_, small), (here, there) = self.expected, self.own
        exactly = small >= FOLLOWS_NORM and here < 1.0 - LARGE_APART
        return exactly or (self.alignment > here + LARGE_APART and small > there + LARGE_APART)

    @property
    def scaled(self) -> bool:
        """Whether it moves as the matrix does that it flattens to, but by another length."""
        return self.factor is not None and abs(self.factor - 1.0) > LENGTH_EXACT

    @property
    def same(self) -> bool:
        """Whether what is said of small blocks is true of it, flattened if need be."""
        flat = len(self.shape) <= 2 or (self.view in ("", FLAT) and not self.scaled)
        near = self.norm == self.expected[0] or self.own[0] >= self.expected[1] - LARGE_APART
        return not self.apart and flat and near

    @property
    def size(self) -> str:
        """Its shape in words."""
        return _size(self.shape)

    @property
    def text(self) -> str:
        """What it does, in words, without a full stop."""
        view = f", {self.view}" if self.view else ""
        when = f", after {self.steps} steps," if self.steps > SIGNATURE_STEPS else ""
        says = f"a {self.size} block{when} follows {self.norm}{view} (alignment {self.alignment:.3f})"
        if self.apart:
            says += f", where a small one follows {self.expected[0]} ({self.expected[1]:.3f}; here {self.own[0]:.3f})"
        if self.scaled:
            says += f", {self.factor:.3g} times as far as the matrix that it flattens to"
        return says + (f"; its state is {self.other_state}" if self.other_state else "")


_NOT_FINITE, _STILL = "its step is not finite", "it does not move"
_WITHOUT = {_NOT_FINITE: "its step on {} is not finite", _STILL: "it does not move {}"}


@dataclass(frozen=True)
class LargeShapes:
    """What an optimizer does at realistic shapes.

    Attributes:
        blocks: Those that were stepped on.
        refused: Shapes that the optimizer refuses, with its words, or makes no finite step on, or none.
        lengths: Of steps on matrices, small ones among them, if all follow one norm exactly: by shape, in that norm, of
            a gradient of dual norm 1; empty where they do not.
    """

    blocks: tuple[Large, ...]
    refused: Mapping[tuple[int, ...], str]
    lengths: Mapping[tuple[int, int], float] = field(default_factory=dict)

    @property
    def disagreements(self) -> tuple[Large, ...]:
        """The matrices and vectors that surely follow another norm than small ones do."""
        return tuple(b for b in self.blocks if b.apart)

    @property
    def other_rule(self) -> str:
        """The first matrix or vector that plainly misses the norm that a small one follows exactly; "" for none."""
        sure = [b for b in self.disagreements if b.expected[1] >= FOLLOWS_NORM and b.own[0] < 1.0 - LARGE_APART]
        return sure[0].text if sure else ""

    @property
    def unlike(self) -> str:
        """How far matrices of realistic shapes move, where small ones move alike and no law of shapes is known."""
        small = {shape: length for shape, length in self.lengths.items() if shape in SMALL.values()}
        alone, all_of_them = _spread(small.values()), _spread(self.lengths.values())
        if alone > LENGTH_EXACT or all_of_them <= LENGTH_EXACT or weight_law(self.lengths) is not None:
            return ""
        far, near = (choose(self.lengths, key=self.lengths.__getitem__) for choose in (max, min))
        return (
            f"a {_size(far)} block moves {1.0 + all_of_them:.3g} times as far as a {_size(near)} one, though a "
            f"{' as far as a '.join(map(_size, small))} one"
        )

    @property
    def stands(self) -> tuple[tuple[int, ...], ...]:
        """The shapes for which what is found on small blocks stands."""
        return tuple(b.shape for b in self.blocks if self._stands(b))

    def _stands(self, b: Large) -> bool:
        """Whether a block is like a small one, as far as was watched: not where a like state acts later elsewhere."""
        if len(b.shape) == 2 and self.unlike:
            return False
        return b.same and not (b.other_state and any(other.other_state for other in self.disagreements))

    @property
    def text(self) -> str:
        """For which shapes a verdict stands, in a sentence."""
        stands = ", ".join(b.size for b in self.blocks if self._stands(b)) or "none of those that were tried"
        says = f"Under constant gradients it follows the same norm at realistic shapes: {stands}"
        others = "; ".join(b.text for b in self.blocks if not self._stands(b))
        others = "; ".join(filter(None, (others, self.unlike)))
        without: dict[str, list[str]] = {}
        for shape, words in self.refused.items():
            without.setdefault(_WITHOUT.get(words, "it refuses {}"), []).append(_size(shape))
        refused = "".join(f"; {form.format(', '.join(sizes))}" for form, sizes in without.items())
        return says + (f"; but {others}" if others else "") + refused + "."

    def to_json(self) -> dict[str, object]:
        """Block by block, with the derived facts."""
        rows = [{**vars(b), "apart": b.apart, "same": b.same} for b in self.blocks]
        return {
            "blocks": rows,
            "unlike": self.unlike,
            "refused": {"x".join(map(str, s)): why for s, why in self.refused.items()},
        }


def large_shapes(target: Target, seed: int = 0, degree: float = 0.0, more: int = 0) -> LargeShapes:
    """Read the norm of each block of LARGE, beside that of a small one; every block alone.

    Args:
        target: A black-box optimizer.
        seed: Of gradients and starts.
        degree: Of its update: 1 if steps grow with the gradient.
        more: Steps that are taken besides, as single ones go on changing; their mean is read.

    Returns:
        What was seen. A shape that the optimizer refuses is a fact, not a fault.
    """
    look = partial(_seen, target, seed, more)
    seen_small = {shape: look(shape, draws=SMALL_DRAWS) for shape in dict.fromkeys(SMALL.values())}
    small = {name: seen_small[shape] for name, shape in SMALL.items()}
    blocks, refused, matrices = [], {}, dict(seen_small)
    for name, shape in LARGE.items():
        beside = look((shape[0], prod(shape[1:])), shape) if len(shape) > 2 else small[name]
        seen = look(shape, shape)
        if isinstance(seen, str):
            refused[shape] = seen
        elif not isinstance(beside, str):
            blocks.append(_compared(name, shape, seen, beside))
            matrices[shape] = seen
    lengths = _lengths({(shape[0], shape[1]): one for shape, one in matrices.items() if len(shape) == 2}, degree)
    return LargeShapes(tuple(map(partial(_later, look), blocks)), refused, lengths)


def _lengths(seen: Mapping[tuple[int, int], _Seen | str], degree: float) -> dict[tuple[int, int], float]:
    """The lengths of steps in the norm that all matrices follow exactly; empty if there is none, or no whole degree."""
    if degree not in (0.0, 1.0):
        return {}
    found = {shape: one for shape, one in seen.items() if not isinstance(one, str)}
    for key in next(iter(found.values())).alignments if len(found) == len(seen) else ():
        if all(one.alignments.get(key, 0.0) >= FOLLOWS_NORM for one in found.values()):
            return {shape: one.lengths[key][0] / one.lengths[key][1] ** degree for shape, one in found.items()}
    return {}


def _spread(values: Iterable[float]) -> float:
    """By how much the largest exceeds the smallest, relative."""
    values = list(values)
    return max(values) / min(values) - 1.0 if values and min(values) > 0 else inf


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _later(look: Callable[..., _Seen | str], seen: Large) -> Large:
    """A matrix whose state is of another kind is watched for longer: what is kept there may not act at once."""
    if seen.block != LONGEST_WATCHED or not seen.other_state or seen.apart:
        return seen
    here, there = (look(s, draws=LARGE_DRAWS, steps=LARGE_PATIENCE) for s in (seen.shape, SMALL[seen.block]))
    if isinstance(here, str) or isinstance(there, str):
        return seen
    late = _compared(seen.block, seen.shape, here, there)
    return replace(late, steps=LARGE_PATIENCE) if late.apart else seen


@dataclass(frozen=True)
class _Seen:
    """One block's alignments, lengths and gradients' dual norms, its steps, and its state's shapes in its own units."""

    alignments: Alignments
    lengths: Mapping[tuple[str, str], tuple[float, float]]
    steps: tuple[np.ndarray, ...]
    state: Counter[str]


def _seen(
    target: Target,
    seed: int,
    more: int,
    shape: tuple[int, ...],
    drawn: tuple[int, ...] | None = None,
    draws: int = LARGE_DRAWS,
    steps: int = SIGNATURE_STEPS,
) -> _Seen | str:
    """Steps on one block, of gradients that are drawn in another shape; the optimizer's words where it refuses."""
    rng = np.random.default_rng(seed)
    rows: list[dict[tuple[str, str], tuple[float, float, float]]] = []
    updates, state = [], Counter[str]()
    for _ in range(draws):
        gradient, start = (x.reshape(shape) for x in _drawn(rng, drawn or shape))
        torch.manual_seed(0)
        try:
            handle = Handle(target, [torch.nn.Parameter(torch.tensor(start))], knob=GROUPS_LR)
            (moved,) = mean_step(handle, [[torch.as_tensor(gradient)]] * steps, more)
        except TargetError as refusal:
            return str(refusal)
        step = moved.numpy()
        if not np.isfinite(step).all() or not step.any():
            return _NOT_FINITE if step.any() else _STILL
        rows.append({key: _read(norm, g, u) for key, norm, g, u in _views(gradient, step)})
        updates.append(step)
        state = Counter(_kinds(handle, shape))
    aligned, length, dual = (
        {key: float(np.mean([row[key][part] for row in rows])) for key in rows[0]} for part in range(3)
    )
    return _Seen(aligned, {key: (length[key], dual[key]) for key in length}, tuple(updates), state)


def _read(norm: Norm, g: Blocks, u: Blocks) -> tuple[float, float, float]:
    """A step's alignment and length, and the gradient's dual norm."""
    return alignment(norm, g, u), float(norm.value(u)), float(norm.dual(g))


def _drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A gradient of entries as large as a small block's, so that an eps weighs the same, and a start."""
    flat = shape if len(shape) < 3 else (shape[0], prod(shape[1:]))
    gradient = spread_gradient(rng, flat)
    gradient = gradient * (SMALL_SIZES[len(flat)] / float(np.sqrt((gradient**2).mean())))
    return gradient, LARGE_START / SIGNATURE_START * late_start(rng, {"": gradient})[""]


def _views(g: np.ndarray, u: np.ndarray) -> Iterator[tuple[tuple[str, str], Norm, Blocks, Blocks]]:
    """(norm, view), the norm, and gradient and step as blocks, in the order in which one is named where several fit."""
    if g.ndim <= 2:
        for name, dimensions in SIMPLEST.items():
            if g.ndim in dimensions:
                yield (name, ""), get_norm(name), {"": g}, {"": u}
        return
    for name in readings((g.size,)):
        yield (name, ""), get_norm(name), {"": g.reshape(-1)}, {"": u.reshape(-1)}
    matrix = g.shape[0], prod(g.shape[1:])
    for name in ("spectral", "maxrow", "maxcolumn"):
        yield (name, FLAT), get_norm(name), {"": g.reshape(matrix)}, {"": u.reshape(matrix)}
    parts, steps = ({str(i): part for i, part in enumerate(x.reshape(-1, *g.shape[-2:]))} for x in (g, u))
    for name in ("spectral", "l2", "maxrow", "maxcolumn"):
        yield (name, BATCH), get_norm(f"{name};max"), parts, steps


def _kinds(handle: Handle, shape: tuple[int, ...]) -> Iterator[str]:
    """What the tensors of an optimizer's state are, beside the block that they belong to."""
    rows, columns = shape[0], prod(shape[1:])
    states = (getattr(part, "state", None) for part in parts_of(handle.optimizer))
    for tensor in _tensors([kept for state in states if isinstance(state, Mapping) for kept in state.values()]):
        of = tuple(tensor.shape)
        if prod(of) <= 1:
            continue
        if prod(of) == rows * columns:
            yield "one of its own size"
        elif prod(of) in (rows, columns):
            yield "one of a row or a column"
        elif of in ((rows, rows), (columns, columns)):
            yield f"one of the {'rows' if of[0] == rows else 'columns'}' Gram matrix"
        else:
            yield "one of another shape"


def _tensors(held: object, depth: int = STATE_DEPTH) -> Iterator[torch.Tensor]:
    """The tensors in containers and in objects of the optimizer's own."""
    if isinstance(held, torch.Tensor):
        yield held
    elif depth and isinstance(held, (dict, list, tuple, deque)):
        for value in held.values() if isinstance(held, dict) else held:
            yield from _tensors(value, depth - 1)
    elif depth and hasattr(held, "__dict__") and not isinstance(held, (type, torch.nn.Module)):
        yield from _tensors(list(vars(held).values()), depth - 1)


def _compared(name: str, shape: tuple[int, ...], seen: _Seen, beside: _Seen) -> Large:
    top = max(seen.alignments.values())
    norm, view = next(k for k, r in seen.alignments.items() if r >= top - tie(top, BLOCK_TIE))
    most = max(beside.alignments.values())
    wanted = next(k for k, r in beside.alignments.items() if r >= most - tie(most, BLOCK_TIE))
    own = max((r for (n, v), r in seen.alignments.items() if n == wanted[0] and v != BATCH), default=0.0)
    there = beside.alignments.get((norm, ""), 0.0)
    state = ""
    if seen.state != beside.state:
        state = ", ".join(f"{count} × {kind}" for kind, count in sorted(seen.state.items())) or "none"
    return Large(
        name,
        shape,
        norm,
        view,
        seen.alignments[norm, view],
        (wanted[0], beside.alignments[wanted]),
        (own, there),
        _factor(seen.steps, beside.steps) if len(shape) > 2 else None,
        state,
    )


def _factor(steps: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float | None:
    """The median factor between steps of one direction; None where directions differ."""
    factors = []
    for a, b in zip(steps, others, strict=True):
        x, y = a.reshape(-1), b.reshape(-1)
        if float(x @ y) < SAME_DIRECTION * float(np.linalg.norm(x) * np.linalg.norm(y)):
            return None
        factors.append(float(np.linalg.norm(x) / np.linalg.norm(y)))
    return float(np.median(factors))
