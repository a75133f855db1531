"""Matching: the KKT point that a trajectory is heading for, found from its end, without climbing to another one.

A trajectory may end near a saddle (KKT is first order only), and margin ascent from there leaves it. So the natural
residual R(θ, λ) = 0 is solved by a semismooth Levenberg–Marquardt iteration, which is drawn to any kind of KKT point:

1. from the end and its optimal λ, for several weights τ of the dual part, each followed by active-set polishing;
2. if none of these is close: prox-linear ascent in short steps (it follows the steepest-ascent flow, that is, the
   trajectory's own future), polished in the same way;
3. if neither arrives: other τ; SLSQP on the smooth program, where the norm is a weighted ℓ2 or ℓ∞; Newton from random
   neighbours of the best point; a longer ascent.

The nearest verified solution is the answer. What is verified is :func:`natural_residual`, recomputed from (θ, λ).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import final

import numpy as np

from maxmargin.models.blocks import Blocks, as_numpy, flatten, inner, scale, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import kkt_gap
from maxmargin.solvers.kkt.levenberg import DENSE, levenberg, newton
from maxmargin.solvers.kkt.proxlinear import ProxLinear
from maxmargin.solvers.kkt.residual import Pattern, ResidualMap, natural_residual, project_simplex
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.routes.slsqp import slsqp

Array = np.ndarray

TOLERANCE = 1e-8  # of the natural residual: a KKT point is matched
CLOSE = 0.1  # a match this near is not improved upon by trying another route
CAP = 0.1  # longest step of θ, relative to its length
TAUS = (10.0, 1.0, 0.1)
SUSPECTS = 4  # kinks nearest to the point whose side is doubted when polishing
DISPLACEMENTS = (1e-4, 3e-4, 1e-3, 1e-5) * 6  # relative sizes of random displacements, the last resort but one
LONG = 200  # prox-linear steps of the last resort
WIDTHS = (1e-4, 1e-3, 1e-2)  # distances from a kink within which, all at once, the weak side is tried


@final
@dataclass(frozen=True)
class Match:
    """The KKT point matched to a direction, or the best attempt at one.

    Attributes:
        theta: The matched point, ‖θ‖ = 1 (numpy blocks).
        multipliers: λ in the simplex, (n_margins,).
        residual: :func:`natural_residual` of (θ, λ): scale-free, recomputed.
        distance: ‖θ̂_end − θ̂‖₂ of the directions, each divided by its ℓ2 norm. Where KKT points are not isolated
            (ℓ∞, spectral) compare margins first: the distance is then one to *a* point of a set.
        gap: 1 − L q(θ) / (‖θ‖ ‖Σ λ_i g_i‖_*), the bound on Γ(θ) that these λ prove.
        success: residual ≤ 1e-8.
        iterations: Linear systems and convex programs solved, all routes together.
        route: Which route arrived.
        margin: q(θ)/‖θ‖^L of the matched point.
    """

    theta: dict[str, Array]
    multipliers: Array
    residual: float
    distance: float
    gap: float
    success: bool
    iterations: int
    route: str
    margin: float


def match(problem: Problem, theta: Blocks, norm: Norm, *, multipliers: Array | None = None) -> Match:
    """Match a KKT point of ``problem`` under ``norm`` to a direction, by the routes above.

    Args:
        problem: Any problem, linear ones included.
        theta: The end of a trajectory (any length), with all margins positive.
        norm: The norm.
        multipliers: A start for λ; the optimal λ of the KKT gap if not given.

    Returns:
        The match; ``success`` says whether the residual is ≤ 1e-8. A direction that does not separate (q ≤ 0) comes
        back unmatched, with residual inf and gap 1.
    """
    start = as_numpy(theta)
    length = float(norm.value(start))
    if not (np.isfinite(length) and length > 0):
        return _unmatched(problem, start)
    start = scale(start, 1 / length)
    if not float(problem.min_margin(start)) > 0:
        return _unmatched(problem, start)
    lam = kkt_gap(problem, start, norm).multipliers if multipliers is None else project_simplex(multipliers)
    best = _judge(problem, norm, start, start, lam, 0, "as given")
    work = 0
    for candidate in _attempts(problem, norm, start, lam):
        work += candidate.iterations
        if _better(candidate, best):
            best = candidate
        if best.success and best.distance <= CLOSE:
            break
    return replace(best, iterations=work)


def _attempts(problem: Problem, norm: Norm, start: Blocks, lam: Array) -> Iterator[Match]:
    """One candidate after another, cheap ones first; a route is only entered if the caller asks for more."""
    found, nearly = False, None

    def tried(
        theta: Blocks, lam: Array, tau: float, route: str, pieces: bool = True, spent: int = 0
    ) -> Iterator[Match]:
        nonlocal found, nearly
        for candidate in _solve(problem, norm, start, theta, lam, tau, route, pieces):
            found |= candidate.success
            if nearly is None or candidate.residual < nearly.residual:
                nearly = candidate
            yield replace(candidate, iterations=candidate.iterations + spent)
            spent = 0

    first, *others = TAUS
    yield from tried(start, lam, first, f"Levenberg–Marquardt, tau={first:g}", pieces=False)
    program = ProxLinear.build(problem, norm)
    ascent = None if program is None else program.run(np.asarray(flatten(start, problem.shapes)))
    if ascent is not None:
        point = unflatten(ascent.theta, problem.shapes)
        yield from tried(point, ascent.lam, first, "prox-linear ascent", spent=ascent.steps)
    for tau in (*others, first):
        if not found:
            yield from tried(start, lam, tau, f"Levenberg–Marquardt, tau={tau:g}")
    if not found and (end := slsqp(problem, norm, start)) is not None and float(problem.min_margin(end)) > 0:
        end = scale(end, 1 / float(norm.value(end)))
        yield from tried(end, kkt_gap(problem, end, norm).multipliers, first, "SLSQP")
    if not found and nearly is not None and np.isfinite(nearly.residual):
        for candidate in _from_neighbours(problem, norm, start, nearly):
            found |= candidate.success
            yield candidate
    if not found and program is not None and ascent is not None and not ascent.converged:
        ascent = program.run(ascent.theta, steps=LONG, c=1.0)
        if ascent is not None:
            point = unflatten(ascent.theta, problem.shapes)
            yield from tried(point, ascent.lam, first, "long prox-linear ascent", spent=ascent.steps)


def _from_neighbours(problem: Problem, norm: Norm, start: Blocks, end: Match) -> Iterator[Match]:
    """Newton from around a point where |R| has a minimum that is no zero.

    At a kink of the model's own gradient no pattern can be chosen, but a neighbour on its right side is often a few
    steps away from the solution.

    Yields:
        Candidates.
    """
    residual = ResidualMap.at(problem, norm, end.theta, end.multipliers)
    x, p = residual.join(end.theta, end.multipliers), residual.parameters
    length = float(np.linalg.norm(x[:p]))
    rng = np.random.default_rng(0)
    for size in (
        DISPLACEMENTS if len(x) <= DENSE else DISPLACEMENTS[:4]
    ):  # a large system costs tenths of a second a step
        noise = rng.standard_normal(p)
        displaced = x.copy()
        displaced[:p] += size * length * noise / np.linalg.norm(noise)
        refined = newton(residual.linearize, displaced, span=p, cap=CAP * length, iterations=10)
        theta, lam = residual.split(refined.x)
        candidate = _judge(problem, norm, start, theta, lam, refined.iterations, end.route + ", displaced")
        yield candidate
        if candidate.success:
            return


def _solve(
    problem: Problem, norm: Norm, start: Blocks, theta: Blocks, lam: Array, tau: float, route: str, pieces: bool
) -> Iterator[Match]:
    """Levenberg–Marquardt from (θ, λ), then polishing on the pieces around its end while that is not a solution."""
    residual = ResidualMap.at(problem, norm, theta, lam, tau=tau)
    x = residual.join(theta, lam)
    p = residual.parameters
    cap = CAP * float(np.linalg.norm(x[:p]))
    end = levenberg(residual.value, residual.linearize, x, span=p, cap=cap)
    candidate = _judge(problem, norm, start, *residual.split(end.x), end.iterations, route)
    yield candidate
    if candidate.success:
        return
    for pattern in (None, *(_patterns(residual, end.x) if pieces else ())):
        piece = replace(residual, pattern=pattern)
        refined = newton(piece.linearize, end.x, span=p, cap=cap)
        candidate = _judge(problem, norm, start, *residual.split(refined.x), refined.iterations, route + ", polished")
        yield candidate
        if candidate.success:
            return


def _patterns(residual: ResidualMap, x: Array) -> Iterator[Pattern]:
    """The pieces worth trying around x.

    Yields:
        The one at x; those where everything near a kink is on its weak side (at a degenerate point multipliers vanish
        together, and the iteration creeps); those with one or two of the nearest kinks on their other side.
    """
    ball, active = residual.kinks(x)
    kinks = np.concatenate([ball, active])
    constraint = np.arange(len(kinks)) >= len(ball)
    bits = [kinks > 0]
    for width in WIDTHS:
        near = np.abs(kinks) < width
        bits += [(kinks > 0) & ~near, (kinks > 0) & ~(near & constraint), (kinks > 0) & ~(near & ~constraint)]
    for chosen in chain(*(combinations(np.argsort(np.abs(kinks))[:SUSPECTS], k) for k in (1, 2))):
        flipped = kinks > 0
        flipped[list(chosen)] ^= True
        bits.append(flipped)
    for pattern in sorted(np.unique(bits, axis=0, return_index=True)[1]):
        if bits[pattern][constraint].any():
            yield Pattern(bits[pattern][: len(ball)], bits[pattern][len(ball) :])


def _judge(
    problem: Problem, norm: Norm, start: Blocks, theta: Blocks, lam: Array, iterations: int, route: str
) -> Match:
    """Bring (θ, λ) onto sphere and simplex and measure it, forgetting how it was found."""
    length = float(norm.value(theta))
    if not (np.isfinite(length) and length > 0 and np.isfinite(lam).all()):
        return replace(_unmatched(problem, start), iterations=iterations, route=route)
    theta = scale(theta, 1 / length)
    lam = project_simplex(lam)
    residual = natural_residual(problem, norm, theta, lam)
    margin = float(problem.min_margin(theta))
    pull = float(norm.dual(problem.pullback(theta, lam)))
    gap = 1 - problem.degree * margin / pull if margin > 0 and pull > 0 else 1.0
    a, b = (flatten(t, problem.shapes) for t in (start, theta))
    distance = float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)))
    return Match(theta, lam, residual, distance, gap, residual <= TOLERANCE, iterations, route, margin)


def _better(candidate: Match, best: Match) -> bool:
    """Success before failure; among successes the nearer, among failures the smaller residual."""
    if candidate.success != best.success:
        return candidate.success
    if candidate.success:
        return candidate.distance < best.distance
    return candidate.residual < best.residual


def _unmatched(problem: Problem, theta: Blocks) -> Match:
    n = problem.n_margins
    margin = float(problem.min_margin(theta)) if inner(theta, theta) > 0 else 0.0
    return Match(dict(theta), np.full(n, 1 / n), np.inf, 0.0, 1.0, False, 0, "none", margin)
