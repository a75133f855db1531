"""The optimal face: how far a direction is from the *set* of optimal solutions of a linear margin problem.

ℓ∞, ℓ1 and spectral optima are often not unique, so the distance to one of them says little. The face
{θ' : ‖θ'‖ ≤ 1, m_i(θ') ≥ γ*} is convex, and the nearest point in it is found by one cone program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy import sparse

from maxmargin.models.blocks import as_numpy, check_shapes, flatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import MarginError, MarginSolution, gradients
from maxmargin.solvers.norms import Norm
from maxmargin.solvers.routes.conic import compile_ball
from maxmargin.solvers.routes.saddle import inner_solver

THICKNESS = 1e-9
"""Share of γ* by which the face is thickened: an exactly optimal set has no interior for a solver to work in."""

_TIGHT = 1e-11


@final
@dataclass(frozen=True, eq=False)
class FacePoint:
    """The nearest optimal solution to a direction θ̂ = θ / ‖θ‖.

    Attributes:
        theta: The point of the (thickened) face, block by block.
        distance: ‖theta − θ̂‖_2 / ‖θ̂‖_2.
        margin_ratio: min_i m_i(theta) / (γ* ‖theta‖): 1 for a point of the face, recomputed by us.
    """

    theta: dict[str, np.ndarray]
    distance: float
    margin_ratio: float


def nearest_on_face(problem: Problem, theta: Mapping[str, Any], norm: Norm, solution: MarginSolution) -> FacePoint:
    """The ℓ2 projection of θ / ‖θ‖ onto the face of optimal solutions.

    The face is thickened by 1e-9 of the margin. Where the unit ball is curved that moves points by up to √(2e-9) ≈
    5e-5, which is the resolution; for ℓ2 the optimum is a single point and the distance to it is exact.

    Args:
        problem: A linear problem.
        theta: Parameters, numpy or torch; only the direction counts.
        norm: The norm of the margin problem.
        solution: Its solution, from :func:`maxmargin.solvers.linear.optimum.solve_margin`.

    Returns:
        The point, and its relative ℓ2 distance min ‖θ' − θ̂‖_2 / ‖θ̂‖_2 from θ̂ = θ / ‖θ‖.

    Raises:
        MarginError: the projection found no point of the face.
    """
    target = _direction(problem, theta, norm)
    flat = inner_solver(norm, problem.shapes).flat
    if flat.weights(2) is not None:
        point = flatten(solution.theta, problem.shapes)  # a strictly convex ball: there is no other optimum
    else:
        point = _project(problem, norm, target, solution)
    A = gradients(problem)
    ratio = float((A @ point).min() / flat.value(point) / solution.margin)
    if not ratio > 1 - 1e-5:
        raise MarginError(
            f"{problem.name} under {norm.name}: the projection onto the optimal face ended at {ratio:.8f} of the "
            "optimal margin; rescale the data"
        )
    size = float(np.linalg.norm(target))
    # θ itself may be the nearest, and the solution is always a candidate: the projection can only be better.
    best = min((point, flatten(solution.theta, problem.shapes)), key=lambda x: float(np.linalg.norm(x - target)))
    return FacePoint(flat.blocks(best), float(np.linalg.norm(best - target)) / size, ratio)


def _direction(problem: Problem, theta: Mapping[str, Any], norm: Norm) -> np.ndarray:
    blocks = as_numpy(theta)
    check_shapes(blocks, problem.shapes)
    size = float(norm.value(blocks))
    if not (np.isfinite(size) and size > 0):
        raise MarginError(f"‖θ‖ = {size}: needed is a finite θ that is not zero")
    return flatten(blocks, problem.shapes) / size


def _project(problem: Problem, norm: Norm, target: np.ndarray, solution: MarginSolution) -> np.ndarray:
    import clarabel
    from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import dims_to_solver_cones

    A = gradients(problem) / solution.margin
    ball = compile_ball(inner_solver(norm, problem.shapes).flat, "CLARABEL")
    p, after = ball.p, ball.columns - ball.start - ball.p
    # Variables (x, t), min t with (t, θ' − θ̂) in the second-order cone: the squared distance would be flat near 0.
    inside = sparse.hstack([sparse.csc_matrix((p, ball.start)), sparse.eye(p), sparse.csc_matrix((p, after))])
    empty = sparse.csc_matrix((1, ball.columns))
    M = sparse.bmat(
        [
            [ball.M, None],
            [-sparse.csc_matrix(A) @ inside, None],
            [empty, sparse.csc_matrix([[-1.0]])],
            [-inside, None],
        ]
    ).tocsc()
    b = np.concatenate([ball.b, np.full(len(A), -(1 - THICKNESS)), [0.0], -target])
    q = np.append(np.zeros(ball.columns), 1.0)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = _TIGHT
    cones = [
        *dims_to_solver_cones(ball.dims),
        clarabel.NonnegativeConeT(len(A)),
        clarabel.SecondOrderConeT(p + 1),
    ]
    zero = sparse.csc_matrix((len(q), len(q)))
    x = np.asarray(clarabel.DefaultSolver(zero, q, M, b, cones, settings).solve().x)
    return x[ball.start : ball.start + p]
