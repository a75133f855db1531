"""Problems by name: ``DATA@MODEL``, ``DATA:option=value@MODEL:option=value``, ``file.npz@MODEL``.

Example:
    >>> get("multiclass")
    Problem('multiclass@linear', n=8, d=8, margins=16, L=1)
    >>> get("binary:n=10,seed=3@relu2:h=4")
    Problem('binary:n=10,seed=3@relu2:h=4', n=10, d=6, margins=10, L=3)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from maxmargin.models import files
from maxmargin.models.problem import DataError, Problem
from maxmargin.models.registry import DATASETS, MODELS, Data, ProblemError, Row, discover, look_up

__all__ = ["DATASETS", "MODELS", "DataError", "Listing", "ProblemError", "describe", "get", "names", "usage"]

DEFAULT_MODEL = "linear"

discover()


@final
@dataclass(frozen=True)
class Listing:
    """One row of ``maxmargin list problems``.

    Attributes:
        name: What :func:`get` takes.
        degree: Degree of homogeneity L.
        blocks: The parameters' blocks with their shapes, ``W 3x8, a 3``.
        n: Samples.
        margins: Margins, n · (classes − 1).
        summary: The data, in a line; :func:`usage` has the models.
    """

    name: str
    degree: int
    blocks: str
    n: int
    margins: int
    summary: str


def get(spec: str) -> Problem:
    """The problem called ``spec``.

    Args:
        spec: ``DATA@MODEL``, or ``DATA`` alone for the linear model. DATA is a name or a path to an ``.npz``
            or ``.csv`` file. Names may carry options, ``multiclass:n=12,seed=3@linear``.

    Returns:
        The problem; its ``name`` is ``DATA@MODEL`` with the options as given.

    Raises:
        ProblemError: an unknown name or option, with the nearest known one; a model that does not fit.
        DataError: data that make no problem, or a file that cannot be read.
    """
    source, at, model = (spec, "", "") if files.is_file(spec) else spec.rpartition("@")
    if not at:
        source, model = spec, DEFAULT_MODEL
    if not source or not model:
        raise ProblemError(f"{spec!r} is no problem; needed is DATA@MODEL, as in multiclass@linear")
    data = _data(source)
    name, _, options = model.partition(":")
    row = look_up(MODELS, "model", name)
    built = row.build(data, **row.read(options))
    return Problem.of(f"{source}@{model}", built, data.X, data.y, data.note, data.labels)


def names() -> list[str]:
    """The listed problems: every data set with the models it is offered with."""
    return [name + rest for name, row in sorted(DATASETS.items()) for rest in row.listed]


def describe() -> list[Listing]:
    """One row for each of :func:`names`."""
    return [_listing(name) for name in names()]


def usage() -> dict[str, str]:
    """Every data set and model that :func:`get` knows, with its options and defaults, and what it is.

    Returns:
        Text such as ``multiclass:n=8,d=8,k=3,seed=11`` or ``@relu2:h=8`` → one line.
    """
    data = {_with_options(row): row.summary for row in DATASETS.values()}
    models = {"@" + _with_options(row): row.summary for row in MODELS.values()}
    return {**data, "FILE.npz, FILE.csv": "your own X and y", **models}


def _listing(name: str) -> Listing:
    problem = get(name)
    data = name.rpartition("@")[0].partition(":")[0]
    blocks = ", ".join(f"{block} {'x'.join(map(str, shape))}" for block, shape in problem.shapes.items())
    return Listing(name, problem.degree, blocks, problem.n_samples, problem.n_margins, DATASETS[data].summary)


def _with_options(row: Row) -> str:
    return row.name + ":" * bool(row.options) + ",".join(f"{key}={value}" for key, value in row.options.items())


def _data(source: str) -> Data:
    if files.is_file(source):
        return files.load(source)
    name, _, options = source.partition(":")
    if name not in DATASETS and ("/" in source or "." in source):
        raise ProblemError(f"unknown data {source!r}; a path must end in {' or '.join(files.SUFFIXES)}")
    row = look_up(DATASETS, "data set", name)
    return row.build(**row.read(options))
