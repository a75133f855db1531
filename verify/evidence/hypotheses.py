"""The theorem's hypotheses, measured on each trajectory rather than believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm
from maxmargin.verify.engine.schedules import Schedule
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.block_balance import block_balance
from maxmargin.verify.evidence.kappa import BlockKappa, block_kappas, measured_weights
from maxmargin.verify.evidence.schedule_taken import Realized, admissibility_of, realized
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.results.verdict import Hypothesis
from maxmargin.verify.thresholds.judging import BLOWN_UP, LATE_CHECKPOINTS, RESTLESS, SETTLED, SHRINKS, STILL


@dataclass(frozen=True)
class Known:
    """What is known of an optimizer and its schedule beforehand, and judged with the run.

    Attributes:
        schedule: That was asked for; None if it is not known.
        family: Whose conditions it has to meet, a key of ``admissibility.FAMILIES``; of Adam's, A1 is one.
        betas: Adam's (β₁, β₂), for their part of the conditions.
    """

    schedule: Schedule | None = None
    family: str = "momentum"
    betas: tuple[float, float] | None = None

    @classmethod
    def of(cls, optimizer: Optimizer, schedule: Schedule) -> Known:
        """What is known of one of the engine's own."""
        family = "adam" if optimizer.betas else "momentum" if optimizer.memory > 1 else "steepest descent"
        return cls(schedule, family, optimizer.betas)


def hypotheses_of(
    problem: Problem, trajectory: Trajectory, norm: Norm, known: Known | None = None
) -> dict[str, Hypothesis]:
    """Every hypothesis that a trajectory can show, by name.

    Judged: ``separated`` (T1: the data are fitted), ``finite steps`` (where one was not: its number; its run ends there
    and is not evidence), ``direction settles`` (T2), ``schedule`` (η = o(t^{1/L−1}) and
    ∫η = ∞, as realized), ``schedule, symbolic`` (the same of η(t) itself, where it is known), ``smooth`` (M1), and
    where Adam runs ``A1`` (no coordinate without gradient) and ``beta1 <= beta2``; ``margins resolved`` where they are
    so large that float64 tells them apart no more (a run that has blown up).

    Informative, ``met`` is None: ``separation step`` (median), ``schedule interval`` (of the fitted exponent),
    ``kappa`` (‖Δθ‖/η at the end, the lag of the moments), ``kappa:BLOCK`` (the same on a block's significant
    coordinates) with ``kappa spread`` (how far single ones lie from it) and ``measured weights`` (that this gives the
    blocks), ``R`` (‖θ‖/N, theorem C.17 asks limsup ≤ 1), ``direction path`` over the last decade and ``path over
    displacement`` (T2: large for a direction that rotates or chatters), ``block balance`` (0 at every KKT direction).

    Args:
        problem: The problem.
        trajectory: The runs.
        norm: The optimizer's norm, in which lengths are measured.
        known: What is known beforehand.

    Returns:
        name → Hypothesis.
    """
    known = known or Known()
    good = trajectory.separated
    share = float(good.mean())
    found = {
        "smooth": Hypothesis(problem.model.smooth, "C¹ in θ" if problem.model.smooth else "not C¹: M1 unmet"),
        "separated": Hypothesis(share > 0, share),
    }
    if not good.any():
        return found
    runs = np.flatnonzero(good)
    taken = realized(problem.degree, trajectory, norm, runs)
    if trajectory.broken is not None and trajectory.broken.any():
        found["finite steps"] = Hypothesis(False, int(trajectory.broken[trajectory.broken > 0].min()))
    found["separation step"] = Hypothesis(None, float(np.median(trajectory.separated_at[runs])))
    found["direction settles"] = _settles(trajectory, runs)
    found |= _path(trajectory, runs)
    found |= _schedule(taken)
    found |= _symbolic(known, problem.degree)
    found["kappa"] = _kappa(trajectory, norm, runs)
    found |= _block_kappas(block_kappas(trajectory, norm, runs))
    found["R"] = _radius(trajectory, norm, runs)
    found |= _balance(problem, trajectory, norm, runs)
    if known.family == "adam":
        found["A1"] = _a1(trajectory, runs)
    if known.betas is not None:
        found |= ordered(known.betas)
    if float(np.max(trajectory.margin[-1][runs])) > BLOWN_UP:
        found["margins resolved"] = Hypothesis(False, float(np.max(trajectory.margin[-1][runs])))
    return found


def ordered(betas: tuple[float, float]) -> dict[str, Hypothesis]:
    """``beta1 <= beta2``, a hypothesis of the theorem on Adam (Gronich & Vardi 2602.16340)."""
    return {"beta1 <= beta2": Hypothesis(betas[0] <= betas[1], f"{betas[0]:g}, {betas[1]:g}")}


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


def _path(trajectory: Trajectory, runs: np.ndarray) -> dict[str, Hypothesis]:
    """How far θ/‖θ‖₂ went over the last decade of steps, and that over how far it got, worst run.

    Between checkpoints the path is straight, so both are lower bounds: what rotates faster than the checkpoints are
    apart is not seen.

    Returns:
        Both, informative.
    """
    late = np.flatnonzero(trajectory.steps >= max(1, trajectory.steps[-1] / 10))
    if len(late) < 3:
        return {}
    paths, nets = [], []
    for run in runs:
        units = np.stack([_unit(trajectory, int(t), int(run)) for t in late])
        paths.append(float(np.linalg.norm(np.diff(units, axis=0), axis=1).sum()))
        nets.append(float(np.linalg.norm(units[-1] - units[0])))
    moved = [path / net if net > 0 else np.inf for path, net in zip(paths, nets, strict=True) if path > STILL]
    return {
        "direction path": Hypothesis(None, max(paths)),
        "path over displacement": Hypothesis(None, float(max(moved)) if moved else None),
    }


def _schedule(taken: Realized) -> dict[str, Hypothesis]:
    found = {"schedule": Hypothesis(taken.met, taken.exponent)}
    if taken.interval is not None:
        low, high = taken.interval
        found["schedule interval"] = Hypothesis(None, f"{low:.3f} … {high:.3f}")
    return found


def _symbolic(known: Known, degree: int) -> dict[str, Hypothesis]:
    if known.schedule is None:
        return {}
    verdict = admissibility_of(known.schedule, degree, known.family, known.betas)
    if verdict is None:
        return {}
    return {"schedule, symbolic": Hypothesis(verdict.met, "; ".join(verdict.reasons) or "all conditions are met")}


def _block_kappas(kappas: Mapping[str, BlockKappa]) -> dict[str, Hypothesis]:
    found = {f"kappa:{name}": Hypothesis(None, k.value) for name, k in kappas.items()}
    if kappas and all(k.value > 0 for k in kappas.values()):
        spread = max(max(k.high / k.value - 1, 1 - k.low / k.value) for k in kappas.values())
        found["kappa spread"] = Hypothesis(None, float(spread))
    weights = measured_weights(kappas)
    if len(weights) > 1:
        found["measured weights"] = Hypothesis(None, ", ".join(f"{name} {w:.4g}" for name, w in weights.items()))
    return found


def _balance(problem: Problem, trajectory: Trajectory, norm: Norm, runs: np.ndarray) -> dict[str, Hypothesis]:
    """``block balance``: the worst run's deviation from what every KKT direction has."""
    each = [block_balance(problem, trajectory.at(-1, int(run)), norm) for run in runs]
    known = [x for x in each if x is not None]
    return {"block balance": Hypothesis(None, max(known))} if known else {}


def _kappa(trajectory: Trajectory, norm: Norm, runs: np.ndarray) -> Hypothesis:
    """‖Δθ‖/η in the optimizer's norm at the end: 1 when no moment lags (Adam's step shrinks if one does)."""
    values = [
        float(norm.value(trajectory.at(t, int(r), "update"))) / trajectory.eta[t, r]
        for t in range(max(0, len(trajectory.steps) - LATE_CHECKPOINTS), len(trajectory.steps))
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
