"""Read a norm off the steps alone: which norm each block follows, with which weight, joined how.

For blocks with norms ‖·‖_k and weights 1/c_k joined by a maximum, steepest descent moves every block by c_k ‖·‖_k per
unit of learning rate, whatever the gradient; joined by ℓ2, the longer gradient moves its block further. Each block's
alignment r_k = −⟨g_k, Δ_k⟩ / (‖g_k‖_{k*} ‖Δ_k‖_k) is 1 iff the block follows its norm, so norms and weights are read
off separately.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isclose

import numpy as np

from maxmargin.models.blocks import inner
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.solvers.norms.parameter import ParameterNorm
from maxmargin.verify.trajectory import Trajectory

MATRIX_NORMS = ("l2", "linf", "spectral", "l1", "nuclear", "rows", "columns")
VECTOR_NORMS = ("l2", "linf", "l1")
LATE = 8  # checkpoints at the end, where momentum lags least
TIE = 2e-3  # alignments closer than this are the same; the simpler norm is named
WEIGHT_TIE = 0.02  # relative; weights closer than this are equal
STEADY = 0.05  # relative spread of ‖Δ_k‖/η below which a block's step does not depend on its gradient


@dataclass(frozen=True)
class BlockReading:
    """What one block's steps look like.

    Attributes:
        norm: The block norm with the best alignment.
        alignment: That alignment, median over late checkpoints.
        alignments: Every candidate's.
        reach: Median of ‖Δ_k‖_k per unit of learning rate.
        spread: Relative spread of it over the late checkpoints.
    """

    norm: str
    alignment: float
    alignments: Mapping[str, float]
    reach: float
    spread: float


@dataclass(frozen=True)
class Fingerprint:
    """The norm that the steps follow, by block and for the whole parameter."""

    norm: Norm
    blocks: Mapping[str, BlockReading]

    def to_json(self) -> dict[str, dict[str, float | str]]:
        """Map block → {"norm", "weight", "alignment"}; the weight multiplies the block's norm, largest reach = 1."""
        return {
            name: {
                "norm": b.norm,
                "weight": self.norm.block(name, (1,) * self._ndim(name))[1],
                "alignment": b.alignment,
            }
            for name, b in self.blocks.items()
        }

    def _ndim(self, name: str) -> int:
        return 2 if "spectral" in self.blocks[name].alignments else 1


def read(trajectory: Trajectory) -> Fingerprint | None:
    """Read the fingerprint of a trajectory's late steps; None where no block moved."""
    runs = np.flatnonzero(trajectory.separated)
    late = range(max(1, len(trajectory.steps) - LATE), len(trajectory.steps))
    pairs = [(t, int(r)) for t in late for r in runs if trajectory.eta[t, r] > 0]
    if not pairs:
        return None
    blocks = {}
    for name, block in trajectory.theta.items():
        reading = _read_block(trajectory, name, pairs, MATRIX_NORMS if block.ndim == 4 else VECTOR_NORMS)
        if reading is None:
            return None
        blocks[name] = reading
    return Fingerprint(_whole(trajectory, blocks, pairs), blocks)


def _read_block(
    trajectory: Trajectory, name: str, pairs: list[tuple[int, int]], candidates: tuple[str, ...]
) -> BlockReading | None:
    alignments, reaches = {}, {}
    for candidate in candidates:
        norm = get_norm(candidate)
        r, moved = [], []
        for t, run in pairs:
            g, d = {name: trajectory.gradient[name][t, run]}, {name: trajectory.update[name][t, run]}
            scale = float(norm.dual(g) * norm.value(d))
            if scale > 0:
                r.append(-float(inner(g, d)) / scale)
                moved.append(float(norm.value(d)) / trajectory.eta[t, run])
        if not r:
            return None
        alignments[candidate], reaches[candidate] = float(np.median(r)), np.asarray(moved)
    top = max(alignments.values())
    best = next(c for c in candidates if alignments[c] >= top - TIE)
    reach = reaches[best]
    middle = float(np.median(reach))
    return BlockReading(
        best, alignments[best], alignments, middle, float(np.percentile(reach, 75) - np.percentile(reach, 25)) / middle
    )


def _whole(trajectory: Trajectory, blocks: Mapping[str, BlockReading], pairs: list[tuple[int, int]]) -> Norm:
    """Join the blocks: the aggregation under which the whole step is best aligned, simpler names first."""
    top = max(b.reach for b in blocks.values())
    ratios = {name: top / b.reach for name, b in blocks.items()}
    weights = {name: _round(w) for name, w in ratios.items()}
    joined = {
        inf: ParameterNorm.of({name: (b.norm, weights[name]) for name, b in blocks.items()}, inf),
        2.0: ParameterNorm.of({name: (b.norm, 1.0) for name, b in blocks.items()}, 2.0),
        1.0: ParameterNorm.of({name: (b.norm, 1.0) for name, b in blocks.items()}, 1.0),
    }
    if len(blocks) == 1:
        return get_norm(next(iter(blocks.values())).norm)
    aligned = {p: _alignment(trajectory, norm, pairs) for p, norm in joined.items()}
    best = max(aligned.values())
    exponent = next(p for p in (2.0, inf, 1.0) if aligned[p] >= best - TIE)
    return _named(joined[exponent], blocks, weights, exponent)


def _named(norm: Norm, blocks: Mapping[str, BlockReading], weights: Mapping[str, float], exponent: float) -> Norm:
    """The norm under its common name where it has one."""
    kinds = {b.norm for b in blocks.values()}
    matrices = {name for name, b in blocks.items() if "spectral" in b.alignments}
    equal = len({round(w, 6) for w in weights.values()}) == 1
    if kinds == {"l2"} and exponent == 2.0:
        return get_norm("l2")
    if exponent == inf:
        if kinds == {"linf"} and equal:
            return get_norm("linf")
        if all(blocks[m].norm == "spectral" for m in matrices):
            rest = {n for n in blocks if n not in matrices}
            if equal and all(blocks[n].norm == "l2" for n in rest):
                return get_norm("spectral")
            flat = len({weights[m] for m in matrices}) == 1 and len({weights[n] for n in rest}) == 1
            if matrices and rest and flat and all(blocks[n].norm == "linf" for n in rest):
                ratio = weights[next(iter(matrices))] / weights[next(iter(rest))]
                return get_norm("hybrid" if isclose(ratio, 1.0, rel_tol=WEIGHT_TIE) else f"hybrid:{ratio:.6g}")
    if exponent == 1.0 and kinds <= {"l1"}:
        return get_norm("l1")
    return norm


def _round(weight: float) -> float:
    """Equal weights stay equal: 1 within the tie, otherwise four digits."""
    return 1.0 if isclose(weight, 1.0, rel_tol=WEIGHT_TIE) else float(f"{weight:.4g}")


def _alignment(trajectory: Trajectory, norm: Norm, pairs: list[tuple[int, int]]) -> float:
    values = []
    for t, run in pairs:
        g, d = trajectory.at(t, run, "gradient"), trajectory.at(t, run, "update")
        scale = float(norm.dual(g) * norm.value(d))
        values.append(-float(inner(g, d)) / scale if scale > 0 else 0.0)
    return float(np.median(values))
