"""Adam with eps > 0: an ℓ∞ phase, then an ℓ2 phase, and the step between them (solvers/schedules/crossover.py)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import exp, inf, log
from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import WANG
from maxmargin.verify.claims.record import Case, Control, at_least, at_most, measured

SOURCE = f"{WANG.name}, theorem on Adam with eps > 0; the step itself: own derivation"


@cache
def _data() -> Any:
    """Three samples: (1, 1, 1) has the largest ℓ∞ margin, 1.75; the ℓ2 optimum is 15 degrees away."""
    from maxmargin.models.families.linear import BlockLinear
    from maxmargin.models.problem import Problem

    X = np.array([[1.0, 0.5, 0.25], [0.4, 0.6, 1.2], [1.5, 0.2, 0.8]])
    return Problem.of("positive", BlockLinear((("w", (3,)),)), X, [1, 1, 1], classes=[-1, 1])


@cache
def _trained(b2: float, eps: float, eta: float, steps: int, until: float, growth: float) -> Any:
    """Adam at η, from step ``until`` on growing by e^growth a step: gradient descent's pace then does not die out."""
    import torch
    from torch import Tensor

    from maxmargin.verify.claims.measures import filled, trained
    from maxmargin.verify.engine.schedules import Schedule

    @dataclass(frozen=True)
    class Growing(Schedule):
        @property
        def needs_speed(self) -> bool:
            return False

        def rate(self, step: int, speed: Tensor, length: Tensor, growth_: Tensor | None = None) -> Tensor:
            return torch.full_like(speed, eta * exp(growth * max(0.0, step - until)))

    problem = _data()
    kwargs = {"beta1": 0.9, "beta2": b2, "eps": eps}
    plan = Growing() if growth else None
    return trained(
        problem, "adam", kwargs, steps=steps, eta=None if growth else eta, schedule=plan,
        start=filled(problem, {"w": 0.0}), checkpoints=240,
    )[1]  # fmt: skip


def _law(path: Any, b2: float, eps: float, eta: float) -> Any:
    """The crossover that is predicted from the gradient at step 8/(1−β₂), long before."""
    from maxmargin.solvers.schedules.crossover import crossover
    from maxmargin.verify.claims.measures import optimum

    k = int(np.searchsorted(path.steps, 8 / (1 - b2)))
    log_g = np.log(np.abs(path.gradient["w"][k, 0])) + path.log_scale[k, 0]
    return crossover(eta, eps, 0.9, b2, optimum(_data(), "linf").margin, log_g.tolist(), at=float(path.steps[k]))


def crossing(
    tier: str, seed: int, *, b2: float, eps: float, eta: float, steps: int, wrong: float = 1.0
) -> dict[str, float]:
    """The step at which |Δw|/η falls through half of κ, against the law with eps times ``wrong``."""
    path = _trained(b2, eps, eta, steps, inf, 0.0)
    law = _law(path, b2, eps * wrong, eta)
    ratio = np.log(np.abs(path.update["w"][:, 0]) / path.eta[:, :1]).mean(axis=1) - log(law.kappa / 2)
    k = int(np.flatnonzero(ratio >= 0)[-1])
    step = float(np.interp(0.0, [ratio[k + 1], ratio[k]], [path.steps[k + 1], path.steps[k]]))
    return {
        "error": abs(law.step / step - 1),
        "rate over the throttle": law.rate / law.throttle,
        "measured step": step,
        "predicted step": law.step,
    }


measured(
    id="wang-crossover",
    paper=WANG.key,
    kind="edge",
    statement="Adam with eps > 0 leaves its scale-free regime where √v falls to eps, at a predicted step.",
    formula="t× ≈ t₀ + ln(√v/eps)/r",
    source=SOURCE,
    optimizers=("adam",),
    measure=crossing,
    cases=(
        Case("β₂ = .99, eps = 1e-8", b2=0.99, eps=1e-8, eta=0.002, steps=10_000),
        Case("β₂ = .95, eps = 1e-6", b2=0.95, eps=1e-6, eta=0.01, steps=2_000),
        Case("β₂ = .95, eps = 1e-12", b2=0.95, eps=1e-12, eta=0.01, steps=3_000),
    ),
    conditions=(at_most("error", 0.02), at_most("rate over the throttle", 1.0)),
    control=Control("ten times the eps in the law", wrong=10.0),
)
measured(
    id="wang-throttle",
    paper=WANG.key,
    kind="bound",
    statement="At any learning rate the gradient decays no faster than Adam's second moment can follow.",
    formula="r < ½ ln(1/β₂)",
    source=SOURCE,
    optimizers=("adam",),
    measure=crossing,
    cases=(Case("β₂ = .99, η = .05", b2=0.99, eps=1e-8, eta=0.05, steps=5_000),),
    conditions=(
        at_most("error", 0.06),
        at_most("rate over the throttle", 1.0),
        at_least("rate over the throttle", 0.99),
    ),
    control=Control("a learning rate 25 times smaller, which the second moment follows", eta=0.002, steps=10_000),
)


def phases(tier: str, seed: int, *, eps: float = 1e-12) -> dict[str, float]:
    """Gaps under both norms at 0.7 of the predicted crossover and long after it, the pace kept up from there."""
    from maxmargin.verify.claims.measures import gaps

    b2, eta, foreseen = 0.95, 0.01, 1e-12
    step = _law(_trained(b2, foreseen, eta, 3_000, inf, 0.0), b2, foreseen, eta).step
    path = _trained(b2, eps, eta, 10_000, 1.3 * step, 0.04 if eps else 0.0)
    before, end = int(np.searchsorted(path.steps, 0.7 * step)), len(path.steps) - 1
    return {
        f"{norm} gap {when}": float(gaps(_data(), path, norm, [t])[0, 0])
        for norm in ("linf", "l2")
        for when, t in (("before", before), ("after", end))
    }


measured(
    id="wang-linf-then-l2",
    paper=WANG.key,
    kind="limit direction",
    statement="Adam with eps > 0 approaches the ℓ∞ margin before its crossover, and the ℓ2 margin after it.",
    formula="t ≪ t×: Γ_∞ → 0;  t ≫ t×: Γ_2 → 0",
    source=SOURCE,
    optimizers=("adam",),
    measure=phases,
    cases=(Case("β₂ = .95, eps = 1e-12"),),
    conditions=(
        at_most("linf gap before", 0.02, refuted=0.05),
        at_least("l2 gap before", 0.05),
        at_most("l2 gap after", 5e-3, refuted=0.05),
        at_least("linf gap after", 0.1),
    ),
    control=Control("eps = 0, with which nothing crosses", eps=0.0),
)


def deep_crossing(
    tier: str, seed: int, *, depth: int, eps: float, eta: float, steps: int, b2: float = 0.99
) -> dict[str, float]:
    """The same on f = Π u_k (L = ``depth``), whose gradient is θ^(L−1) e^(−θᴸ): θ grows by η a step until it is eps."""
    from maxmargin.models.families.diagonal import Diagonal
    from maxmargin.models.problem import Problem
    from maxmargin.verify.claims.measures import filled, trained

    theta = 0.3
    problem = Problem.of("product", Diagonal(1, depth), np.array([[1.0]]), [1], classes=[-1, 1])
    start = filled(problem, {f"u{k}": theta for k in range(1, depth + 1)})
    kwargs = {"beta1": 0.9, "beta2": b2, "eps": eps}
    _, path = trained(problem, "adam", kwargs, steps=steps, eta=eta, start=start, checkpoints=400)
    ratio = np.abs(path.update["u1"][:, 0, 0]) / eta
    k = int(np.flatnonzero(ratio >= 0.5)[-1])
    step = float(np.interp(0.5, [ratio[k + 1], ratio[k]], [path.steps[k + 1], path.steps[k]]))
    predicted = (log(1 / eps) ** (1 / depth) - theta) / eta
    return {
        "error": abs(predicted / step - 1),
        "rate over the throttle": depth * eta * log(1 / eps) ** (1 - 1 / depth) / (-log(b2) / 2),
        "measured step": step,
        "predicted step": predicted,
    }


measured(
    id="wang-crossover-deep",
    paper=WANG.key,
    kind="edge",
    statement="On models of degree L ≥ 2 too Adam leaves its scale-free regime where √v falls to eps, near a "
    "predicted step.",
    formula="t× ≈ (ln(√v₀/eps)/γ)^(1/L)/(κη)",
    source=SOURCE,
    optimizers=("adam",),
    measure=deep_crossing,
    cases=(
        Case("L = 2, eps = 1e-12", depth=2, eps=1e-12, eta=1e-4, steps=80_000),
        Case("L = 3, eps = 1e-12", depth=3, eps=1e-12, eta=3e-5, steps=160_000),
    ),
    # To first order: logarithms of θ^(L−1) and of the lag are left out, about two units of 28 in ln(1/eps).
    conditions=(at_most("error", 0.1, refuted=0.2),),
    control=Control("a rate that the second moment cannot follow", eta=1e-2, steps=20_000),
)
