"""One optimizer for the matrices and another for the rest, as Muon is used: the hybrid norms."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, OptimizerError, State, register
from maxmargin.verify.optimizers.core.logscale import Scaled
from maxmargin.verify.optimizers.steepest import MomentumSteepestDescent


def _is_matrix(block: Tensor) -> bool:
    return block.ndim >= 2


@dataclass(frozen=True)
class Composite(Optimizer):
    """``matrices`` steps the 2-D blocks and ``vectors`` the rest, whose learning rate is ``ratio`` times as large.

    With a spectral and an ℓ∞ optimizer it is steepest descent in max(ratio · ‖W‖_msp, ‖u‖_∞)
    (Gronich & Vardi 2602.16340, Muon-Signum and Muon-Adam; ratio = η₀^A / η₀^M).
    """

    matrices: Optimizer
    vectors: Optimizer
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.ratio) and self.ratio > 0):
            raise OptimizerError(
                f"ratio is {self.ratio}; it must be a finite number > 0 (η of the vectors / η of the matrices)"
            )

    @override
    def facts(self) -> Facts:
        return Facts(
            norm="hybrid" if self.ratio == 1.0 else f"hybrid:{self.ratio!r}",
            step_norm=self.ratio,  # the vectors move by ratio in ℓ∞, the matrices by 1 in a norm of weight ratio
            recursion=f"matrices: {self.matrices.recursion};  vectors, η × {self.ratio:g}: {self.vectors.recursion}",
            source="Gronich & Vardi 2602.16340, corollary on composites and theorem on Muon-Adam",
            memory=max(self.matrices.memory, self.vectors.memory),
            lag_limit=min(self.matrices.lag_limit, self.vectors.lag_limit),
            betas=self.vectors.betas,
        )

    @override
    def init(self, theta: Blocks) -> State:
        matrices, vectors = self._split(theta)
        return (self.matrices.init(matrices) if matrices else (), self.vectors.init(vectors) if vectors else ())

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        matrices, vectors = self._split(gradient.blocks)
        of_matrices, of_vectors = state
        moved: dict[str, Tensor] = {}
        if matrices:
            u, of_matrices = self.matrices.direction(of_matrices, Scaled(matrices, gradient.log_scale), step)
            moved |= u
        if vectors:
            u, of_vectors = self.vectors.direction(of_vectors, Scaled(vectors, gradient.log_scale), step)
            moved |= {k: self.ratio * b for k, b in u.items()}
        return {k: moved[k] for k in gradient.blocks}, (of_matrices, of_vectors)

    @staticmethod
    def _split(blocks: Blocks) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        matrices = {k: b for k, b in blocks.items() if _is_matrix(b)}
        return matrices, {k: b for k, b in blocks.items() if k not in matrices}


@register("muon-signum", "Muon on matrices, Signum on the rest: hybrid (beta=0.9, ratio=1)")
def muon_signum(beta: float = 0.9, ratio: float = 1.0) -> Optimizer:
    """Muon-Signum."""
    return Composite(
        MomentumSteepestDescent(get_norm("spectral"), beta), MomentumSteepestDescent(get_norm("linf"), beta), ratio
    )


@register("muon-adam", "Muon on matrices, Adam (eps=0) on the rest: hybrid (beta=0.9, beta1=0.9, beta2=0.95, ratio=1)")
def muon_adam(beta: float = 0.9, beta1: float = 0.9, beta2: float = 0.95, ratio: float = 1.0) -> Optimizer:
    """Muon-Adam."""
    return Composite(MomentumSteepestDescent(get_norm("spectral"), beta), Adam(beta1, beta2), ratio)
