"""Read a norm off the steps alone: which norm each block follows, with which weight, joined how.

For blocks with norms ‖·‖_k and weights 1/c_k joined by a maximum, steepest descent moves every block by c_k in ‖·‖_k
per unit of learning rate, whatever the gradient; joined by ℓ2, the longer gradient moves its block further. Each
block's alignment r_k = −⟨g_k, Δ_k⟩ / (‖g_k‖_{k*} ‖Δ_k‖_k) is 1 iff the block follows its norm, so norms and weights
are read off separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isclose

import numpy as np

from maxmargin.models.blocks import inner
from maxmargin.solvers.norms import BlockNorm, Norm, NormError, get_norm
from maxmargin.solvers.norms.families import MEMBERS, get_block_norm
from maxmargin.solvers.norms.parameter import ParameterNorm
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.results.candidates import WEIGHTED
from maxmargin.verify.results.verdict import NormOfBlock
from maxmargin.verify.thresholds.laboratory import BLOCK_TIE, WEIGHT_TIE, WHOLE_TIE

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
members of their families (``sumrow``) are not read."""


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
    """

    norm: str
    alignment: float
    alignments: Mapping[str, float]
    reach: float

    @property
    def is_matrix(self) -> bool:
        """Whether matrix norms were among the candidates."""
        return "spectral" in self.alignments


@dataclass(frozen=True)
class Fingerprint:
    """The norm that the steps follow, by block and for the whole parameter.

    Attributes:
        norm: For the whole parameter.
        alignment: Of the whole steps with steepest descent under it, mean.
        blocks: Block by block.
        unweighted: Where blocks of one kind differ in weight: the norm in which they do not.
    """

    norm: Norm
    alignment: float
    blocks: Mapping[str, BlockReading]
    unweighted: Norm | None = None

    @property
    def weighted(self) -> bool:
        """Whether blocks of one kind differ in weight: then the norm is another one on each problem's shapes."""
        return self.unweighted is not None

    @property
    def family(self) -> str:
        """The norm's name without such weights."""
        return (self.unweighted or self.norm).name

    def to_json(self) -> dict[str, NormOfBlock]:
        """Map block → {"norm", "weight", "alignment"}: as measured, the weight of the furthest-reaching block is 1."""
        top = max(b.reach for b in self.blocks.values())

        def weight(name: str, b: BlockReading) -> float:
            if self.norm.aggregation != inf:  # then a block's reach is its gradient's, not a weight
                return self.norm.block(name, (1, 1) if b.is_matrix else (1,))[1]
            return 1.0 if b.reach <= 0 else float(f"{top / b.reach:.4g}")

        return {
            name: {"norm": b.norm, "weight": weight(name, b), "alignment": b.alignment}
            for name, b in self.blocks.items()
        }


def read(steps: Sequence[Step], coupling: float | None = None) -> Fingerprint | None:
    """Read the fingerprint of steps.

    Args:
        steps: Gradients and updates.
        coupling: Power with which a block's step answers to the size of its own gradient (0 for a maximum over
            blocks, 1 for ℓ2), if a probe has measured it; at convergence the gradients' proportions stand still, and
            steps alone cannot tell.

    Returns:
        The fingerprint; None where some block never moved.
    """
    if not steps:
        return None
    blocks = {}
    for name, block in steps[0].update.items():
        reading = read_block(steps, name, readings(block.shape))
        if reading is None:
            return None
        blocks[name] = reading
    norm, aligned, unweighted = _chosen(steps, blocks, coupling)
    return Fingerprint(norm, aligned, blocks, unweighted)


def read_block(steps: Sequence[Step], name: str, candidates: tuple[str, ...]) -> BlockReading | None:
    """Read one block's steps under each of the candidates, simplest first; None where it never moved."""
    alignments, reaches = {}, {}
    for candidate in candidates:
        norm = get_norm(candidate)
        r, moved = [], []
        for step in steps:
            g, d = {name: step.gradient[name]}, {name: step.update[name]}
            scale = float(norm.dual(g) * norm.value(d))
            if scale > 0:
                r.append(-float(inner(g, d)) / scale)
                # −⟨g, Δ⟩/‖g‖_*: ‖Δ‖ where the block follows the norm, and less blurred than ‖Δ‖ where it nearly does
                moved.append(-float(inner(g, d)) / float(norm.dual(g)) / step.eta)
        if not r:
            return None
        alignments[candidate], reaches[candidate] = float(np.mean(r)), float(np.mean(moved))
    top = max(alignments.values())
    best = next(c for c in candidates if alignments[c] >= top - BLOCK_TIE)
    return BlockReading(best, alignments[best], alignments, reaches[best])


def _chosen(
    steps: Sequence[Step], blocks: Mapping[str, BlockReading], coupling: float | None
) -> tuple[Norm, float, Norm | None]:
    """The simplest norm that explains the steps as well as any that joins the blocks as the probe says.

    Returns:
        (norm, alignment, norm without weights).
    """
    rows = [(norm, _alignment(steps, norm), plain) for norm, plain in _candidates(steps, blocks)]
    fitting = [row for row in rows if coupling is None or len(blocks) == 1 or _agrees(row[0], coupling)] or rows
    best = max(row[1] for row in fitting)
    return next(row for row in fitting if row[1] >= best - WHOLE_TIE)


def _candidates(steps: Sequence[Step], blocks: Mapping[str, BlockReading]) -> list[tuple[Norm, Norm | None]]:
    """Norms of the whole parameter that the blocks' readings suggest, simplest first; beside each, without weights."""
    top = max(b.reach for b in blocks.values())
    # Where steps only nearly follow a norm (Newton–Schulz), so do their lengths: let weights tie more easily.
    tie = max(WEIGHT_TIE, 0.3 * (1 - min(b.alignment for b in blocks.values())))
    weights = {name: _round(top / b.reach, tie) if b.reach > 0 else 1.0 for name, b in blocks.items()}
    named = ["l2", "linf", "spectral", "hybrid"]
    matrices = [n for n, b in blocks.items() if b.is_matrix]
    vectors = [n for n in blocks if n not in matrices]
    if matrices and vectors:
        ratio = np.median([weights[m] for m in matrices]) / np.median([weights[v] for v in vectors])
        named.append(f"hybrid:{_round(float(ratio), tie)!r}")
    if len(blocks) == 1:
        named += [b.norm for b in blocks.values()]
    candidates: list[tuple[Norm, Norm | None]] = [(get_norm(name), None) for name in named]
    if len(blocks) == 1:
        return candidates
    equal = dict.fromkeys(blocks, 1.0)
    return [
        *candidates,
        _joined(blocks, weights, inf),
        _joined(blocks, equal, 2.0),
        _joined(blocks, equal, 1.0),
        _joined(blocks, _euclidean_weights(steps, blocks, tie), 2.0),
    ]


def _joined(
    blocks: Mapping[str, BlockReading], weights: Mapping[str, float], exponent: float
) -> tuple[Norm, Norm | None]:
    """The blocks' norms joined by ℓ_p, and that without weights where one rule serves all matrices and all vectors.

    Returns:
        (norm, unweighted); the latter None where weights are equal: then the norm has a name that suits any problem,
        ``linf``, ``l2;max``, ``hybrid`` or ``blocks:@matrix=maxcolumn,@vector=l2;max``.
    """
    kind, rules_of = _one_kind(blocks), _by_rank(blocks)
    common: Norm | None
    if kind == "hybrid" and exponent == inf:
        common = get_norm(kind)
    elif kind is not None and kind != "hybrid":
        common = ParameterNorm.uniform(get_block_norm(kind), exponent)
    else:
        common = None if rules_of is None else ParameterNorm.of(rules_of, exponent)
    if common is not None and set(weights.values()) == {1.0}:
        return common, None
    rules = {name: (b.norm, weights[name]) for name, b in blocks.items()}
    return ParameterNorm.of(rules, exponent, None if common is None else WEIGHTED + common.name), common


def _euclidean_weights(steps: Sequence[Step], blocks: Mapping[str, BlockReading], tie: float) -> dict[str, float]:
    """Weights of an ℓ2 join, under which a block moves by ‖g_k‖_*/w_k²: two groups with a learning rate each.

    Returns:
        block → weight, the smallest 1; all 1 where some block did not move along its gradient.
    """
    measured = {}
    for name, b in blocks.items():
        norm = get_norm(b.norm)
        gradients = [{name: s.gradient[name]} for s in steps]
        downhill = [-float(inner(g, {name: s.update[name]})) for g, s in zip(gradients, steps, strict=True)]
        if min(downhill) <= 0:
            return dict.fromkeys(blocks, 1.0)
        duals = np.array([float(norm.dual(g)) for g in gradients])
        measured[name] = duals / np.sqrt(downhill)
    first = next(iter(measured.values()))  # the step's common length drops out of the ratio
    ratios = {name: float(np.median(values / first)) for name, values in measured.items()}
    return {name: _round(r / min(ratios.values()), tie) for name, r in ratios.items()}


def _one_kind(blocks: Mapping[str, BlockReading]) -> str | None:
    """The common name where all blocks are of one kind: a vector's ℓ2 norm is also its spectral norm."""
    kinds = {b.norm for b in blocks.values()}
    if len(kinds) == 1:
        return next(iter(kinds))
    matrices = {b.norm for b in blocks.values() if b.is_matrix}
    vectors = {b.norm for b in blocks.values() if not b.is_matrix}
    if matrices == {"spectral"} and vectors == {"l2"}:
        return "spectral"
    return "hybrid" if matrices == {"spectral"} and vectors == {"linf"} else None


def _by_rank(blocks: Mapping[str, BlockReading]) -> dict[str, str] | None:
    """One rule for all matrices and one for all vectors, where that is how the blocks are read."""
    found: dict[str, set[str]] = {}
    for b in blocks.values():
        found.setdefault("@matrix" if b.is_matrix else "@vector", set()).add(b.norm)
    return {rank: kinds.pop() for rank, kinds in found.items()} if all(len(k) == 1 for k in found.values()) else None


def coupling_of(norm: Norm) -> float:
    """The power with which a block's step answers to its own gradient: ‖Δ_k‖ ~ ‖g_k‖^{1/(p−1)} where ℓ_p joins them."""
    return 1.0 / (norm.aggregation - 1.0) if norm.aggregation > 1 else inf


def _agrees(norm: Norm, coupling: float) -> bool:
    return abs(min(coupling, 2.0) - min(coupling_of(norm), 2.0)) < 0.5


def _round(weight: float, tie: float) -> float:
    """Equal weights stay equal: 1 within the tie, otherwise four digits."""
    return 1.0 if isclose(weight, 1.0, rel_tol=tie) else float(f"{weight:.4g}")


def _alignment(steps: Sequence[Step], norm: Norm) -> float:
    return float(np.mean(np.nan_to_num([alignment(norm, s.gradient, s.update) for s in steps], nan=0.0)))
