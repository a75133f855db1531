"""Muon-Adam: a lagging Adam steps by κ < 1, a weight of the hybrid norm; as κ → 1 the nominal one remains."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import GV
from maxmargin.verify.claims.record import Case, Control, at_least, at_most, closing, measured

SOURCE = f"{GV.name}, theorem on Muon-Adam with rates η_A/η_M"


@cache
def _trained(growth: float, a: float, ratio: float) -> Any:
    """``growth`` of the smallest margin in a step, about, at first."""
    from maxmargin.verify.claims.measures import optimum, problems, trained

    eta = growth / (ratio * optimum(problems.get("blocks"), f"hybrid:{ratio!r}").margin)
    kwargs = {"beta1": 0.9, "beta2": 0.95, "ratio": ratio}
    return trained("blocks", "muon-adam", kwargs, steps=10_000, eta=eta, a=a, seed=0, loss="cross-entropy")


def weighted(
    tier: str, seed: int, *, growth: float, a: float = 0.0, ratio: float = 1.0, weight: str = "measured"
) -> dict[str, float]:
    """Gaps under max(w ‖W‖, ‖u‖_∞), w the measured κ · ratio, the nominal ratio, or the measured one inverted."""
    from maxmargin.solvers.schedules.lag import adam_lag_discrete
    from maxmargin.verify.claims.measures import gaps, nearest

    problem, path = _trained(growth, a, ratio)
    each = np.abs(path.update["vector"][:, 0]) / (path.eta[:, :1] * ratio)
    kappa = float(np.median(each[-1]))
    log_g = np.log(np.abs(path.gradient["square"][-2:, 0]).max(axis=(-2, -1))) + path.log_scale[-2:, 0]
    rate = -float(np.diff(log_g)[0] / np.diff(path.steps[-2:])[0])
    used = {"measured": kappa * ratio, "nominal": ratio, "inverted": 1 / (kappa * ratio)}
    at = [nearest(path, path.steps[-1] / 10), -1]
    own, nominal = (gaps(problem, path, f"hybrid:{used[w]!r}", at)[:, 0] for w in (weight, "nominal"))
    return {
        "gap": float(own[1]),
        "gap, end over a tenth": float(own[1] / own[0]),
        "nominal gap over it": float(nominal[1] / own[1]),
        "error of κ": float(np.abs(each[-1] / adam_lag_discrete(rate, 0.9, 0.95) - 1).max()),
        "κ": kappa,
    }


measured(
    id="gv-muon-adam-weight",
    paper=GV.key,
    kind="limit direction",
    statement="At a constant pace Muon-Adam maximizes the hybrid margin whose weight is Adam's measured lag.",
    formula="max{κ·(η_A/η_M)·‖W‖_msp, ‖u‖_∞}",
    source=f"{SOURCE}; the weight κ: own derivation",
    optimizers=("muon-adam",),
    measure=weighted,
    cases=(
        Case("blocks, pace .02", growth=0.02),
        Case("blocks, pace .01", growth=0.01),
        Case("blocks, rates 2 to 1", growth=0.02, ratio=2.0),
    ),
    conditions=(
        *closing(1e-2, 0.2, stalled=0.6, others=False),
        at_least("nominal gap over it", 3.0, refuted=1.2),
        at_most("error of κ", 1e-3),
    ),
    control=Control("the nominal weight, without the lag", weight="nominal"),
)
measured(
    id="gv-muon-adam-falling",
    paper=GV.key,
    kind="limit direction",
    statement="Where the learning rate falls, Adam's lag vanishes and the nominal hybrid gap closes.",
    formula="κ → 1 ⇒ Γ under max{(η_A/η_M)·‖W‖_msp, ‖u‖_∞} → 0",
    source=SOURCE,
    optimizers=("muon-adam",),
    measure=weighted,
    cases=(Case("blocks, t^(−.4)", growth=0.15, a=0.4, weight="nominal"),),
    conditions=(at_least("κ", 0.95, refuted=0.9), at_most("gap, end over a tenth", 0.5, refuted=0.8)),
    control=Control("a constant learning rate, at which the gap stalls", growth=0.02, a=0.0),
)
