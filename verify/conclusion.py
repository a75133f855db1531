"""From the problems' verdicts to one answer: which norm, how surely, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log

from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.candidates import CANDIDATES
from maxmargin.verify.judge import controls_of
from maxmargin.verify.measured import Measured
from maxmargin.verify.probes import Probe
from maxmargin.verify.verdict import Hypothesis, Outcome, ProblemVerdict

APPROXIMATE = 0.7  # least alignment that still deserves the word "approximately"
INDEPENDENT = 1e-6  # relative; a larger dependence on weights, seeds or the learning rate is reported


@dataclass(frozen=True)
class Conclusion:
    """The answer of ``check``.

    Attributes:
        outcome: Over all problems.
        norm: The norm that may be named, or None.
        reasons: Most important first.
        approximate: {"alignment", "margin_lost"} where the norm is nearest but not reached.
    """

    outcome: Outcome
    norm: str | None
    reasons: tuple[str, ...]
    approximate: dict[str, float] | None


def nearest_norm(found: Sequence[Measured]) -> Norm:
    """The norm that steps and gaps together speak for, over all problems; ties go to the simpler one."""
    names = {n: get_norm(n) for n in CANDIDATES}
    names |= {m.fingerprint.norm.name: m.fingerprint.norm for m in found if m.fingerprint is not None}
    usable = [m for m in found if m.evidence.norms]
    scores = {}
    for name in names:
        rows = [m.evidence.norms[name] for m in usable if name in m.evidence.norms]
        if rows and len(rows) == len(usable):  # a norm written for one problem's blocks says nothing of the others
            scores[name] = sum(
                log(max(r.kkt_gap, 1e-4)) + log(max(1.0 - r.alignment, 1e-3)) for r in rows if isfinite(r.alignment)
            )
    if not scores:
        return names["l2"]
    best = min(scores.values())
    tied = [n for n in names if n in scores and scores[n] <= best + 1e-3 * (1 + abs(best))]
    return names[tied[0]]


def conclude(found: Sequence[Measured], verdicts: Sequence[ProblemVerdict], norm: Norm, *, claimed: bool) -> Conclusion:
    """Put the problems' verdicts together.

    Args:
        found: What was measured, one a problem.
        verdicts: The verdict on each, for ``norm``.
        norm: The norm that was judged.
        claimed: Whether the user claimed it; otherwise it is the nearest one found.

    Returns:
        The conclusion.
    """
    outcome = Outcome.of_all(v.outcome for v in verdicts)
    blind = _blind_spots(norm, verdicts)
    if blind and outcome is Outcome.HOLDS:
        outcome = Outcome.INCONCLUSIVE
    warnings = _warnings(found, norm)
    details = [f"{v.problem}: {'; '.join(v.reasons)}." for v in verdicts]
    defect = None if outcome is Outcome.HOLDS else _defect(norm, verdicts)
    first = []
    if defect is not None and outcome is Outcome.FAILS:
        first.append(
            f"Approximately {norm.name}: the steps are {defect['alignment']:.3f} aligned with steepest descent under "
            f"{norm.name}, and up to {100 * defect['margin_lost']:.2g} % of the {norm.name} margin is lost."
        )
    nameable = outcome is not Outcome.FAILS or (defect is not None and not claimed)
    return Conclusion(
        outcome=outcome,
        norm=norm.name if nameable and not (claimed and outcome is not Outcome.HOLDS) else None,
        reasons=(*first, *warnings, *details, *blind),
        approximate=defect if outcome is Outcome.FAILS else None,
    )


def about_optimizer(about: Probe | None) -> dict[str, Hypothesis]:
    """What the short experiments say of the theorem's hypotheses on the optimizer; nothing for our own."""
    if about is None:
        return {}
    lr = about.lr_error
    return {
        "scale invariant": Hypothesis(about.exactly_invariant, about.floor or about.defect),
        "no weight decay": Hypothesis(about.decay == 0, about.decay),
        "independent of the weights": Hypothesis(about.value_dependence <= INDEPENDENT, about.value_dependence),
        "deterministic": Hypothesis(about.random <= INDEPENDENT, about.random),
        "learning rate honoured": Hypothesis(None if lr != lr else lr <= INDEPENDENT, lr),
        "forgets": Hypothesis(about.memory < inf, about.memory),
    }


def _blind_spots(norm: Norm, verdicts: Sequence[ProblemVerdict]) -> list[str]:
    """Name the norms that no problem could tell from this one, unless they are the same on all of its blocks."""
    seen = [n for n in CANDIDATES if any(n in v.evidence for v in verdicts)]
    told = {n for v in verdicts for n in controls_of(norm.name, v.evidence)}
    blind = [n for n in seen if n not in told and n != norm.name and not _coincide(norm, n, verdicts)]
    if not blind:
        return []
    return [f"These problems cannot tell {norm.name} from {', '.join(blind)}; add one that can (--problem)."]


def _coincide(norm: Norm, other: str, verdicts: Sequence[ProblemVerdict]) -> bool:
    """Whether two norms measure the same on every problem (spectral and hybrid where there are no vectors)."""
    return all(
        v.evidence[other].kkt_gap_range == v.evidence[norm.name].kkt_gap_range
        for v in verdicts
        if other in v.evidence and norm.name in v.evidence
    )


def _defect(norm: Norm, verdicts: Sequence[ProblemVerdict]) -> dict[str, float] | None:
    """Alignment and margin lost, if the steps are nearly aligned with this norm and no other norm's gap is smaller."""
    rows = [v for v in verdicts if norm.name in v.evidence]
    aligned = [v.evidence[norm.name].alignment for v in rows]
    if not rows or not all(isfinite(r) and r >= APPROXIMATE for r in aligned):
        return None
    for v in rows:
        own = v.evidence[norm.name].kkt_gap
        if any(v.evidence[n].kkt_gap < own for n in controls_of(norm.name, v.evidence)):
            return None
    return {"alignment": min(aligned), "margin_lost": max(v.evidence[norm.name].kkt_gap for v in rows)}


def _warnings(found: Sequence[Measured], norm: Norm) -> list[str]:
    """What the short experiments found, in sentences."""
    about = found[0].probe
    if about is None:
        return []
    out = []
    if about.floor > 0:
        out.append(_floor_text(about.floor, found, norm))
    if about.decay > 0:
        out.append(
            f"Weight decay {about.decay:g} is set in its parameter groups, which changes the limit point; "
            "pass --kw weight_decay=0."
        )
    elif about.value_dependence > INDEPENDENT:
        out.append(
            f"Its update changes by {about.value_dependence:.1e} (relative) when the weights are tripled: "
            "a hidden decay or a trust ratio."
        )
    if about.random > INDEPENDENT:
        out.append(f"It is random: two runs with different seeds differ by {about.random:.1e}.")
    if about.memory == inf:
        out.append("Its state never forgets (a sum or a maximum over all steps): no fixed norm is to be expected.")
    if about.lr_error > INDEPENDENT:
        out.append(f"Twice the learning rate does not move twice as far (error {about.lr_error:.1e}).")
    return out


def _floor_text(floor: float, found: Sequence[Measured], norm: Norm) -> str:
    """Say where the true gradient falls below the floor, and what becomes of the optimizer then."""
    head = f"An eps takes over once the gradient's norm falls below {floor:.0e}: "
    for m in found:
        step = m.step_below(floor)
        if step is not None:
            return (
                f"{head}with the true gradient, from about step {step} on ({m.problem.name}). Then it is no longer "
                f"scale invariant, and theory promises nothing for {norm.name} (for Adam: l2 in the end). The evidence "
                "here is that of its scale-free regime, with loss and state rescaled together."
            )
    return f"{head}these runs did not get that far."
