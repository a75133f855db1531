"""Attach to each norm's evidence whether the problem can tell it from the claimed norm at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from cvxpy import SolverError
from msgspec.structs import replace

from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.apart import apart
from maxmargin.solvers.linear.optimum import MarginError
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.evidence.measure import reference_of
from maxmargin.verify.results.verdict import NormEvidence
from maxmargin.verify.thresholds.judging import SAME_NORM

_MEASURED: dict[tuple[str, str, str], float | None] = {}


def with_apartness(
    problem: Problem, claim: Norm, evidence: Mapping[str, NormEvidence], norms: Mapping[str, Norm] | None = None
) -> dict[str, NormEvidence]:
    """Fill in ``apart`` on linear problems: the least gap, under each norm, among the claimed norm's optimal points.

    On nonlinear problems nothing is known beforehand; ``apart`` stays None and the measured gaps speak. It is 0 on
    any problem for a norm that is the same function of its blocks (without vectors, hybrid is spectral).

    Returns:
        The same evidence, completed, without norms whose apartness no solver finds.
    """
    norms = norms or {}
    out = {}
    for name, row in evidence.items():
        key = (problem.name, claim.name, name)
        if key not in _MEASURED:
            try:
                _MEASURED[key] = _apart(problem, claim, norms.get(name) or get_norm(name))
            except (MarginError, SolverError):
                continue  # whether it is a control is not known, so it is none
        out[name] = replace(row, apart=_MEASURED[key])
    return out


def _apart(problem: Problem, claim: Norm, other: Norm) -> float | None:
    if _coincide(problem, claim, other):
        return 0.0
    if not problem.linear:
        return None
    return apart(problem, claim, other, reference=reference_of(problem, claim), other=reference_of(problem, other))


def _coincide(problem: Problem, a: Norm, b: Norm) -> bool:
    """Whether two norms are the same function on a problem's blocks up to a factor, by their values at random points.

    A factor changes neither gap nor alignment (without vectors, hybrid:2 is twice spectral).

    Returns:
        True or False.
    """
    rng = np.random.default_rng(0)
    points = [{name: rng.standard_normal(shape) for name, shape in problem.shapes.items()} for _ in range(4)]
    ratios = [float(a.value(theta)) / float(b.value(theta)) for theta in points]
    return bool(np.allclose(ratios, ratios[0], rtol=SAME_NORM, atol=0.0))
