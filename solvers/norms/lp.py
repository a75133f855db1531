"""ℓ_p of a nonnegative array: value, maximiser, projection. Every norm of this package is built from these.

One text serves numpy and torch (``array_api_compat``), without data-dependent branches, so that it runs under
``torch.func.vmap`` and ``make_fx``. Arrays may have any shape: all entries count alike. Entries are finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from array_api_compat import array_namespace, device
from scipy.optimize import brentq

from maxmargin.models.blocks import Array

# Bisection steps of a scalar root in torch: a bracket as wide as float64's whole range of exponents (2^11 in log2)
# shrinks below the spacing of float64 (2^-53) after 64; the rest is rounding's share.
BISECTIONS = 70
NEWTONS = 25


def conjugate(p: float) -> float:
    """Return the dual exponent q, 1/p + 1/q = 1.

    Example:
        >>> conjugate(1.5), conjugate(1.0), conjugate(math.inf)
        (3.0, inf, 1.0)
    """
    if p == 1:
        return math.inf
    return 1.0 if math.isinf(p) else p / (p - 1)


def sign(x: Array, factor: float = 1.0) -> Array:
    """Return the sign of each entry (0 for 0, NaN for NaN), times ±1.

    ``torch.sign`` makes NaN a 0, a standstill that looks like a choice; ``array_api_compat``'s mends that by a mask,
    which vmap refuses. Clamping a huge multiple costs the same and hides nothing (subnormal entries get a part of ±1).
    """
    if isinstance(x, torch.Tensor):
        return (x * (factor * torch.finfo(x.dtype).max)).clamp(-1, 1)
    return factor * np.sign(x)


def nonzero(x: Array) -> Array:
    """X ≥ 0, raised to the smallest normal number where it is less: a divisor that leaves 0 at 0."""
    tiny = float(array_namespace(x).finfo(x.dtype).smallest_normal)
    return x.clamp(min=tiny) if isinstance(x, torch.Tensor) else np.maximum(x, tiny)


def peak(x: Array) -> Array:
    """The largest |entry|, a positive scalar: what an array is divided by before its entries are squared."""
    xp = array_namespace(x)
    return nonzero(xp.max(xp.abs(x)))  # ten times faster than torch's vector_norm of order inf


def value(v: Array, p: float) -> Array:
    """‖v‖_p of a nonnegative array v (of any array, for p = 2).

    Returns:
        A scalar; right from 1e-300 to 1e300, since the entries are rescaled before they are raised to p.
    """
    xp = array_namespace(v)
    if math.isinf(p):
        return xp.max(v)
    if p == 1:
        return xp.sum(v)
    m = peak(v)
    if p == 2:
        return m * xp.linalg.vector_norm(v / m)
    return m * xp.sum((v / m) ** p) ** (1 / p)


def unit(x: Array) -> Array:
    """X / ‖x‖_2, and 0 for x = 0."""
    y = x / peak(x)
    return y / nonzero(array_namespace(x).linalg.vector_norm(y))


def maximiser(v: Array, p: float) -> Array:
    """The t ≥ 0 with ‖t‖_p ≤ 1 and Σ v t = ‖v‖_q, zero where v is zero. For p = 1 the first largest entry.

    Returns:
        An array of v's shape; all zeros (feasible, and as good as any) if v is zero.
    """
    xp = array_namespace(v)
    if math.isinf(p):
        return xp.astype(v > 0, v.dtype)
    if p == 2:
        return unit(v)
    if p == 1:
        flat = xp.reshape(v, (-1,))
        index = xp.arange(math.prod(v.shape), device=device(v))
        first = (index == xp.argmax(flat)) & (flat > 0)
        return xp.reshape(xp.astype(first, v.dtype), tuple(v.shape))
    z = (v / peak(v)) ** (1 / (p - 1))
    return z / nonzero(xp.sum(z**p) ** (1 / p))


def project(v: Array, p: float, radius: float, weights: Any = 1.0) -> Array:
    """Return the nearest t ≥ 0 to v ≥ 0 with ‖weights · t‖_p ≤ radius.

    Closed form for p = inf (a clamp) and p = 2 with equal weights (a scale); by sorting for p = 1 (Held, Wolfe &
    Crowder 1974; Duchi et al. 2008, here with weights and with the threshold measured from the top, so that a
    far point loses no digits); otherwise by bisection on the multiplier to the last digits.

    Args:
        v: Nonnegative, one axis.
        p: Exponent, 1 ≤ p ≤ inf.
        radius: Positive.
        weights: A positive number, or an array of v's shape.
    """
    xp = array_namespace(v)
    if math.isinf(p):
        return xp.minimum(v, radius / weights + xp.zeros_like(v))
    if p == 1:
        return _project_l1(v, radius, weights)
    if p == 2 and isinstance(weights, float):
        # v * (rho / ‖v‖) could underflow twice for tiny v: divide by the larger of the two instead.
        rho = radius / weights
        norm = value(v, 2)
        return v * (rho / nonzero(xp.maximum(norm, rho + xp.zeros_like(norm))))
    return _project_root(v, p, radius, weights)


def shrunk_length(v: Array, p: float, c: Array) -> Array:
    """Return ‖t‖_p at the minimiser t of ½‖t − v‖² + ½c‖t‖_p², where ‖v − t‖_q = c‖t‖_p, for p = 1, 2 or inf.

    Args:
        v: Nonnegative, one axis.
        p: 1, 2 or inf.
        c: Nonnegative scalar.
    """
    xp = array_namespace(v)
    if p == 2:
        return value(v, 2) / (1 + c)
    falling = xp.flip(xp.sort(v))
    sums = xp.cumulative_sum(falling, axis=0)
    count = xp.cumulative_sum(xp.ones_like(v), axis=0)
    # As in _project_l1: an inequality over every subset, an equality on the support, hence the largest quotient.
    return xp.max(sums / (count + c if math.isinf(p) else c * count + 1))


def crossing(f: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Return where the rising function f crosses 0 between ``low`` and ``high`` (the nearer end, if it does not).

    Brent's method in numpy; a fixed number of bisections in torch, for the sake of tracing and vmap.
    """
    xp = array_namespace(low)
    if not isinstance(low, torch.Tensor):
        if not low < high or not f(low) < 0:
            return low
        if not f(high) > 0:
            return high
        return np.float64(brentq(f, low, high, xtol=1e-300, rtol=4 * np.finfo(np.float64).eps, maxiter=400))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        before = f(middle) < 0
        low, high = xp.where(before, middle, low), xp.where(before, high, middle)
    return high


def _project_l1(v: Array, radius: float, weights: Any) -> Array:
    xp = array_namespace(v)
    w = weights + xp.zeros_like(v)
    ratio = v / w
    top = xp.max(ratio)
    drop = top - ratio  # t = w max(tau - drop, 0), with the tau that makes Σ w t = radius
    order = xp.argsort(drop)
    squares = xp.take(w, order, axis=0) ** 2
    weight = xp.cumulative_sum(squares, axis=0)
    moment = xp.cumulative_sum(squares * xp.take(drop, order, axis=0), axis=0)
    # Over every subset S: Σ_S w² (tau - drop) ≤ radius, with equality on the support, hence the least quotient.
    tau = xp.min((radius + moment) / weight)
    inside = tau >= top
    return xp.where(inside, v, w * xp.maximum(tau - drop, xp.zeros_like(drop)))


def _project_root(v: Array, p: float, radius: float, weights: Any) -> Array:
    """Return t by a root: stationarity s + mu w² s^(p-1) = w v of s = w t / radius, and the mu ≥ 0 with ‖s‖_p = 1.

    mu = ‖(w v - s)/w²‖_q at the solution, since ‖s^(p-1)‖_q = 1: this brackets it.
    """
    xp = array_namespace(v)
    w = weights + xp.zeros_like(v)
    # A ball of radius 0 (a multiplier's end) is taken as one of 1e-200 of v's size.
    radius = nonzero(xp.maximum(radius + xp.zeros_like(w[0]), 1e-200 * xp.max(v)))
    a = v / radius * w
    q = conjugate(p)
    excess = value(a, p) - 1
    spread = math.prod(v.shape) ** -abs(1 / p - 1 / q)
    # An excess is a multiple of eps, or there is none and the answer is v.
    low = xp.log2(xp.maximum(excess, 1e-17 + xp.zeros_like(excess)) * spread / xp.max(w) ** 2)
    high = xp.log2(nonzero(value(a / w**2, q)))
    mu = 2.0 ** crossing(lambda m: 1 - value(_stationary(a, 2.0**m * w**2, p), p), low, high)
    s = _stationary(a, mu * w**2, p)
    norm = value(s, p)
    s = s / xp.maximum(norm, xp.ones_like(norm))
    return xp.where(excess <= 0, v, s / w * radius)


def _stationary(a: Array, c: Array, p: float) -> Array:
    """The s ≥ 0 with s + c s^(p-1) = a, by Newton from the right on a convex form of it (so monotone)."""
    xp = array_namespace(a)
    if p == 2:
        return a / (1 + c)
    if p > 2:  # in z = s: z + c z^e = a
        e, linear, power = p - 1, xp.ones_like(a), c
    else:  # in z = s^(p-1): c z + z^e = a
        e, linear, power = 1 / (p - 1), c, xp.ones_like(a)
    z = xp.minimum(a / linear, (a / power) ** (1 / e))
    for _ in range(NEWTONS):
        slope = power * z ** (e - 1)
        last, z = z, xp.maximum(z - (linear * z + slope * z - a) / (linear + e * slope), xp.zeros_like(z))
        if isinstance(z, np.ndarray) and not (abs(z - last) > 1e-16 * last).any():
            break
    return z if p > 2 else z**e
