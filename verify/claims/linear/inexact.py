"""An inexact lmo: the limit's KKT gap is at most what the steps' alignment lacks (own derivation).

dq̃/dN = r ‖Σ λ_i g_i‖_* ≥ (1 − δ) ρ^(L−1) (h − o(1)) and q̃ = γ̄ρᴸ(1 + o(1)) give ρ ≥ cN with c = (1 − δ)h/(Lγ̄); but
ρ ≤ ‖θ₀‖ + N, so c ≤ 1, which says Γ = 1 − Lγ̄/h ≤ δ.
"""

from __future__ import annotations

from typing import Any

from maxmargin.verify.claims.papers import OWN
from maxmargin.verify.claims.record import Case, Control, at_least, at_most, measured

COEFFICIENTS = {"Jordan's": (3.4445, -4.7750, 2.0315), "cubic": (1.5, -0.5, 0.0), "quintic": (1.875, -1.25, 0.375)}


def inexact(
    tier: str, seed: int, *, a: float, b: float, c: float, problem: str, share: float = 1.0
) -> dict[str, float]:
    """The largest Γ − ``share`` · (1 − r), r the least late alignment, over 1 to 12 Newton–Schulz steps."""
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.claims.measures import gaps, trained
    from maxmargin.verify.results.alignment import alignment

    spectral = get_norm("spectral")
    excess, tightest = [], []
    for count in (1, 2, 3, 5, 12):
        kwargs = {"beta": 0.0, "nesterov": False, "steps": count, "a": a, "b": b, "c": c}
        data, path = trained(
            problem, "muon-ns", {**kwargs, "dtype": "float64", "factor": "none"}, steps=30_000, seed=seed
        )
        late = range(len(path.steps) - 8, len(path.steps))
        lacks = 1 - min(alignment(spectral, path.at(t, 0, "gradient"), path.at(t, 0, "update")) for t in late)
        gap = float(gaps(data, path, "spectral", [-1])[0, 0])
        excess.append(gap - share * lacks)
        tightest.append(gap / lacks if lacks > 0.01 else 0.0)  # else the gap is the horizon's
    return {"largest excess over the bound": max(excess), "Γ over the bound, largest": max(tightest)}


OF: dict[str, Any] = {
    "paper": OWN.key,
    "kind": "bound",
    "formula": "limsup Γ ≤ 1 − liminf r",
    "source": "Own derivation; r → 1: Gronich & Vardi 2602.16340, approximate steepest descent",
    "optimizers": ("muon-ns",),
    "measure": inexact,
}
measured(
    id="own-inexact-lmo",
    statement="Steps whose alignment with a norm's steepest descent is at least r reach a gap of at most 1 − r.",
    cases=tuple(
        Case(f"{name} coefficients, {problem}", a=a, b=b, c=c, problem=problem)
        for name, (a, b, c) in COEFFICIENTS.items()
        for problem in ("multiclass@linear",)
    ),
    conditions=(at_most("largest excess over the bound", 2e-3, refuted=1e-2),),
    control=Control("a fifth of what the alignment lacks", share=0.2),
    **OF,
)
measured(
    id="own-inexact-tight",
    statement="The bound on the gap by the steps' alignment is nearly reached: no smaller multiple of it would do.",
    cases=tuple(
        Case(f"{name} coefficients", a=a, b=b, c=c, problem="multiclass@linear")
        for name, (a, b, c) in reversed(COEFFICIENTS.items())
    ),
    conditions=(
        at_least("Γ over the bound, largest", 0.9, refuted=0.5),
        at_most("largest excess over the bound", 2e-3, refuted=1e-2),
    ),
    control=Control("data whose gradient has equal singular values: every step is exact", problem="basis:k=3@linear"),
    **OF,
)
