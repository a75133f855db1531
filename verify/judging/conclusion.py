"""From the problems' verdicts to one answer: which norm, how surely, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log

from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.facts import untold
from maxmargin.verify.judging.wording import remarks, stand_in
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.results.verdict import Outcome, ProblemVerdict
from maxmargin.verify.thresholds.judging import (
    APPROXIMATE,
    DEFICIT_COUNTS,
    ENOUGH,
    GAP_COUNTS,
    NEAR,
    PERFECT,
    SCORE_TIE,
)


@dataclass(frozen=True)
class Conclusion:
    """The answer of ``check``.

    Attributes:
        outcome: Over all problems.
        norm: The norm that may be named, or None.
        reasons: Most important first.
        approximate: {"signature", "alignment", "margin_lost"} where the norm is nearest but not reached.
    """

    outcome: Outcome
    norm: str | None
    reasons: tuple[str, ...]
    approximate: dict[str, float] | None


def nearest_norm(found: Sequence[Measured]) -> Norm:
    """The norm that steps and gaps together speak for, over all problems; ties go to the simpler one."""
    names = {n: get_norm(n) for n in CANDIDATES}
    for m in found:
        names |= m.exam.norms
    usable = [m for m in found if m.evidence.norms]
    # Weighted norms of one name are others on every problem's blocks.
    weighted = {
        m.exam.fingerprint.norm.name for m in found if m.exam.fingerprint is not None and m.exam.fingerprint.weighted
    }
    scores = {}
    for name in names:
        if name in weighted and len(usable) > 1:
            continue
        rows = [m.evidence.norms[name] for m in usable if name in m.evidence.norms]
        if rows and len(rows) == len(usable):  # a norm written for one problem's blocks says nothing of the others
            scores[name] = sum(
                log(max(r.kkt_gap, GAP_COUNTS)) + log(max(1.0 - r.alignment, DEFICIT_COUNTS))
                for r in rows
                if isfinite(r.alignment) and isfinite(r.kkt_gap)
            )
    if not scores:
        return names["l2"]
    best = min(scores.values())
    tied = [n for n in names if n in scores and scores[n] <= best + SCORE_TIE * (1 + abs(best))]
    return names[tied[0]]


def conclude(
    found: Sequence[Measured], verdicts: Sequence[ProblemVerdict], *, claim: str | None, tier: str = "quick"
) -> Conclusion:
    """Put the problems' verdicts together.

    Args:
        found: What was measured, one a problem.
        verdicts: The verdict on each, for the norm named in it (of one family).
        claim: The norm that the user claimed; None if the verdicts' norm was found.
        tier: How hard it was tried.

    Returns:
        The conclusion.
    """
    name = verdicts[0].norm
    outcome = Outcome.of_all(v.outcome for v in verdicts)
    blind = blind_spots(verdicts)
    if blind and outcome is Outcome.HOLDS:
        outcome = Outcome.INCONCLUSIVE
    defect = _defect(found, verdicts) if outcome is Outcome.FAILS else None
    beyond = claim is not None and outcome is Outcome.FAILS and _may_change(found, claim)
    if beyond:
        outcome, defect = Outcome.INCONCLUSIVE, None
    first = []
    if beyond:
        first.append(
            f"In its scale-free regime it does not maximize the {claim} margin, but below its eps it is another "
            "optimizer, and these runs say nothing of that one."
        )
    if defect is not None:
        first.append(
            f"Approximately {name}: under gradients of widely spread singular values its steps are only "
            f"{defect['signature']:.3f} aligned with steepest descent under {name}, on trajectories "
            f"{defect['alignment']:.3f}, and up to {100 * defect['margin_lost']:.2g} % of that margin is lost."
        )
    named = outcome is Outcome.HOLDS or (claim is None and (outcome is Outcome.INCONCLUSIVE or defect is not None))
    return Conclusion(
        outcome=outcome,
        norm=name if named else None,
        reasons=(
            *first,
            *remarks(found, verdicts, name, tier),
            *(f"{v.problem}: {'; '.join(v.reasons)}." for v in verdicts),
            *blind,
            *_scope(found, outcome),
            *stand_in(found),
        ),
        approximate=defect,
    )


def _scope(found: Sequence[Measured], outcome: Outcome) -> list[str]:
    """Say how far a pass reaches where few problems were asked for."""
    if outcome is not Outcome.HOLDS or len(found) >= ENOUGH:
        return []
    return [
        f"That is said of {'this problem' if len(found) == 1 else 'these problems'} alone: a verdict on the optimizer "
        f"takes {ENOUGH} of different shape and degree (leave --problem out)."
    ]


def _may_change(found: Sequence[Measured], claim: str) -> bool:
    """Whether an eps will turn the optimizer into another one, of which the claim (not its signature) may be true."""
    return any(
        m.exam.about is not None
        and m.exam.about.floor > 0
        and m.exam.fingerprint is not None
        and m.exam.fingerprint.family != claim
        for m in found
    )


def blind_spots(verdicts: Sequence[ProblemVerdict]) -> list[str]:
    """Name the norms that no problem could tell from the judged one, unless they are the same on all of its blocks.

    Returns:
        A sentence, or none.
    """
    blind = untold(verdicts[0].norm, [v.evidence for v in verdicts], CANDIDATES)
    if not blind:
        return []
    return [f"These problems cannot tell {verdicts[0].norm} from {', '.join(blind)}; add one that can (--problem)."]


def _defect(found: Sequence[Measured], verdicts: Sequence[ProblemVerdict]) -> dict[str, float] | None:
    """Return how far an optimizer that is nearly of the judged norm falls short; None if it is not nearly so.

    Nearly: its signature is imperfect but near (a perfect one that still fails has another fault), its trajectories
    stay near, and it forgets (a preconditioner that sums up all gradients only looks like a norm at first).
    """
    rows = [(m, v) for m, v in zip(found, verdicts, strict=True) if v.norm in v.evidence]
    prints = [m.exam.fingerprint for m, _ in rows]
    if not rows or any(m.exam.about is None or m.exam.about.memory == inf for m, _ in rows):
        return None
    signature = [f.alignment for f, (_, v) in zip(prints, rows, strict=True) if f is not None and f.norm.name == v.norm]
    aligned = [v.evidence[v.norm].alignment for _, v in rows]
    if len(signature) < len(rows) or not APPROXIMATE <= min(signature) < PERFECT:
        return None
    if not all(isfinite(r) and r >= NEAR for r in aligned):
        return None
    return {
        "signature": min(signature),
        "alignment": min(aligned),
        "margin_lost": max(v.evidence[v.norm].kkt_gap for _, v in rows),
    }
