"""How much two steps differ: the one definition of a relative difference."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite

import torch
from torch import Tensor


def relative(gap: float, *lengths: float, undefined: float = inf) -> float:
    """A difference's length over the largest of these lengths; 0 if all are 0, ``undefined`` if it is not finite."""
    scale = max(lengths)
    if scale == 0:
        return 0.0
    return gap / scale if isfinite(gap / scale) else undefined


def size(blocks: Sequence[Tensor]) -> float:
    """The l2 norm over all blocks."""
    return float(torch.stack([(b.double() ** 2).sum() for b in blocks]).sum().sqrt())


def difference(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Relative difference of blocks; inf where one is not finite."""
    return relative(size([x - y for x, y in zip(a, b, strict=True)]), size(a), size(b))
