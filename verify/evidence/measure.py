"""From a trajectory to evidence: KKT gaps, alignments, distances and slopes under every candidate norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan, sqrt

import numpy as np
from cvxpy import SolverError
from msgspec.structs import replace
from scipy import stats

from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.kkt.matching import Match, match
from maxmargin.solvers.linear.optimum import MarginError, MarginSolution, gradients, solve_margin
from maxmargin.solvers.norms import Norm
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.results.problem_verdict import NormEvidence
from maxmargin.verify.thresholds.judging import (
    AUTOCORRELATION,
    CONFIDENCE,
    FLAT_GAP,
    LAST_CHECKPOINTS,
    SLOPE_POINTS,
    TINY_GAP,
)


@dataclass(frozen=True)
class Effort:
    """How much of a nonlinear problem's trajectory is measured by optimal multipliers (linear ones are free)."""

    checkpoints: int = 8
    wrong_checkpoints: int = 2
    runs: int = 4


@dataclass(frozen=True)
class Evidence:
    """Evidence under each norm, and the series behind it (for the figures).

    Attributes:
        norms: norm name → summary.
        arrays: "steps" and, for each norm N, "kkt_gap:N", "alignment:N", "margin_ratio:N" of shape (T, B), NaN where
            not computed; "direction_error:N" for a matched norm.
        runs: Indices of the runs that were measured.
        matches: For each norm that was asked for, the KKT points matched to their ends; more are found as they are.
    """

    norms: Mapping[str, NormEvidence]
    arrays: Mapping[str, np.ndarray]
    runs: tuple[int, ...] = ()
    matches: dict[str, list[Match]] = field(default_factory=dict)


def measure(
    problem: Problem,
    trajectory: Trajectory,
    norms: Sequence[Norm],
    *,
    claimed: Sequence[Norm] = (),
    effort: Effort | None = None,
) -> Evidence:
    """Measure a trajectory under every norm.

    Args:
        problem: The problem that was trained on.
        trajectory: The runs.
        norms: Candidates; the claimed norms are added if missing.
        claimed: Norms whose matching KKT points are looked for on a nonlinear problem.
        effort: How much to measure where the reference is not convex.

    Returns:
        The evidence; empty of norms when no run separates the data, and without those whose reference no solver
        finds.
    """
    effort = effort or Effort()
    names = {n.name: n for n in (*claimed, *norms)}
    chosen = np.flatnonzero(trajectory.separated)
    if not problem.linear:
        chosen = chosen[: effort.runs]
    arrays: dict[str, np.ndarray] = {"steps": trajectory.steps, "margin": trajectory.margin}
    summaries: dict[str, NormEvidence] = {}
    found = Evidence(summaries, arrays, tuple(int(run) for run in chosen))
    claimed_names = {n.name for n in claimed}
    for name, norm in names.items() if len(chosen) else ():
        try:
            summary, series = _of_norm(problem, trajectory, norm, found, effort, name in claimed_names)
        except (MarginError, SolverError):
            continue  # a norm of absurd weights: no number is better than a wrong one
        summaries[name] = summary
        arrays |= {f"{key}:{name}": _spread(a, chosen, trajectory.runs) for key, a in series.items() if a is not None}
    return found


def _of_norm(
    problem: Problem, trajectory: Trajectory, norm: Norm, evidence: Evidence, effort: Effort, claimed: bool
) -> tuple[NormEvidence, dict[str, np.ndarray | None]]:
    """The evidence under one norm, and its series (T, len(chosen))."""
    chosen = np.array(evidence.runs, dtype=int)
    values, aligned = _alignment(trajectory, norm, chosen)
    normalized = _scatter(trajectory.margin[:, chosen], values**problem.degree)
    ratio: np.ndarray | None
    error: np.ndarray | None = None
    if problem.linear:
        summary, gap, ratio = _against_optimum(problem, trajectory, norm, normalized)
    else:
        found = matched(problem, trajectory, norm, evidence) if claimed else []
        checkpoints = effort.checkpoints if claimed else effort.wrong_checkpoints
        summary, gap, ratio, error = _against_kkt(problem, trajectory, norm, chosen, normalized, found, checkpoints)
    series = {"kkt_gap": gap, "alignment": aligned, "margin_ratio": ratio, "direction_error": error}
    return replace(summary, alignment=_last(aligned)), series


def _against_optimum(
    problem: Problem, trajectory: Trajectory, norm: Norm, normalized: np.ndarray
) -> tuple[NormEvidence, np.ndarray, np.ndarray]:
    """Linear models: Γ = 1 − margin / optimal margin, exactly; the certified upper bound stands for the optimum."""
    reference = reference_of(problem, norm)
    ratio = normalized / reference.upper
    gap = np.clip(1.0 - ratio, 0.0, 1.0)
    slope, interval = fitted_slope(trajectory.steps, gap)
    return (
        NormEvidence(
            kkt_gap=float(np.median(gap[-1])),
            kkt_gap_range=(float(gap[-1].min()), float(gap[-1].max())),
            alignment=nan,
            margin_ratio=float(np.median(ratio[-1])),
            distance=None,
            slope=slope,
            slope_interval=interval,
            rung=reference.rung,
        ),
        gap,
        ratio,
    )


def _against_kkt(
    problem: Problem,
    trajectory: Trajectory,
    norm: Norm,
    chosen: np.ndarray,
    normalized: np.ndarray,
    matches: Sequence[Match],
    checkpoints: int,
) -> tuple[NormEvidence, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Nonlinear models: Γ by optimal multipliers at the later checkpoints, and the matched KKT points."""
    evaluate = GapEvaluator(problem, norm)
    gap = np.full(normalized.shape, np.nan)
    for t in _picked(trajectory.steps, checkpoints):
        for j, run in enumerate(chosen):
            if trajectory.margin[t, run] > 0:
                gap[t, j] = evaluate(trajectory.at(t, int(run))).value
    slope, interval = fitted_slope(trajectory.steps, gap)
    good = [m for m in matches if m.success]
    ratio = error = None
    if matches:
        reached = np.array([problem.min_margin(m.theta) / norm.value(m.theta) ** problem.degree for m in matches])
        ratio = normalized / np.where([m.success for m in matches], reached, np.nan)
        error = _direction_error(trajectory, chosen, matches)
    ends = gap[-1]
    return (
        NormEvidence(
            kkt_gap=float(np.median(ends)),
            kkt_gap_range=(float(ends.min()), float(ends.max())),
            alignment=nan,
            margin_ratio=float(np.nanmedian(ratio[-1])) if ratio is not None and np.isfinite(ratio[-1]).any() else None,
            distance=None,
            slope=slope,
            slope_interval=interval,
            residual=float(max(m.residual for m in good)) if good else None,
            matched=len(good) / len(matches) if matches else None,
            rung="numerical",
        ),
        gap,
        ratio,
        error,
    )


_REFERENCES: dict[tuple[Norm, tuple[tuple[str, tuple[int, ...]], ...], bytes], MarginSolution] = {}


def reference_of(problem: Problem, norm: Norm) -> MarginSolution:
    """Return the optimal margin of a linear problem, solved once a process.

    It is known again by all that it depends on, never by names: each weighting of a norm is told as "weighted", and a
    file of data may have changed.
    """
    key = norm, tuple(problem.shapes.items()), gradients(problem).tobytes()
    if key not in _REFERENCES:
        _REFERENCES[key] = solve_margin(problem, norm)
    return _REFERENCES[key]


def fitted_slope(
    steps: np.ndarray, gap: np.ndarray, decades: float = 1.0
) -> tuple[float | None, tuple[float, float] | None]:
    """Return d log Γ / d log t over the last ``decades`` of steps and its 95 % interval, medians over runs; or Nones.

    The interval is that of an ordinary regression, widened by the autocorrelation of its residuals (Γ is a smooth
    curve with waves, not independent noise).
    """
    late = steps >= max(1.0, steps[-1] / 10**decades)
    fits = []
    for run in range(gap.shape[1]):
        usable = late & np.isfinite(gap[:, run])
        if usable.sum() < SLOPE_POINTS:
            continue
        x, y = np.log(steps[usable]), np.log(np.maximum(gap[usable, run], TINY_GAP))
        if np.ptp(y) < FLAT_GAP:  # regression has no error to speak of, and makes NaN of it
            fits.append((0.0, 0.0))
            continue
        fit = stats.linregress(x, y)
        residual = y - fit.intercept - fit.slope * x
        power = float((residual**2).sum())
        rho = float((residual[1:] * residual[:-1]).sum() / power) if power > 0 else 0.0
        rho = min(max(rho, 0.0), AUTOCORRELATION)
        half = float(stats.t.ppf(CONFIDENCE, len(x) - 2) * fit.stderr * sqrt((1 + rho) / (1 - rho)))
        fits.append((float(fit.slope), half))
    if not fits:
        return None, None
    slope, half = np.median(np.array(fits), axis=0)
    return float(slope), (float(slope - half), float(slope + half))


def _alignment(trajectory: Trajectory, norm: Norm, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """‖θ‖ and r = −⟨g, Δθ⟩/(‖g‖_* ‖Δθ‖), both (T, runs)."""
    shape = (len(trajectory.steps), len(chosen))
    values, r = np.empty(shape), np.empty(shape)
    for t in range(shape[0]):
        for j, run in enumerate(chosen):
            theta, g, d = (trajectory.at(t, int(run), f) for f in ("theta", "gradient", "update"))
            values[t, j] = norm.value(theta)
            r[t, j] = alignment(norm, g, d)
    return values, r


def matched(problem: Problem, trajectory: Trajectory, norm: Norm, found: Evidence) -> list[Match]:
    """The KKT points under ``norm`` matched to the measured runs' ends, each searched for once."""
    if norm.name not in found.matches:
        found.matches[norm.name] = [match(problem, trajectory.at(-1, run), norm) for run in found.runs]
    return found.matches[norm.name]


def _direction_error(trajectory: Trajectory, chosen: np.ndarray, matches: Sequence[Match]) -> np.ndarray:
    """ℓ2 distance of θ/‖θ‖₂ to the matched direction at every checkpoint, (T, runs); NaN where nothing matched."""
    out = np.full((len(trajectory.steps), len(chosen)), np.nan)
    for j, (run, found) in enumerate(zip(chosen, matches, strict=True)):
        if not found.success:
            continue
        goal = np.concatenate([np.ravel(b) for b in found.theta.values()])
        goal = goal / np.linalg.norm(goal)
        for t in range(len(trajectory.steps)):
            here = np.concatenate([np.ravel(trajectory.theta[k][t, run]) for k in found.theta])
            out[t, j] = np.linalg.norm(here / np.linalg.norm(here) - goal)
    return out


def _scatter(margin: np.ndarray, length: np.ndarray) -> np.ndarray:
    return np.divide(margin, length, out=np.zeros_like(margin), where=length > 0)


def _picked(steps: np.ndarray, count: int) -> list[int]:
    """Indices of ``count`` checkpoints in the last decade of steps, the end among them."""
    late = np.flatnonzero(steps >= steps[-1] / 10)
    return sorted({int(late[round(i)]) for i in np.linspace(len(late) - 1, 0, min(count, len(late)))})


def _spread(series: np.ndarray, chosen: np.ndarray, runs: int) -> np.ndarray:
    """(T, chosen) → (T, runs), NaN for runs not measured."""
    out = np.full((series.shape[0], runs), np.nan)
    out[:, chosen] = series
    return out


def _last(series: np.ndarray) -> float:
    """Median over the last checkpoints and the runs; one checkpoint's alignment fluctuates."""
    tail = series[-LAST_CHECKPOINTS:]
    return float(np.nanmedian(tail)) if np.isfinite(tail).any() else nan
