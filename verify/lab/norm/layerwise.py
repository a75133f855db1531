"""Trust ratios: whether each block's step is as long as the block's own weights (LARS, LAMB, Fromage).

Such an optimizer has a norm of its own on every block, and between blocks the weights 1/‖W_k‖, which its training sets:
‖θ‖ = max_k ‖W_k‖/ρ_k (You et al. 1708.03888, 1904.00962; Bernstein et al. 2002.03432).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.norm.fingerprint import Fingerprint
from maxmargin.verify.lab.norm.signature import follow, random_start, spread_gradient
from maxmargin.verify.thresholds.norm import SIGNATURE_STEPS
from maxmargin.verify.thresholds.state_norm import LONGER


@dataclass(frozen=True)
class Layers:
    """An optimizer's rule on each block.

    Attributes:
        norms: Block → the name of the norm that its steps follow.
        error: How far, relative and at most, a block's step is from LONGER times as long where its weights alone are,
            or another block's from unchanged.
    """

    norms: Mapping[str, str]
    error: float


def layers(target: Target, shapes: Shapes, seen: Fingerprint, seed: int = 0) -> Layers:
    """Make one block's weights LONGER times as long, block by block, and see what becomes of all blocks' steps.

    Args:
        target: The optimizer.
        shapes: Of its blocks.
        seen: The norm of each block.
        seed: Of gradients and starts.

    Returns:
        The rules.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    rng = np.random.default_rng(seed)
    start = random_start(rng, shapes)
    gradients = [{name: spread_gradient(rng, shape) for name, shape in shapes.items()}] * SIGNATURE_STEPS
    usual = follow(target, gradients, start)
    worst = 0.0
    for changed in shapes:
        there = follow(target, gradients, {n: (LONGER if n == changed else 1.0) * b for n, b in start.items()})
        for name in shapes:
            wanted = (LONGER if name == changed else 1.0) * usual[name]
            size = np.linalg.norm(wanted)
            off = np.linalg.norm(there[name] - wanted) / size if size > 0 else np.inf
            worst = max(worst, float(off) if np.isfinite(off) else np.inf)
    return Layers({name: block.norm for name, block in seen.blocks.items()}, worst)
