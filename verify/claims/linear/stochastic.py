"""Stochastic gradients change an optimizer's norm: Baek, Song & Yun 2510.26303 on scaled Rademacher data.

All entries of one sample's gradient have one size there, so batch-1 Adam divides by a scalar, and is gradient descent:
ℓ2. The full batch's gradient has entries of different sizes: ℓ∞. Signum averages gradients before it takes signs: ℓ∞
at any batch size, if it remembers many epochs.
"""

from __future__ import annotations

from typing import Any

from maxmargin.verify.claims.papers import BAEK
from maxmargin.verify.claims.record import Case, Control, at_least, at_most, measured


def batched(
    tier: str,
    seed: int,
    *,
    optimizer: str,
    norm: str,
    other: str,
    batch: int | None,
    order: str = "shuffled",
    **kwargs: Any,
) -> dict[str, float]:
    """Worst gap of two runs under ``norm`` after 500, 2,000 and 8,000 steps; the best under the other norm."""
    from maxmargin.verify.claims.measures import gaps, nearest, trained

    options: dict[str, Any] = {} if batch is None else {"batch_size": batch, "order": order}
    problem, path = trained(
        "rademacher@linear", optimizer, kwargs, steps=8_000, runs=2, seed=seed + 1, loss="cross-entropy", **options
    )
    early, middle, end = gaps(problem, path, norm, [nearest(path, s) for s in (500, 2_000, 8_000)]).max(axis=1)
    return {
        "gap": float(end),
        "gap, end over 500 steps": float(end / early),
        "gap, end over 2000 steps": float(end / middle),
        "other gap": float(gaps(problem, path, other, [-1]).min()),
    }


CONDITIONS = (
    at_most("gap", 3e-2, refuted=0.2),
    at_most("gap, end over 500 steps", 0.25, refuted=0.9),
    at_most("gap, end over 2000 steps", 0.75, refuted=0.95),
    at_least("other gap", 0.2),
)
ADAM = {"optimizer": "adam", "beta1": 0.9, "beta2": 0.95}

measured(
    id="baek-adam-one-sample",
    paper=BAEK.key,
    kind="limit direction",
    statement="Adam on one sample at a time approaches the ℓ2 margin on scaled Rademacher data.",
    formula="batch 1:  Γ_2 → 0",
    source=f"{BAEK.name}, theorem on scaled Rademacher data",
    measure=batched,
    cases=tuple(
        Case(f"rademacher, {order}", norm="l2", other="linf", batch=1, order=order, **ADAM)
        for order in ("shuffled", "cyclic")
    ),
    conditions=CONDITIONS,
    control=Control("the whole batch", batch=None),
)
measured(
    id="baek-adam-full-batch",
    paper=BAEK.key,
    kind="limit direction",
    statement="Adam on the whole batch approaches the ℓ∞ margin on the same data.",
    formula="full batch:  Γ_∞ → 0",
    source=f"{BAEK.name}; Zhang, Zou & Cao 2406.10650",
    measure=batched,
    cases=(Case("rademacher, full batch", norm="linf", other="l2", batch=None, **ADAM),),
    conditions=CONDITIONS,
    control=Control("one sample at a time", batch=1),
)
measured(
    id="baek-signum-memory",
    paper=BAEK.key,
    kind="limit direction",
    statement="Signum that remembers many epochs approaches the ℓ∞ margin on one sample at a time too.",
    formula="batch 1, β → 1:  Γ_∞ → 0",
    source=f"{BAEK.name}, theorem on Signum",
    measure=batched,
    cases=(Case("rademacher, β = .99", optimizer="signum", beta=0.99, norm="linf", other="l2", batch=1),),
    conditions=CONDITIONS,
    control=Control("no memory: signs of single samples", beta=0.0),
)
