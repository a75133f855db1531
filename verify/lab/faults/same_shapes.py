"""Two parameters of one shape: state that is kept by shape, and steps that are stacked by shape, may be mixed up.

No problem of a check has two blocks of one shape, as every network of some depth has. So a pair of them is stepped on
beside a pair of two shapes, with the gradients of the second turned round: no norm answers to that on the first.
"""

from __future__ import annotations

from itertools import takewhile

import numpy as np

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.faults.perturbations import changed_by
from maxmargin.verify.lab.norm.signature import follow, random_start, spread_gradient
from maxmargin.verify.thresholds.faults import CROSS_BLOCKS, MIXED_UP_SEEDS
from maxmargin.verify.thresholds.norm import SIGNATURE_STEPS

ALIKE: Shapes = {"matrix": (6, 4), "vector": (6,)}
OTHER: Shapes = {"matrix": (6, 5), "vector": (7,)}
"""What stands beside them for comparison."""


def mixed_up(target: Target, seed: int = 0) -> str:
    """Whether a step answers to the gradients of another parameter of the same shape, and of the same shape alone.

    What all parameters share (an estimate of a distance) answers to some gradients and not to others: each of
    MIXED_UP_SEEDS draws has to show it.

    Args:
        target: A black-box optimizer.
        seed: Of gradients and starts.

    Returns:
        What was seen, in words; "" for nothing, and of shapes that it refuses.
    """
    for kind, shape in ALIKE.items():
        each = (_alone(target, s, kind) for s in range(seed, seed + MIXED_UP_SEEDS))
        try:
            seen = list(takewhile(lambda answer: answer > CROSS_BLOCKS, each))
        except TargetError:
            continue
        if len(seen) == MIXED_UP_SEEDS:
            return (
                f"of two {' × '.join(map(str, shape))} parameters, each one's step changes by {seen[0]:.2g} (relative) "
                "with the sign of the other's gradients, as it does not beside another shape: state or gradients are "
                "mixed up where shapes are equal"
            )
    return ""


def _alone(target: Target, seed: int, kind: str) -> float:
    """How much a step answers to the other of its shape; 0 where it answers to one of another shape."""
    alike, unlike = (_answer(target, seed, {"first": ALIKE[kind], "second": s}) for s in (ALIKE[kind], OTHER[kind]))
    return alike if unlike <= CROSS_BLOCKS else 0.0


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
