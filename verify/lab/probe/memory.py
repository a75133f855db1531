"""How long an optimizer's state remembers: the gradient drops by 2^-60, and each tensor of the state decays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from math import inf, log2, prod

import torch
from torch import Tensor

from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.blackbox.difference import difference, size
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.handle import Handle, Leaf, Path
from maxmargin.verify.blackbox.targets import TargetError
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.thresholds.probe import (
    DROP_TURNS,
    LONGEST_WINDOW,
    MEMORY_SETTLED,
    MEMORY_SETTLING,
    MEMORY_WATCHED,
    NEVER_FORGETS,
    SAME_FALL,
    SAME_SHAPE,
    SHAPED_STEPS,
    SMALL,
)


def remembered(
    session: Session, degrees: Mapping[Path, float], copies: Collection[Path] = ()
) -> tuple[float, float, bool]:
    """Return (lag limit, memory, stays) of the state after the warm steps.

    A state that never forgets counts where it shapes the steps' direction: one that sets only their common length (the
    distance that D-Adaptation estimates) is a learning rate. Beside one that counts, only moments of degree one have
    to follow the gradient: squares are then not meant to.

    Args:
        session: The target's.
        degrees: Of its state's tensors. Those of degree 0 or less are left out; one without a degree (a sum that did
            not begin at 0) is looked at only for whether it forgets, and then without the weights' own copies.
        copies: Parts of the state that are places among the weights, where a step of degree 1 may keep its momentum in
            how far they lie from these; counted where they move, that shapes the steps, and is forgotten.

    Returns:
        The change of the log-gradient in one step that the state can follow, 1 without memory; and the steps that the
        slowest of its tensors remembers, inf where one never forgets; and whether that one keeps its proportions, as
        the gradients of a training end: it stands still under small ones (a sum, a maximum), or falls like a power of
        the steps (squares averaged over all of them) that is slower than theirs, late in training, like 1/t.
    """
    handle, _ = session.run()
    sizes = [_state_sizes(handle, copies)]

    def watch(path: Path, until: int) -> list[float]:
        for _ in range(until + 1 - len(sizes)):
            handle.step([2.0**-60 * g for g in session.gradients[-1]])
            sizes.append(_state_sizes(handle, copies))
        return [row.get(path, 0.0) for row in sizes[: until + 1]]

    lags, memory, stays = [(1.0, 1.0)], 1.0, False
    first_moments, second_moments = [0.0], [0.0]  # what those of degree 1 and 2 keep in a step

    def stands(path: Path) -> bool:
        seen = watch(path, DROP_TURNS)
        late, middle = seen[-1], seen[len(seen) // 2]
        return late > 0 and middle >= NEVER_FORGETS * late >= NEVER_FORGETS**2 * middle  # a logarithm may grow

    def slows(path: Path, d: float) -> bool:
        t = session.warm
        a, b, c = (watch(path, (2**i - 1) * t)[-1] for i in (1, 2, 3))  # after 2 t, 4 t and 8 t steps in all
        if not a > b > c > 0:
            return False
        early, late = log2(a / b), log2(b / c)
        return late < d and abs(late - early) <= SAME_FALL * late

    def forgets(d: float, kept: float) -> None:
        nonlocal memory
        if d in (1.0, 2.0):
            (first_moments if d == 1.0 else second_moments).append(kept)
        lags.append((d, (1 - kept) / d))
        memory = max(memory, 1 / (1 - kept))

    for path, d in degrees.items():
        first = watch(path, 3)
        if d <= 0 or path not in sizes[3] or first[2] == 0:
            continue
        if d != d:
            if not stays and stands(path) and own_sum(session, path) and shapes_steps(session, path):
                memory, stays = inf, True
            continue
        gone = first[0] * 2.0 ** (-50 * d)
        if first[3] <= gone:
            continue  # it holds the last gradient, small like it, and nothing older
        kept = _kept(partial(watch, path), gone)
        if kept >= NEVER_FORGETS:
            if not stays and shapes_steps(session, path):
                memory, stays = inf, stands(path) or slows(path, d)
            continue
        forgets(d, kept)
    for path in copies:
        first = watch(path, 3)
        gone = first[0] * 2.0**-50
        if _anchored(session, handle, path) or first[2] == 0 or first[3] <= gone:
            continue
        kept = _kept(partial(watch, path), gone)
        if kept < NEVER_FORGETS and shapes_steps(session, path, beside=True):
            forgets(1.0, kept)
    lag = min(lag for d, lag in lags if not stays or d <= 1)
    if len(second_moments) > 1:  # a momentum that lags behind the second moment lengthens steps as they speed up
        lag = min(lag, resonance_limit(max(first_moments), min(second_moments[1:])))
    return lag, memory, stays


def _anchored(session: Session, handle: Handle, path: Path) -> bool:
    """Whether a part of the state lies where the weights began."""
    leaf = _leaf(handle, path)
    if leaf is None or leaf.parameter is None:
        return True
    return difference([torch.as_tensor(leaf.value)], [session.start[leaf.parameter]]) == 0


def own_sum(session: Session, path: Path) -> bool:
    """Whether a tensor of the state is of one parameter, and made of gradients alone, not of weights."""
    here, there = (_leaf(session.run(start_factor=c)[0], path) for c in (1.0, 3.0))
    if here is None or there is None or here.parameter is None:
        return False
    a, b = (torch.as_tensor(leaf.value, dtype=torch.float64).reshape(-1) for leaf in (here, there))
    return a.shape == b.shape and a.numel() > 1 and difference([a], [b]) <= SAME_SHAPE


def shapes_steps(session: Session, path: Path, *, beside: bool = False) -> bool:
    """Whether the direction of the next steps, under small gradients, changes when a part of the state is changed.

    Every entry of it is multiplied by a factor of its own, between 1/2 and 2; what stands for itself is doubled.

    Args:
        session: The target's.
        path: Of the part.
        beside: Whether it is a place among the weights, of which only the difference from these is changed.

    Returns:
        Whether it does; True where the optimizer refuses a state so changed.
    """
    generator = torch.Generator().manual_seed(0)

    def directions(change: bool) -> list[list[Tensor]]:
        handle, _ = session.run()
        small = [SMALL * g for g in session.gradients[-1]]
        handle.set_lr(1 / SMALL)  # whatever the state, steps that are long enough to be seen
        handle.step(small)
        if change and (leaf := _leaf(handle, path)) is not None:
            value = leaf.value
            if isinstance(value, Tensor) and value.numel() > 1:
                drawn = 2.0 ** (2 * torch.rand(value.shape, generator=generator, dtype=torch.float64) - 1)
                weights = handle.params[leaf.parameter].detach() if beside and leaf.parameter is not None else 0.0
                value.copy_((weights + drawn * (value - weights)).to(value.dtype))
            else:
                leaf.multiply(2.0)
        moves = [handle.advance(small) for _ in range(SHAPED_STEPS)]
        return [[m / (size(move) or 1.0) for m in move] for move in moves]

    with seeded(0):
        try:
            pairs = zip(directions(False), directions(True), strict=True)
            return max(difference(a, b) for a, b in pairs) > SAME_SHAPE
        except TargetError:
            return True


def _leaf(handle: Handle, path: Path) -> Leaf | None:
    return next((leaf for leaf in handle.leaves() if leaf.path == path), None)


def _kept(watch: Callable[[int], list[float]], gone: float) -> float:
    """Return what a state keeps of itself in a step, once that has settled; 1 where it never does, or never decays.

    Moments that take turns, and factors that are renewed now and then, do not decay in every step; averages whose
    bias is corrected in their own weights (1/t at first) decay the slower the longer they have run.

    Args:
        watch: Returns the state's size after each of the first n steps.
        gone: A size so small that it is the small gradient's own.
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
        if end < until:  # of a window all is kept for so many steps, and nothing after
            return min(kept, 1 - 1 / end)
        if kept >= NEVER_FORGETS and until < LONGEST_WINDOW:
            until *= 2
            continue
        fallen = 1 - (1 - kept) / before
        if kept >= NEVER_FORGETS or abs(fallen) <= MEMORY_SETTLED:
            return kept
        if until == MEMORY_WATCHED:
            return kept if fallen <= MEMORY_SETTLING else 1.0
        before, until = 1 - kept, 2 * until


def _state_sizes(handle: Handle, copies: Collection[Path]) -> dict[Path, float]:
    """The largest entry of each state leaf; of one that is a place among the weights, how far it lies from these."""

    def size_of(leaf: Leaf) -> float:
        value = torch.as_tensor(leaf.value).double()
        if leaf.path in copies and leaf.parameter is not None:
            value = value - handle.params[leaf.parameter].detach()
        return float(value.abs().amax())

    return {leaf.path: size_of(leaf) for leaf in handle.leaves() if prod(torch.as_tensor(leaf.value).shape)}
