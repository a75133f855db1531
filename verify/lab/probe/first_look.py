"""What can be refused at a glance: an optimizer that moves nothing at all, or of which no first step is finite.

Neither has anything that a minute of training could measure. One that moves a single weight a single time, or makes a
single finite entry, goes on to the experiments, which say what is wrong with the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.probe.finite import nonfinite
from maxmargin.verify.thresholds.probe import FINITE_SCALES, FIRST_MOVE, WARM_STEPS

SCALES = tuple(FINITE_SCALES[i] for i in (len(FINITE_SCALES) // 2, 0, -1))
CALLS = WARM_STEPS + FIRST_MOVE  # after as many without a move no experiment waits for one


def refuse_hopeless(target: Target, problems: Iterable[Shapes]) -> None:
    """Refuse an optimizer that does the same hopeless thing on all shapes that it takes.

    Args:
        target: The optimizer; one of our own is none of these.
        problems: The shapes that it is going to be tried on.

    Raises:
        TargetError: it moves nothing, or its first step is finite nowhere, whatever the gradients' size.
    """
    if target.native is not None:
        return
    problems = list(problems)
    seen = {one for shapes in problems if (one := _seen(target, shapes)) is not None}
    if seen == {"still"}:
        raise TargetError(
            f"{target.spec} moved no weight in {CALLS} calls of step(), on gradients with entries of size "
            f"{_sizes()}; needed is an optimizer that changes its parameters in place, so look whether its step() "
            "reads p.grad, writes to p, and has a learning rate above 0"
        )
    if seen == {"not finite"}:
        shown = next((n for shapes in problems if (n := nonfinite(target, shapes, 1)) is not None), None)
        raise TargetError(
            f"{target.spec}: the very first call of its step() leaves no weight finite, on finite gradients with "
            f"entries of size {_sizes()}; needed are finite steps on finite gradients, so look for a division by "
            "zero or a root of a negative number" + ("" if shown is None else f"; this shows it:\n{shown.reproducer}")
        )


def _sizes() -> str:
    return ", ".join(f"{scale:g}" for scale in SCALES)


def _seen(target: Target, shapes: Shapes) -> str | None:
    """``moves``, ``still`` or ``not finite``; None where it refuses these shapes, of which others speak."""
    found = set()
    with seeded(0):
        try:
            for scale in SCALES:
                found.add(_on(target, shapes, scale))
                if "moves" in found or len(found) > 1:
                    return "moves"
        except TargetError:
            return None
    return found.pop()


def _on(target: Target, shapes: Shapes, scale: float) -> str:
    start = [0.3 * torch.randn(s, dtype=torch.float64) for s in shapes.values()]
    handle = Handle(replace(target, rates={}), [torch.nn.Parameter(b.clone()) for b in start])
    for call in range(CALLS):
        handle.step([scale * torch.randn(b.shape, dtype=torch.float64) for b in start])
        now = [p.detach() for p in handle.params]
        if call == 0 and not any(bool(torch.isfinite(b).any()) for b in now):
            return "not finite"
        if not all(torch.equal(b, a) for b, a in zip(now, start, strict=True)):
            return "moves"
    return "still"
