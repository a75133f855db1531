"""What makes a norm of this package right, as plain functions: the tests call them, and so may a new norm's author.

    >>> from maxmargin.solvers.norms import get_norm
    >>> from maxmargin.solvers.norms.laws import Sample, check_laws
    >>> check_laws(get_norm("hybrid:2"), Sample.random({"W": (3, 2), "a": (3,)}, seed=0))

Each law takes a norm and a sample and raises :class:`LawError`, naming norm, law, what came and what was needed.
No law believes the norm's own ``dual`` alone: the dual is pinned from below by ``lmo`` (feasible, and attaining it)
and from above by Hölder's inequality at every drawn point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from maxmargin.models.blocks import Blocks, add, as_torch, inner, scale
from maxmargin.solvers.norms.parameter import Norm

# Tolerances, relative, each with its cause (float64).
EXACT = 1e-12  # a few hundred operations on a few dozen entries
SVD = 1e-10  # one LAPACK decomposition and products of its factors
ROOT = 1e-10  # scalar roots by bisection to the last digits, sums of blocks, far points
SOLVER = 1e-7  # an atom whose value is itself a solved problem (Clarabel at 1e-10)


class LawError(AssertionError):
    """A norm broke one of its laws."""


@final
@dataclass(frozen=True)
class Sample:
    """What the laws are tried on: parameters θ and η, a gradient G, a ball's radius relative to ‖θ‖, a factor."""

    theta: Blocks
    eta: Blocks
    G: Blocks
    radius: float = 0.5
    factor: float = 3.0

    @classmethod
    def random(cls, shapes: Mapping[str, tuple[int, ...]], seed: int, radius: float = 0.5) -> Sample:
        """Normal entries."""
        rng = np.random.default_rng(seed)
        theta, eta, G = ({n: rng.standard_normal(s) for n, s in shapes.items()} for _ in range(3))
        return cls(theta, eta, G, radius)


Law = Callable[[Norm, Sample], None]


def homogeneity(norm: Norm, sample: Sample) -> None:
    """‖cθ‖ = |c| ‖θ‖, ‖0‖ = 0, and ‖θ‖ > 0 for θ ≠ 0."""
    value = float(norm.value(sample.theta))
    for c in (sample.factor, -sample.factor):
        got = float(norm.value(scale(sample.theta, c)))
        _close(norm, "homogeneity", got, abs(c) * value, SVD * abs(c) * value)
    _close(norm, "value of zero", float(norm.value(scale(sample.theta, 0.0))), 0.0, 0.0)
    if any((np.asarray(block) != 0).any() for block in sample.theta.values()) and not value > 0:
        raise LawError(f"{norm.name}: value of a nonzero parameter is {value}, it must be positive")


def triangle(norm: Norm, sample: Sample) -> None:
    """‖θ + η‖ ≤ ‖θ‖ + ‖η‖, with η brought to θ's size so that both matter, and for θ cut in two along its entries."""
    theta, eta = _unit(norm, sample.theta), _unit(norm, sample.eta)
    _at_most(norm, "triangle inequality", float(norm.value(add(theta, eta))), 2.0, SVD)
    even = {name: block * (np.arange(block.size) % 2).reshape(block.shape) for name, block in theta.items()}
    parts = float(norm.value(even)) + float(norm.value(add(theta, even, -1.0)))
    _at_most(norm, "triangle inequality", float(norm.value(theta)), parts, SVD)


def holder(norm: Norm, sample: Sample) -> None:
    """⟨G, θ⟩ ≤ ‖G‖_* ‖θ‖, in both signs: at drawn pairs, and at pairs where it is tight (G from the dual's lmo)."""
    tight = norm.dual_norm.lmo(sample.theta)
    for G, point in ((sample.G, sample.theta), (sample.G, sample.eta), (tight, sample.theta)):
        dual = float(norm.dual(G))
        _at_most(norm, "Hölder's inequality", abs(float(inner(G, _unit(norm, point)))), dual, SVD * dual)


def oracle(norm: Norm, sample: Sample) -> None:
    """lmo(G) is feasible and optimal, ‖lmo(G)‖ ≤ 1 and ⟨G, lmo(G)⟩ = −‖G‖_*; lmo(0) = 0."""
    for G in (sample.G, sample.theta):
        step, dual = norm.lmo(G), float(norm.dual(G))
        _at_most(norm, "lmo is feasible", float(norm.value(step)), 1.0, SVD)
        _close(norm, "lmo is optimal", float(inner(G, step)), -dual, SVD * dual)
    still = norm.lmo(scale(sample.G, 0.0))
    if any((np.asarray(block) != 0).any() for block in still.values()):
        raise LawError(f"{norm.name}: lmo(0) is {still}, it must be 0")


def duality(norm: Norm, sample: Sample) -> None:
    """The dual norm's value is ``dual``, and its dual is ``value``."""
    dual, value = float(norm.dual(sample.G)), float(norm.value(sample.theta))
    _close(norm, "dual_norm.value", float(norm.dual_norm.value(sample.G)), dual, SVD * dual)
    _close(norm, "dual_norm.dual", float(norm.dual_norm.dual(sample.theta)), value, SVD * value)
    _close(norm, "dual of dual", float(norm.dual_norm.dual_norm.value(sample.theta)), value, SVD * value)


def projection(norm: Norm, sample: Sample) -> None:
    """P = project(θ, r) has ‖P‖ ≤ r and ⟨θ − P, z − P⟩ ≤ 0 for every z in the ball; projecting again changes nothing.

    The z are the ball's own worst one, r·lmo(P − θ), other vertices, and drawn points.
    """
    theta = _unit(norm, sample.theta)
    size = float(np.sqrt(inner(theta, theta)))
    radius = sample.radius
    point = norm.project(theta, radius)
    _at_most(norm, "projection is feasible", float(norm.value(point)), radius, ROOT * radius)
    rest = add(theta, point, -1.0)
    probes = [norm.lmo(scale(rest, -1.0)), norm.lmo(sample.G), _unit(norm, sample.eta), scale(point, 0.0)]
    for probe in probes:
        got = float(inner(rest, add(scale(probe, radius), point, -1.0)))
        _at_most(norm, "projection's variational inequality", got, 0.0, ROOT * size * max(size, radius))
    again = norm.project(point, radius)
    moved = max(float(abs(again[name] - point[name]).max()) for name in point)
    _at_most(norm, "projection is idempotent", moved, 0.0, ROOT * size)
    if sample.radius >= 1:
        _at_most(norm, "a point of the ball stays", float(np.sqrt(inner(rest, rest))), 0.0, EXACT * size)


def normal_cone(norm: Norm, sample: Sample) -> None:
    """The residual is 0 for −G at lmo(G), 2 for G there, 1 for H ⟂ θ; it does not feel scale."""
    step = norm.lmo(sample.G)
    if not float(norm.dual(sample.G)) > 0:
        _close(norm, "normal cone, H = 0", float(norm.normal_cone_residual(sample.theta, sample.G)), 0.0, 0.0)
        return
    for c, needed in ((-1.0, 0.0), (-sample.factor, 0.0), (1.0, 2.0)):
        got = float(norm.normal_cone_residual(step, scale(sample.G, c)))
        _close(norm, f"normal cone, H = {c:g} G at lmo(G)", got, needed, SVD)


def atom(norm: Norm, sample: Sample) -> None:
    """The cvxpy atom of a constant has the norm's value, and is convex; so has the dual norm's."""
    import cvxpy as cp

    for which, point in ((norm, _unit(norm, sample.theta)), (norm.dual_norm, _unit(norm.dual_norm, sample.G))):
        expression = which.atom({name: cp.Constant(np.asarray(block)) for name, block in point.items()})
        if not expression.is_convex():
            raise LawError(f"{which.name}: the atom {expression} is not convex by cvxpy's rules")
        _close(which, "atom", float(expression.value), float(which.value(point)), SOLVER)


def kinds(norm: Norm, sample: Sample) -> None:
    """Torch tensors give what numpy arrays give; a torch lmo obeys its law (among ties it may choose otherwise)."""
    theta, G = as_torch(sample.theta), as_torch(sample.G)
    value, dual = float(norm.value(sample.theta)), float(norm.dual(sample.G))
    _close(norm, "value in torch", float(norm.value(theta)), value, SVD * value)
    _close(norm, "dual in torch", float(norm.dual(G)), dual, SVD * dual)
    oracle(norm, Sample(theta, theta, G))
    unit = _unit(norm, sample.theta)
    ours, theirs = norm.project(unit, sample.radius), norm.project(as_torch(unit), sample.radius)
    for name in ours:
        if not isinstance(theirs[name], torch.Tensor):
            raise LawError(f"{norm.name}: project of torch tensors gave {type(theirs[name]).__name__}")
        gap = float(abs(ours[name] - theirs[name].numpy()).max())
        _at_most(norm, f"project in torch, block {name}", gap, 0.0, ROOT)


def vmapped(norm: Norm, sample: Sample) -> None:
    """``torch.func.vmap`` of value, dual, lmo and normal cone equals the loop over runs."""
    runs = [as_torch(b) for b in (sample.theta, sample.G, sample.eta, scale(sample.G, 0.0))]
    batch = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    values, duals = torch.func.vmap(norm.value)(batch), torch.func.vmap(norm.dual)(batch)
    steps = torch.func.vmap(norm.lmo)(batch)
    cones = torch.func.vmap(norm.normal_cone_residual)(batch, scale(steps, -1.0))
    for i, run in enumerate(runs):
        value, dual = float(norm.value(run)), float(norm.dual(run))
        _close(norm, "vmap of value", float(values[i]), value, SVD * value)
        _close(norm, "vmap of dual", float(duals[i]), dual, SVD * dual)
        step = {name: block[i] for name, block in steps.items()}
        _at_most(norm, "vmap of lmo is feasible", float(norm.value(step)), 1.0, SVD)
        _close(norm, "vmap of lmo is optimal", float(inner(run, step)), -dual, SVD * dual)
        cone = float(norm.normal_cone_residual(run, scale(step, -1.0)))
        _close(norm, "vmap of the normal cone", float(cones[i]), cone, SVD)


LAWS: tuple[Law, ...] = (
    homogeneity,
    triangle,
    holder,
    oracle,
    duality,
    projection,
    normal_cone,
    atom,
    kinds,
    vmapped,
)


def check_laws(norm: Norm, sample: Sample, laws: tuple[Law, ...] = LAWS) -> None:
    """Run the laws on one sample; the first that is broken raises :class:`LawError`."""
    for law in laws:
        law(norm, sample)


def _unit(norm: Norm, blocks: Blocks) -> Blocks:
    value = norm.value(blocks)
    return blocks if float(value) == 0 else {name: block / value for name, block in blocks.items()}


def _close(norm: Norm, law: str, got: Any, needed: float, tolerance: float) -> None:
    if not abs(got - needed) <= tolerance:
        raise LawError(f"{norm.name}: {law}: {got!r} came, {needed!r} was expected (within {tolerance:.1e})")


def _at_most(norm: Norm, law: str, got: float, needed: float, slack: float) -> None:
    if not got <= needed + slack:
        raise LawError(f"{norm.name}: {law}: {got!r} came, at most {needed!r} was expected (slack {slack:.1e})")
