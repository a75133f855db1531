"""Upper bounds of a nonlinear model's optimal margin, from Hölder's inequality layer by layer.

For a model of degree d_k in block k write r_k(θ) for some size of block k (operator norm, largest entry, …) and
C_k = max r_k over the unit ball of block k's own norm. If m_i(θ) ≤ c_i Π r_k^{d_k}, then on ‖θ‖ ≤ 1

    q ≤ min_i c_i · Π_k (C_k/w_k)^{d_k} · max { Π t_k^{d_k} : ‖t‖_p ≤ 1 },    the last being Π (d_k/L)^{d_k/p}

with w_k the norm's weights and p its aggregation. Models that are linear in a predictor β bound ‖β‖ in the same way and
take the certified upper bound of the linear problem in place of min c_i. A point whose margin equals such a bound is
globally optimal; fixtures G3–G6 are cases of equality (Gunasekar, Lee, Soudry & Srebro 1806.00468; our derivation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import singledispatch
from math import prod

import numpy as np
import torch

from maxmargin.models.families.deep_linear import DeepLinear, DeepLinearMulticlass
from maxmargin.models.families.diagonal import Diagonal
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.families.networks import Network
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import NotSeparable, solve_margin
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.solvers.norms.block import Size

OPERATOR: Size = "operator"
FROBENIUS: Size = "frobenius"
LARGEST: Size = "largest entry"
SUM: Size = "sum of entries"


def upper_bound(problem: Problem, norm: Norm) -> float | None:
    """A bound no margin exceeds: q(θ) ≤ bound · ‖θ‖^L for every θ.

    Args:
        problem: The problem.
        norm: The norm.

    Returns:
        The smallest of the bounds known for this model (exact up to rounding and the linear solver's gap), or None
        where none is known for the model, or for a block's norm.
    """
    if problem.linear:
        return solve_margin(problem, norm).upper
    bounds = list(_bounds(problem.model, problem, norm))
    return min(bounds) if bounds else None


@singledispatch
def _bounds(model: HomogeneousModel, problem: Problem, norm: Norm) -> Iterator[float]:
    yield from ()


@_bounds.register
def _(model: DeepLinear, problem: Problem, norm: Norm) -> Iterator[float]:
    linear = BlockLinear((("w", (model.inputs,)),))
    for size, predictor, factor in ((OPERATOR, "l2", 1), (LARGEST, "linf", prod(model.widths)), (SUM, "l1", 1)):
        yield from _through(problem, norm, size, linear, predictor, factor)


@_bounds.register
def _(model: DeepLinearMulticlass, problem: Problem, norm: Norm) -> Iterator[float]:
    linear = MulticlassLinear(model.classes, model.inputs)
    # Π ‖W_k‖_F bounds the Schatten-2/L quasi-norm of the product, which for L ≥ 2 is at least the nuclear norm.
    routes = (
        (OPERATOR, "spectral", 1),
        (FROBENIUS, "nuclear", 1),
        (LARGEST, "linf", prod(model.widths)),
        (SUM, "l1", 1),
    )
    for size, predictor, factor in routes:
        yield from _through(problem, norm, size, linear, predictor, factor)


@_bounds.register
def _(model: Diagonal, problem: Problem, norm: Norm) -> Iterator[float]:
    linear = BlockLinear((("w", (model.inputs,)),))
    # Π ‖u_l‖₂ bounds the ℓ_{2/L} quasi-norm of β, which for L ≥ 2 is at least ‖β‖₁.
    for size, predictor in ((LARGEST, "linf"), (FROBENIUS, "l1"), (SUM, "l1")):
        yield from _through(problem, norm, size, linear, predictor, 1)


@_bounds.register
def _(model: Network, problem: Problem, norm: Norm) -> Iterator[float]:
    if model.classes > 1:
        return
    # ‖σ(z)‖_2 ≤ ‖z‖_2^q, layer by layer; at the head by ‖a‖_2, or by ‖a‖_∞ and Σ_j |z_j|^q ≤ h^{(1−q/2)₊} ‖z‖_2^q. Or
    # |z_j| ≤ max|W| ‖h‖_1 of what comes in.
    X, q, k = problem.X.cpu().numpy(), model.unit.power, len(model.widths)
    euclidean, largest = np.linalg.norm(X, axis=1) ** q**k, np.abs(X).sum(axis=1)
    for width in model.widths:
        largest = width * largest**q
    spread = model.hidden ** max(0.0, 1 - q / 2)
    for size, head, factors in (
        (OPERATOR, FROBENIUS, euclidean),
        (OPERATOR, LARGEST, spread * euclidean),
        (LARGEST, LARGEST, largest),
    ):
        sizes = {**dict.fromkeys(model.layers, size), "a": head}
        room = _room(problem.shapes, sizes, model.block_degrees, norm)
        if room is not None:
            yield float(factors.min() * room)


def _through(
    problem: Problem, norm: Norm, size: Size, linear: HomogeneousModel, predictor: str, factor: float
) -> Iterator[float]:
    """The bound by the linear problem in the predictor, whose norm is at most ``factor`` · Π r_k."""
    degrees = problem.model.block_degrees
    room = _room(problem.shapes, dict.fromkeys(problem.shapes, size), degrees, norm) if degrees else None
    if room is None:
        return
    try:
        best = solve_margin(_same_data(problem, linear), get_norm(predictor)).upper
    except NotSeparable:
        best = 0.0
    yield factor * room * best


def _same_data(problem: Problem, model: HomogeneousModel) -> Problem:
    return Problem(f"{problem.name}, linear", model, problem.X, torch.clone(problem.contrasts), problem.labels)


def _room(
    shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, Size], degrees: Mapping[str, float], norm: Norm
) -> float | None:
    """max Π r_k^{d_k} over the unit ball, or a bound of it; None where a block's norm is of an unknown family."""
    room, total = 1.0, sum(degrees.values())
    for name, shape in shapes.items():
        block, weight = norm.block(name, shape)
        largest = block.largest(shape, sizes[name])
        if largest is None:
            return None
        share = 1.0 if math.isinf(norm.aggregation) else (degrees[name] / total) ** (1 / norm.aggregation)
        room *= (share * largest / weight) ** degrees[name]
    return room
