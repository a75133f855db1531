"""Proof by polynomial identities that a model is what it claims: homogeneous of its degree, block by block, and C¹.

The model's own code is run on polynomials with a variable for every parameter, every input and the gate of every relu
(:mod:`maxmargin.solvers.exact.interpreter`). A gate stands for 0 or 1 and is constant inside one activation pattern,
so an identity that holds with the gates left as variables holds in every pattern at once. A polynomial is homogeneous
of degree L iff each of its monomials is, which is also Euler's identity ⟨∇f, θ⟩ = L f.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
import torch
from flint import Ordering, fmpq, fmpq_mpoly_ctx

from maxmargin.models.blocks import size, unflatten
from maxmargin.models.model import HomogeneousModel
from maxmargin.solvers.exact.interpreter import Objects, Ring, Untranslatable, filled, scores, trace
from maxmargin.solvers.exact.polynomials import Polynomial

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
    """What was proved about one model.

    Attributes:
        model: Its name.
        degree: The claimed degree L.
        proved: Everything that the model claims is proved: homogeneity, its block degrees and, if it says ``smooth``,
            that it is C¹.
        homogeneous: f(cθ; x) = c^L f(θ; x) for all c > 0, θ, x and patterns.
        blocks: The same block by block with ``block_degrees``; None where the model claims none.
        smooth: f is C¹ across every activation boundary; None: not proved (it need not be false).
        parameters: Variables for parameters.
        gates: Variables for gates; 2**gates formal patterns are covered.
        agreement: Largest relative difference between the polynomials and the torch model at random rational points.
        counterexample: A point at which homogeneity fails, or None.
        reasons: What is not proved, in words.
    """

    model: str
    degree: float
    proved: bool
    homogeneous: bool
    blocks: bool | None
    smooth: bool | None
    parameters: int
    gates: int
    agreement: float
    counterexample: Counterexample | None
    reasons: tuple[str, ...]


def prove_homogeneity(model: HomogeneousModel) -> HomogeneityProof:
    """Prove homogeneity of a model for every input x, every parameter and every activation pattern.

    The proof covers the shapes given: choose a small model (tens of parameters). The claim in other shapes rests on
    the code being the same.

    Args:
        model: The model, at a small size.

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
    twin, reasons = _Twin.of(model), []
    everything = range(len(twin.owners))
    homogeneous = all(_degrees(f, everything) <= {model.degree} for f in twin.outputs)
    # A pattern's region must be a cone, else scaling leaves the pattern that the identity was proved in.
    cones = all(len(_degrees(z, everything)) <= 1 for z in twin.preactivations)
    if not homogeneous:
        reasons.append(f"f(cθ) − c^{model.degree} f(θ) is not the zero polynomial")
    if not cones:
        reasons.append("a preactivation is not homogeneous in θ, so scaling may change the activation pattern")
    blocks = _prove_blocks(model, twin, reasons)
    smooth = True if all(twin.smooth_across(j) for j in range(len(twin.preactivations))) else None
    if model.smooth and not smooth:
        reasons.append("the model says smooth, but a gate changes f by no multiple of its preactivation squared")
    agreement = twin.agreement()
    if agreement > _AGREE:
        reasons.append(f"the polynomials differ from the torch model by {agreement:.1e} of the largest score")
    return HomogeneityProof(
        model=model.name,
        degree=model.degree,
        proved=not reasons,
        homogeneous=homogeneous and cones,
        blocks=blocks,
        smooth=smooth,
        parameters=len(twin.owners),
        gates=len(twin.preactivations),
        agreement=agreement,
        counterexample=None if homogeneous and cones else find_counterexample(model),
        reasons=tuple(reasons),
    )


def find_counterexample(model: HomogeneousModel) -> Counterexample | None:
    """A rational (θ, x) with f(2θ; x) ≠ 2^L f(θ; x) exactly, the first of 20 small random ones; or None."""
    rng, graph = np.random.default_rng(0), trace(model)
    ring = Ring(lambda q: q, lambda z: Fraction(z > 0))
    for _ in range(20):
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
        alone = {j for j, owner in enumerate(twin.owners) if owner == name}
        if not all(_degrees(f, alone) <= {degree} for f in twin.outputs) or any(
            len(_degrees(z, alone)) > 1 for z in twin.preactivations
        ):
            reasons.append(f"f is not homogeneous of degree {degree} in block {name!r} alone")
            good = False
    return good


def _degrees(f: Polynomial, variables: Collection[int]) -> set[int]:
    """The degrees of the monomials in these variables."""
    return {sum(v in variables for v in monomial) for monomial in f.terms}


@final
@dataclass(frozen=True)
class _Twin:
    """The scores of one symbolic input: the parameters are the first variables, then the input, then the gates."""

    model: HomogeneousModel
    owners: tuple[str, ...]  # the block of each parameter
    outputs: tuple[Polynomial, ...]
    preactivations: tuple[Polynomial, ...]

    @classmethod
    def of(cls, model: HomogeneousModel) -> _Twin:
        p, d = size(model.shapes), model.features
        met: list[Polynomial] = []

        def gate(z: Polynomial) -> Polynomial:
            met.append(z)
            return Polynomial.variable(p + d + len(met) - 1)

        theta = unflatten(filled([Polynomial.variable(j) for j in range(p)], (p,)), model.shapes)
        x = filled([Polynomial.variable(p + j) for j in range(d)], (1, d))
        f = scores(model, theta, x, Ring(Polynomial.constant, gate), trace(model))[0]
        owners = tuple(name for name, shape in model.shapes.items() for _ in np.ndindex(*shape))
        return cls(model, owners, tuple(f), tuple(met))

    def smooth_across(self, j: int) -> bool:
        """Whether opening gate j changes every output by a multiple of z_j²: value and slope then agree at z_j = 0."""
        gate, square = len(self.owners) + self.model.features + j, self.preactivations[j] * self.preactivations[j]
        jumps = (f.substitute({gate: fmpq(1)}) - f.substitute({gate: fmpq(0)}) for f in self.outputs)
        return square.zero or all(_divides(square, jump) for jump in jumps)

    def agreement(self) -> float:
        """Largest difference to torch at three random rational points, relative to the largest score."""
        rng, worst = np.random.default_rng(1), 0.0
        for _ in range(3):
            theta, x = _draw(self.model, rng)
            at = [*(v for block in theta.values() for v in block.ravel()), *x[0]]
            for z in self.preactivations:
                at.append(Fraction(int(z.value(at, _fraction) > 0)))  # a preactivation holds earlier gates only
            exact = np.array([float(f.value(at, _fraction)) for f in self.outputs])
            blocks = {name: torch.tensor(block.astype(float)) for name, block in theta.items()}
            given = self.model.scores(blocks, torch.tensor(x.astype(float)))[0].detach().numpy()
            worst = max(worst, float(np.abs(given - exact).max() / max(1e-300, np.abs(exact).max())))
        return worst


def _divides(divisor: Polynomial, f: Polynomial) -> bool:
    names = {v: k for k, v in enumerate(sorted(divisor.variables | f.variables))}
    ring = fmpq_mpoly_ctx.get([f"v{v}" for v in names], Ordering.lex)

    def brought(g: Polynomial) -> Any:
        terms = {}
        for monomial, c in g.terms.items():
            powers = [0] * len(names)
            for v in monomial:
                powers[names[v]] += 1
            terms[tuple(powers)] = c
        return ring.from_dict(terms)

    return f.zero or divmod(brought(f), brought(divisor))[1] == 0


def _draw(model: HomogeneousModel, rng: np.random.Generator) -> tuple[dict[str, Objects], Objects]:
    """Random parameters and one input, multiples of 1/8 in [−4, 4] that floats hold exactly; no entry is 0."""

    def draw(shape: tuple[int, ...]) -> Objects:
        eighths = rng.integers(1, 33, shape) * rng.choice([-1, 1], shape)
        return filled([Fraction(int(v), 8) for v in eighths.ravel()], shape)

    return {name: draw(shape) for name, shape in model.shapes.items()}, draw((1, model.features))


def _fraction(c: fmpq) -> Fraction:
    return Fraction(int(c.p), int(c.q))


__all__ = ["Counterexample", "HomogeneityProof", "Untranslatable", "find_counterexample", "prove_homogeneity"]
