"""KKT points stated in exact numbers, and the KKT conditions verified without rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import sympy as sp
from flint import fmpq

from maxmargin.models.blocks import size
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.norm_values import ExactBlocks, exact_dual, exact_value
from maxmargin.solvers.exact.polynomials import activation_signs, margin_polynomials
from maxmargin.solvers.norms.parameter import Norm

Kind = Literal["global", "local maximum", "saddle"]


@final
@dataclass(frozen=True, eq=False)
class Stated:
    """A KKT point that theory states in exact numbers.

    Attributes:
        id: Family or fixture, size and norm: ``"G2-k3-linf"``.
        problem: The problem.
        norm: The norm's name.
        kind: Global or local maximum of the normalized margin, or a saddle (a KKT point, no local maximum).
        margin: q(θ)/‖θ‖^L.
        theta: The point, of any length: block name → ``sympy.Array``.
        multipliers: λ in the simplex, one a margin, with which it is a KKT point.
        why: The argument for its kind.
        source: Where it is stated.
    """

    id: str
    problem: Problem
    norm: str
    kind: Kind
    margin: sp.Expr
    theta: ExactBlocks
    multipliers: tuple[sp.Expr, ...]
    why: str
    source: str

    @classmethod
    def of(
        cls, id_: str, problem: Problem, norm: str, kind: Kind, margin: sp.Expr, theta: ExactBlocks, *words: str
    ) -> Stated:
        """With equal multipliers: every stated point has its margins all alike; ``words``: why and source."""
        lam = (sp.Rational(1, problem.n_margins),) * problem.n_margins
        return cls(id_, problem, norm, kind, margin, theta, lam, *words)

    def verify(self) -> ExactKKT:
        """Prove by exact arithmetic that θ is a KKT point with these multipliers and this margin.

        Returns:
            The checks; ``holds`` is their conjunction. They say nothing about the kind.
        """
        return verify_kkt(self.problem, self.norm, self.theta, self.multipliers, self.margin)


@final
@dataclass(frozen=True)
class ExactKKT:
    """What exact arithmetic found at a point (θ, λ).

    Attributes:
        holds: Every check is true.
        checks: ``"multipliers"`` (λ ≥ 0, Σ λ = 1), ``"separated"`` (q > 0), ``"complementarity"`` (λ_i > 0 only where
            m_i = q), ``"stationarity"`` (‖h‖_* ‖θ‖ = ⟨h, θ⟩ for h = Σ λ_i g_i) and, if a margin was claimed,
            ``"margin"``.
        margin: q(θ)/‖θ‖^L.
        margins: m_i(θ).
        norm_value: ‖θ‖.
        dual_value: ‖h‖_*.
        gradient: h, block by block.
        kinks: Relu entries that are exactly 0 at θ; their gates were taken as closed. Where f is C¹ that is the
            gradient; elsewhere it is one element of the Clarke subdifferential only if some direction closes them all.
    """

    holds: bool
    checks: Mapping[str, bool]
    margin: sp.Expr
    margins: tuple[sp.Expr, ...]
    norm_value: sp.Expr
    dual_value: sp.Expr
    gradient: ExactBlocks
    kinks: int


def verify_kkt(
    problem: Problem,
    norm: str | Norm,
    theta: ExactBlocks,
    lam: Sequence[Any],
    margin: sp.Expr | None = None,
) -> ExactKKT:
    """Verify that θ is a KKT direction with multipliers λ, in exact numbers.

    θ is KKT iff some λ in the simplex, carried by the smallest margins, has ‖h‖_* ‖θ‖ = ⟨h, θ⟩ with
    h = Σ λ_i ∇m_i(θ) (the subdifferential of ½‖·‖² at θ holds a multiple of h).

    Args:
        problem: The problem.
        norm: The norm, of the kinds that :func:`exact_value` knows.
        theta: Block name → ``sympy.Array`` of exact numbers, of any length.
        lam: Exact multipliers, one a margin.
        margin: The claimed q(θ)/‖θ‖^L, or None.

    Returns:
        The record, with every check's answer.

    Raises:
        ValueError: λ or a block of the wrong size.
        NormError: a norm without an exact value here.
    """
    for name, shape in problem.shapes.items():
        if tuple(theta[name].shape) != tuple(shape):
            raise ValueError(f"block {name!r} has shape {tuple(theta[name].shape)}, needed is {tuple(shape)}")
    if len(lam) != problem.n_margins:
        raise ValueError(f"{len(lam)} multipliers came, the problem has {problem.n_margins} margins")
    lam = [sp.sympify(value) for value in lam]
    at = [entry for name in problem.shapes for entry in sp.flatten(theta[name])]
    signs = activation_signs(problem, at, lambda q: sp.Rational(q.numerator, q.denominator), exact_sign)
    polynomials = margin_polynomials(problem, [sign > 0 for sign in signs]).margins
    m = [sp.expand(p.value(at, _number)) for p in polynomials]
    q = _least(m)
    h = [sp.Integer(0)] * size(problem.shapes)
    for weight, p in zip(lam, polynomials, strict=True):
        if weight != 0:
            for variable, derivative in p.gradient.items():
                h[variable] += weight * derivative.value(at, _number)
    gradient = _blocks([sp.expand(entry) for entry in h], problem)
    length, dual = exact_value(norm, theta), exact_dual(norm, gradient)
    product = sp.Add(*(a * b for a, b in zip(h, at, strict=True)))
    reached = sp.simplify(q / length**problem.degree)
    checks = {
        "multipliers": all(exact_sign(w) >= 0 for w in lam) and exact_sign(sp.Add(*lam) - 1) == 0,
        "separated": exact_sign(q) > 0,
        "complementarity": all(w == 0 or exact_sign(v - q) == 0 for w, v in zip(lam, m, strict=True)),
        "stationarity": exact_sign(product - dual * length) == 0,
    }
    if margin is not None:
        checks["margin"] = exact_sign(reached - sp.sympify(margin)) == 0
    return ExactKKT(
        holds=all(checks.values()),
        checks=checks,
        margin=reached,
        margins=tuple(m),
        norm_value=length,
        dual_value=dual,
        gradient=gradient,
        kinks=sum(sign == 0 for sign in signs),
    )


def exact_sign(value: Any) -> int:
    """Return the sign of an algebraic number, decided: zero is proved by the minimal polynomial, not by digits.

    Example:
        >>> exact_sign(sp.sqrt(2) + sp.sqrt(3) - sp.sqrt(5 + 2 * sp.sqrt(6)))
        0
    """
    value = sp.expand(value)
    if value.is_Rational:
        return int(sp.sign(value))
    x, digits = sp.Symbol("x"), 50
    while True:
        # Real by construction; the real part drops what roots of cubics in radicals leave of an imaginary one.
        near = sp.re(value.evalf(digits, maxn=4 * digits))
        if abs(near) > sp.Float(10) ** (-digits // 2):
            return 1 if near > 0 else -1
        if digits == 50 and sp.minimal_polynomial(value, x) == x:
            return 0
        digits *= 4


def as_floats(theta: ExactBlocks) -> dict[str, np.ndarray]:
    """The blocks rounded to float64."""
    return {
        name: np.array([float(v) for v in sp.flatten(block)]).reshape(tuple(block.shape))
        for name, block in theta.items()
    }


def _number(c: fmpq) -> sp.Rational:
    return sp.Rational(int(c.p), int(c.q))


def _least(values: list[sp.Expr]) -> sp.Expr:
    least = values[0]
    for value in values[1:]:
        if exact_sign(value - least) < 0:
            least = value
    return least


def _blocks(flat: list[sp.Expr], problem: Problem) -> dict[str, Any]:
    blocks, start = {}, 0
    for name, shape in problem.shapes.items():
        stop = start + size({name: shape})
        blocks[name] = sp.Array(flat[start:stop]).reshape(*shape)
        start = stop
    return blocks
