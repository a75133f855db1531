"""What changed between two stored results: verdicts, norms, and gaps that moved beyond their runs' intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from maxmargin.verify.results.claim_verdict import Campaign, ClaimVerdict
from maxmargin.verify.results.encoding import ReportError, decode, read_json
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.problem_verdict import ProblemVerdict
from maxmargin.verify.results.shown import gap
from maxmargin.verify.results.verdict import CheckVerdict, Verdict

RANK = {Outcome.FAILS: 0, Outcome.INCONCLUSIVE: 1, Outcome.HOLDS: 2}


@final
@dataclass(frozen=True)
class Change:
    """One thing that changed.

    Attributes:
        name: The claim, or the optimizer.
        problem: The problem, or empty.
        kind: ``verdict``, ``answer``, ``norm``, ``gap``, ``missing`` or ``new``.
        before: In words.
        after: In words.
        worse: Whether it is for the worse: a verdict that fell, a norm that is another one, a verdict that is gone.
    """

    name: str
    problem: str
    kind: str
    before: str
    after: str
    worse: bool


def load(path: Path) -> tuple[Verdict, ...]:
    """Return the verdicts in a JSON file of ``check`` or ``verify``, or in a folder with a ``results.json``.

    Args:
        path: The file or folder.

    Raises:
        ReportError: it is none.
    """
    file = path / "results.json" if path.is_dir() else path
    value = read_json(file, "give a JSON file, or a folder, that 'check' or 'verify' has written")
    if not isinstance(value, dict) or "error" in value:
        raise ReportError(f"{file} holds no verdict")
    if "claims" in value:
        return decode(value, Campaign, str(file)).claims
    if "verdicts" in value:
        return tuple(decode(one, CheckVerdict, f"{file}, verdict {i}") for i, one in enumerate(value["verdicts"]))
    return (decode(value, CheckVerdict, str(file)),)


def changes(before: Sequence[Verdict], after: Sequence[Verdict]) -> list[Change]:
    """Return what changed from one result to another, what is worse first.

    Args:
        before: The older verdicts.
        after: The newer ones. One alone on either side is compared with the other, whatever they are called.
    """
    old, new = _named(before), _named(after)
    if len(old) == len(new) == 1:
        old = dict(zip(new, old.values(), strict=True))
    found = [Change(name, "", "missing", old[name].outcome.name, "–", True) for name in old if name not in new]
    found += [Change(name, "", "new", "–", new[name].outcome.name, False) for name in new if name not in old]
    for name in (n for n in new if n in old):
        found += _of(name, old[name], new[name])
    return sorted(found, key=lambda change: not change.worse)


def to_json(found: Sequence[Change]) -> dict[str, Any]:
    """The JSON of ``diff``."""
    return {
        "schema": 1,
        "kind": "diff",
        "worse": sum(change.worse for change in found),
        "changes": [asdict(change) for change in found],
    }


def _named(verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    found: dict[str, Verdict] = {}
    for verdict in verdicts:
        asked = f" --claim {verdict.claim}" if verdict.claim is not None else ""
        name = verdict.id if isinstance(verdict, ClaimVerdict) else verdict.optimizer + asked
        while name in found:
            name += "'"
        found[name] = verdict
    return found


def _of(name: str, old: Verdict, new: Verdict) -> Iterator[Change]:
    if old.outcome is not new.outcome:
        yield Change(name, "", "verdict", old.outcome.name, new.outcome.name, RANK[new.outcome] < RANK[old.outcome])
    elif old.norm != new.norm and old.outcome is Outcome.HOLDS:
        yield Change(name, "", "norm", str(old.norm), str(new.norm), True)
    elif _answer(old) != _answer(new):
        yield Change(name, "", "answer", _answer(old), _answer(new), False)
    problems: Mapping[str, ProblemVerdict] = {p.problem: p for p in old.problems}
    for p in new.problems:
        if p.problem in problems:
            yield from _of_problem(name, problems[p.problem], p)


def _answer(verdict: Verdict) -> str:
    return str(verdict.answer) if isinstance(verdict, CheckVerdict) else ""


def _of_problem(name: str, old: ProblemVerdict, new: ProblemVerdict) -> Iterator[Change]:
    if old.outcome is not new.outcome:
        worse = RANK[new.outcome] < RANK[old.outcome]
        yield Change(name, new.problem, "verdict", old.outcome.name, new.outcome.name, worse)
    if old.norm == new.norm and old.norm in old.evidence and new.norm in new.evidence:
        (low, high), (least, most) = (p.evidence[p.norm].kkt_gap_range for p in (old, new))
        if high < least or most < low:
            yield Change(name, new.problem, "gap", _range(low, high), _range(least, most), False)


def _range(low: float, high: float) -> str:
    return f"{gap(low)} … {gap(high)}"
