"""sympy proves that a model is what it claims: homogeneous of its degree, block by block, and C¹.

The model's own code is run on polynomials with a symbol for every parameter, every input and the gate of every relu
(:mod:`maxmargin.solvers.exact.interpreter`). A gate stands for 0 or 1 and is constant inside one activation pattern,
so an identity that holds with the gates left as symbols holds in every pattern at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
import sympy as sp
import torch
from sympy.polys.rings import PolyElement, PolyRing

from maxmargin.models.blocks import unflatten
from maxmargin.models.model import HomogeneousModel
from maxmargin.solvers.exact.interpreter import Objects, Ring, Untranslatable, scores, trace

_AGREE = 1e-12  # float64 torch against exact rationals, relative to the largest score: some hundred roundings


@final
@dataclass(frozen=True)
class Counterexample:
    """An exact point at which a model breaks its law: f_output(factor · θ; x) = ``left``, not ``right``.

    Attributes:
        theta: Block name → nested lists of rationals.
        x: The input.
        output: Which score.
        factor: The factor, 2.
        left: f(factor · θ; x).
        right: factor**degree · f(θ; x).
    """

    theta: dict[str, list[Any]]
    x: list[Fraction]
    output: int
    factor: int
    left: Fraction
    right: Fraction


@final
@dataclass(frozen=True)
class HomogeneityProof:
    """What sympy proved about one model.

    Attributes:
        model: Its name.
        degree: The claimed degree L.
        proved: Everything that the model claims is proved: homogeneity, Euler's identity, its block degrees and,
            if it says ``smooth``, that it is C¹.
        homogeneous: f(cθ; x) = c^L f(θ; x) for all c > 0, θ, x and patterns.
        euler: ⟨∇f, θ⟩ = L f in the interior of every pattern.
        blocks: The same block by block with ``block_degrees``; None where the model claims none.
        smooth: f is C¹ across every activation boundary; None: not proved (it need not be false).
        parameters: Symbols for parameters.
        gates: Symbols for gates; 2**gates formal patterns are covered.
        agreement: Largest relative difference between the polynomials and the torch model at random rational points.
        counterexample: A point at which homogeneity fails, or None.
        reasons: What is not proved, in words.
    """

    model: str
    degree: int
    proved: bool
    homogeneous: bool
    euler: bool
    blocks: bool | None
    smooth: bool | None
    parameters: int
    gates: int
    agreement: float
    counterexample: Counterexample | None
    reasons: tuple[str, ...]


def prove_homogeneity(model: HomogeneousModel, *, points: int = 3, seed: int = 0) -> HomogeneityProof:
    """Prove homogeneity and Euler's identity of a model for every input x, every parameter and every pattern.

    The proof covers the shapes given: choose a small model (tens of parameters). The claim in other shapes rests on
    the code being the same.

    Args:
        model: The model, at a small size.
        points: Random rational points at which polynomials and torch are compared.
        seed: Of those points.

    Returns:
        The record; never raises for a false claim.

    Raises:
        Untranslatable: where the model's code cannot be run on polynomials.

    Example:
        >>> from maxmargin.models.families.linear import MulticlassLinear
        >>> proof = prove_homogeneity(MulticlassLinear(3, 2))
        >>> proof.proved, proof.degree, proof.parameters
        (True, 1, 6)
    """
    twin = _Twin.of(model)
    f, reasons = twin.outputs, []
    homogeneous = all(twin.scales(g, dict.fromkeys(model.shapes, 1), model.degree) for g in f)
    # A pattern's region must be a cone, else scaling leaves the pattern that the identity was proved in.
    cones = all(twin.scales(z, dict.fromkeys(model.shapes, 1), None) for z in twin.preactivations)
    euler = all(twin.euler(g, list(model.shapes), model.degree) for g in f)
    if not homogeneous:
        reasons.append(f"f(cθ) − c^{model.degree} f(θ) is not the zero polynomial")
    if not cones:
        reasons.append("a preactivation is not homogeneous in θ, so scaling may change the activation pattern")
    if not euler:
        reasons.append(f"⟨∇f, θ⟩ − {model.degree} f is not the zero polynomial")
    blocks = _prove_blocks(model, twin, reasons)
    smooth = True if all(twin.smooth_across(j) for j in range(len(twin.preactivations))) else None
    if model.smooth and not smooth:
        reasons.append("the model says smooth, but a gate changes f by no multiple of its preactivation squared")
    agreement = twin.agreement(points, seed)
    if agreement > _AGREE:
        reasons.append(f"the polynomials differ from the torch model by {agreement:.1e} of the largest score")
    wanted = homogeneous and cones and euler and blocks is not False and (smooth or not model.smooth)
    return HomogeneityProof(
        model=model.name,
        degree=model.degree,
        proved=bool(wanted and agreement <= _AGREE),
        homogeneous=homogeneous and cones,
        euler=euler,
        blocks=blocks,
        smooth=smooth,
        parameters=len(twin.theta),
        gates=len(twin.preactivations),
        agreement=agreement,
        counterexample=None if homogeneous and cones else find_counterexample(model, seed=seed),
        reasons=tuple(reasons),
    )


def find_counterexample(model: HomogeneousModel, *, tries: int = 20, seed: int = 0) -> Counterexample | None:
    """A rational (θ, x) with f(2θ; x) ≠ 2^L f(θ; x) exactly, from random small rationals.

    Returns:
        The first that is found, or None after ``tries`` points.

    Raises:
        Untranslatable: where the model's code cannot be run on rationals.
    """
    rng, graph = np.random.default_rng(seed), trace(model)
    ring = Ring(lambda q: q, lambda z: Fraction(z > 0))
    for _ in range(tries):
        theta, x = _draw(model, rng)
        doubled = {name: 2 * block for name, block in theta.items()}
        left = scores(model, doubled, x, ring, graph)[0]
        right = 2**model.degree * scores(model, theta, x, ring, graph)[0]
        for o in range(model.outputs):
            if left[o] != right[o]:
                shown = {name: block.tolist() for name, block in theta.items()}
                return Counterexample(shown, list(x[0]), o, 2, left[o], right[o])
    return None


def _prove_blocks(model: HomogeneousModel, twin: _Twin, reasons: list[str]) -> bool | None:
    if model.block_degrees is None:
        return None
    good = sum(model.block_degrees.values()) == model.degree
    if not good:
        reasons.append(f"block degrees {dict(model.block_degrees)} do not sum to {model.degree}")
    for name, degree in model.block_degrees.items():
        alone = all(twin.scales(g, {name: 1}, degree) and twin.euler(g, [name], degree) for g in twin.outputs) and all(
            twin.scales(z, {name: 1}, None) for z in twin.preactivations
        )
        if not alone:
            reasons.append(f"f is not homogeneous of degree {degree} in block {name!r} alone")
        good = good and alone
    return good


@final
@dataclass(frozen=True)
class _Twin:
    """The scores of one symbolic input as polynomials in Q[c, θ, x, gates]."""

    model: HomogeneousModel
    ring: PolyRing
    theta: dict[PolyElement, str]  # symbol → its block
    x: Objects
    gates: tuple[PolyElement, ...]
    outputs: tuple[PolyElement, ...]
    preactivations: tuple[PolyElement, ...]

    @classmethod
    def of(cls, model: HomogeneousModel) -> _Twin:
        graph, rng = trace(model), np.random.default_rng(0)
        seen: list[Any] = []  # a run on rationals counts the gates

        def count(z: Fraction) -> Fraction:
            seen.append(z)
            return Fraction(z > 0)

        counter = Ring(lambda q: q, count)
        theta0, x0 = _draw(model, rng)
        scores(model, theta0, x0, counter, graph)
        names = [f"{b}_{'_'.join(map(str, i))}" for b, s in model.shapes.items() for i in np.ndindex(*s)]
        ring = PolyRing(
            ["c", *names, *(f"x{i}" for i in range(model.features)), *(f"s{j}" for j in range(len(seen)))], sp.QQ
        )
        symbols = list(ring.gens)
        p, d = len(names), model.features
        owners = [b for b, s in model.shapes.items() for _ in np.ndindex(*s)]
        gates = tuple(symbols[1 + p + d :])
        met: list[PolyElement] = []

        def gate(z: PolyElement) -> PolyElement:
            met.append(z)
            return gates[len(met) - 1]

        x = _array(symbols[1 + p : 1 + p + d], (1, d))
        theta = unflatten(_array(symbols[1 : 1 + p], (p,)), model.shapes)
        constant = Ring(lambda q: ring.ground_new(sp.QQ(q.numerator, q.denominator)), gate)
        f = scores(model, theta, x, constant, graph)[0]
        return cls(
            model,
            ring,
            dict(zip(symbols[1 : 1 + p], owners, strict=True)),
            x,
            gates,
            tuple(f),
            tuple(met),
        )

    def scales(self, f: PolyElement, factors: dict[str, int], degree: int | None) -> bool:
        """Whether f(c θ_k for the blocks k in ``factors``) = c**degree f; with None, for some degree."""
        c = self.ring.gens[0]
        moved = f.compose([(t, c * t if owner in factors else t) for t, owner in self.theta.items()])
        if degree is None:
            degree = max((monomial[0] for monomial in moved), default=0)
        return moved == c**degree * f

    def euler(self, f: PolyElement, blocks: list[str], degree: int) -> bool:
        """Whether Σ θ_j ∂f/∂θ_j over the blocks is degree · f."""
        terms = (t * f.diff(t) for t, owner in self.theta.items() if owner in blocks)
        return sum(terms, start=self.ring.zero) == degree * f

    def smooth_across(self, j: int) -> bool:
        """Whether opening gate j changes every output by a multiple of z_j²: value and slope then agree at z_j = 0."""
        square, gate, one = self.preactivations[j] ** 2, self.gates[j], self.ring.one
        jumps = (f.compose(gate, one) - f.compose(gate, self.ring.zero) for f in self.outputs)
        return all(not square or not jump.rem(square) for jump in jumps)

    def agreement(self, points: int, seed: int) -> float:
        """Largest difference to torch at random rational points, relative to the largest score."""
        rng, worst = np.random.default_rng(seed + 1), 0.0
        for _ in range(points):
            theta, x = _draw(self.model, rng)
            at = dict(zip(self.theta, np.concatenate([b.ravel() for b in theta.values()]), strict=True))
            at |= dict(zip(self.x[0], x[0], strict=True))
            for gate, z in zip(self.gates, self.preactivations, strict=True):
                at[gate] = Fraction(int(_value(z, at) > 0))  # a gate's preactivation holds earlier gates only
            exact = np.array([float(_value(f, at)) for f in self.outputs])
            blocks = {name: torch.tensor(block.astype(float)) for name, block in theta.items()}
            given = self.model.scores(blocks, torch.tensor(x.astype(float)))[0].detach().numpy()
            worst = max(worst, float(np.abs(given - exact).max() / max(1e-300, np.abs(exact).max())))
        return worst


def _draw(model: HomogeneousModel, rng: np.random.Generator) -> tuple[dict[str, Objects], Objects]:
    """Random parameters and one input, multiples of 1/8 in [−4, 4] that floats hold exactly; no entry is 0."""

    def draw(shape: tuple[int, ...]) -> Objects:
        eighths = rng.integers(1, 33, shape) * rng.choice([-1, 1], shape)
        return _array([Fraction(int(v), 8) for v in eighths.ravel()], shape)

    return {name: draw(shape) for name, shape in model.shapes.items()}, draw((1, model.features))


def _array(items: list[Any], shape: tuple[int, ...]) -> Objects:
    out = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):  # numpy would try to iterate over a polynomial
        out[i] = item
    return out.reshape(shape)


def _value(f: PolyElement, at: dict[PolyElement, Fraction]) -> Fraction:
    gens = f.ring.gens
    total = Fraction(0)
    for monomial, coefficient in f.terms():
        term = Fraction(int(coefficient.numerator), int(coefficient.denominator))
        for g, e in zip(gens, monomial, strict=True):
            if e:
                term *= at[g] ** e
        total += term
    return total


__all__ = ["Counterexample", "HomogeneityProof", "Untranslatable", "find_counterexample", "prove_homogeneity"]
