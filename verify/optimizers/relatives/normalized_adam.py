"""Adam on normalized gradients: what a clipped gradient's norm makes of Adam while gradients are large."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled


@register("normalized-adam", "Adam on g/‖g‖, as clipping makes it, no theorem (beta1=0.9, beta2=0.95, relative_eps=0)")
@dataclass(frozen=True)
class NormalizedAdam(Optimizer):
    """Adam's direction for the gradients g/‖g‖₂ of all blocks together, 0/0 := 0.

    Adam whose gradients are clipped to a norm c takes these steps while they are longer, with ``relative_eps`` its
    eps over c: beside gradients of length 1 an eps changes no scale. Its moments weigh a gradient by its direction and
    not by the loss, so that late gradients count as much as early ones; the theorem on Adam does not speak of that,
    and no norm is claimed.
    """

    beta1: float = 0.9
    beta2: float = 0.95
    relative_eps: float = 0.0
    bias_correction: bool = True

    def __post_init__(self) -> None:
        _ = self._adam  # which refuses what is no Adam

    @override
    def facts(self) -> Facts:
        adam = self._adam.facts()
        return replace(
            adam,
            norm=None,
            recursion=f"g ← g/‖g‖₂,  {adam.recursion}",
            source="Pascanu, Mikolov & Bengio 1211.5063 on clipping; Adam's theorem does not speak of it",
            betas=None,
        )

    @override
    def init(self, theta: Blocks) -> State:
        return self._adam.init(theta)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        unit = {k: -b for k, b in get_norm("l2").lmo(gradient.blocks).items()}
        return self._adam.direction(state, Scaled(unit, torch.zeros_like(gradient.log_scale)), step)

    @cached_property
    def _adam(self) -> Adam:
        return Adam(self.beta1, self.beta2, self.relative_eps, self.bias_correction)
