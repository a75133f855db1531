"""What is wrong with an optimizer's steps: every detector in order, and what keeps one from being asked.

A detector takes a :class:`~maxmargin.verify.lab.faults.case.Case`, or one block's steps under constant gradients, and
finds one fault; to add one, write it in a file of this folder and name it below, or :func:`register` it in a plugin.
What else is seen because of a fault stands beside its kind (:class:`~maxmargin.verify.lab.faults.finding.Kind`).
Steepest descent under the norm, along any average of gradients, yields no findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from maxmargin.solvers.norms import Norm
from maxmargin.verify.lab.faults.case import BlockSteps, Case
from maxmargin.verify.lab.faults.constant_gradients import (
    ascent,
    climbs,
    entry_power,
    fixed_factors,
    frozen,
    relative_reach,
    rule,
    singular_values,
)
from maxmargin.verify.lab.faults.finding import Finding, Kind, essential
from maxmargin.verify.lab.faults.layouts import layout
from maxmargin.verify.lab.faults.perturbations import (
    centring,
    crosstalk,
    memory,
    null_directions,
    oddness,
    randomness,
    sizes,
    weights,
)
from maxmargin.verify.lab.norm.subject import Subject
from maxmargin.verify.lab.norm.symmetry import contradictions
from maxmargin.verify.thresholds.faults import FOLLOWS_NORM, NOISY_RUNS

OF_A_BLOCK: tuple[Callable[[BlockSteps], Finding | None], ...] = (
    layout,
    ascent,
    rule,
    singular_values,
    entry_power,
    fixed_factors,
)
"""What explains one block's steps; the first that finds something does, and the rest are not asked."""

Detector = Callable[[Case], Iterator[Finding]]

OF_A_CHANGE: list[Detector] = [memory, crosstalk, oddness, centring, weights, null_directions, sizes]
"""What the last step makes of one changed thing; not asked where runs differ by chance."""


def register(detector: Detector) -> Detector:
    """Decorator: ask one more detector of every optimizer, after this folder's; its findings are ``Kind.OTHER``."""
    OF_A_CHANGE.append(detector)
    return detector


def diagnose(subject: Subject, norm: Norm, floor: float = 0.0) -> tuple[Finding, ...]:
    """Say what keeps a black-box optimizer from being steepest descent under a suspected norm.

    Args:
        subject: The optimizer on its parameters.
        norm: The norm that its steps should follow: a claimed one, or a fingerprint's.
        floor: The gradient's norm below which an eps takes over, if known.

    Returns:
        The findings, most important first; none for steepest descent along an average of gradients. An adaptive
        optimizer that forgets (Adam without eps, under linf) has none either: what its history does is
        :func:`~maxmargin.verify.lab.norm.preconditioners.preconditioners`' to say.

    Raises:
        TargetError: the optimizer cannot be built or stepped.
        NormError: the norm says nothing about some block.
    """
    case = Case(subject, norm, floor)
    random = list(randomness(case))
    if not case.steps:
        return (*random, Finding.of(Kind.FROZEN, "", 1.0, "its steps under constant gradients are not finite"))
    found = [*random, *frozen(case), *_of_blocks(case.blocks)]
    if random and random[0].size > NOISY_RUNS:
        found = [f for f in found if f.size > random[0].size or f is random[0]]
    else:
        for detector in OF_A_CHANGE:
            found.extend(detector(case))
        found.extend(_of_symmetries(case, {f.block for f in found}))
    return tuple(essential(found))


def _of_blocks(blocks: Sequence[BlockSteps]) -> Iterator[Finding]:
    first = {b.name: next((f for detector in OF_A_BLOCK if (f := detector(b)) is not None), None) for b in blocks}
    if blocks and all((f := first[b.name]) is not None and f.kind is Kind.ASCENT and climbs(b) for b in blocks):
        yield Finding.of(Kind.ASCENT, "", 1.0, "it ascends on every block: the step has the wrong sign")
        return
    yield from (f for f in first.values() if f is not None)
    straight = [
        b
        for b in blocks
        if b.own >= FOLLOWS_NORM or ((f := first[b.name]) is not None and f.kind is Kind.NEWTON_SCHULZ)
    ]
    yield from relative_reach(straight)


def _of_symmetries(case: Case, explained: set[str]) -> Iterator[Finding]:
    """Broken symmetries of the blocks of which nothing else is known."""
    if "" in explained:
        return
    named: set[str] = set()
    for s, says in contradictions(case.subject.symmetries, case.norm):
        if s.block not in explained | named:
            named.add(s.block)
            yield Finding(s.block, Kind.SYMMETRY, s.error, says)
