"""One engine optimizer a block, each with a learning rate of its own: what independent blocks come to."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import Norm, ParameterNorm
from maxmargin.verify.optimizers.core.base import Optimizer, OptimizerError, State
from maxmargin.verify.optimizers.core.logscale import Scaled


@dataclass(frozen=True)
class Part:
    """What one block does: ``optimizer`` on it alone, at ``factor`` times the common learning rate."""

    name: str
    shape: tuple[int, ...]
    optimizer: Optimizer
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.factor) and self.factor > 0):
            raise OptimizerError(f"block {self.name!r}: factor is {self.factor}; it must be a finite number > 0")


@dataclass(frozen=True)
class Blockwise(Optimizer):
    """Every block by itself. Parts that follow norms ‖·‖_k make steepest descent in max_k ‖θ_k‖_k / factor_k."""

    parts: tuple[Part, ...]

    @property
    @override
    def norm(self) -> Norm | None:
        rules = {}
        for part in self.parts:
            if part.optimizer.norm is None:
                return None
            norm, weight = part.optimizer.norm.block(part.name, part.shape)
            rules[part.name] = (norm, weight / part.factor)
        return ParameterNorm.of(rules)

    @property
    @override
    def pace_norm(self) -> Norm:
        rules = {}
        for part in self.parts:
            norm, weight = part.optimizer.pace_norm.block(part.name, part.shape)
            rules[part.name] = (norm, weight / (part.factor * part.optimizer.step_norm))
        return ParameterNorm.of(rules)

    @property
    @override
    def recursion(self) -> str:
        return ";  ".join(f"{p.name}, η × {p.factor:.4g}: {p.optimizer.recursion}" for p in self.parts)

    @property
    @override
    def source(self) -> str:
        return "; ".join(dict.fromkeys(part.optimizer.source for part in self.parts))

    @property
    @override
    def memory(self) -> float:
        return max(part.optimizer.memory for part in self.parts)

    @property
    @override
    def lag_limit(self) -> float:
        return min(part.optimizer.lag_limit for part in self.parts)

    @override
    def init(self, theta: Blocks) -> State:
        return tuple(part.optimizer.init({part.name: theta[part.name]}) for part in self.parts)

    @override
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        moved, states = {}, []
        for part, own in zip(self.parts, state, strict=True):
            alone = Scaled({part.name: gradient.blocks[part.name]}, gradient.log_scale)
            u, after = part.optimizer.direction(own, alone, step)
            moved[part.name] = part.factor * u[part.name]
            states.append(after)
        return moved, tuple(states)
