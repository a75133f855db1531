"""One instance of a black-box optimizer: its parameters, state leaves, learning rates and the step itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from maxmargin.models.importing import where
from maxmargin.verify.blackbox.calling import one_line, sentence
from maxmargin.verify.blackbox.conventions import Convention
from maxmargin.verify.blackbox.difference import difference, relative, size
from maxmargin.verify.blackbox.feeding import Closure, Feeder, modes, seed_all, seeded
from maxmargin.verify.blackbox.float32 import InFloat32
from maxmargin.verify.blackbox.learning_rate import ANCHORED, GROUPS_LR, OUTSIDE, UNTOUCHED, Knob, Rate, find
from maxmargin.verify.blackbox.leaves import Finder, Leaf, Path
from maxmargin.verify.blackbox.targets import Target, TargetError, shapes_text
from maxmargin.verify.thresholds.adapter import RATE_BEFORE
from maxmargin.verify.thresholds.judging import INDEPENDENT
from maxmargin.verify.thresholds.probe import OTHER_STEP

__all__ = ["Handle", "Leaf", "Path"]


def is_decay(name: str) -> bool:
    """Whether an argument, or an entry of a parameter group, is a weight decay by its name (MARS: weight_decay_1d)."""
    return name == "wd" or name.startswith("weight_decay")


class Handle:
    """One optimizer instance over given parameters.

    Parameters are handed over as the optimizer wants them, gradients as clones (many optimizers write into
    ``p.grad``), after its own ``zero_grad`` if it has one; learning rates are set as multiples of each group's own,
    wherever it keeps them, so the ratios between groups stay.

    Attributes:
        optimizer: The instance; it has ``step``, ``param_groups`` and ``state``.
        params: The parameters, in the order in which gradients are given.
        target: What it was built from.
        reinitialised: Relative change of the weights by the construction alone.
        closure: What its step is given; None where it needs no closure.
        own: The weights as the optimizer has put them, where what it does to them is scaled from outside; empty for
            all others, which have them where they are.
    """

    def __init__(
        self,
        target: Target,
        params: Sequence[torch.nn.Parameter],
        *,
        convention: Convention | None = None,
        knob: Knob | None = None,
    ) -> None:
        """Build the optimizer.

        Args:
            target: The optimizer.
            params: Its parameters.
            convention: How to hand them over, if not as was found by trying.
            knob: How to set the learning rate, if not as was found by trying.
        """
        self.params = list(params)
        self.target = target
        self._shape_key = tuple((tuple(p.shape), p.dtype) for p in params)
        calling = target.calling(self.params)
        before = [p.detach().clone() for p in self.params]
        self.optimizer = target.build(self.params, convention)
        changed = size([p.detach() - b for p, b in zip(self.params, before, strict=True)])
        self.reinitialised = relative(changed, size(before) or changed)
        self.closure = Closure(self.params) if calling.closure else None
        self._failed = calling.failed
        self._mode("train")
        self._feeder = Feeder(self.optimizer, self.params, self.closure, calling.compiled, calling.sparse)
        self._finder = Finder(self.optimizer, self.params)
        # Every knob's values at construction: set_lr works with multiples of them.
        self._knob = knob
        self._places = None if knob is None else knob.places(self.optimizer)
        self._scale = 1.0
        self.own: list[Tensor] = []
        self._skip = target.skipped
        units = target.units
        self._gain, self._unit = (2.0**units.gradient, 2.0**units.rate) if units is not None else (1.0, 1.0)
        if self._unit != 1.0:
            self.set_lr(1.0)

    @property
    def has_lr(self) -> bool:
        """Whether any group has a learning rate ``lr`` that can be set."""
        return any(group.get("lr") is not None for group in self.optimizer.param_groups)

    @property
    def _at_zero(self) -> bool:
        """Whether its steps are made at weights of 0 and scaled from outside."""
        units, knob = self.target.units, self._knob
        return units is not None and units.at_zero and knob is not None and knob.name == OUTSIDE.name

    @property
    def rate(self) -> Rate:
        """Where the learning rate is set; found once a target and shapes, by trying."""
        if self._shape_key not in self.target.rates:
            self.target.rates[self._shape_key] = _find_rate(self.target, self.params)
        return self.target.rates[self._shape_key]

    def weight_decay(self) -> float:
        """The largest declared weight decay."""
        groups = self.optimizer.param_groups
        declared = [v for group in groups for k, v in group.items() if is_decay(k) and not isinstance(v, bool)]
        return max((float(d) for d in declared if isinstance(d, (int, float))), default=0.0)

    def set_lr(self, factor: float) -> None:
        """Set every learning rate to ``factor`` times its own; where none is honoured, scale the steps instead."""
        if self._places is None:
            self._knob = self.rate.knob
            self._places = self._knob.places(self.optimizer)
        assert self._knob is not None
        factor *= self._unit
        if self._knob.outside:
            self._scale = factor
        if self._knob.name == ANCHORED.name and not self.own:
            self.own = [p.detach().clone() for p in self.params]
        for place in self._places:
            place.set(factor)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step along ``gradients`` (one a parameter); as many calls of its ``step()`` as the target's stride.

        The first step comes after the calls that the target skips.

        Raises:
            TargetError: when the optimizer's own step fails.
        """
        self._feeder.params = self.params
        if self.closure is not None:
            self.closure.params = self.params
        kept = [p.detach().clone() for p in self.params] if self._scale != 1.0 or self.own or self._skip else []
        before = self.own or kept
        if self._scale != 1.0 and self._at_zero:
            before = [torch.zeros_like(w) for w in kept]
        if before is not kept:
            self._place(before)
        try:
            fed = self.fed(gradients)
            while self._skip:
                self._skip -= 1
                self._feeder.step(fed)
                self._place(before)
            for _ in range(self.target.stride):
                self._feeder.step(fed)
        except Exception as error:
            precision = "float32" if isinstance(self.optimizer, InFloat32) else "float64"
            raise TargetError(
                f"{self.target.spec}: step() failed on {precision} parameters of shape {shapes_text(self.params)}: "
                f"{one_line(error)}{where(error)}{sentence(self._failed)}"
            ) from error
        if self._scale != 1.0 or self.own:
            moved = [self._scale * (p.detach() - b) for p, b in zip(self.params, before, strict=True)]
            self.own = [p.detach().clone() for p in self.params] if self.own else []
            self._place([w + m for w, m in zip(kept, moved, strict=True)])

    def fed(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """What its own step is given: the gradients in the target's units."""
        return gradients if self._gain == 1.0 else [self._gain * g for g in gradients]

    def put(self, weights: Sequence[Tensor], copies: Collection[Path] = ()) -> None:
        """Put the weights elsewhere, and with them the parts of the state that are places among them."""
        if self.own and not copies:
            self.own = [o + (w - p.detach()) for o, w, p in zip(self.own, weights, self.params, strict=True)]
        leaves = self.leaves() if copies and not self.own else ()  # where it is shown its own places, they stay
        for leaf in leaves:
            if leaf.path in copies and leaf.parameter is not None:
                leaf.value.copy_(weights[leaf.parameter] + (leaf.value - self.params[leaf.parameter].detach()))
        self._place(weights)

    def _place(self, weights: Sequence[Tensor]) -> None:
        for p, w in zip(self.params, weights, strict=True):
            p.data.copy_(w)

    def advance(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """One step, and what it did to the weights."""
        before = [p.detach().clone() for p in self.params]
        self.step(gradients)
        return [p.detach() - b for p, b in zip(self.params, before, strict=True)]

    def leaves(self) -> list[Leaf]:
        """Every floating-point leaf of the state: per parameter, per group, and of the object itself."""
        found = self._finder.find(self.params)
        if self._feeder.keeps_gradients:
            found += [Leaf((i, "grad"), i, {"grad": p.grad}, "grad") for i, p in enumerate(self.params)]
        return found

    def evaluated(self) -> list[Tensor] | None:
        """The weights on which the optimizer wants its model evaluated, if it swaps them (``eval()``), else None."""
        before = [p.detach().clone() for p in self.params]
        if not self._mode("eval"):
            return None
        seen = [p.detach().clone() for p in self.params]
        self._mode("train")
        return None if all(torch.equal(s, b) for s, b in zip(seen, before, strict=True)) else seen

    def _mode(self, name: str) -> bool:
        try:
            return modes(self.optimizer, name)
        except Exception as error:
            raise TargetError(f"{self.target.spec}: {name}() failed: {type(error).__name__}: {error}") from error


def _find_rate(target: Target, like: Sequence[torch.nn.Parameter]) -> Rate:
    if not target.calling(like).works:
        return Rate(GROUPS_LR, 0.0)
    generator = torch.Generator().manual_seed(0)
    start, gradients = (
        [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype) for p in like] for _ in range(2)
    )
    once = replace(target, stride=1, skipped=0, units=None)

    def opened(knob: Knob, at: float = 0.3) -> Handle:
        seed_all(0)
        return Handle(once, [torch.nn.Parameter(at * b) for b in start], knob=knob)

    def late(at: float = 0.3, moved: float = 0.0) -> list[Tensor]:
        """Late steps from a start, the weights put elsewhere before them; one may go back in some of its calls only."""
        handle = opened(UNTOUCHED, at)
        for _ in range(RATE_BEFORE):
            handle.step(gradients)
        handle.put([p.detach() + moved * b for p, b in zip(handle.params, start, strict=True)])
        return [move for _ in range(RATE_BEFORE) for move in handle.advance(gradients)]

    try:
        with seeded(0):
            found = find(opened, gradients)
            # Who does alike from any start, but not where the weights are put elsewhere on the way, goes back.
            if not found.knob.outside or difference(plain := late(), late(0.9)) > INDEPENDENT:
                return found
            far = max(0.6, size(plain) / size(start))
            return replace(found, knob=ANCHORED) if difference(plain, late(moved=far)) > OTHER_STEP else found
    except Exception as error:
        cause = error.__cause__ or error
        raise TargetError(
            f"{target.spec}: {type(cause).__name__} when its learning rate was doubled: {cause}"
        ) from error
