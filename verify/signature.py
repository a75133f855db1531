"""Steps of a black-box optimizer under constant gradients made to tell norms apart: its signature.

Late in training the few gradients that a run still sees may suit several norms. Here every matrix gradient has
singular values spread over more than a decade and every vector entries likewise, so that normalized, signed and
orthogonalized steps differ plainly. Momentum does not lag under a constant gradient. It is a classifier, not a proof:
Adagrad looks like a sign here; trajectories decide.
"""

from __future__ import annotations

import numpy as np
import torch

from maxmargin.models.blocks import Shapes
from maxmargin.verify.fingerprint import Step
from maxmargin.verify.handle import Handle
from maxmargin.verify.targets import Target

DRAWS = 32
STEADY = 6  # steps under each gradient; the last one is read
SPREAD = 20.0  # ratio of the largest to the smallest singular value


def signature(target: Target, shapes: Shapes, seed: int = 0) -> list[Step]:
    """Return the last steps of short runs under constant gradients.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(DRAWS):
        gradient = {name: _gradient(rng, shape) for name, shape in shapes.items()}
        torch.manual_seed(0)
        handle = Handle(
            target, [torch.nn.Parameter(0.3 * torch.as_tensor(rng.standard_normal(s))) for s in shapes.values()]
        )
        handle.set_lr(1.0)
        before = [p.detach().clone() for p in handle.params]
        for _ in range(STEADY):
            before = [p.detach().clone() for p in handle.params]
            handle.step([torch.as_tensor(g) for g in gradient.values()])
        update = {name: (p.detach() - b).numpy() for name, p, b in zip(shapes, handle.params, before, strict=True)}
        if all(np.isfinite(u).all() for u in update.values()):
            found.append(Step(gradient, update, 1.0))
    return found


def _gradient(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A random gradient whose singular values (a vector's entries) are log-uniform over SPREAD, the largest 1."""
    spread = SPREAD ** -rng.random(min(shape))
    spread[0] = 1.0
    if len(shape) == 1:
        return spread * rng.choice([-1.0, 1.0], shape[0])
    u, _, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    return (u * spread) @ vt
