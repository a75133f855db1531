"""What is wrong with an optimizer's steps, in sentences: every detector, and which finding explains which.

The detectors look at steps under constant gradients (:mod:`~maxmargin.verify.lab.faults.constant_gradients`), at what
a change of one thing does (:mod:`~maxmargin.verify.lab.faults.perturbations`) and at symmetries
(:mod:`~maxmargin.verify.lab.norm.symmetry`). Steepest descent under the norm, along any average of gradients, yields
no findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from maxmargin.models.blocks import Shapes
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.verify.blackbox.targets import Target
from maxmargin.verify.lab.faults.constant_gradients import (
    FOLLOWS,
    BlockSteps,
    ascent,
    entry_power,
    fixed_factors,
    frozen,
    relative_reach,
    rule,
    singular_values,
)
from maxmargin.verify.lab.faults.finding import Finding
from maxmargin.verify.lab.faults.layouts import layout
from maxmargin.verify.lab.faults.perturbations import (
    Bench,
    centring,
    crosstalk,
    memory,
    null_directions,
    oddness,
    randomness,
    sizes,
    weights,
)
from maxmargin.verify.lab.norm.fingerprint import MATRIX_NORMS, VECTOR_NORMS, Fingerprint, Step, read_block
from maxmargin.verify.lab.norm.signature import signature
from maxmargin.verify.lab.norm.symmetry import contradicting, symmetries
from maxmargin.verify.lab.probe.probes import Probe

RESPONSES: tuple[Callable[[Bench], list[Finding]], ...] = (
    memory,
    crosstalk,
    oddness,
    centring,
    weights,
    null_directions,
    sizes,
)
DRAWS = 20  # gradients under which steps are looked at
NOISY = 0.05  # relative; where runs differ by more, what else is seen may be noise


def diagnose(
    target: Target, shapes: Shapes, norm: Norm | Fingerprint | str, probe: Probe | None = None, seed: int = 0
) -> tuple[Finding, ...]:
    """Say what keeps a black-box optimizer from being steepest descent under a suspected norm.

    Args:
        target: The optimizer.
        shapes: Of its parameters, vectors and matrices.
        norm: The norm that its steps should follow: a claimed one, or a fingerprint's.
        probe: What is known of it already: the gradient's norm below which an eps takes over.
        seed: Of gradients and starts.

    Returns:
        The findings, most important first; none for steepest descent along an average of gradients. An adaptive
        optimizer that forgets (Adam without eps, under linf) has none either: what its history does is
        :func:`~maxmargin.verify.lab.norm.preconditioners.preconditioners`' to say.

    Raises:
        TargetError: the optimizer cannot be built or stepped.
        NormError: the norm does not exist, or says nothing about some block.
    """
    norm = norm.norm if isinstance(norm, Fingerprint) else get_norm(norm)
    bench = Bench.of(target, shapes, norm, seed)
    random = randomness(bench)
    steps = signature(target, shapes, seed, DRAWS)
    if not steps:
        return (*random, Finding("", "frozen", "its steps under constant gradients are not finite", 1.0))
    found = [*random, *_observed(steps, norm)]
    if random and random[0].size > NOISY:
        found = [f for f in found if f.size > random[0].size or f.kind == "random"]
    else:
        for experiment in RESPONSES:
            found.extend(experiment(bench))
        found.extend(_unexplained(target, shapes, norm, seed, {f.block for f in found}))
    if probe is not None and probe.floor > 0:
        found = [
            replace(f, text=f"{f.text} (from norms below {probe.floor:.0e} on)") if f.kind == "scale" else f
            for f in found
        ]
    return tuple(sorted(_essential(found), key=lambda f: f.rank))


def _observed(steps: Sequence[Step], norm: Norm) -> Iterator[Finding]:
    ideal = [norm.lmo(s.gradient) for s in steps]
    blocks = []
    for name in steps[0].gradient:
        U, E = np.array([s.update[name] for s in steps]), np.array([e[name] for e in ideal])
        still = frozen(name, U, E)
        if still is not None:
            yield still
            continue
        G = np.array([s.gradient[name] for s in steps])
        own, _ = norm.block(name, G.shape[1:])
        candidates = MATRIX_NORMS if G.ndim == 3 else VECTOR_NORMS
        reading = read_block(steps, name, tuple(dict.fromkeys((*candidates, own.name))))
        if reading is not None:
            blocks.append(BlockSteps(name, own, reading, reading.alignments[own.name], G, U, E))
    first = {b.name: next((f for f in (layout(b), ascent(b)) if f is not None), None) for b in blocks}
    if blocks and all(f is not None and f.text.startswith("it ascends") for f in first.values()):
        yield Finding("", "ascent", "it ascends on every block: the step has the wrong sign", 1.0)
        return
    straight = []
    for b in blocks:
        finding = first[b.name] or rule(b, [(o.name, o.norm.name) for o in blocks if o is not b])
        finding = finding or singular_values(b) or entry_power(b) or fixed_factors(b)
        if finding is not None:
            yield finding
        if b.own >= FOLLOWS or (finding is not None and finding.kind == "newton-schulz"):
            straight.append(b)
    yield from relative_reach(straight)


def _unexplained(target: Target, shapes: Shapes, norm: Norm, seed: int, explained: set[str]) -> Iterator[Finding]:
    """Broken symmetries of the blocks of which nothing else is known."""
    if "" in explained:
        return
    named: set[str] = set()
    for s, text in contradicting(symmetries(target, shapes, seed), norm):
        if s.block not in explained | named:
            named.add(s.block)
            yield Finding(s.block, "symmetry", text, s.error)


SHADOWS: Mapping[str, tuple[str, ...]] = {
    "stale": ("rule", "power", "weight", "clipping", "scale", "symmetry"),
    "layout": ("null directions",),
    "rule": ("null directions", "one-sided"),
    "centred": ("rule", "power", "newton-schulz", "null directions", "preconditioned"),
    "clipping": ("power", "one-sided", "scale", "rule", "preconditioned"),
    "crosstalk": ("one-sided", "stale"),
    "weights": ("one-sided", "weight", "scale", "centred"),
    "one-sided": ("scale", "preconditioned"),
    "scale": ("power",),
}
"""What else is seen on a block because of a finding, and need not be said."""


def _essential(found: Sequence[Finding]) -> list[Finding]:
    kinds = {(f.block, f.kind) for f in found}
    hidden = {(block, shadow) for block, kind in kinds for shadow in SHADOWS.get(kind, ())}
    return [f for f in dict.fromkeys(found) if (f.block, f.kind) not in hidden]
