"""What a solver of the inner problem offers: one numerical route to a pair (θ, λ)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from typing_extensions import override

from maxmargin.solvers.routes.flat import FlatNorm

Pair = tuple[np.ndarray, np.ndarray]
"""θ (p,) and λ (n,), as a solver left them: neither normalized nor checked."""


class RouteError(ValueError):
    """A numerical route broke down; the next one is tried."""


class Route(ABC):
    """One way to solve the saddle  max over ‖θ‖ ≤ 1, min over λ in the simplex, of λᵀ A θ  for a fixed norm.

    Nothing that a route returns is believed: :mod:`maxmargin.solvers.routes.saddle` recomputes both bounds from (θ, λ).
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def build(cls, flat: FlatNorm) -> Route | None:
        """This route for a norm, or None if it does not serve it."""

    @abstractmethod
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        """θ and λ, nearly optimal, for the rows of A (n, p), whose largest |entry| is 1.

        Args:
            A: The gradients g_i, one a row.
            tol: The relative gap that is wanted.

        Raises:
            RouteError: the numbers broke down.
        """


@dataclass(frozen=True)
class WeightedRoute(Route):
    """A route for norms ‖θ‖ = ‖d θ‖_p of one exponent p."""

    weights: np.ndarray
    exponent: ClassVar[float]

    @classmethod
    @override
    def build(cls, flat: FlatNorm) -> Self | None:
        weights = flat.weights(cls.exponent)
        return None if weights is None else cls(weights)
