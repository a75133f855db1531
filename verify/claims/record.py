"""What a claim of the literature is: a record of a paper, in data.

:class:`Claim` says which norm's margin an optimizer maximizes; it is trained and judged as ``check`` does. Every other
kind is a :class:`Measured`: a pure function of tier and seed, the conditions on the numbers that it returns, and the
control for which these conditions must not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, ParamSpec

from maxmargin.models.errors import InputError
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.thresholds.table import Bounds
from maxmargin.verify.thresholds.training import LONGER_CLAIM, LONGEST_CLAIM

P = ParamSpec("P")
TIERS = ("quick", "full")
Kind = Literal["limit direction", "bound", "rate", "monotone", "identity", "counterexample", "edge"]
Numbers = Mapping[str, Any]
"""What a measurement returns: finite floats, NaN where nothing could be measured, and arrays, which are kept beside."""


class ClaimError(InputError):
    """A claim or tier that does not exist, or a record that cannot be one."""


@dataclass(frozen=True)
class Paper:
    """Where claims come from.

    Attributes:
        key: What ``maxmargin verify`` selects its claims by.
        name: Authors and arXiv number.
        title: Its title.
    """

    key: str
    name: str
    title: str


@dataclass(frozen=True)
class Condition:
    """What is asked of one number.

    Attributes:
        number: Its name.
        least: It must be at least this,
        most: and at most this.
        refuted: How far outside it must lie to contradict the claim: below ``refuted[0]`` or above ``refuted[1]``. In
            between nothing is decided. By default there is no such range.
        unless: Where this one, of another number, is met or was not measured, nothing contradicts the claim.
        open: Why a value that is not within the bounds need not contradict it, in words.
    """

    number: str
    least: float = -math.inf
    most: float = math.inf
    refuted: tuple[float, float] = (math.nan, math.nan)
    unless: Condition | None = None
    open: str = ""

    def outcome(self, found: Numbers) -> Outcome:
        """What the measured numbers say; one that was not measured says nothing."""
        value = found.get(self.number, math.nan)
        if math.isnan(value):
            return Outcome.INCONCLUSIVE
        if self.least <= value <= self.most:
            return Outcome.HOLDS
        low, high = self.bounds
        outside = value < low or value > high
        return Outcome.FAILS if outside and self._may_refute(found) else Outcome.INCONCLUSIVE

    def _may_refute(self, found: Numbers) -> bool:
        other = self.unless
        return other is None or (
            not math.isnan(found.get(other.number, math.nan)) and other.outcome(found) is not Outcome.HOLDS
        )

    @property
    def bounds(self) -> tuple[float, float]:
        """The values outside which the claim is contradicted."""
        low, high = self.refuted
        return (self.least if math.isnan(low) else low), (self.most if math.isnan(high) else high)

    def __str__(self) -> str:
        if self.least > -math.inf and self.most < math.inf:
            return f"between {self.least:g} and {self.most:g}"
        return f"≥ {self.least:g}" if self.least > -math.inf else f"≤ {self.most:g}"


def at_most(number: str, bound: float, refuted: float = math.nan) -> Condition:
    """``number`` ≤ ``bound``; above ``refuted`` (by default the bound itself) it contradicts the claim."""
    return Condition(number, most=bound, refuted=(math.nan, refuted))


def at_least(number: str, bound: float, refuted: float = math.nan) -> Condition:
    """``number`` ≥ ``bound``; below ``refuted`` (by default the bound itself) it contradicts the claim."""
    return Condition(number, least=bound, refuted=(refuted, math.nan))


def closing(gap: float, fall: float, stalled: float, *, since: str = "a tenth", others: bool = True) -> Conditions:
    """What is asked of a gap that closes by theory: to be small, to fall, and to be far below that of other norms.

    A large gap that still falls wants more steps, and is no contradiction; a small one may rise for a while, where the
    path passes a KKT direction that is a saddle. What contradicts is a gap that is not small and falls no more, or
    another norm's that is half as large at most: no path is nearer to a limit that it does not have.

    Args:
        gap: How small, at the end.
        fall: It over what it was before, at most.
        stalled: Above this quotient it falls no more.
        since: Before what it is compared with.
        others: Whether the gaps of other norms are measured.

    Returns:
        Conditions on "gap", "gap, end over ...", "least other gap over it".
    """
    small = Condition("gap", most=gap, refuted=(math.nan, math.inf), open="it takes more steps")
    falls = Condition(
        f"gap, end over {since}",
        most=fall,
        refuted=(math.nan, stalled),
        unless=small,
        open="it falls slowly, or for a while not at all, where the path passes a KKT direction that is a saddle",
    )
    least = Condition(
        "least other gap over it",
        least=3.0,
        refuted=(0.5, math.nan),
        open="the directions of two norms lie too near each other on these data, or for so short a run, to tell",
    )
    return (small, falls, least) if others else (small, falls)


def within(number: str, least: float, most: float) -> Condition:
    """``least`` ≤ ``number`` ≤ ``most``."""
    return Condition(number, least, most)


Conditions = tuple[Condition, ...]


def _full(*times: int) -> Mapping[str, tuple[int, ...]]:
    return MappingProxyType({"quick": (1,), "full": times})


AS_NAMED, UNTIL_DECIDED = _full(1), _full(1, LONGER_CLAIM, LONGER_CLAIM**2)
LONGER = _full(LONGER_CLAIM, LONGER_CLAIM**2)
"""How many times the steps of a case are taken, by tier: as they are, until it is decided, or never so few."""


@dataclass(frozen=True)
class Case:
    """One problem on which a claim is measured, and how: the parameters of the record's function."""

    name: str
    params: Mapping[str, Any]

    def __init__(self, name: str, /, **params: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "params", MappingProxyType(params))

    def __repr__(self) -> str:
        return f"Case({self.name!r}, {dict(sorted(self.params.items()))!r})"

    def but(self, changes: Mapping[str, Any]) -> Case:
        """The same case with some parameters changed."""
        return Case(self.name, **{**self.params, **changes})

    def longer(self, times: int) -> Case:
        """The same case with so many times its ``steps``, not more than LONGEST_CLAIM."""
        return self.but({"steps": min(times * self.params["steps"], LONGEST_CLAIM)}) if times != 1 else self


class Control(Case):
    """A violated hypothesis, a wrong norm or a broken optimizer, in words, and the parameters that make it so."""


@dataclass(frozen=True)
class Plan:
    """One problem on which a limit direction is tested, and how hard.

    Attributes:
        problem: As in ``maxmargin list problems``.
        steps: Steps of each run, by tier.
        bounds: What is asked, by tier.
        runs: Initializations, by tier.
        scale: Of the initialization: a direction forgets its start only like a power of ‖θ₀‖/‖θ‖, so start small.
        decay: The pace falls like t^(−decay) (schedules.Paced).
    """

    problem: str
    steps: Mapping[str, int]
    bounds: Mapping[str, Bounds]
    runs: Mapping[str, int]
    scale: float
    decay: float = 0.2


@dataclass(frozen=True)
class Claim:
    """One optimizer, one norm, and the problems on which they are held against each other.

    Attributes:
        id: Unique.
        optimizer: A name of ``maxmargin list optimizers``.
        norm: The norm whose margin it is claimed to maximize.
        statement: In a sentence.
        source: Paper and theorem.
        plans: The problems.
        kwargs: The optimizer's arguments.
        paper: A key of :data:`PAPERS`.
        formula: The prediction, in symbols.
        control: A wrong norm: the same check, on the first plan's own run, must refute it. None chooses ℓ2, or ℓ∞.
        expected: What comes out, where that is not HOLDS,
        because: and why.
    """

    id: str
    optimizer: str
    norm: str
    statement: str
    source: str
    plans: tuple[Plan, ...]
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    paper: str = "other"
    formula: str = "θ/‖θ‖ → a KKT direction of min ½‖θ‖² s.t. mᵢ(θ) ≥ 1"
    control: str | None = None
    expected: Outcome = Outcome.HOLDS
    because: str = ""

    @property
    def kind(self) -> Kind:
        """What is predicted."""
        return "limit direction"

    @property
    def optimizers(self) -> tuple[str, ...]:
        """The one optimizer."""
        return (self.optimizer,)

    @property
    def wrong_norm(self) -> str:
        """The norm for which the same check must not hold."""
        return self.control or ("linf" if self.norm == "l2" else "l2")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A claim that numbers decide.

    Attributes:
        id: Unique.
        paper: A key of :data:`PAPERS`.
        kind: What is predicted.
        statement: In a sentence.
        formula: The same in symbols.
        source: Paper and theorem.
        optimizers: Names of ``maxmargin list optimizers`` that it is about; by default those of its cases.
        measure: ``measure(tier, seed, **case parameters) -> Numbers``; pure.
        cases: Where it is measured.
        conditions: All must be met.
        control: Parameters that spoil the first case: there some condition must be contradicted.
        hypotheses: What the theorem asks, as conditions on numbers too; unmet, nothing is decided.
        seeds: How many, by tier.
        lengths: By tier, how many times the ``steps`` of a case are taken; the next is tried where one leaves it open.
        expected: What comes out, where that is not HOLDS,
        because: and why.

    Raises:
        ClaimError: a record without a case or a condition, or with runs of several lengths of an unknown one.
    """

    id: str
    paper: str
    kind: Kind
    statement: str
    formula: str
    source: str
    optimizers: tuple[str, ...] = ()
    measure: Callable[..., Numbers]
    cases: tuple[Case, ...]
    conditions: tuple[Condition, ...]
    control: Control
    hypotheses: tuple[Condition, ...] = ()
    seeds: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"quick": 1, "full": 3}))
    lengths: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: AS_NAMED)
    expected: Outcome = Outcome.HOLDS
    because: str = ""

    def __post_init__(self) -> None:
        if not self.cases or not self.conditions:
            raise ClaimError(f"claim {self.id!r} has no {'conditions' if self.cases else 'cases'}")
        if len({case.name for case in self.cases}) < len(self.cases):
            raise ClaimError(f"claim {self.id!r} has two cases of one name")
        if {1}.union(*self.lengths.values()) != {1} and not all("steps" in case.params for case in self.cases):
            raise ClaimError(f"claim {self.id!r} has runs of several lengths, and a case that names no steps")
        own = dict.fromkeys(case.params["optimizer"] for case in self.cases if "optimizer" in case.params)
        object.__setattr__(self, "optimizers", self.optimizers or tuple(own))

    @property
    def spoiled(self) -> Case:
        """The control's case."""
        return self.cases[0].but(self.control.params)


Record = Claim | Measured

CLAIMS: dict[str, Record] = {}
PAPERS: dict[str, Paper] = {"other": Paper("other", "Other sources", "")}


def paper(key: str, name: str, title: str) -> Paper:
    """Return the paper, made known.

    Raises:
        ClaimError: when another one has this key.
    """
    found = PAPERS.setdefault(key, Paper(key, name, title))
    if found != Paper(key, name, title):
        raise ClaimError(f"the paper {key!r} is {found.name!r} already; give the new one another key")
    return found


def register(claim: Record) -> Record:
    """Return the claim, made known to ``maxmargin list claims``, ``maxmargin verify`` and the theory gate.

    Raises:
        ClaimError: when there is one of this id, or no such paper.
    """
    if claim.id in CLAIMS:
        raise ClaimError(f"a claim called {claim.id!r} exists already; give the new one another id")
    if claim.paper not in PAPERS:
        raise ClaimError(f"claim {claim.id!r} is of the paper {claim.paper!r}, which is not known: {', '.join(PAPERS)}")
    CLAIMS[claim.id] = claim
    return claim


def _registered(make: Callable[P, Record]) -> Callable[P, Record]:
    def made(*args: P.args, **fields: P.kwargs) -> Record:
        return register(make(*args, **fields))

    return made


claim, measured = _registered(Claim), _registered(Measured)
"""A record of that kind, made and registered."""


def held_against(claim: Record, optimizer: str) -> Record:
    """The same record about another optimizer, with that one's own arguments.

    Returns:
        The record; what its control spoils is spoiled for the other optimizer too.

    Raises:
        ClaimError: for a record whose cases do not name one optimizer without arguments.
    """
    if isinstance(claim, Claim):
        return replace(claim, optimizer=optimizer, kwargs=MappingProxyType({}), expected=Outcome.HOLDS, because="")
    params = [case.params for case in claim.cases]
    if not all("optimizer" in p and not p.get("kwargs") and p["optimizer"] in claim.optimizers for p in params):
        raise ClaimError(f"claim {claim.id!r} is not about one optimizer; it cannot be held against {optimizer!r}")
    cases = tuple(case.but({"optimizer": optimizer}) for case in claim.cases)
    return replace(claim, optimizers=(optimizer,), cases=cases, expected=Outcome.HOLDS, because="")


def check_tier(tier: str) -> str:
    """Return the tier itself.

    Raises:
        ClaimError: unless it is ``quick`` or ``full``.
    """
    if tier not in TIERS:
        raise ClaimError(f"unknown tier {tier!r}; needed is {' or '.join(TIERS)}")
    return tier
