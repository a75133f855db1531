"""How an optimizer wants its parameters: documented calling conventions, tried out in order on copies.

========================================  ============================================================================
parameters                                ``factory(params, **kw)``
named parameters                          ``factory([(name, p), ...], **kw)``
parameters and a module                   ``factory(params, model=module, ...)``, the module holding the parameters
module                                    ``factory(module, **kw)``
two lists                                 matrices and the rest to two arguments: ``muon_params=..., adamw_params=...``
groups                                    ``factory([{"params": [p]}, ...], **kw)``
groups flagged F                          ``{"params": matrices, F: True}, {"params": the rest, F: False}``
groups flagged F, options in the groups   the same, with the options in the groups (of the matrices only, if need be)
float32 copies (it takes no float64), …   any of them, where none is accepted in float64
========================================  ============================================================================

A flag is ``use_muon`` or whatever key the optimizer's own complaint names. Conventions that the factory's signature
speaks for are tried first.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

Params = Sequence[torch.nn.Parameter]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]

FLAGS = ("use_muon",)
MODULES = ("model", "module", "net", "network")
PARAMETERS = ("params", "parameters", "param_groups", "groups")
_LIST = re.compile(r".*(params|parameters|weights)(_list|_groups)?|.*_(matrices|vectors|scalars)")
_REST = re.compile(r".*(adam|aux|other|rest|scalar|vector|1d|sgd|embed|bias|backup|fallback|non_?).*")
_QUOTED = re.compile(r"""["'`]([A-Za-z_]\w*)["'`]""")
_OPTIONS = re.compile(
    r"params|param_groups|lr|.*momentum.*|.*decay.*|betas?|eps|nesterov|closure|step|.*grad.*|.*names?|initial_lr"
)


@dataclass(frozen=True)
class Convention:
    """One way to hand parameters over.

    Attributes:
        name: As in the table above.
        arrange: (parameters, their names, options) → the factory's positional and keyword arguments.
        float32: Whether the parameters are float32 copies (:mod:`maxmargin.verify.blackbox.float32`).
    """

    name: str
    arrange: Callable[[Params, Sequence[str], Mapping[str, Any]], Arguments]
    float32: bool = False

    @property
    def in_float32(self) -> Convention:
        """The same with float32 copies."""
        name = "float32 copies (it takes no float64)" + ("" if self.name == PLAIN.name else f", {self.name}")
        return replace(self, name=name, float32=True)


def names_of(params: Params) -> list[str]:
    """Neutral names: no layer is called an embedding or a head."""
    return [f"layers.{i}.{'bias' if p.ndim < 2 else 'weight'}" for i, p in enumerate(params)]


def _is_matrix(p: torch.nn.Parameter) -> bool:
    return p.ndim >= 2


def _by_keyword(keyword: str) -> Convention:
    return Convention(f"parameters as {keyword}=", lambda p, n, kw: ((), {**kw, keyword: list(p)}))


def module_of(params: Params, names: Sequence[str]) -> torch.nn.Module:
    """A module that holds the parameters under their names."""
    root = torch.nn.Module()
    for name, p in zip(names, params, strict=True):
        *folders, last = name.split(".")
        place = root
        for folder in folders:
            if folder not in dict(place.named_children()):
                place.add_module(folder, torch.nn.Module())
            place = place.get_submodule(folder)
        place.register_parameter(last, p)
    return root


def _with_module(keyword: str, main: str) -> Convention:
    def arrange(params: Params, names: Sequence[str], options: Mapping[str, Any]) -> Arguments:
        return (), {**options, main: list(params), keyword: module_of(params, names)}

    return Convention("parameters and a module", arrange)


def _two_lists(first: str, second: str) -> Convention:
    def arrange(params: Params, names: Sequence[str], options: Mapping[str, Any]) -> Arguments:
        split = {first: [p for p in params if _is_matrix(p)], second: [p for p in params if not _is_matrix(p)]}
        return (), {**options, **split}

    return Convention(f"two lists, {first}= and {second}=", arrange)


def flagged(flag: str, where: str = "constructor") -> Convention:
    """Groups with a flag: True for the matrices.

    Args:
        flag: The key.
        where: The options go to the ``constructor``, to all ``groups`` or to those of the ``matrices``.

    Returns:
        The convention.
    """

    def arrange(params: Params, names: Sequence[str], options: Mapping[str, Any]) -> Arguments:
        parts = [(True, [p for p in params if _is_matrix(p)]), (False, [p for p in params if not _is_matrix(p)])]
        groups = [
            {"params": part, flag: on, **(options if where == "groups" or (where == "matrices" and on) else {})}
            for on, part in parts
            if part
        ]
        return (groups,), dict(options) if where == "constructor" else {}

    ending = {"constructor": "", "groups": ", options in the groups", "matrices": ", options in the matrices' group"}
    return Convention(f"groups flagged {flag}{ending[where]}", arrange)


PLAIN = Convention("parameters", lambda params, names, options: ((list(params),), dict(options)))
NAMED = Convention("named parameters", lambda p, names, kw: ((list(zip(names, p, strict=True)),), dict(kw)))
MODULE = Convention("module", lambda params, names, options: ((module_of(params, names),), dict(options)))
SPLIT = Convention("groups", lambda params, names, options: (([{"params": [p]} for p in params],), dict(options)))


def conventions(factory: Callable[..., Any], options: Mapping[str, Any]) -> list[Convention]:
    """The conventions to try, in order, before any complaint is known."""
    known: Mapping[str, inspect.Parameter] = {}
    with suppress(TypeError, ValueError):  # a builtin, or an object that hides how it is called
        known = inspect.signature(factory).parameters
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    free = [name for name, a in known.items() if a.kind in kinds and name not in options]
    absent = (inspect.Parameter.empty, None)
    first = free[0] if free else "params"
    found: list[Convention] = []
    lists = [a for a in free if _LIST.fullmatch(a) and not a.startswith("named") and known[a].default in absent]
    if len(lists) >= 2:
        rest = next((a for a in lists if _REST.fullmatch(a)), lists[1])
        main = next(a for a in lists if a != rest)
        found.append(_two_lists(main, rest))
    if first.startswith("named"):
        found.append(NAMED)
    main = next((a for a in free if a in PARAMETERS), "params")
    module = next((a for a in free if a in MODULES), None)
    if module == first:
        found.append(MODULE)
    if module is not None and main in free:
        found.append(_with_module(module, main))
    found.append(PLAIN)
    if main in free[1:]:
        found.append(_by_keyword(main))
    found += [NAMED, SPLIT]
    unique = {c.name: c for c in found}
    return list(unique.values())


def asked_for(error: BaseException) -> Iterator[str]:
    """The keys that an optimizer's complaint names: its text, the missing key, the line that raised it."""
    seen = set()
    line = next((f.line for f in reversed(traceback.extract_tb(error.__traceback__)) if f.line), None) or ""
    keys = [a for a in error.args if isinstance(error, KeyError) and isinstance(a, str)]
    for text in (str(error), line):
        keys += _QUOTED.findall(text) if "group" in text else []
    for key in keys:
        if key not in seen and not _OPTIONS.fullmatch(key):
            seen.add(key)
            yield key


def with_flags(errors: Sequence[BaseException], options: Mapping[str, Any]) -> Iterator[Convention]:
    """The conventions with flags, of which complaints may have named one."""
    keys = dict.fromkeys([*(k for e in errors for k in asked_for(e)), *FLAGS])
    for key in list(keys)[:4]:
        yield flagged(key)
        if options:
            yield flagged(key, "groups")
            yield flagged(key, "matrices")
    yield MODULE
