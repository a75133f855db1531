"""What steps that only nearly follow a norm guarantee of its margin: a KKT gap of at most 1 − r.

**Theorem.** Let the model be L-homogeneous and C¹ in θ, the loss exponential-tailed, Γ the KKT gap under a norm ‖·‖,
and let steps have length dN in it (N = Σ ‖Δθ‖) and alignment r = −⟨∇loss, Δθ⟩ / (‖∇loss‖_* ‖Δθ‖). Suppose that

1. N → ∞, and steps are so small that a step's change of the soft margin is its first-order change, up to a factor
   that tends to 1 (the schedules of the theorems that are tested here);
2. the direction θ/‖θ‖ converges to a θ̄ of positive margin γ̄ = min_i q_i(θ̄), at ‖θ̄‖ = 1 (T1, T2);
3. liminf r ≥ 1 − δ.

Then Γ(θ̄) ≤ δ. On a linear model, where Γ = 1 − γ̄/γ*, the direction has at least a share 1 − δ of the largest margin.

*Proof.* Write ρ = ‖θ‖, g_i = ∇q_i, λ for the softmax weights of the loss, λ_i ∝ −∂loss/∂q_i, so that ∇loss is a
negative multiple of Σ λ_i g_i, and q̃ for the soft margin, q̃ = φ⁻¹(loss) with dq̃ = ⟨Σ λ_i g_i, dθ⟩ up to a factor
that tends to 1 (for the exponential loss q̃ = −log loss, and the factor is 1; the other losses have the same tail as
margins grow).

(a) Along the run dq̃/dN = r ‖Σ λ_i g_i(θ)‖_* (1 + o(1)), by the definition of r. The g_i are homogeneous of degree
L − 1 and continuous, so g_i(θ) = ρ^{L−1} (g_i(θ̄) + o(1)), and with h = min_λ ‖Σ λ_i g_i(θ̄)‖_* over the simplex

    dq̃/dN ≥ (1 − δ) ρ^{L−1} (h − o(1)).

(b) q̃ and q = min_i q_i differ by a constant (log of the number of samples), so q̃ = γ̄ ρ^L (1 + o(1)) by 2.

(c) Suppose h > 0 (else Γ is not defined, and by Euler's identity L γ̄ ≤ ⟨Σ λ_i g_i(θ̄), θ̄⟩ ≤ h for the minimizing λ,
so h ≥ L γ̄ > 0 in fact). By (a) q̃ grows, which keeps ρ away from 0, hence it grows at least at a constant rate, and
q̃, q and ρ tend to ∞. Integrate (a):

    γ̄ ρ^L (1 + o(1)) = q̃ ≥ (1 − δ) (h − o(1)) ∫ ρ^{L−1} dN.

Put F(N) = ∫ ρ^{L−1} dN, so that F′ = ρ^{L−1} ≥ (b F)^{(L−1)/L} (1 − o(1)) with b = (1 − δ) h / γ̄. That is
(F^{1/L})′ ≥ b^{(L−1)/L} (1 − o(1)) / L, hence F ≥ b^{L−1} (N/L)^L (1 − o(1)), and ρ^L ≥ b F ≥ (b N / L)^L (1 − o(1)):

    ρ ≥ N (1 − δ) h / (L γ̄) (1 − o(1)).        (for L = 1 this is (a) integrated, as it stands)

(d) The triangle inequality gives ρ ≤ ‖θ₀‖ + N. With (c), (1 − δ) h ≤ L γ̄, that is Γ(θ̄) = 1 − L γ̄ / h ≤ δ. ∎

Only the alignment's average over N enters (a): single steps may stray. Measured, however, is r at checkpoints, so the
least of the last decade stands for the liminf; that ‖θ‖ ≤ N (hypothesis R) and that the direction settles are measured.
The bound is met with equality where ρ = N: by steps that are all parallel in the end.
(A sketch of the bound stands in no paper that we know; theorem C.17 of Gronich & Vardi 2602.16340 is the case δ = 0.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.lab.faults.finding import Kind
from maxmargin.verify.results.problem_verdict import ProblemVerdict
from maxmargin.verify.results.verdict import Factor
from maxmargin.verify.thresholds.judging import BOUND_SLACK, GUARANTEE, PATH_SLACK

RUINOUS = frozenset(
    {
        Kind.FROZEN,
        Kind.STALE,
        Kind.ASCENT,
        Kind.LAYOUT,
        Kind.RULE,
        Kind.DROPPED,
        Kind.CROSSTALK,
        Kind.CENTRED,
        Kind.WEIGHTS,
        Kind.SHARED,
        Kind.RANDOM,
    }
)
"""Faults that are to be repaired, and gradients that move nothing: what they leave of a margin is up to the data."""


def late_alignment(found: Measured, norm: str) -> float:
    """The least alignment with a norm over the last decade of a trajectory's steps, over its separated runs; or NaN."""
    series = found.evidence.arrays.get(f"alignment:{norm}")
    if series is None:
        return float("nan")
    steps = found.trajectory.steps
    late = series[steps >= max(1, steps[-1] / 10)]
    return float(np.nanmin(late)) if np.isfinite(late).any() else float("nan")


def factor_of(found: Sequence[Measured], verdicts: Sequence[ProblemVerdict]) -> Factor | None:
    """What late steps guarantee of the judged norm's margin, on the worst of the problems.

    Args:
        found: What was measured, one a problem.
        verdicts: The verdict on each.

    Returns:
        The factor; None where a fault is known, a hypothesis of the theorem is not met, the guarantee is too small to
        be of use, or the gap measured contradicts it (the direction has not converged, or r is not what it seems).
    """
    kinds = {f.kind for m in found for f in m.exam.findings}
    # A polar factor that is inexact on matrices is a wrong length on a vector, which the alignment knows already.
    if kinds & (RUINOUS - {Kind.WEIGHTS} if Kind.NEWTON_SCHULZ in kinds else RUINOUS):
        return None
    guaranteed, reached = [], []
    for m, v in zip(found, verdicts, strict=True):
        if v.norm not in v.evidence or not _applies(v):
            return None
        guaranteed.append(late_alignment(m, v.norm))
        reached.append(1.0 - v.evidence[v.norm].kkt_gap_range[1])
    pairs = zip(guaranteed, reached, strict=True)
    if not all(r >= GUARANTEE and share >= r - BOUND_SLACK for r, share in pairs):
        return None
    return Factor(min(guaranteed), min(reached))


def _applies(verdict: ProblemVerdict) -> bool:
    """Whether the theorem's hypotheses were met, as far as they were measured."""
    settles, path = (verdict.hypotheses.get(name) for name in ("direction settles", "R"))
    settled = settles is None or settles.met is not False
    length = path.value if path is not None else None
    return settled and verdict.final_margin > 0 and (length is None or float(length) <= 1.0 + PATH_SLACK)
