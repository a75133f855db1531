"""Gronich & Vardi's proof, measured: steps become steepest, ‖θ‖ ≤ N, directions settle; its hypotheses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maxmargin.verify.claims.papers import GV
from maxmargin.verify.claims.record import Case, Control, Measured, at_least, at_most, closing, measured, register
from maxmargin.verify.results.outcome import Outcome

SOURCE = f"{GV.name}, definition 5.1 and theorem C.17: approximate steepest descent"
NETWORK = "binary@relu2:h=8"


def approximate(
    tier: str,
    seed: int,
    *,
    problem: str,
    optimizer: str,
    norm: str,
    eta: float,
    a: float = 0.8,
    kwargs: dict[str, Any] | None = None,
) -> dict[str, float]:
    """At the schedule η₀ t^(−a): 1 − r of late steps, ‖θ‖/N, and |κ − 1|, of the worst run that separates."""
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import nearest, trained
    from maxmargin.verify.evidence.kappa import block_kappas
    from maxmargin.verify.results.alignment import alignment

    own = get_norm(norm)
    _, path = trained(
        problem, optimizer, kwargs, steps=200_000, seed=seed, runs=2, scale=0.05, eta=eta, a=a, checkpoints=60
    )

    good = np.flatnonzero(path.separated).tolist()
    if not good:
        return {"runs that separate": 0.0}

    def lacks(t: int) -> float:
        each = [
            np.median([1 - alignment(own, path.at(s, i, "gradient"), path.at(s, i, "update")) for s in range(t - 4, t)])
            for i in good
        ]
        return float(max(each))

    kappas = block_kappas(path, own, np.array(good))
    late = len(path.steps) - 1
    return {
        "1 − r": lacks(late),
        "1 − r, at a hundredth": lacks(nearest(path, 2_000)),
        "‖θ‖/N": max(float(own.value(path.at(late, i))) / path.travelled[late, i] for i in good),
        "|κ − 1|": max((abs(k.value - 1) for k in kappas.values()), default=0.0),
        "runs that separate": float(len(good)),
    }


measured(
    id="gv-approximate-steepest",
    paper=GV.key,
    kind="bound",
    statement="At admissible learning rates steps become steepest descent, and their lengths add up.",
    formula="r(t) → 1,  limsup ‖θ‖/N ≤ 1,  κ → 1",
    source=SOURCE,
    optimizers=("momentum-gd", "signum", "muon", "adam", "muon-signum"),
    measure=approximate,
    cases=tuple(
        Case(f"{NETWORK}, {optimizer}", problem=NETWORK, optimizer=optimizer, norm=norm, eta=eta, kwargs=kwargs)
        for optimizer, norm, eta, kwargs in (
            ("signum", "linf", 0.1, {}),
            ("momentum-gd", "l2", 0.3, {}),
            ("muon", "spectral", 0.3, {}),
            ("adam", "linf", 0.1, {"beta1": 0.9, "beta2": 0.9}),
            ("muon-signum", "hybrid", 0.3, {}),
        )
    ),
    conditions=(at_most("1 − r", 5e-2, refuted=0.15), at_most("‖θ‖/N", 1.02), at_most("|κ − 1|", 5e-2, refuted=0.2)),
    control=Control("another norm's descent", norm="l2"),
    hypotheses=(at_least("runs that separate", 1.0),),
)


def settles(tier: str, seed: int, *, problem: str, optimizer: str, norm: str) -> dict[str, float]:
    """T2 and T1: path of θ/‖θ‖ in the last decade of steps, over that of the decade before; the margin there."""
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import flat, nearest, trained
    from maxmargin.verify.optimizers.core.base import Facts, get_optimizer
    from maxmargin.verify.optimizers.steepest import SteepestDescent

    @dataclass(frozen=True)
    class Turning(SteepestDescent):
        """ℓ∞ steps up to step 10⁵, ℓ1 steps from there on."""

        def facts(self) -> Facts:
            return Facts(norm=None, recursion="lmo of one norm, then of another", source="a control", pace_norm="l2")

        def direction(self, state: Any, gradient: Any, step: Any) -> Any:
            late = step > 100_000
            one, two = (get_norm(n).lmo(gradient.blocks) for n in ("linf", "l1"))
            return {k: one[k] * (~late) + two[k] * late for k in one}, state

    made = Turning(get_norm("l2")) if optimizer == "turning" else get_optimizer(optimizer, {})
    steps = 1_000_000
    data, path = trained(problem, made, steps=steps, seed=seed, scale=0.002, checkpoints=120)
    units = np.array([flat(path.at(t, 0)) for t in range(len(path.steps))])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    lengths = np.linalg.norm(np.diff(units, axis=0), axis=1)
    one, ten = nearest(path, steps / 100), nearest(path, steps / 10)
    own = get_norm(norm)
    sizes = [float(own.value(path.at(t, 0))) for t in (ten, -1)]
    return {
        "path in the last decade": float(lengths[ten:].sum()),
        "path, last decade over the one before": float(lengths[ten:].sum() / lengths[one:ten].sum()),
        "normalized margin": float(path.margin[-1, 0] / sizes[1] ** data.degree),
        "‖θ‖, end over a tenth": sizes[1] / sizes[0],
    }


T2 = Measured(
    id="gv-t2",
    paper=GV.key,
    kind="bound",
    statement="Directions settle at a positive margin, as the theorem on momentum assumes (T1, T2).",
    formula="∫ ‖d(θ/‖θ‖)‖ < ∞,  lim q(θ/‖θ‖) > 0",
    source=f"{GV.name}, assumptions T1 and T2, which are not proved there",
    optimizers=("momentum-gd", "signum"),
    measure=settles,
    cases=tuple(
        Case(f"{NETWORK}, {optimizer}", problem=NETWORK, optimizer=optimizer, norm=norm)
        for optimizer, norm in (("signum", "linf"), ("momentum-gd", "l2"))
    ),
    conditions=(
        at_most("path, last decade over the one before", 0.7, refuted=0.9),
        at_least("normalized margin", 1e-3),
        at_least("‖θ‖, end over a tenth", 1.2),
    ),
    control=Control("an optimizer that takes up another norm after a tenth of its steps", optimizer="turning"),
)
register(T2)
for _name, _norm, _expected, _because in (
    (
        "adam",
        "linf",
        Outcome.FAILS,
        "Nothing of the limit is seen in a million steps: the direction moves more in the last decade of steps than in "
        "the one before, while the gap closes. That does not refute a limit, but T2 is not met where it can be seen.",
    ),
    (
        "muon",
        "spectral",
        Outcome.INCONCLUSIVE,
        "Muon's KKT points are not isolated: the direction still drifts among them after a million steps, and its path "
        "falls by less than a third in a decade.",
    ),
):
    register(
        replace(
            T2,
            id=f"gv-t2-{_name}",
            statement=f"{_name.capitalize()}'s direction settles at a positive margin, as theory assumes (T1, T2).",
            optimizers=(_name,),
            cases=(Case(f"{NETWORK}, {_name}", problem=NETWORK, optimizer=_name, norm=_norm),),
            expected=_expected,
            because=_because,
        )
    )


def kinked(tier: str, seed: int, *, problem: str, optimizer: str, norm: str, wrong: str) -> dict[str, float]:
    """ReLU: Γ by torch's subgradients; T3: how far the gradient's direction moves in the last decade."""
    from maxmargin.verify.claims.measures import flat, gaps, nearest, trained

    steps = 100_000
    data, path = trained(problem, optimizer, steps=steps, seed=seed, scale=0.02, checkpoints=120)
    units = np.array([flat(path.at(t, 0, "gradient")) for t in range(len(path.steps))])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    late = range(nearest(path, steps / 10), len(path.steps))
    own, other = (float(gaps(data, path, n, [-1])[0, 0]) for n in (norm, wrong))
    return {
        "gap": own,
        "other gap over it": other / own,
        "T3: distance of late gradients from the last": float(max(np.linalg.norm(units[t] - units[-1]) for t in late)),
        "separated": float(path.separated.mean()),
    }


measured(
    id="gv-relu-extension",
    paper=GV.key,
    kind="limit direction",
    statement="On ReLU, which is not smooth, limits are KKT directions if normalized subgradients converge.",
    formula="T3 ⇒ Γ(θ_t) → 0 with subgradients",
    source=f"{GV.name}, section 4, whose own runs do not appear to satisfy T3",
    measure=kinked,
    cases=tuple(
        Case(f"binary@relu:h=8, {opt}", problem="binary@relu:h=8", optimizer=opt, norm=norm, wrong=wrong)
        for opt, norm, wrong in (("momentum-gd", "l2", "linf"), ("signum", "linf", "l2"), ("adam", "linf", "l2"))
    ),
    conditions=(at_most("gap", 5e-2, refuted=0.15), at_least("other gap over it", 3.0, refuted=1.2)),
    control=Control("another norm", norm="linf", wrong="l2"),
    hypotheses=(at_least("separated", 1.0), at_most("T3: distance of late gradients from the last", 0.1)),
)


def betas(tier: str, seed: int, *, beta1: float, beta2: float, pace: float) -> dict[str, float]:
    """ℓ∞ gap of Adam on a linear problem, the worst change of a margin in a step held at ``pace``, falling slowly."""
    from maxmargin.verify.claims.measures import gaps, nearest, trained
    from maxmargin.verify.engine.schedules import Paced

    data, path = trained(
        "multiclass@linear", "adam", {"beta1": beta1, "beta2": beta2}, steps=120_000, seed=seed,
        schedule=Paced(pace=pace, decay=0.5 if pace < 0.1 else 0.0),
    )  # fmt: skip
    early, end = gaps(data, path, "linf", [nearest(path, 12_000), -1])[:, 0]
    return {"gap": float(end), "gap, end over a tenth": float(end / early)}


measured(
    id="gv-betas-not-needed",
    paper=GV.key,
    kind="counterexample",
    statement="β₁ ≤ β₂ is not needed: with β₁ > β₂ Adam closes the ℓ∞ gap too.",
    formula="β₁ > β₂:  Γ_∞ → 0",
    source=f"{GV.name}, hypothesis of the theorem on Adam; that it is not necessary: own measurement",
    optimizers=("adam",),
    measure=betas,
    cases=(Case("multiclass, β = (.95, .9)", beta1=0.95, beta2=0.9, pace=0.05),),
    conditions=closing(1e-2, 0.6, stalled=0.9, others=False),
    control=Control("a pace that the moments cannot follow", pace=1.5),
)


def unreached(tier: str, seed: int, *, u: float) -> dict[str, float]:
    """Adam on F2, a coordinate of which starts at ``u``: the margin over the largest, that coordinate."""
    from maxmargin.solvers.kkt.bounds import upper_bound
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import filled, problems, trained

    problem = problems.get("F2")
    start = filled(problem, {"u1": [1.0, u], "u2": [1.0, u]})
    data, path = trained(problem, "adam", {"beta1": 0.9, "beta2": 0.9}, steps=40_000, seed=seed, start=start)
    linf = get_norm("linf")
    end = path.at(-1, 0)
    most = upper_bound(data, linf) or float("nan")
    return {
        "margin over the largest": float(path.margin[-1, 0] / float(linf.value(end)) ** 2 / most),
        "the coordinate, over the largest": float(abs(end["u1"][1]) / float(linf.value(end))),
    }


measured(
    id="gv-a1-needed",
    paper=GV.key,
    kind="counterexample",
    statement="Where A1 is violated, by a coordinate without gradient, Adam misses the ℓ∞ margin for ever.",
    formula="v₀[j] = 0 ⇒ θ[j] = 0 for all t",
    source=f"{GV.name}, hypothesis A1 of the theorem on Adam; the instance: fixture F2",
    optimizers=("adam",),
    measure=unreached,
    cases=(Case("F2, (1, 0)", u=0.0),),
    conditions=(at_most("margin over the largest", 0.5, refuted=0.6), at_most("the coordinate, over the largest", 0.0)),
    control=Control("a start at which A1 is met", u=1e-3),
)
