"""Projection onto {‖(w_k ‖θ_k‖_k)_k‖_p ≤ r}: the blocks share one radius, and one multiplier decides the shares."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from array_api_compat import array_namespace

from maxmargin.models.blocks import Array
from maxmargin.solvers.norms import lp
from maxmargin.solvers.norms.block import BlockNorm, GaugeNorm, Rebuild
from maxmargin.solvers.norms.entrywise import Entrywise

Row = tuple[BlockNorm, float, Array]
_CLOSED: dict[BlockNorm, float] = {Entrywise(1.0): 1.0, Entrywise(2.0): 2.0, Entrywise(math.inf): math.inf}


def project_blocks(rows: Mapping[str, Row], p: float, radius: float) -> dict[str, Array]:
    """Return the nearest blocks to the given ones with ‖(w_k ‖θ_k‖_k)_k‖_p ≤ radius, to a few eps of their size.

    - p = inf: each block onto radius / w_k.
    - Every block an ℓ_p of magnitudes with the blocks' own p (l1, l2, nuclear, sumrow, schatten:P, …): all
      magnitudes together are one vector under a weighted ℓ_p (:func:`lp.project`: closed, sorted, or a root).
    - p = 1 otherwise: a multiplier ν with θ_k = x_k − (projection of x_k onto ‖·‖_{k*} ≤ ν w_k) (Moreau), a root.
    - else: ‖x_k − θ_k‖_{k*} = ν w_k^p ‖θ_k‖_k^(p−1) for each block, a root in ν; the ‖θ_k‖_k at given ν in closed
      form for p = 2 over ℓ1, ℓ2 or ℓ∞ of magnitudes (so for ``spectral;l2``), by a root inside otherwise.

    Torch tensors stay torch, traceable and vmappable, except where the blocks' shares need roots within roots
    (p = 1 or 2 over magnitudes other than ℓ1, ℓ2, ℓ∞; other p over mixed norms): there the work is numpy's, which
    vmap and tracing refuse.

    Args:
        rows: Norm, weight and array of each block.
        p: Exponent of the aggregation.
        radius: Positive.
    """
    if math.isinf(p):
        return {name: norm.project(x, radius / w) for name, (norm, w, x) in rows.items()}
    cores = {name: _core(norm, x) for name, (norm, _, x) in rows.items()}
    weights = {name: w for name, (_, w, _) in rows.items()}
    if all(norm == Entrywise(p) for norm, _, _ in cores.values()):
        points = _joint({name: v for name, (_, v, _) in cores.items()}, weights, p, radius)
    else:
        parts: dict[str, Row] = {name: (norm, weights[name], v) for name, (norm, v, _) in cores.items()}
        unit = 2.0 ** (math.frexp(radius)[1] - 1)  # a power of two: exact
        parts = {name: (norm, w, x / unit) for name, (norm, w, x) in parts.items()}
        closed = p in (1, 2) and all(norm in _CLOSED for norm, _, _ in cores.values())
        points = (_shared if closed else _numpy_shared)(parts, p, radius / unit)
        points = {name: point * unit for name, point in points.items()}
    return {name: rebuild(points[name]) for name, (_, _, rebuild) in cores.items()}


def _core(norm: BlockNorm, x: Array) -> tuple[BlockNorm, Array, Rebuild]:
    """Norm, array and way back for magnitudes where the norm has them: one decomposition serves every iteration."""
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


def _numpy_shared(rows: dict[str, Row], p: float, radius: float) -> dict[str, Array]:
    back = {name: x for name, (_, _, x) in rows.items() if isinstance(x, torch.Tensor)}
    plain = {n: (norm, w, x.detach().cpu().numpy() if n in back else x) for n, (norm, w, x) in rows.items()}
    points = _shared(plain, p, radius)
    return {name: torch.as_tensor(x).to(back[name]) if name in back else x for name, x in points.items()}


def _shared(rows: dict[str, Row], p: float, radius: float) -> dict[str, Array]:
    xp = array_namespace(*(x for _, _, x in rows.values()))
    duals = xp.stack([norm.dual(x) / w for norm, w, x in rows.values()])
    values = xp.stack([norm.value(x) * w for norm, w, x in rows.values()])
    inside = lp.value(values, p) <= radius
    top = lp.value(duals, lp.conjugate(p))
    nu = lp.crossing(lambda nu: 1 - lp.value(_lengths(rows, p, nu, radius), p), xp.zeros_like(top), top)
    lengths = _lengths(rows, p, nu, radius)
    # Rounding and the bracket's last step: the lengths are brought to ‖·‖_p = 1 exactly.
    lengths = lengths / lp.nonzero(lp.value(lengths, p))
    return {
        name: xp.where(inside, x, norm.project(x, lengths[i] * radius / w))
        for i, (name, (norm, w, x)) in enumerate(rows.items())
    }


def _lengths(rows: dict[str, Row], p: float, nu: Array, radius: float) -> Array:
    """The w_k ‖θ_k‖_k / radius of every block at the multiplier nu (in units where the radius is 1)."""
    parts = [_length(norm, w, x, p, nu, radius) for norm, w, x in rows.values()]
    return array_namespace(*parts).stack(parts)


def _length(norm: BlockNorm, w: float, x: Array, p: float, nu: Array, radius: float) -> Array:
    """Return the s = w ‖θ‖ / radius with ‖x − θ‖_* / w = nu s^(p−1): the left side falls in s, the right one rises."""
    if p == 1:
        return norm.value(x - norm.dual_norm.project(x, nu * w)) * w / radius
    if p == 2 and norm in _CLOSED:
        return lp.shrunk_length(x, _CLOSED[norm], nu * w**2 / radius) * w / radius
    most = norm.value(x) * w / radius

    def short(s: Array) -> Array:
        try:
            power = s ** (p - 1)
        except OverflowError:  # of a float; an array's entry would be infinite
            power = math.inf
        return nu * power - norm.dual(x - norm.project(x, s * radius / w)) / w

    return lp.crossing(short, 1e-20 * most, most)
