"""Steepest descent under a norm, plain and with momentum: the family that theory speaks of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, OptimizerError, State, check_betas, register
from maxmargin.verify.optimizers.core.logscale import Scaled, combine
from maxmargin.verify.optimizers.core.moments import OneMoment

Kind = Literal["ema", "heavy-ball", "nesterov"]


@dataclass(frozen=True)
class SteepestDescent(Optimizer):
    """Normalized steepest descent: direction = lmo(g) = argmin over the unit ball of ⟨g, ·⟩."""

    of: Norm

    @override
    def facts(self) -> Facts:
        return Facts(
            norm=self.of,
            recursion=f"θ ← θ + η lmo(g), {self.of.name} ball",
            source="Tsilivis, Gronich, Kempe & Vardi 2410.22069; Gronich & Vardi 2602.16340",
        )

    @override
    def init(self, theta: Blocks) -> State:
        return ()

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        return self.of.lmo(gradient.blocks), state


@dataclass(frozen=True)
class MomentumSteepestDescent(OneMoment):
    """Steepest descent along an average of gradients: direction = lmo(m).

    ``ema``: m ← β m + (1−β) g; ``heavy-ball``: m ← β m + g, the same direction in exact arithmetic;
    ``nesterov``: the EMA, and the step along β m + (1−β) g.
    """

    of: Norm
    beta: float = 0.9
    kind: Kind = "ema"

    def __post_init__(self) -> None:
        check_betas(beta=self.beta)
        if self.kind not in ("ema", "heavy-ball", "nesterov"):
            raise OptimizerError(f"kind is {self.kind!r}; it must be 'ema', 'heavy-ball' or 'nesterov'")

    @override
    def facts(self) -> Facts:
        take = "g" if self.kind == "heavy-ball" else f"{1 - self.beta:g} g"
        along = "lmo(β m + (1−β) g)" if self.kind == "nesterov" else "lmo(m)"
        return Facts(
            norm=self.of,
            recursion=f"m ← {self.beta:g} m + {take};  θ ← θ + η {along}, {self.of.name} ball",
            source="Gronich & Vardi 2602.16340, theorem on momentum steepest descent",
            memory=1.0 / (1.0 - self.beta),
            lag_limit=1.0 - self.beta,
        )

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        take = 1.0 if self.kind == "heavy-ball" else 1.0 - self.beta
        moment = combine(state, self.beta, gradient, take)
        ahead = combine(moment, self.beta, gradient, 1.0 - self.beta) if self.kind == "nesterov" else moment
        return self.of.lmo(ahead.blocks), moment


@register("steepest", "normalized steepest descent under any norm, no momentum (norm=l2)")
def steepest(norm: str = "l2") -> Optimizer:
    """Normalized steepest descent under ``norm``."""
    return SteepestDescent(get_norm(norm))


@register("momentum-steepest", "momentum steepest descent under any norm (norm=l2, beta=0.9, kind=ema)")
def momentum_steepest(norm: str = "l2", beta: float = 0.9, kind: Kind = "ema") -> Optimizer:
    """Momentum steepest descent under ``norm``."""
    return MomentumSteepestDescent(get_norm(norm), beta, kind)


def plain(norm: str) -> Callable[[], Optimizer]:
    """A factory of normalized steepest descent under one norm."""

    def build() -> Optimizer:
        return SteepestDescent(get_norm(norm))

    return build


def with_momentum(norm: str) -> Callable[..., Optimizer]:
    """A factory of momentum steepest descent under one norm."""

    def build(beta: float = 0.9, kind: Kind = "ema") -> Optimizer:
        return MomentumSteepestDescent(get_norm(norm), beta, kind)

    return build


register("ngd", "normalized gradient descent, no momentum: l2")(plain("l2"))
register("momentum-gd", "gradient descent with momentum, normalized: l2 (beta=0.9)")(with_momentum("l2"))
register("sign-gd", "sign of the gradient, no momentum: linf")(plain("linf"))
register("signum", "sign of the momentum: linf (beta=0.9)")(with_momentum("linf"))  # Bernstein et al. 1802.04434
register("spectral-gd", "polar factor of the gradient, no momentum: spectral")(plain("spectral"))
register("layer-gd", "GD with each layer's momentum normalized on its own: l2;max (beta=0.9)")(with_momentum("l2;max"))
# The coordinate with the largest gradient (Gauss-Southwell), the step of AdaBoost (Telgarsky 1303.4172).
register("coordinate-descent", "greedy coordinate descent, one coordinate of all a step: l1")(plain("l1"))
