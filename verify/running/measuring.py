"""A claim that numbers decide, in one case: measured, judged, and measured once more where it must not hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from msgspec import UNSET

from maxmargin.verify.claims.record import Case, Condition, Conditions, Measured, Numbers
from maxmargin.verify.engine.devices import one_thread
from maxmargin.verify.progress.report import StepProgress
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ControlVerdict, Hypothesis, Number, ProblemVerdict


@dataclass(frozen=True)
class Measuring:
    """One case of a claim, and one seed.

    Attributes:
        name: What progress calls it.
        claim: The claim.
        case: Its case.
        label: What the verdict calls the case.
        tier: ``quick`` or ``full``.
        seed: Of everything random in it.
        control: Whether the claim's control is measured with it.
    """

    name: str
    claim: Measured
    case: Case
    label: str
    tier: str
    seed: int
    control: bool

    @property
    def order(self) -> tuple[bool, int]:
        """Behind the networks, before the linear problems."""
        return False, 0

    @property
    def threads(self) -> bool:
        """The engine's runs leave the interpreter to others."""
        return True

    def verdict(self, progress: StepProgress | None = None) -> ProblemVerdict:
        """Measure and judge; the control as well, where it is asked for."""
        claim = self.claim
        if progress is not None:
            progress(0, 1 + self.control)
        found, arrays, outcome = self._decided(self.case, claim.hypotheses)
        hypotheses = {c.number: Hypothesis(met_by(c, found), _value(found, c.number)) for c in claim.hypotheses}
        unmet = [c for c in claim.hypotheses if c.outcome(found) is not Outcome.HOLDS]
        control = None
        if self.control:
            if progress is not None:
                progress(1, 2)
            spoiled, _, said = self._decided(claim.spoiled)
            control = ControlVerdict(claim.control.name, said is Outcome.FAILS, judged(claim.conditions, spoiled), said)
        return ProblemVerdict(
            problem=self.label,
            degree=0,
            outcome=outcome,
            steps=0,
            final_margin=math.nan,
            evidence={},
            hypotheses=hypotheses,
            reasons=(
                *(f"the hypothesis {_said(found, c)} is not met" for c in unmet),
                *(f"{_said(found, c)}" for c in claim.conditions),
            ),
            numbers=judged(claim.conditions, found),
            control=control,
            arrays=arrays or UNSET,
        )

    def _decided(
        self, case: Case, hypotheses: Conditions = ()
    ) -> tuple[dict[str, float], dict[str, np.ndarray], Outcome]:
        """The numbers, the arrays, and what they say: of the first length of the run that decides, or of the last."""
        length, *others = (case.longer(times) for times in self.claim.lengths[self.tier])
        while True:
            numbers, arrays = self._measured(length)
            outcome = outcome_of(self.claim.conditions, hypotheses, numbers)
            if outcome is not Outcome.INCONCLUSIVE or not others or length == others[0]:  # which cannot be longer
                return numbers, arrays, outcome
            length, *others = others

    def _measured(self, case: Case) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """The numbers and, apart from them, the arrays."""
        with one_thread():
            found = self.claim.measure(self.tier, self.seed, **case.params)
        arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
        numbers = {name: float(value) for name, value in found.items() if name not in arrays}
        if set(self.claim.lengths[self.tier]) != {1}:
            numbers["steps"] = float(case.params["steps"])
        return numbers, arrays


def outcome_of(conditions: Conditions, hypotheses: Conditions, found: Numbers) -> Outcome:
    """What the numbers say of a claim: nothing where a hypothesis is not met."""
    if any(c.outcome(found) is not Outcome.HOLDS for c in hypotheses):
        return Outcome.INCONCLUSIVE
    return Outcome.of_all(c.outcome(found) for c in conditions)


def judged(conditions: Conditions, found: Numbers) -> tuple[Number, ...]:
    """What the numbers say of the conditions; then those for information."""
    asked = [Number(c.number, _value(found, c.number), str(c), c.outcome(found)) for c in conditions]
    names = {c.number for c in conditions}
    return (*asked, *(Number(name, value) for name, value in found.items() if name not in names))


def met_by(condition: Condition, found: Numbers) -> bool | None:
    """Whether a hypothesis is met; None where its number was not measured."""
    value = _value(found, condition.number)
    return None if math.isnan(value) else condition.outcome(found) is Outcome.HOLDS


def _value(found: Mapping[str, float], number: str) -> float:
    return found.get(number, math.nan)


def _said(found: Mapping[str, float], condition: Condition) -> str:
    value = _value(found, condition.number)
    measured = "could not be measured" if math.isnan(value) else f"is {value:.3g}"
    why = f" ({condition.open})" if condition.open and condition.outcome(found) is Outcome.INCONCLUSIVE else ""
    return f"{condition.number} {measured}, asked is {condition}{why}"
