"""The theorem's hypotheses, measured on each trajectory rather than believed."""

from __future__ import annotations

import numpy as np
from scipy import stats

from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm
from maxmargin.verify.trajectory import Trajectory
from maxmargin.verify.verdict import Hypothesis

SETTLED = 0.05  # ℓ2 movement of the direction over the last half decade of steps
SHRINKS = 0.9  # or at most this much of the half decade before
RESTLESS = 0.2  # more than this, and not shrinking: it does not converge on this horizon


def measured(problem: Problem, trajectory: Trajectory, norm: Norm, *, needs_a1: bool = False) -> dict[str, Hypothesis]:
    """Every hypothesis that a trajectory can show, by name.

    ``separated`` (T1: the data are fitted), ``direction settles`` (T2), ``schedule`` (η = o(t^{1/L−1}) and ∫η = ∞,
    as realized), ``kappa`` (‖Δθ‖/η at the end, the lag of the moments), ``R`` (‖θ‖/N, theorem C.17 asks
    limsup ≤ 1), ``smooth`` (M1), and where Adam runs ``A1`` (no coordinate without gradient).

    Args:
        problem: The problem.
        trajectory: The runs.
        norm: The optimizer's norm, in which lengths are measured.
        needs_a1: Whether A1 is a hypothesis (it is for Adam without eps).

    Returns:
        name → Hypothesis.
    """
    good = trajectory.separated
    share = float(good.mean())
    found = {
        "smooth": Hypothesis(problem.model.smooth, "C¹ in θ" if problem.model.smooth else "not C¹: M1 unmet"),
        "separated": Hypothesis(share > 0, share),
    }
    if not good.any():
        return found
    runs = np.flatnonzero(good)
    found["direction settles"] = _settles(trajectory, runs)
    found["schedule"] = _schedule(problem.degree, trajectory, norm, runs)
    found["kappa"] = _kappa(trajectory, norm, runs)
    found["R"] = _radius(trajectory, norm, runs)
    if needs_a1:
        found["A1"] = _a1(trajectory, runs)
    return found


def _settles(trajectory: Trajectory, runs: np.ndarray) -> Hypothesis:
    """T2: how far θ/‖θ‖₂ moved in the last half decade of steps, worst run; small, or less than in the one before."""
    steps = trajectory.steps
    marks = [int(np.abs(np.log(np.maximum(steps, 1) / (steps[-1] / 10**d))).argmin()) for d in (1.0, 0.5, 0.0)]
    if not marks[0] < marks[1] < marks[2]:
        return Hypothesis(None, None)  # too few checkpoints to see it move
    moves = np.array([[_unit(trajectory, t, int(r)) for t in marks] for r in runs])
    before, last = np.linalg.norm(np.diff(moves, axis=1), axis=-1).max(axis=0)
    settled = last <= SETTLED or last <= SHRINKS * before
    return Hypothesis(True if settled else False if last > RESTLESS else None, float(last))


def _unit(trajectory: Trajectory, t: int, run: int) -> np.ndarray:
    flat = np.concatenate([np.ravel(b[t, run]) for b in trajectory.theta.values()])
    return flat / max(np.linalg.norm(flat), 1e-300)


def _schedule(degree: int, trajectory: Trajectory, norm: Norm, runs: np.ndarray) -> Hypothesis:
    """Exponent a of the realized step length ν ~ t^{−a}, last decade; admissible iff 1 − 1/L < a ≤ 1 (a ≥ 0 for L = 1).

    The length ‖Δθ‖ is taken, not η: for an optimizer that does not normalize, η alone says nothing.

    Returns:
        Met or not, and a.
    """
    late = np.flatnonzero(trajectory.steps >= max(1, trajectory.steps[-1] / 10))
    if len(late) < 3:
        return Hypothesis(None, None)
    exponents = []
    for run in runs:
        lengths = [float(norm.value(trajectory.at(int(t), int(run), "update"))) for t in late]
        if min(lengths) <= 0:
            return Hypothesis(None, None)
        exponents.append(-stats.linregress(np.log(trajectory.steps[late]), np.log(lengths)).slope)
    a = float(np.median(exponents))
    slack = 0.05  # of a fitted exponent
    return Hypothesis(bool(1 - 1 / degree - slack < a <= 1 + slack), a)


def _kappa(trajectory: Trajectory, norm: Norm, runs: np.ndarray) -> Hypothesis:
    """‖Δθ‖/η in the optimizer's norm at the end: 1 when no moment lags (Adam's step shrinks if one does)."""
    values = [
        float(norm.value(trajectory.at(t, int(r), "update"))) / trajectory.eta[t, r]
        for t in range(max(0, len(trajectory.steps) - 5), len(trajectory.steps))
        for r in runs
    ]
    return Hypothesis(None, float(np.median(values)))


def _radius(trajectory: Trajectory, norm: Norm, runs: np.ndarray) -> Hypothesis:
    """‖θ‖/N at the end, worst run, with N = Σ ‖Δθ‖ (trapezoidal between checkpoints); theorem C.17 asks R ≤ 1."""
    worst = 0.0
    for run in runs:
        lengths = [float(norm.value(trajectory.at(t, int(run), "update"))) for t in range(len(trajectory.steps))]
        path = float(np.trapezoid(lengths, trajectory.steps))
        worst = max(worst, float(norm.value(trajectory.at(-1, int(run)))) / path if path > 0 else 0.0)
    return Hypothesis(None, worst)


def _a1(trajectory: Trajectory, runs: np.ndarray) -> Hypothesis:
    """A1: share of coordinates without any gradient at the start, worst run (0/0 in Adam)."""
    shares = [np.mean(np.concatenate([np.ravel(b[0, r]) == 0 for b in trajectory.gradient.values()])) for r in runs]
    return Hypothesis(bool(max(shares) == 0), float(max(shares)))
