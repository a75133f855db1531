"""Does a step depend on an average of the gradients, or on more of their history: preconditioners, told from momentum.

Under a constant gradient Adagrad looks like a sign and Shampoo like a polar factor. Here a part of every block (half
of its entries, rows, columns or singular directions) first sees a burst, gradients BURST times as large, and then the
same as the rest. An optimizer that steps along f(average of gradients) must then treat that part as it would treat
*some* constant gradient in which the part is c times as large, 1 ≤ c ≤ BURST, whatever its momentum's weights and
whatever f: steps under such gradients are measured, and a response outside their range is the history's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.norm.signature import follow, random_start
from maxmargin.verify.lab.norm.symmetry import Symmetry
from maxmargin.verify.thresholds.norm import BURST, BURST_INDEPENDENT, BURST_LADDER, RESPONSE_SLACK, SIGNATURE_STEPS

Build = Callable[[np.ndarray], np.ndarray]  # sizes of the parts -> gradient
Sizes = Callable[[np.ndarray], np.ndarray]  # step -> what each part got of it


@dataclass(frozen=True)
class Preconditioner:
    """A block whose steps depend on more of the gradients' history than an average of them.

    Attributes:
        block: Its name.
        kind: "diagonal" where each entry's step answers to the history of that entry alone (Adagrad, RMSprop, Adam),
            "matrix" where it is that of singular directions (Shampoo, SOAP), "adaptive" otherwise (Adafactor: rows
            and columns).
        size: The factor by which the response leaves what any average could do.
    """

    block: str
    kind: str
    size: float


def preconditioners(
    target: Target, shapes: Shapes, symmetric: Sequence[Symmetry], seed: int = 0
) -> tuple[Preconditioner, ...]:
    """Find the blocks with data-dependent preconditioners.

    Args:
        target: The optimizer.
        shapes: Of its parameters.
        symmetric: From :func:`~maxmargin.verify.lab.norm.symmetry.symmetries`; a matrix preconditioner is one that
            turns with the gradients.
        seed: Of directions and starts.

    Returns:
        One for each such block. Whether it forgets (Adam, and then follows a norm in the end) or never does
        (Adagrad) is :attr:`~maxmargin.verify.lab.probe.probes.Probe.memory`'s to say.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    rng = np.random.default_rng(seed)
    start = random_start(rng, shapes)
    turns = {s.block for s in symmetric if s.group == "left orthogonal" and s.holds}
    turns &= {s.block for s in symmetric if s.group == "right orthogonal" and s.holds}
    kinds: dict[str, dict[str, float]] = {name: {} for name in shapes}
    separate: dict[str, bool] = {}
    for pattern, parts in _PATTERNS.items():
        blocks = {name: parts(rng, shape) for name, shape in shapes.items() if len(shape) == 2 or pattern == "entries"}
        if blocks:
            found, alone = _beyond_an_average(target, shapes, blocks, start)
            for name, size in found.items():
                kinds[name][pattern] = size
            if pattern == "entries":
                separate = alone
    return tuple(p for name in shapes if (p := _named(name, kinds[name], separate[name], name in turns)) is not None)


def _named(name: str, sizes: Mapping[str, float], separate: bool, turns: bool) -> Preconditioner | None:
    beyond = {pattern: size for pattern, size in sizes.items() if size > RESPONSE_SLACK}
    if not beyond:
        return None
    if "entries" in beyond and separate:
        return Preconditioner(name, "diagonal", beyond["entries"])
    if "singular" in beyond and turns:
        return Preconditioner(name, "matrix", beyond["singular"])
    return Preconditioner(name, "adaptive", max(beyond.values()))


def _beyond_an_average(
    target: Target, shapes: Shapes, blocks: Mapping[str, tuple[Build, Sizes, int]], start: Mapping[str, np.ndarray]
) -> tuple[dict[str, float], dict[str, bool]]:
    """(factor by which the burst's response leaves the range of constants, whether the other parts ignored it)."""

    def step(sequence: Sequence[float]) -> dict[str, np.ndarray]:
        gradients = []
        for c in sequence:
            g = {name: np.zeros(shape) for name, shape in shapes.items()}
            for name, (build, _, count) in blocks.items():
                g[name] = build(np.where(np.arange(count) < (count + 1) // 2, c, 1.0))
            gradients.append(g)
        moved = follow(target, gradients, start)
        return {name: sizes(moved[name]) for name, (_, sizes, _) in blocks.items()}

    def contrast(parts: np.ndarray) -> float:
        half = (len(parts) + 1) // 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(parts[:half].mean() / parts[half:].mean())

    constant = [step([c] * SIGNATURE_STEPS) for c in BURST_LADDER]
    burst = step([BURST] + [1.0] * (SIGNATURE_STEPS - 1))
    out, alone = {}, {}
    for name, (_, _, count) in blocks.items():
        half = (count + 1) // 2
        rest = [burst[name][half:], constant[0][name][half:]]
        alone[name] = bool(
            np.abs(rest[0] - rest[1]).max(initial=0) <= BURST_INDEPENDENT * np.abs(rest[1]).max(initial=0)
        )
        usual, seen = np.array([contrast(c[name]) for c in constant]), contrast(burst[name])
        out[name] = 1.0
        # Greedy steps move one part alone, and some optimizers none: then there is no contrast to compare.
        if np.isfinite([*usual, seen]).all() and min(*usual, seen) > 0:
            out[name] = max(seen / usual.max(), usual.min() / seen)
    return out, alone


def _entries(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Build, Sizes, int]:
    count = int(np.prod(shape))
    order, sign = rng.permutation(count), rng.choice([-1.0, 1.0], count)

    def build(sizes: np.ndarray) -> np.ndarray:
        flat = np.empty(count)
        flat[order] = sizes
        return (sign * flat).reshape(shape)

    return build, (lambda step: -(sign * step.reshape(-1))[order]), count


def _rows(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Build, Sizes, int]:
    base = rng.choice([-1.0, 1.0], shape)
    return (lambda sizes: sizes[:, None] * base), (lambda step: -(base * step).mean(1)), shape[0]


def _columns(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Build, Sizes, int]:
    build, sizes, count = _rows(rng, shape[::-1])
    return (lambda s: build(s).T.copy()), (lambda step: sizes(step.T)), count


def _singular(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Build, Sizes, int]:
    u, _, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    return (lambda sizes: (u * sizes) @ vt), (lambda step: -np.einsum("ik,ij,kj->k", u, step, vt)), min(shape)


_PATTERNS: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], tuple[Build, Sizes, int]]] = {
    "entries": _entries,
    "rows": _rows,
    "columns": _columns,
    "singular": _singular,
}
