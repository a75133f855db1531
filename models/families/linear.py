"""Linear models, L = 1: their margin problems are convex, so their references are certified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from maxmargin.models.blocks import flatten, unflatten
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, family


@dataclass(frozen=True)
class MulticlassLinear(HomogeneousModel):
    """f(W; x) = W x with one block W (classes, features)."""

    classes: int
    inputs: int
    name: ClassVar[str] = "linear"
    linear: ClassVar[bool] = True

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"W": (self.classes, self.inputs)}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        return X @ theta["W"].T

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        return {"W": c.T @ X}


@dataclass(frozen=True)
class BlockLinear(HomogeneousModel):
    """Binary, f(θ; x) = Σ_k ⟨θ_k, x_k⟩: the input x is the blocks' features in turn, each row-major.

    With one vector block it is the ordinary linear classifier. With matrices and vectors together it is the
    convex problem on which every block's norm, and its weight, shows.
    """

    blocks: tuple[tuple[str, tuple[int, ...]], ...]
    name: ClassVar[str] = "linear"
    linear: ClassVar[bool] = True
    degree: ClassVar[int] = 1
    block_degrees: ClassVar[None] = None  # the blocks add, they do not multiply

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return dict(self.blocks)

    @property
    @override
    def features(self) -> int:
        return sum(prod(shape) for _, shape in self.blocks)

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        return (X @ flatten(theta, self.shapes)).unsqueeze(-1)

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        return unflatten(c[:, 0] @ X, self.shapes)


@family("linear", "f = W x (L = 1); a vector, or the data's own blocks, for two classes")
def linear(data: Data) -> HomogeneousModel:
    """One vector ``w`` or the data's blocks for two classes, a matrix ``W`` (classes, features) for more."""
    if data.classes > 2:
        return MulticlassLinear(data.classes, data.features)
    return BlockLinear(data.blocks or (("w", (data.features,)),))
