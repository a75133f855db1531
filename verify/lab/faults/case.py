"""What detectors look at: an optimizer's steps beside those of the norm that it should follow, and a place to try more.

Imports what other experiments found (``subject.py``); detectors import this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maxmargin.models.blocks import Blocks
from maxmargin.solvers.norms import BlockNorm, Norm
from maxmargin.verify.lab.norm.reading import BlockReading, Step, read_block, readings
from maxmargin.verify.lab.norm.signature import follow, random_start, signature, spread_gradient
from maxmargin.verify.lab.norm.subject import Subject
from maxmargin.verify.thresholds.faults import FAULT_DRAWS, STILL_ENTRY
from maxmargin.verify.thresholds.norm import SIGNATURE_STEPS

Change = Callable[[int, str, np.ndarray], np.ndarray]  # (age, block, gradient) -> what is fed instead


@dataclass(frozen=True)
class BlockSteps:
    """One block's steps under constant gradients, beside those of the norm it should follow.

    Attributes:
        name: The block's.
        norm: The norm it should follow.
        reading: Its alignments with all norms.
        own: Its alignment with ``norm``.
        G: Gradients (draws, *shape).
        U: Updates (draws, *shape).
        E: ``lmo`` of the whole parameter's norm (draws, *shape).
        others: The other blocks, and the norms that they should follow.
    """

    name: str
    norm: BlockNorm
    reading: BlockReading
    own: float
    G: np.ndarray
    U: np.ndarray
    E: np.ndarray
    others: Mapping[str, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """The block's shape."""
        return self.G.shape[1:]


class Case:
    """An optimizer, seen from one norm; and one history of gradients, all different, to change one thing in.

    Attributes:
        subject: The optimizer.
        norm: The norm that its steps should follow.
        floor: The gradient's norm below which an eps takes over, if known.
        history: A gradient for each step.
        start: The weights at first.
        usual: The last step on that history.
    """

    def __init__(self, subject: Subject, norm: Norm, floor: float = 0.0) -> None:
        """Draw a history and a start, and run the optimizer.

        Raises:
            TargetError: when it cannot be built or stepped.
        """
        self.subject, self.norm, self.floor = subject, norm, floor
        self.target, self.shapes = subject.target, subject.shapes
        rng = np.random.default_rng(subject.seed)
        self.history: Sequence[Mapping[str, np.ndarray]] = [
            {name: spread_gradient(rng, shape) for name, shape in self.shapes.items()} for _ in range(SIGNATURE_STEPS)
        ]
        self.start = random_start(rng, self.shapes)
        self.usual = self.run(self.history)

    def run(
        self, history: Sequence[Blocks], start: Mapping[str, np.ndarray] | None = None, torch_seed: int = 0
    ) -> dict[str, np.ndarray]:
        """The last step on another history, or from another start."""
        return follow(self.target, history, self.start if start is None else start, torch_seed=torch_seed)

    def step(self, change: Change) -> dict[str, np.ndarray]:
        """The last step where ``change(age, block, gradient)`` is fed; the last gradient's age is 0."""
        last = len(self.history) - 1
        fed = [{name: change(last - t, name, g) for name, g in row.items()} for t, row in enumerate(self.history)]
        return self.run(fed)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps under constant gradients, from any weights: there it shows most that steps depend on them."""
        seed, more = self.subject.seed, self.subject.more
        return tuple(signature(self.target, self.shapes, seed, FAULT_DRAWS, more, late=False))

    @cached_property
    def updates(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Block → its updates, and those of the norm, (draws, *shape)."""
        ideal = [self.norm.lmo(s.gradient) for s in self.steps]
        return {
            name: (np.array([s.update[name] for s in self.steps]), np.array([e[name] for e in ideal]))
            for name in self.shapes
        }

    @cached_property
    def still(self) -> dict[str, np.ndarray]:
        """Block → which of its entries no gradient moves, though the norm would."""
        return {
            name: (np.abs(U) <= STILL_ENTRY * np.abs(U).max()).all(0)
            & (np.abs(E) > STILL_ENTRY * np.abs(E).max()).any(0)
            for name, (U, E) in self.updates.items()
        }

    @cached_property
    def blocks(self) -> tuple[BlockSteps, ...]:
        """The blocks that move in all their entries."""
        norms = {name: self.norm.block(name, shape)[0] for name, shape in self.shapes.items()}
        read = {
            name: read_block(self.steps, name, tuple(dict.fromkeys((*readings(self.shapes[name]), own.name))))
            for name, own in norms.items()
            if not self.still[name].any()
        }
        moving = {name: reading for name, reading in read.items() if reading is not None}
        found = []
        for name, reading in moving.items():
            own, (U, E) = norms[name], self.updates[name]
            G = np.array([s.gradient[name] for s in self.steps])
            others = {other: norms[other].name for other in moving if other != name}
            found.append(BlockSteps(name, own, reading, reading.alignments[own.name], G, U, E, others))
        return tuple(found)
