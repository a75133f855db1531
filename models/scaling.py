"""The power of θ's scale with which a function of it grows, and what in a module keeps it from being one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, final

import torch
from torch import Tensor
from torch.func import functional_call

from maxmargin.models.checks import EXACT

FACTORS = (2.0, 0.5, 3.0)
"""Scales: powers of two are exact in floating point, a third is none of them."""

Theta = Mapping[str, Tensor]


def power_of(function: Callable[[Theta], Tensor], draws: Sequence[Theta], block: str | None = None) -> float | None:
    """The power k with f(cθ) = c^k f(θ), found by scaling at several points.

    Args:
        function: Of parameters, to a tensor.
        draws: The parameters at which to look.
        block: The one that is scaled; all by default.

    Returns:
        k, rounded to a whole number where it is one; None where there is none, or the function is 0 everywhere.

    Example:
        >>> power_of(lambda t: t["a"] ** 2 * t["b"], [{"a": torch.ones(1), "b": torch.ones(1)}])
        3.0
    """
    powers = []
    with torch.no_grad():
        for theta in draws:
            base = function(theta)
            scaled = [function({n: c * b if block in (None, n) else b for n, b in theta.items()}) for c in FACTORS]
            size = float(base.abs().amax()) if base.numel() else 0.0
            if size == 0.0:
                if any(bool(s.any()) for s in scaled):
                    return None
                continue
            at = base.abs().argmax()
            ratio = float((scaled[0].reshape(-1)[at] / base.reshape(-1)[at]).abs())
            if not 0.0 < ratio < float("inf"):
                return None
            power = log2(ratio)
            power = float(round(power)) if abs(power - round(power)) < 1e-9 else power
            for c, s in zip(FACTORS, scaled, strict=True):
                if not float((s - c**power * base).abs().amax()) <= EXACT * c**power * size:
                    return None
            powers.append(power)
    return powers[0] if powers and max(powers) - min(powers) < 1e-9 else None


@final
@dataclass(frozen=True)
class Blamed:
    """What keeps a module from being homogeneous.

    Attributes:
        parameters: Those without which it is, or comes nearer to it.
        part: What is no power of the scale first, on the way through the module, with all of them 0; in words.
        rest: The degree without the parameters, where it has one.
    """

    parameters: tuple[str, ...] = ()
    part: str | None = None
    rest: float | None = None


def blame(
    module: torch.nn.Module,
    shapes: Mapping[str, tuple[int, ...]],
    draws: Sequence[Theta],
    X: Tensor,
    scores: Callable[[Theta], Tensor],
) -> Blamed:
    """Return the parameters, or the part, that break a module's homogeneity.

    The parts without parts of their own are looked at in the order in which they are called, what goes into one before
    what comes out. Where that is no power of the scale, the parameters there are tried at 0: one is to blame if a power
    is left that still depends on the inputs; of several, the one that leaves the highest.

    Args:
        module: The module.
        shapes: Of its trained parameters, as blocks.
        draws: Random parameters.
        X: Inputs as the module takes them.
        scores: The module's scores, of parameters as blocks.
    """
    gone: list[str] = []
    while True:
        now = [{n: b * (n not in gone) for n, b in theta.items()} for theta in draws]
        rest = power_of(scores, now)
        if rest is not None:
            return Blamed(tuple(gone), None, rest)
        index, place, own = _first_broken(module, now, X)
        output = scores if index is None else _nth(module, X, index)
        left = {n: _without(output, now, n) for n in own if n in shapes and n not in gone}
        mended = {n: power for n, power in left.items() if power is not None}
        if not mended:
            return Blamed(tuple(gone), place, None)
        gone.append(max(mended, key=lambda n: mended[n]))


def _without(output: Callable[[Theta], Tensor], draws: Sequence[Theta], name: str) -> float | None:
    """The power that is left without a parameter; None if none is, or if it depends on no input any more."""
    without = [{n: b * (n != name) for n, b in theta.items()} for theta in draws]
    power = power_of(output, without)
    varies = power is not None and any(bool((o != o[:1]).any()) for o in map(output, without))
    return power if varies else None


def _nth(module: torch.nn.Module, X: Tensor, index: int) -> Callable[[Theta], Tensor]:
    return lambda theta: _seen(module, theta, X)[index][2]


def _first_broken(
    module: torch.nn.Module, draws: Sequence[Theta], X: Tensor
) -> tuple[int | None, str | None, list[str]]:
    """The first tensor on the way that is no power: its number, what it is, and the parameters that may be at fault."""
    names = {id(m): name for name, m in module.named_modules()}
    loose = [n for n, _ in module.named_parameters() if next(module.get_submodule(n.rpartition(".")[0]).children(), 0)]
    seen = _seen(module, draws[0], X)
    for index, (part, side, _) in enumerate(seen):
        output = _nth(module, X, index)
        if power_of(output, draws) is None and bool(output(draws[0]).any()):
            name = names[id(part)]
            own = [f"{name}.{n}" for n, _ in part.named_parameters(recurse=False)] if side == "output" else loose
            return index, f"the {side} of {name!r} ({type(part).__name__})", own
    direct = [n for n, _ in module.named_parameters(recurse=False)]
    return None, f"what {type(module).__name__} returns" if seen else None, direct or loose


def _seen(module: torch.nn.Module, theta: Theta, X: Tensor) -> list[tuple[torch.nn.Module, str, Tensor]]:
    """What went into each part without parts, and came out, in the order of the calls."""
    found: list[tuple[torch.nn.Module, str, Tensor]] = []

    def keep(part: torch.nn.Module, given: Any, output: Any) -> None:
        tensors = ("input", given[0] if given else None), ("output", output)
        found.extend((part, side, value) for side, value in tensors if isinstance(value, Tensor))

    leaves = [m for m in module.modules() if next(m.children(), None) is None and m is not module]
    handles = [m.register_forward_hook(keep) for m in leaves]
    own = dict(module.named_parameters())
    try:
        with torch.no_grad():
            functional_call(module, {n: b.reshape(own[n].shape) for n, b in theta.items()}, (X,))
    finally:
        for handle in handles:
            handle.remove()
    return found
