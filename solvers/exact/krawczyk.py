"""Proof that a true KKT point lies within a stated distance of a numerical one.

The KKT conditions on the point's active manifold — which margins are active, which entries saturated, which relus
open — are a square polynomial system (:mod:`maxmargin.solvers.exact.kkt_systems`). Krawczyk's test in ball arithmetic
proves that it has a zero in a tiny box, and every inequality that the manifold leaves out (λ > 0, inactive margins
above q, signs, singular values, the activation pattern) is then checked on the whole box. Nothing rests on the solver
that found the point, nor on rounding.

Where KKT points form a surface, :mod:`maxmargin.solvers.exact.redundancy` pins one of them, if it can show the
equations that this costs to be redundant: faces under ℓ∞ (diagonal and deep linear nets, shifts of all scores), the
part of a spectral block that no gradient sees, rotations of hidden units under ℓ2.

Out of reach, and said so with the null space: rotations between two *spectral* layers (deep linear nets of depth 3 or
several classes under spectral and hybrid norms: the redundancy then runs through the frames of both layers);
multipliers that are not unique; weakly active margins; points on an activation boundary of a model that is not C¹;
nuclear norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from flint import arb, arb_mat, fmpq

from maxmargin.models import blocks as blk
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.interval_newton import BITS, Zero, enclose_zero, positive, positive_definite
from maxmargin.solvers.exact.kkt_systems import NoSystem, Stationarity, System, add_stationarity, merge_equal_margins
from maxmargin.solvers.exact.polynomials import (
    Margins,
    Polynomial,
    activation_signs,
    from_float,
    margin_polynomials,
)
from maxmargin.solvers.exact.redundancy import fix_faces, fix_rotations, fix_spectral_faces
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.norms.exact.balls import precision
from maxmargin.solvers.norms.parameter import Norm


@final
@dataclass(frozen=True)
class Proof:
    """Whether a true KKT point was proved to lie near a numerical one.

    Attributes:
        proved: A point θ* with ‖θ*‖ = 1 exactly, multipliers and all, is KKT, and
            max_j |θ*_j − θ_j/‖θ‖| <= ``radius``.
        radius: That bound; infinite if no point was proved.
        margin: Numbers lo <= q(θ*) <= hi, the normalized margin of the true point; None if no point was proved.
        reasons: Why not, in words.
        unknowns: Size of the system.
        active: Indices of the active margins.
    """

    proved: bool
    radius: float
    margin: tuple[float, float] | None
    reasons: tuple[str, ...]
    unknowns: int
    active: tuple[int, ...]


def prove(
    problem: Problem,
    theta: blk.Blocks,
    lam: Sequence[float] | np.ndarray,
    norm: str | Norm,
    *,
    radius: float = 1e-6,
    pattern: Sequence[bool] | None = None,
) -> Proof:
    """Prove that a true KKT point lies within ``radius`` of θ/‖θ‖.

    Args:
        problem: The problem; its data are taken as the exact rationals that their floats are.
        theta: The numerical point, of any length.
        lam: Its multipliers, (n_margins,), of any sum; those above ``radius`` of the largest mark the active margins.
        norm: l2, l1, linf, spectral, hybrid, or another maximum of linf, l2 and spectral blocks.
        radius: Largest distance that counts, entrywise, for ‖θ‖ = 1; also what counts as zero or saturated in θ.
        pattern: Which relu entries are open, in the order of the model's code; by default those that are at θ.

    Returns:
        The proof, or why there is none.

    Example:
        >>> from maxmargin.models import problems
        >>> problem = problems.get("point:x=3:4@linear")
        >>> prove(problem, {"w": np.array([3.0, 4.0])}, [1.0], "l2").margin
        (4.999999999999999, 5.000000000000001)

    Raises:
        BlockError: parameters that are not the problem's.
        ValueError: λ of the wrong length or without a positive entry, θ = 0.
        Untranslatable: a model whose code has no exact meaning.
    """
    norm = get_norm(norm)
    blk.check_shapes(theta, problem.shapes)
    lam = np.asarray(lam, dtype=float)
    if lam.shape != (problem.n_margins,) or not lam.max() > 0:
        raise ValueError(f"needed are {problem.n_margins} multipliers, one of them positive; {lam.shape} came")
    length = float(norm.value(blk.as_numpy(theta)))
    if not (length > 0 and np.isfinite(length)):
        raise ValueError(f"θ has norm {length}; a direction is needed")
    point = blk.flatten(blk.as_numpy(theta), problem.shapes) / length
    active = np.flatnonzero(lam > radius * lam.max())
    weights = np.zeros_like(lam)
    weights[active] = lam[active] / lam[active].sum()
    try:
        candidate = _Candidate.of(problem, norm, point, weights, active, radius, pattern)
    except NoSystem as error:
        return Proof(False, np.inf, None, (str(error),), 0, tuple(map(int, active)))
    return candidate.prove(radius)


@final
@dataclass(frozen=True, eq=False)
class _Candidate:
    """A point with its activation pattern, active margins and the system they define."""

    problem: Problem
    point: np.ndarray
    active: np.ndarray
    polynomials: Margins
    system: System

    @classmethod
    def of(
        cls,
        problem: Problem,
        norm: Norm,
        point: np.ndarray,
        lam: np.ndarray,
        active: np.ndarray,
        tolerance: float,
        pattern: Sequence[bool] | None,
    ) -> _Candidate:
        p, n = len(point), problem.n_margins
        zeros, polynomials, h = _zero_parameters(problem, point, active, tolerance, pattern)
        values = np.where(np.isin(np.arange(p), list(zeros)), 0.0, point)
        margins = polynomials.margins
        q = Polynomial.variable(p + n)
        numbers = [*values, *lam, min(margins[i].number(list(values)) for i in active)]
        system = System(list(numbers), held={p + i: fmpq(0) for i in range(n) if i not in active})
        at = [*values, *lam]
        h_values = np.array([entry.number(at) for entry in h])
        add_stationarity(system, Stationarity(problem, norm, values, h, h_values, zeros, q, tolerance))
        _hold_idle(system, [*h, *(margins[i] for i in active)], p)
        kept = merge_equal_margins(system, margins, list(map(int, active)), p, lam)
        fix_faces(system, [margins[i] for i in active])
        fix_spectral_faces(system)
        fix_rotations(system, problem.shapes)
        system.equations += [margins[i] - q for i in kept]
        total = sum((Polynomial.variable(p + i) for i in active), start=Polynomial.constant(-1))
        system.equations.append(total)
        system.strict.append(("the margin is positive", q))
        system.strict += [(f"multiplier {i} is positive", Polynomial.variable(p + i)) for i in active]
        system.strict += [
            (f"inactive margin {i} is above the least", margins[i] - q) for i in range(n) if i not in active
        ]
        return cls(problem, point, active, polynomials, system)

    def prove(self, radius: float) -> Proof:
        system, active = self.system, tuple(map(int, self.active))
        equations, unknowns = system.reduced()

        def failed(*reasons: str, distance: float = np.inf) -> Proof:
            return Proof(False, distance, None, reasons, len(unknowns), active)

        if len(equations) != len(unknowns):
            return failed(
                f"the system has {len(equations)} equations for {len(unknowns)} unknowns: the point is degenerate "
                "(multipliers that are not unique, or a face of optima)"
            )
        point = [system.held.get(v, fmpq(0)) for v in range(len(system.values))]
        zero = enclose_zero(equations, unknowns, point, [system.values[v] for v in unknowns])
        if zero.box is None:
            return failed(self._explain(zero, unknowns))
        with precision(BITS):
            at = [arb(value) for value in point]
            for variable, ball in zip(unknowns, zero.box, strict=True):
                at[variable] = ball
            reasons = [f"not shown: {text}" for text in self._broken(at)]
            distance = max(float(abs(ball - arb(float(v))).upper()) for ball, v in zip(at, self.point, strict=False))
            distance = float(np.nextafter(distance, np.inf)) if distance else 0.0
            q = at[len(self.point) + self.problem.n_margins]
            margin = (float(np.nextafter(float(q.lower()), -np.inf)), float(np.nextafter(float(q.upper()), np.inf)))
            reasons += self._pattern_breaks(at)
        if reasons:
            return failed(*dict.fromkeys(reasons))
        if distance > radius:
            return failed(
                f"a true KKT point was proved, but {distance:.1e} away from θ/‖θ‖, more than {radius:.1e}",
                distance=distance,
            )
        return Proof(True, distance, margin, (), len(unknowns), active)

    def _broken(self, at: list[arb]) -> Iterator[str]:
        """The inequalities beside the equations that the balls do not show."""
        system = self.system
        yield from (text for text, f in system.strict if not positive(f.value(at, arb)))
        for text, f in system.weak:
            if not f.substitute(system.held).zero and not positive(f.value(at, arb)):
                yield text
        for text, rows in system.definite:
            if not positive_definite([[f.value(at, arb) for f in row] for row in rows]):
                yield text
        for text, rows in system.regular:
            if arb_mat([[f.value(at, arb) for f in row] for row in rows]).det().contains(0):
                yield text

    def _pattern_breaks(self, at: list[arb]) -> list[str]:
        breaks = []
        for k, (z, open_) in enumerate(zip(self.polynomials.preactivations, self.polynomials.pattern, strict=True)):
            if z.substitute(self.system.held).zero:
                if not self.problem.model.smooth:
                    breaks.append(f"relu entry {k} is exactly 0, where the model is not smooth")
            elif not positive(z.value(at, arb) if open_ else -z.value(at, arb)):
                breaks.append(f"not shown: relu entry {k} is {'open' if open_ else 'closed'} at the true point")
        return breaks

    def _explain(self, zero: Zero, unknowns: list[int]) -> str:
        if not len(zero.null):
            return zero.reason
        p, n = len(self.point), self.problem.n_margins
        weight = np.abs(zero.null).max(axis=0)
        moving = [v for v, size in zip(unknowns, weight, strict=True) if size > 1e-6]
        theta = [v for v in moving if v < p]
        count = f"its null space has {len(zero.null)} dimension{'s' if len(zero.null) > 1 else ''}"
        if not theta and any(p <= v < p + n for v in moving):
            which = ", ".join(str(v - p) for v in moving if p <= v < p + n)
            return f"{zero.reason} ({count}): the multipliers of margins {which} are not unique"
        names = [f"{name}{list(i)}" for name, shape in self.problem.shapes.items() for i in np.ndindex(*shape)]
        shown = ", ".join(names[v] for v in theta[:6]) + (", …" if len(theta) > 6 else "")
        column = {v: j for j, v in enumerate(unknowns)}
        gradients = np.zeros((len(self.active), len(unknowns)))
        for row, i in zip(gradients, self.active, strict=True):
            for v, derivative in self.polynomials.margins[i].gradient.items():
                if v in column:
                    row[column[v]] = derivative.number(list(self.point))
        flat = np.abs(gradients @ zero.null.T).max() <= 1e-6 * np.abs(gradients).max()
        why = (
            "no active margin changes along it: a continuous symmetry of the model, or a face of KKT points"
            if flat
            else "KKT points are not isolated there to first order"
        )
        return f"{zero.reason} ({count}, moving {shown}): {why}"


def _zero_parameters(
    problem: Problem,
    point: np.ndarray,
    active: np.ndarray,
    tolerance: float,
    pattern: Sequence[bool] | None,
) -> tuple[frozenset[int], Margins, list[Polynomial]]:
    """The parameters that may be held at 0, because Σ λ_i ∇m_i vanishes there identically once all of them are 0.

    Dead neurons and unused coordinates: the KKT conditions hold there whatever the rest, and a relu on them is no kink.

    Returns:
        Their numbers, the margins in the pattern at that point, and h = Σ λ_i ∇m_i.
    """
    p = len(point)
    zeros = frozenset(int(j) for j in np.flatnonzero(np.abs(point) <= tolerance))
    while True:
        held = {j: fmpq(0) for j in zeros}
        at = [held.get(j, from_float(point[j])) for j in range(p)]
        gates = pattern if pattern is not None else [sign > 0 for sign in activation_signs(problem, at)]
        polynomials = margin_polynomials(problem, gates)
        h = [
            sum(
                (polynomials.margins[i].derivative(j) * Polynomial.variable(p + int(i)) for i in active),
                start=Polynomial.constant(0),
            )
            for j in range(p)
        ]
        moving = frozenset(j for j in zeros if not h[j].substitute(held).zero)
        if not moving:
            return zeros, polynomials, h
        zeros -= moving


def _hold_idle(system: System, others: list[Polynomial], p: int) -> None:
    """Hold the parameters on which nothing depends, once the held values are in, at their numerical values."""
    while True:
        used = {v for e in [*system.everything(), *others] for v in e.substitute(system.held).variables}
        idle = [j for j in range(p) if j not in system.held and j not in used]
        if not idle:
            return
        for j in idle:
            system.hold(j)
