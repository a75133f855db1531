"""κ = ‖Δθ‖/η on significant coordinates: how far a lagging moment shortens each block's step, and the norm it makes.

The theorem's key lemma speaks of the coordinates J_ε = {j : |g_j| > ε ‖g‖_*} only (Gronich & Vardi 2602.16340, lemma
C.19): there m = g (1 ± o(1)), and Adam's step is sign(g) (1 ± o(1)). Elsewhere a gradient may change its sign under the
momentum, which says nothing about the bias. A block that steps by κ_k instead of 1 has its weight divided by κ_k: with
Muon on matrices and Adam on vectors, max(κ ‖W‖_msp, ‖u‖_∞) is what is maximized while κ stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isinf

import numpy as np

from maxmargin.solvers.norms import Norm
from maxmargin.solvers.norms.entrywise import Entrywise
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.thresholds.judging import LATE_CHECKPOINTS, SIGNIFICANT


@dataclass(frozen=True)
class BlockKappa:
    """How long one block's late steps are, per unit of learning rate, in its own weighted norm.

    Attributes:
        value: The median over the late steps (and, for a coordinate-wise step, over J_ε).
        low: The smallest.
        high: The largest.
        share: Share of the block's entries that are in J_ε; 1 for a block whose step is not coordinate-wise.
    """

    value: float
    low: float
    high: float
    share: float


def block_kappas(
    trajectory: Trajectory, norm: Norm, runs: np.ndarray, *, epsilon: float = SIGNIFICANT
) -> dict[str, BlockKappa]:
    """Measure κ block by block at the last checkpoints.

    Args:
        trajectory: The runs.
        norm: The optimizer's norm.
        runs: Indices of the runs that count.
        epsilon: ε of J_ε.

    Returns:
        block → κ; nothing where blocks are not joined by a maximum, for their steps' lengths then follow their
        gradients' and say nothing about a lag, and no entry for a block that has no significant coordinate.
    """
    if not isinf(norm.aggregation):
        return {}
    lengths: dict[str, list[np.ndarray]] = {name: [] for name in trajectory.theta}
    shares: dict[str, list[float]] = {name: [] for name in trajectory.theta}
    for t in range(max(0, len(trajectory.steps) - LATE_CHECKPOINTS), len(trajectory.steps)):
        for run in runs:
            gradient, update = (trajectory.at(t, int(run), field) for field in ("gradient", "update"))
            floor, eta = epsilon * float(norm.dual(gradient)), float(trajectory.eta[t, run])
            if not eta > 0:
                continue
            for name, step in update.items():
                block, weight = norm.block(name, step.shape)
                if block == Entrywise(inf):
                    chosen = np.abs(gradient[name]) > floor
                    lengths[name].append(weight * np.abs(step[chosen]) / eta)
                    shares[name].append(float(chosen.mean()))
                else:
                    lengths[name].append(np.array([weight * float(block.value(step)) / eta]))
                    shares[name].append(1.0)
    found = {}
    for name, parts in lengths.items():
        each = np.concatenate(parts) if parts else np.empty(0)
        if each.size:
            low, middle, high = (float(q) for q in np.quantile(each, (0.0, 0.5, 1.0)))
            found[name] = BlockKappa(middle, low, high, float(np.mean(shares[name])))
    return found


def measured_weights(kappas: Mapping[str, BlockKappa]) -> dict[str, float]:
    """The weights that the blocks have in effect, next to the norm's own: 1/κ_k, the smallest made 1.

    Returns:
        block → weight; empty where some block does not move.

    Example:
        >>> measured_weights({"W": BlockKappa(1.0, 1.0, 1.0, 1.0), "a": BlockKappa(0.8, 0.8, 0.8, 1.0)})
        {'W': 1.0, 'a': 1.25}
    """
    if not kappas or min(k.value for k in kappas.values()) <= 0:
        return {}
    top = max(k.value for k in kappas.values())
    return {name: top / k.value for name, k in kappas.items()}
