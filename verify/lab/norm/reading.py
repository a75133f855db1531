"""Which norm one block's steps follow: the best aligned of those with a name, or an ℓ_P whose power they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maxmargin.models.blocks import inner
from maxmargin.solvers.norms import BlockNorm, NormError, get_norm
from maxmargin.solvers.norms.families import MEMBERS
from maxmargin.verify.lab.norm.powers import followed
from maxmargin.verify.thresholds.norm import BLOCK_TIE, DEFICIT_TIE, ROUNDED

SIMPLEST = {
    "l2": (1, 2),
    "linf": (1, 2),
    "spectral": (2,),
    "l1": (1, 2),
    "nuclear": (2,),
    "maxrow": (2,),
    "maxcolumn": (2,),
}
"""The readings that come first, simplest first, and on blocks of how many dimensions they are norms of their own; other
members of their families are read by the power of the steps (``schatten:3``), or not at all (``sumrow``)."""


def readings(shape: tuple[int, ...]) -> tuple[str, ...]:
    """The block norms that steps on a block of this shape may follow: the simplest, then every other registered one.

    Returns:
        Their names, in the order in which one is named where several explain the steps alike.

    Example:
        >>> readings((3,))
        ('l2', 'linf', 'l1')
    """
    known = {type(MEMBERS[name]) for name in SIMPLEST}
    others = [name for name, norm in MEMBERS.items() if type(norm) not in known and _says(norm, shape)]
    return (*(name for name, dimensions in SIMPLEST.items() if len(shape) in dimensions), *others)


def _says(norm: BlockNorm, shape: tuple[int, ...]) -> bool:
    try:
        norm.value(np.ones(shape))
    except NormError:
        return False
    return True


@dataclass(frozen=True)
class Step:
    """A gradient, the update that followed it, and the learning rate; numpy blocks. The first draw is 0."""

    gradient: Mapping[str, np.ndarray]
    update: Mapping[str, np.ndarray]
    eta: float
    draw: int = 0


@dataclass(frozen=True)
class BlockReading:
    """What one block's steps look like.

    Attributes:
        norm: The block norm with the best alignment.
        alignment: That alignment, mean over the steps.
        alignments: Every candidate's.
        reach: Mean of −⟨g_k, Δ_k⟩/‖g_k‖_{k*} per unit of learning rate, which is ‖Δ_k‖_k where r_k = 1.
        power: The power of the gradient's magnitudes in the steps, where the norm was read from it.
    """

    norm: str
    alignment: float
    alignments: Mapping[str, float]
    reach: float
    power: float | None = None

    @property
    def is_matrix(self) -> bool:
        """Whether matrix norms were among the candidates."""
        return "spectral" in self.alignments


def read_block(steps: Sequence[Step], name: str, candidates: tuple[str, ...]) -> BlockReading | None:
    """Return a block's steps read under each candidate, simplest first; None where it never moved.

    Where none of them is followed exactly, ℓ_P norms whose power the steps have are candidates too.
    """
    seen = {candidate: under for candidate in candidates if (under := _under(steps, name, candidate)) is not None}
    if not seen:
        return None
    powers = {}
    if max(r for r, _ in seen.values()) < 1.0 - ROUNDED:
        G, U = (np.array(blocks) for blocks in zip(*((s.gradient[name], s.update[name]) for s in steps), strict=True))
        powers = {norm.name: law.power for norm, law in followed(G, U)}
        more = {c: under for c in powers if c not in seen and (under := _under(steps, name, c)) is not None}
        seen |= more
    alignments = {candidate: r for candidate, (r, _) in seen.items()}
    top = max(alignments.values())
    best = next(c for c in alignments if alignments[c] >= top - tie(top, BLOCK_TIE))
    return BlockReading(best, alignments[best], alignments, seen[best][1], powers.get(best))


def tie(best: float, most: float) -> float:
    """How far below the best alignment another one is still as good: less where steps are exact."""
    return min(most, DEFICIT_TIE * max(0.0, 1.0 - best) + ROUNDED)


def _under(steps: Sequence[Step], name: str, candidate: str) -> tuple[float, float] | None:
    """Mean alignment and mean reach under one norm; None where the block never moved."""
    norm = get_norm(candidate)
    r, moved = [], []
    for step in steps:
        g, d = {name: step.gradient[name]}, {name: step.update[name]}
        scale = float(norm.dual(g) * norm.value(d))
        if scale > 0:
            r.append(-float(inner(g, d)) / scale)
            # −⟨g, Δ⟩/‖g‖_*: ‖Δ‖ where the block follows the norm, and less blurred than ‖Δ‖ where it nearly does
            moved.append(-float(inner(g, d)) / float(norm.dual(g)) / step.eta)
    return (float(np.mean(r)), float(np.mean(moved))) if r else None
