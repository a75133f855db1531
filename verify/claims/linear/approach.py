"""Which margin is approached, in numbers: the gap under a norm closes, those under others do not.

For rows that differ only in data: the norm, its exponent, the optimizer. Fan, Schmidt & Thrampoulidis's multiclass
results, aggregation across layers, accelerated steps, and greedy coordinate descent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import BOOST, CRAWSHAW, FST, GV
from maxmargin.verify.claims.record import UNTIL_DECIDED, Case, Control, at_least, at_most, closing, measured


def approaches(
    tier: str,
    seed: int,
    *,
    problem: str,
    optimizer: str,
    norm: str,
    others: Sequence[str],
    steps: int,
    eta: float | None = None,
    a: float = 0.0,
    runs: int = 1,
    scale: float = 0.01,
    kwargs: dict[str, Any] | None = None,
    loss: str = "cross-entropy",
) -> dict[str, float]:
    """Γ at the end, over what it was at a tenth, the least Γ of the others over it: the worst run that separates.

    The theorems are of runs whose limit has a positive margin: one whose neurons die is none of them.

    Returns:
        These, the exponent of Γ, and the numbers of runs that separate, and their share.
    """
    from maxmargin.verify.claims.measures import exponent, gaps, nearest, trained

    data, path = trained(
        problem, optimizer, kwargs, steps=steps, seed=seed, eta=eta, a=a, runs=runs, scale=scale, loss=loss
    )
    good = np.flatnonzero(path.separated)

    def measured_at(name: str, at: Sequence[int]) -> np.ndarray:
        return gaps(data, path, name, at)[:, good] if len(good) else np.full((len(at), 1), np.nan)

    at = [nearest(path, s) for s in np.geomspace(steps / 30, steps, 6)]
    own, early = measured_at(norm, at), measured_at(norm, [nearest(path, steps / 10)])[0]
    wrong = [measured_at(name, [-1])[0] for name in others if name != norm]
    return {
        "gap": float(own[-1].max()),
        "gap, end over a tenth": float((own[-1] / early).max()),
        "least other gap over it": float((np.min(wrong, axis=0) / own[-1]).min()) if wrong else float("nan"),
        "exponent": exponent(path.steps[at], own.max(axis=1)),
        "separated": float(path.separated.mean()),
        "runs that separate": float(len(good)),
    }


CLOSES = closing(1e-2, 0.6, stalled=0.9)
SEPARATED = (at_least("separated", 1.0),)
MULTICLASS = {"problem": "multiclass@linear", "others": ("l1", "l2", "linf", "spectral", "nuclear"), "steps": 60_000}
ENTRYWISE = {"1": "l1", "1.5": "entrywise:1.5", "2": "l2", "3": "entrywise:3", "4": "entrywise:4", "∞": "linf"}
SCHATTEN = {"1": "nuclear", "1.5": "schatten:1.5", "3": "schatten:3", "4": "schatten:4", "∞": "spectral"}
SOURCE = f"{FST.name}, theorems on NSD and NMD with entrywise and Schatten norms"

for _method, _optimizer in (("nsd", "steepest"), ("nmd", "momentum-steepest")):
    for _family, _norms in (("entrywise", ENTRYWISE), ("schatten", SCHATTEN)):
        measured(
            id=f"fan-{_method}-{_family}",
            paper=FST.key,
            kind="limit direction",
            statement=f"Normalized {_optimizer.removesuffix('-steepest')} descent maximizes the multiclass "
            f"margin of its own norm, {_family} p for every p.",
            formula="min_i mᵢ(W)/‖W‖_p → max",
            source=SOURCE,
            measure=approaches,
            cases=tuple(
                Case(f"multiclass, p = {p}", optimizer=_optimizer, norm=n, kwargs={"norm": n}, **MULTICLASS)
                for p, n in _norms.items()
            ),
            conditions=CLOSES,
            control=Control("the l2 margin of the same run", norm="l2"),
            hypotheses=SEPARATED,
        )

RATE = {"problem": "multiclass@linear", "others": (), "steps": 100_000, "a": 0.5}
measured(
    id="fan-rate",
    paper=FST.key,
    kind="rate",
    statement="At learning rates t^(−1/2) the margin gap of NSD and NMD falls like t^(−1/2), up to a logarithm.",
    formula="γ* − γ(t) = O(log t/√t)",
    source=f"{FST.name}, rates of NSD and NMD",
    optimizers=("steepest", "momentum-steepest", "muon", "signum"),
    measure=approaches,
    cases=tuple(
        Case(f"{name}, {norm}", optimizer=name, norm=norm, kwargs={"norm": norm}, eta=0.05, **RATE)
        for name in ("steepest", "momentum-steepest")
        for norm in ("l2", "linf", "spectral")
    ),
    conditions=(at_most("exponent", -0.35, refuted=-0.2),),
    control=Control("the gap of another norm", norm="linf"),
    hypotheses=SEPARATED,
)
measured(
    id="fan-rate-adam",
    paper=FST.key,
    kind="rate",
    statement="At learning rates t^(−1/2) Adam's ℓ∞ margin gap falls at least like t^(−1/3), up to a logarithm.",
    formula="γ* − γ(t) = O(log t/t^(1/3))",
    source=f"{FST.name}, rate of Adam without eps",
    measure=approaches,
    cases=(Case("multiclass, linf", optimizer="adam", norm="linf", eta=0.02, **RATE),),
    conditions=(at_most("exponent", -0.28, refuted=-0.15),),
    control=Control("the gap of another norm", norm="spectral"),
    hypotheses=SEPARATED,
)
measured(
    id="boost-coordinate-descent",
    paper=BOOST.key,
    kind="rate",
    statement="Greedy coordinate descent with shrinking steps maximizes the l1 margin, its gap like t^(−1/2).",
    formula="γ₁* − γ₁(t) = O(log t/√t)",
    source=f"{BOOST.name}, theorem on shrinkage",
    measure=approaches,
    cases=(Case("multiclass, l1", optimizer="coordinate-descent", norm="l1", eta=0.3, **RATE),),
    conditions=(at_most("gap", 1e-2, refuted=3e-2), at_most("exponent", -0.35, refuted=-0.2)),
    control=Control("the l2 margin of the same run", norm="l2"),
    hypotheses=SEPARATED,
)

JOINED = {"problem": "blocks@linear", "others": ("spectral", "spectral;l2", "spectral;sum", "l2;max", "l2")}
measured(
    id="crawshaw-aggregation",
    paper=CRAWSHAW.key,
    kind="limit direction",
    statement="How layers' steps are joined decides the margin problem: by maximum, by l2, or one layer at a time.",
    formula="‖W‖ = max_k, (Σ_k ·²)^(1/2), Σ_k of ‖W_k‖",
    source=f"{CRAWSHAW.name}, product norms; the margin problems: own derivation",
    measure=approaches,
    cases=(
        Case("max of spectral", optimizer="muon", norm="spectral", steps=60_000, **JOINED),
        Case("l2 of spectral", optimizer="muon-l2", norm="spectral;l2", steps=60_000, **JOINED),
        Case("sum of spectral", optimizer="muon-sum", norm="spectral;sum", steps=60_000, **JOINED),
        Case("max of l2", optimizer="layer-gd", norm="l2;max", steps=60_000, **JOINED),
    ),
    conditions=CLOSES,
    control=Control("the layers joined otherwise", norm="spectral;sum"),
    hypotheses=SEPARATED,
)
measured(
    id="gv-accelerated",
    paper=GV.key,
    kind="limit direction",
    statement="Nesterov's and heavy-ball momentum keep the norm: the limit is that of the plain average.",
    formula="lmo(βm + (1−β)g):  Γ → 0",
    source=f"{GV.name}, theorem on momentum steepest descent; Nesterov's form: own derivation",
    measure=approaches,
    cases=tuple(
        Case(
            f"{kind}, {norm}",
            optimizer="momentum-steepest",
            norm=norm,
            kwargs={"norm": norm, "kind": kind},
            **MULTICLASS,
        )
        for kind in ("nesterov", "heavy-ball")
        for norm in ("linf", "spectral")
    ),
    conditions=CLOSES,
    control=Control("another norm", norm="l2"),
    hypotheses=SEPARATED,
)
NETWORK_CLOSES = closing(5e-2, 0.7, stalled=0.95)
OTHERS = ("l2", "linf", "spectral")
NETWORK = {"runs": 2, "scale": 0.01, "steps": 60_000, "others": OTHERS}
SOME_SEPARATE = (at_least("runs that separate", 1.0),)
measured(
    id="gv-degrees",
    paper=GV.key,
    kind="limit direction",
    statement="Momentum steepest descent approaches KKT directions of its norm for networks of degree 2, 3 and 4.",
    formula="Γ(θ_t) → 0 for L = 2, 3, 4",
    source=f"{GV.name}, theorem on momentum steepest descent",
    optimizers=("momentum-gd", "signum", "muon"),
    measure=approaches,
    # The layers of a deep linear network are of rank one in the end, and then ℓ2 and spectral are one.
    cases=tuple(
        Case(f"{problem}, {opt}", problem=problem, optimizer=opt, norm=norm, **{**NETWORK, **others})
        for problem, others in (
            ("binary@relu2-fixed:h=8", {}),
            ("multiclass@relu2:h=8", {}),
            ("binary@deep-linear:depth=4,width=4", {"others": ("l2", "linf")}),
        )
        for opt, norm in (("signum", "linf"), ("momentum-gd", "l2"), ("muon", "spectral"))
    ),
    conditions=NETWORK_CLOSES,
    lengths=UNTIL_DECIDED,
    control=Control("another norm", norm="l2"),
    hypotheses=SOME_SEPARATE,
)

measured(
    id="gv-any-norm",
    paper=GV.key,
    kind="limit direction",
    statement="Momentum steepest descent under any norm approaches a KKT direction of that norm on a network.",
    formula="θ_t/‖θ_t‖ → KKT of min ½‖θ‖² s.t. mᵢ(θ) ≥ 1, any ‖·‖",
    source=f"{GV.name}, theorem on momentum steepest descent",
    measure=approaches,
    cases=tuple(
        Case(
            f"binary@relu2:h=8, {norm}",
            problem="binary@relu2:h=8",
            optimizer="momentum-steepest",
            norm=norm,
            kwargs={"norm": norm},
            **NETWORK,
        )
        for norm in ("entrywise:3", "schatten:4", "l1", "nuclear", "spectral;l2", "maxrow")
    ),
    conditions=NETWORK_CLOSES,
    lengths=UNTIL_DECIDED,
    control=Control("another norm", norm="linf"),
    hypotheses=SOME_SEPARATE,
)
measured(
    id="gv-rate-ratio",
    paper=GV.key,
    kind="limit direction",
    statement="Muon-Signum with two learning rates maximizes the hybrid margin whose weight is their ratio.",
    formula="max{(η_S/η_M)·‖W‖_msp, ‖u‖_∞}",
    source=f"{GV.name}, corollary on composites, rates in a ratio",
    measure=approaches,
    cases=tuple(
        Case(
            f"blocks, η_S/η_M = {ratio:g}",
            problem="blocks@linear",
            optimizer="muon-signum",
            norm=f"hybrid:{ratio!r}",
            kwargs={"ratio": ratio},
            others=("hybrid", f"hybrid:{1 / ratio!r}", "linf", "spectral"),
            steps=60_000,
        )
        for ratio in (3.0, 0.3)
    ),
    conditions=CLOSES,
    control=Control("the ratio taken the wrong way round", norm=f"hybrid:{1 / 3!r}"),
    hypotheses=SEPARATED,
)
