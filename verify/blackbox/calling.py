"""Try out, on copies, how a factory wants its parameters and whether its steps want a closure."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from maxmargin.verify.blackbox.apart import outside
from maxmargin.verify.blackbox.conventions import PLAIN, Convention, Params, conventions, names_of, with_flags
from maxmargin.verify.blackbox.feeding import NOWHERE, Closure, Duck, Feeder, modes, seeded, watching_compiled
from maxmargin.verify.blackbox.float32 import InFloat32
from maxmargin.verify.progress.calls import What
from maxmargin.verify.thresholds.adapter import DEFAULT_RATE, TRIAL_CALLS

Factory = Callable[..., Any]


class NotAnOptimizer(TypeError):
    """The factory returned something without ``step``."""


@dataclass(frozen=True)
class Attempt:
    """A convention that failed: where (at construction or in a step), with what, and whether a closure was given."""

    convention: str
    built: bool
    error: BaseException
    closure: bool = False

    @property
    def text(self) -> str:
        """The error in a line."""
        return one_line(self.error)


@dataclass(frozen=True)
class Calling:
    """How a factory is called and its optimizer stepped.

    Attributes:
        convention: How parameters are handed over; None if none was accepted.
        closure: Whether ``step`` needs a closure.
        compiled: Whether it calls functions of ``torch.compile``.
        sparse: Whether it takes sparse gradients alone.
        extra: Options added to the user's: a learning rate where None is the default and refused.
        failed: The conventions that failed before, in order.
        works: Whether the trial's steps went through.
    """

    convention: Convention | None
    closure: bool
    failed: tuple[Attempt, ...]
    works: bool
    compiled: bool = False
    sparse: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


def one_line(error: BaseException) -> str:
    """An error's type and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def construct(factory: Factory, convention: Convention, params: Params, options: Mapping[str, Any]) -> Any:
    """Construct an optimizer, quietly: what a constructor prints must not end in a command's JSON.

    Returns:
        What the factory returned; in a :class:`~maxmargin.verify.blackbox.feeding.Duck` if it has no parameter groups.

    Raises:
        NotAnOptimizer: when what comes back cannot step.
    """
    if convention.float32 and all(p.dtype == torch.float64 for p in params):
        return InFloat32(params, lambda copies: construct(factory, convention, copies, options))
    args, kwargs = convention.arrange(params, names_of(params), options)
    with outside.of(What.CONSTRUCTOR), redirect_stdout(NOWHERE):
        optimizer = factory(*args, **kwargs)
    if not callable(getattr(optimizer, "step", None)):
        raise NotAnOptimizer(f"returned {type(optimizer).__name__}, which has no step")
    return optimizer if _has_groups(optimizer) else Duck(optimizer, params)


def _has_groups(optimizer: Any) -> bool:
    groups = getattr(optimizer, "param_groups", None)
    return isinstance(groups, (list, tuple)) and all(isinstance(g, Mapping) for g in groups)


def find_calling(factory: Factory, options: Mapping[str, Any], params: Params) -> Calling:
    """Try the conventions in order; with float32 copies of the parameters only where none works without.

    Args:
        factory: The optimizer class or factory.
        options: Its keyword arguments.
        params: Parameters like those to come; only copies are touched.

    Returns:
        The first convention under which construction and the trial's steps go through; else the first under which
        construction did; else none.
    """
    found = _find(factory, options, params)
    if found.works or any(p.dtype != torch.float64 for p in params):
        return found
    copied = _find(factory, options, [torch.nn.Parameter(p.detach().float()) for p in params])
    if not copied.works or copied.convention is None:
        return found
    return replace(copied, convention=copied.convention.in_float32, failed=found.failed)


def _find(factory: Factory, options: Mapping[str, Any], params: Params) -> Calling:
    """The same in the parameters' own precision; conventions with flags only where options are not what is refused."""
    failed: list[Attempt] = []

    def first_of(these: Iterable[Convention], into: list[Attempt], **extra: Any) -> Calling | None:
        trials = (_works(factory, convention, {**options, **extra}, params, into) for convention in these)
        found = next((calling for calling in trials if calling is not None), None)
        return None if found is None else replace(found, failed=tuple(failed), extra=extra)

    if (found := first_of(conventions(factory, options), failed)) is not None:
        return found
    if lr_is_none(factory, options) and (found := first_of([PLAIN], [], lr=DEFAULT_RATE)) is not None:
        return found
    bare: list[Attempt] = []
    fewer = ({}, {"lr": options.get("lr", DEFAULT_RATE)}) if options else ()
    wrong_options = any(_works(factory, PLAIN, few, params, bare) is not None for few in fewer)
    complaints = [attempt.error for attempt in (*bare, *failed)]
    flags = [] if wrong_options else list(with_flags(complaints, options))
    if (found := first_of(flags, failed)) is not None:
        return found
    known = {c.name: c for c in (*conventions(factory, options), *flags)}
    first = next((a for a in failed if a.built), None)
    if first is None:
        return Calling(None, False, tuple(failed), False)
    return Calling(known[first.convention], first.closure, tuple(failed), False, compiled=True)


def lr_is_none(factory: Factory, options: Mapping[str, Any]) -> bool:
    """Whether the learning rate's default is None, and none is given."""
    try:
        lr = inspect.signature(factory).parameters.get("lr")
    except (TypeError, ValueError):
        return False
    return lr is not None and lr.default is None and "lr" not in options


def _works(
    factory: Factory, convention: Convention, options: Mapping[str, Any], params: Params, failed: list[Attempt]
) -> Calling | None:
    """How the trial that went through was called; None, and an entry in ``failed``, if none did."""
    trial = _try(factory, convention, options, params)
    complaint = trial if isinstance(trial, Attempt) else None
    if complaint is not None and complaint.built and _wants_closure(complaint.error):
        trial = _try(factory, convention, options, params, with_closure=True)
        if isinstance(trial, Attempt) and "closure" in complaint.text.lower():  # what it wants is there; this is new
            complaint = trial
    elif complaint is not None and complaint.built and "dense gradients" in complaint.text:
        trial = _try(factory, convention, options, params, sparse=True)
    if isinstance(trial, Calling):
        return trial
    assert complaint is not None
    failed.append(complaint)
    return None


def _wants_closure(error: BaseException) -> bool:
    return isinstance(error, TypeError) or "closure" in f"{type(error).__name__} {error}".lower()


def _try(
    factory: Factory,
    convention: Convention,
    options: Mapping[str, Any],
    params: Params,
    *,
    with_closure: bool = False,
    sparse: bool = False,
) -> Calling | Attempt:
    copies = [torch.nn.Parameter(p.detach().clone()) for p in params]
    built = False
    with seeded(0), warnings.catch_warnings(), watching_compiled() as compiled:
        warnings.simplefilter("ignore")
        gradients: list[Tensor] = [torch.randn(p.shape, dtype=torch.float64).to(p.dtype) for p in copies]
        try:
            optimizer = construct(factory, convention, copies, options)
            built = True
            modes(optimizer, "train")
            feeder = Feeder(optimizer, copies, Closure(copies) if with_closure else None, sparse=sparse)
            for _ in range(TRIAL_CALLS):
                feeder.step(gradients)
        except (Exception, SystemExit) as error:
            return Attempt(convention.name, built, error, with_closure)
    return Calling(convention, with_closure, (), True, bool(compiled), sparse)


def sentence(failed: Sequence[Attempt]) -> str:
    """What else was tried, with every new complaint once."""
    if len(failed) < 2:
        return ""
    said = {failed[0].text}
    parts = []
    for attempt in failed[1:]:
        new = attempt.text not in said
        said.add(attempt.text)
        parts.append(f"{attempt.convention} ({attempt.text[:120]})" if new else attempt.convention)
    return f". Also tried: {'; '.join(parts)}"
