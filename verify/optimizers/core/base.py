"""The contract of an engine optimizer, and the registry of them."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from math import isfinite
from typing import Any, TypeVar

from torch import Tensor

from maxmargin.models.blocks import Blocks, Shapes, add
from maxmargin.models.errors import InputError
from maxmargin.solvers.norms import Norm, get_block_norm, get_norm
from maxmargin.verify.optimizers.core.logscale import Scaled

State = Any  # a tree of tensors


class OptimizerError(InputError):
    """An optimizer that is not registered, or arguments that it does not take."""


@dataclass(frozen=True)
class Facts:
    """What is known of an optimizer without running it.

    Attributes:
        norm: The norm whose margin theory says it maximizes, or None.
        recursion: The recursion that is run, in one line.
        source: Paper and theorem.
        memory: Steps that its slowest moment remembers, 1/(1−β); 1 without momentum.
        lag_limit: Change of a log-weight in one step that its moments can still follow: 1−β, and (1−β₂)/2 for v.
        pace_norm: The norm in which a step has a known length; None: its own, ℓ2 if it has none.
        step_norm: ‖direction‖ in it when every moment is settled; at most that where an eps shortens the step.
        betas: (β₁, β₂) where blocks are stepped by Adam without eps: theory asks A1 and β₁ ≤ β₂ of these.
    """

    norm: str | Norm | None
    recursion: str
    source: str
    memory: float = 1.0
    lag_limit: float = 1.0
    pace_norm: str | Norm | None = None
    step_norm: float = 1.0
    betas: tuple[float, float] | None = None


class Optimizer(ABC):
    """θ ← θ + η · direction, written for ONE run; the engine vmaps it over runs.

    Subclasses are frozen dataclasses without branches on tensor values. The gradient comes as (mantissa, log-scale)
    and moments are kept in the same form, so nothing underflows.
    """

    @abstractmethod
    def facts(self) -> Facts:
        """What is known of it; the properties below read this once."""

    @cached_property
    def _facts(self) -> Facts:
        return self.facts()

    @cached_property
    def norm(self) -> Norm | None:
        """The norm whose margin theory says it maximizes, or None."""
        return None if self._facts.norm is None else get_norm(self._facts.norm)

    @cached_property
    def pace_norm(self) -> Norm:
        """The norm in which a step has a known length."""
        return get_norm(self._facts.pace_norm or self.norm or "l2")

    @property
    def recursion(self) -> str:
        """The recursion that is run, in one line."""
        return self._facts.recursion

    @property
    def source(self) -> str:
        """Paper and theorem."""
        return self._facts.source

    @property
    def memory(self) -> float:
        """Steps that its slowest moment remembers."""
        return self._facts.memory

    @property
    def lag_limit(self) -> float:
        """Change of a log-weight in one step that its moments can still follow."""
        return self._facts.lag_limit

    @property
    def step_norm(self) -> float:
        """‖direction‖ in ``pace_norm`` when every moment is settled."""
        return self._facts.step_norm

    def has_signs(self, shapes: Shapes) -> bool:
        """Whether some entries move as far however small their gradients are, as signs do, and Adam without eps."""
        return not getattr(self, "eps", 0.0) and follows_signs(self.norm or self.pace_norm, shapes)

    @property
    def betas(self) -> tuple[float, float] | None:
        """(β₁, β₂) where blocks are stepped by Adam without eps: theory asks A1 and β₁ ≤ β₂ of these."""
        return self._facts.betas

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


def follows_signs(norm: Norm, shapes: Shapes) -> bool:
    """Whether a norm's steepest descent moves the entries of some block by their signs alone."""
    return any(norm.block(name, shape)[0] == get_block_norm("linf") for name, shape in shapes.items())


@dataclass(frozen=True)
class Entry:
    """A row of the registry."""

    name: str
    summary: str
    build: Callable[..., Optimizer]


OPTIMIZERS: dict[str, Entry] = {}


_Build = TypeVar("_Build", bound=Callable[..., Optimizer])


def register(name: str, summary: str) -> Callable[[_Build], _Build]:
    """Put a class or a factory of optimizers into the registry under ``name``.

    Returns:
        The decorator, which hands the class or factory back.

    Raises:
        OptimizerError: the name is taken, and where.
    """

    def put(build: _Build) -> _Build:
        if name in OPTIMIZERS:
            raise OptimizerError(
                f"an optimizer called {name!r} is registered by {OPTIMIZERS[name].build.__module__} already; "
                f"give the one of {build.__module__} another name"
            )
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
        parameters = inspect.signature(OPTIMIZERS[name].build).parameters.values()
        taken = ", ".join(str(one.replace(annotation=one.empty)) for one in parameters) or "no arguments"
        raise OptimizerError(f"optimizer {name!r} rejects {dict(kwargs or {})}: {error}; it takes {taken}") from error


def check_betas(**betas: float) -> None:
    """Raise unless 0 ≤ β < 1 for each.

    Raises:
        OptimizerError: saying what came.
    """
    for name, beta in betas.items():
        if not 0 <= beta < 1:
            raise OptimizerError(f"{name} is {beta}; an exponential average needs 0 <= {name} < 1")


def check_eps(eps: float) -> None:
    """Raise unless eps is a finite number ≥ 0.

    Raises:
        OptimizerError: saying what came.
    """
    if not (isfinite(eps) and eps >= 0):
        raise OptimizerError(f"eps is {eps}; it must be a finite number >= 0")
