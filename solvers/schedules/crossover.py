"""When Adam's eps takes over: from the linf margin to the l2 margin, at a step that can be computed.

Adam steps by m / (√v + ε). While √v is far above ε that is κ · sign(g) and the linf margin grows; far below, it is m/ε,
gradient descent at the learning rate η/ε, and the l2 margin grows (Wang et al. 2012.06244). On a linear model at a
constant η the gradient decays like e^{−rt} in between, and √v with it, so that √v = ε at

    t_x = t_a + ln(√v(t_a) / ε) / r,    r = γ η κ(r) < ½ ln(1/β₂),

with γ the linf margin of the data (nothing else drives the margin), t_a any step at which the rate has settled, and κ
the lag of :mod:`maxmargin.solvers.schedules.lag`. The bound is β₂'s throttle: v cannot forget faster than β₂ per
step, and a larger η only makes κ smaller (the steps collapse until g decays no faster than that). Near t_x itself the
steps are already shorter, which delays the crossing, and κ rises to 1, which hastens it: the formula is good to about
one unit of ln(√v/ε), a few per cent. The law and the name "throttle" are from a set of float64 measurements (github
fanpu/linear-attn, theory/02-implicit-bias), not from a theorem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import final

from maxmargin.solvers.schedules.lag import LagError, critical_law


class CrossoverError(ValueError):
    """A learning rate, eps or gradient from which no crossover follows."""


@final
@dataclass(frozen=True)
class Crossover:
    """Where Adam passes from the linf to the l2 regime.

    Attributes:
        step: t_x, in steps; at which √v = ε for the geometric mean of the weights' gradients.
        rate: r, the decay of ln|g| in a step before it.
        kappa: κ(r), the step length over η before it; at t_x it is about half of that.
        throttle: ½ ln(1/β₂), which r cannot exceed.
    """

    step: float
    rate: float
    kappa: float
    throttle: float


def throttle(b2: float) -> float:
    """½ ln(1/β₂): the fastest that √v can decay in a step.

    Args:
        b2: β₂ in (0, 1).

    Returns:
        The rate.

    Example:
        >>> round(throttle(0.999), 7)
        0.0005003
    """
    return -log(b2) / 2


def crossover(
    eta: float, eps: float, b1: float, b2: float, gamma: float, log_gradient: float | Sequence[float], at: float = 0.0
) -> Crossover:
    """Predict the step at which eps takes over, for Adam at a constant learning rate on a linear model.

    Args:
        eta: Learning rate η.
        eps: ε, in the units of the true gradient.
        b1: β₁.
        b2: β₂.
        gamma: The data's linf margin, max over ‖θ‖_∞ ≤ 1 of the smallest margin.
        log_gradient: ln|g_j| at step ``at``: of one weight, or of several (their mean is taken).
        at: t_a, a step at which the decay rate has settled (a few times 1/(1 − β₂)).

    Returns:
        The crossover; its step lies before ``at`` if eps dominates there already.

    Raises:
        CrossoverError: η, ε or γ not positive, betas outside [0, 1) × (0, 1), a gradient that is 0, or β₁ > √β₂ with an
            η at which the momentum cannot keep up.

    Example:
        >>> found = crossover(eta=0.002, eps=1e-8, b1=0.9, b2=0.99, gamma=1.0, log_gradient=-1.0, at=800)
        >>> print(f"{found.step:.0f} steps; {found.rate:.2e} < {found.throttle:.2e}")
        11400 steps; 1.66e-03 < 5.03e-03
    """
    if not (eta > 0 and eps > 0 and gamma > 0):
        raise CrossoverError(f"eta={eta}, eps={eps}, gamma={gamma}; all three must be positive")
    logs = [float(log_gradient)] if isinstance(log_gradient, (int, float)) else [float(x) for x in log_gradient]
    if not logs or not all(isfinite(x) for x in logs):
        raise CrossoverError(f"log_gradient is {log_gradient}; needed are finite logarithms of nonzero gradients")
    try:
        law = critical_law(eta, b1, b2, degree=1, gamma=gamma)
    except LagError as error:
        raise CrossoverError(str(error)) from error
    # v averages older, larger squares: v = g² (1 − β₂)/(1 − β₂ e^{2r}).
    log_root = sum(logs) / len(logs) + 0.5 * log((1 - b2) / (1 - b2 * exp(2 * law.rate)))
    return Crossover(at + (log_root - log(eps)) / law.rate, law.rate, law.kappa, throttle(b2))
