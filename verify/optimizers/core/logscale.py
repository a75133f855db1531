"""Gradients and moments as (mantissa, log-scale): exact recursions that never underflow.

At a margin of 350 Adam's g² is 0 in float64, and runs to convergence reach margins of 10³–10⁶. Here a gradient
e^s · G̃ keeps its blocks G̃ at order one and s aside, and a moment is carried relative to a scale of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from math import inf, log
from typing import NamedTuple

import torch
from torch import Tensor

from maxmargin.models.blocks import Blocks


class Scaled(NamedTuple):
    """Blocks times e^{log_scale}.

    Attributes:
        blocks: The mantissa, one tensor a block.
        log_scale: A scalar tensor, natural logarithm.
    """

    blocks: dict[str, Tensor]
    log_scale: Tensor


def scaled(blocks: Mapping[str, Tensor]) -> Scaled:
    """Return plain blocks as a mantissa whose largest |entry| is 1, times its scale; zeros at scale 1."""
    top = max(float(b.abs().amax()) for b in blocks.values())
    size = top if top > 0 else 1.0
    return Scaled({k: b / size for k, b in blocks.items()}, torch.tensor(log(size), dtype=torch.float64))


def zeros_like(theta: Blocks) -> Scaled:
    """Zero, with a log-scale low enough that any gradient takes over."""
    first = next(iter(theta.values()))
    return Scaled({k: torch.zeros_like(b) for k, b in theta.items()}, first.new_full((), -torch.inf))


def _log_top(blocks: Mapping[str, Tensor]) -> Tensor:
    """Logarithm of the largest |entry|; −inf for zero."""
    tops = [b.abs().amax() for b in blocks.values()]
    return torch.log(reduce(torch.maximum, tops))


def _common(a: Scaled, keep: float, b: Scaled) -> tuple[Tensor, Tensor, Tensor]:
    """A log-scale that keeps keep · a and b at order one, and the factors that bring each of the two to it."""
    top = a.log_scale + _log_top(a.blocks) + (log(keep) if keep else -inf)
    s = torch.maximum(top, b.log_scale)
    s = torch.where(torch.isfinite(s), s, torch.zeros_like(s))
    # What is zero has any log-scale: without this, e^(log-scale − s) may be inf, and inf · 0 is NaN.
    old = torch.where(top == -inf, torch.zeros_like(s), keep * torch.exp(a.log_scale - s))
    return s, old, torch.exp(b.log_scale - s)


def combine(moment: Scaled, keep: float, gradient: Scaled, take: float) -> Scaled:
    """Return keep · moment + take · gradient (an EMA with keep = β, take = 1 − β; heavy ball with take = 1).

    The gradient's mantissa must be of order one; the result's is.
    """
    s, old, new = _common(moment, keep, gradient)
    return Scaled({k: old * moment.blocks[k] + (take * new) * g for k, g in gradient.blocks.items()}, s)


def combine_rms(rms: Scaled, keep: float, gradient: Scaled, take: float) -> Scaled:
    """Return the square root of keep · rms² + take · gradient², entry by entry, without ever squaring.

    Carrying √v instead of v doubles the range of exponents that one log-scale serves.
    """
    s, old, new = _common(rms, keep**0.5, gradient)
    return Scaled({k: torch.hypot(old * rms.blocks[k], (take**0.5 * new) * g) for k, g in gradient.blocks.items()}, s)


def safe_ratio(numerator: Scaled, denominator: Scaled, eps: float = 0.0) -> dict[str, Tensor]:
    """Return numerator / (denominator + eps), entry by entry in true units, with 0/0 := 0.

    Where a coordinate's gradient was always exactly 0 Adam without eps is undefined (hypothesis A1 of Gronich &
    Vardi 2602.16340); the coordinate then stays, and the engine reports it.
    """
    shift = torch.exp(numerator.log_scale - denominator.log_scale)
    floor = eps * torch.exp(torch.clamp(-denominator.log_scale, max=700.0)) if eps else None
    out = {}
    for k, x in numerator.blocks.items():
        d = denominator.blocks[k] if floor is None else denominator.blocks[k] + floor
        out[k] = torch.where(d > 0, shift * (x / d), x.new_zeros(()))
    return out
