"""Margin problems with exact answers: the margin, a KKT point and its multipliers as sympy numbers.

Families G1–G6. Every record can be verified by exact arithmetic (:func:`verify_exactly`), which proves that θ is a KKT
point with that margin. That no other point has a larger margin is the inequality in ``why``; the tests try to beat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import sympy as sp

from maxmargin.models.families.deep_linear import DeepLinear, DeepLinearMulticlass
from maxmargin.models.families.diagonal import Diagonal
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.families.relu2 import SquaredReLU
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.kkt_certificate import ExactKKT, verify_kkt
from maxmargin.solvers.exact.norm_values import ExactBlocks

_NESS = "Gunasekar, Lee, Soudry, Srebro, arXiv 1806.00468; our derivation"


class NoClosedForm(ValueError):
    """A norm or size for which this family has no exact answer."""


@final
@dataclass(frozen=True, eq=False)
class ClosedForm:
    """One margin problem and its exact answer.

    Attributes:
        id: Family, size and norm: ``"G2-k3-linf"``.
        problem: The problem.
        norm: The norm's name.
        margin: γ* = max q(θ)/‖θ‖^L.
        theta: A maximiser of any length: block name → ``sympy.Array``. It need not be the only one.
        multipliers: λ in the simplex, one a margin.
        why: Why no θ does better.
        source: Where the answer comes from.
    """

    id: str
    problem: Problem
    norm: str
    margin: sp.Expr
    theta: ExactBlocks
    multipliers: tuple[sp.Expr, ...]
    why: str
    source: str


def verify_exactly(record: ClosedForm) -> ExactKKT:
    """Prove by exact arithmetic that the record's θ is a KKT point with its multipliers and its margin.

    Returns:
        The checks; ``holds`` is their conjunction.

    Example:
        >>> verify_exactly(multiclass_simplex("linf", classes=3)).holds
        True
    """
    return verify_kkt(record.problem, record.norm, record.theta, record.multipliers, record.margin)


def linear_point(norm: str, x: Sequence[Any] = (3, -4, 0)) -> ClosedForm:
    """G1: one point x, linear: γ* = ‖x‖_*.

    Returns:
        The record, for l1, l2 and linf.

    Raises:
        NoClosedForm: another norm.
    """
    beta, margin = _pick("G1", norm, _linear_maximisers(x))
    model = BlockLinear((("w", (len(x),)),))
    return ClosedForm(
        f"G1-{norm}",
        _binary("one-point", model, [x]),
        norm,
        margin,
        {"w": beta},
        (sp.Integer(1),),
        "Hölder's inequality, with equality at θ",
        "Hölder",
    )


def multiclass_simplex(norm: str, classes: int = 3, s: Any = 1) -> ClosedForm:
    """G2: x_i = s e_i with label i, k classes, linear.

    The margins are s, 2s, s/√(k−1), s/(k−1) and s/k for spectral, linf, l2, nuclear and l1: equal multipliers give
    Σ λ_i g_i = s (k I − 11ᵀ)/(k(k−1)), whose dual norms they are. The maximiser is unique for linf and l2 (up to
    scale); for spectral I − c 11ᵀ serves with every 0 <= c <= 2/k.

    Returns:
        The record.

    Raises:
        NoClosedForm: another norm, or fewer than three classes (two classes have one margin each, doubled).
    """
    k, s = classes, _exact(s)
    if k < 3:
        raise NoClosedForm(f"G2 with {k} classes: needed are three at least")
    one, eye = sp.ones(k, k), sp.eye(k)
    W, margin = _pick(
        "G2",
        norm,
        {
            "spectral": (eye - one / k, s),
            "linf": (2 * eye - one, 2 * s),
            "l2": (k * eye - one, s / sp.sqrt(k - 1)),
            "nuclear": (k * eye - one, s / (k - 1)),
            "l1": (eye, s / k),
        },
    )
    problem = Problem.of(f"simplex-{k}", MulticlassLinear(k, k), _floats(s * eye), list(range(k)))
    lam = (sp.Rational(1, k * (k - 1)),) * problem.n_margins
    why = "weak duality: q(W) <= ⟨Σ λ g, W⟩ <= ‖Σ λ g‖_* ‖W‖, with equality at W"
    return ClosedForm(f"G2-k{k}-{norm}", problem, norm, margin, {"W": _array(W)}, lam, why, "our derivation")


def diagonal_point(norm: str, depth: int = 2, x: Sequence[Any] = (1, 2, -3)) -> ClosedForm:
    """G3: diagonal network of depth L, one point: ℓ2 → max|x_i| / L^{L/2}, linf → Σ|x_i|, l1 → max|x_i| / L^L.

    In the predictor β = u_1 ⋯ u_L the parameter norms become the quasi-norm ℓ_{2/L}, ℓ∞ and ℓ_{1/L}.

    Returns:
        The record.

    Raises:
        NoClosedForm: another norm.
    """
    x = [_exact(v) for v in x]
    top = max(range(len(x)), key=lambda i: abs(x[i]))
    signs, ones = [sp.sign(v) for v in x], [sp.Integer(1)] * len(x)
    single = [sp.Integer(int(i == top)) for i in range(len(x))]
    L, peak = sp.Integer(depth), abs(x[top])
    first, rest, margin = _pick(
        "G3",
        norm,
        {
            "l2": ([a * b for a, b in zip(signs, single, strict=True)], single, peak / L ** (L / 2)),
            "linf": (signs, ones, sp.Add(*(abs(v) for v in x))),
            "l1": ([a * b for a, b in zip(signs, single, strict=True)], single, peak / L**L),
        },
    )
    theta = {f"u{layer}": sp.Array(first if layer == 1 else rest) for layer in range(1, depth + 1)}
    return ClosedForm(
        f"G3-L{depth}-{norm}",
        _binary("one-point", Diagonal(len(x), depth), [x]),
        norm,
        margin,
        theta,
        (sp.Integer(1),),
        "Σ|x_i| Π|u_li| is largest at equal factors (means), then at one coordinate (ℓ_{p/L} quasi-norm, p/L <= 1)",
        _NESS,
    )


def diagonal_pair(norm: str, depth: int = 2) -> ClosedForm:
    """G3 with the two points (2, 1) and (1, 2): ℓ2 at depth 2 → γ_1(X)/2 = 3/4; linf at any depth → γ_inf(X) = 3.

    Returns:
        The record.

    Raises:
        NoClosedForm: another norm, or ℓ2 at another depth.
    """
    answers = {"linf": sp.Integer(3)} | ({"l2": sp.Rational(3, 4)} if depth == 2 else {})
    margin = _pick("G3-pair", norm, answers)
    theta = {f"u{layer}": sp.Array([1, 1]) for layer in range(1, depth + 1)}
    return ClosedForm(
        f"G3-pair-L{depth}-{norm}",
        _binary("two-points", Diagonal(2, depth), [[2, 1], [1, 2]]),
        norm,
        margin,
        theta,
        (sp.Rational(1, 2),) * 2,
        "q <= ⟨β, (3/2, 3/2)⟩ <= 3/2 ‖β‖_1 <= 3/4 ‖θ‖² (l2, depth 2), or <= 3 ‖β‖_inf <= 3 ‖θ‖^L (linf)",
        _NESS,
    )


def deep_linear_point(norm: str, widths: Sequence[int] = (2, 3), x: Sequence[Any] = (3, 4)) -> ClosedForm:
    """G4: fully connected, K layers, scalar output, one point.

    Under l2 ‖x‖_2 / K^{K/2}, spectral ‖x‖_2, linf (Π m_k) ‖x‖_1, hybrid √m_{K−1} ‖x‖_2 (the head's entries are all 1).
    Under spectral the layers need not be of rank one; this point's are.

    Returns:
        The record.

    Raises:
        NoClosedForm: another norm.
    """
    x = [_exact(v) for v in x]
    layers, width = len(widths) + 1, sp.prod(widths)
    length = sp.sqrt(sp.Add(*(v * v for v in x)))
    unit, signs = [v / length for v in x], [sp.sign(v) for v in x]
    # Unit vectors (3/5, 4/5, 0, …) between the layers: rational, and no layer is a multiple of a unit matrix.
    inner = [[sp.Rational(3, 5), sp.Rational(4, 5), *[0] * (m - 2)] if m > 1 else [1] for m in widths]
    flat = [[1] * m for m in widths]
    root = sp.sqrt(widths[-1])
    even = [*inner[:-1], [1 / root] * widths[-1]]
    start, between, head, margin = _pick(
        "G4",
        norm,
        {
            "l2": (unit, inner, inner[-1], length / sp.Integer(layers) ** sp.Rational(layers, 2)),
            "spectral": (unit, inner, inner[-1], length),
            "linf": (signs, flat, flat[-1], width * sp.Add(*(abs(v) for v in x))),
            "hybrid": (unit, even, flat[-1], root * length),
        },
    )
    chain = [start, *between]
    theta: dict[str, Any] = {
        f"W{layer}": _array(sp.Matrix(chain[layer]) * sp.Matrix(chain[layer - 1]).T) for layer in range(1, layers)
    }
    theta["a"] = sp.Array(head)
    return ClosedForm(
        f"G4-{'x'.join(map(str, widths))}-{norm}",
        _binary("one-point", DeepLinear(len(x), tuple(widths)), [x]),
        norm,
        margin,
        theta,
        (sp.Integer(1),),
        "f <= ‖a‖_2 Π‖W_k‖_op ‖x‖_2, then means (l2) or ‖a‖_2 <= √m ‖a‖_inf (hybrid); |entries| <= ‖θ‖ (linf)",
        _NESS,
    )


def matrix_factorization(norm: str, classes: int = 3, width: int | None = None, s: Any = 1) -> ClosedForm:
    """G5: B = W2 W1 of width >= k on the data of G2: s/(2(k−1)) under l2 (nuclear norm of B), s under spectral.

    Returns:
        The record.

    Raises:
        NoClosedForm: another norm, fewer than three classes, or a width below their number.
    """
    k, s = classes, _exact(s)
    m = k if width is None else width
    if k < 3 or m < k:
        raise NoClosedForm(f"G5 with {k} classes and width {m}: needed are three classes and at least that width")
    P = sp.eye(k) - sp.ones(k, k) / k  # a projection: P P = P, so both factors can be P
    margin = _pick("G5", norm, {"l2": s / (2 * (k - 1)), "spectral": s})
    theta = {
        "W1": _array(sp.Matrix.vstack(P, sp.zeros(m - k, k))),
        "W2": _array(sp.Matrix.hstack(P, sp.zeros(k, m - k))),
    }
    problem = Problem.of(f"simplex-{k}", DeepLinearMulticlass(k, k, (m,)), _floats(s * sp.eye(k)), list(range(k)))
    return ClosedForm(
        f"G5-k{k}-m{m}-{norm}",
        problem,
        norm,
        margin,
        theta,
        (sp.Rational(1, k * (k - 1)),) * problem.n_margins,
        "‖W2 W1‖_nuc <= (‖W1‖_F² + ‖W2‖_F²)/2 and ‖W2 W1‖_op <= ‖W2‖_op ‖W1‖_op, then G2",
        _NESS,
    )


def squared_relu_point(norm: str, hidden: int = 3, x: Sequence[Any] = (3, -4)) -> ClosedForm:
    """G6: two-layer squared ReLU, width m, one point with y = +1.

    l2: 2/(3√3) ‖x‖_2²; linf: m ‖x‖_1²; spectral and hybrid: ‖x‖_2²; l1: 4/27 max|x_i|²; nuclear: 4/27 ‖x‖_2².

    Returns:
        The record.

    Raises:
        NoClosedForm: another norm.
    """
    x = [_exact(v) for v in x]
    square, signs = sp.Add(*(v * v for v in x)), [sp.sign(v) for v in x]
    unit = [v / sp.sqrt(square) for v in x]
    top = max(range(len(x)), key=lambda i: abs(x[i]))
    tall = [2 * signs[i] if i == top else sp.Integer(0) for i in range(len(x))]
    none = [sp.Integer(0)] * len(x)
    first = [1, *[0] * (hidden - 1)]
    rows, a, margin = _pick(
        "G6",
        norm,
        {
            "l2": ([[sp.sqrt(2) * v for v in unit]], first, 2 / (3 * sp.sqrt(3)) * square),
            "linf": ([signs] * hidden, [1] * hidden, hidden * sp.Add(*(abs(v) for v in x)) ** 2),
            "spectral": ([unit], first, square),
            "hybrid": ([unit], [1] * hidden, square),
            "l1": ([tall], first, sp.Rational(4, 27) * x[top] ** 2),
            "nuclear": ([[2 * v for v in unit]], first, sp.Rational(4, 27) * square),
        },
    )
    theta = {"W": sp.Array([*rows, *[none] * (hidden - len(rows))]), "a": sp.Array(a)}
    return ClosedForm(
        f"G6-m{hidden}-{norm}",
        _binary("one-point", SquaredReLU(len(x), hidden), [x]),
        norm,
        margin,
        theta,
        (sp.Integer(1),),
        "Σ a_j (w_j·x)_+² <= ‖a‖_2 ‖Wx‖_2² <= ‖a‖_2 ‖W‖_op² ‖x‖² (or the entrywise bound), then the mean inequality",
        "our derivation",
    )


CATALOGUE: Mapping[str, tuple[Callable[..., ClosedForm], tuple[str, ...]]] = {
    "G1": (linear_point, ("l1", "l2", "linf")),
    "G2": (multiclass_simplex, ("spectral", "linf", "l2", "nuclear", "l1")),
    "G3": (diagonal_point, ("l2", "linf", "l1")),
    "G3-pair": (diagonal_pair, ("l2", "linf")),
    "G4": (deep_linear_point, ("l2", "spectral", "linf", "hybrid")),
    "G5": (matrix_factorization, ("l2", "spectral")),
    "G6": (squared_relu_point, ("l2", "linf", "spectral", "hybrid", "l1", "nuclear")),
}
"""Family → its builder and the norms for which it has an answer."""


def closed_forms() -> list[ClosedForm]:
    """Every family at its default size, under every norm that it answers.

    Returns:
        The records.
    """
    return [build(norm) for build, norms in CATALOGUE.values() for norm in norms]


def _pick(family: str, norm: str, answers: Mapping[str, Any]) -> Any:
    if norm not in answers:
        raise NoClosedForm(
            f"{family} has no closed form under the norm {norm!r}; it has one under {', '.join(answers)}"
        )
    return answers[norm]


def _linear_maximisers(x: Sequence[Any]) -> dict[str, tuple[Any, sp.Expr]]:
    x = [_exact(v) for v in x]
    top = max(range(len(x)), key=lambda i: abs(x[i]))
    single = [sp.sign(v) if i == top else sp.Integer(0) for i, v in enumerate(x)]
    return {
        "l1": (sp.Array(single), abs(x[top])),
        "l2": (sp.Array(x), sp.sqrt(sp.Add(*(v * v for v in x)))),
        "linf": (sp.Array([sp.sign(v) for v in x]), sp.Add(*(abs(v) for v in x))),
    }


def _binary(name: str, model: HomogeneousModel, X: Sequence[Sequence[Any]]) -> Problem:
    return Problem.of(name, model, _floats(sp.Matrix(X)), [1] * len(X), classes=(-1, 1))


def _exact(value: Any) -> sp.Rational:
    """The rational that the float is with which the problem is built: the exact answer is to that problem."""
    q = Fraction(float(value))
    return sp.Rational(q.numerator, q.denominator)


def _floats(X: sp.Matrix) -> list[list[float]]:
    return [[float(v) for v in row] for row in X.tolist()]


def _array(M: sp.Matrix) -> sp.Array:
    return sp.Array(M.tolist())
