"""What short experiments say of an optimizer on each problem's shapes, before it is trained there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeGuard

from maxmargin.models import problems as registry
from maxmargin.models.blocks import Shapes
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.blackbox.as_torch import as_target
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.faults.diagnosis import diagnose
from maxmargin.verify.lab.faults.finding import Finding
from maxmargin.verify.lab.norm.fingerprint import Fingerprint, Step, read
from maxmargin.verify.lab.norm.preconditioners import preconditioners
from maxmargin.verify.lab.norm.shape_law import shape_law
from maxmargin.verify.lab.norm.signature import signature
from maxmargin.verify.lab.norm.symmetry import symmetries
from maxmargin.verify.lab.probe.probes import Probe, probe
from maxmargin.verify.lab.twin.search import Twin, find_twin
from maxmargin.verify.optimizers.core.base import Optimizer
from maxmargin.verify.results.candidates import CANDIDATES, WEIGHTED

PROBLEMS = ("blocks", "multiclass", "binary@relu2:h=8")
"""A tall, a wide and a square matrix with a vector; a wide matrix alone; two layers, one a vector (L = 3)."""
MATRIX_PROBLEMS = ("matrices", "multiclass", "multiclass@relu2:h=8")
"""The like without vectors, for optimizers that refuse them."""

_PRECONDITIONERS = {
    "diagonal": "a diagonal preconditioner (each entry's step answers to the sizes of all its earlier gradients)",
    "matrix": "a matrix preconditioner (each singular direction's step answers to all its earlier gradients)",
    "adaptive": "an adaptive preconditioner (its steps answer to the sizes of all earlier gradients)",
}


@dataclass(frozen=True)
class Exam:
    """What is known of the optimizer on one problem before it is trained there.

    Attributes:
        problem: Its name.
        about: The short experiments; None for the engine's own optimizers, which are known.
        signature: Its steps under constant gradients.
        fingerprint: The norm that steps under spread gradients follow; None where some block never moved.
        twin: The engine's recursion that the optimizer was proved to follow, if any.
        findings: What is wrong with its steps, seen from the norm that is claimed or nearest.
        notes: What is worth knowing of it whether or not something is wrong, in sentences.
        candidates: The norms to measure.
        claimed: Those of them whose matching KKT points are looked for.
    """

    problem: str
    about: Probe | None
    signature: tuple[Step, ...]
    fingerprint: Fingerprint | None
    twin: Twin | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    candidates: tuple[Norm, ...]
    claimed: tuple[Norm, ...]


def problems_for(target: Target) -> tuple[str, ...]:
    """Return the standard problems, or those without vectors if the optimizer refuses one.

    Raises:
        TargetError: when it refuses both.
    """
    if target.native is not None:
        return PROBLEMS
    try:
        probe(target, registry.get(PROBLEMS[0]).shapes)
    except TargetError as refusal:
        try:
            probe(target, registry.get(MATRIX_PROBLEMS[0]).shapes)
        except TargetError:
            raise refusal from None
        return MATRIX_PROBLEMS
    return PROBLEMS


def examine(target: Target, names: Sequence[str], claim: Norm | None, seed: int) -> list[Exam]:
    """Probe a black box on each problem's shapes, and collect the norms that are to be measured there.

    Args:
        target: The optimizer.
        names: The problems.
        claim: The norm that is claimed, or None.
        seed: Of the gradients.

    Returns:
        One exam a problem.

    Raises:
        TargetError: when the optimizer cannot be built or stepped on some problem's shapes.
    """
    shapes = {name: registry.get(name).shapes for name in names}
    native = target.native
    seen_as = as_target(native, target.spec) if native is not None else target
    probes = {name: None if native is not None else probe(target, shapes[name], seed) for name in names}
    steps = {name: tuple(signature(seen_as, shapes[name], seed)) for name in names}
    prints = {name: read(steps[name], _coupling(native, probes[name])) for name in names}
    # A norm of every problem's blocks (hybrid:2) that one problem suggests is measured on all of them.
    own = native.norm if native is not None else None
    general = [n for n in (own, *(p.norm for p in prints.values() if p is not None)) if _is_general(n)]
    suspects = {n: get_norm(n) for n in CANDIDATES} | {n.name: n for n in general}
    return [
        _exam(target, name, shapes[name], probes[name], steps[name], prints[name], suspects, claim, seed)
        for name in names
    ]


def _exam(
    target: Target,
    name: str,
    shapes: Shapes,
    about: Probe | None,
    steps: tuple[Step, ...],
    seen: Fingerprint | None,
    suspects: dict[str, Norm],
    claim: Norm | None,
    seed: int,
) -> Exam:
    own = target.native.norm if target.native is not None else None
    nearest = own or (seen.norm if seen is not None else None)
    expected = claim or nearest
    suspect = () if seen is None else (seen.norm,)
    findings: tuple[Finding, ...] = ()
    if about is not None and expected is not None:
        findings = diagnose(target, shapes, expected, about, seed)
    return Exam(
        problem=name,
        about=about,
        signature=steps,
        fingerprint=seen,
        twin=find_twin(target, shapes, about, seed, suspect) if about is not None else None,
        findings=findings,
        notes=() if about is None else tuple(_notes(target, shapes, about, seen, seed)),
        candidates=tuple((suspects | ({} if nearest is None else {nearest.name: nearest})).values()),
        claimed=() if expected is None else (expected,),
    )


def _notes(target: Target, shapes: Shapes, about: Probe, seen: Fingerprint | None, seed: int) -> Iterator[str]:
    """The law behind weights that differ with a matrix's shape; what kind of preconditioner never forgets."""
    if seen is not None and seen.norm.name.startswith(WEIGHTED) and (law := shape_law(target, seed)) is not None:
        yield f"On a matrix its step is {law.name} times as long as on a square one."
    if about.memory == inf:
        found = preconditioners(target, shapes, symmetries(target, shapes, seed), seed)
        for kind in sorted({p.kind for p in found}):
            blocks = ", ".join(p.block for p in found if p.kind == kind)
            yield f"It never forgets, and acts as {_PRECONDITIONERS[kind]} on {blocks}."


def _coupling(native: Optimizer | None, about: Probe | None) -> float | None:
    """How blocks are joined: probed on a black box, known of an engine optimizer."""
    if native is None or native.norm is None:
        return about.coupling if about is not None else None
    return 1.0 / (native.norm.aggregation - 1.0) if native.norm.aggregation > 1 else inf


def _is_general(norm: Norm | None) -> TypeGuard[Norm]:
    """Whether a norm is for any blocks, at most by rank (``@matrix``), not for the named blocks of one problem."""
    if norm is None or norm.name.startswith(WEIGHTED):
        return False
    body = norm.name.partition(";")[0]
    return not body.startswith("blocks:") or all(r.startswith("@") for r in body.removeprefix("blocks:").split(","))
