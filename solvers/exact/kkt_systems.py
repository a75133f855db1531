"""The KKT conditions under a norm as a square polynomial system with strict inequalities beside it.

Unknowns: θ with ‖θ‖ = 1, the multipliers λ of the active margins with Σ λ = 1, the margin q, and for a spectral block
its singular frame. With h = Σ λ_i ∇m_i(θ), by the norm's kind (w is a block's weight):

============================  =====================================================================================
whole parameter ℓ2            ``h_k = L q w_k² θ_k``; Euler's identity makes ‖θ‖ = 1 of it
whole parameter ℓ1            ``h_j = L q w σ_j`` where θ_j ≠ 0, sign σ_j; θ_j = 0 and ``|h_j| < L q w`` elsewhere
max of blocks, linf block     ``θ_j = σ_j / w`` and ``σ_j h_j > 0``, or ``|θ_j| <= 1/w`` and ``h_j = 0``
max of blocks, sphere block   ``h = μ θ``, ``‖θ‖_2 = 1/w``, μ > 0 (Frobenius; or spectral of one row, column, vector)
max of blocks, spectral       ``H = W V M Vᵀ``, ``WᵀW V = V (1/w² + K)``, ``VᵀV = 1`` with M ≻ 0 symmetric and K skew
============================  =====================================================================================

In the spectral block V spans the right singular vectors whose singular value is the largest, 1/w. A solution has
K = 0 (VᵀWᵀWV is symmetric), so that H = (wWV)(M/w)Vᵀ is aligned with W; K only makes the system square. V is
pinned within its span by ``V₀ᵀV`` symmetric, V₀ the numerical frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import final

import numpy as np
from flint import fmpq

from maxmargin.models import blocks as blk
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.polynomials import Polynomial, from_float
from maxmargin.solvers.norms.block import BlockNorm
from maxmargin.solvers.norms.entrywise import Entrywise
from maxmargin.solvers.norms.parameter import Norm
from maxmargin.solvers.norms.schatten import Schatten


class NoSystem(ValueError):
    """A norm, or a point under it, whose KKT conditions are no square polynomial system here."""


Strict = tuple[str, Polynomial]
Definite = tuple[str, Sequence[Sequence[Polynomial]] | np.ndarray]


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """A spectral block: its parameters (a tall table of variables), gradient, and the rank of its frame V.

    Attributes:
        name: The block.
        order: Variables of the entries, (n, m) with n >= m.
        gradient: H as polynomials, (n, m).
        values: H as floats.
        rank: Columns of V.
    """

    name: str
    order: np.ndarray
    gradient: np.ndarray
    values: np.ndarray
    rank: int


@final
@dataclass
class System:
    """The system under construction, then complete.

    Attributes:
        values: A float for every variable: the parameters, one λ a margin, q, and what blocks added.
        held: Variables that are no unknowns, with their exact values.
        equations: Polynomials that must vanish.
        free: Parameter → its stationarity equation h_j = 0, in linf blocks.
        pulled: Parameter → its stationarity equation h_j = L q w² θ_j, in ℓ2.
        framed: Parameter → its stationarity equation (H − W V M Vᵀ)_j = 0, in spectral blocks.
        frames: The spectral blocks.
        strict: What must be positive, with the words to say if it is not.
        weak: What must be positive, or vanish identically.
        regular: Square matrices that must be invertible.
        definite: Symmetric matrices that must be positive definite.
    """

    values: list[float]
    held: dict[int, fmpq] = field(default_factory=dict)
    equations: list[Polynomial] = field(default_factory=list)
    free: dict[int, Polynomial] = field(default_factory=dict)
    pulled: dict[int, Polynomial] = field(default_factory=dict)
    framed: dict[int, Polynomial] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    strict: list[Strict] = field(default_factory=list)
    weak: list[Strict] = field(default_factory=list)
    definite: list[Definite] = field(default_factory=list)
    regular: list[Definite] = field(default_factory=list)

    def new(self, start: np.ndarray) -> list[int]:
        """Numbers of new unknowns with these start values."""
        first = len(self.values)
        self.values += [float(v) for v in np.ravel(start)]
        return list(range(first, len(self.values)))

    def everything(self) -> list[Polynomial]:
        """All equations."""
        return [*self.free.values(), *self.pulled.values(), *self.framed.values(), *self.equations]

    def hold(self, variable: int) -> None:
        """Hold a variable at its numerical value."""
        self.held[variable] = from_float(self.values[variable])

    def reduced(self) -> tuple[list[Polynomial], list[int]]:
        """The equations with the held values put in, those that then vanish identically left out; and the unknowns."""
        equations = [e.substitute(self.held) for e in self.everything()]
        return [e for e in equations if not e.zero], [v for v in range(len(self.values)) if v not in self.held]


@final
@dataclass(frozen=True, eq=False)
class Stationarity:
    """What the block systems are built from.

    Attributes:
        problem: The problem.
        norm: The norm.
        theta: The numerical point, flat, ‖θ‖ = 1.
        h: Σ λ_i ∇m_i as polynomials, one a parameter.
        h_values: Their numerical values.
        zeros: Parameters held at 0.
        q: The variable of the margin.
        tolerance: Within which a number counts as 0, or as saturated.
    """

    problem: Problem
    norm: Norm
    theta: np.ndarray
    h: list[Polynomial]
    h_values: np.ndarray
    zeros: frozenset[int]
    q: Polynomial
    tolerance: float


@final
@dataclass(frozen=True)
class _Block:
    """A block: its shape, the numbers of its parameters, its weight."""

    name: str
    shape: tuple[int, ...]
    span: range
    weight: Fraction


def add_stationarity(system: System, data: Stationarity) -> None:
    """Add the norm's stationarity conditions, and the norm ‖θ‖ = 1, to the system.

    Raises:
        NoSystem: a norm outside the table above, or a block whose gradient vanishes.
    """
    start = 0
    for name, shape in data.problem.shapes.items():
        span = range(start, start + blk.size({name: shape}))
        rule, weight = data.norm.block(name, shape)
        _builder(rule, shape, data.norm)(system, data, _Block(name, shape, span, Fraction(weight)))
        start = span.stop


Build = Callable[[System, Stationarity, _Block], None]


def _builder(rule: BlockNorm, shape: tuple[int, ...], norm: Norm) -> Build:
    p = rule.p if isinstance(rule, Entrywise | Schatten) else math.nan
    single = len(shape) == 1 or 1 in shape
    sphere = p == 2 or (isinstance(rule, Schatten) and single)
    if norm.aggregation == 2 and sphere:
        return _euclidean
    if norm.aggregation == 1 and isinstance(rule, Entrywise) and p == 1:
        return _sum_of_entries
    if math.isinf(norm.aggregation):
        if sphere:
            return _sphere
        if isinstance(rule, Entrywise) and math.isinf(p):
            return _box
        if isinstance(rule, Schatten) and math.isinf(p):
            return _spectral
    raise NoSystem(
        f"norm {norm.name!r} on a block of shape {shape}: no polynomial system is known; known are l2, l1 and maxima "
        "of linf, l2 and spectral blocks (nuclear norms have faces of low-rank matrices, which need another chart)"
    )


def _constant(value: Fraction | int) -> Polynomial:
    return Polynomial.constant(value)


def _hold_zeros(system: System, data: Stationarity, span: range) -> None:
    for j in span:
        if j in data.zeros:
            system.held[j] = fmpq(0)


def _hold_zero_lines(system: System, data: Stationarity, order: np.ndarray) -> None:
    # A single zero inside a row would leave the equation (W V M Vᵀ)_ij = 0 without an unknown.
    zero = np.isin(order, list(data.zeros))
    whole = zero.all(axis=1, keepdims=True) | zero.all(axis=0, keepdims=True)
    system.held |= {int(j): fmpq(0) for j in order[whole]}


def _euclidean(system: System, data: Stationarity, block: _Block) -> None:
    _hold_zeros(system, data, block.span)
    factor = _constant(Fraction(data.problem.degree) * block.weight**2) * data.q
    system.pulled |= {j: data.h[j] - factor * Polynomial.variable(j) for j in block.span}


def _sum_of_entries(system: System, data: Stationarity, block: _Block) -> None:
    bound = _constant(Fraction(data.problem.degree) * block.weight) * data.q
    for j in block.span:
        if abs(data.theta[j]) <= data.tolerance:
            system.held[j] = fmpq(0)
            system.strict += [
                (f"|gradient| of the zero entry {j} of the parameters is below the dual norm", bound - side)
                for side in (data.h[j], -data.h[j])
            ]
        else:
            sign = _constant(int(np.sign(data.theta[j])))
            system.equations.append(data.h[j] - bound * sign)
            system.strict.append((f"entry {j} of the parameters keeps its sign", sign * Polynomial.variable(j)))


def _box(system: System, data: Stationarity, block: _Block) -> None:
    saturated = [j for j in block.span if abs(data.theta[j]) * float(block.weight) >= 1 - data.tolerance]
    if not saturated:
        raise NoSystem(
            f"block {block.name!r} has no entry of the largest size: the point is not stationary under this norm"
        )
    small = data.tolerance * np.abs(data.h_values).max()
    for j in saturated:
        sign = int(np.sign(data.theta[j]))
        value = sign / block.weight
        system.held[j] = fmpq(value.numerator, value.denominator)
        if abs(data.h_values[j]) <= small:  # the edge of a face: as large as the others, and yet free
            system.free[j] = data.h[j]
            continue
        words = f"the gradient of the saturated entry {j - block.span.start} of block {block.name!r} points outward"
        system.weak.append((words, _constant(sign) * data.h[j]))
    for j in set(block.span) - set(saturated):
        if j in data.zeros:
            system.held[j] = fmpq(0)
        system.free[j] = data.h[j]
        room = _constant(1 / block.weight**2) - Polynomial.variable(j) * Polynomial.variable(j)
        system.strict.append(
            (f"the free entry {j - block.span.start} of block {block.name!r} is below the largest size", room)
        )


def _sphere(system: System, data: Stationarity, block: _Block) -> None:
    _hold_zeros(system, data, block.span)
    theta, h = data.theta[list(block.span)], data.h_values[list(block.span)]
    (mu,) = (Polynomial.variable(v) for v in system.new(np.array([theta @ h / (theta @ theta)])))
    system.equations += [data.h[j] - mu * Polynomial.variable(j) for j in block.span]
    square = sum((Polynomial.variable(j) * Polynomial.variable(j) for j in block.span), start=_constant(0))
    system.equations.append(square - _constant(1 / block.weight**2))
    system.strict.append((f"the gradient of block {block.name!r} points outward", mu))


def _spectral(system: System, data: Stationarity, block: _Block) -> None:
    order = np.arange(block.span.start, block.span.stop).reshape(block.shape)
    if block.shape[0] < block.shape[1]:
        order = order.T  # tall: the frame V lives on the shorter side
    m = order.shape[1]
    _hold_zero_lines(system, data, order)
    _, sigma, Vt = np.linalg.svd(data.h_values[order], full_matrices=False)
    rank = int((sigma > data.tolerance * sigma[0]).sum()) if sigma[0] > 0 else 0
    if rank == 0:
        raise NoSystem(f"the gradient of block {block.name!r} vanishes")
    frame = Vt[:rank].T
    W, H = _variables(order), np.array(data.h, dtype=object)[order]
    numbers = np.array(system.new(frame)).reshape(m, rank)
    for j in range(m):
        if all(int(v) in system.held for v in order[:, j]):  # a column of zeros has no part in the frame
            system.held |= {int(v): fmpq(0) for v in numbers[j]}
    V, M, K = _variables(numbers), _symmetric(system, np.diag(sigma[:rank] * float(block.weight))), _skew(system, rank)
    unit, level = _constants(np.eye(rank)), _constant(1 / block.weight**2)
    WV = W @ V
    system.framed |= dict(zip(order.ravel().tolist(), (H - WV @ M @ V.T).ravel(), strict=True))
    system.frames.append(Frame(block.name, order, H, data.h_values[order], rank))
    system.equations += list((W.T @ WV - V @ (level * unit + K)).ravel())
    system.equations += list((V.T @ V - unit)[np.triu_indices(rank)])
    turn = _constants(frame).T @ V
    system.equations += list((turn - turn.T)[np.triu_indices(rank, 1)])
    system.definite.append((f"the gradient of block {block.name!r} is aligned with the block", M))
    if rank < m:
        slack = level * (_constants(np.eye(m)) + V @ V.T) - W.T @ W
        system.definite.append((f"the other singular values of block {block.name!r} are below the largest", slack))


_variables = np.vectorize(lambda v: Polynomial.variable(int(v)), otypes=[object])
_constants = np.vectorize(lambda value: _constant(Fraction(float(value))), otypes=[object])


def _symmetric(system: System, start: np.ndarray) -> np.ndarray:
    index, upper = np.zeros(start.shape, dtype=int), np.triu_indices(len(start))
    index[upper] = system.new(start[upper])
    return _variables(np.maximum(index, index.T))


def _skew(system: System, n: int) -> np.ndarray:
    table, upper = _constants(np.zeros((n, n))), np.triu_indices(n, 1)
    table[upper] = [Polynomial.variable(v) for v in system.new(np.zeros(len(upper[0])))]
    return table - table.T


def merge_equal_margins(
    system: System, margins: Sequence[Polynomial], active: Sequence[int], first: int, lam: np.ndarray
) -> list[int]:
    """Hold the multipliers of margins that are the same polynomial as an earlier active one once held values are in.

    Their equations say the same thing, so only the sum of their multipliers is determined, and any share will do.

    Args:
        system: Whose held values count.
        margins: All margins.
        active: Indices of the active ones.
        first: The variable of λ_0.
        lam: The numerical multipliers.

    Returns:
        The indices of the margins that keep an equation.
    """
    seen: dict[frozenset, int] = {}
    for i in active:
        key = frozenset(margins[i].substitute(system.held).terms.items())
        if key in seen:
            system.held[first + i] = from_float(lam[i])
        else:
            seen[key] = i
    return list(seen.values())
