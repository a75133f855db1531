"""Roundings to low precision: of the state, of the weights, and within the computation of the step.

A step computed in float64 answers to a relative change ε of the gradient in proportion to ε, down to 1e-11. One that
passes through float32 or bfloat16 stands still, or jumps by a rounding unit, once ε is below that unit; a sign or a
quantizer stands still at every ε, and is not a cast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import torch
from torch import Tensor

from maxmargin.verify.blackbox.difference import difference, rounded_to, rounding_unit_of, size
from maxmargin.verify.blackbox.handle import Handle, Path
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.thresholds.probe import (
    ABOVE_ROUNDING,
    ANSWERING,
    EPS_LADDER,
    FINE_RUNG,
    JUMP,
    LEAST_ANSWER,
    MOSTLY_UNEVEN,
    ROUNDING_UNITS,
    ROUNDINGS,
    SMOOTH_RUNGS,
    UNEVEN,
)


def weight_format(session: Session) -> str | None:
    """The coarsest format that holds all weights after the warm steps, exactly; None if they are true float64."""
    moved = [e[e != s] for e, s in zip(session.end, session.start, strict=True)]
    return rounded_to(moved)


def lengthen(session: Session) -> None:
    """Make the session's steps as long as the weights where these are rounded: short steps would be lost in that."""
    if weight_format(session) is None or session.open().rate.knob.outside:
        return  # what is scaled from outside was rounded before
    if (length := size(session.run()[1])) > 0:
        session.rate = max(1.0, size(session.start) / length)


def blur(session: Session, update: Sequence[Tensor]) -> float:
    """How much two steps may differ, relatively, by the rounding of weights that are up to three times as large."""
    name = weight_format(session)
    if name is None or size(update) == 0:
        return 0.0
    weights = max(3.0 * size(session.start), size(session.start) + session.warm * size(update))
    return ROUNDINGS * rounding_unit_of(name) * weights / size(update)


def state_formats(handle: Handle, degrees: Mapping[Path, float]) -> tuple[str, ...]:
    """Names of state tensors, not counters, that are kept in less than float64: ``exp_avg in float32``."""
    found: dict[str, None] = {}
    for leaf in handle.leaves():
        value = leaf.value
        counts = degrees.get(leaf.path, 0.0) == 0.0 and isinstance(value, Tensor) and value.numel() == 1
        if isinstance(value, Tensor) and value.dtype != torch.float64 and not counts:
            name = next((str(part) for part in reversed(leaf.path) if isinstance(part, str)), "state")
            found[f"{name} in {str(value.dtype).removeprefix('torch.')}"] = None
    return tuple(found)


def granularity(session: Session, update: Sequence[Tensor]) -> float:
    """Return the coarsest rounding unit that a block's step seems to pass; 0 where all answer evenly, or as signs do.

    About 4e-3 for bfloat16, 6e-8 for float32. Of entries rounded to a unit u a share ε/u jumps by u when the gradient
    changes by ε: where the answer is first seen to jump or to stand still, it is about u.

    Args:
        session: The target's.
        update: Its last warm step.
    """
    generator = torch.Generator().manual_seed(1)

    def answers(k: int) -> list[tuple[float, float]]:
        """Block by block: the relative change of the step per ε, and the share of entries that changed."""

        def shaken(_: int, g: Tensor) -> Tensor:
            # Anew in each step: a rescaled entry alone is nothing to a scale-invariant optimizer.
            return g * (1 + 2.0**-k * torch.randn(g.shape, generator=generator, dtype=torch.float64))

        other = session.run(change=shaken)[1]
        return [
            (difference([u], [v]) * 2.0**k, float((u != v).double().mean())) for u, v in zip(update, other, strict=True)
        ]

    reference = [answers(k) for k in SMOOTH_RUNGS]
    ladder = {k: answers(k) for k in EPS_LADDER}
    units = [0.0]
    for i, (u, start) in enumerate(zip(update, session.start, strict=True)):
        if usual := _usual([row[i] for row in reference]):
            noise = 2.0**-53 * size([start]) / size([u])  # the weights' own rounding, relative to the step
            seen = {k: row[i][0] / usual for k, row in ladder.items() if usual * 2.0**-k > ABOVE_ROUNDING * noise}
            units.append(_unit(seen, usual))
    return max(units)


def _usual(rows: Sequence[tuple[float, float]]) -> float:
    """A block's even answer to coarse changes; 0 where it answers as signs do, with few entries, or now and then."""
    answers, shares = zip(*rows, strict=True)
    even = min(answers) >= LEAST_ANSWER and max(answers) <= UNEVEN**2 * min(answers)
    return median(answers) if even and shares[-1] >= ANSWERING else 0.0


def _unit(ladder: Mapping[int, float], usual: float) -> float:
    """The rounding unit read off a block's answers, in units of the usual one."""
    uneven = [k for k, ratio in ladder.items() if not 1 / UNEVEN <= ratio <= UNEVEN]
    rest = [k for k in uneven if sum(j >= k for j in uneven) >= MOSTLY_UNEVEN * sum(j >= k for j in ladder)]
    while len(rest) > 1 and rest[1] - rest[0] > EPS_LADDER[1] - EPS_LADDER[0]:
        del rest[0]  # one uneven answer among even ones is chance
    if len(rest) < 3 or any(ladder[k] * usual * 2.0**-k > JUMP for k in rest if k >= FINE_RUNG):
        return 0.0
    # A jump tells the unit; where the few entries of a block stand still at once, it is a little above the change.
    return 2.0 ** -rest[0] * max(2.0, ladder[rest[0]])


def format_of(unit: float) -> str | None:
    """The format that a rounding unit is of; None where there is none."""
    return next((name for name, (low, high) in ROUNDING_UNITS.items() if low <= unit <= high), None)
