"""Attach to each norm's evidence whether, and how surely, the runs tell it from the claimed norm.

Γ is quadratic in a direction's error for ℓ2 and linear for ℓ∞ and the spectral norm, so two norms' gaps cannot be
compared with one another. One norm's gaps can, at different points: with θ*, the claimed norm's own point that is
nearest to a run's end θ (on its optimal face, or the KKT point matched to the end), Γ_N'(θ) / Γ_N'(θ*) is 1 where θ has
reached the claimed norm's set and 0 where it has reached that of N'. And where Γ_N'(θ*) is 0 nothing can be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from cvxpy import SolverError
from msgspec.structs import replace

from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator, KKTError
from maxmargin.solvers.linear.optimal_face import nearest_on_face
from maxmargin.solvers.linear.optimum import MarginError
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.measure import Evidence, matched, reference_of
from maxmargin.verify.results.problem_verdict import NormEvidence
from maxmargin.verify.thresholds.judging import SAME_NORM


def with_apartness(
    problem: Problem, trajectory: Trajectory, found: Evidence, claim: Norm, norms: Mapping[str, Norm] | None = None
) -> dict[str, NormEvidence]:
    """Fill in ``same``, ``apart`` and ``told`` of every norm that was measured, and the claimed norm's ``distance``.

    Args:
        problem: The problem.
        trajectory: The runs.
        found: What was measured of them.
        claim: The norm that is judged.
        norms: The measured norms, by name; those of the registry may be missing.

    Returns:
        The same evidence, completed; ``apart`` stays None where the claimed norm's points, or a gap there, are not
        found.
    """
    norms, runs, out = norms or {}, list(found.runs), {}
    points = own_points(problem, trajectory, found, claim)
    for name, row in found.norms.items():
        norm = norms.get(name) or get_norm(name)
        if coincide(problem, claim, norm):
            left = None if points is None else max(remaining(trajectory, points).values())
            out[name] = replace(row, same=True, apart=0.0, told=None, distance=left)
            continue
        there = _gaps(problem, norm, list(points.values())) if points is not None else None
        if there is None:
            out[name] = replace(row, same=False, apart=None, told=None)
            continue
        least = float(there.min())
        told = None if least <= 0.0 else found.arrays[f"kkt_gap:{name}"][-1, runs] / there
        out[name] = replace(
            row, same=False, apart=least, told=None if told is None else (float(told.min()), float(told.max()))
        )
    return out


def own_points(
    problem: Problem, trajectory: Trajectory, found: Evidence, claim: Norm
) -> dict[int, Mapping[str, np.ndarray]] | None:
    """The claimed norm's point nearest to each measured run's end, by run; None unless all of them are known."""
    if not found.runs:
        return None
    if not problem.linear:
        matches = matched(problem, trajectory, claim, found)
        good = all(m.success for m in matches)
        return {run: m.theta for run, m in zip(found.runs, matches, strict=True)} if good else None
    try:
        reference = reference_of(problem, claim)
        return {run: nearest_on_face(problem, trajectory.at(-1, run), claim, reference).theta for run in found.runs}
    except (MarginError, SolverError):
        return None


def remaining(trajectory: Trajectory, points: Mapping[int, Mapping[str, np.ndarray]]) -> dict[int, float]:
    """ℓ2 distance of each run's final direction from that of its point, by run."""

    def unit(blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        flat = np.concatenate([np.ravel(blocks[name]) for name in trajectory.theta])
        return flat / np.linalg.norm(flat)

    return {run: float(np.linalg.norm(unit(trajectory.at(-1, run)) - unit(p))) for run, p in points.items()}


def _gaps(problem: Problem, norm: Norm, points: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray | None:
    """Γ under ``norm`` at each point; None where one cannot be measured."""
    try:
        if problem.linear:
            best = reference_of(problem, norm).upper
            ratios = [float(problem.min_margin(p)) / float(norm.value(p)) / best for p in points]
            return np.clip(1.0 - np.array(ratios), 0.0, 1.0)
        evaluate = GapEvaluator(problem, norm)
        return np.array([evaluate(p).value for p in points])
    except (MarginError, SolverError, KKTError):
        return None


def coincide(problem: Problem, a: Norm, b: Norm) -> bool:
    """Return whether two norms are the same function on a problem's blocks up to a factor.

    A factor changes neither gap nor alignment (without vectors, hybrid:2 is twice spectral). Norms that join norms of
    blocks by an ℓ_p are the same iff they are so on each block alone, with one factor, and where all blocks count
    alike, which shows how they are joined. Norms of one block are compared at random points.
    """
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(4):
        theta = {name: rng.standard_normal(shape) for name, shape in problem.shapes.items()}
        alone = [{k: block if k == name else 0.0 * block for k, block in theta.items()} for name in theta]
        alike = {name: theta[name] / float(a.value(only)) for name, only in zip(theta, alone, strict=True)}
        ratios += [float(a.value(point)) / float(b.value(point)) for point in (*alone, alike)]
    return bool(np.allclose(ratios, ratios[0], rtol=SAME_NORM, atol=0.0))
