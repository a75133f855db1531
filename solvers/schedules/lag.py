"""The lag of momentum and of Adam's moments on a decaying gradient, and the law at the edge of the schedule condition.

On g ∝ e^{−rt} the momentum average is a constant multiple of g, and Adam's step is κ · sign(g). The theorems need
κ → 1; at the critical schedule η₀ t^{−(1−1/L)} the decay rate r and κ settle at a fixed point instead, which is how
a violated schedule condition shows in a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import final


class LagError(ValueError):
    """Rates outside the range in which the moments follow the gradient."""


def momentum_lag(r: float, c1: float) -> float:
    """m/g = c₁/(c₁ − r) in continuous time, dm/dt = c₁(g − m), g ∝ e^{−rt}, for r < c₁."""
    _below(r, c1, "c1")
    return c1 / (c1 - r)


def adam_lag(r: float, c1: float, c2: float) -> float:
    """κ = c₁/(c₁ − r) · √((c₂ − 2r)/c₂), Adam's step length in continuous time, for r < c₁ and 2r < c₂."""
    _below(2 * r, c2, "c2")
    return momentum_lag(r, c1) * sqrt((c2 - 2 * r) / c2)


def momentum_lag_discrete(r: float, b1: float) -> float:
    """m/g = (1 − β₁)/(1 − β₁ e^r) for m ← β₁ m + (1 − β₁) g and g ∝ e^{−rt}, t in steps.

    Returns:
        The ratio.

    Raises:
        LagError: β₁ e^r ≥ 1.

    Example:
        >>> round(momentum_lag_discrete(0.01, 0.9), 4)
        1.0994
    """
    _below(b1 * exp(r), 1.0, "1 (for b1·e^r)")
    return (1 - b1) / (1 - b1 * exp(r))


def adam_lag_discrete(r: float, b1: float, b2: float) -> float:
    """κ = (1 − β₁)/(1 − β₁ e^r) · √((1 − β₂ e^{2r})/(1 − β₂)), Adam's step length, for β₁ e^r, β₂ e^{2r} < 1."""
    _below(b2 * exp(2 * r), 1.0, "1 (for b2·e^(2r))")
    return momentum_lag_discrete(r, b1) * sqrt((1 - b2 * exp(2 * r)) / (1 - b2))


def resonance_limit(b1: float, b2: float, elasticity: float = 0.5) -> float:
    """The pace from which on Adam's step outruns what it is meant to follow; inf where its step shrinks with the pace.

    A learning rate that would change a log-gradient by c a step where κ = 1 changes it by r = c κ(r). Where the second
    moment lags more than the first (β₁ ≤ √β₂, nearly), κ falls with r, and r settles below c. Where the first does, κ
    grows: faster shrinkage makes longer steps, which make faster shrinkage. The relative growth r κ'(r)/κ(r) =
    r (β₁eʳ/(1 − β₁eʳ) − β₂e²ʳ/(1 − β₂e²ʳ)) is the feedback's gain; at 1 the fixed point is lost, r runs to the edge
    −ln β₁ and the run blows up.

    Args:
        b1: β₁.
        b2: β₂.
        elasticity: The gain that is admitted, below 1.

    Returns:
        c = r/κ(r) at the r where the gain is that.

    Example:
        >>> round(resonance_limit(0.95, 0.9), 4), resonance_limit(0.9, 0.95)
        (0.0177, inf)
    """

    def gain(r: float) -> float:
        return r * (b1 * exp(r) / (1 - b1 * exp(r)) - b2 * exp(2 * r) / (1 - b2 * exp(2 * r)))

    if b1 <= b2:
        return inf
    edge = min(-log(b1), -log(b2) / 2 if b2 > 0 else inf)
    rates = (edge * i / 10_000 for i in range(1, 10_000))  # it may rise and, close to the edge, fall again
    first = next((r for r in rates if gain(r) >= elasticity), None)
    return inf if first is None else first / adam_lag_discrete(first, b1, b2)


@final
@dataclass(frozen=True)
class CriticalLaw:
    """The fixed point at the critical schedule.

    Attributes:
        rate: r, by which log(1/gradient) grows in a step.
        kappa: κ(r), the length of Adam's step in units of η.
    """

    rate: float
    kappa: float


def critical_law(eta0: float, b1: float, b2: float, degree: float, gamma: float = 1.0) -> CriticalLaw:
    """Solve r = γ (κ(r) η₀ L)^L, Adam at the schedule η₀ t^{−(1−1/L)} on a model of degree L with ℓ∞ margin γ.

    With step length κη the norm grows like κ η₀ L t^{1/L}, hence the margin like γ (κ η₀ L)^L t: a constant decay
    rate r, which in turn fixes κ = :func:`adam_lag_discrete`. The least root is returned: it is the one that is
    connected with η₀ → 0.

    Args:
        eta0: η₀.
        b1: β₁.
        b2: β₂.
        degree: L.
        gamma: The ℓ∞-normalized margin of the limit direction.

    Returns:
        The rate and κ.

    Raises:
        LagError: no positive η₀ or γ, or betas outside [0, 1) × (0, 1).

    Example:
        >>> law = critical_law(0.05, 0.9, 0.99, degree=2)
        >>> print(f"{law.rate:.4e} {law.kappa:.4f}")
        3.4175e-03 0.5846
    """
    from scipy.optimize import brentq

    if not (eta0 > 0 and gamma > 0 and 0 <= b1 < 1 and 0 < b2 < 1):
        raise LagError(
            f"eta0={eta0}, gamma={gamma}, b1={b1}, b2={b2}; needed: eta0, gamma > 0, 0 <= b1 < 1, 0 < b2 < 1"
        )

    def excess(r: float) -> float:
        return gamma * (adam_lag_discrete(r, b1, b2) * eta0 * degree) ** degree - r

    # κ falls to 0 at r = −½ ln β₂ when β₂ is what forgets first; a scan finds the first sign change below the end.
    end = min(-log(b1) if b1 > 0 else inf, -log(b2) / 2) * (1 - 1e-12)
    low = 0.0
    for k in range(1, 2001):
        high = end * k / 2000
        if excess(high) <= 0:
            rate = float(brentq(excess, low, high, xtol=1e-16, rtol=8.9e-16))
            return CriticalLaw(rate, adam_lag_discrete(rate, b1, b2))
        low = high
    raise LagError(
        f"no decay rate below {end:.3g} satisfies the law for eta0={eta0}: b1={b1} > sqrt(b2={b2}), so the momentum "
        "falls behind before the second moment does"
    )


def _below(value: float, bound: float, what: str) -> None:
    if value >= bound:
        raise LagError(f"{value:.6g} must be below {bound:.6g} = {what}: else the moments remember the start for ever")
