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
from maxmargin.verify.results.problem_verdict import Hypothesis
from maxmargin.verify.thresholds.judging import (
    BLOWN_UP,
    ENOUGH_RUNS,
    LATE_CHECKPOINTS,
    RADIUS_SLACK,
    RESTLESS,
    SETTLED,
    SHRINKS,
    STILL,
)


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
    problem: Problem,
    trajectory: Trajectory,
    norm: Norm,
    known: Known | None = None,
    left: Mapping[int, float] | None = None,
) -> dict[str, Hypothesis]:
    """Return every hypothesis that a trajectory can show, by name.

    Judged, of the kind ``theorem``: ``separated`` (T1: the data are fitted; where fewer than half of several runs are,
    or only one, that is not known of the optimizer), ``finite steps`` (where one was not: its number; its run ends
    there and is not evidence), ``direction settles`` (T2), ``schedule`` (η = o(t^{1/L−1}) and
    ∫η = ∞, as realized; informative where η(t) is known and the fit does not decide), ``schedule, symbolic`` (the same
    of η(t) itself, where it is known), ``smooth`` (M1), and where Adam runs ``A1`` (no coordinate without gradient)
    and ``R`` (‖θ‖/Σ η ≤ 1, C.17), where its betas are known ``beta1 <= beta2``; ``margins resolved`` where they are so
    large that float64 tells them apart no more (a run that has blown up).

    Informative, of the kind ``number``: ``separation step`` (median), ``schedule interval`` (of the fitted exponent),
    ``kappa`` (‖Δθ‖/η at the end, the lag of the moments: common to all blocks it is a learning rate, of which theorem
    C.17 asks nothing), ``kappa:BLOCK`` (the same on a block's significant coordinates) with ``kappa spread`` (how far
    single ones lie from it) and ``measured weights`` (that this gives the blocks), ``R`` of the others (‖θ‖/Σ ‖Δθ‖,
    at most 1), ``direction path`` over the last decade and ``path over displacement`` (T2: large for a direction that
    rotates or chatters), ``block balance`` (0 at every KKT direction).

    Args:
        problem: The problem.
        trajectory: The runs.
        norm: The optimizer's norm, in which lengths are measured.
        known: What is known beforehand.
        left: How far each measured run's direction ends from the point of the norm's own that it approaches, if known.
    """
    known = known or Known()
    good = trajectory.separated
    share = float(good.mean())
    alone = good.sum() < min(2, len(good))
    found = {
        "smooth": Hypothesis(problem.model.smooth, "C¹ in θ" if problem.model.smooth else "not C¹: M1 unmet"),
        "separated": Hypothesis(None if 0 < share < ENOUGH_RUNS or (alone and share > 0) else share > 0, share),
    }
    if not good.any():
        return found
    runs = np.flatnonzero(good)
    taken = realized(problem.degree, trajectory, norm, runs)
    if trajectory.broken is not None and trajectory.broken.any():
        found["finite steps"] = Hypothesis(False, int(trajectory.broken[trajectory.broken > 0].min()))
    found["separation step"] = _number(float(np.median(trajectory.separated_at[runs])))
    found["direction settles"] = _settles(trajectory, runs, left or {})
    found |= _path(trajectory, runs)
    found |= _schedule(taken, _symbolic(known, problem.degree))
    found["kappa"] = _kappa(trajectory, norm, runs)
    found |= _block_kappas(block_kappas(trajectory, norm, runs))
    found["R"] = _radius(trajectory, norm, runs, judged=known.family == "adam")
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


def _number(value: float | str | None) -> Hypothesis:
    """Something that is told and not judged."""
    return Hypothesis(None, value, "number")


def _settles(trajectory: Trajectory, runs: np.ndarray, left: Mapping[int, float]) -> Hypothesis:
    """T2: how far θ/‖θ‖₂ moved in the last half decade of steps, worst run.

    A run has settled if that is small, or less than in the half decade before, or more than what is left to the point
    that it approaches.

    Returns:
        The hypothesis; unmet where a run that has not settled moved far, else not known.
    """
    steps = trajectory.steps
    marks = [int(np.abs(np.log(np.maximum(steps, 1) / (steps[-1] / 10**d))).argmin()) for d in (1.0, 0.5, 0.0)]
    if not marks[0] < marks[1] < marks[2]:
        return Hypothesis(None, None)  # too few checkpoints to see it move
    restless, moved = [], []
    for run in map(int, runs):
        units = np.array([_unit(trajectory, t, run) for t in marks])
        before, last = map(float, np.linalg.norm(np.diff(units, axis=0), axis=-1))
        moved.append(last)
        arrives = last <= RESTLESS and left.get(run, np.inf) <= last
        if not (last <= SETTLED or last <= SHRINKS * before or arrives):
            restless.append(last)
    return Hypothesis(True if not restless else False if max(restless) > RESTLESS else None, max(moved))


def _unit(trajectory: Trajectory, t: int, run: int) -> np.ndarray:
    flat = np.concatenate([np.ravel(b[t, run]) for b in trajectory.theta.values()])
    return flat / max(np.linalg.norm(flat), 1e-300)


def _path(trajectory: Trajectory, runs: np.ndarray) -> dict[str, Hypothesis]:
    """Return how far θ/‖θ‖₂ went over the last decade of steps, and that over how far it got, worst run.

    Between checkpoints the path is straight, so both are lower bounds: what rotates faster than the checkpoints are
    apart is not seen.
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
        "direction path": _number(max(paths)),
        "path over displacement": _number(float(max(moved)) if moved else None),
    }


def _schedule(taken: Realized, symbolic: dict[str, Hypothesis]) -> dict[str, Hypothesis]:
    """The schedule as taken; where η(t) is known that decides, and the fit, while it contradicts nothing, informs."""
    informs = bool(symbolic) and taken.met is None
    found = {"schedule": _number(taken.exponent) if informs else Hypothesis(taken.met, taken.exponent), **symbolic}
    if taken.interval is not None:
        low, high = taken.interval
        found["schedule interval"] = _number(f"{low:.3f} … {high:.3f}")
    return found


def _symbolic(known: Known, degree: float) -> dict[str, Hypothesis]:
    if known.schedule is None:
        return {}
    verdict = admissibility_of(known.schedule, degree, known.family, known.betas)
    if verdict is None:
        return {}
    return {"schedule, symbolic": Hypothesis(verdict.met, "; ".join(verdict.reasons) or "all conditions are met")}


def _block_kappas(kappas: Mapping[str, BlockKappa]) -> dict[str, Hypothesis]:
    found = {f"kappa:{name}": _number(k.value) for name, k in kappas.items()}
    if kappas and all(k.value > 0 for k in kappas.values()):
        spread = max(max(k.high / k.value - 1, 1 - k.low / k.value) for k in kappas.values())
        found["kappa spread"] = _number(float(spread))
    weights = measured_weights(kappas)
    if len(weights) > 1:
        found["measured weights"] = _number(", ".join(f"{name} {w:.4g}" for name, w in weights.items()))
    return found


def _balance(problem: Problem, trajectory: Trajectory, norm: Norm, runs: np.ndarray) -> dict[str, Hypothesis]:
    """``block balance``: the worst run's deviation from what every KKT direction has."""
    each = [block_balance(problem, trajectory.at(-1, int(run)), norm) for run in runs]
    known = [x for x in each if x is not None]
    return {"block balance": _number(max(known))} if known else {}


def _kappa(trajectory: Trajectory, norm: Norm, runs: np.ndarray) -> Hypothesis:
    """‖Δθ‖/η in the optimizer's norm at the end: 1 when no moment lags (Adam's step shrinks if one does)."""
    values = [
        float(norm.value(trajectory.at(t, int(r), "update"))) / trajectory.eta[t, r]
        for t in range(max(0, len(trajectory.steps) - LATE_CHECKPOINTS), len(trajectory.steps))
        for r in runs
    ]
    return _number(float(np.median(values)))


def _radius(trajectory: Trajectory, norm: Norm, runs: np.ndarray, judged: bool) -> Hypothesis:
    """‖θ‖/N at the end, worst run; theorem C.17 asks that limsup ‖θ‖/N ≤ 1.

    Where the theorem's speed is ν = ‖dθ/dt‖, N = Σ ‖Δθ‖ (trapezoidal between checkpoints), and the triangle inequality
    answers. Of Adam, ν = η: its steps may be longer than the learning rate, and N = Σ η is judged; what the start
    has of ‖θ‖ is taken off, as N → ∞ forgets it.

    Returns:
        The hypothesis; a number where there is nothing to judge.
    """
    worst = 0.0
    for run in map(int, runs):
        length = float(norm.value(trajectory.at(-1, run)))
        if judged:
            length -= float(norm.value(trajectory.at(0, run)))
            path = float(trajectory.travelled[-1, run])
        else:
            lengths = [float(norm.value(trajectory.at(t, run, "update"))) for t in range(len(trajectory.steps))]
            path = float(np.trapezoid(lengths, trajectory.steps))
        worst = max(worst, length / path if path > 0 else 0.0)
    return Hypothesis(worst <= 1 + RADIUS_SLACK, worst) if judged else _number(worst)


def _a1(trajectory: Trajectory, runs: np.ndarray) -> Hypothesis:
    """A1: share of coordinates without any gradient at the start, worst run (0/0 in Adam)."""
    shares = [np.mean(np.concatenate([np.ravel(b[0, r]) == 0 for b in trajectory.gradient.values()])) for r in runs]
    return Hypothesis(bool(max(shares) == 0), float(max(shares)))
