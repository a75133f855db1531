"""Linear convolutional networks of full width: the predictor is the circular convolution of L vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.model import HomogeneousModel
from maxmargin.models.registry import Data, at_least, family, two_classes


@final
@dataclass(frozen=True)
class LinearConvolution(HomogeneousModel):
    """Binary, f(θ; x) = ⟨w_1 ∗ ⋯ ∗ w_L, x⟩ with circular convolution: vector blocks ``w1`` … ``wL`` of length d.

    L − 1 layers h ↦ (Σ_k w_k h_{i+k mod d})_i and a fully connected one on top, as in Gunasekar, Lee, Soudry & Srebro
    1806.00468 (theirs divide each layer by √d). In the Fourier domain the network is diagonal: the ℓ2 margin of θ is
    the ℓ_{2/L} margin of the predictor's discrete Fourier transform (their theorem 2).

    Attributes:
        inputs: Features d, the full width.
        depth: Number of layers L.
    """

    inputs: int
    depth: int
    name: ClassVar[str] = "conv"

    @property
    @override
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {f"w{layer}": (self.inputs,) for layer in range(1, self.depth + 1)}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        return (X @ reduce(convolve, (theta[block] for block in self.shapes))).unsqueeze(-1)

    @override
    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        # ∇ by w_l is the correlation of Σ c_i x_i with the convolution of the other vectors.
        factors = [theta[block] for block in self.shapes]
        before = [c[:, 0] @ X]
        for factor in factors[:-1]:
            before.append(rotations(factor) @ before[-1])
        gradient = {f"w{self.depth}": before[-1]}
        after = factors[-1]
        for layer in range(self.depth - 1, 0, -1):
            gradient[f"w{layer}"] = rotations(after) @ before[layer - 1]
            after = convolve(after, factors[layer - 1])
        return dict(reversed(gradient.items()))


def rotations(w: Tensor) -> Tensor:
    """The d rotations of a vector, w_{i−j mod d} in row j."""
    d = w.shape[0]
    return torch.stack([torch.cat([w[d - j :], w[: d - j]]) for j in range(d)])


def convolve(u: Tensor, w: Tensor) -> Tensor:
    """Circular convolution, Σ_j u_j w_{i−j mod d}."""
    return u @ rotations(w)


@family("conv", "linear network of full-width circular convolutions, beta = w1 * ... * wL, L = depth (two classes)")
def conv(data: Data, *, depth: int = 2) -> HomogeneousModel:
    """The convolutional network of the given depth, 2 at least (the model ``linear`` is depth 1)."""
    two_classes("conv", data)
    at_least("conv", 2, depth=depth)
    return LinearConvolution(data.features, depth)
