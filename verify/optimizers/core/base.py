"""The contract of an engine optimizer, and the registry of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any

from torch import Tensor

from maxmargin.models.blocks import Blocks, add
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.optimizers.core.logscale import Scaled

State = Any  # a tree of tensors


class OptimizerError(ValueError):
    """An optimizer that is not registered, or arguments that it does not take."""


class Optimizer(ABC):
    """θ ← θ + η · direction, written for ONE run; the engine vmaps it over runs.

    Subclasses are frozen dataclasses without branches on tensor values. The gradient comes as (mantissa, log-scale)
    and moments are kept in the same form, so nothing underflows.
    """

    @property
    @abstractmethod
    def norm(self) -> Norm | None:
        """The norm whose margin theory says it maximizes, or None."""

    @property
    @abstractmethod
    def recursion(self) -> str:
        """The recursion that is run, in one line."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Paper and theorem."""

    @property
    @abstractmethod
    def memory(self) -> float:
        """Steps that its slowest moment remembers, 1/(1−β); 1 without momentum."""

    @property
    @abstractmethod
    def lag_limit(self) -> float:
        """Change of a log-weight in one step that its moments can still follow: 1−β, and (1−β₂)/2 for v."""

    @property
    def betas(self) -> tuple[float, float] | None:
        """(β₁, β₂) where blocks are stepped by Adam without eps: theory asks A1 and β₁ ≤ β₂ of these."""
        return None

    @property
    def step_norm(self) -> float:
        """‖direction‖ in ``pace_norm`` when every moment is settled; at most that where an eps shortens the step."""
        return 1.0

    @property
    def pace_norm(self) -> Norm:
        """The norm in which a step has a known length: its own, ℓ2 if it has none."""
        return self.norm or get_norm("l2")

    @abstractmethod
    def init(self, theta: Blocks) -> State:
        """The state before the first step."""

    @abstractmethod
    def direction(self, state: State, gradient: Scaled, step: Tensor) -> tuple[dict[str, Tensor], State]:
        """The direction (before the learning rate) and the next state; ``step`` counts from 1, a scalar tensor."""

    def move(self, theta: Blocks, direction: Blocks, eta: Tensor, step: Tensor) -> Blocks:
        """The weights after the step: θ + η · direction, unless weights are decayed or rescaled besides."""
        del step
        return add(theta, direction, eta)


@dataclass(frozen=True)
class Entry:
    """A row of the registry."""

    name: str
    summary: str
    build: Callable[..., Optimizer]


OPTIMIZERS: dict[str, Entry] = {}


def register(name: str, summary: str) -> Callable[[Callable[..., Optimizer]], Callable[..., Optimizer]]:
    """Put a factory of optimizers into the registry under ``name``."""

    def put(build: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
        OPTIMIZERS[name] = Entry(name, summary, build)
        return build

    return put


def get_optimizer(name: str, kwargs: Mapping[str, Any] | None = None) -> Optimizer:
    """Return a registered optimizer, built.

    Raises:
        OptimizerError: for an unknown name or arguments that the optimizer does not take.
    """
    if name not in OPTIMIZERS:
        near = get_close_matches(name, OPTIMIZERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise OptimizerError(f"unknown optimizer {name!r}{hint} known: {', '.join(sorted(OPTIMIZERS))}")
    try:
        return OPTIMIZERS[name].build(**(kwargs or {}))
    except (TypeError, ValueError) as error:
        raise OptimizerError(f"optimizer {name!r} rejects {dict(kwargs or {})}: {error}") from error


def check_beta(beta: float, name: str = "beta") -> None:
    """Raise unless 0 ≤ β < 1.

    Raises:
        OptimizerError: saying what came.
    """
    if not 0 <= beta < 1:
        raise OptimizerError(f"{name} is {beta}; an exponential average needs 0 <= {name} < 1")


def check_eps(eps: float) -> None:
    """Raise unless eps is a finite number ≥ 0.

    Raises:
        OptimizerError: saying what came.
    """
    if not (isfinite(eps) and eps >= 0):
        raise OptimizerError(f"eps is {eps}; needed is a finite number >= 0")
