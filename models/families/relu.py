"""The two-layer ReLU network: homogeneous, but not C¹ (hypothesis M1 of Gronich & Vardi 2602.16340)."""

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
class TwoLayerReLU(HomogeneousModel):
    """Binary, f(θ; x) = Σ_j a_j max(w_j·x, 0): blocks ``W`` (hidden, inputs) and ``a`` (hidden,), L = 2.

    At a kink the subgradient is torch's, with derivative 0 of max(·, 0) at 0.
    """

    inputs: int
    hidden: int
    name: ClassVar[str] = "relu"
    smooth: ClassVar[bool] = False
    degree: ClassVar[int] = 2
    block_degrees: ClassVar[Mapping[str, int]] = {"W": 1, "a": 1}

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"W": (self.hidden, self.inputs), "a": (self.hidden,)}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        return (torch.relu(X @ theta["W"].T) @ theta["a"]).unsqueeze(-1)

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        z = X @ theta["W"].T
        active = (z > 0).to(z.dtype)
        return {"W": (c * active * theta["a"]).T @ X, "a": (c * active * z).sum(0)}


@family("relu", "two-layer ReLU, both layers trained (L = 2, not smooth, two classes)")
def relu(data: Data, *, h: int = 8) -> HomogeneousModel:
    """The two-layer ReLU network with h hidden neurons.

    Returns:
        The model.

    Raises:
        ProblemError: for h below 1, or more than two classes.
    """
    two_classes("relu", data)
    at_least("relu", 1, h=h)
    return TwoLayerReLU(data.features, h)
