"""Whether an optimizer maximizes the margin of a norm that its own state set during training, over all problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.thresholds.judging import CHECK_LINEAR, CHECK_NETWORK, INDEPENDENT, PERFECT, TINY_GAP
from maxmargin.verify.thresholds.table import Bounds

_FORMS = {
    "diagonal": "diagonal",
    "Kronecker": "a Kronecker product L ⊗ R on each matrix",
    "full": "with terms between the entries",
    "layers": "layer by layer",
}


@dataclass(frozen=True)
class OwnNorm:
    """An optimizer that maximizes the ℓ2 margin in the metric that its own state settled on.

    Attributes:
        gap: Largest KKT gap under the metric, over runs and the problems that are not ``open``.
        alignment: Smallest alignment of late steps with steepest descent under it.
        drift: Largest change of its log eigenvalues over the last decade of steps.
        spread: Largest ratio of its eigenvalues.
        form: ``diagonal``, ``Kronecker`` or ``full``.
        accumulated: Whether it is the roots of the summed squared gradients (Adagrad's law).
        open: Networks on which late steps are the metric's, but the gap is not yet within its bound, with that gap.
        nearest: The fixed norm that the problems tell apart the least.
        nearest_gap: Its gap on the problem that tells it apart best, the metric's there, and the problem.
        told_from: Fixed norms that the metric is told from on some problem.
        problems: On which it was measured.
    """

    gap: float
    alignment: float
    drift: float
    spread: float
    form: str
    accumulated: bool
    open: tuple[tuple[str, float], ...]
    nearest: str
    nearest_gap: tuple[float, float, str]
    told_from: frozenset[str]
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """The norm, in words, with its gap."""
        if self.form == "layers":
            norm = "the largest of the blocks' norms over the sizes that its own training sets"
        elif self.accumulated:
            norm = "l2 in the metric of the roots of its summed squared gradients"
        else:
            norm = f"l2 in the metric of its state ({_FORMS[self.form]})"
        return f"{norm} (KKT gap at most {self.gap:.1e})"

    @property
    def text(self) -> str:
        """The answer in a sentence."""
        law = ", the roots of its summed squared gradients" if self.accumulated else ""
        late = "".join(
            f" On {where} its late steps are steepest descent in its metric, too, but the gap is still {gap:.2g}: "
            "there it is not established."
            for where, gap in self.open
        )
        other, own, where = self.nearest_gap
        told = (
            f"Every fixed norm is told from it: {self.nearest}, the nearest, leaves {other:.2g} on {where}, where its "
            f"own norm leaves {own:.1e}.{late}"
        )
        if self.form == "layers":
            return (
                "Data-dependent: each block's step is as long as its weights (a trust ratio), and it maximizes the "
                "margin of a layer-wise norm, the largest of the blocks' norms over sizes that its own training sets "
                f"(up to {self.spread:.2g} apart): KKT gap at most {self.gap:.1e} there, late steps "
                f"{self.alignment:.3f} aligned with it, logarithms of the sizes steady to {self.drift:.0e} over the "
                f"last decade of steps. {told}"
            )
        return (
            "Data-dependent: its state never forgets, and it maximizes the l2 margin in the metric on which that state "
            f"settles during training ({_FORMS[self.form]}{law}; eigenvalues up to {self.spread:.2g} apart): KKT gap "
            f"at most {self.gap:.1e} there, late steps {self.alignment:.3f} aligned with it, eigenvalues "
            f"steady to {self.drift:.0e} over the last decade of steps. {told}"
        )


def own_norm(found: Sequence[Measured], tier: str) -> OwnNorm | None:
    """Conclude that an optimizer maximizes the margin of a metric of its own.

    On every problem the response to gradients must be linear, symmetric and positive definite and stand still, the
    alignment under it must meet the tier's bounds, and the steps depend on nothing else (no decay, nothing random).
    The gap must meet its bound on every linear problem, of which there must be one; and some problem must tell the
    metric from each of the fixed norms. What is missing anywhere leaves the question open.

    Args:
        found: What was measured, one a problem.
        tier: ``quick`` or ``full``.

    Returns:
        The conclusion, or None.
    """
    rows = [(m, m.state, _bounds(m, tier)) for m in found]
    if not rows or any(state is None or state.foreign(bounds) or _disturbed(m) for m, state, bounds in rows):
        return None
    wide = [(m, state) for m, state, bounds in rows if state is not None and state.shortfalls(bounds)]
    # Gradient descent in a metric that stands still goes to a KKT point of its margin: on networks slowly.
    # (Layer by layer no such theorem is known.)
    late = all(not m.problem.linear and s.alignment >= PERFECT and s.form != "layers" for m, s in wide)
    if not late or not any(m.problem.linear for m in found):
        return None
    states = [state for _, state, _ in rows if state is not None]
    told = frozenset().union(*(state.told_from(bounds) for _, state, bounds in rows if state is not None))
    if set(CANDIDATES) - told:
        return None
    # Each fixed norm by the problem that tells it apart best; of these the nearest.
    apart = {
        name: max((s.fixed[name] / max(s.gap, TINY_GAP), i) for i, s in enumerate(states) if name in s.fixed)
        for name in CANDIDATES
    }
    name = min(apart, key=lambda n: apart[n][0])
    where = apart[name][1]
    forms = {state.form for state in states}
    if "layers" in forms and len(forms) > 1:
        return None
    return OwnNorm(
        gap=max(state.gap for m, state, _ in rows if state is not None and all(m is not w for w, _ in wide)),
        alignment=min(state.alignment for state in states),
        drift=max(state.drift for state in states),
        spread=max(state.spread for state in states),
        form=forms.pop() if len(forms) == 1 else "full",
        accumulated=all(state.accumulated for state in states),
        open=tuple((m.problem.name, state.gap) for m, state in wide),
        nearest=name,
        nearest_gap=(states[where].fixed[name], states[where].gap, found[where].problem.name),
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
    """Whether some run did not separate the data, or steps depend on more than gradients: a decay, weights, chance."""
    about = m.exam.about
    if about is None or not m.trajectory.separated.all() or about.decay > 0:
        return True
    layered = m.state is not None and m.state.form == "layers"  # which is a way to depend on the weights
    return about.random > INDEPENDENT or (about.value_dependence > INDEPENDENT and not layered)
