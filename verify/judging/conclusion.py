"""From the problems' verdicts to one answer: which norm, how surely, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log

import numpy as np

from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.evidence.measured import Measured
from maxmargin.verify.judging.facts import untold
from maxmargin.verify.judging.guarantee import factor_of
from maxmargin.verify.judging.no_norm import no_norm, rounded_late, stopped
from maxmargin.verify.judging.own_norm import OwnNorm, own_norm, own_norm_missing
from maxmargin.verify.judging.wording import nearly, reach, remarks, stand_in
from maxmargin.verify.lab.faults.finding import Kind
from maxmargin.verify.results.answer import Answer, NoNorm
from maxmargin.verify.results.candidates import CANDIDATES, WEIGHTED
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ProblemVerdict
from maxmargin.verify.results.verdict import Factor
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
    """The answer of ``check``, or its part on one regime.

    Attributes:
        answer: Over all problems.
        norm: The norm that may be named, or None.
        claim: The norm that was claimed, or None.
        reasons: Most important first.
        approximate: {"signature", "alignment", "margin_lost"} where the norm is nearest but not reached.
        factor: What its steps guarantee, for an answer to a factor.
        why: For an answer of no norm.
        own: The metric of its own state whose margin it maximizes, where that was established: then it is
            ``Answer.DATA_DEPENDENT`` (with a claim, refuted).
    """

    answer: Answer
    norm: str | None
    claim: str | None
    reasons: tuple[str, ...]
    approximate: dict[str, float] | None = None
    factor: Factor | None = None
    why: NoNorm | None = None
    own: OwnNorm | None = None

    @property
    def outcome(self) -> Outcome:
        """HOLDS, FAILS or INCONCLUSIVE."""
        return self.answer.outcome


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
    # Where weights differ with the shapes, a problem of one block may know the norm by a plainer name.
    name = next((v.norm for v in verdicts if v.norm.startswith(WEIGHTED)), verdicts[0].norm)
    outcome = Outcome.of_all(v.outcome for v in verdicts)
    weighed = (
        m.exam.told(m.exam.norms[v.norm]) for m, v in zip(found, verdicts, strict=True) if v.norm in m.exam.norms
    )
    blind = blind_spots(verdicts, frozenset().union(*weighed))
    if blind and outcome is Outcome.HOLDS:
        outcome = Outcome.INCONCLUSIVE
    broken = next((m.exam.nonfinite for m in found if m.exam.nonfinite is not None), None)
    if broken is not None:  # nothing that was seen of it beside says more, and much may be drawn from inf and NaN
        shown = (broken.text, f"This shows it:\n{broken.reproducer.rstrip()}")
        return Conclusion(
            answer=Answer.NO_NORM,
            norm=None,
            claim=claim,
            reasons=(*shown, *_outcomes(verdicts)),
            why=NoNorm.NOT_FINITE,
        )
    own = own_norm(found, tier) if outcome is not Outcome.HOLDS else None
    if own is not None and (claim is None or claim in own.told_from):
        reasons = (own.text, *remarks(found, verdicts, tier), *_scope(found), *stand_in(found), *reach(found))
        return Conclusion(Answer.DATA_DEPENDENT, None, claim, reasons, own=own)
    why = None if outcome is Outcome.HOLDS else no_norm(found, verdicts)
    defect = _defect(found, verdicts) if outcome is Outcome.FAILS and why is None else None
    factor = factor_of(found, verdicts) if defect is not None else None
    answer = Answer.NO_NORM if why is not None else Answer.FACTOR if factor is not None else Answer.of(outcome)
    named = outcome is Outcome.HOLDS or (claim is None and (outcome is Outcome.INCONCLUSIVE or defect is not None))
    return Conclusion(
        answer=answer,
        norm=name if named and why is None else None,
        claim=claim,
        reasons=(
            *nearly(name, defect, factor),
            *_stops(found, why),
            *remarks(found, verdicts, tier),
            *_outcomes(verdicts),
            *((*own_norm_missing(found, tier), *blind) if why is None else ()),
            *(_scope(found) if outcome is Outcome.HOLDS else ()),
            *stand_in(found),
            *reach(found),
        ),
        approximate=defect,
        factor=factor,
        why=why,
    )


def _stops(found: Sequence[Measured], why: NoNorm | None) -> list[str]:
    """From when on weights stand still, how large the gradient is there, and whether that is rounding."""
    said = []
    for m in found:
        since, rounded = stopped(m), rounded_late(m)
        if since is None or not (rounded or why is NoNorm.STOPS):
            continue
        path = m.trajectory
        size = float((np.exp(path.log_scale[-1]) * path.lengths("gradient")).max())
        at = f"its weights stand still from step {since:,} on, where the gradient's norm is {size:.0e}"
        lost = ": shorter steps are lost in their digits, and no learning rate answers"
        said.append(f"{m.problem.name}: {at}{lost if rounded else ', whatever the learning rate'}.")
    return said


def _outcomes(verdicts: Sequence[ProblemVerdict]) -> list[str]:
    return [f"{v.problem}: {'; '.join(v.reasons)}." for v in verdicts]


def _scope(found: Sequence[Measured]) -> list[str]:
    """Say how far a definite answer reaches where few problems were asked for."""
    if len(found) >= ENOUGH:
        return []
    return [
        f"That is said of {'this problem' if len(found) == 1 else 'these problems'} alone: a verdict on the optimizer "
        f"takes {ENOUGH} of different shape and degree (leave --problem out)."
    ]


def blind_spots(verdicts: Sequence[ProblemVerdict], weighed: frozenset[str] = frozenset()) -> list[str]:
    """Name the norms that no problem could tell from the judged one, unless they are the same on all of its blocks.

    Args:
        verdicts: On each problem.
        weighed: Norms that the steps themselves tell from it, by the blocks' weights.

    Returns:
        A sentence, or none.
    """
    blind = [n for n in untold(verdicts[0].norm, [v.evidence for v in verdicts], CANDIDATES) if n not in weighed]
    if not blind:
        return []
    return [f"These problems cannot tell {verdicts[0].norm} from {', '.join(blind)}; add one that can (--problem)."]


def _followed(m: Measured, norm: str) -> float | None:
    """How well steps under constant gradients follow a norm that was read off them; None for any other."""
    # An inexact polar factor follows the norm of the exact one, but for the lengths of vectors.
    seen = m.exam.fingerprint
    if seen is not None and seen.norm.name == norm:
        return seen.alignment
    inexact = seen is not None and seen.family == norm and any(f.kind is Kind.NEWTON_SCHULZ for f in m.exam.findings)
    return m.steady(m.exam.norms[norm]) if inexact else None


def _defect(found: Sequence[Measured], verdicts: Sequence[ProblemVerdict]) -> dict[str, float] | None:
    """Return how far an optimizer that is nearly of the judged norm falls short; None if it is not nearly so.

    Nearly: its signature is imperfect but near (a perfect one that still fails has another fault), its trajectories
    stay near, it forgets (a preconditioner that sums up all gradients only looks like a norm at first), and it does
    the same elsewhere.
    """
    rows = [(m, v) for m, v in zip(found, verdicts, strict=True) if v.norm in v.evidence]
    if not rows or any(m.exam.about is None or m.exam.about.memory == inf or m.exam.elsewhere for m, _ in rows):
        return None
    signature = [r for m, v in rows if (r := _followed(m, v.norm)) is not None]
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
