"""The one schema of results, from the worker to JSON and to the page: outcomes, evidence, verdicts.

In memory and in JSON the fields are the same (DESIGN, section 6); ``encoding.py`` writes and reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal, TypedDict

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import asdict, force_setattr, replace
from typing_extensions import override

from maxmargin.verify.results.encoding import Real, as_json


class Outcome(StrEnum):
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


class Hypothesis(Struct, frozen=True):
    """Something of which a verdict depends, as measured.

    Attributes:
        met: Whether it is met; None where that is not known, and of a number.
        value: What was measured.
        kind: ``theorem``: asked by the theorem of the run, its schedule and the data; unmet, it leaves the claim open.
            ``optimizer``: asked of the optimizer itself, by experiments before any run; unmet, it is a fault of the
            optimizer. ``number``: for information.
    """

    met: bool | None
    value: bool | float | str | None = None
    kind: Literal["theorem", "optimizer", "number"] = "theorem"


class NormEvidence(Struct, frozen=True):
    """How a trajectory stands towards one norm; ranges are over the separated runs.

    Attributes:
        kkt_gap: Median final Γ.
        kkt_gap_range: (smallest, largest) final Γ.
        alignment: Median of r = −⟨g, Δθ⟩/(‖g‖_* ‖Δθ‖) over the last checkpoints.
        margin_ratio: Median of margin / reference margin at the end; None without a reference.
        distance: Of the judged norm, the largest ℓ2 distance of a run's final direction from its reference (the optimal
            face, or the matched KKT point).
        slope: Fitted d log Γ / d log t over the later checkpoints, median over runs.
        slope_interval: 95 % interval of that slope.
        residual: Natural residual of the matched KKT point (L ≥ 2); None where the reference is convex.
        matched: Share of the measured runs for whose end a KKT point was found (natural residual ≤ 1e-8).
        rung: The rung of the ladder of evidence on which the reference stands.
        apart: Least Γ of this norm, over the runs, at the claimed norm's point that is nearest to the run's end: on its
            optimal face, or the matched KKT point. None if not all of them are known.
        told: (smallest, largest) over the runs of this norm's Γ at the end over that at the claimed norm's point: 1 on
            the claimed norm's set, 0 on this norm's own. None where ``apart`` is, or is 0.
        same: Whether it is the claimed norm, up to a factor, on the problem's blocks.
    """

    kkt_gap: Real
    kkt_gap_range: tuple[Real, Real]
    alignment: Real
    margin_ratio: float | None
    distance: float | None
    slope: float | None
    slope_interval: tuple[Real, Real] | None = None
    residual: float | None = None
    matched: float | None = None
    rung: str = "numerical"
    apart: float | None = None
    told: tuple[Real, Real] | None = None
    same: bool = False


class ProblemVerdict(Struct, frozen=True):
    """The outcome on one problem, with the evidence under every norm that was measured.

    Attributes:
        norm: The norm that it was judged for.
        steps_needed: Steps after which the gap would meet its bound, extrapolated; None where it does not fall.
        arrays_file: Where a store has put the arrays; "arrays" in JSON.
        arrays: The curves behind the evidence, in memory alone.
    """

    problem: str
    degree: int
    outcome: Outcome
    steps: int
    final_margin: Real
    evidence: Mapping[str, NormEvidence]
    hypotheses: Mapping[str, Hypothesis]
    reasons: tuple[str, ...] = ()
    rung: str = "numerical"
    runs: int = 1
    separated_runs: int = 1
    norm: str = ""
    steps_needed: float | None = None
    arrays_file: str | UnsetType = field(default=UNSET, name="arrays")
    arrays: Mapping[str, Any] | UnsetType = field(default=UNSET, name="arrays in memory")

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in asdict(self.stored).items() if value is not UNSET)
        return f"ProblemVerdict({fields})"

    @property
    def stored(self) -> ProblemVerdict:
        """The verdict without its arrays, which are saved beside it."""
        return replace(self, arrays=UNSET)


class NormOfBlock(TypedDict):
    """The norm of one block of parameters, read from the steps."""

    norm: str
    weight: float | None
    alignment: Real


class Verdict(Struct, frozen=True):
    """What a check and a claim of ``verify`` have in common.

    Attributes:
        target: The optimizer.
        kwargs: Its arguments; in place of what is no number, truth value or text, its repr.
        outcome: HOLDS, FAILS or INCONCLUSIVE.
        norm: The norm that was identified (``check``) or confirmed; None if none was.
        blocks: The norm of each block.
        claim: The norm that was claimed, or None.
        reasons: Sentences for a reader, most important first.
        problems: One verdict a problem.
        approximate: For an optimizer that is only approximately of a norm: the measured defect.
    """

    target: str
    kwargs: Mapping[str, Any]
    outcome: Outcome
    norm: str | None
    blocks: Mapping[str, NormOfBlock]
    claim: str | None
    reasons: tuple[str, ...]
    problems: tuple[ProblemVerdict, ...]
    approximate: Mapping[str, Real] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        kwargs = {k: v if isinstance(v, (int, float, str, type(None))) else repr(v) for k, v in self.kwargs.items()}
        force_setattr(self, "kwargs", kwargs)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON."""
        return as_json(replace(self, problems=tuple(p.stored for p in self.problems)))

    @property
    def optimizer(self) -> str:
        """The optimizer as a reader is shown it."""
        return self.target

    @property
    def about(self) -> str | None:
        """The norm that the verdict is about: the claimed one, else the one that was found or came nearest."""
        return self.claim or self.norm

    @property
    def sentence(self) -> str:
        """The outcome in a sentence."""
        if self.outcome is Outcome.HOLDS:
            return f"{self.optimizer} maximizes the {self.about} margin."
        if self.outcome is Outcome.FAILS:
            if self.about is None:
                return f"{self.optimizer} maximizes the margin of none of the candidate norms."
            if self.approximate or self.claim is None:
                return f"{self.optimizer} maximizes the {self.about} margin only approximately."
            return f"{self.optimizer} does not maximize the {self.about} margin."
        if self.claim is not None:
            return f"Whether {self.optimizer} maximizes the {self.claim} margin is not decided."
        nearest = f"; {self.norm} comes nearest" if self.norm is not None else ""
        return f"Which norm's margin {self.optimizer} maximizes is not decided{nearest}."

    def explain(self) -> str:
        """The verdict and its reasons as a paragraph, for the optimizer's author."""
        return " ".join([self.sentence, *self.reasons])


class CheckVerdict(Verdict, frozen=True, kw_only=True):
    """What ``check`` returns.

    Attributes:
        probe: What the optimizer was found to do, where it is none of our own.
        twin: The optimizer of ours that it follows, or None.
        findings: Faults that were found before training.
    """

    schema: Literal[1] = 1
    approximate: Mapping[str, Real] | None = None
    tier: str = ""
    versions: Mapping[str, str] = {}
    seed: int | None = None
    device: str = ""
    seconds: float | None = None
    probe: Mapping[str, Any] | None = None
    twin: str | None = None
    findings: tuple[Mapping[str, Any], ...] = ()

    @property
    @override
    def optimizer(self) -> str:
        """The target with its arguments, texts as ``--kw`` takes them."""
        options = ", ".join(f"{name}={value}" for name, value in self.kwargs.items())
        return f"{self.target}({options})" if options else self.target
