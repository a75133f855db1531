"""What the rules ask of one norm on one problem, from the evidence: facts, no decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, isnan, log

from maxmargin.verify.judging.reasons import Reason
from maxmargin.verify.results.problem_verdict import Hypothesis, NormEvidence
from maxmargin.verify.thresholds.judging import APART, FALLING, LATE_MARGIN, LEFT, PLATEAU, REACHED, STEADY, TOLD
from maxmargin.verify.thresholds.table import Bounds


@dataclass(frozen=True)
class Facts:
    """One norm on one problem.

    Attributes:
        norm: The norm's name, the judged one.
        evidence: What was measured, by norm.
        hypotheses: As measured.
        bounds: What is asked.
        steps: Taken.
        margin: The largest final one.
        steady: Alignment of the optimizer's steps under constant gradients with the norm, if known.
        told: Norms that the steps under constant gradients tell from it, however near their points lie.
        elsewhere: What it does at realistic shapes or on small gradients, where that leaves the norm no chance.
        slower: The run's pace, of the one that was tried first.
    """

    norm: str
    evidence: Mapping[str, NormEvidence]
    hypotheses: Mapping[str, Hypothesis]
    bounds: Bounds
    steps: int = 0
    margin: float = inf
    steady: float | None = None
    told: frozenset[str] = frozenset()
    elsewhere: str = ""
    slower: float = 1.0

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

    @property
    def far(self) -> bool:
        """Whether its direction is too far from the norm's optimal face, where that is asked."""
        return self.own.distance is not None and self.own.distance > self.bounds.distance

    # -- Other norms ----------------------------------------------------------------------------------------------

    @cached_property
    def controls(self) -> list[str]:
        """The norms that these runs can tell from it."""
        return [name for name in controls_of(self.norm, self.evidence) if name not in self.told]

    @property
    def unmatched(self) -> bool:
        """Whether the norm's own points are not known, so that nothing is told from it."""
        others = [e for name, e in self.evidence.items() if name != self.norm and not e.same]
        return bool(others) and all(e.apart is None for e in others)

    @cached_property
    def nearest(self) -> str | None:
        """The control with the smallest gap, by its best run."""
        return min(self.controls, key=lambda name: self.evidence[name].kkt_gap_range[0], default=None)

    @property
    def nearest_gap(self) -> float:
        """That gap; inf without one."""
        return inf if self.nearest is None else self.evidence[self.nearest].kkt_gap_range[0]

    @cached_property
    def rival(self) -> str | None:
        """The control whose gap is the smallest share of what it is at the norm's own point, by its best run."""
        return min(self.controls, key=self._told, default=None)

    @property
    def rival_gap(self) -> float:
        """The rival's gap, the best run's; inf without one."""
        return inf if self.rival is None else self.evidence[self.rival].kkt_gap_range[0]

    @property
    def rival_told(self) -> float:
        """That share; 1 without a rival."""
        return 1.0 if self.rival is None else self._told(self.rival)

    def _told(self, name: str) -> float:
        """The share of one norm; nothing told is 0, which helps no verdict."""
        told = self.evidence[name].told
        return told[0] if told is not None else 0.0

    @property
    def least_told(self) -> float:
        """The share that is asked."""
        return TOLD

    # -- Movement and steps ---------------------------------------------------------------------------------------

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

    # -- What refutes ---------------------------------------------------------------------------------------------

    @property
    def another_norms(self) -> bool:
        """Whether the direction has left the norm's set for another one's."""
        return not self.closing and self.rival_told <= LEFT and self.rival_gap <= self.bounds.gap

    @property
    def stands(self) -> bool:
        """Whether the gap stands still at a size that counts; of foreign steps, if it is not seen to fall.

        Steps that are not known to be another's refute nothing before margins are large: a long memory takes its time;
        nor in a run whose learning rate is not honoured, which is not led as it would be.
        """
        still = self.movement is Reason.FLAT or (self.movement is Reason.NEARLY_FLAT and self.foreign_steps)
        return still and self.gap > PLATEAU and (self.foreign_steps or (self.led and not self.early))

    @property
    def led(self) -> bool:
        """Whether the learning rate is honoured at once, as far as is known, so that the run is the optimizer's own."""
        rate = self.hypotheses.get("learning rate honoured at once")
        return rate is None or rate.met is not False

    @property
    def early(self) -> bool:
        """Whether margins are too small for the smallest alone to count."""
        return self.margin < LATE_MARGIN

    @property
    def misaligned(self) -> bool:
        """Whether steps are not the norm's: neither the late ones nor, as far as is known, those without change."""
        return self.own.alignment < self.bounds.alignment and not self.own_steps

    @property
    def refuted_by_steps(self) -> bool:
        """Whether steps that are not the norm's refute it: what is not known of others speaks for neither side."""
        stands = self.movement in (Reason.FLAT, Reason.NEARLY_FLAT) and not self.early and self.led
        return self.misaligned and (self.foreign_steps or stands)

    # -- What a pass asks -----------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the gap has neither closed nor is seen to."""
        return not self.closing and self.gap > REACHED

    @cached_property
    def shortfalls(self) -> tuple[Reason, ...]:
        """What a pass asks and is not there."""
        missing = {
            Reason.LARGE: not self.within,
            Reason.MISALIGNED: self.misaligned,
            Reason.UNMATCHED: self.unmatched,
            Reason.RIVAL_NEAR: self.rival_told < TOLD,
            Reason.FAR: self.far,
            Reason.STANDS: self.within and self.is_open,
            Reason.TOO_EARLY: self.is_open and self.early,
            Reason.UNMET: bool(self.unmet),
            Reason.UNKNOWN: bool(self.unknown),
        }
        return tuple(reason for reason, there in missing.items() if there)

    # -- Hypotheses -----------------------------------------------------------------------------------------------

    @property
    def unmet(self) -> str:
        """Those that are unmet, the optimizer's own among them."""
        return _shown((name, h) for name, h in self.hypotheses.items() if h.met is False and h.kind != "number")

    @property
    def unmet_by_the_run(self) -> str:
        """Those of the theorem that are unmet: it says nothing of such runs."""
        return _shown((name, h) for name, h in self.hypotheses.items() if h.met is False and h.kind == "theorem")

    @property
    def unknown(self) -> str:
        """Those that are judged and not known."""
        return _shown((name, h) for name, h in self.hypotheses.items() if h.met is None and h.kind != "number")

    @property
    def separated(self) -> float:
        """Share of the runs that separate the data; the others have no margin, and nothing is measured of them."""
        found = self.hypotheses.get("separated")
        return float(found.value) if found is not None and isinstance(found.value, (int, float)) else 1.0

    # -- Advice ---------------------------------------------------------------------------------------------------

    @property
    def steps_needed(self) -> float | None:
        """Steps after which the gap meets its bound, and the direction, where that is asked, extrapolated."""
        return steps_needed(self.own, self.bounds, self.steps) if self.norm in self.evidence else None


def left_to_the_run(hypotheses: Mapping[str, Hypothesis]) -> bool:
    """Whether no hypothesis stands in the way but one that another run may meet."""
    open_ = {name for name, h in hypotheses.items() if h.met is not True and h.kind != "number"}
    return open_ <= {"direction settles"}


def controls_of(norm: str, evidence: Mapping[str, NormEvidence]) -> list[str]:
    """The norms that these runs can tell from ``norm``, of those whose gap is known."""
    return [n for n, e in evidence.items() if is_control(n, norm, evidence) and not isnan(e.kkt_gap_range[0])]


def is_control(name: str, norm: str | None, evidence: Mapping[str, NormEvidence]) -> bool:
    """Whether ``name`` is another norm that lies apart at the points of ``norm`` that the runs approach."""
    row = evidence[name]
    return name != norm and not row.same and row.apart is not None and row.apart >= APART


def untold(norm: str, problems: Iterable[Mapping[str, NormEvidence]], candidates: Iterable[str]) -> list[str]:
    """Return the candidates that no problem tells from ``norm``, but for those that are the same norm on all of them.

    Args:
        norm: The judged norm.
        problems: The evidence on each problem.
        candidates: The norms that have to be told from it; one that was nowhere measured is not told.
    """
    rows = list(problems)
    told = {name for evidence in rows for name in controls_of(norm, evidence)}
    same = {name for name in candidates if rows and all(name in e and e[name].same for e in rows)}
    return [name for name in candidates if name != norm and name not in told | same]


def steps_needed(own: NormEvidence, bounds: Bounds, steps: int) -> float | None:
    """Return how many steps the gap needs to meet its bound if it goes on falling as fitted; None if it does not fall.

    Γ(t) = Γ(steps) (t / steps)^slope, the worst run's gap. The direction of a linear model approaches its face no
    faster than 1/t: what is not along the face stays as it is while θ grows like t.
    """
    gap = own.kkt_gap_range[1]
    if isnan(gap) or own.slope is None or own.slope_interval is None or own.slope_interval[1] >= FALLING:
        return None
    far = 1.0 if own.distance is None else own.distance / bounds.distance
    return steps * max(1.0, far, exp(log(gap / bounds.gap) / -own.slope) if gap > 0 else 0.0)


def _shown(found: Iterable[tuple[str, Hypothesis]]) -> str:
    """Names, with the numbers that were measured."""
    return ", ".join(f"{name} ({h.value:.2g})" if isinstance(h.value, float) else name for name, h in found)
