"""How an optimizer begins: first calls of ``step()`` that are of another kind than all later ones, and are left out.

RAdam's first five steps are momentum's, as long as the gradient is, until its second moment is taken for reliable; from
then on they are Adam's, of one length whatever the gradient's size. No limit knows of the first few; but in units in
which gradients are large they would throw the weights far away, and hide what follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import log

from maxmargin.models.blocks import Shapes
from maxmargin.verify.blackbox.difference import size
from maxmargin.verify.blackbox.feeding import seeded
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.thresholds.probe import BEGINNING_CALLS, BEGINNING_OTHER, BEGINNING_SCALE, BEGINNING_SURE


def begun(target: Target, problems: Iterable[Shapes], seed: int = 0) -> Target:
    """The target, without first calls whose steps depend on the gradient's size by another power than the later ones.

    Args:
        target: A black box.
        problems: The shapes that it is going to be tried on.
        seed: Of the gradients.

    Returns:
        The same target where all calls are of one power, or the later ones of none.

    Raises:
        TargetError: when the optimizer cannot be built or stepped.
    """
    first = max(_first(target, shapes, seed) for shapes in problems)
    return replace(target, skipped=first, rates={}) if first else target


def _first(target: Target, shapes: Shapes, seed: int) -> int:
    with seeded(0):
        session = Session(target, shapes, seed)
        lengths = [_lengths(session, scale) for scale in (1.0, BEGINNING_SCALE)]
    powers = [
        log(large / small) / log(BEGINNING_SCALE) if min(small, large) > 0 else None
        for small, large in zip(*lengths, strict=True)
    ]
    later = [p for p in powers[len(powers) // 2 :] if p is not None]
    if not later or max(abs(p - round(later[-1])) for p in later) > BEGINNING_SURE:
        return 0
    other = [i for i, p in enumerate(powers) if p is not None and abs(p - later[-1]) > BEGINNING_OTHER]
    return other[-1] + 1 if other else 0


def _lengths(session: Session, scale: float) -> Sequence[float]:
    handle = session.open()
    gradients = [session.gradients[call % len(session.gradients)] for call in range(BEGINNING_CALLS)]
    return [size(handle.advance([scale * g for g in blocks])) for blocks in gradients]
