"""From evidence to an outcome on one problem: matching gap small, the others' not, alignment, slope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import exp, isnan, log

from maxmargin.verify.results.verdict import Hypothesis, NormEvidence, Outcome, ProblemVerdict

APART = 0.03  # a norm whose gap at the claimed norm's optimum is below this is not a control on that problem
FALLING = -0.1  # d log Γ / d log t: flatter than this is a plateau
PLATEAU = 1e-3  # a plateau above it refutes; below it, nothing is lost that a choice of learning rates could not cost
REACHED = 1e-6  # a gap this small need not fall any more
STEADY = 0.99  # alignment under constant gradients above which misaligned steps late in training are chatter
FAR = 2.0  # times the bound: a gap that stands still above it is not going to meet it
LATE = 20.0  # a margin at which the others' weights are e^-20 and less
CHATTER = 0.5  # but, while the gap is open, below this alignment they are more than that


@dataclass(frozen=True)
class Bounds:
    """What is asked of a trajectory before a claim may hold.

    Attributes:
        gap: Largest final KKT gap under the claimed norm.
        ratio: Smallest ratio of any other norm's gap to it.
        alignment: Smallest alignment r of the late steps with steepest descent under the claimed norm.
    """

    gap: float
    ratio: float
    alignment: float


def judge(
    claim: str,
    evidence: Mapping[str, NormEvidence],
    hypotheses: Mapping[str, Hypothesis],
    bounds: Bounds,
    *,
    steps: int,
    steady: float | None = None,
) -> tuple[Outcome, tuple[str, ...]]:
    """Judge one claim on one problem.

    Args:
        claim: The claimed norm's name; a key of ``evidence``.
        evidence: What was measured, by norm.
        hypotheses: The theorem's hypotheses as measured.
        bounds: What is asked.
        steps: Steps taken, for the extrapolation.
        steady: Alignment of its steps under constant gradients with the claimed norm, if known. RMSprop without
            momentum goes to and fro between the smallest margins: its single steps are 0.5 aligned, their sums 1.

    Returns:
        The outcome and its reasons, most important first.
    """
    unmet = [name for name, h in hypotheses.items() if h.met is False]
    if claim not in evidence:
        if evidence:
            return Outcome.INCONCLUSIVE, (f"the margin problem under {claim} could not be solved here",)
        return Outcome.INCONCLUSIVE, (
            "no run separated the data with finite weights, so there is no margin to speak of",
        )
    own = evidence[claim]
    gap = own.kkt_gap_range[1]
    if isnan(gap) or isnan(own.alignment):
        unknown = "KKT gap" if isnan(gap) else "alignment of the last steps"
        return Outcome.INCONCLUSIVE, (f"the {unknown} under {claim} could not be measured",)
    controls = controls_of(claim, evidence)
    rival = min(controls, key=lambda n: evidence[n].kkt_gap_range[0], default=None)
    rival_gap = evidence[rival].kkt_gap_range[0] if rival is not None else None

    if rival_gap is not None and rival_gap * bounds.ratio <= gap and rival_gap <= bounds.gap:
        assert rival is not None
        return Outcome.FAILS, (
            f"the margin that is maximized is another norm's: KKT gap {rival_gap:.1e} under {rival}, "
            f"{gap:.1e} under {claim}",
        )
    shortfalls = []
    if gap > bounds.gap:
        shortfalls.append(f"KKT gap {gap:.1e} under {claim}, needed ≤ {bounds.gap:.0e}")
    if rival_gap is not None and rival_gap < bounds.ratio * gap:
        shortfalls.append(
            f"{rival}'s gap {rival_gap:.1e} is only {rival_gap / max(gap, 1e-300):.1f} times {claim}'s {gap:.1e}, "
            f"needed ≥ {bounds.ratio:g} times"
        )
    trend, moving = _trend(own, gap, bounds.gap, steps)
    # Where steps are the norm's own under constant gradients, single ones may chatter late in training: little where
    # the gap is still open, as they like where it is seen to close.
    closes = gap <= bounds.gap and moving is _Moving.FALLING
    chatters = own_when_constant(steady) and (closes or own.alignment >= CHATTER)
    misaligned = own.alignment < bounds.alignment and not chatters
    if misaligned:
        shortfalls.append(
            f"steps are only {own.alignment:.3f} aligned with steepest descent under {claim}, "
            f"needed ≥ {bounds.alignment:g}"
        )
    if not shortfalls:
        if unmet:
            return Outcome.INCONCLUSIVE, (
                f"the {claim} gap closes ({gap:.1e}), but a hypothesis of the theorem is unmet: {', '.join(unmet)}",
            )
        if gap > REACHED and moving is not _Moving.FALLING:
            # A subtle fault stops the gap short of 0: small is not enough, it must be seen to fall. Where steps are
            # not the norm's even under constant gradients, nothing speaks for a fall that cannot be seen.
            foreign = (
                f", and under constant gradients its steps are only {steady:.3f} aligned with {claim}'s"
                if steady is not None and steady < STEADY
                else ""
            )
            stuck = gap > PLATEAU and (moving is _Moving.FLAT or (moving is _Moving.UNSURE and bool(foreign)))
            return Outcome.FAILS if stuck else Outcome.INCONCLUSIVE, (
                f"KKT gap {gap:.1e} under {claim} is within its bound, but it is not seen to close{foreign}",
                trend,
            )
        beside = f"; nearest other norm: {rival} at {rival_gap:.1e}" if rival is not None else ""
        return Outcome.HOLDS, (f"KKT gap {gap:.1e} under {claim}{beside}",)
    if gap <= bounds.gap and not misaligned:
        return Outcome.INCONCLUSIVE, (*shortfalls, "the two norms are not told apart here")
    # Steps that are the norm's own, under constant gradients and late in training, refute nothing as long as the gap
    # may still close; a long memory can make that slow.
    own_steps = own_when_constant(steady) and own.alignment >= bounds.alignment
    still_falling = moving in (_Moving.FALLING, _Moving.UNKNOWN) or (moving is _Moving.UNSURE and own_steps)
    if still_falling and not misaligned:
        return Outcome.INCONCLUSIVE, (*shortfalls, trend)
    return Outcome.FAILS, (*shortfalls, trend)


def decide(
    norm: str,
    evidence: Mapping[str, NormEvidence],
    hypotheses: Mapping[str, Hypothesis],
    bounds: Mapping[str, Bounds],
    tier: str,
    *,
    steps: int,
    margin: float,
    steady: float | None,
    short_of: float,
) -> tuple[Outcome, tuple[str, ...]]:
    """Judge a norm on one problem by the tier's bounds.

    These are for the steps that a tier means to take. Where the optimizer's memory asks for more of them than it
    gives, those of ``quick`` decide, as they do of a short memory, if the gap is still closing; and steps that are the
    norm's own under constant gradients are not refuted before margins are large. Both are said.

    Args:
        norm: The norm's name; a key of ``evidence``.
        evidence: What was measured, by norm.
        hypotheses: As measured.
        bounds: What is asked, by tier.
        tier: ``quick`` or ``full``.
        steps: Steps taken.
        margin: The largest final margin.
        steady: Alignment of its steps under constant gradients with the norm, if known.
        short_of: How many times more steps its memory asks for than the tier gives.

    Returns:
        The outcome and its reasons.
    """
    found = judge(norm, evidence, hypotheses, bounds[tier], steps=steps, steady=steady)
    if found[0] is Outcome.FAILS and short_of > 1 and margin < LATE and own_when_constant(steady):
        early = f"too early to tell: margins are {margin:.2g}, and its memory asks for {short_of:.0f} times more steps"
        return Outcome.INCONCLUSIVE, (*found[1], early)
    needed = steps_needed(evidence[norm], bounds[tier].gap, steps) if norm in evidence else None
    if found[0] is not Outcome.INCONCLUSIVE or short_of <= 1 or needed is None:
        return found
    outcome, reasons = judge(norm, evidence, hypotheses, bounds["quick"], steps=steps, steady=steady)
    if outcome is not Outcome.HOLDS:
        return found
    return outcome, (
        *reasons,
        f"by the quick tier's bounds, as its memory asks for {short_of:.0f} times more steps than the {tier} tier has; "
        f"the {tier} tier's gap of {bounds[tier].gap:.0e} would be met after about {needed:.1e}",
    )


def hopeless(verdict: ProblemVerdict, bounds: Bounds) -> bool:
    """Whether a claim is refuted beyond what more steps could mend.

    Then its gap is far above the bound and surely stands still, at margins where only the smallest still count.

    Args:
        verdict: On the claim, after some steps.
        bounds: What is asked.

    Returns:
        True or False.
    """
    own = verdict.evidence.get(verdict.norm)
    if verdict.outcome is not Outcome.FAILS or own is None or own.slope_interval is None:
        return False
    flat = own.slope_interval[0] > FALLING and own.kkt_gap_range[0] > FAR * bounds.gap
    return flat and verdict.final_margin >= LATE


def own_when_constant(steady: float | None) -> bool:
    """Whether steps are known to be the norm's own under constant gradients, from their alignment with it there."""
    return steady is not None and steady >= STEADY


def controls_of(claim: str, evidence: Mapping[str, NormEvidence]) -> list[str]:
    """The norms that this problem can tell from the claimed one."""
    return [
        name
        for name, e in evidence.items()
        if name != claim and (e.apart is None or e.apart >= APART) and not isnan(e.kkt_gap_range[0])
    ]


class _Moving(Enum):
    """How the gap moved at the end."""

    FALLING = "falling"  # surely
    FLAT = "flat"  # surely
    UNSURE = "unsure"
    UNKNOWN = "unknown"  # too few checkpoints


def steps_needed(own: NormEvidence, bound: float, steps: int) -> float | None:
    """Return how many steps the gap needs to meet ``bound`` if it goes on falling as fitted; None if it does not fall.

    Γ(t) = Γ(steps) (t / steps)^slope, the worst run's gap.
    """
    gap = own.kkt_gap_range[1]
    if isnan(gap) or own.slope is None or own.slope_interval is None or own.slope_interval[1] >= FALLING:
        return None
    return steps * max(1.0, exp(log(gap / bound) / -own.slope)) if gap > 0 else float(steps)


def _trend(own: NormEvidence, gap: float, bound: float, steps: int) -> tuple[str, _Moving]:
    """A sentence on how the gap moves, and the same in a word."""
    if own.slope is None or own.slope_interval is None:
        return "too few checkpoints for a slope", _Moving.UNKNOWN
    low, high = own.slope_interval
    text = f"the gap moves like t^{own.slope:.2f} (95 %: {low:.2f} … {high:.2f})"
    if low >= FALLING:
        return f"{text}: a plateau", _Moving.FLAT
    if high >= FALLING:
        return f"{text}: a plateau, or nearly", _Moving.UNSURE
    if gap <= bound:
        return f"{text}: still closing", _Moving.FALLING
    more = steps_needed(own, bound, steps)
    return f"{text}: still closing, the bound would be met after about {more:.1e} steps", _Moving.FALLING
