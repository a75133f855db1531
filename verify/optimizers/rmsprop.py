"""RMSprop: the gradient over the root of its mean square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks, scale
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, State, check_betas, check_eps, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine_rms, safe_ratio, zeros_like


class Averages(NamedTuple):
    """The root √v of the mean square, and the velocity (steps of order one, so no log-scale)."""

    root: Scaled
    velocity: dict[str, Tensor]


@register("rmsprop", "RMSprop, eps=0 unless given: linf (alpha=0.95, eps=0, momentum=0)")
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v ← α v + (1−α) g²,  b ← μ b + g / (√v + eps),  direction = −b, 0/0 := 0; no bias correction.

    Without momentum (μ = 0) and eps it is Adam with β₁ = 0 ≤ β₂ and no bias correction, so ℓ∞ by the same theorem.
    With an eps it is in the end gradient descent: ℓ2 (Wang et al. 2012.06244). A velocity of normalized steps is
    outside both theorems: then no norm is claimed.
    """

    alpha: float = 0.95
    eps: float = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_betas(alpha=self.alpha, momentum=self.momentum)
        check_eps(self.eps)

    @override
    def facts(self) -> Facts:
        velocity = f"b ← {self.momentum:g} b + " if self.momentum else "b = "
        return Facts(
            norm=None if self.momentum else "linf" if self.eps == 0 else "l2",
            pace_norm="linf",
            step_norm=1.0 / (1.0 - self.momentum),
            recursion=(
                f"v ← {self.alpha:g} v + {1 - self.alpha:.3g} g²,  {velocity}g/(√v + {self.eps:g});  θ ← θ − η b"
            ),
            source="Tieleman & Hinton 2012; Gronich & Vardi 2602.16340, theorem on Adam with β₁ = 0",
            memory=1.0 / (1.0 - max(self.alpha, self.momentum)),
            lag_limit=(1.0 - self.alpha) / 2,
        )

    @override
    def init(self, theta: Blocks) -> State:
        return Averages(zeros_like(theta), scale(theta, 0.0) if self.momentum else {})

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        root = combine_rms(state.root, self.alpha, gradient, 1.0 - self.alpha)
        ratio = safe_ratio(gradient, root, self.eps)
        if not self.momentum:
            return scale(ratio, -1.0), Averages(root, {})
        velocity = {k: self.momentum * b + ratio[k] for k, b in state.velocity.items()}
        return scale(velocity, -1.0), Averages(root, velocity)
