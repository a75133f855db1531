"""Diagonal linear networks: the predictor is the entrywise product of L vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar, final

from torch import Tensor
from typing_extensions import override

from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, at_least, family, two_classes


@final
@dataclass(frozen=True)
class Diagonal(HomogeneousModel):
    """Binary, f(θ; x) = ⟨β, x⟩ with β_i = Π_l u_{l,i}: vector blocks ``u1`` … ``uL`` of length d.

    The ℓ2 margin of θ is the ℓ_{2/L} margin of β, the ℓ∞ margin that of β itself (fixture G3).

    Attributes:
        inputs: Features d.
        depth: Number of factors L.
    """

    inputs: int
    depth: int
    name: ClassVar[str] = "diagonal"

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {f"u{layer}": (self.inputs,) for layer in range(1, self.depth + 1)}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        return (X @ prod(theta[block] for block in self.shapes)).unsqueeze(-1)

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        # Products of the factors before and after each layer: no division, so exact zeros do no harm.
        factors = [theta[block] for block in self.shapes]
        before = [c[:, 0] @ X]
        for factor in factors[:-1]:
            before.append(before[-1] * factor)
        gradient = {f"u{self.depth}": before[-1]}
        after = factors[-1]
        for layer in range(self.depth - 1, 0, -1):
            gradient[f"u{layer}"] = before[layer - 1] * after
            after = after * factors[layer - 1]
        return dict(reversed(gradient.items()))


@family("diagonal", "diagonal linear network, beta = u1 * ... * uL, L = depth (two classes)")
def diagonal(data: Data, *, depth: int = 2) -> HomogeneousModel:
    """The diagonal network of the given depth, 2 at least (the model ``linear`` is depth 1)."""
    two_classes("diagonal", data)
    at_least("diagonal", 2, depth=depth)
    return Diagonal(data.features, depth)
