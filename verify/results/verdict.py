"""The schema of results over all problems, from the worker to JSON and to the page: of a claim, of an optimizer.

In memory and in JSON the fields are the same (DESIGN, section 6); ``encoding.py`` writes and reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from math import floor
from typing import Any, Literal, TypedDict

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import force_setattr, replace
from typing_extensions import override

from maxmargin.verify.results import shown
from maxmargin.verify.results.answer import Answer, NoNorm
from maxmargin.verify.results.encoding import Real, as_json
from maxmargin.verify.results.origin import Origin
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ProblemVerdict

THEN = ", then "
"""Joins the claims of the regime above and the one below: ``linf, then l2``."""

NOTEBOOK = "maxmargin.reports.notebook"
"""What draws a verdict lies above it, and loads heavy libraries: by name, when it is asked for."""


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

    def __bool__(self) -> bool:
        raise TypeError(
            "a verdict is neither true nor false (it may be inconclusive): ask .holds, read .outcome, or call "
            ".raise_if_not()"
        )

    def __repr__(self) -> str:
        return shown.text(self)

    def _repr_html_(self) -> str:
        return shown.html(self)

    @property
    def holds(self) -> bool:
        """Whether it HOLDS; an inconclusive one does not."""
        return self.outcome is Outcome.HOLDS

    def raise_if_not(self, outcome: Outcome = Outcome.HOLDS) -> None:
        """Raise unless the outcome is this one.

        Raises:
            AssertionError: with the sentence and the reasons, one a line.
        """
        if self.outcome is not outcome:
            raise AssertionError(repr(self))

    def to_markdown(self) -> str:
        """The verdict for a step summary or a pull request: the sentence, the reasons, the problems."""
        return shown.markdown(self)

    def plot(self) -> Any:
        """The KKT gaps of its runs against steps, one panel a problem: a matplotlib ``Figure``."""
        return import_module(NOTEBOOK).figure(self)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON."""
        return as_json(replace(self, problems=tuple(p.stored for p in self.problems)))

    @property
    def optimizer(self) -> str:
        """The optimizer as a reader is shown it."""
        return self.target

    @property
    def subject(self) -> str:
        """The optimizer as the subject of a sentence."""
        return self.optimizer

    @property
    def about(self) -> str | None:
        """The norm that the verdict is about: the claimed one, else the one that was found or came nearest."""
        return self.claim or self.norm

    @property
    def sentence(self) -> str:
        """The outcome in a sentence."""
        if self.outcome is Outcome.HOLDS:
            return f"{self.subject} maximizes the {self.about} margin."
        if self.outcome is Outcome.FAILS:
            if self.about is None:
                return f"{self.subject} maximizes the margin of none of the candidate norms."
            if self.approximate or self.claim is None:
                return f"{self.subject} maximizes the {self.about} margin only approximately."
            return f"{self.subject} does not maximize the {self.about} margin."
        if self.claim is not None:
            return f"Whether {self.subject} maximizes the {self.claim} margin is not decided."
        nearest = f"; {self.norm} comes nearest" if self.norm is not None else ""
        return f"Which norm's margin {self.subject} maximizes is not decided{nearest}."

    def explain(self) -> str:
        """The verdict and its reasons as a paragraph, for the optimizer's author."""
        return " ".join([self.sentence, *self.reasons])


class Factor(Struct, frozen=True):
    """How near an optimizer is bound to come, and came, to a norm that its steps only nearly follow.

    Attributes:
        guaranteed: Least alignment r of late steps, over problems: no direction that training converges to has a KKT
            gap above 1 − r; on a linear model that is a share r of the margin.
        reached: 1 − the largest KKT gap at the end.
    """

    guaranteed: float
    reached: float

    @property
    def rounded(self) -> Factor:
        """What two digits may say of it: rounded down."""
        return Factor(*(floor(100 * share) / 100 for share in (self.guaranteed, self.reached)))


class Regime(Struct, frozen=True):
    """A range of gradients' sizes in which an optimizer is scale invariant or of degree 1, and what it is there.

    Attributes:
        above: The gradient's norm (ℓ2) above which it is this optimizer; None where there is no bound.
        below: Likewise, below which.
        degree: d in Δθ(c g) = c^d Δθ(g); None where blocks differ in it.
        outcome: On its norm, or its part of the claim.
        norm: The norm that was identified or confirmed; None if none was.
        claim: Its part of the claim, or None.
        why: Why it maximizes no norm's margin here, where it does not.
        twin: The optimizer of ours that it follows here, or None.
        reasons: Sentences for a reader.
        problems: One verdict a problem.
    """

    above: float | None
    below: float | None
    degree: float | None
    outcome: Outcome
    norm: str | None
    claim: str | None = None
    why: NoNorm | None = None
    twin: str | None = None
    reasons: tuple[str, ...] = ()
    problems: tuple[ProblemVerdict, ...] = ()

    @property
    def range(self) -> str:
        """The sizes of gradients, in words."""
        if self.above is not None:
            return f"while the gradient's norm is above {self.above:.0e}"
        return f"once the gradient's norm is below {self.below:.0e}" if self.below is not None else "at any size"

    @property
    def stored(self) -> Regime:
        """The regime without its arrays."""
        return replace(self, problems=tuple(p.stored for p in self.problems))


class CheckVerdict(Verdict, frozen=True, kw_only=True):
    """What ``check`` returns.

    Attributes:
        probe: What the optimizer was found to do, where it is none of our own.
        twin: The optimizer of ours that it follows, or None.
        findings: Faults that were found before training.
        answer: Its class; by default the plain one of its outcome.
        regimes: By falling size of the gradient; empty where it is one optimizer at every size that was tried.
        until_step: About the step at which a run at its own constant learning rate leaves the first regime.
        until_problem: On which problem.
        factor: For an answer to a factor.
        settles_on: For a data-dependent answer: the norm, in words.
        why: For an answer of no norm: the reason.
        origin: When, by which command and of which file it was made.
        switched_off: A weight decay that was set, by its argument; the verdict is on the optimizer without it.

    Raises:
        ValueError: for an answer that has another outcome.
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
    answer: Answer | None = None
    regimes: tuple[Regime, ...] = ()
    until_step: int | None = None
    until_problem: str | None = None
    factor: Factor | None = None
    settles_on: str | None = None
    why: NoNorm | None = None
    origin: Origin | None = None
    switched_off: Mapping[str, float] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answer is None:
            plain = Answer.FACTOR if self.outcome is Outcome.FAILS and self.factor is not None else None
            force_setattr(self, "answer", plain or Answer.of(self.outcome))
        elif self.answer.outcome is not self.outcome:
            raise ValueError(f"answer {self.answer!r} has the outcome {self.answer.outcome!r}, not {self.outcome!r}")

    @override
    def to_json(self) -> dict[str, Any]:
        stored = replace(self, regimes=tuple(r.stored for r in self.regimes))
        return {**Verdict.to_json(stored), "sentence": self.sentence}

    def to_html(self) -> str:
        """The page that ``check --html`` writes, as text."""
        return str(import_module(NOTEBOOK).page(self))

    def within(self, regime: Regime) -> Verdict:
        """The verdict on one of its regimes, by itself."""
        return Verdict(
            target=self.target,
            kwargs=self.kwargs,
            outcome=regime.outcome,
            norm=regime.norm,
            blocks={},
            claim=regime.claim,
            reasons=regime.reasons,
            problems=regime.problems,
        )

    @property
    @override
    def sentence(self) -> str:
        """The answer in a sentence that can be quoted."""
        it = self.subject
        if self.answer is Answer.REGIMES and self.regimes:
            return f"{it} maximizes {_in_regimes(self.regimes)}."
        if self.answer is Answer.FACTOR:
            near = "only approximately" if self.factor is None else _to_a_factor(self.factor)
            return f"{it} maximizes the {self.about} margin {near}."
        if self.answer is Answer.DATA_DEPENDENT:
            return f"{it} maximizes no fixed norm's margin, but that of one its state settles on: {self.settles_on}."
        if self.answer is Answer.NO_NORM:
            return f"{it} maximizes no norm's margin: {self.why}."
        return super().sentence

    @property
    @override
    def about(self) -> str | None:
        """The norm that the problems' verdicts are about: of two claims, the first."""
        about = super().about
        return about.partition(THEN)[0] if about is not None else None

    @property
    @override
    def optimizer(self) -> str:
        """The target with its arguments, texts as ``--kw`` takes them."""
        options = ", ".join(f"{name}={value}" for name, value in self.kwargs.items())
        return f"{self.target}({options})" if options else self.target

    @property
    @override
    def subject(self) -> str:
        decays = "".join(f", while its {name} of {value:g} is negligible," for name, value in self.switched_off.items())
        return self.optimizer + decays


def _to_a_factor(factor: Factor) -> str:
    least = factor.rounded
    return f"to a factor: at least {least.guaranteed:.2f} of it is guaranteed, {least.reached:.2f} was reached"


def _in_regimes(regimes: Sequence[Regime]) -> str:
    """``the linf margin while the gradient's norm is above 2e-06, then the l2 margin``."""
    parts = []
    for regime in regimes:
        known = regime.norm is not None and regime.outcome is Outcome.HOLDS  # else the norm is only the nearest
        if known:
            margin = f"the {regime.norm} margin"
        else:
            margin = "a margin that was not identified" if regime.why is None else f"no norm's ({regime.why})"
        parts.append(margin + ("" if regime.above is None else f" {regime.range}"))
    return ", then ".join(parts)
