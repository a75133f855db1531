"""One engine optimizer a block, each with a learning rate of its own: what independent blocks come to."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import Norm, ParameterNorm
from maxmargin.verify.optimizers.core.base import Facts, Optimizer, OptimizerError, State
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

    @override
    def facts(self) -> Facts:
        claimed = [part.optimizer.norm for part in self.parts]
        return Facts(
            norm=None if None in claimed else self._joined([n for n in claimed if n], [p.factor for p in self.parts]),
            pace_norm=self._joined(
                [part.optimizer.pace_norm for part in self.parts],
                [part.factor * part.optimizer.step_norm for part in self.parts],
            ),
            recursion=";  ".join(f"{p.name}, η × {p.factor:.4g}: {p.optimizer.recursion}" for p in self.parts),
            source="; ".join(dict.fromkeys(part.optimizer.source for part in self.parts)),
            memory=max(part.optimizer.memory for part in self.parts),
            lag_limit=min(part.optimizer.lag_limit for part in self.parts),
        )

    def _joined(self, norms: list[Norm], factors: list[float]) -> Norm:
        """The largest of the parts' norms, each over its factor."""
        rules = {}
        for part, of, factor in zip(self.parts, norms, factors, strict=True):
            norm, weight = of.block(part.name, part.shape)
            rules[part.name] = (norm, weight / factor)
        return ParameterNorm.of(rules)

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
