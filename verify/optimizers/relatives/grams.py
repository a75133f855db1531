"""Grams: Adam's lengths along the gradient's own signs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.optimizers.core.base import Facts, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled


@register("grams", "Grams, no theorem (beta1=0.9, beta2=0.95, eps=0)")
@dataclass(frozen=True)
class Grams(Adam):
    """m and v as Adam's, direction = −sign(g) |m̂| / (√v̂ + eps), 0/0 := 0.

    A constant gradient makes steps along its signs; no theorem on its margin is known to us, so no norm is claimed.
    """

    @override
    def facts(self) -> Facts:
        adam = super().facts()
        recursion = adam.recursion.replace("η m̂/", "η sign(g) |m̂|/")
        return replace(adam, norm=None, recursion=recursion, source="Cao, Li & Song 2412.17107", betas=None)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        moved, state = super().direction(state, gradient, step)
        return {k: -b.abs() * torch.sign(gradient.blocks[k]) for k, b in moved.items()}, state
