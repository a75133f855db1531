"""What the rules ask of one norm on one problem, from the evidence: facts, no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, isnan, log

from maxmargin.verify.judging.reasons import Reason
from maxmargin.verify.results.verdict import Hypothesis, NormEvidence
from maxmargin.verify.thresholds.judging import APART, CHATTER, FALLING, STEADY
from maxmargin.verify.thresholds.table import Bounds


@dataclass(frozen=True)
class Facts:
    """One norm on one problem.

    Attributes:
        norm: The norm's name, the claimed one.
        evidence: What was measured, by norm.
        hypotheses: The theorem's, as measured.
        tiers: What is asked, by tier.
        tier: Whose steps were taken.
        steps: Taken.
        margin: The largest final one.
        steady: Alignment of the optimizer's steps under constant gradients with the norm, if known.
        short_of: How many times more steps its memory asks for than the tier gives.
        by: The tier whose bounds decide, if not its own.
        told: Norms that the steps under constant gradients tell from it, however near their points lie.
    """

    norm: str
    evidence: Mapping[str, NormEvidence]
    hypotheses: Mapping[str, Hypothesis]
    tiers: Mapping[str, Bounds]
    tier: str = "quick"
    steps: int = 0
    margin: float = inf
    steady: float | None = None
    short_of: float = 1.0
    by: str | None = None
    told: frozenset[str] = frozenset()

    @property
    def asked(self) -> Bounds:
        """What the tier asks."""
        return self.tiers[self.tier]

    @property
    def bounds(self) -> Bounds:
        """What is asked."""
        return self.tiers[self.by or self.tier]

    @property
    def own(self) -> NormEvidence:
        """The evidence under the norm itself."""
        return self.evidence[self.norm]

    @property
    def gap(self) -> float:
        """Its gap, the worst run's."""
        return self.own.kkt_gap_range[1]

    @property
    def within(self) -> bool:
        """Whether the gap is within its bound."""
        return self.gap <= self.bounds.gap

    @cached_property
    def rival(self) -> str | None:
        """The nearest other norm that the problem can tell from it, by its best run."""
        controls = [n for n in controls_of(self.norm, self.evidence) if n not in self.told]
        return min(controls, key=lambda n: self.evidence[n].kkt_gap_range[0], default=None)

    @property
    def rival_gap(self) -> float:
        """The rival's gap, the best run's; inf without one."""
        return self.evidence[self.rival].kkt_gap_range[0] if self.rival is not None else inf

    @property
    def rival_ratio(self) -> float:
        """The rival's gap over its own."""
        return self.rival_gap / max(self.gap, 1e-300)

    @property
    def unmet(self) -> str:
        """The hypotheses that are unmet."""
        return ", ".join(name for name, h in self.hypotheses.items() if h.met is False)

    @cached_property
    def movement(self) -> Reason:
        """How the gap moves."""
        if self.own.slope is None or self.own.slope_interval is None:
            return Reason.NO_SLOPE
        low, high = self.own.slope_interval
        if high >= FALLING:
            return Reason.FLAT if low >= FALLING else Reason.NEARLY_FLAT
        return Reason.CLOSING if self.within else Reason.CLOSING_LATE

    @property
    def closing(self) -> bool:
        """Whether the gap surely falls."""
        return self.movement in (Reason.CLOSING, Reason.CLOSING_LATE)

    @property
    def own_steps(self) -> bool:
        """Whether its steps are known to be the norm's own under constant gradients."""
        return self.steady is not None and self.steady >= STEADY

    @property
    def foreign_steps(self) -> bool:
        """Whether they are known not to be."""
        return self.steady is not None and self.steady < STEADY

    @property
    def aligned(self) -> bool:
        """Whether its late steps are aligned with the norm's, as far as is asked."""
        return self.own.alignment >= self.bounds.alignment

    @property
    def misaligned(self) -> bool:
        """Whether its late steps speak against the norm.

        Where steps are the norm's own under constant gradients, single ones may chatter late in training: little while
        the gap is open, as much as they do where it is seen to close.
        """
        chatters = self.own_steps and ((self.within and self.closing) or self.own.alignment >= CHATTER)
        return not self.aligned and not chatters

    @cached_property
    def shortfalls(self) -> tuple[Reason, ...]:
        """What is asked and not there."""
        missing = {
            Reason.LARGE: not self.within,
            Reason.RIVAL_NEAR: self.rival_gap < self.bounds.ratio * self.gap,
            Reason.MISALIGNED: self.misaligned,
        }
        return tuple(reason for reason, there in missing.items() if there)

    @property
    def steps_needed(self) -> float | None:
        """Steps after which the gap meets its bound, extrapolated."""
        return self._steps_to(self.bounds)

    @property
    def steps_asked(self) -> float | None:
        """Steps after which it meets the tier's own."""
        return self._steps_to(self.asked)

    def _steps_to(self, bounds: Bounds) -> float | None:
        return steps_needed(self.own, bounds.gap, self.steps) if self.norm in self.evidence else None


def controls_of(norm: str, evidence: Mapping[str, NormEvidence]) -> list[str]:
    """The norms that this problem can tell from ``norm``, of those whose gap is known."""
    return [n for n, e in evidence.items() if is_control(n, norm, evidence) and not isnan(e.kkt_gap_range[0])]


def is_control(name: str, norm: str | None, evidence: Mapping[str, NormEvidence]) -> bool:
    """Whether ``name`` is another norm that this problem can tell from ``norm``; a coinciding one is none."""
    apart = evidence[name].apart
    return name != norm and (apart is None or apart >= APART)


def steps_needed(own: NormEvidence, bound: float, steps: int) -> float | None:
    """Return how many steps the gap needs to meet ``bound`` if it goes on falling as fitted; None if it does not fall.

    Γ(t) = Γ(steps) (t / steps)^slope, the worst run's gap.
    """
    gap = own.kkt_gap_range[1]
    if isnan(gap) or own.slope is None or own.slope_interval is None or own.slope_interval[1] >= FALLING:
        return None
    return steps * max(1.0, exp(log(gap / bound) / -own.slope)) if gap > 0 else float(steps)
