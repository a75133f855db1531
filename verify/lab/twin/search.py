"""Native twins: a black box that provably follows a recursion of the engine is replaced by it in the long run.

The proof is by steps. From one start, over prescribed gradients (:mod:`~maxmargin.verify.lab.twin.gradients`), every
block of every step of the black box must be that of the engine's recursion, to 1e-10 relative: exactly, at one constant
ratio of learning rates, for a scale-invariant optimizer; up to one positive number a step, common to all blocks, for
one of degree 1, whose step's length is a matter of the learning rate, and for one that has a factor of its own.

What may differ at long horizon or extreme scales is excluded like this: a long run feeds a black box gradients rescaled
to order one, so the scales of the prescribed gradients are all that it would see; and what changes with the step count
shows within the two thousand steps of their last sequence, or not at all. Randomness, a declared decay and a floor (an
eps) exclude a twin from the start; low-precision arithmetic and dependence on the weights show in the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, log

import numpy as np
import torch

from maxmargin.models.blocks import Shapes
from maxmargin.solvers.norms import Norm
from maxmargin.verify.blackbox.as_torch import AsTorch
from maxmargin.verify.blackbox.difference import size as size_of
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.lab.twin.gradients import Gradients, Move, absent, changing, falling, far, low_rank, moves, tiny
from maxmargin.verify.lab.twin.guesses import candidates, single_norms, whole_norms
from maxmargin.verify.optimizers.composite import Composite
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.optimizers.core.blockwise import Blockwise, Part
from maxmargin.verify.optimizers.core.logscale import scaled
from maxmargin.verify.thresholds.probe import EXACT_SCALE
from maxmargin.verify.thresholds.twin import RATIO_TIE, ROUNDING_SHARE, SAME_STEP, TWIN_FALL, TWIN_LATE


@dataclass(frozen=True)
class Twin:
    """An engine optimizer that makes a black box's steps.

    Attributes:
        optimizer: The engine's.
        factor: η of the engine per unit of the black box's learning-rate factor; 1 where it is another one each step.
        difference: The largest relative difference of a block's step.
        steps: Steps compared.
        longest: Of these, those that one instance made in a row.
        heaviest: The largest norm of the weights before one.
        fallen: The smallest gradient, of the largest that the same instance had seen before.
        text: For the report.
    """

    optimizer: Optimizer
    factor: float
    difference: float
    steps: int
    text: str
    longest: int = 0
    heaviest: float = inf
    fallen: float = 1.0


@dataclass(frozen=True)
class Search:
    """What came of it.

    Attributes:
        twin: The twin; None where none was proved.
        broken: The call of ``step()`` that was not finite in a rehearsal, from 1; None where all were.
    """

    twin: Twin | None = None
    broken: int | None = None


def search(target: Target, shapes: Shapes, about: Probe, seed: int = 0, norms: Sequence[Norm] = ()) -> Search:
    """Look for the engine's recursion that a black box follows on these shapes.

    It is proved over all steps of all rehearsals, or not at all: one that fails, or is not finite, leaves no twin.

    Args:
        target: The black box.
        shapes: Of the blocks.
        about: What the probe found on them.
        seed: Of the prescribed gradients.
        norms: Suspects for the steepest-descent family, besides the usual ones.

    Returns:
        The twin if one was proved, and whether a step was not finite.
    """
    if target.native is not None or not _eligible(about):
        return Search()
    found = _searched(target, shapes, about, seed, norms, steady=False)
    # A learning rate that is kept in the state (LaProp's momentum, the base sequence of a schedule-free method) acts
    # later than it is set. At a constant one it does not; nor, of degree 1, at one that makes steps of constant length.
    if found != Search() or not about.lr_knob_error > SAME_STEP:
        return found
    return _searched(target, shapes, about, seed, norms, steady=True)


def _searched(
    target: Target, shapes: Shapes, about: Probe, seed: int, norms: Sequence[Norm], *, steady: bool
) -> Search:
    try:
        handle = Handle(target, [torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for s in shapes.values()])
        runs: list[list[Move]] = []
        heaviest = 0.0
        kinds: list[Gradients] = [changing, low_rank, absent, far]
        lost = handle.rate.knob.outside and about.update_degree > 0  # small steps are, in the weights
        if about.depth < 1 and not lost:
            kinds.append(tiny(about.depth))
        # Within a regime, gradients have to stay above the size where it ends.
        deep = about.depth < TWIN_FALL and not lost and target.units is None
        fastest = min(about.lag_limit, -log(TWIN_FALL) / TWIN_LATE) if deep else 0.0
        for i, kind in enumerate(kinds):
            rehearsal = moves(target, shapes, about, kind, seed + i, steady=steady)
            if rehearsal.broken is not None:
                return Search(broken=rehearsal.broken)
            runs.append(rehearsal.moves)
            heaviest = max(heaviest, rehearsal.heaviest)
        # What a step of degree 1 is long is a matter of the learning rate; one of degree 0 may have a factor of its
        # own too (RAdam's), which is thought of where no single one fits.
        for freely in (True,) if about.update_degree and not steady else (False, True):
            for optimizer in _guesses(target, handle, shapes, about, runs, norms, freely):
                if _compare(optimizer, runs, freely, target.skipped) is None:
                    continue
                rate = min(fastest, optimizer.lag_limit)  # a logarithm in the state hides how long it remembers
                last = moves(target, shapes, about, falling(rate), seed + len(runs), steady=steady, anew=False)
                if last.broken is not None:
                    return Search(broken=last.broken)
                proof = _compare(optimizer, [*runs, last.moves], freely, target.skipped)
                if proof is None:
                    return Search()
                longest = target.stride * max(len(run) for run in (*runs, last.moves))
                fallen = min(map(_fallen, (*runs, last.moves)))
                how = "" if not steady else _LENGTHS if about.update_degree else _CONSTANT
                twin = _twin(optimizer, proof, freely, how)
                return Search(replace(twin, longest=longest, heaviest=heaviest, fallen=fallen))
    except TargetError:
        return Search()  # it fails on gradients that a long run may well not show it
    return Search()


def _fallen(run: Sequence[Move]) -> float:
    """The smallest size of a gradient over the largest before it."""
    sizes = np.array([size_of(list(move.gradient.values())) for move in run])
    return float((sizes / np.maximum.accumulate(sizes)).min())


def _eligible(about: Probe) -> bool:
    free = about.floor == 0 and about.defect <= EXACT_SCALE and about.update_degree in (0.0, 1.0)
    return free and about.decay == 0 and about.random == 0 and about.step_per_lr > 0


_CONSTANT = ", while its learning rate is constant"
_LENGTHS = ", while its learning rate goes as one over the gradient's norm"


def _twin(optimizer: Optimizer, proof: _Proof, freely: bool, rate: str) -> Twin:
    own = (", up to a learning rate of its own each step" if freely else "") + rate
    return Twin(
        optimizer=optimizer,
        factor=1.0 if freely else proof.ratio,
        difference=proof.difference,
        steps=proof.steps,
        text=f"follows {optimizer.recursion} to {max(proof.difference, 1e-15):.0e} over {proof.steps} steps{own}",
    )


def _guesses(
    target: Target,
    handle: Handle,
    shapes: Shapes,
    about: Probe,
    runs: Sequence[list[Move]],
    norms: Sequence[Norm],
    freely: bool,
) -> Iterable[Optimizer]:
    """Candidates for the whole parameter, then what the blocks seem to do one by one."""
    box = handle.optimizer
    if isinstance(box, AsTorch):
        yield box.native
    rates = _rates(handle, shapes)
    yield from candidates(box, target.kwargs, about, whole_norms(shapes, rates, norms))
    if not freely and len(shapes) > 1:
        parts = []
        for name, shape in shapes.items():
            alone = [[_only(name, move) for move in run] for run in runs]
            fits = (
                (guess, proof)
                for guess in candidates(box, target.kwargs, about, single_norms(norms, name, shape))
                if (proof := _compare(guess, alone, False, target.skipped)) is not None
            )
            if (found := next(fits, None)) is None:
                return
            parts.append(Part(name, tuple(shape), found[0], found[1].ratio))
        yield _assemble(parts)


def _assemble(parts: Sequence[Part]) -> Optimizer:
    """Matrices and vectors by one rule each, where these make a hybrid norm; otherwise block by block."""
    matrices = [p for p in parts if len(p.shape) == 2]
    vectors = [p for p in parts if len(p.shape) != 2]
    if matrices and vectors and _alike(matrices, "spectral") and _alike(vectors, "linf"):
        ratio = _plain(vectors[0].factor / matrices[0].factor)
        return Composite(matrices[0].optimizer, vectors[0].optimizer, ratio)
    top = max(p.factor for p in parts)
    return Blockwise(tuple(Part(p.name, p.shape, p.optimizer, _plain(p.factor / top)) for p in parts))


def _alike(parts: Sequence[Part], norm: str) -> bool:
    """Whether all parts do the same at the same rate, and follow this norm."""
    first = parts[0]
    return all(
        repr(p.optimizer) == repr(first.optimizer)
        and abs(p.factor - first.factor) <= RATIO_TIE * first.factor
        and p.optimizer.norm is not None
        and p.optimizer.norm.name == norm
        for p in parts
    )


def _plain(ratio: float) -> float:
    """Without what rounding has left behind the ninth digit."""
    short = float(f"{ratio:.9g}")
    return short if abs(short - ratio) <= RATIO_TIE * ratio and len(repr(short)) < 8 else ratio


def _only(name: str, move: Move) -> Move:
    return Move({name: move.gradient[name]}, move.factor, {name: move.update[name]}, {name: move.rounding[name]})


def _rates(handle: Handle, shapes: Shapes) -> dict[str, float]:
    """The learning rate that each block's group declares; 1 where none does."""
    own = {
        id(p): float(group["lr"])
        for group in handle.optimizer.param_groups
        for p in group["params"]
        if group.get("lr") is not None and float(group["lr"]) > 0
    }
    return {name: own.get(id(p), 1.0) for name, p in zip(shapes, handle.params, strict=True)}


@dataclass
class _Proof:
    """What a comparison has seen so far: the ratio of learning rates, the worst difference, the steps, any move."""

    ratio: float = 0.0
    difference: float = 0.0
    steps: int = 0
    moved: bool = False


def _compare(optimizer: Optimizer, runs: Sequence[list[Move]], freely: bool, skipped: int = 0) -> _Proof | None:
    """Whether an engine optimizer makes all these moves, at one ratio or freely; None from the first it does not."""
    proof = _Proof()
    for run in runs:
        if not run or not _follows(optimizer, run, freely, skipped, proof):
            return None
    return proof if proof.moved else None


def _follows(optimizer: Optimizer, run: Sequence[Move], freely: bool, skipped: int, proof: _Proof) -> bool:
    state = optimizer.init({k: torch.zeros_like(g) for k, g in run[0].gradient.items()})
    for t in range(1, skipped + 1):
        count = torch.tensor(float(t), dtype=torch.float64)
        state = optimizer.direction(state, scaled(run[0].gradient), count)[1]
    for t, move in enumerate(run, start=skipped + 1):
        gradient = scaled(move.gradient)
        u, state = optimizer.direction(state, gradient, torch.tensor(float(t), dtype=torch.float64))
        size = sum(float((b * b).sum()) for b in u.values())
        along = sum(float((b * move.update[k]).sum()) for k, b in u.items())
        if size == 0 and not any(bool(b.any()) for b in move.update.values()):
            proof.steps += 1
            continue  # neither moves, as ADOPT at first
        if not along > 0 or not size > 0:
            return False
        proof.moved = True
        ratio = along / size / move.factor
        if not freely:
            proof.ratio = proof.ratio or ratio
            ratio = proof.ratio
        for k, b in u.items():
            want = ratio * move.factor * b
            length = max(float(want.norm()), float(move.update[k].norm()))
            apart = float((move.update[k] - want).norm()) - move.rounding[k]
            if length == 0:
                continue  # neither moves the block
            if (
                not isfinite(length)
                or not apart <= SAME_STEP * length
                or not move.rounding[k] <= ROUNDING_SHARE * length
            ):
                return False
            proof.difference = max(proof.difference, apart / length, 0.0)
        proof.steps += 1
    return True
