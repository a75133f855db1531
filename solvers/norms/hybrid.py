"""The hybrid norm of Muon-Signum and Muon-Adam: spectral over matrices, linf over the rest."""

from __future__ import annotations

import math

from maxmargin.models.errors import NormError
from maxmargin.solvers.norms.block import number
from maxmargin.solvers.norms.entrywise import Entrywise
from maxmargin.solvers.norms.parameter import ParameterNorm, Rule
from maxmargin.solvers.norms.registry import register_whole
from maxmargin.solvers.norms.schatten import Schatten


@register_whole("hybrid", argument="R")
def hybrid(ratio: float = 1.0) -> ParameterNorm:
    """max(R · spectral over the matrices, linf over the vectors), with R = eta_A / eta_M (ratio of learning rates).

    Source: Gronich & Vardi (arXiv 2602.16340), Theorem for Muon-Signum and Muon-Adam.

    Returns:
        The norm, called ``hybrid`` or ``hybrid:R``.

    Raises:
        NormError: R is not a positive finite number.
    """
    if not (ratio > 0 and math.isfinite(ratio)):
        raise NormError(
            f"hybrid:{ratio:g}: the weight R of the matrices must be a positive finite number "
            "(the vectors' learning rate over the matrices'); try hybrid:1"
        )
    return ParameterNorm(
        rules=(Rule("@matrix", Schatten(math.inf), ratio), Rule("@vector", Entrywise(math.inf), 1.0)),
        aggregation=math.inf,
        name="hybrid" if ratio == 1 else f"hybrid:{number(ratio)}",
    )
