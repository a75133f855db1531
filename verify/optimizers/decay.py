"""Decoupled weight decay around any optimizer: AdamW, Lion with decay, Muon with decay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, OptimizerError, State, get_optimizer, register
from maxmargin.verify.optimizers.core.logscale import Scaled


@dataclass(frozen=True)
class Decayed(Optimizer):
    """θ ← (1 − η · decay) θ + η · direction of ``inner``, as in torch.optim.

    The weights stay in a ball of radius 1/decay of the inner optimizer's norm, so the margin does not grow without
    end: if AdamW converges, then to a KKT point of min loss s.t. ‖θ‖_∞ ≤ 1/decay (Xie & Li 2404.04454, theorem 1.1;
    Chen, Li & Liu 2506.15054 for Muon and the spectral norm). That is a margin only as decay → 0: no norm is claimed,
    except with decay 0, which is the inner optimizer.
    """

    inner: Optimizer
    decay: float = 0.01

    def __post_init__(self) -> None:
        if not (isfinite(self.decay) and self.decay >= 0):
            raise OptimizerError(f"decay is {self.decay}; it must be a finite number >= 0")

    @override
    def facts(self) -> Facts:
        return replace(
            self.inner.facts(),
            norm=self.inner.norm if self.decay == 0 else None,
            pace_norm=self.inner.pace_norm,
            recursion=f"θ ← (1 − {self.decay:g} η) θ, then {self.inner.recursion}",
            source=f"Xie & Li 2404.04454; Chen, Li & Liu 2506.15054; undecayed: {self.inner.source}",
        )

    @override
    def init(self, theta: Blocks) -> State:
        return self.inner.init(theta)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        return self.inner.direction(state, gradient, step)

    @override
    def move(self, theta: Blocks, direction: Blocks, eta: Tensor, step: Tensor) -> Blocks:
        return self.inner.move(scale(theta, 1.0 - self.decay * eta), direction, eta, step)


@register("adamw", "AdamW: no margin norm (beta1=0.9, beta2=0.95, eps=0, decay=0.01)")
def adamw(
    beta1: float = 0.9, beta2: float = 0.95, eps: float = 0.0, bias_correction: bool = True, decay: float = 0.01
) -> Optimizer:
    """AdamW."""
    return Decayed(Adam(beta1, beta2, eps, bias_correction), decay)


@register("decayed", "any optimizer with decoupled weight decay: no margin norm (optimizer=signum, decay=0.01, …)")
def decayed(optimizer: str = "signum", decay: float = 0.01, **kwargs: Any) -> Optimizer:
    """Decoupled weight decay around ``optimizer``, which takes the other arguments."""
    return Decayed(get_optimizer(optimizer, kwargs), decay)
