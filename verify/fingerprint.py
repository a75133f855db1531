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

MATRIX_NORMS = ("l2", "linf", "spectral", "l1", "nuclear", "maxrow", "maxcolumn")
VECTOR_NORMS = ("l2", "linf", "l1")
LATE = 8  # checkpoints at the end, where momentum lags least
TIE = 2e-3  # block alignments closer than this are the same; the simpler norm is named
TIE_WHOLE = 0.02  # whole-step alignments: lagging moments blur the blocks' weights by a few per cent
WEIGHT_TIE = 0.05  # relative; weights closer than this are equal


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
        """Map block → {"norm", "weight", "alignment"}: as measured, the weight of the furthest-reaching block is 1."""
        top = max(b.reach for b in self.blocks.values())
        return {
            name: {"norm": b.norm, "weight": float(f"{top / b.reach:.4g}"), "alignment": b.alignment}
            for name, b in self.blocks.items()
        }


def read(trajectory: Trajectory, coupling: float | None = None) -> Fingerprint | None:
    """Read the fingerprint of a trajectory's late steps.

    Args:
        trajectory: The runs.
        coupling: Power with which a block's step answers to the size of its own gradient (0 for a maximum over
            blocks, 1 for ℓ2), if a probe has measured it; at convergence the gradients' proportions stand still, and
            steps alone cannot tell.

    Returns:
        The fingerprint; None where no block moved or no run separated.
    """
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
    return Fingerprint(_whole(trajectory, blocks, pairs, coupling), blocks)


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


def _whole(
    trajectory: Trajectory, blocks: Mapping[str, BlockReading], pairs: list[tuple[int, int]], coupling: float | None
) -> Norm:
    """The simplest norm of the whole parameter that explains the steps as well as any, given how blocks are coupled."""
    top = max(b.reach for b in blocks.values())
    weights = {name: _round(top / b.reach) for name, b in blocks.items()}
    kinds = {name: b.norm for name, b in blocks.items()}
    candidates: list[Norm] = [get_norm(n) for n in ("l2", "linf", "spectral", "hybrid")]
    matrices = [n for n, b in blocks.items() if "spectral" in b.alignments]
    vectors = [n for n in blocks if n not in matrices]
    if matrices and vectors:
        ratio = np.median([weights[m] for m in matrices]) / np.median([weights[v] for v in vectors])
        candidates.append(get_norm(f"hybrid:{_round(float(ratio))!r}"))
    if len(blocks) == 1:
        candidates.append(get_norm(next(iter(kinds.values()))))
    else:
        candidates.append(ParameterNorm.of({n: (kinds[n], weights[n]) for n in blocks}, inf))
        candidates.append(ParameterNorm.of(kinds, 2.0))
        candidates.append(ParameterNorm.of(kinds, 1.0))
    if coupling is not None and len(blocks) > 1:
        candidates = [n for n in candidates if _agrees(n, coupling)] or candidates
    aligned = [_alignment(trajectory, norm, pairs) for norm in candidates]
    best = max(aligned)
    return next(n for n, r in zip(candidates, aligned, strict=True) if r >= best - TIE_WHOLE)


def _agrees(norm: Norm, coupling: float) -> bool:
    """Whether an ℓ_p aggregation explains how a block's step answers to its own gradient: ‖Δ_k‖ ~ ‖g_k‖^{1/(p−1)}."""
    power = 0.0 if norm.aggregation == inf else inf if norm.aggregation == 1 else 1.0 / (norm.aggregation - 1.0)
    return abs(min(coupling, 2.0) - min(power, 2.0)) < 0.5


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
