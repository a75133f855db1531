"""Vardi, Shamir & Srebro 2110.02732: trajectories reach KKT points that are no local optima of the margin.

The fixtures F1 to F5 of ``solvers/exact/lesser_points.py``, as trajectories: starts with exact zeros, which stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import VSS
from maxmargin.verify.claims.record import Case, Control, at_least, at_most, measured

RELU = {"W": [[0.0, 3.0], [0.0, -2.0]], "a": [3.0, 2.0]}


def reached(tier: str, seed: int, *, problem: str, start: dict[str, Any], steps: int = 100_000) -> dict[str, float]:
    """Γ and angle to the matched KKT point at the end of normalized descent; a witness nearby, its gain and entries."""
    from maxmargin.solvers.kkt.classify import classify
    from maxmargin.solvers.kkt.matching import match
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import cosine, filled, gaps, problems, trained

    given = problems.get(problem)
    data, path = trained(given, "ngd", steps=steps, seed=seed, start=filled(given, start))
    end, l2 = path.at(-1, 0), get_norm("l2")
    point = match(data, end, l2)
    found = classify(data, point.theta, np.asarray(point.multipliers), l2, seed=seed)
    gain = found.witness.gains[0] if found.witness is not None else 0.0
    return {
        "gap": float(gaps(data, path, "l2", [-1])[0, 0]),
        "residual of the matched point": float(point.residual),
        "1 − cos to the matched point": 1 - cosine(end, point.theta),
        "gain of a witness at 3 %": float(gain),
        "local maximum": float(found.kind in ("local maximum", "global")),
        "separated": float(path.separated.mean()),
        **(_direction(found.witness.displacement) if found.witness is not None else {}),
    }


def _direction(blocks: Any) -> dict[str, float]:
    """The entries of a witness's unit direction that are not nearly 0, by name."""
    size = np.sqrt(sum(float((b**2).sum()) for b in blocks.values()))
    entries = [
        (f"witness, {k}[{', '.join(map(str, i))}]", v / size) for k, b in blocks.items() for i, v in np.ndenumerate(b)
    ]
    return {name: float(value) for name, value in entries if abs(value) > 0.05}


measured(
    id="vss-not-local",
    paper=VSS.key,
    kind="counterexample",
    statement="Gradient descent may reach a KKT point of the ℓ2 margin problem that is not even a local optimum.",
    formula="∃ v: q(θ* + εv)/‖θ* + εv‖ᴸ > q(θ*)/‖θ*‖ᴸ for all small ε",
    source=f"{VSS.name}, theorems on depth-2 ReLU and diagonal networks; fixtures F1, F2, F4",
    optimizers=("ngd",),
    measure=reached,
    cases=(
        Case("F1: two-points@relu:h=2", problem="F1", start=RELU),
        Case("F2: diagonal, depth 2", problem="F2", start={"u1": [1.0, 0.0], "u2": [1.0, 0.0]}),
        Case("F4: diagonal, depth 3", problem="F4", start={"u1": [1.0, 1.0], "u2": [1.0, 1.0], "u3": [1.0, 1.0]}),
    ),
    conditions=(
        at_most("gap", 1e-3, refuted=1e-2),
        at_most("residual of the matched point", 1e-8, refuted=1e-3),
        at_most("1 − cos to the matched point", 1e-3, refuted=1e-2),
        at_least("gain of a witness at 3 %", 1e-7, refuted=1e-12),
    ),
    control=Control("squared ReLU, F1′, where the same point is a local optimum", problem="F1'"),
    hypotheses=(at_least("separated", 1.0),),
)
measured(
    id="vss-local-only",
    paper=VSS.key,
    kind="counterexample",
    statement="On other networks the point that is reached from the same zeros is a local optimum, and not global.",
    formula="q(θ*) = max near θ*, < max",
    source=f"{VSS.name}; fixtures F1′ and F3: own derivation",
    optimizers=("ngd",),
    measure=reached,
    cases=(
        Case("F1′: two-points@relu2:h=2", problem="F1'", start=RELU, steps=400_000),
        Case("F3: diagonal, depth 3", problem="F3", start={"u1": [1.0, 0.0], "u2": [1.0, 0.0], "u3": [1.0, 0.0]}),
    ),
    conditions=(
        at_most("gap", 1e-3, refuted=1e-2),
        at_most("residual of the matched point", 1e-8, refuted=1e-3),
        at_most("gain of a witness at 3 %", 0.0),
    ),
    control=Control("F1, ReLU", problem="F1"),
    hypotheses=(at_least("separated", 1.0),),
)


def share(tier: str, seed: int, *, problem: str, optimizer: str = "ngd", **kwargs: Any) -> dict[str, float]:
    """The margin that is reached over the largest one, by the linear predictor's optimum: the worst of three runs."""
    from maxmargin.solvers.kkt.bounds import upper_bound
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import trained

    l2 = get_norm("l2")
    data, path = trained(problem, optimizer, kwargs, steps=60_000, runs=3, seed=seed, scale=0.02)
    most = upper_bound(data, l2)
    got = [path.margin[-1, i] / float(l2.value(path.at(-1, i))) ** data.degree for i in range(path.runs)]
    return {
        "1 − margin over the largest": float(1 - min(got) / most) if most else float("nan"),
        "separated": float(path.separated.mean()),
    }


measured(
    id="vss-linear-global",
    paper=VSS.key,
    kind="limit direction",
    statement="Fully connected linear networks reach the global optimum: the ℓ2 margin of their linear predictor.",
    formula="q(θ)/‖θ‖ᴷ → γ₂(X)/K^(K/2)",
    source=f"{VSS.name}, theorem on fully connected linear networks; Ji & Telgarsky 1810.02032",
    optimizers=("ngd",),
    measure=share,
    cases=(
        Case("binary@deep-linear:depth=2", problem="binary@deep-linear:depth=2,width=4"),
        Case("binary@deep-linear:depth=3", problem="binary@deep-linear:depth=3,width=4"),
    ),
    conditions=(at_most("1 − margin over the largest", 1e-3, refuted=1e-2),),
    control=Control("signs of the gradient, which maximize another margin", optimizer="sign-gd"),
    hypotheses=(at_least("separated", 1.0),),
)
