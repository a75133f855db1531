"""The schema of ``results.json`` of ``verify``: a verdict a claim, and the campaign that they were reached in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace
from typing_extensions import override

from maxmargin.verify.results.encoding import as_json
from maxmargin.verify.results.origin import Origin
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ControlVerdict, Number
from maxmargin.verify.results.verdict import Verdict


class ClaimVerdict(Verdict, frozen=True, kw_only=True):
    """What each claim of ``verify`` returns.

    Attributes:
        target: The optimizer; "optimizer" in JSON.
        id: Claim identifier.
        statement: What is claimed, in a sentence.
        source: Paper and theorem.
        paper: Its key.
        kind: limit direction, bound, rate, monotone, identity, counterexample or edge.
        formula: What is predicted, in symbols.
        expected: What was known to come out, where that is not HOLDS,
        because: and why.
    """

    target: str = field(name="optimizer")
    id: str
    statement: str = ""
    source: str = ""
    paper: str = ""
    kind: str = "limit direction"
    formula: str = ""
    expected: Outcome = Outcome.HOLDS
    because: str = ""

    @property
    @override
    def sentence(self) -> str:
        """The outcome in a sentence."""
        return f"{self.id}: {self.statement}" if self.measured else super().sentence

    @property
    def measured(self) -> bool:
        """Whether numbers decided, and not a norm's margin."""
        return any(p.numbers for p in self.problems)

    @property
    def control(self) -> ControlVerdict | None:
        """What the same check said where it must not hold, if that was asked."""
        return next((p.control for p in self.problems if p.control is not None), None)

    @property
    def deciding(self) -> Number | None:
        """The number that decided: one that does not hold, else the first of the conditions."""
        judged = [n for p in self.problems for n in p.numbers if n.outcome is not None]
        return min(judged, key=lambda n: n.outcome is Outcome.HOLDS, default=None)

    @override
    def to_json(self) -> dict[str, Any]:
        """As a row of ``results.json``; its norm is the claim's, whether confirmed or not."""
        return {**Verdict.to_json(self), "norm": self.norm or self.claim, "rung": self.rung}

    @property
    def rung(self) -> str:
        """The lowest rung of the ladder of evidence that a problem's reference stands on."""
        return weakest(p.rung for p in self.problems)


class Campaign(Struct, frozen=True, kw_only=True):
    """What ``verify`` stores."""

    schema: Literal[1] = 1
    kind: Literal["verify"] = "verify"
    tier: str = ""
    seed: int | None = None
    device: str = ""
    seconds: float | None = None
    versions: Mapping[str, str] = {}
    origin: Origin | None = None
    claims: tuple[ClaimVerdict, ...]

    @property
    def outcome(self) -> Outcome:
        """The claims' outcomes together."""
        return Outcome.of_all(claim.outcome for claim in self.claims)

    def to_json(self) -> dict[str, Any]:
        """As ``results.json`` holds it."""
        return {**as_json(replace(self, claims=())), "claims": [claim.to_json() for claim in self.claims]}


RUNGS = ("numerical", "convex dual certificate", "certified", "symbolic")


def weakest(rungs: Iterable[str]) -> str:
    """The lowest rung of several; numerical for none or for an unknown one."""
    known = [RUNGS.index(r) if r in RUNGS else 0 for r in rungs]
    return RUNGS[min(known, default=0)]
