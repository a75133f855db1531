"""Steps of a black-box optimizer under prescribed gradients; under constant ones they are its signature.

Late in training the few gradients that a run still sees may suit several norms. Here every matrix gradient has
singular values spread over more than a decade and every vector entries likewise, so that normalized, signed and
orthogonalized steps differ plainly. Momentum does not lag under a constant gradient. Where steps go on changing there
(error feedback, which makes up for what it rounded; weights that are pulled back now and then; chance), their mean is
read: it is the mean that moves the weights. It is a classifier, not a proof: Adagrad looks like a sign here; changing
gradients (:mod:`maxmargin.verify.lab.norm.preconditioners`) and trajectories decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from maxmargin.models.blocks import Blocks, Shapes
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.harness.session import last_step, leaning
from maxmargin.verify.lab.norm.reading import Step
from maxmargin.verify.thresholds.norm import (
    APART_STEPS,
    MEAN_STEPS,
    SIGNATURE_DRAWS,
    SIGNATURE_SPREAD,
    SIGNATURE_START,
    SIGNATURE_STEPS,
    TURNS,
)
from maxmargin.verify.thresholds.probe import FIRST_MOVE


def signature(
    target: Target, shapes: Shapes, seed: int = 0, draws: int = SIGNATURE_DRAWS, more: int = 0, late: bool = True
) -> list[Step]:
    """Return the last steps of ``draws`` short runs under constant gradients; those that are not finite are left out.

    Args:
        target: The optimizer.
        shapes: Of its parameters.
        seed: Of gradients and starts.
        draws: How many runs.
        more: As :func:`mean_step` has it.
        late: Whether they start where weights are late in training; else anywhere.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    rng = np.random.default_rng(seed)
    found = []
    for draw in range(draws):
        gradient = {name: spread_gradient(rng, shape) for name, shape in shapes.items()}
        start = late_start(rng, gradient) if late else random_start(rng, shapes)
        update = follow(target, [gradient] * SIGNATURE_STEPS, start, more=more)
        if all(np.isfinite(u).all() for u in update.values()):
            found.append(Step(gradient, update, 1.0, draw))
    return found


def follow(
    target: Target, gradients: Sequence[Blocks], start: Mapping[str, np.ndarray], *, torch_seed: int = 0, more: int = 0
) -> dict[str, np.ndarray]:
    """Run a fresh optimizer from ``start`` on prescribed gradients, one a step, at its groups' own learning rates.

    Args:
        target: The optimizer.
        gradients: What it is fed, numpy blocks; at least one.
        start: The weights at first; numpy blocks of the gradients' shapes.
        torch_seed: Of torch's generator, for optimizers that draw from it.
        more: As :func:`mean_step` has it.

    Returns:
        The last step's update θ_T − θ_{T−1}, or the mean one, numpy blocks.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    fed = ([torch.as_tensor(gradient[name]) for name in start] for gradient in gradients)
    moved = mean_step(opened(target, start, torch_seed), list(fed), more)
    return {name: m.numpy() for name, m in zip(start, moved, strict=True)}


def mean_step(handle: Handle, gradients: Sequence[Sequence[Tensor]], more: int) -> list[Tensor]:
    """The last step on these gradients, or what follows them.

    Args:
        handle: The optimizer.
        gradients: What it is fed; and the last one, until it moves, if it has not by then (a queue that fills).
        more: Steps that follow, along the last gradient, where the mean of their second half is asked for.

    Returns:
        The step, or that mean.
    """
    moved = last_step(handle, gradients)
    for _ in range(FIRST_MOVE):
        if any(bool(block.any()) for block in moved):
            break
        moved = handle.advance(gradients[-1])
    if not more:
        return moved
    last_step(handle, [gradients[-1]] * (more - more // 2))
    before = [p.detach().clone() for p in handle.params]
    last_step(handle, [gradients[-1]] * (more // 2))
    return [(p.detach() - b) / (more // 2) for p, b in zip(handle.params, before, strict=True)]


def steps_apart(target: Target, shapes: Shapes, seed: int = 0) -> int:
    """How many more steps to take under a constant gradient, for their mean.

    Returns:
        0 where single steps settle.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    rng = np.random.default_rng(seed)
    gradient = [torch.as_tensor(spread_gradient(rng, shape)) for shape in shapes.values()]
    handle = opened(target, random_start(rng, shapes))
    last_step(handle, [gradient] * SIGNATURE_STEPS)
    steps = [torch.cat([b.reshape(-1) for b in handle.advance(gradient)]) for _ in range(APART_STEPS)]
    units = [s / s.norm() for s in steps if bool(torch.isfinite(s).all()) and bool(s.any())]
    turns = [1.0 - float(a @ b) for a, b in pairwise(units)]
    return (
        MEAN_STEPS if len(turns) > 1 and min(float(np.mean(half)) for half in np.array_split(turns, 2)) > TURNS else 0
    )


def opened(target: Target, start: Mapping[str, np.ndarray], torch_seed: int = 0) -> Handle:
    """A fresh optimizer over parameters that begin at ``start``, at its groups' own learning rates."""
    torch.manual_seed(torch_seed)
    handle = Handle(target, [torch.nn.Parameter(torch.tensor(block, dtype=torch.float64)) for block in start.values()])
    handle.set_lr(1.0)
    return handle


def random_start(rng: np.random.Generator, shapes: Shapes) -> dict[str, np.ndarray]:
    """Normal weights of standard deviation SIGNATURE_START."""
    return {name: SIGNATURE_START * rng.standard_normal(shape) for name, shape in shapes.items()}


def late_start(rng: np.random.Generator, gradient: Blocks) -> dict[str, np.ndarray]:
    """Such weights, each block leaning against its gradient as it does late in training."""
    start = random_start(rng, {name: g.shape for name, g in gradient.items()})
    return {name: leaning(w, gradient[name]) for name, w in start.items()}


def spread_gradient(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A random gradient whose singular values (a vector's entries) are log-uniform, the largest 1."""
    spread = SIGNATURE_SPREAD ** -rng.random(min(shape))
    spread[0] = 1.0
    if len(shape) == 1:
        return spread * rng.choice([-1.0, 1.0], shape[0])
    u, _, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    return (u * spread) @ vt
