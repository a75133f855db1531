"""Optimizers that are one another's special cases, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import BN, CRAWSHAW, GV
from maxmargin.verify.claims.record import Case, Control, Paper, at_most, measured


def same(
    tier: str,
    seed: int,
    *,
    problem: str,
    a: str,
    b: str,
    a_kwargs: dict[str, Any] | None = None,
    b_kwargs: dict[str, Any] | None = None,
    steps: int = 400,
) -> dict[str, float]:
    """Largest relative distance of two optimizers' weights from one start."""
    from maxmargin.verify.claims.measures import flat, trained

    _, one = trained(problem, a, a_kwargs, steps=steps, seed=seed, scale=0.3, eta=0.01, checkpoints=12)
    _, two = trained(problem, b, b_kwargs, steps=steps, seed=seed, scale=0.3, eta=0.01, checkpoints=12)
    apart = [
        np.linalg.norm(flat(one.at(t, 0)) - flat(two.at(t, 0))) / np.linalg.norm(flat(two.at(t, 0)))
        for t in range(len(one.steps))
    ]
    return {"distance": float(max(apart))}


ROWS: dict[str, tuple[Paper, str, str, dict[str, int], dict[str, Any], Control]] = {
    "bn-adam-sign": (
        BN,
        "Adam without averages is the sign of the gradient.",
        "β₁ = β₂ = 0:  m/√v = sign(g)",
        # On the network a gradient vanishes to rounding after some 200 steps: its sign is then chance.
        {"multiclass@linear": 400, "binary@relu2:h=8": 160},
        {"a": "adam", "a_kwargs": {"beta1": 0.0, "beta2": 0.0}, "b": "sign-gd"},
        Control("Adam with averages", a_kwargs={"beta1": 0.5, "beta2": 0.5}),
    ),
    "bn-shampoo-polar": (
        BN,
        "Shampoo without averages is the polar factor of the gradient.",
        "(GGᵀ)^(−1/4) G (GᵀG)^(−1/4) = UVᵀ",
        {"multiclass@linear": 400, "matrices@linear": 400},
        {"a": "shampoo", "a_kwargs": {"beta": 0.0}, "b": "spectral-gd"},
        Control("Shampoo with averages", a_kwargs={"beta": 0.5}),
    ),
    "crawshaw-muonmax": (
        CRAWSHAW,
        "MuonMax on matrices alone is Muon: its norm is the largest spectral norm.",
        "no vectors:  √((max‖W_k‖)² + 0²) = max‖W_k‖",
        {"matrices@linear": 400, "multiclass@deep-linear:depth=2,width=4": 400},
        {"a": "muon-max", "b": "muon"},
        Control("a model with a vector", problem="blocks@linear"),
    ),
    "gv-heavy-ball": (
        GV,
        "Heavy-ball momentum and the average of gradients take the same normalized steps.",
        "lmo(Σ βᵏ g) = lmo((1−β) Σ βᵏ g)",
        {"multiclass@linear": 400, "binary@relu2:h=8": 400},
        {"a": "signum", "a_kwargs": {"kind": "heavy-ball"}, "b": "signum"},
        Control("Nesterov's momentum", a_kwargs={"kind": "nesterov"}),
    ),
}

for _id, (_paper, _statement, _formula, _problems, _params, _control) in ROWS.items():
    measured(
        id=_id,
        paper=_paper.key,
        kind="identity",
        statement=_statement,
        formula=_formula,
        source=_paper.name,
        optimizers=tuple(dict.fromkeys((str(_params["a"]), str(_params["b"])))),
        measure=same,
        cases=tuple(Case(p, problem=p, steps=steps, **_params) for p, steps in _problems.items()),
        conditions=(at_most("distance", 1e-9, refuted=1e-4),),
        control=_control,
    )
