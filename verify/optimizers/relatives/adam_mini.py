"""Adam-mini: Adam with one second moment for all entries of a block, or of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import scale
from maxmargin.verify.optimizers.core.base import Facts, OptimizerError, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine, combine_rms, safe_ratio
from maxmargin.verify.optimizers.core.moments import times
from maxmargin.verify.optimizers.core.two_moments import Moments, TwoMoments


@register("adam-mini", "Adam-mini, no theorem (beta1=0.9, beta2=0.95, eps=0, over=block)")
@dataclass(frozen=True)
class AdamMini(TwoMoments):
    """m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) mean(g²),  direction = −m̂ / (√v̂ + eps), 0/0 := 0.

    The mean is over the whole block, or over each row of it (a vector has one row). A constant gradient makes steps of
    one root mean square in every block, or row; no theorem on its margin is known to us, so no norm is claimed.
    """

    over: Literal["block", "row"] = "block"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.over not in ("block", "row"):
            raise OptimizerError(f"over is {self.over!r}; it must be 'block' or 'row'")

    @override
    def facts(self) -> Facts:
        return self.told(
            f"{{m}} g,  {{v}} (mean of g² over each {self.over});  θ ← θ − η m̂/(√v̂ + {{eps}})",
            "Zhang et al. 2406.16793, algorithm 1",
        )

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        first = combine(state.first, self.beta1, gradient, 1.0 - self.beta1)
        sizes = Scaled({k: self._size(b) for k, b in gradient.blocks.items()}, gradient.log_scale)
        root = combine_rms(state.root, self.beta2, sizes, 1.0 - self.beta2)
        c1, c2 = self.corrections(step)
        return scale(safe_ratio(times(first, 1.0 / c1), times(root, 1.0 / c2), self.eps), -1.0), Moments(first, root)

    def _size(self, block: Tensor) -> Tensor:
        """The root mean square of each entry's block or row, in the block's shape; squares do not underflow."""
        rows = block.reshape(block.shape[0], -1) if self.over == "row" and block.ndim > 1 else block.reshape(1, -1)
        top = rows.abs().amax(dim=1, keepdim=True)
        unit = rows / torch.where(top > 0, top, torch.ones_like(top))
        return (top * torch.sqrt((unit * unit).mean(dim=1, keepdim=True))).expand_as(rows).reshape(block.shape)
