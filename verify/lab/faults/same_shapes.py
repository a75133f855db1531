"""Two parameters of one shape: state that is kept by shape, and steps that are stacked by shape, may be mixed up.

No problem of a check has two blocks of one shape, as every network of some depth has. So a pair of them is stepped on
beside a pair of two shapes, with the gradients of the second turned round: no norm answers to that on the first.
"""

from __future__ import annotations

import numpy as np

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.faults.perturbations import changed_by
from maxmargin.verify.lab.norm.signature import follow, random_start, spread_gradient
from maxmargin.verify.thresholds.faults import CROSS_BLOCKS
from maxmargin.verify.thresholds.norm import SIGNATURE_STEPS

ALIKE: Shapes = {"matrix": (6, 4), "vector": (6,)}
OTHER: Shapes = {"matrix": (6, 5), "vector": (7,)}
"""What stands beside them for comparison."""


def mixed_up(target: Target, seed: int = 0) -> str:
    """Whether a step answers to the gradients of another parameter of the same shape, and of the same shape alone.

    Args:
        target: A black-box optimizer.
        seed: Of gradients and starts.

    Returns:
        What was seen, in words; "" for nothing, and of shapes that it refuses.
    """
    for kind, shape in ALIKE.items():
        try:
            alike, unlike = (_answer(target, seed, {"first": shape, "second": s}) for s in (shape, OTHER[kind]))
        except TargetError:
            continue
        if unlike <= CROSS_BLOCKS < alike:
            return (
                f"of two {' × '.join(map(str, shape))} parameters, each one's step changes by {alike:.2g} (relative) "
                "with the sign of the other's gradients, as it does not beside another shape: state or gradients are "
                "mixed up where shapes are equal"
            )
    return ""


def _answer(target: Target, seed: int, shapes: Shapes) -> float:
    """The largest relative change of a block's step where the other's gradients are turned round; NaN if not finite."""
    rng = np.random.default_rng(seed)
    history = [{name: spread_gradient(rng, s) for name, s in shapes.items()} for _ in range(SIGNATURE_STEPS)]
    start = random_start(rng, shapes)
    usual, changes = follow(target, history, start), []
    for block in shapes:
        turned = [{name: g if name == block else -g for name, g in row.items()} for row in history]
        changes.append(changed_by(follow(target, turned, start)[block], usual[block]))
    return float(np.max(changes))
