"""Which transformations of the gradients an optimizer's steps follow: evidence on its norm that fits no norm at all.

Steepest descent inherits its norm's symmetries: under spectral it turns with the gradient, Δ(QG) = Q Δ(G) for
orthogonal Q; sign descent does so for signed permutations of entries only, and ignores their sizes altogether. Each
symmetry is tried by two runs, one on transformed gradients (which change from step to step), and asks nothing about
lengths, learning rates or alignment. What a norm predicts is found by trying the same on its own ``lmo``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from maxmargin.models.blocks import Blocks, Shapes
from maxmargin.solvers.norms import Norm
from maxmargin.verify.blackbox.difference import relative
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.harness.sentence import Sentence
from maxmargin.verify.lab.norm.signature import follow, late_start, spread_gradient
from maxmargin.verify.thresholds.norm import (
    SIGNATURE_STEPS,
    SYMMETRY_DRAWS,
    SYMMETRY_EXACT,
    SYMMETRY_HOLDS,
    SYMMETRY_NOISE,
    SYMMETRY_PLAIN,
    SYMMETRY_SCALES,
)

Map = Callable[[np.ndarray], np.ndarray]
Runner = Callable[[Sequence[Blocks], Mapping[str, np.ndarray]], Blocks]  # gradients, start -> the last step


@dataclass(frozen=True)
class Symmetry:
    """One symmetry of one block's steps, as measured.

    Attributes:
        block: The block whose gradients were transformed.
        shape: The block's.
        group: One of the names in GROUPS.
        error: ‖step − predicted step‖ / ‖predicted step‖ in the Frobenius norm, the largest over the draws.
        holds: Whether the error is at most SYMMETRY_HOLDS.
        least: The smallest error over the draws: a greedy step has many a symmetry now and then.
    """

    block: str
    shape: tuple[int, ...]
    group: str
    error: float
    holds: bool
    least: float


@dataclass(frozen=True)
class Group:
    """A group of transformations, and how a step should answer to them.

    Attributes:
        says: For sentences: "the step is *equivariant under orthogonal maps from the left*".
        dimensions: Of the blocks that it acts on.
        draw: One transformation of the gradients.
        indifferent: Whether the step should not answer at all, rather than be transformed as the gradients are.
        directions: Whether a step's length may change; only directions are compared then.
        whole: Whether all blocks' steps are compared, rather than the transformed block's.
    """

    says: str
    dimensions: tuple[int, ...]
    draw: Callable[[np.random.Generator, tuple[int, ...]], Map]
    indifferent: bool = False
    directions: bool = False
    whole: bool = False


def _orthogonal(rng: np.random.Generator, n: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def _signed(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.eye(n)[rng.permutation(n)] * rng.choice([-1.0, 1.0], n)


def _times(matrix: Callable[[np.random.Generator, int], np.ndarray], axis: int) -> Callable[..., Map]:
    """Such matrices from the left (axis 0) or from the right (axis 1)."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Map:
        q = matrix(rng, shape[axis])
        return (lambda x: x @ q) if axis else (lambda x: q @ x)

    return draw


def _entries(rng: np.random.Generator, shape: tuple[int, ...]) -> Map:
    order, sign = rng.permutation(int(np.prod(shape))), rng.choice([-1.0, 1.0], shape)
    return lambda x: sign * x.reshape(-1)[order].reshape(shape)


def _transposed(rng: np.random.Generator, shape: tuple[int, ...]) -> Map:
    del rng, shape
    return lambda x: x.T.copy()


def _scaling(
    says: str, dimensions: tuple[int, ...], along: Callable[..., tuple[int, ...]], whole: bool = False
) -> Group:
    """Positive factors that broadcast as ``along`` says."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Map:
        factors = SYMMETRY_SCALES ** rng.uniform(-1, 1, along(shape))
        factors.flat[0] = SYMMETRY_SCALES
        return lambda x: factors * x

    return Group(f"indifferent to the scale of {says}", dimensions, draw, True, True, whole)


GROUPS: Mapping[str, Group] = {
    "left orthogonal": Group("equivariant under orthogonal maps from the left", (2,), _times(_orthogonal, 0)),
    "right orthogonal": Group("equivariant under orthogonal maps from the right", (2,), _times(_orthogonal, 1)),
    "orthogonal": Group("equivariant under orthogonal maps", (1,), _times(_orthogonal, 0)),
    "row permutation": Group("equivariant under signed permutations of rows", (2,), _times(_signed, 0)),
    "column permutation": Group("equivariant under signed permutations of columns", (2,), _times(_signed, 1)),
    "entry permutation": Group("equivariant under signed permutations of entries", (1, 2), _entries),
    "transposition": Group(
        "equivariant under transposition (of a block of transposed shape)", (2,), _transposed, directions=True
    ),
    "row scaling": _scaling("each row", (2,), lambda s: (s[0], 1)),
    "column scaling": _scaling("each column", (2,), lambda s: (1, s[1])),
    "entry scaling": _scaling("each entry", (1, 2), lambda s: s),
    "block scaling": _scaling("this block beside the others", (1, 2), lambda s: (1,) * len(s), whole=True),
}


def symmetries(target: Target, shapes: Shapes, seed: int = 0, more: int = 0) -> tuple[Symmetry, ...]:
    """Try every symmetry on every block of a black-box optimizer.

    Args:
        target: The optimizer; learning rates stay its own.
        shapes: Of its parameters.
        seed: Of gradients, starts and transformations.
        more: Steps that are taken besides, as single ones go on changing; their mean is compared.

    Returns:
        Block by block, in the order of GROUPS; without blocks that do not move, and without transposition where the
        optimizer refuses the transposed shape.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    return _tried(lambda gradients, start: follow(target, gradients, start, more=more), shapes, seed, SYMMETRY_DRAWS)


def predicted(norm: Norm, shapes: Shapes, seed: int = 0) -> tuple[Symmetry, ...]:
    """Try every symmetry on steepest descent under a norm: on its ``lmo``, at the gradients' mean.

    Returns:
        As :func:`symmetries`; a symmetry holds where its error is at most SYMMETRY_EXACT.

    Raises:
        NormError: the norm says nothing about some block.
    """

    def run(gradients: Sequence[Blocks], start: Mapping[str, np.ndarray]) -> Blocks:
        mean = {name: np.mean([g[name] for g in gradients], axis=0) for name in start}
        return norm.lmo(mean)

    return tuple(replace(s, holds=s.error <= SYMMETRY_EXACT) for s in _tried(run, shapes, seed, 2 * SYMMETRY_DRAWS))


def contradictions(found: Sequence[Symmetry], norm: Norm) -> list[tuple[Symmetry, Sentence]]:
    """Where the measured symmetries are not those of steepest descent under ``norm``, one sentence each.

    A symmetry that the norm has and the step lacks is one, and so is one that the step has exactly and the norm
    plainly lacks. Approximate steps (Newton–Schulz) pass: their errors are a few percent.

    Args:
        found: From :func:`symmetries`, all blocks.
        norm: Of the whole parameter.

    Returns:
        The symmetries and the sentences; none if everything fits.
    """
    theory = {(s.block, s.group): s for s in predicted(norm, {s.block: s.shape for s in found})}
    out = []
    for s in found:
        own = theory.get((s.block, s.group))
        if own is None:
            continue  # steepest descent under this norm would not have moved the block
        facts = {"block": s.block, "says": GROUPS[s.group].says, "error": s.error, "norm": norm.name}
        if own.holds and not s.holds:
            form = "the step on {block} is not {says} (error {error:.2g}), as steepest descent under {norm} is"
            out.append((s, Sentence.of(form, **facts)))
        elif own.least >= SYMMETRY_PLAIN and s.error <= SYMMETRY_EXACT:
            form = (
                "the step on {block} is {says} (error {error:.0e}), which steepest descent under {norm} is not "
                "({least:.2g})"
            )
            out.append((s, Sentence.of(form, **facts, least=own.least)))
    return out


def _tried(run: Runner, shapes: Shapes, seed: int, draws: int) -> tuple[Symmetry, ...]:
    rng = np.random.default_rng(seed)
    errors: dict[tuple[str, str], list[float]] = {}
    for _ in range(draws):
        gradients = _gradients(rng, shapes)
        start = late_start(rng, gradients[-1])
        plain = run(gradients, start)
        for block, shape in shapes.items():
            for name, group in GROUPS.items():
                if len(shape) not in group.dimensions:
                    continue
                mapped = group.draw(rng, shape)
                first, wanted = start, plain  # what the start and the step should then be
                if not group.indifferent:
                    first, wanted = ({**blocks, block: mapped(blocks[block])} for blocks in (start, plain))
                try:
                    step = run([{**g, block: mapped(g[block])} for g in gradients], first)
                except TargetError:
                    if first[block].shape == shape:
                        raise
                    continue  # it refuses the transposed shape, which says nothing about its steps
                looked = list(shapes) if group.whole else [block]
                if not any(plain[b].any() for b in looked):
                    continue  # what does not move has every symmetry, and shows none
                error = _error([step[b] for b in looked], [wanted[b] for b in looked], group.directions)
                errors.setdefault((block, name), []).append(error)
    return tuple(
        Symmetry(b, tuple(shapes[b]), name, max(e), max(e) <= SYMMETRY_HOLDS, min(e)) for (b, name), e in errors.items()
    )


def _gradients(rng: np.random.Generator, shapes: Shapes) -> list[dict[str, np.ndarray]]:
    """A gradient for each step: one direction of spread singular values, and fresh noise."""
    base = {name: spread_gradient(rng, shape) for name, shape in shapes.items()}

    def noisy(g: np.ndarray) -> np.ndarray:
        return g + SYMMETRY_NOISE * np.linalg.norm(g) / g.size**0.5 * rng.standard_normal(g.shape)

    return [{name: noisy(g) for name, g in base.items()} for _ in range(SIGNATURE_STEPS)]


def _error(step: Sequence[np.ndarray], wanted: Sequence[np.ndarray], directions: bool) -> float:
    a, b = (np.concatenate([np.reshape(x, -1) for x in blocks]) for blocks in (step, wanted))
    length, other = float(np.linalg.norm(b)), float(np.linalg.norm(a))
    if length == 0 or not np.isfinite([length, other]).all():
        return 0.0 if length == other == 0 else inf
    if directions and other > 0:
        a = a * (length / other)
    return relative(float(np.linalg.norm(a - b)), length)
