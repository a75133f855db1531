"""Two-layer networks with squared ReLU, σ(z) = max(z, 0)²: the smallest smooth homogeneous networks.

With the second layer fixed L = 2, with both layers trained L = 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, at_least, family, two_classes


@final
@dataclass(frozen=True)
class SquaredReLUFixed(HomogeneousModel):
    """Binary, f(W; x) = Σ_{j < p} σ(w_j·x) − Σ_{j >= p} σ(w_j·x): one block ``W`` (hidden, inputs), L = 2.

    Attributes:
        inputs: Features d.
        hidden: Neurons h.
        positive: Neurons p with output weight +1; the others have −1.
    """

    inputs: int
    hidden: int
    positive: int
    name: ClassVar[str] = "relu2-fixed"
    degree: ClassVar[int] = 2
    block_degrees: ClassVar[Mapping[str, int]] = {"W": 2}

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"W": (self.hidden, self.inputs)}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        r = torch.relu(X @ theta["W"].T)
        return (r * self._signed(r)).sum(-1, keepdim=True)

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        r = torch.relu(X @ theta["W"].T)
        return {"W": (2.0 * c * self._signed(r)).T @ X}

    def _signed(self, r: Tensor) -> Tensor:
        # Slices, not a vector of signs: no constant tensor to create in a hot loop, or on the wrong device.
        return torch.cat([r[..., : self.positive], -r[..., self.positive :]], dim=-1)


@final
@dataclass(frozen=True)
class SquaredReLU(HomogeneousModel):
    """Binary, f(θ; x) = Σ_j a_j σ(w_j·x): blocks ``W`` (hidden, inputs) and ``a`` (hidden,), L = 3."""

    inputs: int
    hidden: int
    name: ClassVar[str] = "relu2"
    degree: ClassVar[int] = 3
    block_degrees: ClassVar[Mapping[str, int]] = {"W": 2, "a": 1}

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"W": (self.hidden, self.inputs), "a": (self.hidden,)}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        r = torch.relu(X @ theta["W"].T)
        return ((r * r) @ theta["a"]).unsqueeze(-1)

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        r = torch.relu(X @ theta["W"].T)
        cr = c * r
        return {"W": (2.0 * theta["a"] * cr).T @ X, "a": (cr * r).sum(0)}


@final
@dataclass(frozen=True)
class SquaredReLUMulticlass(HomogeneousModel):
    """Multiclass, f(θ; x) = V σ(W x): blocks ``W`` (hidden, inputs) and ``V`` (classes, hidden), L = 3."""

    classes: int
    inputs: int
    hidden: int
    name: ClassVar[str] = "relu2"
    degree: ClassVar[int] = 3
    block_degrees: ClassVar[Mapping[str, int]] = {"W": 2, "V": 1}

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"W": (self.hidden, self.inputs), "V": (self.classes, self.hidden)}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        r = torch.relu(X @ theta["W"].T)
        return (r * r) @ theta["V"].T

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        r = torch.relu(X @ theta["W"].T)
        return {"W": (2.0 * r * (c @ theta["V"])).T @ X, "V": c.T @ (r * r)}


@family("relu2", "two-layer squared ReLU, both layers trained (L = 3); a matrix head V for three classes up")
def relu2(data: Data, *, h: int = 8) -> HomogeneousModel:
    """The trained two-layer network with h hidden neurons.

    Returns:
        :class:`SquaredReLU` for two classes, :class:`SquaredReLUMulticlass` for more.

    Raises:
        ProblemError: for h below 1.
    """
    at_least("relu2", 1, h=h)
    if data.classes == 2:
        return SquaredReLU(data.features, h)
    return SquaredReLUMulticlass(data.classes, data.features, h)


@family("relu2-fixed", "two-layer squared ReLU, second layer fixed to +-1, half and half (L = 2, two classes)")
def relu2_fixed(data: Data, *, h: int = 8) -> HomogeneousModel:
    """The network with fixed output signs: the first ⌈h/2⌉ neurons +1, the others −1.

    Returns:
        The model.

    Raises:
        ProblemError: for h below 2 (both signs are needed), or more than two classes.
    """
    two_classes("relu2-fixed", data)
    at_least("relu2-fixed", 2, h=h)
    return SquaredReLUFixed(data.features, h, (h + 1) // 2)
