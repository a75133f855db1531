"""An optimizer on one problem's shapes, and what experiments found of it there, each made once."""

from __future__ import annotations

from functools import cached_property

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.as_torch import as_target
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.norm.reading import Step
from maxmargin.verify.lab.norm.signature import signature, steps_apart
from maxmargin.verify.lab.norm.symmetry import Symmetry, symmetries
from maxmargin.verify.lab.probe.probes import Probe, probe


class Subject:
    """An optimizer on parameters of given shapes; every experiment is made when first asked for, and kept.

    Attributes:
        target: The optimizer, ours too as a black box.
        shapes: Of its parameters.
        seed: Of gradients and starts.

    Raises:
        TargetError: by any experiment, when the optimizer cannot be built or stepped.
    """

    def __init__(self, target: Target, shapes: Shapes, seed: int = 0) -> None:
        self.target = as_target(target.native, target.spec) if target.native is not None else target
        self.shapes, self.seed = shapes, seed

    @cached_property
    def probe(self) -> Probe:
        """How it behaves, scales and remembers."""
        return probe(self.target, self.shapes, self.seed)

    @cached_property
    def more(self) -> int:
        """How many more steps are read under constant gradients, as single ones go on changing; else 0."""
        return steps_apart(self.target, self.shapes, self.seed)

    @cached_property
    def signature(self) -> tuple[Step, ...]:
        """Its steps under constant gradients."""
        return tuple(signature(self.target, self.shapes, self.seed, more=self.more))

    @cached_property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """Its steps' symmetries."""
        return symmetries(self.target, self.shapes, self.seed)
