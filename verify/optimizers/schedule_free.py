"""Schedule-free gradient descent and Adam: gradients are taken between a base sequence and its average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, OptimizerError, State, check_betas, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine_rms, safe_ratio, zeros_like
from maxmargin.verify.optimizers.core.moments import times


class Averaging(NamedTuple):
    """z − y, in steps of order one; √v, of Adam; logarithms of the largest learning rate and of the weights' sum."""

    ahead: dict[str, Tensor]
    root: tuple[Scaled, ...]
    log_rate: Tensor
    log_sum: Tensor


@register(
    "schedule-free",
    "schedule-free GD (normalized) or Adam, no theorem (beta1=0.9, beta2=0.999, kind=gd, rectified=false)",
)
@dataclass(frozen=True)
class ScheduleFree(Optimizer):
    """z ← z − γ ĝ(y),  x ← (1−c) x + c z,  y = (1−β₁) z + β₁ x: for y, where gradients are taken.

    With d = z − y:  step c d − γ (1 − β₁ (1−c)) ĝ,  d ← (1−c)(d − γ β₁ ĝ), where c is the newest point's share in an
    average of weights w_t = t^r (max_{s≤t} γ_s)^weight_lr_power. *adam*: ĝ = g/√v̂ (v ← β₂ v + (1−β₂) g², 0/0 := 0), and
    γ = 1; *gd*: γ ĝ = g/‖g‖₂, gradient descent at learning rates γ = 1/‖g‖₂, which reach large margins. ``rectified``:
    γ times RAdam's factor, 0 in its first steps. η multiplies the whole step, and is constant in the method itself. In
    the end x, y and z have one direction. No theorem on its margin is known to us, so no norm is claimed.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    kind: Literal["gd", "adam"] = "gd"
    rectified: bool = False
    r: float = 0.0
    weight_lr_power: float = 2.0

    def __post_init__(self) -> None:
        check_betas(beta1=self.beta1, beta2=self.beta2)
        if self.kind not in ("gd", "adam"):
            raise OptimizerError(f"kind is {self.kind!r}; it must be 'gd' or 'adam'")

    @override
    def facts(self) -> Facts:
        adam = self.kind == "adam"
        moment = f"v ← {self.beta2:g} v + {1 - self.beta2:.3g} g²,  " if adam else ""
        rate = ("ρ_t" if adam else "ρ_t/‖g‖₂") if self.rectified else "1" if adam else "1/‖g‖₂"
        weights = [f"t^{self.r:g}"] if self.r else []
        if self.weight_lr_power and (self.rectified or not adam):
            weights.append(f"(max γ)^{self.weight_lr_power:g}")
        average = f"average of z{' weighted by ' if weights else ''}{' '.join(weights)}"
        return Facts(
            norm=None,
            pace_norm="linf" if adam else "l2",
            recursion=(
                f"{moment}z ← z − η γ {'g/√v̂' if adam else 'g'},  γ = {rate};  x: the {average};  "
                f"θ = {1 - self.beta1:.3g} z + {self.beta1:g} x"
            ),
            source="Defazio et al. 2405.15682, equations 3 to 5 and algorithm 1",
            memory=1.0 / (1.0 - self.beta2) if adam else 1.0,
            lag_limit=(1.0 - self.beta2) / 2 if adam else 1.0,
        )

    @override
    def init(self, theta: Blocks) -> State:
        nothing = zeros_like(theta)
        root = (nothing,) if self.kind == "adam" else ()
        return Averaging(scale(theta, 0.0), root, nothing.log_scale, nothing.log_scale)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        rect = self._rectification(step) if self.rectified else torch.ones_like(step)
        root, log_rate = state.root, torch.log(rect)
        if self.kind == "adam":
            root = (combine_rms(root[0], self.beta2, gradient, 1.0 - self.beta2),)
            corrected = times(root[0], 1.0 / torch.sqrt(1.0 - torch.pow(self.beta2, step)))
            unit = safe_ratio(gradient, corrected)
        else:
            length = get_norm("l2").value(gradient.blocks)
            unit = scale(gradient.blocks, 1.0 / torch.where(length > 0, length, torch.ones_like(length)))
            log_rate = torch.where(length > 0, log_rate - gradient.log_scale - torch.log(length), -torch.inf)
        log_rate = torch.maximum(state.log_rate, log_rate)
        log_weight = self.r * torch.log(step) + (self.weight_lr_power * log_rate if self.weight_lr_power else 0.0)
        top = torch.maximum(state.log_sum, log_weight)
        top = torch.where(top > -torch.inf, top, torch.zeros_like(top))
        new = torch.exp(log_weight - top)
        total = torch.exp(state.log_sum - top) + new
        c = torch.where(total > 0, new / torch.where(total > 0, total, torch.ones_like(total)), torch.zeros_like(total))
        own, kept = rect * (1.0 - self.beta1 * (1.0 - c)), self.beta1 * rect
        moved = {k: c * d - own * unit[k] for k, d in state.ahead.items()}
        ahead = {k: (1.0 - c) * (d - kept * unit[k]) for k, d in state.ahead.items()}
        return moved, Averaging(ahead, root, log_rate, top + torch.log(total))

    def _rectification(self, step: Tensor) -> Tensor:
        """RAdam's factor; 0 while the length of its average is at most 4 (Liu et al. 1908.03265, algorithm 2)."""
        most = 2.0 / (1.0 - self.beta2) - 1.0
        kept = torch.pow(self.beta2, step)
        now = most - 2.0 * step * kept / (1.0 - kept)
        sure = now > 4.0
        now = torch.where(sure, now, torch.full_like(now, 5.0))
        factor = torch.sqrt((now - 4.0) * (now - 2.0) * most / ((most - 4.0) * (most - 2.0) * now))
        return torch.where(sure, factor, torch.zeros_like(factor))
