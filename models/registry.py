"""The two registries, data sets and model families, and the reading of ``NAME:option=value,…`` text.

A data set or a model is one file: it decorates one function with :func:`dataset` or :func:`family`, and
:func:`discover` finds it, because every module of the two folders is imported before a name is looked up.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar, final

import numpy as np

from maxmargin.models.errors import InputError
from maxmargin.models.model import HomogeneousModel

Shape = tuple[int, ...]


class ProblemError(InputError):
    """A problem's name that cannot be read: unknown data, model or option, or a pair that does not fit."""


@final
@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and labels, before a model has been chosen.

    Attributes:
        X: Inputs, (n, features), float64.
        y: Labels, (n,).
        note: Where the data come from.
        blocks: How the features divide into a linear model's blocks, each row-major; None for one vector.
        labels: All classes, sorted, where y need not show every one of them (a single point has one label).
        shape: Of one input, where it is not a row of features: images, as a module takes them.
    """

    X: np.ndarray
    y: np.ndarray
    note: str = ""
    blocks: tuple[tuple[str, Shape], ...] | None = None
    labels: tuple[Any, ...] | None = None
    shape: Shape | None = None

    @property
    def features(self) -> int:
        """Length of one input."""
        return int(self.X.shape[1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels) if self.labels is not None else len(np.unique(self.y))


@final
@dataclass(frozen=True)
class Row:
    """One registered data set or model family.

    Attributes:
        name: What a user types.
        kind: ``"data set"`` or ``"model"``.
        summary: One line for ``maxmargin list problems``.
        build: The function; its keyword options, their types and defaults are read from its signature.
        listed: For a data set: what ``names()`` shows after its name, ``@linear`` or ``:n=4@linear``.
    """

    name: str
    kind: str
    summary: str
    build: Callable[..., Any]
    listed: tuple[str, ...] = ()

    @property
    def options(self) -> Mapping[str, Any]:
        """Option name → default."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def read(self, text: str) -> dict[str, Any]:
        """Return the options in ``option=value,option=value``, each as the type of its default.

        Raises:
            ProblemError: an unknown option, a value of the wrong type, or text that is not ``option=value``.
        """
        known, given = self.options, {}
        for item in filter(None, text.split(",")):
            key, equals, value = item.partition("=")
            if not equals:
                raise ProblemError(f"{self.kind} {self.name!r}: {item!r} is not option=value; options: {self._usage()}")
            if key not in known:
                raise ProblemError(
                    f"{self.kind} {self.name!r} has no option {key!r}{suggest(key, known)}; options: {self._usage()}"
                )
            if key in given:
                raise ProblemError(f"{self.kind} {self.name!r}: option {key!r} is given twice")
            wanted = type(known[key])
            try:
                given[key] = wanted(value)
            except ValueError:
                raise ProblemError(
                    f"{self.kind} {self.name!r}: {key}={value!r} is not of type {wanted.__name__} "
                    f"(default {known[key]!r})"
                ) from None
            if wanted is int and abs(given[key]) > LARGEST:
                raise ProblemError(f"{self.kind} {self.name!r}: {key}={value[:30]} is more than {LARGEST:,}")
        return given

    def _usage(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.options.items()) or "none"


LARGEST = 10**9
"""Of a whole number among the options: no machine holds as many samples, and no generator needs such a seed."""

DATASETS: dict[str, Row] = {}
"""Registered data sets: ``build(*, options) -> Data``."""

MODELS: dict[str, Row] = {}
"""Registered model families: ``build(data, *, options) -> HomogeneousModel``."""

DataBuilder = TypeVar("DataBuilder", bound=Callable[..., Data])
ModelBuilder = TypeVar("ModelBuilder", bound=Callable[..., HomogeneousModel])


def dataset(name: str, summary: str, listed: Sequence[str] = ()) -> Callable[[DataBuilder], DataBuilder]:
    """Register ``build(*, options) -> Data`` under ``name``.

    Args:
        name: What a user types.
        summary: One line about the data.
        listed: Shown by ``names()``: options and model after the name, ``:n=4@linear``.

    Returns:
        The decorator; it gives the function back unchanged.
    """

    def register(build: DataBuilder) -> DataBuilder:
        _add(DATASETS, Row(name, "data set", summary, build, tuple(listed)))
        return build

    return register


def family(name: str, summary: str) -> Callable[[ModelBuilder], ModelBuilder]:
    """Register ``build(data, *, options) -> HomogeneousModel`` under ``name``.

    Args:
        name: What a user types after the @.
        summary: One line about the model, its degree among it.

    Returns:
        The decorator; it gives the function back unchanged.
    """

    def register(build: ModelBuilder) -> ModelBuilder:
        _add(MODELS, Row(name, "model", summary, build))
        return build

    return register


def _add(registry: dict[str, Row], row: Row) -> None:
    if row.name in registry:
        first, second = (each.build.__module__ for each in (registry[row.name], row))
        raise ProblemError(f"{row.kind} {row.name!r} is registered twice, by {first} and by {second}; rename one")
    registry[row.name] = row


def look_up(registry: Mapping[str, Row], kind: str, name: str) -> Row:
    """The row called ``name``; of an unknown one the error names the nearest registered names."""
    if name not in registry:
        raise ProblemError(f"unknown {kind} {name!r}{suggest(name, registry)}; known: {', '.join(sorted(registry))}")
    return registry[name]


def two_classes(model: str, data: Data) -> None:
    """Raise unless the data have two classes."""
    if data.classes != 2:
        raise ProblemError(
            f"model {model!r} is for two classes, the data have {data.classes}; "
            "models for more classes: linear, deep-linear, relu, relu2, quadratic, tied, attention"
        )


def at_least(name: str, least: int, **values: int) -> None:
    """Raise unless every value is at least ``least``."""
    for option, value in values.items():
        if value < least:
            raise ProblemError(f"{name}: {option}={value}; needed is {option} >= {least}")


def suggest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """Return ``" — did you mean 'x'?"`` when something known is close, else nothing.

    Example:
        >>> suggest("diagnoal", ["diagonal", "linear"])
        " — did you mean 'diagonal'?"
    """
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" — did you mean {near[0]!r}?" if near else ""


def discover() -> None:
    """Import every module of ``families`` and ``datasets``, so that each data set and model registers itself."""
    for folder in ("maxmargin.models.families", "maxmargin.models.datasets"):
        for module in iter_modules(import_module(folder).__path__, f"{folder}."):
            import_module(module.name)
