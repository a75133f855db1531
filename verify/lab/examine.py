"""What short experiments say of an optimizer on each problem's shapes, before it is trained there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from maxmargin.models import problems as registry
from maxmargin.models.blocks import Shapes
from maxmargin.solvers.norms import Norm, ParameterNorm, get_norm
from maxmargin.verify.blackbox.targets import Target, TargetError
from maxmargin.verify.engine.devices import one_thread
from maxmargin.verify.lab.faults.diagnosis import diagnose
from maxmargin.verify.lab.faults.finding import Finding, Kind
from maxmargin.verify.lab.faults.same_shapes import mixed_up
from maxmargin.verify.lab.harness.sentence import Sentence
from maxmargin.verify.lab.knobs import DeadKnob, dead_knobs
from maxmargin.verify.lab.norm.fingerprint import Fingerprint, coupling_of, read
from maxmargin.verify.lab.norm.large_shapes import LargeShapes, large_shapes
from maxmargin.verify.lab.norm.layerwise import Layers, layers
from maxmargin.verify.lab.norm.preconditioners import preconditioners
from maxmargin.verify.lab.norm.reading import Step
from maxmargin.verify.lab.norm.shape_law import shape_law
from maxmargin.verify.lab.norm.subject import Subject
from maxmargin.verify.lab.norm.weights import told_by_weights
from maxmargin.verify.lab.paths import CodePaths, code_paths
from maxmargin.verify.lab.probe.beginnings import begun
from maxmargin.verify.lab.probe.decay import without_decay
from maxmargin.verify.lab.probe.finite import NonFinite, again, nonfinite, on_zero
from maxmargin.verify.lab.probe.probes import Probe
from maxmargin.verify.lab.probe.strides import in_stride
from maxmargin.verify.lab.regimes import Regimes, regimes
from maxmargin.verify.lab.twin.search import Search, Twin, search
from maxmargin.verify.results.candidates import CANDIDATES
from maxmargin.verify.thresholds.probe import OWN_CALLS, OWN_STEEP
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
        large: What it does at realistic shapes; None for the engine's own optimizers, whose rules know no shapes.
        mixed: What mixes up parameters of one shape, in words; "" for nothing.
        findings: What is wrong with its steps, seen from the norm that is claimed or nearest.
        nonfinite: A step that is not finite on gradients that are, with a program that shows it, if one was found.
        notes: What is worth knowing of it whether or not something is wrong, in sentences.
        knobs: Arguments that have no effect; the same on every problem.
        paths: Whether its code paths agree; the same on every problem.
        scope: How far what is said of it reaches, in sentences that stand in every verdict.
        candidates: The norms to measure.
        claimed: Those of them whose matching KKT points are looked for.
    """

    problem: str
    about: Probe | None = None
    signature: tuple[Step, ...] = ()
    fingerprint: Fingerprint | None = None
    layers: Layers | None = None
    twin: Twin | None = None
    large: LargeShapes | None = None
    mixed: str = ""
    findings: tuple[Finding, ...] = ()
    nonfinite: NonFinite | None = None
    notes: tuple[str, ...] = ()
    knobs: tuple[DeadKnob, ...] = ()
    paths: CodePaths = field(default_factory=CodePaths)
    scope: tuple[Sentence, ...] = ()
    candidates: tuple[Norm, ...] = ()
    claimed: tuple[Norm, ...] = ()

    @property
    def norms(self) -> dict[str, Norm]:
        """The norms to measure, by name."""
        return {norm.name: norm for norm in (*self.candidates, *self.claimed)}

    @property
    def elsewhere(self) -> str:
        """What it does on small gradients or at realistic shapes that leaves no norm a chance; "" for nothing."""
        if self.about is not None and self.about.ruled:
            return (
                f"on gradients of norms far below {self.about.ruled:.0e} its steps follow the weights, and the "
                "reversed gradient makes the same ones: a decay is joined to the gradient, and in the end no margin "
                "is maximized"
            )
        if self.about is not None and self.about.uneven:
            return f"{self.about.unevenly}: no one norm is followed"
        if self.mixed:
            return self.mixed
        if self.large is None:
            return ""
        weighted = self.fingerprint is not None and self.fingerprint.weighted
        rule = self.large.other_rule or ("" if weighted else self.large.unlike)
        return f"{rule}: no one norm is followed at all shapes" if rule else ""

    def told(self, norm: Norm) -> frozenset[str]:
        """The norms that the steps tell from one by the blocks' weights, however near their points lie."""
        return told_by_weights(self.signature, norm, self.norms) if self.about is not None else frozenset()


class Laboratory:
    """Examines one optimizer on problems; what was found on some shapes is kept for the next question about them.

    Attributes:
        target: The optimizer; from :meth:`examine` on without its declared weight decay, with its calls of ``step()``
            put together where it moves only every so often, and without first ones of another kind.
        given: As it was given, for the experiments on arguments and code paths.
        switched_off: The decay, by the argument's name; empty where there was none, or none that can be.
        seed: Of the gradients.
    """

    def __init__(self, target: Target, seed: int = 0) -> None:
        self.target, self.given, self.seed = target, target, seed
        self.switched_off: Mapping[str, float] = {}
        self._prepared = False
        self._subjects: dict[tuple[tuple[str, tuple[int, ...]], ...], Subject] = {}
        self._whole: Laboratory | None = None
        self._code: tuple[tuple[DeadKnob, ...], CodePaths] | None = None
        self._large: LargeShapes | None = None
        self._mixed: str | None = None
        self._zero: str | None = None
        self._broken: dict[tuple[tuple[str, tuple[int, ...]], ...], NonFinite | None] = {}

    def on(self, name: str) -> Subject:
        """The optimizer on a problem's shapes."""
        shapes = registry.get(name).shapes
        return self._subjects.setdefault(tuple(shapes.items()), Subject(self.target, shapes, self.seed))

    @property
    def large(self) -> LargeShapes:
        """The black box at realistic shapes, which are no problem's, in its own units or those of its regime."""
        if self._large is None:
            seen = next(iter(self._subjects.values()), None)
            degree, more = (0.0, 0) if seen is None else (seen.probe.update_degree, seen.more)
            with one_thread():
                self._large = large_shapes(self.target, self.seed, degree, more)
        return self._large

    @property
    def mixed(self) -> str:
        """What mixes up parameters of one shape, asked once."""
        if self._whole is not None:
            return self._whole.mixed
        if self._mixed is None:
            with one_thread():
                self._mixed = mixed_up(self.target, self.seed)
        return self._mixed

    def broken(self, shapes: Shapes) -> NonFinite | None:
        """A step of the black box that is not finite, on gradients as it is given them in its own units."""
        if self._whole is not None:
            return self._whole.broken(shapes)
        key = tuple(shapes.items())
        if key not in self._broken:
            self._broken[key] = nonfinite(self.target, shapes)
        return self._broken[key]

    def on_zero(self, shapes: Shapes) -> Sequence[str]:
        """What becomes of weights without gradient, in a sentence, if it is worth one; asked once."""
        if self._whole is not None:
            return self._whole.on_zero(shapes)
        if self._zero is None:
            self._zero = on_zero(self.target, shapes)
        return [self._zero] if self._zero else []

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
            self._subjects.clear()  # nothing is asked again on shapes that it refuses
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
        self._prepare(names)
        prints = {name: self._fingerprint(name) for name in names}
        # A norm of every problem's blocks (hybrid:2) that one problem suggests is measured on all of them.
        general = [p.norm for p in prints.values() if p is not None and not p.weighted and _is_general(p.norm)]
        if native is not None and native.norm is not None and _is_general(native.norm):
            general.insert(0, native.norm)
        suspects = {n: get_norm(n) for n in CANDIDATES} | {n.name: n for n in general}
        knobs, paths = self.code(names)
        return [replace(self._exam(name, prints[name], suspects, claim), knobs=knobs, paths=paths) for name in names]

    def regimes(self, names: Sequence[str]) -> Regimes | None:
        """The two regimes of a black box whose steps change with the gradient's size, seen on the first problem.

        Args:
            names: The problems.

        Returns:
            The regimes; None for our own, for an optimizer of one regime, and for one whose state never forgets: an
            eps beside a sum of all squares is met by no gradient that shrinks.

        Raises:
            TargetError: when the optimizer cannot be built or stepped.
        """
        if self.target.native is not None:
            return None
        self._prepare(names)
        subject = self.on(names[0])
        if subject.probe.stays:  # a state that stands still keeps its steps apart from the gradient's size
            return None
        return regimes(self.target, subject.shapes, subject.probe, self.seed)

    def within(self, regime: Target) -> Laboratory:
        """The laboratory of one of its regimes, which shares what does not depend on the gradient's size."""
        part = Laboratory(regime, self.seed)
        part._whole = self
        return part

    def code(self, names: Sequence[str]) -> tuple[tuple[DeadKnob, ...], CodePaths]:
        """Arguments without effect and code paths, of the optimizer whole, on the first problem's shapes."""
        if self._whole is not None:
            return self._whole.code(names)
        if self._code is None:
            shapes = registry.get(names[0]).shapes
            given = replace(self.given, stride=self.target.stride, skipped=self.target.skipped)
            self._code = dead_knobs(given, shapes, self.seed), code_paths(given, shapes, self.seed)
        return self._code

    def _prepare(self, names: Sequence[str]) -> None:
        """Switch a decay off, put calls together to steps, and leave first calls of another kind out."""
        if self._prepared or self.target.native is not None or self.target.units is not None:
            return
        self._prepared = True
        shapes = [registry.get(name).shapes for name in names]
        free, self.switched_off = without_decay(self.target, shapes[0])
        prepared = begun(in_stride(free, shapes, self.seed), shapes, self.seed)
        if prepared is not self.target:
            self.target, self._subjects, self._large, self._mixed = prepared, {}, None, None

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
            findings = (*diagnose(subject, expected, about.floor), *_at_large(self.large), *_mixed(self.mixed))
        suspect = () if seen is None else (seen.norm,)
        broken, found = None, Search()
        if about is not None:
            target, shapes = subject.target, subject.shapes
            broken = self.broken(shapes)
            # A metric that a state settles on is read off the optimizer's own instance: no other stands in for it.
            if broken is None and not about.stays:
                found = search(target, shapes, about, self.seed, suspect)
            if found.broken is not None:
                broken = again(target, shapes, found.broken * target.stride)
        return Exam(
            problem=name,
            about=about,
            signature=subject.signature,
            fingerprint=seen,
            layers=self._layers(subject, seen) if about is not None else None,
            twin=found.twin,
            findings=findings,
            nonfinite=broken,
            notes=() if about is None else (*_notes(subject, seen), self.large.text, *self.on_zero(subject.shapes)),
            scope=() if about is None else tuple(_scope(about, found.twin)),
            large=None if about is None else self.large,
            mixed="" if about is None else self.mixed,
            candidates=tuple({**suspects, **({} if nearest is None else {nearest.name: nearest})}.values()),
            claimed=() if expected is None else (expected,),
        )


def _at_large(large: LargeShapes) -> Iterator[Finding]:
    """What steps at realistic shapes have against the small ones."""
    for b in large.disagreements:
        yield Finding.of(Kind.OTHER_SHAPES, "", b.alignment - b.own[0], "{says}", says=b.text, at=b.size)
    if large.unlike:
        yield Finding.of(Kind.OTHER_SHAPES, "", 0.0, "{says}", says=large.unlike, at="")


def _mixed(says: str) -> Iterator[Finding]:
    """What parameters of one shape do to each other."""
    if says:
        yield Finding.of(Kind.CROSSTALK, "", 1.0, "{says}", says=says)


def _notes(subject: Subject, seen: Fingerprint | None) -> Iterator[str]:
    """The law behind weights that differ with a matrix's shape; what kind of preconditioner never forgets."""
    if seen is not None and seen.weighted and not subject.probe.uneven:  # else it is the gradient that weighs
        if isinstance(seen.norm, ParameterNorm):
            yield f"Blocks differ in weight: {seen.norm.name} is {seen.norm.spec} here."
        if (law := shape_law(subject.target, subject.seed)) is not None and law.name != "1":
            yield f"On a matrix its step is {law.name} times as long as on a square one."
    if subject.probe.memory == inf:
        found = preconditioners(subject.target, subject.shapes, subject.symmetries, subject.seed)
        for kind in sorted({p.kind for p in found}):
            blocks = ", ".join(p.block for p in found if p.kind == kind)
            yield f"It never forgets, and acts as {_PRECONDITIONERS[kind]} on {blocks}."


def _scope(about: Probe, twin: Twin | None) -> Iterator[Sentence]:
    """What the pacing undid, how long a twin was rehearsed, and how small gradients were tried."""
    if about.own_schedule:
        power = about.own_schedule
        steep = abs(power) >= OWN_STEEP
        how = "by a factor of {factor:.0e} while calls double" if steep else "like t^{power:.2g}"
        yield Sentence.of(
            "Its own schedule was undone by our pacing: under constant gradients and a constant learning rate its "
            f"steps change {how} (at most, over {{calls}} calls).",
            power=power,
            factor=2.0 ** max(-1000.0, min(power, 1000.0)),
            calls=OWN_CALLS,
        )
    if about.trust:
        yield Sentence.of(
            "Its steps are longer where the weights are (like ‖θ‖^{power:.1f}, a trust ratio), which our pacing undid.",
            power=about.trust,
        )
    if twin is not None:
        small = "" if about.depth == inf else "of norms below {depth:.0e} or "
        yield Sentence.of(
            f"What it does after {{calls}} calls of step(), or on gradients {small}below {{fallen:.0e}} of the largest "
            "before, was not seen.",
            calls=twin.longest,
            depth=about.depth,
            fallen=twin.fallen,
        )
    elif about.depth < about.floor or (about.floor == 0 and about.depth < inf):
        yield Sentence.of("Gradients of norms below {depth:.0e} were not tried.", depth=about.depth)


def _is_general(norm: Norm) -> bool:
    """Whether a norm is for any blocks, at most by rank (``@matrix``), not for the named blocks of one problem."""
    return not isinstance(norm, ParameterNorm) or all(r.selector == "*" or r.selector[0] == "@" for r in norm.rules)
