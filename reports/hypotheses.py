"""What the known hypotheses say, and which of a problem's are met, which are not, and which are mere numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from maxmargin.verify.results.problem_verdict import Hypothesis

MEANING = {
    "smooth": "M1: the model is continuously differentiable in its parameters",
    "separated": "T1: share of the runs that end with every sample on its right side",
    "direction settles": "T2: path length of the weights' direction over the last half decade of steps",
    "schedule": "exponent a of the realized learning rate t^(−a); the theorem asks 1 − 1/L < a ≤ 1",
    "schedule interval": "95 % interval of that exponent",
    "schedule, symbolic": "the theorem's conditions on the learning rate itself, decided by algebra",
    "separation step": "step from which every sample is on its right side, median over the runs",
    "kappa": "length of a step over the learning rate: 1 when no moment lags behind the gradient; by block, on the "
    "coordinates that matter",
    "kappa spread": "how far single coordinates that matter lie from their block's kappa",
    "measured weights": "weights that the lags give the blocks: the norm that is really followed",
    "direction path": "how far the weights' direction went over the last decade of steps",
    "path over displacement": "1 for a straight way, large for a direction that rotates",
    "block balance": "deviation of the blocks' shares of the norm from those of a KKT direction; 0 there",
    "R": "‖θ‖ over the sum of the learning rates; the theorem asks at most 1 in the limit",
    "A1": "share of the coordinates whose gradient is exactly 0: Adam without eps divides 0 by 0 there",
    "scale invariant": "the gradient norm below which an eps shows, or the error of the invariance",
    "no weight decay": "the largest weight decay in the parameter groups",
    "independent of the weights": "relative change of the update when the weights are tripled",
    "deterministic": "relative difference of two runs with different random seeds",
    "learning rate honoured": "relative error of: twice the learning rate moves twice as far",
    "learning rate honoured at once": "the same, of a rate set on the way; one kept in the state acts later",
    "beta1 <= beta2": "what the theorem on Adam asks of its two memories",
    "blocks as far as the norm says": "the largest ratio of how far blocks move to how far the norm says that they do",
    "the same norm at realistic shapes": "whether large blocks follow the same norm as small ones; else which do not",
    "goes on from its weights": "a step begins where the weights are; one that puts them anew from its state (dual "
    "averaging) is trained as if they were where it put them, which it would not do",
    "forgets": "steps after which an impulse in the gradient is forgotten",
}


@final
@dataclass(frozen=True)
class Row:
    """One hypothesis as a row: its name, what it says ("" if that is not known), and what was measured."""

    name: str
    meaning: str
    found: Hypothesis


@final
@dataclass(frozen=True)
class Hypotheses:
    """Those of one problem.

    Attributes:
        met: Judged and met.
        missing: Judged, and unmet or not known.
        numbers: For information.
    """

    met: tuple[Row, ...]
    missing: tuple[Row, ...]
    numbers: tuple[Row, ...]

    @classmethod
    def of(cls, found: Mapping[str, Hypothesis]) -> Hypotheses:
        """Sort them, in their order."""
        rows = [Row(name, MEANING.get(name, MEANING.get(name.partition(":")[0], "")), h) for name, h in found.items()]
        judged = [row for row in rows if row.found.kind != "number"]
        return cls(
            met=tuple(row for row in judged if row.found.met is True),
            missing=tuple(row for row in judged if row.found.met is not True),
            numbers=tuple(row for row in rows if row.found.kind == "number"),
        )

    @property
    def sentence(self) -> str:
        """How many are met, in a line."""
        judged = len(self.met) + len(self.missing)
        unmet = sum(row.found.met is False for row in self.missing)
        unknown = len(self.missing) - unmet
        rest = [f"{unmet} unmet"] * bool(unmet) + [f"{unknown} not known"] * bool(unknown)
        return f"{len(self.met)} of {judged} hypotheses met" + (f": {', '.join(rest)}" if rest else "")
