"""ℓ2 in the metric that an optimizer's own state settles on: measured, and held against the trajectory.

An optimizer whose state never forgets, Δθ = −η B g with a B that stops changing (Adagrad, Yogi, Shampoo with sums), is
in the end gradient descent in the metric P = B⁻¹, and by a change of variables its direction goes to a KKT point of
the ℓ2 margin in that metric (Wang et al. 2012.06244 for Adagrad; Lyu & Li 1906.05890 in the coordinates P^½ θ). B is
measured on the trained instance (:mod:`maxmargin.verify.engine.response`), never fitted to the trajectory, so the gap
and the alignment under P are evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import Literal

import numpy as np

from maxmargin.models.blocks import Shapes, size
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.norms import NormError, ParameterNorm, get_norm
from maxmargin.solvers.norms.measured.metric import Metric
from maxmargin.verify.engine.response import Response
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence.measure import Effort
from maxmargin.verify.lab.norm.layerwise import Layers
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.problem_verdict import NormEvidence
from maxmargin.verify.thresholds.judging import LAST_CHECKPOINTS
from maxmargin.verify.thresholds.state_norm import (
    LAW_FITS,
    METRIC_FORM,
    METRIC_SETTLED,
    METRIC_SPREAD,
    METRIC_TOLD,
    RESPONSE_LINEAR,
    RESPONSE_SYMMETRIC,
    TRUST_RATIO,
)
from maxmargin.verify.thresholds.table import Bounds

Form = Literal["diagonal", "Kronecker", "full", "layers"]


@dataclass(frozen=True)
class StateNorm:
    """What was measured of one optimizer's own metric on one problem; numbers are the worst run's.

    Attributes:
        runs: How many were measured, all that separate the data.
        error: How far the response is from linear in the gradient, relative.
        asymmetry: How far it is from symmetric, relative.
        spread: Largest over smallest eigenvalue of the metric; inf where the response is not positive definite.
        drift: Change of its log eigenvalues over the last decade of steps, a common factor aside; inf where unknown.
        gap: KKT gap Γ of the last direction under the metric; NaN where there is none.
        alignment: Of the late steps with steepest descent under it; NaN where there is none.
        form: ``diagonal`` where it is that, ``Kronecker`` where it is L ⊗ R on each matrix, else ``full``; ``layers``
            where it is no metric, but the maximum over blocks of ‖W_k‖/ρ_k with the ρ_k that training reached. Then
            ``error`` is that of the trust ratio, ``spread`` the ratio of the ρ_k, ``drift`` the change of their logs.
        accumulated: Whether its squared entries are the sums of the squared gradients, but for a factor and a constant
            (Adagrad).
        fixed: Smallest final gap under each fixed norm, the best run's.
    """

    runs: int
    error: float
    asymmetry: float
    spread: float
    drift: float
    gap: float
    alignment: float
    form: Form
    accumulated: bool
    fixed: Mapping[str, float]

    def foreign(self, bounds: Bounds) -> tuple[str, ...]:
        """What keeps late steps from being steepest descent in a metric that stands still, in words."""
        if self.form == "layers":
            found = {
                f"a block's step is not in proportion to its weights (relative error {self.error:.1e})": not (
                    self.error <= TRUST_RATIO
                ),
                f"the blocks' proportions still change (logarithms by {self.drift:.1e} in the last decade of steps)": (
                    not self.drift <= METRIC_SETTLED
                ),
                f"late steps are {self.alignment:.3f} aligned with it": not self.alignment >= bounds.alignment,
            }
            return tuple(text for text, there in found.items() if there)
        found = {
            f"the next steps are not linear in the gradient (relative error {self.error:.1e})": not (
                self.error <= RESPONSE_LINEAR
            ),
            f"the response to gradients is not symmetric ({self.asymmetry:.1e})": not (
                self.asymmetry <= RESPONSE_SYMMETRIC
            ),
            "the response to gradients is not positive definite: some directions stand still or ascend": not (
                self.spread <= METRIC_SPREAD
            ),
            f"its eigenvalues still change (by {self.drift:.1e} in the last decade of steps)": not (
                self.drift <= METRIC_SETTLED
            ),
            f"late steps are {self.alignment:.3f} aligned with it": not self.alignment >= bounds.alignment,
        }
        return tuple(text for text, there in found.items() if there)

    def shortfalls(self, bounds: Bounds) -> tuple[str, ...]:
        """What keeps the metric from being the optimizer's norm here, in words; none where nothing does."""
        wide = () if self.gap <= bounds.gap else (f"its gap is {self.gap:.1e}",)
        return self.foreign(bounds) + wide

    def told_from(self, bounds: Bounds) -> frozenset[str]:
        """The fixed norms whose gap is beyond the bound, and so much larger that the metric says more than they."""
        least = max(METRIC_TOLD * self.gap, bounds.gap)  # in this order, so that NaN stays
        return frozenset(name for name, gap in self.fixed.items() if gap > least)


def measure_state(
    problem: Problem, trajectory: Trajectory, norms: Mapping[str, NormEvidence], effort: Effort
) -> StateNorm | None:
    """Measure the metric that the state of a trajectory's optimizer settled on.

    Args:
        problem: The problem.
        trajectory: The runs, with their responses.
        norms: The evidence under fixed norms.
        effort: How much to measure.

    Returns:
        What was found; None where responses were not asked for, or no run separates the data.
    """
    chosen = np.flatnonzero(trajectory.separated)[: effort.runs]
    if not len(trajectory.responses) or not len(chosen):
        return None
    each = [_of_run(problem, trajectory, int(run)) for run in chosen]
    forms = {one.form for one in each}
    return StateNorm(
        runs=len(each),
        error=_worst(one.error for one in each),
        asymmetry=_worst(one.asymmetry for one in each),
        spread=_worst(one.spread for one in each),
        drift=_worst(one.drift for one in each),
        gap=_worst(one.gap for one in each),
        alignment=-_worst(-one.alignment for one in each),
        form=forms.pop() if len(forms) == 1 else "full",
        accumulated=all(one.accumulated for one in each),
        fixed={name: row.kkt_gap_range[0] for name, row in norms.items()},
    )


def measure_layers(
    problem: Problem, trajectory: Trajectory, layers: Layers, norms: Mapping[str, NormEvidence], effort: Effort
) -> StateNorm | None:
    """Measure the layer-wise norm max_k ‖W_k‖/ρ_k of an optimizer with trust ratios, ρ_k as training reached them.

    Where every W_k grows at the same relative rate along its own steepest descent, directions at rest are KKT points of
    that norm's margin: then each W_k is along its own lmo, and all ‖W_k‖/ρ_k are equal (they are, by the choice of ρ).

    Args:
        problem: The problem.
        trajectory: The runs.
        layers: Each block's rule.
        norms: The evidence under fixed norms.
        effort: How much to measure.

    Returns:
        What was found; None where no run separates the data.
    """
    chosen = np.flatnonzero(trajectory.separated)[: effort.runs]
    if not len(chosen):
        return None
    gaps, aligned, drifts, spreads = [], [], [], []
    end = len(trajectory.steps)
    before = int(np.abs(trajectory.steps - trajectory.steps[-1] / 10).argmin())
    for run in map(int, chosen):
        sizes = {t: _sizes(trajectory.at(t, run), layers) for t in {before, *range(end - LAST_CHECKPOINTS, end)}}
        gaps.append(GapEvaluator(problem, _layered(sizes[end - 1]))(trajectory.at(-1, run)).value)
        steps = range(end - LAST_CHECKPOINTS, end)
        aligned.append(
            np.median(
                [
                    alignment(_layered(sizes[t]), trajectory.at(t, run, "gradient"), trajectory.at(t, run, "update"))
                    for t in steps
                ]
            )
        )
        last = np.array([size for _, size in sizes[end - 1].values()])
        drifts.append(np.ptp(np.log(last / np.array([size for _, size in sizes[before].values()]))) / 2)
        spreads.append(last.max() / last.min())
    return StateNorm(
        runs=len(chosen),
        error=layers.error,
        asymmetry=0.0,
        spread=_worst(spreads),
        drift=_worst(drifts),
        gap=_worst(gaps),
        alignment=-_worst(-a for a in aligned),
        form="layers",
        accumulated=False,
        fixed={name: row.kkt_gap_range[0] for name, row in norms.items() if name in CANDIDATES},
    )


def _sizes(theta: Mapping[str, np.ndarray], layers: Layers) -> dict[str, tuple[str, float]]:
    """Each block's norm and length in it."""
    return {name: (kind, float(get_norm(kind).value({name: theta[name]}))) for name, kind in layers.norms.items()}


def _layered(sizes: Mapping[str, tuple[str, float]]) -> ParameterNorm:
    """max_k ‖W_k‖/ρ_k."""
    return ParameterNorm.of({name: (kind, 1.0 / size) for name, (kind, size) in sizes.items()}, inf)


def _of_run(problem: Problem, trajectory: Trajectory, run: int) -> StateNorm:
    last = trajectory.responses[-1]
    found = metric_of(last, run, problem.shapes)
    missing = StateNorm(1, float(last.errors[run]), asymmetry(last, run), inf, inf, nan, nan, "full", False, {})
    if found is None:
        return missing
    aligned = [
        alignment(found, trajectory.at(t, run, "gradient"), trajectory.at(t, run, "update"))
        for t in range(len(trajectory.steps) - LAST_CHECKPOINTS, len(trajectory.steps))
    ]
    before = metric_of(trajectory.responses[0], run, problem.shapes) if len(trajectory.responses) > 1 else None
    return StateNorm(
        runs=1,
        error=missing.error,
        asymmetry=missing.asymmetry,
        spread=float((found.lengths.max() / found.lengths.min()) ** 2),
        drift=inf if before is None else drift(before, found),
        gap=GapEvaluator(problem, found)(trajectory.at(-1, run)).value,
        alignment=float(np.median(aligned)),
        form=_form(found.matrix, problem.shapes),
        accumulated=_accumulated(found.matrix, last.squares[run]) if last.squares is not None else False,
        fixed={},
    )


def asymmetry(response: Response, run: int) -> float:
    """‖B − Bᵀ‖/‖B‖; inf where the response is no number, or zero."""
    B = response.maps[run]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        found = np.linalg.norm(B - B.T) / np.linalg.norm(B)
    return float(found) if np.isfinite(found) else inf


def metric_of(response: Response, run: int, shapes: Shapes) -> Metric | None:
    """The metric P = B⁻¹ of determinant 1; None where the response is not positive definite."""
    B = response.maps[run]
    if not np.isfinite(B).all() or not (top := np.abs(B).max()) > 0:
        return None
    # The eigenvalues of B are small where P's are large: their roots keep half the digits that B's inverse would lose.
    eigenvalues, basis = np.linalg.eigh((B + B.T) / (2 * top))
    if not eigenvalues[0] * METRIC_SPREAD > eigenvalues[-1]:
        return None
    try:
        return Metric("its own metric", shapes, basis, np.exp(-(np.log(eigenvalues) - np.log(eigenvalues).mean()) / 2))
    except NormError:
        return None


def drift(before: Metric, after: Metric) -> float:
    """Half the range of log eigenvalues of one metric relative to the other: 0 where they are one but for a factor."""
    root = (before.basis / before.lengths) @ before.basis.T
    eigenvalues = np.linalg.eigvalsh(root @ after.matrix @ root)
    return float(np.ptp(np.log(eigenvalues)) / 2) if eigenvalues[0] > 0 else inf


def _form(P: np.ndarray, shapes: Shapes) -> Form:
    """Diagonal; or without terms between blocks, a Kronecker product on each matrix; or neither."""
    scale = np.sqrt(np.outer(np.diag(P), np.diag(P)))
    if np.abs((P - np.diag(np.diag(P))) / scale).max() <= METRIC_FORM:
        return "diagonal"
    start, between = 0, P / scale
    for shape in shapes.values():
        stop = start + size({"": shape})
        own = P[start:stop, start:stop]
        between[start:stop, start:stop] = 0.0
        if len(shape) == 2:
            m, n = shape
            # Van Loan & Pitsianis 1993: L ⊗ R rearranged is of rank one.
            values = np.linalg.svd(
                own.reshape(m, n, m, n).transpose(0, 2, 1, 3).reshape(m * m, n * n), compute_uv=False
            )
            if not values[1:].max(initial=0.0) <= METRIC_FORM * values[0]:
                return "full"
        start = stop
    return "Kronecker" if np.abs(between).max() <= METRIC_FORM else "full"


def _accumulated(P: np.ndarray, squares: np.ndarray) -> bool:
    """Whether P_ii² = a (Σ g_i² + c) with an a > 0 and a c ≥ 0, to LAW_FITS of each entry."""
    entries = np.diag(P) ** 2
    # Relative errors count: rows divided by the entries.
    rows = np.stack([squares, np.full_like(squares, squares.mean())], axis=1) / entries[:, None]
    found = np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0]
    if found[1] < 0:
        found = np.array([1.0 / np.median(rows[:, 0]), 0.0])
    return bool(found[0] > 0 and np.abs(rows @ found - 1.0).max() <= LAW_FITS)


def _worst(values: object) -> float:
    """The largest; NaN where one of them is."""
    return float(np.max(np.fromiter(values, dtype=np.float64)))  # type: ignore[call-overload]  # numpy's stub wants a list
