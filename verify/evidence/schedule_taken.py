"""Did the run keep to the theorem's schedule? Decided symbolically where η(t) is known, and from the steps it took.

Gronich & Vardi (2602.16340) ask ∫η = ∞ and η = o(t^{1/L−1}); for t^{−a} that is 1 − 1/L < a ≤ 1. A paced run chooses
its η as it goes, so its exponent is fitted to the steps that were taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import sympy as sp

from maxmargin.solvers.norms import Norm
from maxmargin.solvers.schedules.admissibility import Admissibility, admissible, power_law, t
from maxmargin.verify.engine.schedules import Paced, PowerLaw, Schedule
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.measure import fitted_slope
from maxmargin.verify.thresholds.judging import EXPONENT_SLACK


@dataclass(frozen=True)
class Realized:
    """The exponent a of the step lengths ν ~ t^{−a} that a run took.

    Attributes:
        met: Whether 1 − 1/L < a ≤ 1: True if the whole interval lies there (but for ``EXPONENT_SLACK``), False if none
            of it does, None if the interval does not decide or nothing could be fitted.
        exponent: a, the median over runs.
        interval: Its 95 % interval.
    """

    met: bool | None
    exponent: float | None
    interval: tuple[float, float] | None


def realized(degree: float, trajectory: Trajectory, norm: Norm, runs: Sequence[int] | np.ndarray) -> Realized:
    """Fit the exponent of the step lengths over the last decade of steps.

    The length ‖Δθ‖ is taken, not η: for an optimizer that does not normalize, η alone says nothing.

    Args:
        degree: The model's degree L.
        trajectory: The runs.
        norm: The norm in which steps are measured.
        runs: Indices of the runs that count.

    Returns:
        The exponent with its interval (of a regression, widened by its residuals' autocorrelation), judged. With a
        degree of 1 a constant pace, a = 0, passes: within the slack it cannot be told from a slowly falling one.
    """
    lengths = np.array(
        [
            [float(norm.value(trajectory.at(k, int(run), "update"))) for run in runs]
            for k in range(len(trajectory.steps))
        ]
    )
    late = trajectory.steps >= max(1.0, trajectory.steps[-1] / 10)
    if late.sum() < 3 or not (lengths[late] > 0).all():
        return Realized(None, None, None)
    slope, interval = fitted_slope(trajectory.steps, lengths)
    if slope is None or interval is None:
        return Realized(None, None, None)
    low, high = -interval[1], -interval[0]
    least, most = 1 - 1 / degree - EXPONENT_SLACK, 1 + EXPONENT_SLACK
    met = True if least < low and high <= most else False if high <= least or low > most else None
    return Realized(met, -slope, (low, high))


@singledispatch
def symbolic(schedule: Schedule, degree: float) -> sp.Expr | None:
    """Return η(t) up to a factor, as a sympy expression in ``admissibility.t``; None for a schedule that is not known.

    Args:
        schedule: The schedule.
        degree: The model's degree L.

    Example:
        >>> symbolic(PowerLaw(eta=0.1, a=0.8), 3), symbolic(Paced(decay=0.2), 3)
        (1/(10*t**(4/5)), t**(-11/15))
    """
    del schedule, degree
    return None


@symbolic.register
def _(schedule: PowerLaw, degree: float) -> sp.Expr | None:
    del degree
    return power_law(schedule.a, schedule.eta)


@symbolic.register
def _(schedule: Paced, degree: float) -> sp.Expr | None:
    # A margin grows like ∫ t^{−d} = t^{1−d}, so ‖θ‖ like t^{(1−d)/L}, and η = pace / (speed ~ ‖θ‖^{L−1}).
    decay, L = sp.Rational(str(schedule.decay)), sp.Rational(str(degree))
    if decay == 1:
        return 1 / (t * sp.log(t) ** (1 - 1 / L))
    return power_law(1 - (1 - decay) / L)


def admissibility_of(
    schedule: Schedule, degree: float, family: str = "momentum", betas: tuple[float, float] | None = None
) -> Admissibility | None:
    """Decide the theorem's conditions on a schedule symbolically.

    Args:
        schedule: The schedule.
        degree: The model's degree L.
        family: A key of ``admissibility.FAMILIES``.
        betas: Adam's (β₁, β₂).

    Returns:
        The verdict; None for a schedule whose η(t) is not known beforehand. A paced schedule is judged by the power
        that it tends to as ‖θ‖ grows.

    Example:
        >>> admissibility_of(Paced(decay=0.2), 3).met, admissibility_of(Paced(decay=0.0), 3).met
        (True, False)
    """
    eta = symbolic(schedule, degree)
    if eta is None:
        return None
    b1, b2 = betas if betas is not None else (None, None)
    return admissible(eta, degree, family, b1=b1, b2=b2)
