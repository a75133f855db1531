"""Problems by name: ``DATA@MODEL``, ``DATA:option=value@MODEL:option=value``, ``file.npz@MODEL``, or ``F1``.

Example:
    >>> get("multiclass")
    Problem('multiclass@linear', n=8, d=8, margins=16, L=1)
    >>> get("binary:n=10,seed=3@relu2:h=4")
    Problem('binary:n=10,seed=3@relu2:h=4', n=10, d=6, margins=10, L=3)
    >>> get("G6:x=1:2,h=5")
    Problem('point:x=1:2@relu2:h=5', n=1, d=2, margins=1, L=3)
"""

from __future__ import annotations

from collections.abc import Mapping

from maxmargin.models import files
from maxmargin.models.problem import DataError, Problem
from maxmargin.models.registry import DATASETS, MODELS, Data, ProblemError, Row, discover, look_up

__all__ = ["DATASETS", "MODELS", "THEOREMS", "DataError", "ProblemError", "get", "names", "usage"]

DEFAULT_MODEL = "linear"

THEOREMS: Mapping[str, tuple[str, str]] = {
    "F1": ("two-points", "relu:h=2"),
    "F1'": ("two-points", "relu2:h=2"),
    "F2": ("point:x=1:2", "diagonal:depth=2"),
    "F3": ("point:x=1:2", "diagonal:depth=3"),
    "F4": ("point:x=1:1", "diagonal:depth=3"),
    "G1": ("point:x=3:-4:0", "linear"),
    "G2": ("basis:k=3", "linear"),
    "G3": ("point:x=1:2:-3", "diagonal:depth=2"),
    "G3-pair": ("point:x=2:1+1:2", "diagonal:depth=2"),
    "G3-conv": ("point:x=1:2:4", "conv:depth=2"),
    "G4": ("point:x=3:4", "deep-linear:depth=3,width=3"),
    "G4-attention": ("point:x=3:0:0:4", "attention:tokens=2,width=3"),
    "G5": ("basis:k=3", "deep-linear:depth=2,width=3"),
    "G6": ("point:x=3:-4", "relu2:h=3"),
    "G6-relu": ("point:x=3:-4", "relu:h=3"),
    "G6-power": ("point:x=3:-4", "relu-power:q=3,h=3"),
    "G6-quadratic": ("point:x=3:-4", "quadratic:h=3"),
    "G6-deep": ("point:x=3:-4", "deep-relu:depth=3,h=2"),
    "G6-tied": ("point:x=2:0", "tied:depth=3"),
}
"""Short names of problems with exact answers (:mod:`maxmargin.solvers.exact.answers`): the data set and the model.

F1 … F4 are counterexamples of Vardi, Shamir & Srebro 2110.02732; G1 … G6 are families, whose options may be given:
``G2:k=5``, ``G6:x=1:2,h=4``.
"""

discover()


def get(spec: str) -> Problem:
    """The problem called ``spec``.

    Args:
        spec: ``DATA@MODEL``, or ``DATA`` alone for the linear model. DATA is a name or a path to an ``.npz``
            or ``.csv`` file. Names may carry options, ``multiclass:n=12,seed=3@linear``. Or a key of :data:`THEOREMS`.

    Returns:
        The problem; its ``name`` is ``DATA@MODEL`` with the options as given.

    Raises:
        ProblemError: an unknown name or option, with the nearest known one; a model that does not fit.
        DataError: data that make no problem, or a file that cannot be read.
    """
    spec = _in_full(spec)
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


def usage() -> dict[str, str]:
    """Every data set and model that :func:`get` knows, with its options and defaults, and what it is.

    Returns:
        Text such as ``multiclass:n=8,d=8,k=3,seed=11`` or ``@relu2:h=8`` → one line.
    """
    data = {_with_options(row): row.summary for row in DATASETS.values()}
    models = {"@" + _with_options(row): row.summary for row in MODELS.values()}
    return {**data, "FILE.npz, FILE.csv": "your own X and y", **models}


def _in_full(spec: str) -> str:
    """A theorem's name as DATA@MODEL, each option given to the data set or the model that has it."""
    name, _, options = spec.partition(":")
    if name not in THEOREMS:
        return spec
    source, model = THEOREMS[name]
    given = {part.partition("=")[0]: part for part in filter(None, options.split(","))}
    unused, sides = set(given), []
    for registry, text in ((DATASETS, source), (MODELS, model)):
        row, _, stated = text.partition(":")
        known = look_up(registry, "", row).options
        mine = {part.partition("=")[0]: part for part in filter(None, stated.split(","))}
        mine |= {key: part for key, part in given.items() if key in known}
        unused -= set(known)
        sides.append(row + ":" * bool(mine) + ",".join(mine.values()))
    if unused:
        raise ProblemError(f"{name} is {source}@{model}, which has no option {', '.join(sorted(unused))}")
    return "@".join(sides)


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
