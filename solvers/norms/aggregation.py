"""Projection onto {‖(w_k ‖θ_k‖_k)_k‖_p ≤ r}: the blocks share one radius, and one multiplier decides the shares."""

from __future__ import annotations

import math
from collections.abc import Mapping

from array_api_compat import array_namespace

from maxmargin.models.blocks import Array
from maxmargin.solvers.norms import lp
from maxmargin.solvers.norms.block import BlockNorm, GaugeNorm, Rebuild
from maxmargin.solvers.norms.entrywise import Entrywise

BISECTIONS = 60
_SHRUNK: dict[BlockNorm, float] = {Entrywise(1.0): 1.0, Entrywise(2.0): 2.0, Entrywise(math.inf): math.inf}
Row = tuple[BlockNorm, float, Array]


def project_blocks(rows: Mapping[str, Row], p: float, radius: float) -> dict[str, Array]:
    """The nearest blocks to the given ones with ‖(w_k ‖θ_k‖_k)_k‖_p ≤ radius.

    - p = inf: each block onto radius / w_k.
    - Every block an ℓ_p of magnitudes with the blocks' own p (l1, l2, nuclear, sumrow, schatten:P, …): all
      magnitudes together are one vector under a weighted ℓ_p (:func:`lp.project`: closed, sorted, or a root).
    - p = 1 otherwise: a multiplier ν with θ_k = x_k − (projection of x_k onto ‖·‖_{k*} ≤ ν w_k) (Moreau), by
      bisection.
    - else: ‖x_k − θ_k‖_{k*} = ν w_k^p ‖θ_k‖_k^(p−1) for each block, by bisection in ν with one in ‖θ_k‖_k inside.

    Args:
        rows: Norm, weight and array of each block.
        p: Exponent of the aggregation.
        radius: Positive.

    Returns:
        The blocks.
    """
    if math.isinf(p):
        return {name: norm.project(x, radius / w) for name, (norm, w, x) in rows.items()}
    cores = {name: _core(norm, x) for name, (norm, _, x) in rows.items()}
    weights = {name: w for name, (_, w, _) in rows.items()}
    if all(norm == Entrywise(p) for norm, _, _ in cores.values()):
        points = _joint({name: v for name, (_, v, _) in cores.items()}, weights, p, radius)
    else:
        points = _shared({name: (n, weights[name], v) for name, (n, v, _) in cores.items()}, p, radius)
    return {name: rebuild(points[name]) for name, (_, _, rebuild) in cores.items()}


def _core(norm: BlockNorm, x: Array) -> tuple[BlockNorm, Array, Rebuild]:
    """The same projection on magnitudes where the norm has them: one decomposition serves every iteration."""
    if isinstance(norm, GaugeNorm):
        v, rebuild = norm.split(x)
        return Entrywise(norm.p), v, rebuild
    return norm, x, lambda t: t


def _joint(vs: dict[str, Array], weights: dict[str, float], p: float, radius: float) -> dict[str, Array]:
    xp = array_namespace(*vs.values())
    v = xp.concat(list(vs.values()))
    if len(set(weights.values())) == 1:
        t = lp.project(v, p, radius, next(iter(weights.values())))
    else:
        t = lp.project(v, p, radius, xp.concat([w + xp.zeros_like(vs[n]) for n, w in weights.items()]))
    points, start = {}, 0
    for name, part in vs.items():
        stop = start + part.shape[0]
        points[name] = t[start:stop]
        start = stop
    return points


def _shared(rows: dict[str, Row], p: float, radius: float) -> dict[str, Array]:
    xp = array_namespace(*(x for _, _, x in rows.values()))
    duals = xp.stack([norm.dual(x) / w for norm, w, x in rows.values()])
    values = xp.stack([norm.value(x) * w for norm, w, x in rows.values()])
    inside = lp.value(values, p) <= radius
    low, high = xp.zeros_like(values[0]), lp.value(duals, lp.conjugate(p))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        outside = lp.value(_lengths(rows, p, middle, radius), p) > 1
        low, high = xp.where(outside, middle, low), xp.where(outside, high, middle)
    lengths = _lengths(rows, p, high, radius)
    # Rounding and the bracket's last step: the lengths are brought to ‖·‖_p = 1 exactly.
    total = lp.value(lengths, p)
    lengths = lengths / lp.nonzero(total)
    return {
        name: xp.where(inside, x, norm.project(x, lengths[i] * radius / w))
        for i, (name, (norm, w, x)) in enumerate(rows.items())
    }


def _lengths(rows: dict[str, Row], p: float, nu: Array, radius: float) -> Array:
    """w_k ‖θ_k‖_k / radius of every block at the multiplier nu (in units where the radius is 1)."""
    xp = array_namespace(nu)
    return xp.stack([_length(norm, w, x, p, nu, radius) for norm, w, x in rows.values()])


def _length(norm: BlockNorm, w: float, x: Array, p: float, nu: Array, radius: float) -> Array:
    """The s = w ‖θ‖ / radius with ‖x − θ‖_* / w = nu s^(p−1), by bisection: the left side falls, the right rises."""
    xp = array_namespace(x)
    if p == 1:
        return norm.value(x - norm.dual_norm.project(x, nu * w)) * w / radius
    if p == 2 and norm in _SHRUNK:
        return lp.shrunk_length(x, _SHRUNK[norm], nu * w**2 / radius) * w / radius
    high = xp.minimum(norm.value(x) * w / radius, xp.ones_like(nu))
    low = xp.zeros_like(high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        left = norm.dual(x - norm.project(x, middle * radius / w)) / w
        short = left > nu * middle ** (p - 1)
        low, high = xp.where(short, middle, low), xp.where(short, high, middle)
    return high
