"""The KKT points of a nonlinear problem that many starts find: matched, merged up to symmetry, classified.

From every start, half of them random and half ends of short steepest-descent runs, the KKT point is reached by several
routes: matching of the start itself (finds saddles too), sequential convex programming (prox-linear ascent) and, where
the norm allows it, SLSQP. Each end is polished by :func:`maxmargin.solvers.kkt.matching.match` and kept if its natural
residual is ≤ 1e-8. A catalogue is what was found, not a proof that nothing else exists.

Two points are one entry if they agree in what the model's symmetries (permutation of neurons, signs, rotations between
linear layers) leave alone: the margin, the multipliers, and the singular values of each block of Σ λ_i g_i(θ). Unlike θ
itself these do not vary along a face of KKT points either. Rescaling between layers is no symmetry of these problems:
the norm sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from maxmargin.models.blocks import Blocks, flatten, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.classify import Class, classify
from maxmargin.solvers.kkt.descent import descend, small_starts
from maxmargin.solvers.kkt.matching import Match, match
from maxmargin.solvers.kkt.proxlinear import ProxLinear
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.routes.slsqp import slsqp

Array = np.ndarray
Progress = Callable[[int, int, str], None]

SAME = 1e-5  # relative: signatures of one point, found twice with residuals ≤ 1e-8, agree to this
STEPS = 400  # of the short runs
SPARE = 8  # further starts, one after another, where the first ones led nowhere
COARSE = 60  # prox-linear steps: matching finishes what is left


@final
@dataclass(frozen=True)
class Point:
    """One KKT point of a catalogue.

    Attributes:
        match: θ, λ, natural residual, Γ-bound and margin.
        kind: Its class, with evidence.
        found: How many ends fell on it.
        routes: The routes that found it, in order of appearance.
    """

    match: Match
    kind: Class
    found: int
    routes: tuple[str, ...]


@final
@dataclass(frozen=True)
class Catalogue:
    """KKT points by falling margin.

    Attributes:
        points: The points.
        starts: Starts tried.
        failures: Ends that were no KKT point to 1e-8.
    """

    points: tuple[Point, ...]
    starts: int
    failures: int


def catalogue(
    problem: Problem, norm: Norm, starts: int = 8, seed: int = 0, progress: Progress | None = None
) -> Catalogue:
    """KKT points of the margin problem from many starts.

    Args:
        problem: Any problem.
        norm: Any norm; without a cvxpy expression only matching is left.
        starts: How many, at least 1. If none of them leads to a KKT point, up to 8 more are tried until one does.
        seed: Of the starts.
        progress: Called with (done, total, text).

    Returns:
        The catalogue; it may be empty, if no start separates the data.

    Raises:
        ValueError: fewer than one start.
    """
    if starts < 1:
        raise ValueError(f"starts is {starts}; it must be at least 1")
    say = progress or (lambda done, total, text: None)
    found: list[Point] = []
    failures = 0
    say(0, starts + 1, "short runs")
    for k, start in enumerate(_starts(problem, norm, starts, seed)):
        failures += _explore(problem, norm, start, found)
        say(k + 1, starts + 1, f"{len(found)} KKT points")
    if not found:  # some starts never separate the data (dead neurons)
        for k, start in enumerate(_starts(problem, norm, SPARE, seed + starts)):
            say(starts, starts + 1, f"no KKT point yet, spare start {k + 1} of {SPARE}")
            failures += _explore(problem, norm, start, found)
            if found:
                break
    found.sort(key=lambda point: -point.match.margin)
    points = tuple(
        replace(point, kind=classify(problem, point.match.theta, point.match.multipliers, norm, seed=seed))
        for point in found
    )
    say(starts + 1, starts + 1, f"{len(points)} KKT points")
    return Catalogue(points, starts, failures)


def _explore(problem: Problem, norm: Norm, start: Blocks, found: list[Point]) -> int:
    """Add what one start leads to; the number of its ends that were no KKT points."""
    ends = list(_ends(problem, norm, start))
    for candidate in ends:
        if candidate.success:
            _merge(problem, norm, found, candidate)
    return sum(not candidate.success for candidate in ends)


def _starts(problem: Problem, norm: Norm, count: int, seed: int) -> Iterator[Blocks]:
    """Trajectory-like starts first, then random ones, alternating."""
    runs = (count + 1) // 2
    ends = descend(problem, norm, small_starts(problem, range(seed, seed + runs)), steps=STEPS)
    rng = np.random.default_rng(seed)
    for k in range(count):
        if k % 2 == 0:
            yield {name: block[k // 2].numpy() for name, block in ends.items()}
        else:
            yield {name: rng.standard_normal(shape) for name, shape in problem.shapes.items()}


def _ends(problem: Problem, norm: Norm, start: Blocks) -> Iterator[Match]:
    """What each route makes of one start; nothing if the ascent does not even separate the data."""
    if float(problem.min_margin(start)) > 0:
        yield match(problem, start, norm)
    program = ProxLinear.build(problem, norm)
    if program is None:
        return
    ascent = program.run(np.asarray(flatten(start, problem.shapes)), steps=COARSE, c=1.0)
    if ascent is None:
        return
    end = unflatten(ascent.theta, problem.shapes)
    if not float(problem.min_margin(end)) > 0:
        return
    yield match(problem, end, norm, multipliers=ascent.lam)
    smooth = slsqp(problem, norm, start if float(problem.min_margin(start)) > 0 else end)
    if smooth is not None and float(problem.min_margin(smooth)) > 0:
        yield replace(match(problem, smooth, norm), route="SLSQP")


def _merge(problem: Problem, norm: Norm, found: list[Point], candidate: Match) -> None:
    """Count the candidate with the point it is, or add it; of two finds the one with the smaller residual stays."""
    mark = signature(problem, candidate.theta, candidate.multipliers)
    for i, point in enumerate(found):
        other = signature(problem, point.match.theta, point.match.multipliers)
        if np.abs(mark - other).max() <= SAME:
            better = min(point.match, candidate, key=lambda m: m.residual)
            routes = tuple(dict.fromkeys((*point.routes, candidate.route)))
            found[i] = replace(point, match=better, found=point.found + 1, routes=routes)
            return
    found.append(Point(candidate, Class("unknown", "not classified yet"), 1, (candidate.route,)))


def signature(problem: Problem, theta: Blocks, lam: Array) -> Array:
    """What permutations of neurons, signs and rotations leave alone: log margin, λ, singular values of Σ λ_i g_i.

    Args:
        problem: The problem.
        theta: A KKT point, ‖θ‖ = 1.
        lam: Its multipliers.

    Returns:
        A vector, of a length that depends on the problem alone; the singular values are relative to the largest.
    """
    pull = problem.pullback(theta, lam)
    singular = np.concatenate([np.linalg.svd(np.atleast_2d(block), compute_uv=False) for block in pull.values()])
    return np.concatenate([[np.log(float(problem.min_margin(theta)))], lam, singular / singular.max()])
