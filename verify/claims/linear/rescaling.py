"""How fast: progressive rescaling is exponential, plain gradient descent logarithmic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import OWN, PRGD
from maxmargin.verify.claims.record import Case, Control, at_most, measured, within


def halves(
    tier: str, seed: int, *, problem: str, optimizer: str, eta: float, steps: int, **kwargs: Any
) -> dict[str, float]:
    """ℓ2 gap at half the steps and at the end."""
    from maxmargin.verify.claims.measures import gaps, nearest, trained

    data, path = trained(problem, optimizer, kwargs, steps=steps, seed=seed, eta=eta, checkpoints=80)
    half, end = gaps(data, path, "l2", [nearest(path, steps / 2), -1])[:, 0]
    return {"gap": float(end), "gap, end over half": float(end / half), "gap at half": float(half)}


measured(
    id="prgd-exponential",
    paper=PRGD.key,
    kind="rate",
    statement="Progressive norm rescaling closes the ℓ2 margin gap exponentially fast on linear models.",
    formula="γ₂* − γ₂(t) = O(e^(−ct))",
    source=f"{PRGD.name}, theorem on PRGD",
    measure=halves,
    cases=(
        Case(
            "multiclass@linear",
            problem="multiclass@linear",
            optimizer="prgd",
            eta=0.3,
            steps=3200,
            growth=1.5,
            power=0.0,
        ),
    ),
    conditions=(at_most("gap", 1e-4, refuted=1e-3), at_most("gap, end over half", 2e-2, refuted=0.2)),
    control=Control("a radius that does not grow geometrically", growth=1.0, power=1.0),
)


def logarithmic(tier: str, seed: int, *, problem: str, eta: float, normalized: bool = False) -> dict[str, float]:
    """ℓ2 gap times log t of plain, unnormalized gradient descent at 3,000 steps and at the end."""
    import torch

    from maxmargin.verify.claims.measures import gaps, nearest, trained
    from maxmargin.verify.optimizers.core.base import Facts
    from maxmargin.verify.optimizers.steepest import SteepestDescent

    @dataclass(frozen=True)
    class GradientDescent(SteepestDescent):
        """θ ← θ − η g."""

        def facts(self) -> Facts:
            return Facts(norm="l2", recursion="θ ← θ − η g", source="Soudry et al. 1710.10345")

        def direction(self, state: Any, gradient: Any, step: Any) -> Any:
            return {k: -b * torch.exp(gradient.log_scale) for k, b in gradient.blocks.items()}, state

    from maxmargin.solvers.norms import get_norm

    made = "ngd" if normalized else GradientDescent(get_norm("l2"))
    data, path = trained(problem, made, steps=1_000_000, seed=seed, eta=eta)
    early = nearest(path, 3_000)
    first, last = gaps(data, path, "l2", [early, -1])[:, 0]
    ratio = last * np.log(path.steps[-1]) / (first * np.log(path.steps[early]))
    return {"gap × log t, end over 3,000 steps": float(ratio), "gap": float(last)}


measured(
    id="own-gd-logarithmic",
    paper=OWN.key,
    kind="rate",
    statement="Gradient descent that is not normalized approaches the same ℓ2 margin, only like 1/log t.",
    formula="γ₂* − γ₂(t) = Θ(1/log t)",
    source="Soudry et al. 1710.10345, theorem 3",
    optimizers=("ngd",),
    measure=logarithmic,
    cases=(Case("multiclass@linear", problem="multiclass@linear", eta=0.05),),
    conditions=(within("gap × log t, end over 3,000 steps", 0.6, 1.5),),
    control=Control("normalized steps", normalized=True),
)
