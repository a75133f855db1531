"""Deep linear networks: f(θ; x) is linear in x and homogeneous of degree depth in θ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor
from typing_extensions import override

from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, at_least, family


@final
@dataclass(frozen=True)
class DeepLinear(HomogeneousModel):
    """Binary, f(θ; x) = ⟨a, W_{L−1} ⋯ W_1 x⟩: matrix blocks ``W1`` … and a vector head ``a``.

    The hybrid norms see both kinds of block here.

    Attributes:
        inputs: Features d.
        widths: Hidden widths m_1 … m_{L−1}; the depth is their number + 1.
    """

    inputs: int
    widths: tuple[int, ...]
    name: ClassVar[str] = "deep-linear"

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**_matrices(self.inputs, self.widths), "a": (self.widths[-1],)}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        # The predictor first, the samples last: no factor n in the products of the layers.
        beta = theta["a"]
        for layer in range(len(self.widths), 0, -1):
            beta = beta @ theta[f"W{layer}"]
        return (X @ beta).unsqueeze(-1)

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        depth = len(self.widths) + 1
        forward = [c[:, 0] @ X]  # Σ c_i W_l ⋯ W_1 x_i
        for layer in range(1, depth):
            forward.append(theta[f"W{layer}"] @ forward[-1])
        gradient = {}
        back = theta["a"]
        for layer in range(depth - 1, 0, -1):
            gradient[f"W{layer}"] = back.unsqueeze(-1) * forward[layer - 1]
            back = back @ theta[f"W{layer}"]
        return {**dict(reversed(gradient.items())), "a": forward[-1]}


@final
@dataclass(frozen=True)
class DeepLinearMulticlass(HomogeneousModel):
    """Multiclass, f(θ; x) = W_L ⋯ W_1 x: matrix blocks only, the last of them (classes, m_{L−1}).

    Attributes:
        classes: Outputs k.
        inputs: Features d.
        widths: Hidden widths m_1 … m_{L−1}.
    """

    classes: int
    inputs: int
    widths: tuple[int, ...]
    name: ClassVar[str] = "deep-linear"

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return _matrices(self.inputs, (*self.widths, self.classes))

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        product = theta[f"W{len(self.widths) + 1}"]
        for layer in range(len(self.widths), 0, -1):
            product = product @ theta[f"W{layer}"]
        return X @ product.T

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        depth = len(self.widths) + 1
        forward = [X.T @ c]  # Σ (W_l ⋯ W_1 x_i) c_iᵀ, one column a class
        for layer in range(1, depth):
            forward.append(theta[f"W{layer}"] @ forward[-1])
        gradient = {f"W{depth}": forward[-1].T}
        back = theta[f"W{depth}"]
        for layer in range(depth - 1, 0, -1):
            gradient[f"W{layer}"] = (forward[layer - 1] @ back).T
            back = back @ theta[f"W{layer}"]
        return dict(reversed(gradient.items()))


def _matrices(inputs: int, widths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    sizes = (inputs, *widths)
    return {f"W{layer + 1}": (sizes[layer + 1], sizes[layer]) for layer in range(len(widths))}


@family("deep-linear", "linear layers, L = depth; a vector head `a` for two classes, matrices only for more")
def deep_linear(data: Data, *, depth: int = 2, width: int = 4) -> HomogeneousModel:
    """The network with depth − 1 hidden layers of the same width; depth 2 at least (``linear`` is depth 1)."""
    at_least("deep-linear", 2, depth=depth)
    at_least("deep-linear", 1, width=width)
    widths = (width,) * (depth - 1)
    if data.classes == 2:
        return DeepLinear(data.features, widths)
    return DeepLinearMulticlass(data.classes, data.features, widths)
