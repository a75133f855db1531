"""The block norms by name. A norm enters here by a decorator in its own file; nothing else lists it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

from maxmargin.models.errors import NormError
from maxmargin.solvers.norms.block import BlockNorm, Family

_Class = TypeVar("_Class", bound=type[BlockNorm])

MEMBERS: dict[str, BlockNorm] = {}
"""Block norms with a name of their own."""
FAMILIES: dict[str, type[Family]] = {}
"""Families ``NAME:P`` of one number."""


def register(cls: _Class) -> _Class:
    """Class decorator: make a block norm known by name.

    A :class:`Family` brings ``NAME:P`` and its named members; any other norm is built without arguments and known by
    its ``name``.

    Returns:
        The class.

    Raises:
        NormError: the name is taken.
    """
    if issubclass(cls, Family):
        rows: dict[str, BlockNorm] = {name: cls(p) for name, p in cls.members.items()}
        _free([cls.family, *rows])
        FAMILIES[cls.family] = cls
    else:
        rows = {cls().name: cls()}
        _free(rows)
    MEMBERS.update(rows)
    return cls


def get_block_norm(spec: str | BlockNorm) -> BlockNorm:
    """The block norm of a name: ``linf``, ``spectral``, ``schatten:1.5``, and so on.

    Returns:
        The norm; a norm that comes is handed back.

    Raises:
        NormError: no norm of that name, or an exponent that makes none.

    Example:
        >>> get_block_norm("schatten:inf").name
        'spectral'
    """
    if isinstance(spec, BlockNorm):
        return spec
    name, colon, argument = spec.strip().partition(":")
    if not colon and name in MEMBERS:
        return MEMBERS[name]
    if name in FAMILIES:
        family = FAMILIES[name]
        try:
            return family(float(argument))
        except NormError:
            raise
        except ValueError:
            raise NormError(
                f"norm {spec!r}: needs {name}:P with a number 1 <= P <= inf, for example {name}:1.5"
            ) from None
    if name in MEMBERS:
        raise NormError(f"norm {spec!r}: {name} takes no argument; write {name!r}")
    raise NormError(unknown(spec, name))


def unknown(spec: str, name: str, more: Iterable[str] = ()) -> str:
    """What to say of a name that nobody registered, with the nearest known one."""
    shown = [*MEMBERS, *more, *(f"{family}:P" for family in FAMILIES)]
    near = difflib.get_close_matches(name, [known.partition(":")[0] for known in shown], n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"unknown norm {spec!r}{hint} known: {' '.join(shown)}"


def _free(names: Iterable[str]) -> None:
    for name in names:
        if name in MEMBERS or name in FAMILIES:
            raise NormError(f"a norm called {name!r} exists already; give the new one another name")
