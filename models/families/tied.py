"""Shared weights: one matrix serves as every hidden layer, f(θ; x) = ⟨a, σ(W σ(W ⋯ x))⟩ with σ(z) = max(z, 0)^q."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor
from typing_extensions import override

from maxmargin.models.families.networks import RELU2, OfUnits, Unit, rectified
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, at_least, family


@final
@dataclass(frozen=True)
class Tied(OfUnits):
    """Blocks ``W`` (inputs, inputs), used ``uses`` times, and the head ``a`` (inputs,), or ``V`` (classes, inputs).

    The gradient of W is the sum of those of its uses; its degree is q + q² + ….

    Attributes:
        inputs: Features d, which is every layer's width too.
        uses: How many hidden layers are the same matrix.
        unit: σ.
        classes: Outputs; 1 for two classes.
    """

    inputs: int
    uses: int
    unit: Unit = RELU2
    classes: int = 1
    name: ClassVar[str] = "tied"

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        head = {"a": (self.inputs,)} if self.classes == 1 else {"V": (self.classes, self.inputs)}
        return {"W": (self.inputs, self.inputs), **head}

    @property
    @override
    def block_degrees(self) -> Mapping[str, float]:
        return {"W": sum(self.unit.power ** (i + 1) for i in range(self.uses)), list(self.shapes)[1]: 1}

    @property
    @override
    def layers(self) -> tuple[str, ...]:
        return ("W",) * self.uses

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        unit, W, into, bases = self.unit, theta["W"], [X], []
        for _ in range(self.uses):
            bases.append(unit.base(into[-1] @ W.T))
            into.append(unit.value(bases[-1]))
        if self.classes == 1:
            head, back = {"a": (c * into[-1]).sum(0)}, c * theta["a"]
        else:
            head, back = {"V": c.T @ into[-1]}, c @ theta["V"]
        parts = []
        for i in reversed(range(self.uses)):
            below = unit.power * unit.lower(bases[i]) * back
            parts.append(below.T @ into[i])
            back = below @ W
        return {"W": sum(parts[1:], start=parts[0]), **head}


@family("tied", "depth layers of units max(z, 0)^q, the hidden ones sharing one matrix (L = 7 for depth 3, q = 2)")
def tied(data: Data, *, depth: int = 3, q: float = 2.0) -> HomogeneousModel:
    """The network of depth − 1 hidden layers, two at least, that share their weights and are as wide as the input."""
    at_least("tied", 3, depth=depth)
    return Tied(data.features, depth - 1, rectified("tied", q), 1 if data.classes == 2 else data.classes)
