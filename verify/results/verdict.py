"""Outcomes and verdicts: three-valued, explained, with the evidence attached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from typing import Any


class Outcome(Enum):
    """What a measurement says of a claim. Inconclusive is never a pass."""

    HOLDS = "holds"
    FAILS = "fails"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_status(self) -> int:
        """Exit status of the command line: 0, 1 or 3 (2 is bad usage or input)."""
        return {Outcome.HOLDS: 0, Outcome.FAILS: 1, Outcome.INCONCLUSIVE: 3}[self]

    @classmethod
    def of_all(cls, outcomes: Iterable[Outcome]) -> Outcome:
        """FAILS if any fails, else INCONCLUSIVE if any is (or there are none), else HOLDS."""
        seen = list(outcomes)
        if cls.FAILS in seen:
            return cls.FAILS
        return cls.HOLDS if seen and all(o is cls.HOLDS for o in seen) else cls.INCONCLUSIVE


@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis of the theorem as measured: met, unmet, or not known (None)."""

    met: bool | None
    value: float | str | None = None

    def to_json(self) -> dict[str, Any]:
        """{"met", "value"}."""
        return {"met": self.met, "value": clean(self.value)}


@dataclass(frozen=True)
class NormEvidence:
    """How a trajectory stands towards one norm; ranges are over the separated runs.

    Attributes:
        kkt_gap: Median final Γ.
        kkt_gap_range: (smallest, largest) final Γ.
        alignment: Median of r = −⟨g, Δθ⟩/(‖g‖_* ‖Δθ‖) over the last checkpoints.
        margin_ratio: Median of margin / reference margin at the end; None without a reference.
        distance: Median distance of the direction to the reference (the optimal face, or the matched KKT point).
        slope: Fitted d log Γ / d log t over the later checkpoints, median over runs.
        slope_interval: 95 % interval of that slope.
        residual: Natural residual of the matched KKT point (L ≥ 2); None where the reference is convex.
        matched: Share of the measured runs for whose end a KKT point was found (natural residual ≤ 1e-8).
        rung: The rung of the ladder of evidence on which the reference stands.
        apart: How far apart, in this norm's Γ, the claimed norm's optimal points are; None if not measured.
    """

    kkt_gap: float
    kkt_gap_range: tuple[float, float]
    alignment: float
    margin_ratio: float | None
    distance: float | None
    slope: float | None
    slope_interval: tuple[float, float] | None = None
    residual: float | None = None
    matched: float | None = None
    rung: str = "numerical"
    apart: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The contract's keys and the finer ones."""
        return {key: clean(value) for key, value in self.__dict__.items()}


@dataclass(frozen=True)
class ProblemVerdict:
    """The outcome on one problem, with the evidence under every norm that was measured.

    Attributes:
        norm: The norm that it was judged for.
        steps_needed: Steps after which the gap would meet its bound, extrapolated; None where it does not fall.
    """

    problem: str
    degree: int
    outcome: Outcome
    steps: int
    final_margin: float
    evidence: Mapping[str, NormEvidence]
    hypotheses: Mapping[str, Hypothesis]
    reasons: tuple[str, ...] = ()
    rung: str = "numerical"
    runs: int = 1
    separated_runs: int = 1
    arrays: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    arrays_file: str | None = None
    norm: str = ""
    steps_needed: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As stored; the arrays are saved beside it."""
        out: dict[str, Any] = {
            "problem": self.problem,
            "degree": self.degree,
            "outcome": self.outcome.value,
            "norm": self.norm or None,
            "steps": self.steps,
            "final_margin": clean(self.final_margin),
            "evidence": {name: e.to_json() for name, e in self.evidence.items()},
            "hypotheses": {name: h.to_json() for name, h in self.hypotheses.items()},
            "reasons": list(self.reasons),
            "rung": self.rung,
            "runs": self.runs,
            "separated_runs": self.separated_runs,
            "steps_needed": clean(self.steps_needed),
        }
        if self.arrays_file is not None:
            out["arrays"] = self.arrays_file
        return out


@dataclass(frozen=True)
class Verdict:
    """What ``check`` and each claim of ``verify`` return.

    Attributes:
        target: The optimizer.
        kwargs: Its arguments.
        outcome: HOLDS, FAILS or INCONCLUSIVE.
        norm: The norm that was identified (``check``) or confirmed; None if none was.
        blocks: block → {"norm", "weight"}, read from the steps.
        claim: The norm that was claimed, or None.
        reasons: Sentences for a reader, most important first.
        problems: One verdict a problem.
        id: Claim identifier (``verify``), else the target.
        statement: What is claimed, in a sentence.
        source: Paper and theorem.
        approximate: For an optimizer that is only approximately of a norm: the measured defect.
        extra: Further facts (probe, versions, seed, device, seconds, tier).
    """

    target: str
    kwargs: Mapping[str, Any]
    outcome: Outcome
    norm: str | None
    blocks: Mapping[str, Mapping[str, Any]]
    claim: str | None
    reasons: tuple[str, ...]
    problems: tuple[ProblemVerdict, ...]
    id: str = ""
    statement: str = ""
    source: str = ""
    approximate: Mapping[str, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The contract's JSON of ``check`` (schema 1), with a few keys more."""
        out = {
            "schema": 1,
            "target": self.target,
            "kwargs": {
                k: v if isinstance(v, (int, float, str, bool, type(None))) else repr(v) for k, v in self.kwargs.items()
            },
            "outcome": self.outcome.value,
            "norm": self.norm,
            "blocks": {name: dict(b) for name, b in self.blocks.items()},
            "claim": self.claim,
            "reasons": list(self.reasons),
            "problems": [p.to_json() for p in self.problems],
            "approximate": dict(self.approximate) if self.approximate is not None else None,
        }
        return {k: clean(v) for k, v in (out | dict(self.extra)).items()}

    def to_claim_json(self) -> dict[str, Any]:
        """The same as a row of ``results.json`` of ``verify``."""
        return {
            "id": self.id or self.target,
            "statement": self.statement,
            "source": self.source,
            "optimizer": self.target,
            "kwargs": self.to_json()["kwargs"],
            "norm": self.norm or self.claim,
            "claim": self.claim,
            "outcome": self.outcome.value,
            "reasons": list(self.reasons),
            "rung": weakest(p.rung for p in self.problems),
            "blocks": clean(self.blocks),
            "problems": [p.to_json() for p in self.problems],
        }

    def explain(self) -> str:
        """The verdict and its reasons as a paragraph, for the optimizer's author."""
        return " ".join([self._headline(), *self.reasons])

    def _headline(self) -> str:
        if self.outcome is Outcome.HOLDS:
            return f"{self.target} maximizes the {self.norm} margin, as measured."
        if self.outcome is Outcome.FAILS:
            named = self.norm or self.claim
            if named is None:
                return f"No norm's margin is maximized by {self.target}."
            if self.approximate is not None or self.claim is None:
                return f"{self.target} maximizes the {named} margin only approximately."
            return f"{self.target} does not maximize the {self.claim} margin."
        if self.claim is not None:
            return f"Whether {self.target} maximizes the {self.claim} margin is not decided."
        nearest = f"; {self.norm} comes nearest" if self.norm is not None else ""
        return f"Which norm's margin {self.target} maximizes is not decided{nearest}."


RUNGS = ("numerical", "convex dual certificate", "certified", "symbolic")


def weakest(rungs: Iterable[str]) -> str:
    """The lowest rung of several; numerical for none or for an unknown one."""
    known = [RUNGS.index(r) if r in RUNGS else 0 for r in rungs]
    return RUNGS[min(known, default=0)]


def clean(value: Any) -> Any:
    """JSON-ready: NaN and infinities become null, tuples and arrays lists, scalars of numpy and torch numbers."""
    if isinstance(value, Mapping):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return clean(tolist())
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
