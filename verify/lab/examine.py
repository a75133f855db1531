"""What short experiments say of an optimizer on each problem's shapes, before it is trained there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from maxmargin.models import problems as registry
from maxmargin.solvers.norms import Norm, ParameterNorm, get_norm
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.lab.faults.diagnosis import diagnose
from maxmargin.verify.lab.faults.finding import Finding
from maxmargin.verify.lab.norm.fingerprint import Fingerprint, Step, coupling_of, read
from maxmargin.verify.lab.norm.layerwise import Layers, layers
from maxmargin.verify.lab.norm.preconditioners import preconditioners
from maxmargin.verify.lab.norm.shape_law import shape_law
from maxmargin.verify.lab.norm.subject import Subject
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.lab.probe.strides import in_stride
from maxmargin.verify.lab.twin.search import Twin, find_twin
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.thresholds.state_norm import TRUST_RATIO

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
        layers: Each block's rule, where steps were seen to depend on the weights as by a trust ratio.
        twin: The engine's recursion that the optimizer was proved to follow, if any.
        findings: What is wrong with its steps, seen from the norm that is claimed or nearest.
        notes: What is worth knowing of it whether or not something is wrong, in sentences.
        candidates: The norms to measure.
        claimed: Those of them whose matching KKT points are looked for.
    """

    problem: str
    about: Probe | None = None
    signature: tuple[Step, ...] = ()
    fingerprint: Fingerprint | None = None
    layers: Layers | None = None
    twin: Twin | None = None
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    candidates: tuple[Norm, ...] = ()
    claimed: tuple[Norm, ...] = ()

    @property
    def norms(self) -> dict[str, Norm]:
        """The norms to measure, by name."""
        return {norm.name: norm for norm in (*self.candidates, *self.claimed)}


class Laboratory:
    """Examines one optimizer on problems; what was found on some shapes is kept for the next question about them.

    Attributes:
        target: The optimizer; from :meth:`examine` on with its calls of ``step()`` put together, where it moves only
            every so often.
        seed: Of the gradients.
    """

    def __init__(self, target: Target, seed: int = 0) -> None:
        self.target, self.seed = target, seed
        self._subjects: dict[tuple[tuple[str, tuple[int, ...]], ...], Subject] = {}

    def on(self, name: str) -> Subject:
        """The optimizer on a problem's shapes."""
        shapes = registry.get(name).shapes
        return self._subjects.setdefault(tuple(shapes.items()), Subject(self.target, shapes, self.seed))

    def problems(self) -> tuple[str, ...]:
        """Return the standard problems, or those without vectors if the optimizer refuses one.

        Raises:
            TargetError: when it refuses both.
        """
        if self.target.native is not None:
            return PROBLEMS
        try:
            _ = self.on(PROBLEMS[0]).probe
        except TargetError as refusal:
            try:
                _ = self.on(MATRIX_PROBLEMS[0]).probe
            except TargetError:
                raise refusal from None
            return MATRIX_PROBLEMS
        return PROBLEMS

    def examine(self, names: Sequence[str], claim: Norm | None = None) -> list[Exam]:
        """Experiment on each problem's shapes, and collect the norms that are to be measured there.

        Args:
            names: The problems.
            claim: The norm that is claimed, or None.

        Returns:
            One exam a problem.

        Raises:
            TargetError: when the optimizer cannot be built or stepped on some problem's shapes.
        """
        native = self.target.native
        if native is None:
            strided = in_stride(self.target, [registry.get(name).shapes for name in names], self.seed)
            if strided is not self.target:
                self.target, self._subjects = strided, {}
        prints = {name: self._fingerprint(name) for name in names}
        # A norm of every problem's blocks (hybrid:2) that one problem suggests is measured on all of them.
        general = [p.norm for p in prints.values() if p is not None and not p.weighted and _is_general(p.norm)]
        if native is not None and native.norm is not None and _is_general(native.norm):
            general.insert(0, native.norm)
        suspects = {n: get_norm(n) for n in CANDIDATES} | {n.name: n for n in general}
        return [self._exam(name, prints[name], suspects, claim) for name in names]

    def _fingerprint(self, name: str) -> Fingerprint | None:
        subject, native = self.on(name), self.target.native
        if native is None:  # how blocks are joined is probed on a black box
            return read(subject.signature, subject.probe.coupling)
        return read(subject.signature, None if native.norm is None else coupling_of(native.norm))

    def _layers(self, subject: Subject, seen: Fingerprint | None) -> Layers | None:
        """The blocks' rules where steps depend on the weights as a trust ratio has it, without a declared decay."""
        about = subject.probe
        if seen is None or about.decay > 0 or not about.value_dependence > TRUST_RATIO:
            return None
        found = layers(subject.target, subject.shapes, seen, subject.seed)
        return found if found.error <= TRUST_RATIO else None

    def _exam(self, name: str, seen: Fingerprint | None, suspects: Mapping[str, Norm], claim: Norm | None) -> Exam:
        subject, native = self.on(name), self.target.native
        about = subject.probe if native is None else None
        nearest = (native.norm if native is not None else None) or (seen.norm if seen is not None else None)
        expected = claim or nearest
        findings: tuple[Finding, ...] = ()
        if about is not None and expected is not None:
            findings = diagnose(subject, expected, about.floor)
        suspect = () if seen is None else (seen.norm,)
        # The metric that a state settles on is read off the optimizer's own instance, so no other stands in for it.
        forgets = about if about is not None and not about.stays else None
        return Exam(
            problem=name,
            about=about,
            signature=subject.signature,
            fingerprint=seen,
            layers=self._layers(subject, seen) if about is not None else None,
            twin=None if forgets is None else find_twin(self.target, subject.shapes, forgets, self.seed, suspect),
            findings=findings,
            notes=() if about is None else tuple(_notes(subject, seen)),
            candidates=tuple({**suspects, **({} if nearest is None else {nearest.name: nearest})}.values()),
            claimed=() if expected is None else (expected,),
        )


def _notes(subject: Subject, seen: Fingerprint | None) -> Iterator[str]:
    """The law behind weights that differ with a matrix's shape; what kind of preconditioner never forgets."""
    if seen is not None and seen.weighted and (law := shape_law(subject.target, subject.seed)) is not None:
        yield f"On a matrix its step is {law.name} times as long as on a square one."
    if subject.probe.memory == inf:
        found = preconditioners(subject.target, subject.shapes, subject.symmetries, subject.seed)
        for kind in sorted({p.kind for p in found}):
            blocks = ", ".join(p.block for p in found if p.kind == kind)
            yield f"It never forgets, and acts as {_PRECONDITIONERS[kind]} on {blocks}."


def _is_general(norm: Norm) -> bool:
    """Whether a norm is for any blocks, at most by rank (``@matrix``), not for the named blocks of one problem."""
    return not isinstance(norm, ParameterNorm) or all(r.selector == "*" or r.selector[0] == "@" for r in norm.rules)
