"""The first screen: the answer in a sentence, the three reasons that matter, and what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from maxmargin.reports.cases import Case, Problem
from maxmargin.reports.figures.numbers import num
from maxmargin.reports.matrix import State
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.claim_verdict import Campaign
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.verdict import CheckVerdict, Verdict

REASONS = 3
NUMBER = re.compile(r"[-−]?\d[\d.,]*(e[-+]\d+)?")


@final
@dataclass(frozen=True)
class Summary:
    """What the first screen says.

    Attributes:
        outcome: Over all.
        word: The class of answer.
        sentence: The answer.
        reasons: The three that matter.
        rest: The others, in their order.
        advice: What to do.
    """

    outcome: Outcome
    word: str
    sentence: str
    reasons: tuple[str, ...]
    rest: tuple[str, ...]
    advice: str


def summary(results: Sequence[Campaign | CheckVerdict], cases: Sequence[Case]) -> Summary:
    """Say it of one result, or of several together."""
    if len(results) == 1 and isinstance(results[0], CheckVerdict):
        return _of_check(results[0], cases)
    outcomes = Counter(case.verdict.outcome for case in cases)
    outcome = Outcome.of_all(case.verdict.outcome for case in cases)
    claims = all(isinstance(result, Campaign) for result in results)
    said = _said(cases)
    sentence = _counted(outcomes, claims) if claims else _of_checks(results, cases)
    return Summary(
        outcome,
        outcome.upper(),
        sentence,
        said[:REASONS] or tuple(evidence_of(cases)),
        said[REASONS:],
        _what_to_do(cases),
    )


def _of_check(check: CheckVerdict, cases: Sequence[Case]) -> Summary:
    facts = evidence_of(cases) if check.answer is Answer.HOLDS else []
    reasons = (*facts, *reasons_of(check))
    told = max(REASONS, len(facts))
    word = str(check.answer).upper()
    return Summary(check.outcome, word, check.sentence, reasons[:told], reasons[told:], _advice(check, cases))


def _counted(outcomes: Counter[Outcome], claims: bool) -> str:
    total, held = outcomes.total(), outcomes[Outcome.HOLDS]
    what = "claim" if claims else "verdict"
    rest = ((outcomes[Outcome.FAILS], "fail"), (outcomes[Outcome.INCONCLUSIVE], "inconclusive"))
    answer = f"{held} of {total} {what}{'' if total == 1 else 's'} hold{'s' if held == total == 1 else ''}"
    return "; ".join([answer, *(f"{count} {word}" for count, word in rest if count)]) + "."


def _of_checks(results: Sequence[Campaign | CheckVerdict], cases: Sequence[Case]) -> str:
    checks = [result for result in results if isinstance(result, CheckVerdict)]
    if len(checks) < len(results):
        return _counted(Counter(case.verdict.outcome for case in cases), claims=False)
    outcomes = Counter(check.outcome for check in checks)
    held, failed, rest = (outcomes[o] for o in (Outcome.HOLDS, Outcome.FAILS, Outcome.INCONCLUSIVE))
    told = [
        f"{held} maximize{'s' if held == 1 else ''} a norm’s margin",
        *([f"{failed} do{'es' if failed == 1 else ''} not"] if failed else []),
        *([f"{rest} {'is' if rest == 1 else 'are'} not decided"] if rest else []),
    ]
    return f"Of {len(checks)} optimizers {', '.join(told)}."


def _said(cases: Sequence[Case]) -> tuple[str, ...]:
    """The first reason of each case that does not hold, failures first."""
    bad = sorted((c for c in cases if c.verdict.outcome is not Outcome.HOLDS), key=_urgency)
    return tuple(f"{case.name}: {next(iter(reasons_of(case.verdict)), 'no reason was stored')}" for case in bad)


def _urgency(case: Case) -> int:
    return 0 if case.verdict.outcome is Outcome.FAILS else 1


def reasons_of(verdict: Verdict) -> list[str]:
    """The reasons, most important first; what is said of several problems in the same words, once."""
    told = [f"{p.problem}: {'; '.join(p.reasons)}" for p in verdict.problems]
    plain = [reason.rstrip(".") in told for reason in verdict.reasons]
    first = plain.index(True) if True in plain else len(plain)
    rest = [reason for reason, known in zip(verdict.reasons[first:], plain[first:], strict=True) if not known]
    return [*verdict.reasons[:first], *_distinct(verdict), *rest]


def _distinct(verdict: Verdict) -> list[str]:
    """The problems' reasons, those of a failure first; of such as differ in numbers and names alone the first."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for p in sorted(
        verdict.problems, key=lambda p: [Outcome.FAILS, Outcome.INCONCLUSIVE, Outcome.HOLDS].index(p.outcome)
    ):
        for reason in p.reasons:
            alike.setdefault(NUMBER.sub("#", reason), []).append((reason, p.problem))
    out = []
    for (reason, problem), *others in alike.values():
        where = "; likewise on ".join([problem, *([", ".join(name for _, name in others)] if others else [])])
        out.append(f"{reason[:1].upper()}{reason[1:]} ({where}).")
    return out


def evidence_of(cases: Sequence[Case]) -> list[str]:
    """Why what holds does: the largest gap, the nearest control, and the hypotheses, over all problems."""
    rows = [(case, p) for case in cases for p in case.problems]
    several = len(cases) > 1
    out = []
    gaps = [(p.standing.gap, case, p) for case, p in rows if p.standing.gap is not None]
    if gaps:
        gap, case, p = max(gaps, key=lambda row: row[0])
        out.append(f"The gap under its norm closes on every problem: at most {num(gap)} ({_where(case, p, several)}).")
    told = [
        (e.told[0], name, case, p)
        for case, p in rows
        for name, e, _ in p.evidence
        if e.told is not None and p.standing.is_control(name)
    ]
    if told:
        share, name, case, p = min(told, key=lambda row: row[0])
        out.append(
            f"Every other norm’s gap stays: the least is {name}’s, {100 * share:.0f} % of what it is at the optimum "
            f"under {p.standing.norm} ({_where(case, p, several)})."
        )
    judged = [(len(p.hypotheses.met), len(p.hypotheses.missing)) for _, p in rows]
    met, missing = sum(m for m, _ in judged), sum(n for _, n in judged)
    if met + missing:
        on = f"on {len(rows)} problem{'s' if len(rows) != 1 else ''}"
        out.append(f"{met} of {met + missing} hypotheses are met, {on}.")
    return out


def _where(case: Case, p: Problem, several: bool) -> str:
    problem = p.standing.problem.problem
    return f"{case.name} on {problem}" if several else problem


def _what_to_do(cases: Sequence[Case]) -> str:
    bad = [case for case in cases if case.verdict.outcome is not Outcome.HOLDS]
    if not bad:
        return "Nothing. What is folded below is the evidence of each."
    return "Their sections below are unfolded: read the reasons first, then the figures."


def _advice(check: CheckVerdict, cases: Sequence[Case]) -> str:
    about = check.about
    if check.outcome is Outcome.HOLDS:
        claim = "" if check.claim else f" with --claim {about}" if about and check.answer is Answer.HOLDS else ""
        return f"Nothing. To keep it so, run the same command in CI{claim}: its exit status is 0 as long as this holds."
    if check.outcome is Outcome.INCONCLUSIVE:
        if any(p.steps_needed is not None and p.steps_needed > p.steps for p in check.problems):
            return "Run it with --tier full: the gaps still fall, and more steps decide."
        return "Look at the hypotheses that are unmet or not known: more steps do not decide while they are so."
    if check.answer is Answer.FACTOR:
        return "Decide whether a share of the margin will do; its steps would have to be exact for all of it."
    if check.answer is Answer.DATA_DEPENDENT:
        return "Nothing, if that is meant; no norm that is fixed beforehand can be claimed of it."
    if check.findings:
        return "Mend what the first reason names, and run the same command again."
    if check.claim is None:
        return "Run it with --claim and the norm that you expect: the reasons then say where its steps miss it."
    reached = [
        {name for name, _, state in p.evidence if state is State.NEARED} for case in cases for p in case.problems
    ]
    instead = sorted(set.intersection(*reached)) if reached else []
    if instead:
        return f"If {instead[0]} is what is meant, claim it (--claim {instead[0]}); else mend the steps."
    return "Compare the curves below with the norm’s: they part where the steps are not its own."
