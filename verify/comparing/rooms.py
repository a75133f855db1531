"""On which shapes two optimizers are compared, and over which gradients there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from maxmargin.models.blocks import Shapes
from maxmargin.verify.lab.rehearsal import KINDS, Play
from maxmargin.verify.thresholds.twin import ROOM_STEPS

SMALL: Shapes = {"tall 6×3": (6, 3), "wide 3×6": (3, 6), "square 4×4": (4, 4), "vector 5": (5,)}
"""Together, as one optimizer's parameters: blocks may act on each other. Without the vector where it is refused."""
ALONE: Mapping[str, tuple[int, ...]] = {
    "matrix 64×48": (64, 48),
    "matrix 48×64": (48, 64),
    "matrix 160×144": (160, 144),
    "tall 200×8": (200, 8),
    "wide 8×200": (8, 200),
    "convolution 24×8×5": (24, 8, 5),
    "convolution 32×16×3×3": (32, 16, 3, 3),
    "vector 1000": (1000,),
}
"""Each alone: what treats large blocks, or kernels, in another way."""


@dataclass(frozen=True)
class Room:
    """Shapes that are tried together.

    Attributes:
        name: For messages.
        shapes: By block.
    """

    name: str
    shapes: Shapes

    def plays(self, seed: int) -> Iterator[Play]:
        """One play a kind of gradients: the whole rehearsal on small shapes, the beginning of each on large ones."""
        for kind, steps in ROOM_STEPS["small" if len(self.shapes) > 1 else "large"].items():
            assert kind in KINDS
            yield Play(kind, self.shapes, steps, seed)


ROOMS: Mapping[str, Room] = {
    "small": Room("small blocks", SMALL),
    "small, matrices alone": Room("small matrices", {n: s for n, s in SMALL.items() if len(s) > 1}),
    **{name: Room(name, {name: shape}) for name, shape in ALONE.items()},
}
