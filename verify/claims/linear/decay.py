"""Decoupled weight decay: a limit of another kind, min loss s.t. ‖θ‖ ≤ 1/λ, with its own reference problem."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import DECAY
from maxmargin.verify.claims.record import Case, Control, at_most, measured, within


@cache
def least_log_loss(problem: str, norm: str, radius: float) -> float:
    """min log Σ e^(−mᵢ(W)) over ‖W‖ ≤ radius, W a matrix: a convex problem, for cvxpy."""
    import cvxpy as cp

    from maxmargin.models import problems

    data = problems.get(problem)
    (name, shape), *rest = data.shapes.items()
    assert not rest
    rows = data.jacobian({name: np.zeros(shape)})[name].reshape(data.n_margins, -1)
    W = cp.Variable(shape)
    sizes = {"linf": cp.max(cp.abs(W)), "spectral": cp.sigma_max(W), "l2": cp.norm(W, "fro")}
    loss = cp.log_sum_exp(-rows @ cp.reshape(W, (rows.shape[1],), order="C"))
    return float(cp.Problem(cp.Minimize(loss), [sizes[norm] <= radius]).solve(solver=cp.CLARABEL))


def constrained(
    tier: str, seed: int, *, problem: str, optimizer: str, norm: str, kwargs: dict[str, Any], radius: float = 3.0
) -> dict[str, float]:
    """The loss at the end over the least one in the ball of radius 1/λ; λ‖θ‖ there."""
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import trained

    made = {**kwargs, "decay": 1 / radius}
    data, path = trained(problem, optimizer, made, steps=60_000, seed=seed, eta=0.5, a=0.6)
    end = path.at(-1, 0)
    loss = float(np.logaddexp.reduce(-np.asarray(data.margins(end))))
    return {
        "loss over the least, less 1": float(np.expm1(loss - least_log_loss(problem, norm, radius))),
        "norm over the radius": float(get_norm(norm).value(end)) / radius,
    }


measured(
    id="decay-constrains",
    paper=DECAY.key,
    kind="limit direction",
    statement="With decoupled weight decay λ, AdamW, Signum and Muon minimize the loss over their norm's ball 1/λ.",
    formula="θ → argmin ℒ s.t. ‖θ‖ ≤ 1/λ",
    source=f"{DECAY.name}, theorems on AdamW and on Muon as Lion-K",
    measure=constrained,
    cases=tuple(
        Case(f"{name}, {norm}", problem="multiclass@linear", optimizer=optimizer, norm=norm, kwargs=kwargs)
        for name, optimizer, norm, kwargs in (
            ("AdamW", "adamw", "linf", {}),
            ("Signum", "decayed", "linf", {"optimizer": "signum"}),
            ("Muon", "decayed", "spectral", {"optimizer": "muon"}),
        )
    ),
    conditions=(at_most("loss over the least, less 1", 2e-2, refuted=0.1), within("norm over the radius", 0.98, 1.02)),
    control=Control("the ball of another norm", norm="spectral"),
)
