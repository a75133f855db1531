"""Alignment of one step with steepest descent: the definition that evidence and fingerprints share."""

from __future__ import annotations

from math import nan

from maxmargin.models.blocks import Blocks, inner
from maxmargin.solvers.norms import Norm


def alignment(norm: Norm, gradient: Blocks, update: Blocks) -> float:
    """Return r = −⟨g, Δθ⟩ / (‖g‖_* ‖Δθ‖), 1 iff the step is along lmo(g); NaN where gradient or step is 0.

    The definition of (approximate) steepest descent: Gronich & Vardi 2602.16340, definition 5.1.
    """
    scale = float(norm.dual(gradient) * norm.value(update))
    return -float(inner(gradient, update)) / scale if scale > 0 else nan
