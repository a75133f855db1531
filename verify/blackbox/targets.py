"""Targets of ``check``: our own optimizers by name, anybody's by ``module:attr`` or ``file.py:attr``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch

from maxmargin.models.errors import InputError
from maxmargin.models.importing import find, without_colon
from maxmargin.verify.blackbox.apart import outside
from maxmargin.verify.blackbox.calling import (
    Attempt,
    Calling,
    NotAnOptimizer,
    construct,
    find_calling,
    sentence,
)
from maxmargin.verify.blackbox.conventions import Convention
from maxmargin.verify.blackbox.learning_rate import Rate
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.progress.calls import What
from maxmargin.verify.thresholds.adapter import DEFAULT_RATE


class TargetError(InputError):
    """A target that cannot be imported, built or stepped; the command line exits with status 2."""


@dataclass(frozen=True)
class Units:
    """The units in which an optimizer sees a gradient, and its learning rates are given: powers of two.

    Rounding does not change with them, so whatever differs in other units is the optimizer's own (an eps, a clipping
    threshold).

    Attributes:
        gradient: Gradients are multiplied by 2^gradient before a step.
        rate: Learning rates by 2^rate.
        at_zero: Whether steps that are scaled from outside are made at weights of 0, where short ones lose no digits:
            those of an optimizer that does not read its weights.
    """

    gradient: int = 0
    rate: int = 0
    at_zero: bool = False


@dataclass(frozen=True)
class Target:
    """An optimizer to check.

    Attributes:
        spec: As the user wrote it.
        kwargs: Constructor arguments.
        native: The engine's optimizer, if ``spec`` is one of our own names.
        factory: ``factory(params, **kwargs)`` that returns an object with ``step``, otherwise; parameters may also be
            wanted in another way, see :mod:`maxmargin.verify.blackbox.conventions`.
        given: Whether the factory itself was given, from Python, rather than where to import it from.
        stride: Calls of its ``step()``, all on one gradient, that make a step here; more than 1 where
            :mod:`maxmargin.verify.lab.probe.strides` found that it moves only every so often.
        skipped: Calls of its ``step()`` on the first gradient, before the first step, whose moves are taken back; more
            than 0 where :mod:`maxmargin.verify.lab.probe.beginnings` found that they are of another kind.
        units: In which it sees gradients; other ones in a regime of
            :mod:`maxmargin.verify.lab.regimes`, which ends where the regime ends: no floor is looked for in it.
        callings: Found so far, by the parameters' shapes and dtypes: how they are handed over.
        rates: Likewise, where the learning rate is set.
    """

    spec: str
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    native: Optimizer | None = None
    factory: Callable[..., Any] | None = None
    given: bool = False
    stride: int = 1
    skipped: int = 0
    units: Units | None = None
    callings: dict[Any, Calling] = field(default_factory=dict, compare=False, repr=False)
    rates: dict[Any, Rate] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process imports the target anew: a module that was loaded from a file is not there yet.
        given = self.factory if self.given else None
        return _again, (self.spec, dict(self.kwargs), given, self.stride, self.skipped, self.units)

    def options(self) -> dict[str, Any]:
        """The constructor's keyword arguments, with a learning rate where it requires one and none is given."""
        assert self.factory is not None
        kwargs = dict(self.kwargs)
        if "lr" not in kwargs and _requires_lr(self.factory):
            kwargs["lr"] = DEFAULT_RATE
        return kwargs

    def calling(self, params: Sequence[torch.nn.Parameter]) -> Calling:
        """How the factory wants parameters of these shapes; tried out once, on copies.

        Returns:
            The calling convention and what else was found by trying.

        Raises:
            TargetError: when it accepts no calling convention, with its own words and all that was tried.
        """
        assert self.factory is not None
        key = tuple((tuple(p.shape), p.dtype) for p in params)
        if key not in self.callings:
            self.callings[key] = find_calling(self.factory, self.options(), params)
        found = self.callings[key]
        if found.convention is None:
            raise TargetError(self._refusal(found, params)) from found.failed[0].error
        return found

    def build(self, params: Sequence[torch.nn.Parameter], convention: Convention | None = None) -> Any:
        """Return a fresh optimizer over ``params``, which are handed over as it wants them.

        It has ``step``, ``param_groups`` and ``state``; where the factory's object has no groups, in a wrapper.

        Args:
            params: The parameters.
            convention: How to hand them over; by default the one that was found by trying.

        Returns:
            The optimizer.

        Raises:
            TargetError: when the constructor refuses, with its own words, or returns no optimizer.
        """
        assert self.factory is not None
        calling = self.calling(params)
        assert calling.convention is not None
        chosen = convention or calling.convention
        if calling.convention.float32 and not chosen.float32:
            chosen = chosen.in_float32
        try:
            return construct(self.factory, chosen, params, {**self.options(), **calling.extra})
        except Exception as error:
            attempt = Attempt(chosen.name, False, error)
            raise TargetError(self._refusal(Calling(None, False, (attempt,), False), params)) from error

    def _refusal(self, found: Calling, params: Sequence[torch.nn.Parameter]) -> str:
        first = found.failed[0]
        if isinstance(first.error, NotAnOptimizer):
            return (
                f"{self.spec} {first.error}; a target is a torch.optim.Optimizer class or a factory(params, **kw) "
                "that returns an object with step()"
            )
        return (
            f"{self.spec} rejects {_call_text(self.options())} for parameters of shape {shapes_text(params)}: "
            f"{first.text}{sentence(found.failed)}"
        )


def load(spec: str | Callable[..., Any], kwargs: Mapping[str, Any] | None = None) -> Target:
    """Return the target that ``spec`` names.

    ``spec`` is one of our own names (``signum``, ``muon``, …), ``module:attr``, ``path/to/file.py:attr``, or, from
    Python, the class or factory itself. Modules are searched with the current directory appended last; a file may
    import modules that lie beside it.

    Raises:
        TargetError: saying what was not found, and what is needed.
    """
    kwargs = MappingProxyType(dict(kwargs or {}))
    if not callable(spec) and not isinstance(spec, str):
        kind = type(spec)
        raise TargetError(
            f"an instance of {kind.__module__}.{kind.__qualname__} was given; needed is what makes one, as it is built "
            f"anew for every experiment: the class ({kind.__name__}), a factory(params, **kwargs), or 'module:attr'"
        )
    if callable(spec):
        return Target(
            f"{getattr(spec, '__module__', '?')}:{getattr(spec, '__qualname__', repr(spec))}",
            kwargs,
            factory=spec,
            given=True,
        )
    if ":" not in spec:
        from maxmargin.verify.optimizers import OptimizerError, get_optimizer

        try:
            return Target(spec, kwargs, native=get_optimizer(spec, kwargs))
        except OptimizerError as error:
            hint = without_colon(spec, "target", TargetError)
            raise TargetError(
                hint or f"{error}. For your own optimizer give module:attr or path/to/file.py:attr"
            ) from error
    with outside.of(What.IMPORT):
        found = find(spec, "target", TargetError)
    if not callable(found):
        raise TargetError(
            f"{spec} is a {type(found).__name__}; needed is an optimizer class or a factory(params, **kw)"
        )
    return Target(spec, kwargs, factory=found)


def _requires_lr(factory: Callable[..., Any]) -> bool:
    try:
        parameter = inspect.signature(factory).parameters.get("lr")
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.default is inspect.Parameter.empty


def shapes_text(params: Sequence[torch.Tensor]) -> str:
    """The shapes, for a message."""
    return ", ".join(str(tuple(p.shape)) for p in params)


def _call_text(kwargs: Mapping[str, Any]) -> str:
    return "(" + ", ".join(["params", *(f"{k}={v!r}" for k, v in kwargs.items())]) + ")"


def _again(
    spec: str,
    kwargs: dict[str, Any],
    factory: Callable[..., Any] | None,
    stride: int,
    skipped: int,
    units: Units | None,
) -> Target:
    """The target in another process."""
    if factory is not None:
        return Target(spec, kwargs, factory=factory, given=True, stride=stride, skipped=skipped, units=units)
    return replace(load(spec, kwargs), stride=stride, skipped=skipped, units=units)
