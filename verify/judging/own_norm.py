"""Whether an optimizer maximizes the margin of a norm that its own state set during training, over all problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.thresholds.judging import CHECK_LINEAR, CHECK_NETWORK, INDEPENDENT
from maxmargin.verify.thresholds.table import Bounds

_FORMS = {
    "diagonal": "diagonal",
    "Kronecker": "a Kronecker product L ⊗ R on each matrix",
    "full": "with terms between the entries",
}


@dataclass(frozen=True)
class OwnNorm:
    """An optimizer that maximizes the ℓ2 margin in the metric that its own state settled on.

    Attributes:
        gap: Largest KKT gap under the metric, over problems and runs.
        alignment: Smallest alignment of late steps with steepest descent under it.
        drift: Largest change of its log eigenvalues over the last decade of steps.
        spread: Largest ratio of its eigenvalues.
        form: ``diagonal``, ``Kronecker`` or ``full``.
        accumulated: Whether it is the roots of the summed squared gradients (Adagrad's law).
        nearest: The fixed norm whose gap is the smallest in proportion.
        nearest_gap: That gap, and the metric's on the same problem.
        told_from: Fixed norms that the metric is told from on some problem.
        problems: On which it was measured.
    """

    gap: float
    alignment: float
    drift: float
    spread: float
    form: str
    accumulated: bool
    nearest: str
    nearest_gap: tuple[float, float]
    told_from: frozenset[str]
    problems: tuple[str, ...]

    @property
    def text(self) -> str:
        """The answer in a sentence."""
        law = ", the roots of its summed squared gradients" if self.accumulated else ""
        other, own = self.nearest_gap
        return (
            "Data-dependent: its state never forgets, and it maximizes the l2 margin in the metric on which that state "
            f"settles during training ({_FORMS[self.form]}{law}; eigenvalues up to {self.spread:.2g} apart): KKT gap "
            f"at most {self.gap:.1e} there, late steps {self.alignment:.3f} aligned with it, eigenvalues steady to "
            f"{self.drift:.0e} over the last decade of steps. No fixed norm does as well: {self.nearest}, the nearest, "
            f"leaves {other:.2g} where its own metric leaves {own:.1e}."
        )


def own_norm(found: Sequence[Measured], tier: str) -> OwnNorm | None:
    """Conclude that an optimizer maximizes the margin of a metric of its own.

    On every problem the response to gradients must be linear, symmetric and positive definite and stand still, gap and
    alignment under it meet the tier's bounds, and the steps depend on nothing else (no decay, nothing random); and
    some problem must tell it from each of the fixed norms. What is missing anywhere leaves the question open.

    Args:
        found: What was measured, one a problem.
        tier: ``quick`` or ``full``.

    Returns:
        The conclusion, or None.
    """
    rows = [(m, m.state, _bounds(m, tier)) for m in found]
    if not rows or any(state is None or state.shortfalls(bounds) or _disturbed(m) for m, state, bounds in rows):
        return None
    states = [state for _, state, _ in rows if state is not None]
    told = frozenset().union(*(state.told_from(bounds) for _, state, bounds in rows if state is not None))
    fixed = {name for state in states for name in state.fixed} | set(CANDIDATES)
    if fixed - told:
        return None
    name, other, own = min(
        ((n, gap, state.gap) for state in states for n, gap in state.fixed.items()),
        key=lambda row: row[1] / max(row[2], 1e-12),
    )
    forms = {state.form for state in states}
    return OwnNorm(
        gap=max(state.gap for state in states),
        alignment=min(state.alignment for state in states),
        drift=max(state.drift for state in states),
        spread=max(state.spread for state in states),
        form=forms.pop() if len(forms) == 1 else "full",
        accumulated=all(state.accumulated for state in states),
        nearest=name,
        nearest_gap=(other, own),
        told_from=told,
        problems=tuple(m.problem.name for m in found),
    )


def own_norm_missing(found: Sequence[Measured], tier: str) -> list[str]:
    """What keeps a state that never forgets from being a metric of its own, a sentence a problem; none without one."""
    sentences = []
    for m in found:
        if m.state is not None and (missing := m.state.shortfalls(_bounds(m, tier))):
            sentences.append(f"{m.problem.name}: no metric of its own is its norm: {'; '.join(missing)}.")
    return sentences


def _bounds(m: Measured, tier: str) -> Bounds:
    return (CHECK_LINEAR if m.problem.linear else CHECK_NETWORK)[tier]


def _disturbed(m: Measured) -> bool:
    """Whether its steps depend on more than gradients: a decay, the weights, chance."""
    about = m.exam.about
    return about is None or about.decay > 0 or max(about.value_dependence, about.random) > INDEPENDENT
