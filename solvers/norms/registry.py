"""The norms of the whole parameter by name, and the text forms that the command line takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, final

from typing_extensions import override

from maxmargin.models.errors import NormError
from maxmargin.solvers.norms.families import FAMILIES, MEMBERS, get_block_norm, unknown
from maxmargin.solvers.norms.parameter import Norm, ParameterNorm, Rule


@final
@dataclass(frozen=True)
class Whole:
    """A norm of the whole parameter that no single block norm makes, ``NAME`` or ``NAME:ARGUMENT``."""

    name: str
    argument: str
    make: Callable[..., Norm]


_Make = TypeVar("_Make", bound=Callable[..., Norm])

WHOLE: dict[str, Whole] = {}


def register_whole(name: str, argument: str) -> Callable[[_Make], _Make]:
    """Decorator of a function of one optional number that returns a norm: makes ``name`` and ``name:NUMBER`` known."""

    def decorate(make: _Make) -> _Make:
        if name in WHOLE or name in MEMBERS:
            raise NormError(f"a norm called {name!r} exists already; give the new one another name")
        WHOLE[name] = Whole(name, argument, make)
        return make

    return decorate


@final
class NamedNorms(Mapping[str, Norm]):
    """Every norm with a name and no argument, as it stands now (a norm registered later appears)."""

    @override
    def __getitem__(self, name: str) -> Norm:
        if name in WHOLE:
            return WHOLE[name].make()
        return ParameterNorm.uniform(MEMBERS[name])

    @override
    def __iter__(self) -> Iterator[str]:
        yield from (*MEMBERS, *WHOLE)

    @override
    def __len__(self) -> int:
        return len(MEMBERS) + len(WHOLE)


NORMS: Mapping[str, Norm] = NamedNorms()


def get_norm(spec: str | Norm) -> Norm:
    """The norm called ``spec``.

    ========================  ==================================================================================
    text                      norm
    ========================  ==================================================================================
    ``linf``                  a named norm (the keys of ``NORMS``)
    ``schatten:1.5``          a member of a family, the blocks joined by the same exponent
    ``hybrid:2``              max(2 · spectral over matrices, linf over vectors)
    ``spectral;sum``          the same block norm, joined otherwise: ``max``, ``sum``, ``l2`` or a number P
    ``dual:spectral``         the dual of what follows
    ``blocks:A=2*spectral,    one rule a block (or ``@matrix``, ``@vector``, ``*``), weight 1 unless given,
    @vector=linf;max``        and how the blocks are joined (``max`` if not said)
    ========================  ==================================================================================

    Returns:
        The norm; a norm that comes is handed back.

    Raises:
        NormError: no such norm; the text names the nearest known one.

    Example:
        >>> get_norm("specral")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        maxmargin.models.errors.NormError: unknown norm 'specral'; did you mean 'spectral'? known: ...
    """
    if isinstance(spec, Norm):
        return spec
    if not isinstance(spec, str):
        raise NormError(f"a norm is a name such as 'spectral' or a Norm, not {type(spec).__name__} {spec!r}")
    text, dual = spec.strip(), False
    while text.startswith("dual:"):  # the dual of the dual is the norm itself
        text, dual = text.removeprefix("dual:").strip(), not dual
    if dual:
        return get_norm(text).dual_norm
    body, semicolon, join = text.partition(";")
    if body.startswith("blocks:"):
        rules = tuple(_rule(text, part) for part in body.removeprefix("blocks:").split(","))
        return ParameterNorm(rules, _exponent(text, join) if semicolon else math.inf)
    name, colon, argument = body.partition(":")
    if name in WHOLE:
        return _whole(text, WHOLE[name], argument if colon else None, join if semicolon else None)
    if name not in MEMBERS and name not in FAMILIES:
        raise NormError(unknown(text, name, WHOLE))
    return ParameterNorm.uniform(get_block_norm(body), _exponent(text, join) if semicolon else None)


def _whole(text: str, row: Whole, argument: str | None, join: str | None) -> Norm:
    if join is not None:
        raise NormError(f"norm {text!r}: {row.name} has its own aggregation; write it as blocks:… to change it")
    if argument is None:
        return row.make()
    try:
        number = float(argument)
    except ValueError:
        raise NormError(f"norm {text!r}: needs {row.name} or {row.name}:{row.argument} with a number") from None
    return row.make(number)


def _rule(text: str, part: str) -> Rule:
    selector, equals, choice = part.strip().partition("=")
    weight, star, name = choice.rpartition("*")
    try:
        factor = float(weight) if star else 1.0
    except ValueError:
        factor = math.nan
    if not (selector and equals and name) or math.isnan(factor):
        raise NormError(
            f"norm {text!r}: {part!r} is no rule; a rule is BLOCK=NORM or BLOCK=WEIGHT*NORM, for example "
            "blocks:W1=2*spectral,a=linf;max"
        )
    return Rule(selector.strip(), get_block_norm(name.strip()), factor)


def _exponent(text: str, join: str) -> float:
    names = {"max": math.inf, "sum": 1.0, "l1": 1.0, "l2": 2.0, "linf": math.inf}
    try:
        return names[join.strip()] if join.strip() in names else float(join)
    except ValueError:
        raise NormError(f"norm {text!r}: blocks are joined by max, sum, l2 or a number P, not {join!r}") from None
