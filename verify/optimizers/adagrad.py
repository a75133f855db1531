"""Adagrad: the gradient over the root of the sum of all its squares so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_eps, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine_rms, zeros_like
from maxmargin.verify.optimizers.core.moments import direction_of, quotient


class Total(NamedTuple):
    """The root √s of the sum of squares."""

    root: Scaled


@register("adagrad", "Adagrad: no fixed norm (eps=0, normalized=true)")
@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g²,  step g / (√s + eps), 0/0 := 0.

    The sum of exponentially falling squares converges: in the end it is gradient descent with a frozen conditioner,
    whose margin is that of a norm weighted by the trajectory's own √s, so no fixed norm (Wang et al. 2012.06244,
    theorem on AdaGrad). With ``normalized`` each step is divided by its ℓ2 length, a schedule of learning rates;
    without it steps shrink like the loss.
    """

    eps: float = 0.0
    normalized: bool = True

    def __post_init__(self) -> None:
        check_eps(self.eps)

    @override
    def facts(self) -> Facts:
        return Facts(
            norm=None,
            pace_norm="l2" if self.normalized else "linf",
            recursion=f"s ← s + g²;  θ ← θ − η g/(√s + {self.eps:g}){', normalized' if self.normalized else ''}",
            source="Duchi, Hazan & Singer 2011; Wang et al. 2012.06244, theorem on AdaGrad (its conditioner's norm)",
            memory=float("inf"),
            lag_limit=1.0,  # s is not meant to follow
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Total(zeros_like(theta))

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        root = combine_rms(state.root, 1.0, gradient, 1.0)
        return direction_of(quotient(gradient, root, self.eps), self.normalized), Total(root)
