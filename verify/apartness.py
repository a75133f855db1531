"""Attach to each norm's evidence whether the problem can tell it from the claimed norm at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from maxmargin.models.problem import Problem
from maxmargin.solvers.apart import apart
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.evidence import reference_of
from maxmargin.verify.verdict import NormEvidence

_MEASURED: dict[tuple[str, str, str], float] = {}


def with_apartness(problem: Problem, claim: Norm, evidence: Mapping[str, NormEvidence]) -> dict[str, NormEvidence]:
    """Fill in ``apart`` on linear problems: the least gap, under each norm, among the claimed norm's optimal points.

    On nonlinear problems nothing is known beforehand; ``apart`` stays None and the measured gaps speak.

    Returns:
        The same evidence, completed.
    """
    if not problem.linear:
        return dict(evidence)
    out = {}
    for name, row in evidence.items():
        key = (problem.name, claim.name, name)
        if key not in _MEASURED:
            other = get_norm(name)
            _MEASURED[key] = (
                0.0
                if name == claim.name
                else apart(
                    problem, claim, other, reference=reference_of(problem, claim), other=reference_of(problem, other)
                )
            )
        out[name] = replace(row, apart=_MEASURED[key])
    return out
