"""How well faults are caught: what ``check`` said of broken and of correct optimizers, as one table.

The file ``tables/mutants.json``, written by ``tests/benchmarks/bench_mutants.py``, undated, so that equal verdicts are
equal bytes::

    {"schema": 1, "kind": "mutants", "tier": "quick", "seeds": [0, 1, 2], "versions": {package: version},
     "rows": [{"name", "kind", "why", "claim", "told": bool, "broken": bool, "honest": [outcome, …], "reason",
               "outcomes": {"0": {"outcome": "holds|fails|inconclusive|error", "norm": NORM | null}, …}}],
     "summary": {"broken": n, "correct": n, "stable": n, "seeds": {"0": {a field of Tally: n, …, "detection_rate"}}}}

A broken optimizer is detected only if its claim FAILS; INCONCLUSIVE is counted apart. A correct one that FAILS is a
false alarm. The summary is computed from the rows, and a file whose summary says otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from maxmargin.reports.counts import at_most
from maxmargin.verify.results.encoding import ReportError, as_json, decode, read_json


class Found(Struct, frozen=True, omit_defaults=True):
    """The verdict with one seed.

    Attributes:
        outcome: Its outcome, "error" where the check itself broke off.
        norm: The norm it named.
        answer: Its class of answer; None where it has none but its outcome's.
    """

    outcome: Literal["holds", "fails", "inconclusive", "error"]
    norm: str | None
    answer: str | None = None

    @property
    def said(self) -> str:
        """The class of answer."""
        return self.answer or {"fails": "refuted", "inconclusive": "undecided"}.get(self.outcome, self.outcome)


class Case(Struct, frozen=True):
    """One optimizer on which ``check`` was tried.

    Attributes:
        why: Why it is broken, or why correct, in a sentence.
        told: Whether ``check`` was given the claim; otherwise it had to find the norm.
        honest: Of a broken one the outcomes that are right, "inconclusive" where the fault shows only beyond any run's
            horizon; of a correct one the classes of answer.
        found: The verdict by seed, "outcomes" in JSON; a seed that was not run is absent.
        reason: The first reason given with the first seed.
    """

    name: str
    kind: str
    why: str
    claim: str
    told: bool
    broken: bool
    honest: tuple[str, ...]
    found: Mapping[int, Found] = field(name="outcomes")
    reason: str

    def note(self, seed: int) -> str:
        """What is wrong with the verdict of a seed, in two words; "" where it is as it should be, or undecided."""
        found = self.found.get(seed)
        if found is None or found.outcome in ("error", "inconclusive"):
            return ""
        if self.broken:
            return "" if found.outcome == "fails" else "not noticed"
        if found.said not in self.honest:
            return "false alarm" if found.outcome == "fails" else f"said to be: {found.said}"
        return "" if found.outcome == "fails" or found.norm == self.claim else f"wrong norm: {found.norm}"

    @property
    def stable(self) -> bool:
        """Whether all seeds that were run gave the same verdict."""
        return len({(f.outcome, f.norm if f.outcome == "holds" else None) for f in self.found.values()}) == 1


class Tally(Struct, frozen=True):
    """Verdicts of one seed, counted.

    Attributes:
        refuted: Broken optimizers that FAIL: the detections.
        undecided: Broken ones that are INCONCLUSIVE; ``honestly``, how many of them where that is a right answer.
        unnoticed: Broken ones that HOLD.
        lost: Broken ones whose check ended in an error, or was not run.
        held: Correct ones that got an answer which is right of them: most of them HOLD under their norm.
        false_alarms: Correct ones that FAIL, by another answer than that.
        misnamed: Correct ones that HOLD under another norm than theirs, or more plainly than they do.
        correct_undecided: Correct ones that are INCONCLUSIVE.
        correct_lost: Correct ones whose check ended in an error, or was not run.
    """

    refuted: int
    undecided: int
    honestly: int
    unnoticed: int
    lost: int
    held: int
    false_alarms: int
    misnamed: int
    correct_undecided: int
    correct_lost: int

    @classmethod
    def of(cls, cases: Iterable[Case], seed: int) -> Tally:
        """Count the verdicts of one seed."""
        verdicts = [(case, case.found.get(seed, Found("error", None)).outcome) for case in cases]
        broken = [(case, outcome) for case, outcome in verdicts if case.broken]
        correct = [(case, outcome) for case, outcome in verdicts if not case.broken]
        decided = [(case, outcome) for case, outcome in correct if outcome in ("holds", "fails")]
        named = sum(not case.note(seed) for case, _ in decided)
        alarms = sum(case.note(seed) == "false alarm" for case, _ in decided)
        return cls(
            refuted=sum(outcome == "fails" for _, outcome in broken),
            undecided=sum(outcome == "inconclusive" for _, outcome in broken),
            honestly=sum(outcome == "inconclusive" and outcome in case.honest for case, outcome in broken),
            unnoticed=sum(outcome == "holds" for _, outcome in broken),
            lost=sum(outcome == "error" for _, outcome in broken),
            held=named,
            false_alarms=alarms,
            misnamed=len(decided) - named - alarms,
            correct_undecided=sum(outcome == "inconclusive" for _, outcome in correct),
            correct_lost=sum(outcome == "error" for _, outcome in correct),
        )


class MutantTable(Struct, frozen=True):
    """The whole table; its cases are "rows" in JSON."""

    tier: str
    seeds: Annotated[tuple[int, ...], Meta(min_length=1)]
    versions: Mapping[str, str]
    cases: tuple[Case, ...] = field(name="rows")
    schema: Literal[1] = 1
    kind: Literal["mutants"] = "mutants"

    @property
    def broken(self) -> tuple[Case, ...]:
        """The broken optimizers."""
        return tuple(case for case in self.cases if case.broken)

    @property
    def correct(self) -> tuple[Case, ...]:
        """The correct optimizers."""
        return tuple(case for case in self.cases if not case.broken)

    @property
    def tallies(self) -> dict[int, Tally]:
        """The counts of each seed."""
        return {seed: Tally.of(self.cases, seed) for seed in self.seeds}

    @property
    def stable(self) -> int:
        """How many optimizers got the same verdict with every seed."""
        return sum(case.stable and set(self.seeds) == set(case.found) for case in self.cases)

    @property
    def complete(self) -> bool:
        """Whether every optimizer was checked with every seed, and there are broken and correct ones."""
        seeds = set(self.seeds)
        return bool(self.broken and self.correct) and all(seeds <= set(case.found) for case in self.cases)

    @property
    def sentence(self) -> str:
        r"""The counts in one sentence, a range where seeds differ; in brackets 95 % bounds, of the worst seed.

        Example:
            >>> def case(name, broken, *outcomes):
            ...     found = {seed: Found(outcome, "l2") for seed, outcome in enumerate(outcomes)}
            ...     honest = ("fails",) if broken else ("holds",)
            ...     return Case(name, "sign", "", "l2", True, broken, honest, found, "")
            >>> cases = (case("a", True, "fails", "fails"), case("b", True, "fails", "inconclusive"))
            >>> table = MutantTable("quick", (0, 1), {}, (*cases, case("c", False, "holds", "holds")))
            >>> print(*table.sentence.split("; "), sep="\n")
            1–2 of 2 broken optimizers refuted (at most 97.5 % missed), 0–1 undecided
            0 of 1 correct ones refuted (at most 95.0 %)
            2 of 3 verdicts the same in 2 runs with other seeds.
        """
        tallies = list(self.tallies.values())
        parts = []
        if self.broken:
            missed = 100 * at_most(len(self.broken) - min(t.refuted for t in tallies), len(self.broken))
            counts = [
                f"{_span(t.refuted for t in tallies)} of {len(self.broken)} broken optimizers refuted "
                f"(at most {missed:.1f} % missed)"
            ]
            counts += _further("undecided", (t.undecided for t in tallies))
            counts += _further("not noticed", (t.unnoticed for t in tallies))
            parts.append(", ".join(counts + _further("not finished", (t.lost for t in tallies))))
        if self.correct:
            alarms = 100 * at_most(max(t.false_alarms for t in tallies), len(self.correct))
            counts = [
                f"{_span(t.false_alarms for t in tallies)} of {len(self.correct)} correct ones refuted "
                f"(at most {alarms:.1f} %)"
            ]
            counts += _further("undecided", (t.correct_undecided for t in tallies))
            counts += _further("given a wrong norm", (t.misnamed for t in tallies))
            parts.append(", ".join(counts + _further("not finished", (t.correct_lost for t in tallies))))
        if len(self.seeds) > 1:
            same = "" if self.stable == len(self.cases) else f"{self.stable} of {len(self.cases)} verdicts "
            parts.append(f"{same}the same in {len(self.seeds)} runs with other seeds")
        return "; ".join(parts) + "."

    def to_json(self) -> dict[str, Any]:
        """The file's content, as the module's docstring states it."""
        return {**as_json(self), "summary": self._summary()}

    def _summary(self) -> dict[str, Any]:
        total = len(self.broken)
        return {
            "broken": total,
            "correct": len(self.correct),
            "stable": self.stable,
            "seeds": {
                str(seed): {**as_json(tally), "detection_rate": round(tally.refuted / total, 4) if total else None}
                for seed, tally in self.tallies.items()
            },
        }

    @classmethod
    def load(cls, path: Path) -> MutantTable:
        """Return the checked table of a file.

        Raises:
            ReportError: when the file is missing, damaged, of another schema, or its summary is not that of its rows.
        """
        value = read_json(path, "'python tests/benchmarks/bench_mutants.py' writes it")
        table = decode(value, cls, str(path))
        if value.get("summary") != table._summary():
            raise ReportError(f"{path}.summary is not what its rows add up to; write the file again")
        return table


def _span(counts: Iterable[int]) -> str:
    seen = set(counts)
    return f"{min(seen)}" if len(seen) == 1 else f"{min(seen)}–{max(seen)}"


def _further(word: str, counts: Iterable[int]) -> list[str]:
    """A count that is told only where there is something to tell."""
    seen = list(counts)
    return [f"{_span(seen)} {word}"] if any(seen) else []
