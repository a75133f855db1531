"""Margin problems whose optimum theory states exactly, G1–G6: one sample, or the unit vectors as classes.

Each family is a rule: given a problem of its kind, of any size, it states for each norm that it answers a maximiser and
the optimal margin. The multipliers are equal over all margins. That no other point has a larger margin is the
inequality in ``why``; the tests try to beat it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from math import prod
from typing import Any, final

import numpy as np
import sympy as sp

from maxmargin.models.families.attention import LinearAttention
from maxmargin.models.families.convolution import LinearConvolution
from maxmargin.models.families.deep_linear import DeepLinear, DeepLinearMulticlass
from maxmargin.models.families.diagonal import Diagonal
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.families.networks import Network
from maxmargin.models.families.tied import Tied
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.kkt_certificate import Stated
from maxmargin.solvers.exact.norm_values import ExactBlocks

_NETS = "Gunasekar, Lee, Soudry, Srebro, arXiv 1806.00468; our derivation"
_OURS = "our derivation"


@final
@dataclass(frozen=True)
class Family:
    """What one family states of a problem.

    Attributes:
        id: Family and size: ``"G2-k3"``.
        why: Why no θ does better.
        source: Where the answers come from.
        answers: Norm → a maximiser of any length (it need not be the only one), and γ* = max q(θ)/‖θ‖^L.
    """

    id: str
    why: str
    source: str
    answers: Mapping[str, tuple[ExactBlocks, sp.Expr]]


def stated_optima(problem: Problem) -> Iterator[Stated]:
    """The global optima that theory states for this problem, one a norm; none for a problem of no known family."""
    # A model derived from one of these may compute something else.
    family = _family(problem.model, problem) if type(problem.model) in _family.registry else None
    if family is not None:
        for norm, (theta, margin) in family.answers.items():
            yield Stated.of(f"{family.id}-{norm}", problem, norm, "global", margin, theta, family.why, family.source)


@singledispatch
def _family(model: HomogeneousModel, problem: Problem) -> Family | None:
    return None


@_family.register
def _(model: BlockLinear, problem: Problem) -> Family | None:
    """G1: one point x, linear: γ* = ‖x‖_*."""
    points = positive_points(problem)
    if points is None or len(points) != 1 or [len(shape) for shape in model.shapes.values()] != [1]:
        return None
    (x,), (name,) = points, model.shapes
    length = _length(x)
    rows = {
        "l1": (_signs(x, _top(x)), abs(x[_top(x)])),
        "l2": (x, length),
        "spectral": (x, length),  # a vector is a matrix of one row
        "nuclear": (x, length),
        "linf": (_signs(x), _total(x)),
    }
    answers = {norm: ({name: sp.Array(w)}, margin) for norm, (w, margin) in rows.items()}
    return Family("G1", "Hölder's inequality, with equality at θ", "Hölder", answers)


@_family.register
def _(model: MulticlassLinear, problem: Problem) -> Family | None:
    """G2: x_i = s e_i with label i, k classes, linear."""
    # Equal multipliers give Σ λ_i g_i = s (k I − 11ᵀ)/(k(k−1)), whose dual norms the margins are. The maximiser is
    # unique for linf and l2 (up to scale); for spectral I − c 11ᵀ serves with every 0 <= c <= 2/k.
    s, k = basis_scale(problem), model.classes
    if s is None:
        return None
    one, eye = sp.ones(k, k), sp.eye(k)
    rows = {
        "spectral": (eye - one / k, s),
        "linf": (2 * eye - one, 2 * s),
        "l2": (k * eye - one, s / sp.sqrt(k - 1)),
        "nuclear": (k * eye - one, s / (k - 1)),
        "l1": (eye, s / k),
    }
    why = "weak duality: q(W) <= ⟨Σ λ g, W⟩ <= ‖Σ λ g‖_* ‖W‖, with equality at W"
    return Family(f"G2-k{k}", why, _OURS, {norm: ({"W": _array(W)}, margin) for norm, (W, margin) in rows.items()})


@_family.register
def _(model: Diagonal, problem: Problem) -> Family | None:
    """G3: diagonal network of depth L, one point, or two points that mirror each other."""
    # In the predictor β = u_1 ⋯ u_L the parameter norms become the quasi-norm ℓ_{2/L}, ℓ∞ and ℓ_{1/L}.
    points, L = positive_points(problem), sp.Integer(model.depth)
    if points is None:
        return None
    if len(points) == 2:
        return _mirrored(model, points)
    (x,) = points
    peak, ones = _top(x), [sp.Integer(1)] * len(x)
    single = [abs(v) for v in _signs(x, peak)]
    rows = {
        "l2": (_signs(x, peak), single, abs(x[peak]) / L ** (L / 2)),
        "linf": (_signs(x), ones, _total(x)),
        "l1": (_signs(x, peak), single, abs(x[peak]) / L**L),
    }
    answers = {
        norm: ({name: sp.Array(first if name == "u1" else rest) for name in model.shapes}, margin)
        for norm, (first, rest, margin) in rows.items()
    }
    why = "Σ|x_i| Π|u_li| is largest at equal factors (means), then at one coordinate (ℓ_{p/L} quasi-norm, p/L <= 1)"
    return Family(f"G3-L{L}", why, _NETS, answers)


def _mirrored(model: Diagonal, points: Sequence[Sequence[sp.Rational]]) -> Family | None:
    """(a, b) and (b, a): ℓ2 at depth 2 → (a + b)/4; linf at any depth → a + b."""
    if len(points[0]) != 2 or points[1] != points[0][::-1] or not sum(points[0]) > 0:
        return None
    both, theta = sp.Add(*points[0]), {name: sp.Array([1, 1]) for name in model.shapes}
    answers = {"linf": (theta, both)} | ({"l2": (theta, both / 4)} if model.depth == 2 else {})
    why = "q <= (a + b)/2 ⟨β, 1⟩ <= (a + b)/2 ‖β‖_1 <= (a + b)/4 ‖θ‖² (l2, depth 2), or <= (a + b) ‖β‖_inf (linf)"
    return Family(f"G3-pair-L{model.depth}", why, _NETS, answers)


@_family.register
def _(model: DeepLinear, problem: Problem) -> Family | None:
    """G4: fully connected, L layers, scalar output, one point (under spectral the layers need not be of rank one)."""
    points, L = positive_points(problem), sp.Integer(model.degree)
    if points is None or len(points) != 1:
        return None
    (x,), widths, length = points, model.widths, _length(points[0])
    unit, root = [v / length for v in x], sp.sqrt(widths[-1])
    # Unit vectors (3/5, 4/5, 0, …) between the layers: rational, and no layer is a multiple of a unit matrix.
    inner = [[sp.Rational(3, 5), sp.Rational(4, 5), *[0] * (m - 2)] if m > 1 else [1] for m in widths]
    flat, even = [[1] * m for m in widths], [*inner[:-1], [1 / root] * widths[-1]]
    rows = {
        "l2": (unit, inner, inner[-1], length / L ** (L / 2)),
        "spectral": (unit, inner, inner[-1], length),
        "linf": (_signs(x), flat, flat[-1], prod(widths) * _total(x)),
        "hybrid": (unit, even, flat[-1], root * length),
    }
    answers = {}
    for norm, (start, between, head, margin) in rows.items():
        chain = [start, *between]
        layers = {f"W{i}": _array(sp.Matrix(chain[i]) * sp.Matrix(chain[i - 1]).T) for i in range(1, len(chain))}
        answers[norm] = ({**layers, "a": sp.Array(head)}, margin)
    why = "f <= ‖a‖_2 Π‖W_k‖_op ‖x‖_2, then means (l2) or ‖a‖_2 <= √m ‖a‖_inf (hybrid); |entries| <= ‖θ‖ (linf)"
    return Family(f"G4-{'x'.join(map(str, widths))}", why, _NETS, answers)


@_family.register
def _(model: DeepLinearMulticlass, problem: Problem) -> Family | None:
    """G5: B = W2 W1 of width m >= k on G2's data: l2 sees the nuclear norm of B, spectral its spectral norm."""
    s, k = basis_scale(problem), model.classes
    if s is None or len(model.widths) != 1 or model.widths[0] < k:
        return None
    (m,) = model.widths
    P = sp.eye(k) - sp.ones(k, k) / k  # a projection: P P = P, so both factors can be P
    theta = {
        "W1": _array(sp.Matrix.vstack(P, sp.zeros(m - k, k))),
        "W2": _array(sp.Matrix.hstack(P, sp.zeros(k, m - k))),
    }
    why = "‖W2 W1‖_nuc <= (‖W1‖_F² + ‖W2‖_F²)/2 and ‖W2 W1‖_op <= ‖W2‖_op ‖W1‖_op, then G2"
    return Family(f"G5-k{k}-m{m}", why, _NETS, {"l2": (theta, s / (2 * (k - 1))), "spectral": (theta, s)})


@_family.register
def _(model: LinearConvolution, problem: Problem) -> Family | None:
    """G3-conv: full-width convolutions, one point without a negative entry: one frequency, the constant one."""
    # Its transform at the constant frequency is its sum, and no other is larger in modulus.
    points, L, d = positive_points(problem), sp.Integer(model.depth), sp.Integer(model.inputs)
    if points is None or len(points) != 1 or min(points[0]) < 0:
        return None
    (x,) = points
    flat, single = [sp.Integer(1)] * len(x), [sp.Integer(i == 0) for i in range(len(x))]
    rows = {
        "l2": (flat, flat, _total(x) * d ** (L / 2 - 1) / L ** (L / 2)),
        "spectral": (flat, flat, _total(x) * d ** (L / 2 - 1)),
        "linf": (flat, flat, _total(x) * d ** (L - 1)),
        "l1": (_signs(x, _top(x)), single, x[_top(x)] / L**L),
    }
    answers = {
        norm: ({name: sp.Array(first if name == "w1" else rest) for name in model.shapes}, margin)
        for norm, (first, rest, margin) in rows.items()
    }
    why = "d f = Σ_k x̂_k Π ŵ_lk <= max|x̂_k| Π‖ŵ_l‖_2 (Parseval, Hölder), or |β_i| <= d^{L−1} (linf), ‖β‖_1 <= Π‖w_l‖_1"
    return Family(f"G3-conv-L{L}", why, _NETS, answers)


@_family.register
def _(model: LinearAttention, problem: Problem) -> Family | None:
    """G4-attention: one input whose tokens each have one nonzero number, in different places."""
    # Then G = Σ x_t x_tᵀ is diagonal, and f = ⟨v, G Kᵀ Q x_T⟩ is a deep linear network of one point with G inside.
    points, m = positive_points(problem), model.width
    if points is None or len(points) != 1:
        return None
    x = sp.Matrix(model.tokens, model.token, points[0])
    G, last = x.T * x, list(x[-1, :])
    if not G.is_diagonal() or not any(last):
        return None
    g = list(G.diagonal())
    peak, best, length = _top(g), max(g), _length(last)
    axis = [sp.Integer(i == peak) for i in range(model.token)]
    row, first = [sp.Integer(1)] * m, [sp.Integer(i == 0) for i in range(m)]
    toward, ones, most = [v / length for v in last], [sp.Integer(1)] * model.token, _signs(last, _top(last))
    rows = {
        "l2": (first, toward, axis, best * length / (3 * sp.sqrt(3))),
        "spectral": (first, toward, axis, best * length),
        "nuclear": (first, toward, axis, best * length / 27),
        "linf": (row, _signs(last), ones, m * sp.Add(*g) * _total(last)),
        "l1": (first, most, axis, best * abs(last[_top(last)]) / 27),
    }
    answers = {
        norm: ({"Q": _outer(rows_, q), "K": _outer(rows_, v), "v": sp.Array(v)}, margin)
        for norm, (rows_, q, v, margin) in rows.items()
    }
    why = "f <= ‖v‖ ‖G‖ ‖K‖ ‖Q‖ ‖x_T‖ in operator norms, or in largest and summed entries; then the mean inequality"
    return Family(f"G4-attention-m{m}", why, _OURS, answers)


@_family.register
def _(model: Network, problem: Problem) -> Family | None:
    """G6: units of a whole power q, one point: one neuron a layer under l2, l1 and nuclear, all alike under linf."""
    points, q = positive_points(problem), model.unit.power
    if points is None or len(points) != 1 or q != int(q):
        return None
    (x,), widths, m, q = points, model.widths, model.hidden, sp.Integer(q)
    peak, length, power = _top(x), _length(x), q ** len(model.widths)
    unit, degrees = [v / length for v in x], [sp.Integer(d) for d in model.block_degrees.values()]
    first, alike = [sp.Integer(1), *[sp.Integer(0)] * (m - 1)], [sp.Integer(1)] * m
    L = sp.Add(*degrees)
    every = _total(x)
    for width in widths:
        every = width * every**q
    # At a KKT point the p-th powers of the blocks' norms are in the ratio of their degrees.
    euclidean, summed = [sp.sqrt(d) for d in degrees], degrees
    spread = sp.Integer(m) ** max(sp.Integer(0), 1 - q / 2)
    rows = {
        "l2": (_chain(widths, unit, euclidean), first, length**power, 2),
        "linf": (_flat(widths, _signs(x)), alike, every, sp.oo),
        "spectral": (_chain(widths, unit), first, length**power, sp.oo),
        "hybrid": (_chain(widths, unit, last=alike if q == 1 else None), alike, spread * length**power, sp.oo),
        "l1": (_chain(widths, _signs(x, peak), summed), first, abs(x[peak]) ** power, 1),
        "nuclear": (_chain(widths, unit, summed), first, length**power, 1),
    }
    answers = {}
    for norm, (layers, head, size, p) in rows.items():
        theta = {name: _array(W) for name, W in zip(model.layers, layers, strict=True)}
        share = sp.Mul(*((d / L) ** (d / p) for d in degrees))
        answers[norm] = ({**theta, "a": sp.Array(head)}, share * size)
    why = "‖σ(Wh)‖_2 <= ‖W‖_op^q ‖h‖_2^q layer by layer (or the entrywise bound), then the mean inequality"
    kind = {"relu2": "", "relu-power": f"-power{q}"}.get(model.unit.name, f"-{model.unit.name}")
    return Family(f"G6{kind}-m{'x'.join(map(str, widths))}", why, _OURS, answers)


@_family.register
def _(model: Tied, problem: Problem) -> Family | None:
    """G6-tied: one point on a positive axis, where the first neuron can feed itself."""
    points, q = positive_points(problem), model.unit.power
    if points is None or len(points) != 1 or q != int(q) or sum(v != 0 for v in points[0]) != 1 or max(points[0]) <= 0:
        return None
    (x,), d, power, q = points, model.inputs, model.unit.power**model.uses, sp.Integer(q)
    peak, s = _top(x), sp.Integer(model.degree) - 1
    axis, L, every = _signs(x, peak), s + 1, x[peak]
    for _ in range(model.uses):
        every = every**q * (d if _ else 1) ** q
    one, flat = sp.Matrix(axis) * sp.Matrix(axis).T, sp.ones(d, d)
    rows = {
        "l2": (sp.sqrt(s) * one, axis, sp.sqrt(s**s / L**L) * x[peak] ** power),
        "spectral": (one, axis, x[peak] ** power),
        "linf": (flat, [1] * d, d * every),
        "l1": (s * one, axis, s**s / L**L * x[peak] ** power),
        "nuclear": (s * one, axis, s**s / L**L * x[peak] ** power),
    }
    why = "‖σ(Wh)‖_2 <= ‖W‖_op^q ‖h‖_2^q at every use (or the entrywise bound), then the mean inequality"
    answers = {norm: ({"W": _array(W), "a": sp.Array(a)}, margin) for norm, (W, a, margin) in rows.items()}
    return Family(f"G6-tied-L{L}", why, _OURS, answers)


def _chain(
    widths: Sequence[int], x: Sequence[Any], scales: Sequence[Any] = (), last: Sequence[Any] | None = None
) -> list[sp.Matrix]:
    """One neuron a layer: the first along x, each of the others fed by the one before it."""
    rows = [[sp.Integer(i == 0) for i in range(m)] for m in widths]
    if last is not None:
        rows[-1] = [v / sp.sqrt(sum(last)) for v in last]
    into = [list(x), *rows[:-1]]
    head = scales[-1] if scales else 1
    return [(scales[i] / head if scales else 1) * sp.Matrix(row) * sp.Matrix(into[i]).T for i, row in enumerate(rows)]


def _flat(widths: Sequence[int], x: Sequence[Any]) -> list[sp.Matrix]:
    sizes = [len(x), *widths]
    return [sp.ones(sizes[i + 1], sizes[i]) if i else sp.ones(sizes[1], 1) * sp.Matrix(x).T for i in range(len(widths))]


def _outer(rows: Sequence[Any], columns: Sequence[Any]) -> Any:
    return _array(sp.Matrix(rows) * sp.Matrix(columns).T)


def positive_points(problem: Problem) -> list[list[sp.Rational]] | None:
    """The samples as the rationals that their floats are, if all have the label +1 of two classes, and none is 0."""
    X = problem.X.cpu().numpy()
    if problem.model.outputs > 1 or (problem.contrasts < 0).any() or not X.any(axis=1).all():
        return None
    return [[sp.Rational(*float(v).as_integer_ratio()) for v in row] for row in X]


def basis_scale(problem: Problem) -> sp.Rational | None:
    """s where the samples are s e_i, each its own class, in order, at least three; else None."""
    X, k = problem.X.cpu().numpy(), problem.model.outputs
    if k < 3 or X.shape != (k, k) or not X[0, 0] > 0 or (X[0, 0] * np.eye(k) != X).any():
        return None
    if not all(problem.contrasts[i, 0, i] > 0 for i in range(k)):
        return None
    return sp.Rational(*float(X[0, 0]).as_integer_ratio())


def _top(x: Sequence[sp.Rational]) -> int:
    return max(range(len(x)), key=lambda i: abs(x[i]))


def _signs(x: Sequence[sp.Rational], only: int | None = None) -> list[sp.Integer]:
    return [sp.sign(v) if only in (None, i) else sp.Integer(0) for i, v in enumerate(x)]


def _total(x: Sequence[sp.Rational]) -> sp.Expr:
    return sp.Add(*(abs(v) for v in x))


def _length(x: Sequence[sp.Rational]) -> sp.Expr:
    return sp.sqrt(sp.Add(*(v * v for v in x)))


def _array(M: sp.Matrix) -> Any:
    return sp.Array(M.tolist())
