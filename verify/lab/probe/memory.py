"""How long an optimizer's state remembers: the gradient drops by 2^-60, and each tensor of the state decays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf, prod

import torch

from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.blackbox.handle import Handle, Path
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.thresholds.laboratory import (
    DROP_TURNS,
    MEMORY_SETTLED,
    MEMORY_SETTLING,
    MEMORY_WATCHED,
    NEVER_FORGETS,
)


def remembered(session: Session, degrees: Mapping[Path, float]) -> tuple[float, float]:
    """Return (lag limit, memory) of the state after the warm steps.

    Args:
        session: The target's.
        degrees: Of its state's tensors; those without a positive one are left out.

    Returns:
        The change of the log-gradient in one step that the state can follow, 1 without memory; and the steps that the
        slowest of its tensors remembers, inf where one never forgets.
    """
    handle, _ = session.run()
    sizes = [_state_sizes(handle)]

    def watch(path: Path, until: int) -> list[float]:
        for _ in range(until + 1 - len(sizes)):
            handle.step([2.0**-60 * g for g in session.gradients[-1]])
            sizes.append(_state_sizes(handle))
        return [row.get(path, 0.0) for row in sizes[: until + 1]]

    lag, memory = 1.0, 1.0
    first_moments, second_moments = [0.0], [0.0]  # what those of degree 1 and 2 keep in a step
    for path, d in degrees.items():
        first = watch(path, 3)
        if d != d or d <= 0 or path not in sizes[3] or first[2] == 0:
            continue
        gone = first[0] * 2.0 ** (-50 * d)
        if first[3] <= gone:
            continue  # it holds the last gradient, small like it, and nothing older
        kept = _kept(partial(watch, path), gone)
        if kept >= NEVER_FORGETS:
            memory = inf
            continue
        if d in (1.0, 2.0):
            (first_moments if d == 1.0 else second_moments).append(kept)
        lag = min(lag, (1 - kept) / d)
        memory = max(memory, 1 / (1 - kept))
    if len(second_moments) > 1:  # a momentum that lags behind the second moment lengthens steps as they speed up
        lag = min(lag, resonance_limit(max(first_moments), min(second_moments[1:])))
    return lag, memory


def _kept(watch: Callable[[int], list[float]], gone: float) -> float:
    """What a state keeps of itself in a step, once that has settled; 1 where it never does, or never decays.

    Moments that take turns, and factors that are renewed now and then, do not decay in every step; averages whose
    bias is corrected in their own weights (1/t at first) decay the slower the longer they have run.

    Args:
        watch: Returns the state's size after each of the first n steps.
        gone: A size so small that it is the small gradient's own.

    Returns:
        The ratio of its sizes from one step to the next.
    """
    first = watch(3)
    kept = first[3] / first[2]
    if kept < NEVER_FORGETS and abs(kept * first[1] - first[2]) <= (1 - NEVER_FORGETS) * first[2]:
        return kept
    before = inf
    until = DROP_TURNS
    while True:
        seen = watch(until)
        end = max(i for i, x in enumerate(seen) if x > gone)
        begin = max(2, end // 2)
        if end <= begin:
            return kept
        kept = min(1.0, (seen[end] / seen[begin]) ** (1 / (end - begin)))
        fallen = 1 - (1 - kept) / before
        if kept >= NEVER_FORGETS or end < until or abs(fallen) <= MEMORY_SETTLED:
            return kept
        if until == MEMORY_WATCHED:
            return kept if fallen <= MEMORY_SETTLING else 1.0
        before, until = 1 - kept, 2 * until


def _state_sizes(handle: Handle) -> dict[Path, float]:
    """The largest entry of each state leaf."""
    return {
        leaf.path: float(torch.as_tensor(leaf.value).double().abs().amax())
        for leaf in handle.leaves()
        if prod(torch.as_tensor(leaf.value).shape)
    }
