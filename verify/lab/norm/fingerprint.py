"""Read a norm off the steps alone: which norm each block follows, with which weight, joined how.

For blocks with norms ‖·‖_k and weights 1/c_k joined by a maximum, steepest descent moves every block by c_k in ‖·‖_k
per unit of learning rate, whatever the gradient; joined by ℓ2, the longer gradient moves its block further. Each
block's alignment r_k = −⟨g_k, Δ_k⟩ / (‖g_k‖_{k*} ‖Δ_k‖_k) is 1 iff the block follows its norm, so norms and weights
are read off separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf

import numpy as np

from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.solvers.norms.families import get_block_norm
from maxmargin.solvers.norms.parameter import ParameterNorm
from maxmargin.solvers.norms.schatten import Schatten
from maxmargin.verify.lab.norm.reading import BlockReading, Step, read_block, readings, tie
from maxmargin.verify.lab.norm.weights import weights
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.results.candidates import WEIGHTED
from maxmargin.verify.results.verdict import NormOfBlock
from maxmargin.verify.thresholds.faults import SAME_POWER
from maxmargin.verify.thresholds.norm import SIMPLE_POWER, WEIGHT_DIGITS, WHOLE_TIE


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
        """Map block → {"norm", "weight", "alignment"}; the smallest weight is 1."""
        own = {name: self.norm.block(name, (1, 1) if b.is_matrix else (1,))[1] for name, b in self.blocks.items()}
        return {
            name: {"norm": b.norm, "weight": own[name] / min(own.values()), "alignment": b.alignment}
            for name, b in self.blocks.items()
        }


def read(steps: Sequence[Step], coupling: float | None = None) -> Fingerprint | None:
    """Return the fingerprint of steps; None where some block never moved.

    Args:
        steps: Gradients and updates.
        coupling: Power with which a block's step answers to the size of its own gradient (0 for a maximum over
            blocks, 1 for ℓ2), if a probe has measured it; at convergence the gradients' proportions stand still, and
            steps alone cannot tell.
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


def _chosen(
    steps: Sequence[Step], blocks: Mapping[str, BlockReading], coupling: float | None
) -> tuple[Norm, float, Norm | None]:
    """(norm, alignment, norm without weights) of the simplest norm that explains the steps as well as any."""
    rows = [(norm, _alignment(steps, norm), plain) for norm, plain in _candidates(steps, blocks, coupling)]
    fitting = [row for row in rows if coupling is None or len(blocks) == 1 or _agrees(row[0], coupling)] or rows
    best = max(row[1] for row in fitting)
    return next(row for row in fitting if row[1] >= best - tie(best, WHOLE_TIE))


def _candidates(
    steps: Sequence[Step], blocks: Mapping[str, BlockReading], coupling: float | None
) -> list[tuple[Norm, Norm | None]]:
    """Norms of the whole parameter that the blocks' readings suggest, simplest first; beside each, without weights."""
    named = ["l2", "linf", "spectral", "hybrid"]
    if len(blocks) == 1:
        return [(get_norm(name), None) for name in (*named, *(b.norm for b in blocks.values()))]
    norms = {name: b.norm for name, b in blocks.items()}
    deficits = {name: 1.0 - b.alignment for name, b in blocks.items()}
    by_max = weights(steps, norms, deficits, 0.0)
    matrices = [n for n, b in blocks.items() if b.is_matrix]
    vectors = [n for n in blocks if n not in matrices]
    if matrices and vectors:
        ratio = np.median([by_max[m] for m in matrices]) / np.median([by_max[v] for v in vectors])
        named.append(f"hybrid:{float(f'{ratio:.{WEIGHT_DIGITS[1]}g}')!r}")
    equal = dict.fromkeys(blocks, 1.0)
    found: list[tuple[Norm, Norm | None]] = [(get_norm(name), None) for name in named]
    found.append(_joined(blocks, by_max, inf))
    joins = [2.0, 1.0, *sorted(_powers(blocks, coupling) - {1.0, 2.0, inf})]
    found += [_joined(blocks, equal, p) for p in joins]
    return [*found, *(_joined(blocks, weights(steps, norms, deficits, 1 / (p - 1)), p) for p in joins if p > 1)]


def _powers(blocks: Mapping[str, BlockReading], coupling: float | None) -> set[float]:
    """The P of block norms that were read from a power, and that of the measured coupling: they may join blocks."""
    own = {get_block_norm(b.norm).aggregation for b in blocks.values() if b.power is not None}
    if coupling is None or not SAME_POWER < coupling < 2 or abs(coupling - 1) <= SAME_POWER:
        return own
    return own | {float(Fraction(1.0 + 1.0 / coupling).limit_denominator(SIMPLE_POWER))}


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


def _one_kind(blocks: Mapping[str, BlockReading]) -> str | None:
    """The common name where all blocks are of one kind: a vector's ℓ2 norm is also its every Schatten norm."""
    kinds = {b.norm for b in blocks.values()}
    if len(kinds) == 1:
        return next(iter(kinds))
    matrices = {b.norm for b in blocks.values() if b.is_matrix}
    vectors = {b.norm for b in blocks.values() if not b.is_matrix}
    if vectors == {"l2"} and len(matrices) == 1 and isinstance(get_block_norm(kind := next(iter(matrices))), Schatten):
        return kind
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


def _alignment(steps: Sequence[Step], norm: Norm) -> float:
    return float(np.mean(np.nan_to_num([alignment(norm, s.gradient, s.update) for s in steps], nan=0.0)))
