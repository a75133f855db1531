"""The outcome on one problem, and what it stands on: evidence under each norm, hypotheses, numbers, a control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import asdict, replace

from maxmargin.verify.results.encoding import Real
from maxmargin.verify.results.outcome import Outcome


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


class Number(Struct, frozen=True):
    """A number that a claim was decided by.

    Attributes:
        name: What it is.
        value: As measured; NaN where it could not be.
        asked: What was asked of it, in words.
        outcome: What it says; None of a number for information.
    """

    name: str
    value: Real
    asked: str = ""
    outcome: Outcome | None = None


class ControlVerdict(Struct, frozen=True):
    """What the same check says where it must not hold.

    Attributes:
        violates: The violated hypothesis, the wrong norm or the broken optimizer, in words.
        refused: Whether the check was contradicted there, as it must be.
        numbers: What was measured there.
        outcome: What the check said there: FAILS, or only INCONCLUSIVE; None in results of before it was kept.
    """

    violates: str
    refused: bool
    numbers: tuple[Number, ...] = ()
    outcome: Outcome | None = None


class ProblemVerdict(Struct, frozen=True):
    """The outcome on one problem, with the evidence under every norm that was measured.

    Attributes:
        degree: L; 0 where numbers decide, and the problem is only a name.
        norm: The norm that it was judged for.
        numbers: What decided, for a claim that is of no limit direction.
        control: What the same check said of a control, where one was run.
        steps_needed: Steps after which the gap (and the direction, where it is asked) would meet its bound,
            extrapolated; None where the gap does not fall.
        model: What was found of a model that the user brought along: its degree, and whether it is smooth.
        arrays_file: Where a store has put the arrays; "arrays" in JSON.
        arrays: The curves behind the evidence, in memory alone.
    """

    problem: str
    degree: int | float
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
    numbers: tuple[Number, ...] = ()
    control: ControlVerdict | None = None
    model: str = ""
    arrays_file: str | UnsetType = field(default=UNSET, name="arrays")
    arrays: Mapping[str, Any] | UnsetType = field(default=UNSET, name="arrays in memory")

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in asdict(self.stored).items() if value is not UNSET)
        return f"ProblemVerdict({fields})"

    @property
    def stored(self) -> ProblemVerdict:
        """The verdict without its arrays, which are saved beside it."""
        return replace(self, arrays=UNSET)
