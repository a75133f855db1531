"""Discrete optimizers and the steepest-descent flow: tracking, and where the flow goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import GV, TG
from maxmargin.verify.claims.record import Case, Control, at_most, closing, measured, within


def tracking(
    tier: str, seed: int, *, problem: str, optimizer: str, norm: str, travelled: float = 4.0, **kwargs: Any
) -> dict[str, float]:
    """ℓ2 distance of directions at N = ``travelled`` between runs with three learning rates and the flow."""
    from maxmargin.verify.claims.measures import exponent, flat, problems, starts, trained
    from maxmargin.verify.engine.flow import flow

    data = problems.get(problem)
    start = starts(data, 1, seed=seed + 1, scale=0.3)
    end = flow(data, norm, {k: b[0].numpy() for k, b in start.items()}, np.array([travelled])).at(0)
    etas, apart = (0.1, 0.05, 0.025), []
    for eta in etas:
        steps = round(travelled / eta)
        _, path = trained(data, optimizer, kwargs, steps=steps, eta=eta, start=start, checkpoints=2, native=False)
        a, b = flat(path.at(-1, 0)), flat(end)
        apart.append(float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))))
    return {"distance": apart[-1], "order": exponent(etas, apart)}


measured(
    id="gv-flow-tracked",
    paper=GV.key,
    kind="rate",
    statement="Momentum steepest descent follows the steepest-descent flow to first order in the learning rate.",
    formula="‖θ_η(N)/‖θ_η(N)‖ − θ(N)/‖θ(N)‖‖ = O(η)",
    source=f"{GV.name}, the flow as limit of the discrete optimizer",
    optimizers=("ngd", "momentum-gd", "spectral-gd", "steepest"),
    measure=tracking,
    cases=(
        Case("binary@linear", problem="binary@linear", optimizer="ngd", norm="l2"),
        Case("binary@linear, momentum", problem="binary@linear", optimizer="momentum-gd", norm="l2", beta=0.5),
        Case("multiclass@linear", problem="multiclass@linear", optimizer="spectral-gd", norm="spectral"),
        Case("binary@relu2:h=4", problem="binary@relu2:h=4", optimizer="ngd", norm="l2"),
    ),
    conditions=(within("order", 0.8, 1.3), at_most("distance", 0.02)),
    control=Control("the flow of another norm", norm="linf"),
)


def limit(
    tier: str, seed: int, *, problem: str, norm: str, of: str | None = None, method: Any = "implicit", until: float
) -> dict[str, float]:
    """Γ under ``norm`` along the flow of ``of`` (the same by default) at N = until/30, until/6 and until."""
    from maxmargin.solvers.kkt.gap import GapEvaluator
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import problems, starts
    from maxmargin.verify.engine.flow import flow

    data = problems.get(problem)
    start = {k: b[0].numpy() for k, b in starts(data, 1, seed=seed + 1, scale=0.05).items()}
    path = flow(data, of or norm, start, until / np.array([30.0, 6.0, 1.0]), method=method)
    gap = GapEvaluator(data, get_norm(norm))
    early, middle, end = (float(gap(path.at(t)).value) for t in range(3))
    return {"gap": end, "gap, end over a 30th": end / early, "gap, end over a sixth": end / middle}


measured(
    id="tg-flow-kkt",
    paper=TG.key,
    kind="limit direction",
    statement="The flow of steepest descent itself approaches a KKT direction of its norm.",
    formula="dθ/dN ∈ lmo(∇ℒ):  Γ(θ(N)) → 0",
    source=f"{TG.name}, theorem on limit points of the flow",
    optimizers=("steepest",),
    measure=limit,
    cases=(
        Case("binary@linear, l2", problem="binary@linear", norm="l2", method="ivp", until=300.0),
        Case("binary@linear, linf", problem="binary@linear", norm="linf", until=300.0),
        Case("multiclass@linear, spectral", problem="multiclass@linear", norm="spectral", until=60.0),
        Case("binary@relu2:h=4, l2", problem="binary@relu2:h=4", norm="l2", method="ivp", until=20.0),
    ),
    conditions=(
        *closing(1e-2, 0.2, stalled=0.9, since="a 30th", others=False),
        at_most("gap, end over a sixth", 1.0),
    ),
    control=Control("the gap of another norm", norm="linf", of="l2"),
)
