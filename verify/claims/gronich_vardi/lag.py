"""Moments lag behind a gradient that decays; the step factor κ says by how much, up to the schedule's edge.

Fixtures G7 and G8: what is measured in the engine is held against ``solvers/schedules/lag.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import GV
from maxmargin.verify.claims.record import Case, Control, at_least, at_most, measured, within

SOURCE = f"{GV.name}, corollary B.8 and the schedule's condition η = o(t^(1/L−1))"


def _point() -> Any:
    """One sample: g = −e^(−margin) x, so at a constant step it decays like e^(−rt) exactly; ℓ∞ margin 0.875."""
    from maxmargin.models.families.linear import BlockLinear
    from maxmargin.models.problem import Problem

    return Problem.of("point", BlockLinear((("w", (3,)),)), np.array([[0.5, -0.25, 0.125]]), [1], classes=[-1, 1])


def lagging(
    tier: str, seed: int, *, optimizer: str, b1: float, b2: float, eta: float, steps: int, off: float = 0.0
) -> dict[str, float]:
    """The step over η, and the gradient's decay, against the lag's formula with β₁ wrong by ``off``."""
    from maxmargin.solvers.schedules.lag import adam_lag_discrete
    from maxmargin.verify.claims.measures import filled, trained

    problem = _point()
    kwargs = {"beta1": b1, "beta2": b2} if optimizer == "adam" else {"beta": b1}
    _, path = trained(
        problem, optimizer, kwargs, steps=steps, eta=eta, start=filled(problem, {"w": 0.0}), checkpoints=64
    )
    log_g = np.log(np.abs(path.gradient["w"][-2:, 0, 0])) + path.log_scale[-2:, 0]
    rate = -float(np.diff(log_g)[0]) / float(np.diff(path.steps[-2:])[0])
    kappa = np.abs(path.update["w"][-1, 0]) / eta
    said = adam_lag_discrete(rate, b1 + off, b2) if optimizer == "adam" else 1.0 + off
    return {
        "error of κ": float(np.abs(kappa / said - 1).max()),
        "error of the rate": abs(rate / (0.875 * eta * float(kappa[0])) - 1),
        "κ": float(kappa[0]),
        "rate": rate,
    }


measured(
    id="gv-lag-adam",
    paper=GV.key,
    kind="identity",
    statement="On a gradient that decays like e^(−rt), Adam's step is κ times the sign, κ a function of r, β₁, β₂.",
    formula="κ = (1−β₁)/(1−β₁eʳ) · √((1−β₂e²ʳ)/(1−β₂))",
    source=SOURCE,
    measure=lagging,
    cases=(
        Case("β = (.9, .99)", optimizer="adam", b1=0.9, b2=0.99, eta=3e-3, steps=4000),
        Case("β = (.9, .95)", optimizer="adam", b1=0.9, b2=0.95, eta=0.05, steps=2000),
        Case("β = (.5, .9)", optimizer="adam", b1=0.5, b2=0.9, eta=0.05, steps=1000),
    ),
    conditions=(at_most("error of κ", 1e-5, refuted=1e-2), at_most("error of the rate", 1e-6, refuted=1e-3)),
    control=Control("β₁ smaller by 0.1 in the formula", off=-0.1),
)
measured(
    id="gv-lag-signum",
    paper=GV.key,
    kind="identity",
    statement="Signum's steps do not lag, however far its momentum does: κ = 1.",
    formula="κ = 1",
    source=SOURCE,
    measure=lagging,
    cases=(
        Case("β = .9", optimizer="signum", b1=0.9, b2=0.0, eta=0.1, steps=1000),
        Case("β = .5", optimizer="signum", b1=0.5, b2=0.0, eta=0.3, steps=1000),
    ),
    conditions=(within("κ", 1 - 1e-9, 1 + 1e-9), at_most("error of the rate", 1e-6, refuted=1e-3)),
    control=Control("Adam, whose second moment lags", optimizer="adam", b2=0.95),
)


def beside(tier: str, seed: int, *, a: float, eta: float = 0.05, assumed: float = 0.99) -> dict[str, float]:
    """f = a·w (L = 2), Adam at η₀ t^(−a): decay rate and κ, and the edge's law for β₂ = ``assumed``."""
    from maxmargin.models.families.diagonal import Diagonal
    from maxmargin.models.problem import Problem
    from maxmargin.solvers.schedules.lag import adam_lag_discrete, critical_law
    from maxmargin.verify.claims.measures import filled, trained

    b1, b2 = 0.9, 0.99
    problem = Problem.of("a*w", Diagonal(1, 2), np.array([[1.0]]), [1], classes=[-1, 1])
    _, path = trained(
        problem, "adam", {"beta1": b1, "beta2": b2}, steps=48_000, eta=eta, a=a,
        start=filled(problem, {"u1": 0.3, "u2": 0.3}), checkpoints=200,
    )  # fmt: skip
    log_g = np.log(np.abs(path.gradient["u1"][:, 0, 0])) + path.log_scale[:, 0]
    times = np.array([2_900.0, 11_600.0, 46_400.0])
    rates = np.interp(times, (path.steps[1:] + path.steps[:-1]) / 2, -np.diff(log_g) / np.diff(path.steps))
    kappas = np.interp(times, path.steps, np.abs(path.update["u1"][:, 0, 0]) / path.eta[:, 0])
    law = critical_law(eta, b1, assumed, degree=2)
    (k1, k2), (r1, r2) = np.diff(kappas), np.diff(rates)
    return {  # Aitken's limit of a series at t, 4t, 16t, exact for an error that is one power of t
        "error of the limit of κ": abs((kappas[2] - k2**2 / (k2 - k1)) / law.kappa - 1),
        "error of the limit of the rate": abs((rates[2] - r2**2 / (r2 - r1)) / law.rate - 1),
        "error of κ by the lag's formula": abs(kappas[2] / adam_lag_discrete(float(rates[2]), b1, b2) - 1),
        "κ": float(kappas[2]),
        "1 − κ": float(1 - kappas[2]),
        "1 − κ, end over a quarter": float((1 - kappas[2]) / (1 - kappas[1])),
        "rate over what v can follow": float(rates[2] / (-np.log(b2) / 2)),
    }


measured(
    id="gv-edge-law",
    paper=GV.key,
    kind="edge",
    statement="At the edge of the schedule's condition, a = 1 − 1/L, the lag settles at a fixed point.",
    formula="a = 1 − 1/L:  r = γ(κη₀L)ᴸ,  κ = κ(r)",
    source=f"{SOURCE}; the law itself: own derivation",
    optimizers=("adam",),
    measure=beside,
    cases=(Case("η₀ = .05", a=0.5), Case("η₀ = .2", a=0.5, eta=0.2)),
    conditions=(
        at_most("error of the limit of κ", 5e-3, refuted=1e-2),
        at_most("error of the limit of the rate", 5e-3, refuted=1e-2),
    ),
    control=Control("β₂ = 0.988 in the law", assumed=0.988),
)
measured(
    id="gv-edge-inside",
    paper=GV.key,
    kind="edge",
    statement="Inside the schedule's condition, a > 1 − 1/L, the lag vanishes.",
    formula="a > 1 − 1/L  ⇒  κ → 1",
    source=SOURCE,
    optimizers=("adam",),
    measure=beside,
    cases=(Case("a = .6", a=0.6), Case("a = .8", a=0.8)),
    conditions=(
        at_most("1 − κ", 0.12, refuted=0.3),
        at_most("1 − κ, end over a quarter", 0.9, refuted=1.0),
        at_most("error of κ by the lag's formula", 1e-2),
    ),
    control=Control("outside the condition, a = 0.45", a=0.45),
)
measured(
    id="gv-edge-outside",
    paper=GV.key,
    kind="edge",
    statement="Outside the schedule's condition, a < 1 − 1/L, Adam's step over its rate shrinks without end.",
    formula="a < 1 − 1/L  ⇒  κ falls, r → −½ log β₂",
    source=SOURCE,
    optimizers=("adam",),
    measure=beside,
    cases=(Case("a = .45", a=0.45), Case("a = .4", a=0.4)),
    conditions=(
        at_least("1 − κ, end over a quarter", 1.02, refuted=1.0),
        at_most("κ", 0.4, refuted=0.8),
        at_most("rate over what v can follow", 1.0),
        at_most("error of κ by the lag's formula", 1e-2),
    ),
    control=Control("inside the condition, a = 0.6", a=0.6),
)
