"""The synthetic setting of Fan, Schmidt & Thrampoulidis 2502.04664: which optimum the iterates correlate with."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import FST
from maxmargin.verify.claims.record import Case, Control, at_least, measured


@cache
def _data(classes: int, inputs: int, per: int, seed: int) -> Any:
    """Gaussian centres, samples within 0.1 of them, as in the authors' code."""
    from maxmargin.models.families.linear import MulticlassLinear
    from maxmargin.models.problem import Problem

    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), per)
    X = rng.standard_normal((classes, inputs))[y] + 0.1 * rng.standard_normal((len(y), inputs))
    return Problem.of(f"gaussians-{classes}-{inputs}-{per}-{seed}", MulticlassLinear(classes, inputs), X, y)


def correlated(
    tier: str, seed: int, *, optimizer: str, own: str, steps: int, eta: float, per: int, against: str | None = None
) -> dict[str, float]:
    """Cosine of W_t with the margins' optimum under its own norm, and its lead over the best of the other two."""
    from maxmargin.verify.claims.measures import cosine, optimum, trained

    data = _data(10, 25, per, seed)
    _, path = trained(data, optimizer, steps=steps, eta=eta, a=0.5, loss="cross-entropy", seed=seed)
    found = {name: cosine(path.at(-1, 0), optimum(data, name).theta) for name in ("linf", "l2", "spectral")}
    mine = found.pop(against or own)
    return {"correlation": mine, "lead over the others": mine - max(found.values())}


measured(
    id="fan-correlations",
    paper=FST.key,
    kind="limit direction",
    statement="Iterates of Signum, NMD and Muon correlate with V_∞, V_2 and V_spec respectively.",
    formula="⟨W_t, V⟩/(‖W_t‖‖V‖),  k = 10, d = 25, 50 samples a class",
    source=f"{FST.name}, synthetic experiment",
    measure=correlated,
    cases=tuple(
        Case(f"10 classes, {optimizer}", optimizer=optimizer, own=own, steps=30_000, eta=eta, per=50)
        for optimizer, own, eta in (("signum", "linf", 0.01), ("momentum-gd", "l2", 0.05), ("muon", "spectral", 0.1))
    ),
    conditions=(at_least("correlation", 0.9, refuted=0.7), at_least("lead over the others", 0.0, refuted=-0.02)),
    control=Control("the optimum of another norm", against="spectral"),
)
