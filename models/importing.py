"""``module:attr`` or ``path/to/file.py:attr``, imported; and where in the user's code an error is."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from maxmargin.models.errors import InputError
from maxmargin.models.plugins import append_to_path, run_file

_OURS = tuple(str(Path(__file__).resolve().parents[1] / name) for name in ("models", "reports", "solvers", "verify"))
SHOWN = 12  # names that a message lists


def find(spec: str, kind: str, error: type[InputError]) -> Any:
    """Return the object that ``spec`` names; the current directory is searched last, a file's folder too.

    Args:
        spec: ``module:attr`` or ``path/to/file.py:attr``; attr may be dotted.
        kind: What it is to be, for messages and the name of a file's module.
        error: What is raised.

    Raises:
        InputError: of the class ``error``: what was not found, and what there is.
    """
    where, _, attribute = spec.rpartition(":")
    module = _file(Path(where), spec, kind, error) if where.endswith(".py") else _module(where, spec, kind, error)
    found: Any = module
    for part in attribute.split("."):
        if not attribute or getattr(found, part, None) is None:
            raise error(f"{where} has no attribute {attribute!r}{_hint(module, attribute)}")
        found = getattr(found, part)
    return found


def _hint(module: ModuleType, attribute: str) -> str:
    names = [n for n in vars(module) if not n.startswith("_")]
    near = [n for n in names if n.lower() == attribute.lower()] or get_close_matches(attribute, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    own = defined(module)
    return f"; it defines {', '.join(own)}" if own else ""


def defined(module: ModuleType) -> list[str]:
    """The public classes and functions that a module itself defines, at most SHOWN of them."""
    mine = (n for n, v in vars(module).items() if not n.startswith("_") and _is_own(v, module))
    return list(mine)[:SHOWN]


def _is_own(value: Any, module: ModuleType) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__


def without_colon(spec: str, kind: str, error: type[InputError]) -> str:
    """What to say of a name without ``:attr``: the classes of a file, ``torch.optim:SGD`` for ``torch.optim.SGD``.

    Args:
        spec: The name.
        kind: What it is to be.
        error: What is raised of a file that cannot be imported.

    Returns:
        A sentence; empty where nothing better can be said.
    """
    if spec.endswith(".py"):
        own = defined(_file(Path(spec), spec, kind, error))
        return f"{spec} is a file; say which of it: {', '.join(f'{spec}:{name}' for name in own) or f'{spec}:NAME'}"
    head, _, last = spec.rpartition(".")
    if not head:
        return ""
    try:
        module = importlib.import_module(head)
    except Exception:  # it was no module: then there is nothing to suggest
        return ""
    return f"{spec!r} has no colon; did you mean '{head}:{last}'?" if callable(getattr(module, last, None)) else ""


def where(error: BaseException) -> str:
    """The innermost place outside any library where an error arose, `` (mine.py, line 12, in step)``; may be empty."""
    libraries = (*_OURS, os.path.dirname(os.__file__))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = str(Path(frame.filename).resolve())
        if not path.startswith(libraries) and "site-packages" not in path and not frame.filename.startswith("<"):
            return f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"
    return ""


def _module(name: str, spec: str, kind: str, error: type[InputError]) -> ModuleType:
    append_to_path(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name and (name == missing.name or name.startswith(missing.name + ".")):
            raise error(
                f"no module named {missing.name!r} for {kind} {spec!r}; install it, run from the directory that "
                "holds it, or give path/to/file.py:attr"
            ) from missing
        raise error(f"importing {name} failed: {missing}") from missing
    except (Exception, SystemExit) as failed:
        raise error(f"importing {name} failed: {type(failed).__name__}: {failed}{where(failed)}") from failed


def _file(path: Path, spec: str, kind: str, error: type[InputError]) -> ModuleType:
    if not path.is_file():
        raise error(f"no file {str(path)!r} for {kind} {spec!r}")
    try:
        return run_file(path, kind)
    except (Exception, SystemExit) as failed:  # a script that calls sys.exit must not end ours
        raise error(f"running {path} failed: {type(failed).__name__}: {failed}{where(failed)}") from failed
