"""Moments: one average of gradients as state, and more arithmetic in (mantissa, log-scale) form.

Running maxima, quotients and lengths here never underflow.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.optimizers.core.base import Optimizer, State
from maxmargin.verify.optimizers.core.logscale import Scaled, zeros_like

LARGEST = 700.0  # e^700 is finite in float64


class OneMoment(Optimizer):
    """Its only state is an average of the gradients."""

    @override
    def init(self, theta: Blocks) -> State:
        return zeros_like(theta)


def times(x: Scaled, factor: Tensor | float) -> Scaled:
    """A number times a mapping; of order one, so that the mantissa stays of its order."""
    return Scaled({k: factor * b for k, b in x.blocks.items()}, x.log_scale)


def log_top(x: Scaled) -> Tensor:
    """The logarithm of the largest |entry| in true units; −inf for zero."""
    return x.log_scale + torch.log(torch.stack([b.abs().amax() for b in x.blocks.values()]).amax())


def maximum(a: Scaled, b: Scaled) -> Scaled:
    """The larger of two nonnegative mappings, entry by entry."""
    s = torch.maximum(log_top(a), log_top(b))
    s = torch.where(torch.isfinite(s), s, torch.zeros_like(s))
    left, right = (torch.where(torch.isfinite(x.log_scale), torch.exp(x.log_scale - s), 0.0) for x in (a, b))
    # A factor e^(log-scale − s) is finite unless its mantissa is far below one; then that side is all but zero.
    left, right = (torch.clamp(f, max=torch.finfo(f.dtype).max) for f in (left, right))
    return Scaled({k: torch.maximum(left * a.blocks[k], right * b.blocks[k]) for k in a.blocks}, s)


def quotient(numerator: Scaled, denominator: Scaled, eps: float = 0.0) -> Scaled:
    """Return numerator / (denominator + eps), entry by entry, with 0/0 := 0; ``eps`` is in true units."""
    floor = eps * torch.exp(torch.clamp(-denominator.log_scale, max=LARGEST)) if eps else 0.0
    out = {}
    for k, x in numerator.blocks.items():
        d = denominator.blocks[k] + floor
        out[k] = torch.where(d > 0, x / torch.where(d > 0, d, torch.ones_like(d)), torch.zeros_like(x))
    return Scaled(out, numerator.log_scale - denominator.log_scale)


def direction_of(step: Scaled, normalized: bool) -> dict[str, Tensor]:
    """The blocks of −step: divided by their ℓ2 length if ``normalized``, else in true units (which may underflow)."""
    if normalized:
        return get_norm("l2").lmo(step.blocks)
    return {k: -torch.exp(step.log_scale) * b for k, b in step.blocks.items()}
