"""The contract of a homogeneous model: f(c θ; x) = c^L f(θ; x) for c > 0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor


class HomogeneousModel(ABC):
    """A model f(θ; x), positively homogeneous of degree L in its parameters θ (a mapping of blocks).

    Written for ONE set of parameters, in torch operations that ``torch.func.vmap`` can batch. Subclasses are
    frozen dataclasses; a new model is one file with such a class and a function marked
    ``@registry.family(name, summary)`` that builds it for given data.

    Laws (checked by :func:`maxmargin.models.checks.check_homogeneity`, not believed):
        - homogeneity: ``scores(c θ, X) = c**degree scores(θ, X)`` for c > 0;
        - Euler: ``⟨∇ scores, θ⟩ = degree · scores``, and block by block with ``block_degrees``;
        - ``pullback`` is the vector-Jacobian product of ``scores``.
    """

    inputs: int
    """The field that :attr:`features` gives; a model without it says ``features`` itself."""
    linear: ClassVar[bool] = False
    """Whether f is linear in θ, so that its margin problem is convex."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages and reports call it."""

    @property
    def smooth(self) -> bool:
        """Whether f is C¹ in θ (hypothesis M1 of Gronich & Vardi 2602.16340)."""
        return True

    @property
    def degree(self) -> float:
        """Degree of homogeneity L in all parameters together, the blocks' sum; an int where it is whole."""
        return sum((self.block_degrees or {}).values())

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each block, in order: ``(rows, columns)`` of a matrix or ``(length,)`` of a vector."""

    @property
    def outputs(self) -> int:
        """Scores per sample: the number of ``classes``, or 1 of a binary model, which has no such field."""
        return int(getattr(self, "classes", 1))

    @property
    def features(self) -> int:
        """Length of one input x."""
        return self.inputs

    @property
    def block_degrees(self) -> Mapping[str, float] | None:
        """Degree d_k in each block alone, by default 1, summing to ``degree``; None where the blocks add."""
        return dict.fromkeys(self.shapes, 1)

    @abstractmethod
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        """f(θ; x) for each row of X (n, features): shape (n, outputs)."""

    def pullback(self, theta: Mapping[str, Tensor], X: Tensor, c: Tensor) -> dict[str, Tensor]:
        """Return Σ c[i, o] ∇_θ f_o(θ; x_i), one array a block, for c of shape (n, outputs).

        The default differentiates ``scores``; a model overrides it with the closed form where speed asks for
        it (:func:`maxmargin.models.checks.check_homogeneity` compares the two).
        """
        vjp = torch.func.vjp(lambda t: self.scores(t, X), dict(theta))[1]
        return dict(vjp(c)[0])

    def init(self, seed: int, scale: float = 1.0) -> dict[str, Tensor]:
        """A random start: entries N(0, scale² / fan-in) with fan-in the last axis, float64, on the CPU."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: scale * torch.randn(shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5
            for name, shape in self.shapes.items()
        }
