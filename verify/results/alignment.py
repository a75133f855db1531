"""What evidence and fingerprints share: a step's alignment with steepest descent, and when two norms are one."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan

from maxmargin.models.blocks import Blocks, inner
from maxmargin.solvers.norms import Norm
from maxmargin.verify.thresholds.laboratory import SAME_NORM


def alignment(norm: Norm, gradient: Blocks, update: Blocks) -> float:
    """Return r = −⟨g, Δθ⟩ / (‖g‖_* ‖Δθ‖), 1 iff the step is along lmo(g); NaN where gradient or step is 0.

    The definition of (approximate) steepest descent: Gronich & Vardi 2602.16340, definition 5.1.
    """
    scale = float(norm.dual(gradient) * norm.value(update))
    return -float(inner(gradient, update)) / scale if scale > 0 else nan


def proportional(a: Norm, b: Norm, points: Iterable[Blocks]) -> bool:
    """Whether two norms are one function up to a factor, by their values at these points.

    A factor changes neither gap nor alignment (without vectors, hybrid:2 is twice spectral).

    Returns:
        True or False.
    """
    ratios = [float(a.value(theta)) / float(b.value(theta)) for theta in points]
    return max(ratios) <= min(ratios) * (1 + SAME_NORM)
