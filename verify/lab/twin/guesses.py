"""Which engine optimizers a black box might be: its own hyperparameters, put into every row of the registry.

Every candidate is only a guess; :mod:`maxmargin.verify.lab.twin.search` is the proof.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, product
from math import inf, isfinite
from numbers import Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from maxmargin.models.blocks import Shapes
from maxmargin.solvers.norms import Norm, NormError, ParameterNorm, get_norm
from maxmargin.verify.lab.norm.reading import readings
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.optimizers import OPTIMIZERS, Optimizer, OptimizerError
from maxmargin.verify.optimizers.steepest import Kind, MomentumSteepestDescent, SteepestDescent
from maxmargin.verify.thresholds.twin import MANY_GUESSES, USUAL_LENGTHS, USUAL_RETENTIONS

WHOLE = ("l2", "l1", "nuclear", "l2;max", "linf", "spectral", "hybrid", "maxrow", "maxcolumn")  # of the whole parameter

RETENTION = ("momentum", "beta", "mu", "alpha", "rho", "decay_rate", "smoothing", "b1", "b2")
"""Beginnings of names of how much an average keeps: ``momentum``, ``betas``, ``beta1``, RMSprop's ``alpha``."""
NO_RETENTION = ("momentum_decay",)
"""Names that begin so and are no such number: NAdam's schedule of its momentum."""
NEUTRAL: Mapping[str, float] = {"eps": 0.0, "weight_decay": 0.0, "decay": 0.0, "ratio": 1.0, "lr": 1.0}
"""What never is guessed: a true-unit eps or a decay makes a recursion that is not free of scales."""
RELATIVE = "relative_"
"""What begins so is a number of that name over the length that gradients are given: a usual one, or one declared."""


def retentions(optimizer: Any, given: Mapping[str, Any], about: Probe) -> list[float]:
    """Numbers that may be the β of some average: declared by the black box, and as its states were seen to decay."""
    found = []
    for name, value in _fields(optimizer, given):
        if _retains(name) and 0 <= value < 1:
            found += [value, 1.0 - value] if value else []
    if not found:  # constants of its code: the usual ones, besides what is measured
        found += USUAL_RETENTIONS
    for value in (1 - 1 / about.memory, 1 - about.lag_limit, 1 - 2 * about.lag_limit):
        if isfinite(value) and 0 < value < 1:
            found += [round(value, 12)]
    return _distinct([*found, 0.0])


def _retains(name: str) -> bool:
    """Whether the name is that of how much an average keeps."""
    return name.startswith(RETENTION) and name not in NO_RETENTION


def _sources(optimizer: Any, given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Where an optimizer says what numbers it has."""
    yield from (*optimizer.param_groups, getattr(optimizer, "defaults", {}), given, vars(optimizer))


def _fields(optimizer: Any, given: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for source in _sources(optimizer, given):
        for name, value in source.items():
            for entry in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(entry, Real) and not isinstance(entry, bool):
                    yield str(name).lstrip("_"), float(entry)


def _distinct(values: Iterable[float]) -> list[float]:
    kept: list[float] = []
    for value in values:
        if all(abs(value - other) > 1e-13 for other in kept):
            kept.append(value)
    return kept


def candidates(optimizer: Any, given: Mapping[str, Any], about: Probe, norms: Sequence[Norm]) -> Iterator[Optimizer]:
    """Engine optimizers that the black box may follow: steepest descent under ``norms``, then the registry.

    Args:
        optimizer: An instance of the black box.
        given: Its constructor arguments.
        about: What the probe found.
        norms: For the steepest-descent family.

    Yields:
        Each candidate once.
    """
    betas = retentions(optimizer, given, about)
    seen: set[str] = set()
    for candidate in (*_steepest(norms, betas), *_registered(optimizer, given, betas)):
        if (key := repr(candidate)) not in seen:
            seen.add(key)
            yield candidate


def _steepest(norms: Sequence[Norm], betas: Sequence[float]) -> Iterator[Optimizer]:
    kinds: tuple[Kind, ...] = ("ema", "nesterov")  # a heavy ball has the directions of an average
    for norm in norms:
        yield SteepestDescent(norm)
        for beta, kind in product(betas, kinds):
            if beta > 0:
                yield MomentumSteepestDescent(norm, beta, kind)


def _registered(optimizer: Any, given: Mapping[str, Any], betas: Sequence[float]) -> Iterator[Optimizer]:
    declared: dict[str, list[Any]] = {}
    for source in _sources(optimizer, given):
        for name, value in source.items():
            if isinstance(value, (bool, int, float, str, tuple)) and value not in declared.setdefault(name, []):
                declared[name].append(value)
    found: list[tuple[int, Optimizer]] = []
    for entry in OPTIMIZERS.values():
        parameters = inspect.signature(entry.build).parameters
        if {"norm", "ratio", "optimizer"} & set(parameters):
            continue  # the first are in the family above; the others are put together of candidates for the blocks
        hints = get_type_hints(entry.build)
        choices = [_choices(name, p.default, hints.get(name), betas, declared) for name, p in parameters.items()]
        told = [
            product(*(_told(name, several, given) for name, given in zip(parameters, choices, strict=True)))
            for several in declared.get("betas", ())
            if isinstance(several, tuple) and len(several) == sum(name.startswith("beta") for name in parameters)
        ]  # what was declared in one tuple comes first, in its order: there are too many orders of three
        for values in islice(chain(*told, product(*choices)), MANY_GUESSES):
            arguments = dict(zip(parameters, values, strict=True))
            try:
                candidate = entry.build(**arguments)
            except (OptimizerError, NormError, TypeError):
                continue
            if type(candidate).move is Optimizer.move:  # what else it does to the weights, no gradient explains
                absent = sum(_retains(name) and v == 0 != parameters[name].default for name, v in arguments.items())
                found.append((absent, candidate))
    # An optimizer without one of its averages (Adam with beta1=0) is named only where no row of its own is (RMSprop).
    yield from (candidate for _, candidate in sorted(found, key=lambda row: row[0]))


def _choices(
    name: str, default: Any, hint: Any, betas: Sequence[float], declared: Mapping[str, list[Any]]
) -> Sequence[Any]:
    """Values to try for one argument of an engine optimizer."""
    if name in NEUTRAL:
        return (NEUTRAL[name],)
    if hint is bool:
        return declared.get(name) or (False, True)
    if get_origin(hint) is Literal:
        return get_args(hint)
    if isinstance(default, float) and default < 1 and _retains(name):
        return list(betas) or [default]
    if name.startswith(RELATIVE):
        lengths = [*USUAL_LENGTHS, *(v for values in declared.values() for v in values if _is_length(v))]
        return _distinct([default, *(v / c for v in declared.get(name.removeprefix(RELATIVE), []) for c in lengths)])
    return _plain(default, [*declared.get(name, []), *declared.get(f"ns_{name}", [])])


def _is_length(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < inf


def _told(name: str, betas: tuple[float, ...], choices: Sequence[Any]) -> Sequence[Any]:
    """An argument's values, those of a beta left to the one that was declared in its place."""
    place = name.removeprefix("beta")
    return (betas[int(place) - 1],) if name.startswith("beta") and place.isdigit() else choices


def _plain(default: Any, declared: Sequence[Any]) -> list[Any]:
    kept = [default]
    kept += [value for value in declared if type(value) is type(default) and value != default]
    return kept


def whole_norms(shapes: Shapes, rates: Mapping[str, float], norms: Sequence[Norm]) -> list[Norm]:
    """Norms of the whole parameter to try: suspects, the common ones, and ℓ2 joined at the blocks' own rates."""
    found = [*norms, *(get_norm(name) for name in WHOLE)]
    top = max(rates.values())
    if min(rates.values()) < top:
        weights = {k: ("l2", (top / rate) ** 0.5) for k, rate in rates.items()}
        found.append(ParameterNorm.of(weights, 2.0))
    return [norm for norm in found if _fits(norm, shapes)]


def single_norms(norms: Sequence[Norm], name: str, shape: tuple[int, ...]) -> list[Norm]:
    """Norms of one block to try: those of the suspects, then the common ones."""
    found: dict[str, Norm] = {}
    for norm in norms:
        if norm.aggregation == inf and _fits(norm, {name: shape}):
            alone = norm.block(name, shape)[0]
            found[alone.name] = ParameterNorm.uniform(alone)
    for spec in readings(shape):
        found.setdefault(spec, get_norm(spec))
    return list(found.values())


def _fits(norm: Norm, shapes: Shapes) -> bool:
    try:
        for name, shape in shapes.items():
            norm.block(name, shape)
    except NormError:
        return False
    return True
