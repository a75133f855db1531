"""The names that the commands take, each with one line, gathered from the registries that hold them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Entry:
    """One name and what it stands for.

    Attributes:
        exact: Of a problem: the norms under which its answer is known exactly.
        paper: Of a claim: the key and name of its paper; then its kind, and where it stands there.
    """

    name: str
    summary: str
    exact: tuple[str, ...] | None = None
    paper: str = ""
    kind: str = ""
    source: str = ""


def claims() -> list[Entry]:
    """What ``maxmargin verify`` tests, by paper."""
    from maxmargin.verify.claims.catalogue import CLAIMS, PAPERS

    return [
        Entry(claim.id, claim.statement, paper=f"{paper.key}: {paper.name}", kind=claim.kind, source=claim.source)
        for paper in PAPERS.values()
        for claim in CLAIMS.values()
        if claim.paper == paper.key
    ]


def optimizers() -> list[Entry]:
    """The engine's own optimizers, which ``maxmargin check`` takes by name."""
    from maxmargin.verify.optimizers import OPTIMIZERS

    return [Entry(row.name, row.summary) for row in OPTIMIZERS.values()]


def problems() -> list[Entry]:
    """Data sets with the models they are offered with, then the theorems' problems by their short names."""
    from maxmargin.models import problems as named
    from maxmargin.solvers.exact.answers import answers

    entries = []
    for name in [*named.names(), *named.THEOREMS]:
        problem = named.get(name)
        data, _, model = problem.name.partition("@")
        rows = named.DATASETS[data.partition(":")[0]], named.MODELS[model.partition(":")[0]]
        summary = "; ".join(row.summary for row in rows) if name in problem.name else problem.name
        entries.append(Entry(name, summary, tuple(dict.fromkeys(answer.norm for answer in answers(problem)))))
    return entries


def parts() -> list[Entry]:
    """Every data set and model with its options, from which further problems are made."""
    from maxmargin.models.problems import usage

    return [Entry(name, summary) for name, summary in usage().items()]


def norms() -> list[Entry]:
    """The named norms, then the families that take a number."""
    from maxmargin.solvers.norms import GaugeNorm
    from maxmargin.solvers.norms.families import FAMILIES, MEMBERS
    from maxmargin.solvers.norms.registry import WHOLE

    entries = []
    for name, norm in MEMBERS.items():
        exponent = f", P = {_exponent(norm.p)}" if isinstance(norm, GaugeNorm) else ""
        entries.append(Entry(name, f"{_summary(type(norm))}{exponent}; {_join(norm.aggregation)}"))
    for row in WHOLE.values():
        entries.append(Entry(f"{row.name}[:{row.argument}]", _summary(row.make)))
    for name, family in FAMILIES.items():
        members = ", ".join(f"P = {_exponent(p)} is {member}" for member, p in family.members.items())
        entries.append(Entry(f"{name}:P", f"{_summary(family)}; {members}"))
    entries.append(
        Entry(
            "blocks:A=2*spectral,@vector=linf;max",
            "a norm and a weight for each block, and how they are joined",
        )
    )
    return entries


def thresholds() -> list[Entry]:
    """The numbers that decide."""
    from maxmargin.verify.thresholds.table import THRESHOLDS, tables

    tables()
    return [Entry(name, str(row)) for name, row in THRESHOLDS.items()]


def answers() -> list[Entry]:
    """The classes of answer of ``maxmargin check``, with outcome and exit status."""
    from maxmargin.verify.results.answer import Answer

    return [
        Entry(answer.value, f"{answer.outcome.name}, exit status {answer.outcome.exit_status}: {answer.meaning}")
        for answer in Answer
    ]


def _summary(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0].rstrip(".")


def _exponent(p: float) -> str:
    return "∞" if math.isinf(p) else f"{p:g}"


def _join(p: float) -> str:
    joined = {math.inf: "the largest block counts", 1.0: "summed over blocks"}
    return joined.get(p, f"blocks joined by their l{p:g} norm")


LISTINGS: Mapping[str, Callable[[], list[Entry]]] = {
    "claims": claims,
    "problems": problems,
    "norms": norms,
    "optimizers": optimizers,
    "thresholds": thresholds,
    "answers": answers,
}
