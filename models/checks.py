"""A model's own claims, measured: its degree, Euler's identity, its pullback, and whether it is C¹.

Everything downstream divides by the degree and trusts the pullback, so both are checked against torch's
automatic differentiation of ``scores``, never against the model's own word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from maxmargin.models.blocks import shapes_of
from maxmargin.models.problem import Problem

EXACT = 1e-11
"""Float64 identities: a few layers, up to some hundred terms a sum; rounding alone is about 1e-14."""

JUMP = 1e-6
"""Of a C¹ gradient nothing is left after forty halvings but rounding; of a kink, all of it."""

FACTORS = (0.3, 1.7, 4.0)
DRAWS = 3
GRID = 64
HALVINGS = 40


class HomogeneityError(ValueError):
    """A model that is not what it says: wrong degree, a bias, a wrong gradient, a kink in a smooth model."""


@final
@dataclass(frozen=True)
class Homogeneity:
    """Measured residuals, each relative to the size of what it compares; 0 is perfect, 1e-11 is accepted.

    Attributes:
        homogeneity: max over c of ``|f(c θ) − c^L f(θ)| / |c^L f(θ)|``, in the largest score.
        euler: ``|⟨∇f, θ⟩ − L f| / |L f|``.
        block_homogeneity: The first for each block scaled alone, with its own degree; empty where blocks add.
        block_euler: The second for each block alone; empty where blocks add.
        additivity: ``|f(θ + θ') − f(θ) − f(θ')|`` of its size; None unless the model is linear.
        pullback: ``pullback`` against automatic differentiation of ``scores``.
        kink: Largest jump of the gradient along a random segment that stays when the segment is halved
            forty times; near 0 for a C¹ model. Reported, and an error only where the model says it is smooth.
    """

    homogeneity: float
    euler: float
    block_homogeneity: Mapping[str, float]
    block_euler: Mapping[str, float]
    additivity: float | None
    pullback: float
    kink: float


def check_homogeneity(problem: Problem, seed: int = 0) -> Homogeneity:
    """Measure the laws of :class:`maxmargin.models.model.HomogeneousModel` at random parameters.

    Args:
        problem: The model, with the data at which to look at it.
        seed: Draws the parameters and the weights.

    Returns:
        The residuals, all of them small.

    Raises:
        HomogeneityError: naming the first law that is broken, and by how much.
    """
    model, X = problem.model, problem.X
    name, degree = model.name, model.degree
    degrees = model.block_degrees or {}
    if degrees and (set(degrees) != set(model.shapes) or sum(degrees.values()) != degree):
        raise HomogeneityError(
            f"model {name!r}: block degrees {dict(degrees)} do not add up to its degree {degree} over its "
            f"blocks {list(model.shapes)}"
        )
    draws = [model.init(seed + draw) for draw in range(DRAWS)]
    draws = [{block: v.to(X.device) for block, v in theta.items()} for theta in draws]
    if not all(bool(model.scores(theta, X).any()) for theta in draws):
        raise HomogeneityError(
            f"model {name!r}: all scores are 0 at random parameters, so nothing can be checked; change the seed "
            "or the data, or correct scores"
        )
    measured = Homogeneity(
        homogeneity=max(_scaling(problem, theta, set(theta), degree) for theta in draws),
        euler=max(_euler(problem, theta, set(theta), degree) for theta in draws),
        block_homogeneity={b: max(_scaling(problem, t, {b}, d) for t in draws) for b, d in degrees.items()},
        block_euler={b: max(_euler(problem, t, {b}, d) for t in draws) for b, d in degrees.items()},
        additivity=additivity(problem, draws[0], draws[1]) if model.linear else None,
        pullback=max(_pullback(problem, theta, seed + draw) for draw, theta in enumerate(draws)),
        kink=_kink(problem, draws[0], draws[1], seed),
    )
    _judge(name, degree, degrees, measured, model.smooth)
    return measured


def _judge(name: str, degree: float, degrees: Mapping[str, float], m: Homogeneity, smooth: bool) -> None:
    if not m.homogeneity <= EXACT:
        raise HomogeneityError(
            f"model {name!r} is not homogeneous of degree {degree}: f(c θ) differs from c^{degree} f(θ) by "
            f"{m.homogeneity:.1e} of its size (accepted {EXACT:.0e}); look for a bias, a wrong degree, or an "
            "activation that is not homogeneous (GELU, softplus, tanh)"
        )
    if not m.euler <= EXACT:
        raise HomogeneityError(
            f"model {name!r} breaks Euler's identity ⟨∇f, θ⟩ = {degree} f by {m.euler:.1e} of its size "
            f"(accepted {EXACT:.0e}); is part of the scores detached from the parameters?"
        )
    for law, residuals in (("homogeneity", m.block_homogeneity), ("Euler's identity", m.block_euler)):
        for block, residual in residuals.items():
            if not residual <= EXACT:
                raise HomogeneityError(
                    f"model {name!r}, block {block!r}: {law} of degree {degrees[block]} is broken by "
                    f"{residual:.1e} (accepted {EXACT:.0e}); correct block_degrees"
                )
    if m.additivity is not None and not m.additivity <= EXACT:
        raise HomogeneityError(
            f"model {name!r} says it is linear, but f(θ + θ') differs from f(θ) + f(θ') by {m.additivity:.1e} of "
            f"its size (accepted {EXACT:.0e}); set linear = False, its margin problem need not be convex"
        )
    if not m.pullback <= EXACT:
        raise HomogeneityError(
            f"model {name!r}: pullback differs from the gradient of scores by {m.pullback:.1e} "
            f"(accepted {EXACT:.0e}); correct it, or leave it out (the default differentiates scores)"
        )
    if smooth and not m.kink <= JUMP:
        raise HomogeneityError(
            f"model {name!r} says it is C¹, but its gradient jumps by {m.kink:.1e} of its size within "
            f"2^-{HALVINGS} of a segment; set smooth = False"
        )


def _relative(difference: Tensor, reference: Tensor) -> float:
    # The largest score sets the scale: single scores may cancel to nearly nothing.
    return float(difference.abs().amax() / reference.abs().amax().clamp_min(1e-300))


def _scaling(problem: Problem, theta: Mapping[str, Tensor], blocks: set[str], degree: float) -> float:
    model, X = problem.model, problem.X
    base = model.scores(theta, X)
    worst = 0.0
    for c in FACTORS:
        scaled = {name: c * v if name in blocks else v for name, v in theta.items()}
        worst = max(worst, _relative(model.scores(scaled, X) - c**degree * base, c**degree * base))
    return worst


def _euler(problem: Problem, theta: Mapping[str, Tensor], blocks: set[str], degree: float) -> float:
    model, X = problem.model, problem.X
    base = model.scores(theta, X)
    # Reverse mode only: torch's forward mode builds itself with a deprecated compiler, and warns.
    rows = torch.func.jacrev(lambda t: model.scores(t, X))(dict(theta))
    along = sum((rows[name] * theta[name]).flatten(start_dim=2).sum(dim=2) for name in sorted(blocks))
    return _relative(along - degree * base, base * (degree or 1))


def additivity(problem: Problem, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """``|f(θ + θ') − f(θ) − f(θ')|`` of the largest of the three."""
    model, X = problem.model, problem.X
    first, second = model.scores(one, X), model.scores(other, X)
    both = model.scores({name: one[name] + other[name] for name in one}, X)
    return _relative(both - first - second, torch.cat([first, second, both]))


def _gradient(problem: Problem, theta: Mapping[str, Tensor], c: Tensor) -> dict[str, Tensor]:
    vjp = torch.func.vjp(lambda t: problem.model.scores(t, problem.X), dict(theta))[1]
    return dict(vjp(c)[0])


def _weights(problem: Problem, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (problem.n_samples, problem.model.outputs)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(problem.X.device)


def _pullback(problem: Problem, theta: Mapping[str, Tensor], seed: int) -> float:
    c = _weights(problem, seed)
    own = problem.model.pullback(theta, problem.X, c)
    if shapes_of(own) != problem.model.shapes:
        raise HomogeneityError(
            f"model {problem.model.name!r}: pullback has blocks {shapes_of(own)}, the parameters {problem.model.shapes}"
        )
    true = _gradient(problem, theta, c)
    return max(_relative(own[name] - true[name], true[name]) for name in true)


def _kink(problem: Problem, start: Mapping[str, Tensor], end: Mapping[str, Tensor], seed: int) -> float:
    """The jump of the gradient that survives halving, relative to the gradient's size on the segment."""
    c = _weights(problem, seed)

    def gradient(t: Tensor) -> Tensor:
        g = _gradient(problem, {name: (1 - t) * start[name] + t * end[name] for name in start}, c)
        return torch.cat([block.reshape(-1) for block in g.values()])

    gradients = torch.func.vmap(gradient)
    times = torch.linspace(0.0, 1.0, GRID + 1, dtype=torch.float64, device=problem.X.device)
    values = gradients(times)
    low, high, left, right = times[:-1], times[1:], values[:-1], values[1:]
    for _ in range(HALVINGS):  # of every interval at once, keeping the half with the larger change
        middle = (low + high) / 2
        value = gradients(middle)
        first = ((value - left).abs().amax(dim=1) >= (right - value).abs().amax(dim=1)).unsqueeze(1)
        low, high = torch.where(first[:, 0], low, middle), torch.where(first[:, 0], middle, high)
        left, right = torch.where(first, left, value), torch.where(first, value, right)
    return float((right - left).abs().amax() / values.abs().amax().clamp_min(1e-300))
