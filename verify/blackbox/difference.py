"""How much two steps differ: the one definition of a relative difference; and what rounding of weights explains."""

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


ROUNDED = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
"""Formats to which float64 weights may be rounded, the coarsest first."""


def rounded_to(weights: Sequence[Tensor]) -> str | None:
    """The coarsest format that holds all these weights exactly; None if they are true float64."""
    flat = torch.cat([w.detach().reshape(-1) for w in weights])
    if flat.numel() < 2:
        return None
    return next((n for n, d in ROUNDED.items() if bool((flat.to(d).double() == flat).all())), None)


def rounding_unit(weights: Sequence[Tensor]) -> float:
    """The relative error of one rounding to that format; 0 for true float64."""
    return rounding_unit_of(rounded_to(weights))


def rounding_unit_of(name: str | None) -> float:
    """That of a format by its name; 0 for None."""
    return 0.0 if name is None else torch.finfo(ROUNDED[name]).eps / 2
