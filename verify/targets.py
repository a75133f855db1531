"""Targets of ``check``: our own optimizers by name, anybody's by ``module:attr`` or ``file.py:attr``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from maxmargin.verify.optimizers.base import Optimizer


class TargetError(ValueError):
    """A target that cannot be imported, built or stepped; the command line exits with status 2."""


@dataclass(frozen=True)
class Target:
    """An optimizer to check.

    Attributes:
        spec: As the user wrote it.
        kwargs: Constructor arguments.
        native: The engine's optimizer, if ``spec`` is one of our own names.
        factory: ``factory(params, **kwargs)`` that returns an object with ``step`` and ``param_groups``, otherwise.
        given: Whether the factory itself was given, from Python, rather than where to import it from.
    """

    spec: str
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    native: Optimizer | None = None
    factory: Callable[..., Any] | None = None
    given: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process imports the target anew: a module that was loaded from a file is not there yet.
        if self.given:
            return (Target, (self.spec, dict(self.kwargs), None, self.factory, True))
        return (load, (self.spec, dict(self.kwargs)))

    def build(self, params: Sequence[torch.nn.Parameter]) -> Any:
        """Return a fresh optimizer over ``params``.

        Raises:
            TargetError: when the constructor refuses, with its own words, or returns no optimizer.
        """
        assert self.factory is not None
        kwargs = dict(self.kwargs)
        if "lr" not in kwargs and _requires_lr(self.factory):
            kwargs["lr"] = 1e-3
        try:
            optimizer = self.factory(list(params), **kwargs)
        except Exception as error:
            shapes = ", ".join(str(tuple(p.shape)) for p in params)
            raise TargetError(
                f"{self.spec} rejects {_call_text(kwargs)} for parameters of shape {shapes}: "
                f"{type(error).__name__}: {error}"
            ) from error
        missing = [name for name in ("step", "param_groups") if getattr(optimizer, name, None) is None]
        if missing:
            raise TargetError(
                f"{self.spec} returned {type(optimizer).__name__}, which has no {' and no '.join(missing)}; "
                "a target is a torch.optim.Optimizer class or a factory(params, **kw) that returns one"
            )
        return optimizer


def load(spec: str | Callable[..., Any], kwargs: Mapping[str, Any] | None = None) -> Target:
    """Return the target that ``spec`` names.

    ``spec`` is one of our own names (``signum``, ``muon``, …), ``module:attr``, ``path/to/file.py:attr``, or, from
    Python, the class or factory itself. Modules are searched with the current directory appended last.

    Raises:
        TargetError: saying what was not found, and what is needed.
    """
    kwargs = MappingProxyType(dict(kwargs or {}))
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
            raise TargetError(f"{error}. For your own optimizer give module:attr or path/to/file.py:attr") from error
    where, _, attribute = spec.rpartition(":")
    module = _load_file(Path(where), spec) if where.endswith(".py") else _load_module(where, spec)
    found: Any = module
    for part in attribute.split("."):
        if not attribute or getattr(found, part, None) is None:
            names = [n for n in vars(module) if not n.startswith("_")]
            near = [n for n in names if n.lower() == attribute.lower()] or get_close_matches(attribute, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TargetError(f"{where} has no attribute {attribute!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise TargetError(
            f"{spec} is a {type(found).__name__}; needed is an optimizer class or a factory(params, **kw)"
        )
    return Target(spec, kwargs, factory=found)


def _load_module(name: str, spec: str) -> Any:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last: a user's models/ must not shadow anything installed
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise TargetError(
                f"no module named {error.name!r} for target {spec!r}; install it, run from the directory that "
                "holds it, or give path/to/file.py:attr"
            ) from error
        raise TargetError(f"importing {name} failed: {error}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"importing {name} failed: {type(error).__name__}: {error}") from error


def _load_file(path: Path, spec: str) -> Any:
    if not path.is_file():
        raise TargetError(f"no file {str(path)!r} for target {spec!r}")
    name = f"_maxmargin_target_{path.stem}"
    loader = importlib.util.spec_from_file_location(name, path)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    sys.modules[name] = module
    try:
        loader.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that calls sys.exit must not end ours
        del sys.modules[name]
        raise TargetError(f"running {path} failed: {type(error).__name__}: {error}") from error
    return module


def _requires_lr(factory: Callable[..., Any]) -> bool:
    try:
        parameter = inspect.signature(factory).parameters.get("lr")
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _call_text(kwargs: Mapping[str, Any]) -> str:
    return "(" + ", ".join(["params", *(f"{k}={v!r}" for k, v in kwargs.items())]) + ")"
