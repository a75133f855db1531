"""Problems by name: ``DATA@MODEL``, ``DATA:option=value@MODEL:option=value``, ``file.npz@MODEL``, or ``F1``; or given.

MODEL may be a ``torch.nn.Module`` of one's own, ``FILE.py:NAME`` or ``FILE.py:NAME:option=value`` (:mod:`.modules`).

Example:
    >>> get("multiclass")
    Problem('multiclass@linear', n=8, d=8, margins=16, L=1)
    >>> get("binary:n=10,seed=3@relu2:h=4")
    Problem('binary:n=10,seed=3@relu2:h=4', n=10, d=6, margins=10, L=3)
    >>> get("G6:x=1:2,h=5")
    Problem('point:x=1:2@relu2:h=5', n=1, d=2, margins=1, L=3)
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maxmargin.models import files
from maxmargin.models.importing import find
from maxmargin.models.problem import DataError, Problem
from maxmargin.models.registry import DATASETS, MODELS, Data, ProblemError, Row, discover, look_up

if TYPE_CHECKING:
    from torch.nn import Module

__all__ = [
    "DATASETS",
    "MODELS",
    "THEOREMS",
    "DataError",
    "ProblemError",
    "get",
    "given",
    "names",
    "of",
    "register",
    "several",
    "usage",
]

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

_given: dict[str, Problem] = {}
_built: dict[tuple[Any, ...], Problem] = {}  # modules, whose laws take a while to check; by name and files' times


def get(spec: str) -> Problem:
    """The problem called ``spec``.

    Args:
        spec: ``DATA@MODEL``, or ``DATA`` alone for the linear model. DATA is a name or a path to an ``.npz``
            or ``.csv`` file. Names may carry options, ``multiclass:n=12,seed=3@linear``. MODEL may be a module of
            one's own, ``FILE.py:NAME``. Or a key of :data:`THEOREMS`, or the name of a problem that was given.

    Returns:
        The problem; its ``name`` is ``DATA@MODEL`` with the options as given.

    Raises:
        ProblemError: an unknown name or option, with the nearest known one; a model that does not fit.
        DataError: data that make no problem, or a file that cannot be read.
    """
    if spec in _given:
        return _given[spec]
    spec = _in_full(spec)
    source, at, model = (spec, "", "") if files.is_file(spec) else spec.rpartition("@")
    if not at:
        source, model = spec, DEFAULT_MODEL
    if not source or not model:
        raise ProblemError(f"{spec!r} is no problem; needed is DATA@MODEL, as in multiclass@linear")
    if (module := _module(model)) is not None:
        return _of_module(source, model, *module)
    data = _data(source)
    name, _, options = model.partition(":")
    row = look_up(MODELS, "model", name)
    built = row.build(data, **row.read(options))
    return Problem.of(f"{source}@{model}", built, data.X, data.y, data.note, data.labels)


def of(entry: Any) -> Problem:
    """The problem that is meant by what a user hands over.

    Args:
        entry: A name, a :class:`Problem`, ``(X, y)`` for a linear model, or ``(module, X, y)`` with a
            ``torch.nn.Module`` or a function that returns one.

    Returns:
        The problem; :func:`get` knows it by its name from now on.

    Raises:
        ProblemError: it is none of these.
        DataError: data that make no problem.
        ModuleError: a module that is not homogeneous.

    Example:
        >>> of(([[1.0, 0.0], [0.0, 1.0]], [0, 1]))
        Problem('data-9a7f54@linear', n=2, d=2, margins=2, L=1)
    """
    if isinstance(entry, str):
        return get(entry)
    if isinstance(entry, Problem):
        return register(entry)
    if not isinstance(entry, tuple) or len(entry) not in (2, 3):
        raise ProblemError(
            f"a {type(entry).__name__} is no problem; needed is a name, a Problem, (X, y), or (module, X, y)"
        )
    X, y = (np.asarray(_plain(part)) for part in entry[-2:])
    data = files.checked("the data given", X, y)
    found = hashlib.sha256(data.X.tobytes() + repr((X.shape, data.y.tolist())).encode())
    source = f"data-{found.hexdigest()[:6]}"
    if len(entry) == 3:
        from maxmargin.models.modules import problem_of

        return register(problem_of(entry[0], data, source))
    model = look_up(MODELS, "model", DEFAULT_MODEL).build(data)
    return register(Problem.of(f"{source}@{DEFAULT_MODEL}", model, data.X, data.y, data.note))


def several(entries: Any) -> list[Problem]:
    """The problems of a list of what :func:`of` takes, or of one alone."""
    alone = isinstance(entries, str | Problem) or (isinstance(entries, tuple) and not _is_entry(entries[:1]))
    found: Iterable[Any] = [entries] if alone else entries
    return [of(entry) for entry in found]


def register(problem: Problem) -> Problem:
    """Let a problem be known by its name, here and in the processes that are started for it.

    Returns:
        The problem; under a name of its own, where another one has its name.
    """
    known = _given.get(problem.name)
    if known is None and problem.name not in _given:
        try:
            known = get(problem.name)
        except ValueError:
            known = None
    if known is not None and _same(known, problem):
        return known
    name = problem.name
    while known is not None:
        name = f"{name}'"
        known = _given.get(name)
        if known is not None and _same(known, problem):
            return known
    _given[name] = problem if name == problem.name else replace(problem, name=name)
    return _given[name]


def given(name: str) -> Problem | None:
    """The problem that was handed over under this name, if it was: processes started for it need it."""
    return _given.get(name)


def _same(a: Problem, b: Problem) -> bool:
    return a.model == b.model and all(np.array_equal(x, y) for x, y in ((a.X, b.X), (a.contrasts, b.contrasts)))


def _is_entry(entries: tuple[Any, ...]) -> bool:
    return bool(entries) and isinstance(entries[0], str | Problem | tuple)


def _plain(part: Any) -> Any:
    return part.detach().cpu().numpy() if hasattr(part, "detach") else part


def _module(model: str) -> tuple[str, dict[str, Any]] | None:
    """``FILE.py:NAME`` or ``module:NAME`` and its options; None for a model family, whose options are ``a=b``."""
    where, _, rest = model.partition(":")
    name, _, options = rest.partition(":")
    if not where.endswith(".py") and (not name or "=" in name):
        return None
    values = {}
    for part in filter(None, options.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ProblemError(f"{model}: {part!r} is not option=value")
        try:
            values[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            values[key] = value
    return f"{where}:{name}", values


def _of_module(source: str, model: str, spec: str, options: dict[str, Any]) -> Problem:
    from maxmargin.models.modules import problem_of

    paths = (Path(spec.rpartition(":")[0]), Path(source))
    key = (source, model, *(p.stat().st_mtime_ns if p.is_file() else None for p in paths))
    if key not in _built:
        found: Module | Any = find(spec, "model", ProblemError)
        made = partial(found, **options) if options else found
        _built[key] = problem_of(made, _data(source), source, model)
    return _built[key]


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
    if name not in DATASETS and _module(source) is not None:
        raise ProblemError(f"{source} is a model without data; give them: --data FILE.npz, or FILE.npz@{source}")
    if name not in DATASETS and ("/" in source or "." in source):
        raise ProblemError(f"unknown data {source!r}; a path must end in {' or '.join(files.SUFFIXES)}")
    row = look_up(DATASETS, "data set", name)
    return row.build(**row.read(options))
