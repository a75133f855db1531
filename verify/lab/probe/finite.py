"""Steps that are not finite on gradients that all are: the one fault that leaves no norm to speak of.

What is tried is what the reproducer says, to the letter: weights and gradients drawn by torch's own generator, at the
optimizer's own learning rate. A step that fails in some other experiment is looked for here again; only one that
comes back this way speaks against the optimizer, as the other experiments choose learning rates that nobody would.

Gradients run from 1e-8 to 1e8 an entry. Far below (1e-100) their squares underflow, which no optimizer is blamed for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.conventions import PLAIN, SPLIT
from maxmargin.verify.blackbox.difference import size
from maxmargin.verify.blackbox.feeding import seed_all, seeded
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.thresholds.probe import FINITE_CALLS, FINITE_LONGEST, FINITE_SCALES, ZERO_CALLS


@dataclass(frozen=True)
class NonFinite:
    """A step that is not finite, on gradients that all are.

    Attributes:
        call: The call of ``step()`` that made it, from 1.
        block: The first block with a weight that is not finite, and its shape.
        shape: Of that block.
        norm: The l2 norm of that call's gradients.
        scale: Of their entries, which are normal otherwise.
        reproducer: A program of plain torch that ends in an AssertionError at that call.
    """

    call: int
    block: str
    shape: tuple[int, ...]
    norm: float
    scale: float
    reproducer: str

    @property
    def text(self) -> str:
        """In a sentence."""
        return (
            f"Call {self.call} of its step() leaves weights that are not finite ({self.block}, shape {self.shape}) "
            f"though every gradient is (of norm {self.norm:.1e} in that call)."
        )


def nonfinite(target: Target, shapes: Shapes, calls: int = FINITE_CALLS) -> NonFinite | None:
    """Look for a step that is not finite, at sizes of gradients from the most usual on, on fewest parameters.

    Args:
        target: A black box.
        shapes: Of the parameters.
        calls: Of ``step()`` at each size; where many were needed elsewhere, more.

    Returns:
        The first that is found; None where all steps are finite, or fail otherwise.
    """
    for scale in sorted(FINITE_SCALES, key=lambda s: abs(torch.log(torch.tensor(s)).item())):
        if (found := _run(target, shapes, scale, calls)) is not None:
            # The smallest program that shows it: one parameter, if one is enough.
            for name, shape in {found.block: found.shape, **shapes}.items():
                if len(shapes) > 1 and (alone := _run(target, {name: shape}, scale, found.call)) is not None:
                    return alone
            return found
    return None


def on_zero(target: Target, shapes: Shapes) -> str:
    """What becomes of weights whose gradients are exactly 0, as those of a unit that is never active.

    Without an eps the quotient 0/0 has no value, which hypothesis A1 of Gronich & Vardi 2602.16340 excludes; so this is
    told, and not held against an optimizer.

    Args:
        target: A black box.
        shapes: Of the parameters.

    Returns:
        A sentence where they are not finite after a few calls; else nothing.
    """
    found = _run(target, shapes, 0.0, ZERO_CALLS)
    if found is None:
        return ""
    return f"On gradients that are exactly 0 call {found.call} of its step() leaves weights that are not finite."


def again(target: Target, shapes: Shapes, call: int) -> NonFinite | None:
    """Look once more for a step that was not finite at some call in another experiment.

    Args:
        target: A black box.
        shapes: Of the parameters.
        call: The call that failed there, from 1.

    Returns:
        It, with its reproducer; None where it is not met this way.
    """
    if call > FINITE_LONGEST:
        return None
    found = _run(target, shapes, 1.0, 2 * call)
    if found is None or len(shapes) == 1:
        return found
    return _run(target, {found.block: found.shape}, 1.0, found.call) or found


def _run(target: Target, shapes: Shapes, scale: float, calls: int) -> NonFinite | None:
    """The reproducer's program: the first call after which a weight is not finite."""
    once = replace(target, stride=1, skipped=0)
    with seeded(0):
        try:
            params = [torch.nn.Parameter(0.3 * torch.randn(s, dtype=torch.float64)) for s in shapes.values()]
            calling = once.calling(params)
            seed_all(0)
            params = [torch.nn.Parameter(0.3 * torch.randn(s, dtype=torch.float64)) for s in shapes.values()]
            handle = Handle(once, params)
            for call in range(1, calls + 1):
                gradients = [scale * torch.randn(p.shape, dtype=torch.float64) for p in params]
                handle.step(gradients)
                for (name, shape), p in zip(shapes.items(), params, strict=True):
                    if not bool(torch.isfinite(p.detach()).all()):
                        text = _program(once, shapes, scale, call, calling.convention, calling.closure, handle)
                        return NonFinite(call, name, tuple(shape), size(gradients), scale, text)
        except TargetError:
            return None  # a step that raises says so itself
    return None


def _program(
    target: Target, shapes: Shapes, scale: float, call: int, convention: Any, closure: bool, handle: Handle
) -> str:
    """The experiment as ten lines of torch; where parameters are handed over in some other way, by our own adapter."""
    imports, name = _import(target)
    arguments = "".join(f", {k}={v!r}" for k, v in {**target.options(), **target.calling(handle.params).extra}.items())
    if convention is PLAIN and name:
        built = f"{name}(params{arguments})"
    elif convention is SPLIT and name:
        built = f'{name}([{{"params": [p]}} for p in params]{arguments})'
    else:
        imports = "from maxmargin.verify.blackbox.targets import load"
        built = f"load({target.spec!r}, {dict(target.kwargs)!r}).build(params)"
    sizes = ", ".join(repr(tuple(s)) for s in shapes.values())
    step = "optimizer.step(lambda: sum(p.grad.norm() for p in params))" if closure else "optimizer.step()"
    lines = [
        "import torch",
        *([imports] if imports else []),
        "",
        "torch.manual_seed(0)",
        f"params = [torch.nn.Parameter(0.3 * torch.randn(s, dtype=torch.float64)) for s in [{sizes}]]",
        f"optimizer = {built}",
        *(["optimizer.train()"] if callable(getattr(handle.optimizer, "train", None)) else []),
        f"for call in range(1, {call + 1}):",
        "    for p in params:",
        f"        p.grad = {scale!r} * torch.randn(p.shape, dtype=torch.float64)",
        f"    {step}",
        '    assert all(p.isfinite().all() for p in params), f"call {call}: weights are not finite"',
    ]
    return "\n".join(lines) + "\n"


def _import(target: Target) -> tuple[str, str]:
    """The line that imports the target, and its name there; an empty name for what cannot be imported."""
    where, _, attribute = target.spec.rpartition(":")
    if not where or "<" in attribute:
        return "", ""
    first = attribute.split(".")[0]
    if where.endswith(".py"):
        return f"from {Path(where).stem} import {first}  # run it beside {Path(where).name}", attribute
    return f"from {where} import {first}", attribute
