"""Projection onto the unit ball of a norm together with its generalized derivative, for Newton-type methods.

On each of its pieces the projection of magnitudes onto a weighted ℓ_p ball has the derivative diag(d) − k kᵀ. A piece
is named by a *pattern*, one bit a magnitude: clipped or not (p = inf), in the support or not (p = 1); other p are
smooth outside the ball. With a pattern given, the formula of that piece is used even where another is the right one:
this is what active-set polishing needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import final

import numpy as np

from maxmargin.models.blocks import Blocks, Shapes, flatten, size, unflatten
from maxmargin.solvers.norms import GaugeNorm, Norm, ParameterNorm, lp
from maxmargin.solvers.norms.magnitudes import Magnitudes

Array = np.ndarray
STEP = 1e-6  # central differences of a projection without a formula: error about STEP² + eps/STEP


@final
@dataclass(frozen=True)
class Projection:
    """P(z) and one element of the generalized Jacobian there.

    Attributes:
        point: P(z), (p,).
        derivative: Columns (p, K) to P'(z) · columns (p, K).
        kinks: Signed distance of each magnitude from its kink, positive on the clipped (or supported) side; empty
            where the projection is smooth. The pattern is ``kinks > 0``.
    """

    point: Array
    derivative: Callable[[Array], Array]
    kinks: Array


@final
@dataclass(frozen=True)
class Ball:
    """The unit ball of a norm, on flat vectors (p,) of parameters with these shapes."""

    norm: Norm
    shapes: Shapes

    def nearest(self, z: Array) -> Array:
        """P(z), by the norm's own projection (the independent word on what :meth:`project` computes)."""
        return np.asarray(flatten(self.norm.project(unflatten(z, self.shapes)), self.shapes))

    def project(self, z: Array, pattern: Array | None = None) -> Projection:
        """P(z) with its derivative; with a ``pattern``, by the formula of that piece.

        Returns:
            The projection. Norms without a formula answer with central differences and have no patterns.
        """
        groups = _groups(self.norm, unflatten(z, self.shapes))
        if groups is None:
            return self._by_differences(z)
        counts = [sum(len(m.v) for _, m, _ in members) for _, members in groups]
        patterns = [None if pattern is None else pattern[i:j] for i, j in pairwise(accumulate(counts, initial=0))]
        pieces = [_Piece.of(p, members, bits) for (p, members), bits in zip(groups, patterns, strict=True)]
        point = {name: block for piece in pieces for name, block in piece.point().items()}

        def derivative(columns: Array) -> Array:
            E = unflatten(columns.T, self.shapes)
            moved = {name: block for piece in pieces for name, block in piece.derivative(E).items()}
            return np.asarray(flatten(moved, self.shapes)).T

        return Projection(
            np.asarray(flatten(point, self.shapes)), derivative, np.concatenate([piece.kinks for piece in pieces])
        )

    def _by_differences(self, z: Array) -> Projection:
        step = STEP * max(1.0, float(np.abs(z).max()))
        eye = step * np.eye(size(self.shapes))
        D = np.stack([(self.nearest(z + e) - self.nearest(z - e)) / (2 * step) for e in eye], axis=1)
        return Projection(self.nearest(z), lambda columns: D @ columns, np.zeros(0))


_Members = list[tuple[str, Magnitudes, float]]


def _groups(norm: Norm, z: Blocks) -> list[tuple[float, _Members]] | None:
    """Blocks whose magnitudes are projected together, each group with its exponent; None without a formula."""
    if not isinstance(norm, ParameterNorm):
        return None
    members: _Members = []
    exponents = []
    for name, block in z.items():
        kind, weight = norm.block(name, block.shape)
        parts = kind.linearized(block)
        if parts is None or not isinstance(kind, GaugeNorm):
            return None
        members.append((name, parts, weight))
        exponents.append(kind.p)
    if len(members) == 1 or math.isinf(norm.aggregation):
        return [(p, [member]) for p, member in zip(exponents, members, strict=True)]
    if set(exponents) == {norm.aggregation}:
        return [(norm.aggregation, members)]
    return None


@final
@dataclass(frozen=True)
class _Piece:
    """One group of blocks: new magnitudes t, and dt/dv = diag(d) − k kᵀ."""

    members: _Members
    t: Array
    d: Array
    k: Array
    kinks: Array

    @classmethod
    def of(cls, p: float, members: _Members, pattern: Array | None) -> _Piece:
        v = np.concatenate([m.v for _, m, _ in members])
        weights = np.concatenate([np.full(len(m.v), w) for _, m, w in members])
        shrink = {math.inf: _clip, 1.0: _soft}.get(p)
        if shrink is not None:
            return cls(members, *shrink(v, weights, pattern))
        return cls(members, *_smooth(v, weights, p))

    def point(self) -> dict[str, Array]:
        """The projected blocks."""
        return {name: m.write(self.t[part]) for (name, m, _), part in self._parts()}

    def derivative(self, E: Blocks) -> dict[str, Array]:
        """The derivative along displacements E of the blocks, (K, *shape) each."""
        dv = np.concatenate([m.read(E[name]) for name, m, _ in self.members], axis=1)
        dt = dv * self.d - np.outer(dv @ self.k, self.k)
        return {
            name: m.write(dt[:, part]) + m.turn(E[name], self.t[part], self.d[part])
            for (name, m, _), part in self._parts()
        }

    def _parts(self) -> list[tuple[tuple[str, Magnitudes, float], slice]]:
        ends = accumulate((len(m.v) for _, m, _ in self.members), initial=0)
        return [(member, slice(i, j)) for member, (i, j) in zip(self.members, pairwise(ends), strict=True)]


_Shrunk = tuple[Array, Array, Array, Array]


def _clip(v: Array, w: Array, pattern: Array | None) -> _Shrunk:
    """t = min(v, 1/w)."""
    kinks = v * w - 1
    clipped = kinks > 0 if pattern is None else pattern
    return np.where(clipped, 1 / w, v), np.where(clipped, 0.0, 1.0), np.zeros_like(v), kinks


def _soft(v: Array, w: Array, pattern: Array | None) -> _Shrunk:
    """t = max(v − ν w, 0) with Σ w t = 1, or v inside the ball."""
    if pattern is None and w @ v <= 1:
        return v, np.ones_like(v), np.zeros_like(v), np.ones_like(v)
    support = lp.project(v, 1.0, 1.0, w) > 0 if pattern is None or not pattern.any() else pattern
    nu = (w[support] @ v[support] - 1) / (w[support] @ w[support])
    k = np.where(support, w, 0.0)
    return np.where(support, v - nu * w, 0.0), support * 1.0, k / np.linalg.norm(k), v / w - nu


def _smooth(v: Array, w: Array, p: float) -> _Shrunk:
    """1 < p < inf: (I + μ(p−1) diag(w^p t^(p−2))) dt = dv − c dμ, with c = w^p t^(p−1) and c·dt = 0."""
    t = np.asarray(lp.project(v, p, 1.0, float(w[0]) if np.ptp(w) == 0 else w))
    if np.array_equal(t, v):
        return v, np.ones_like(v), np.zeros_like(v), np.zeros(0)
    c = w**p * t ** (p - 1)
    mu = c @ (v - t) / (c @ c)
    with np.errstate(divide="ignore"):
        d = 1 / (1 + mu * (p - 1) * w**p * t ** (p - 2))
    return t, d, d * c / math.sqrt(c @ (d * c)), np.zeros(0)
