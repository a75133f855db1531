"""Problems by name: ``DATA@MODEL``, ``DATA:option=value@MODEL:option=value``, ``file.npz@MODEL``."""

from __future__ import annotations

from maxmargin.models.problem import DataError, Problem
from maxmargin.models.registry import DATASETS, MODELS, Data, ProblemError, discover, look_up

__all__ = ["DATASETS", "MODELS", "DataError", "ProblemError", "get", "names"]


def get(spec: str) -> Problem:
    """The problem called ``spec``.

    Args:
        spec: ``DATA``, ``DATA@MODEL`` or a path to ``.npz`` / ``.csv`` in place of DATA; data and model may carry
            options, ``multiclass:n=12,seed=3@linear``. Without a model it is ``linear``.

    Returns:
        The problem; its ``name`` is ``DATA@MODEL`` with the options as given.

    Raises:
        ProblemError: an unknown name or option, with the nearest known one, or a model that does not fit the data.
        DataError: data that make no problem.

    Example:
        >>> get("multiclass:n=6,d=5,k=3@linear")
        Problem('multiclass:n=6,d=5,k=3@linear', n=6, d=5, margins=12, L=1)
    """
    discover()
    source, _, model_text = spec.partition("@")
    data = _data(source)
    model_text = model_text or "linear"
    name, _, options = model_text.partition(":")
    row = look_up(MODELS, "model", name)
    model = row.build(data, **row.read(options))
    return Problem.of(f"{source}@{model_text}", model, data.X, data.y, data.note)


def names() -> list[str]:
    """The listed problems: every data set with the models it is offered with."""
    discover()
    return [f"{row.name}@{model}" for row in DATASETS.values() for model in row.listed]


def _data(source: str) -> Data:
    name, _, options = source.partition(":")
    row = look_up(DATASETS, "data set", name)
    return row.build(**row.read(options))
