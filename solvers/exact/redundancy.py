"""Making KKT points isolated: parameters that may be held, because the equations they would answer to are redundant.

Where KKT points form a surface (a face, the orbit of a symmetry) their system is singular. To prove that *a* KKT
point is near, some parameters may be held at their numerical values, provided that as many equations are shown to
follow from the others. Every redundancy used here is a polynomial identity, checked exactly, together with a number
that must not vanish at the true point, which is left to the interval check.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import factorial, prod

import numpy as np
from flint import fmpq_mat

from maxmargin.models import blocks as blk
from maxmargin.solvers.exact.kkt_systems import NoSystem, System
from maxmargin.solvers.exact.polynomials import Monomial, Polynomial

_TERMS = 3e6  # of a determinant's expansion: some ten seconds
_SMALL = 1e-4  # a point known to 1e-6 cannot tell slower motions from none


def fix_faces(system: System, margins: Sequence[Polynomial]) -> None:
    """Drop redundant equations h_j = 0 of free linf entries, and hold as many of those entries.

    Two kinds of redundancy, with D_j = (∂_j m_i)_i over the active margins, so that h_j = ⟨λ, D_j⟩:

    - proportional: all 2×2 minors of (D_j, D_k) vanish identically (two factors of one weight, as in diagonal and deep
      linear nets). Where D_j ≠ 0, D_k is a multiple of it, and h_k = 0 follows from h_j = 0.
    - constant: Σ c_j h_j vanishes identically for rational c (a shift of all the classes' scores).

    Args:
        system: Changed in place.
        margins: The active margins, all of them: equal ones may differ in the slope along a held parameter.
    """
    entries = [j for j in system.free if not system.free[j].substitute(system.held).zero]
    rows = {j: [m.derivative(j).substitute(system.held) for m in margins] for j in entries}
    sizes = {j: [abs(d.number(system.values)) for d in row] for j, row in rows.items()}
    # The unknown on which the margins depend most speaks for those proportional to it.
    leaders: list[int] = []
    for j in sorted(entries, key=lambda j: (j in system.held, -max(sizes[j]))):
        leader = next((k for k in leaders if max(sizes[k]) > 0 and _proportional(rows[j], rows[k])), None)
        if leader is None:
            leaders.append(j)
            continue
        pivot = int(np.argmax(sizes[leader]))
        system.regular.append((f"margin {pivot} depends on parameter {leader}", [[rows[leader][pivot]]]))
        _release(system, j)
    leaders.sort(key=lambda j: j in system.held)
    for j in _dependent({j: system.free[j].substitute(system.held) for j in leaders}):
        _release(system, j)


def _release(system: System, j: int) -> None:
    del system.free[j]
    if j not in system.held:
        system.hold(j)


def fix_rotations(system: System, shapes: blk.Shapes) -> None:
    """Drop equations F = h − L q w²θ = 0 of ℓ2 stationarity that follow from the others by a rotation.

    Where a rotation exp(tA) changes neither margins nor the norm, ⟨F, Aθ⟩ vanishes identically in θ, λ and q (Noether).
    With r such A, r of the equations follow from the others where the r × r matrix of the (A_kθ)_j, j their entries, is
    invertible. Tried are rotations of two coordinates along an axis of one block, alone (two neurons with the same
    output weight and pattern) or together with an axis of another (W1 → R W1, W2 → W2 Rᵀ: units of a linear layer).

    Args:
        system: Changed in place.
        shapes: The blocks.
    """
    if len(system.pulled) != blk.size(shapes):
        return
    moving = [j for j in system.pulled if j not in system.held]
    fields = [A for A in _rotations(shapes) if _identity(system, A)]
    theta = np.array(system.values[: blk.size(shapes)])
    velocity = np.array([[_velocity(A, theta).get(j, 0.0) for j in moving] for A in fields])
    chosen = _pivots(velocity.T)  # a maximal set of linearly independent rows
    if not chosen:
        return
    columns = _pivots(velocity[chosen])
    held = [moving[c] for c in columns]
    matrix = [
        [
            sum(
                (Polynomial.constant(c) * Polynomial.variable(k) for target, k, c in fields[row] if target == j),
                start=Polynomial.constant(0),
            )
            for j in held
        ]
        for row in chosen
    ]
    system.regular.append(("the rotations of the hidden units move the point", matrix))
    for j in held:
        system.hold(j)
        del system.pulled[j]


def fix_spectral_faces(system: System) -> None:
    """Drop equations H = W V M Vᵀ of a spectral block that follow from the rest because H has low rank identically.

    V has r columns, so the right side has rank r at most. Where every (r+1)-minor of H around an invertible r × r pivot
    vanishes identically, H has rank r too, and two such matrices that agree in the pivot's rows and columns are equal.
    The other (n − r)(m − r) equations follow, and as many entries of W are held: the part of W that no gradient sees.
    (Classes' scores may be shifted together; a linear net's layers have gradients of rank one.)

    Args:
        system: Changed in place.

    Raises:
        NoSystem: where the minors have too many terms to be expanded.
    """
    for frame in system.frames:
        r = frame.rank
        if r == frame.order.shape[1]:
            continue
        rows = _pivots(frame.values.T)[:r]
        columns = _pivots(frame.values[rows])[:r]
        rest = [(i, j) for i in range(frame.order.shape[0]) for j in range(frame.order.shape[1])]
        rest = [(i, j) for i, j in rest if i not in rows and j not in columns]
        H = [[entry.substitute(system.held) for entry in row] for row in frame.gradient]
        pivot = [[H[i][j] for j in columns] for i in rows]
        minors = [[[H[a][b] for b in [*columns, j]] for a in [*rows, i]] for i, j in rest]
        if len(columns) < r or not all(map(_seems_to_vanish, minors)):
            continue
        if (terms := sum(map(_terms, minors))) > _TERMS:
            raise NoSystem(
                f"to prove that the gradient of block {frame.name!r} has rank {r}, determinants with some {terms:.0e} "
                f"products of terms would have to be expanded; {_TERMS:.0e} is the limit"
            )
        if not all(_determinant(minor).zero for minor in minors):
            continue
        system.regular.append((f"the gradient of block {frame.name!r} has rank {r}", pivot))
        for i, j in rest:
            variable = int(frame.order[i, j])
            del system.framed[variable]
            if variable not in system.held:
                system.hold(variable)


def _seems_to_vanish(table: list[list[Polynomial]]) -> bool:
    """Whether a determinant is 0 at a random point, up to rounding: if not, it is not the zero polynomial."""
    variables = sorted(set().union(*(f.variables for row in table for f in row)))
    at = dict(zip(variables, np.random.default_rng(0).standard_normal(len(variables)), strict=True))
    numbers = np.array([[f.number(at) for f in row] for row in table])
    scale = float(np.prod(np.linalg.norm(numbers, axis=1)))
    return bool(abs(np.linalg.det(numbers)) <= 1e-9 * scale)


def _terms(table: list[list[Polynomial]]) -> float:
    """About how many products of terms the expansion of a determinant has."""
    return factorial(len(table)) * prod(sum(len(f.terms) for f in row) / len(row) for row in table)


def _determinant(table: list[list[Polynomial]]) -> Polynomial:
    if not table:
        return Polynomial.constant(1)
    terms = (
        Polynomial.constant((-1) ** j) * entry * _determinant([row[:j] + row[j + 1 :] for row in table[1:]])
        for j, entry in enumerate(table[0])
        if not entry.zero
    )
    return sum(terms, start=Polynomial.constant(0))


Field = list[tuple[int, int, int]]
"""A linear vector field Aθ as triples (j, k, c): (Aθ)_j has the term c θ_k."""


def _rotations(shapes: blk.Shapes) -> Iterator[Field]:
    axes, start = [], 0
    for shape in shapes.values():
        order = np.arange(start, start + blk.size({"": shape})).reshape(shape)
        axes += [np.moveaxis(order, axis, 0).reshape(shape[axis], -1) for axis in range(len(shape))]
        start += order.size
    alike = ((a, b) for a, b in combinations(axes, 2) if len(a) == len(b) and not set(a.ravel()) & set(b.ravel()))
    for group in [*((axis,) for axis in axes), *alike]:
        for a, b in combinations(range(len(group[0])), 2):
            pairs = [pair for axis in group for pair in zip(axis[a], axis[b], strict=True)]
            yield [t for j, k in pairs for t in ((int(j), int(k), 1), (int(k), int(j), -1))]


def _identity(system: System, field: Field) -> bool:
    """Whether ⟨F, Aθ⟩ is the zero polynomial; a random point refutes most fields without multiplying it out."""
    rng = np.random.default_rng(0)
    at = list(rng.standard_normal(len(system.values)))
    terms = [system.pulled[j].number(at) * c * at[k] for j, k, c in field]
    if abs(sum(terms)) > 1e-9 * sum(map(abs, terms)):
        return False
    products = (system.pulled[j] * Polynomial.variable(k) * Polynomial.constant(c) for j, k, c in field)
    return sum(products, start=Polynomial.constant(0)).zero


def _velocity(field: Field, theta: np.ndarray) -> dict[int, float]:
    out: dict[int, float] = {}
    for j, k, c in field:
        out[j] = out.get(j, 0.0) + c * theta[k]
    return out


def _pivots(rows: np.ndarray) -> list[int]:
    """Indices of a maximal set of independent columns."""
    from scipy.linalg import qr

    if rows.size == 0:
        return []
    _, R, order = qr(rows, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(R))
    return [int(c) for c in order[: int((diagonal > _SMALL * diagonal[0]).sum())]] if diagonal[0] else []


def _proportional(a: Sequence[Polynomial], b: Sequence[Polynomial]) -> bool:
    return all((a[i] * b[k] - a[k] * b[i]).zero for i, k in combinations(range(len(a)), 2))


def _dependent(rows: dict[int, Polynomial]) -> list[int]:
    """The keys whose polynomials are rational combinations of those before them."""
    columns: dict[Monomial, int] = {}
    for f in rows.values():
        for monomial in f.terms:
            columns.setdefault(monomial, len(columns))
    if not columns:
        return []
    # Reduced echelon form of the transpose: the columns without a pivot depend on those before.
    table = fmpq_mat(len(columns), len(rows))
    for j, f in enumerate(rows.values()):
        for monomial, c in f.terms.items():
            table[columns[monomial], j] = c
    echelon, rank = table.rref()
    pivots = [next(j for j in range(len(rows)) if echelon[i, j] != 0) for i in range(rank)]
    return [key for j, key in enumerate(rows) if j not in pivots]
