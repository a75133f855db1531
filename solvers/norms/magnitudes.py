"""A block seen as magnitudes and alignment, x = write(v), and how the alignment turns when x moves.

Every norm of the family is ‖v(x)‖_p of magnitudes v ≥ 0: |entries|, singular values, row or column norms. A map
x ↦ write(t(v(x))), such as a projection onto a ball, then has the derivative

    E ↦ write(dt) + turn(E),    dt = t'(v) read(E),

where ``turn`` collects what moves the alignment (singular vectors, rows' directions) with the magnitudes held. For
singular values this is the divided-difference formula of spectral functions, (t_i − t_j)/(σ_i − σ_j) on the
symmetric and (t_i + t_j)/(σ_i + σ_j) on the skew part, whose limits at ties need no special care beyond 0/0.
Sources: Lewis & Sendov, "Nonsmooth analysis of singular values" (Set-Valued Analysis 13, 2005); Ding, Sun, Sun & Toh,
"Spectral operators of matrices" (Mathematical Programming 168, 2018), Theorem 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

Array = np.ndarray
TIE = 1e-9  # magnitudes closer than this, relative to the largest, take the limit of the divided difference


@final
@dataclass(frozen=True)
class Magnitudes:
    """One block, taken apart.

    Attributes:
        v: The magnitudes, (r,), nonnegative.
        read: Displacements (K, *shape) to the magnitudes' rates of change (K, r).
        write: Magnitudes (…, r) to arrays (…, *shape) aligned with the block; ``write(v)`` is the block.
        turn: Displacements (K, *shape), new magnitudes t (r,) and slopes dt_i/dv_i (r,) to the part of the derivative
            (K, *shape) that turns the alignment.
    """

    v: Array
    read: Callable[[Array], Array]
    write: Callable[[Array], Array]
    turn: Callable[[Array, Array, Array], Array]


def entries(x: Array) -> Magnitudes:
    """|Entries| and signs."""
    sign = np.where(x < 0, -1.0, 1.0)
    return Magnitudes(
        np.abs(x).reshape(-1),
        lambda E: (sign * E).reshape(len(E), -1),
        lambda t: sign * t.reshape(*t.shape[:-1], *x.shape),
        lambda E, t, slope: np.zeros_like(E),
    )


def directions(x: Array, shape: tuple[int, ...], axis: int) -> Magnitudes:
    """Lengths and directions of the slices of x, as a matrix of this shape, along ``axis`` of stacks (K, m, n)."""
    X = x.reshape(1, *shape)
    v = np.linalg.norm(X, axis=axis, keepdims=True)
    unit = X / np.where(v > 0, v, 1.0)

    def read(E: Array) -> Array:
        return (unit * E.reshape(-1, *shape)).sum(axis=axis)

    def write(t: Array) -> Array:
        return (np.expand_dims(t, axis - 3) * unit[0]).reshape(*t.shape[:-1], *x.shape)

    def turn(E: Array, t: Array, slope: Array) -> Array:
        ratio = np.where(v > 0, np.expand_dims(t, axis - 1) / np.where(v > 0, v, 1.0), np.expand_dims(slope, axis - 1))
        stack = E.reshape(-1, *shape)
        along = (unit * stack).sum(axis=axis, keepdims=True) * unit
        return (ratio * (stack - along)).reshape(E.shape)

    return Magnitudes(v.reshape(-1), read, write, turn)


def singular(x: Array) -> Magnitudes:
    """Singular values and vectors of a matrix."""
    U, v, Vt = np.linalg.svd(x, full_matrices=False)
    V = Vt.T

    def turn(E: Array, t: Array, slope: Array) -> Array:
        core = U.T @ E @ V
        top = max(v[0], np.finfo(float).tiny)
        with np.errstate(divide="ignore", invalid="ignore"):
            even = (t[:, None] - t) / (v[:, None] - v)
            odd = (t[:, None] + t) / (v[:, None] + v)
            ratio = t / v
        limit = (slope[:, None] + slope) / 2
        even = np.where(np.abs(v[:, None] - v) <= TIE * top, limit, even)
        odd = np.where(v[:, None] + v <= TIE * top, limit, odd)
        ratio = np.where(v <= TIE * top, slope, ratio)
        np.fill_diagonal(even, 0.0)  # the magnitudes' own part is written by `write`
        flipped = core.transpose(0, 2, 1)
        inside = even * (core + flipped) / 2 + odd * (core - flipped) / 2
        # What leaves the span of U or of V (at most one of the two, unless x is deficient) scales with t_i / σ_i.
        right = ratio[:, None] * (U.T @ E - core @ Vt)
        left = (E @ V - U @ core) * ratio
        return U @ (inside @ Vt + right) + left @ Vt

    return Magnitudes(
        v,
        lambda E: np.einsum("ir,kij,jr->kr", U, E, V, optimize=True),
        lambda t: (U * t[..., None, :]) @ Vt,
        turn,
    )
