"""Any norm with a cvxpy atom: cvxpy turns the ball into cones once, afterwards the solvers are called directly.

max t subject to A θ ≥ t, atom(θ) ≤ 1. Only the rows of A change from call to call, so a call costs no modelling
(a cvxpy problem with A as a parameter costs 5–10 ms more, rebuilding it 10–40 ms).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self, final

import numpy as np
from scipy import sparse
from typing_extensions import override

from maxmargin.solvers.norms import NormError
from maxmargin.solvers.routes.flat import FlatNorm
from maxmargin.solvers.routes.route import Pair, Route, RouteError
from maxmargin.solvers.routes.simplex import maximize, visible

_PRECISE = 1e-12
_PATIENCE = 10.0  # seconds for the last digits


@final
@dataclass(frozen=True, eq=False)
class ConicBall:
    """{θ : ‖θ‖ ≤ 1} = {θ : b − M x ∈ K for an x that holds θ}, in the form and row order of one solver.

    Attributes:
        M: (rows, columns), sparse.
        b: (rows,).
        dims: cvxpy's description of K: first ``zero`` equations, then ``nonneg`` inequalities, then other cones.
        start: Column at which θ starts in x.
        p: Length of θ.
    """

    M: sparse.csc_matrix
    b: np.ndarray
    dims: Any
    start: int
    p: int

    @property
    def columns(self) -> int:
        """Length of x."""
        return int(self.M.shape[1])

    @property
    def polyhedral(self) -> bool:
        """Whether K has linear cones only."""
        return bool(self.dims.zero + self.dims.nonneg == self.M.shape[0])

    def with_margins(self, A: np.ndarray) -> tuple[np.ndarray, sparse.csc_matrix, np.ndarray]:
        """Cost, matrix and right side of  min −t  with the rows t − A θ ≤ 0 put after the equations.

        Returns:
            c (columns + 1,), the matrix, and the right side; x is followed by t.
        """
        n, zero = len(A), self.dims.zero
        margins = sparse.hstack(
            [
                sparse.csc_matrix((n, self.start)),
                sparse.csc_matrix(-A),
                sparse.csc_matrix((n, self.columns - self.start - self.p)),
                sparse.csc_matrix(np.ones((n, 1))),
            ]
        )
        ball = sparse.hstack([self.M, sparse.csc_matrix((self.M.shape[0], 1))]).tocsr()
        matrix = sparse.vstack([ball[:zero], margins, ball[zero:]]).tocsc()
        c = np.zeros(self.columns + 1)
        c[-1] = -1.0
        return c, matrix, np.concatenate([self.b[:zero], np.zeros(n), self.b[zero:]])

    def pair(self, x: np.ndarray, y: np.ndarray, n: int) -> Pair:
        """θ and λ out of a solver's primal and dual vectors."""
        return x[self.start : self.start + self.p], y[self.dims.zero : self.dims.zero + n]


@lru_cache(maxsize=128)
def compile_ball(flat: FlatNorm, solver: str) -> ConicBall:
    """The unit ball of a norm as cones, by cvxpy.

    Args:
        flat: The norm.
        solver: cvxpy's name of the solver whose row order is wanted.

    Returns:
        The ball, kept from call to call.

    Raises:
        NormError: the norm has no cvxpy form.
    """
    import cvxpy as cp

    z = cp.Variable(flat.size)
    variables, start = {}, 0
    for name, shape in flat.shapes:
        stop = start + int(np.prod(shape))
        variables[name] = z[start:stop] if len(shape) == 1 else cp.reshape(z[start:stop], shape, order="C")
        start = stop
    problem = cp.Problem(cp.Minimize(cp.sum(z)), [flat.norm.atom(variables) <= 1])
    data = problem.get_problem_data(solver)[0]
    column = data["param_prob"].var_id_to_col[z.id]
    return ConicBall(sparse.csc_matrix(data["A"]), data["b"], data["dims"], column, flat.size)


@dataclass(frozen=True, eq=False)
class _Conic(Route):
    """What the routes through :class:`ConicBall` share."""

    flat: FlatNorm
    name: ClassVar[str]

    @classmethod
    @override
    def build(cls, flat: FlatNorm) -> Self | None:
        try:
            return cls(flat) if cls.serves(compile_ball(flat, cls.solver())) else None
        except NormError:
            return None

    @classmethod
    @abstractmethod
    def solver(cls) -> str:
        """The name under which cvxpy knows the solver."""

    @classmethod
    @abstractmethod
    def serves(cls, ball: ConicBall) -> bool:
        """Whether the solver can handle the cones."""


@final
class Polyhedral(_Conic):
    """HiGHS, for norms whose ball is a polytope (blocks of ℓ1 and ℓ∞, joined by sum and max)."""

    name = "highs"

    @classmethod
    @override
    def solver(cls) -> str:
        return "CLARABEL"  # its row order is the plain one

    @classmethod
    @override
    def serves(cls, ball: ConicBall) -> bool:
        return ball.polyhedral

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        ball = compile_ball(self.flat, self.solver())

        def solve(rows: np.ndarray) -> Pair:
            c, M, b = ball.with_margins(rows)
            equal = np.arange(len(b)) < ball.dims.zero
            free = np.full(len(c), np.inf)
            return maximize(-c, M, np.where(equal, b, -np.inf), b, -free, free)

        x, y = visible(solve, A)
        return ball.pair(x, -y, len(A))


@final
class Clarabel(_Conic):
    """Clarabel, an interior-point method for all of cvxpy's cones; 1e-10 is the tightest that it reaches reliably."""

    name = "clarabel"

    @classmethod
    @override
    def solver(cls) -> str:
        return "CLARABEL"

    @classmethod
    @override
    def serves(cls, ball: ConicBall) -> bool:
        return True

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        import clarabel
        from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import dims_to_solver_cones

        ball = compile_ball(self.flat, self.solver())
        c, M, b = ball.with_margins(A)
        cones = dims_to_solver_cones(ball.dims)
        zero, rest = (cones[:1], cones[1:]) if ball.dims.zero else ([], cones)
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.max_threads = 1
        wanted = min(max(tol / 10, 1e-10), 1e-8)
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = wanted
        P = sparse.csc_matrix((len(c), len(c)))
        solver = clarabel.DefaultSolver(P, c, M, b, [*zero, clarabel.NonnegativeConeT(len(A)), *rest], settings)
        solution = solver.solve()
        return ball.pair(_finite(solution.x, self.name), _finite(solution.z, self.name), len(A))


@final
class Scs(_Conic):
    """SCS at 1e-12: a first-order method, whose last digits are better than an interior point's."""

    name = "scs"

    @classmethod
    @override
    def solver(cls) -> str:
        return "SCS"

    @classmethod
    @override
    def serves(cls, ball: ConicBall) -> bool:
        return True

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        import scs
        from cvxpy.reductions.solvers.conic_solvers.scs_conif import dims_to_solver_dict

        ball = compile_ball(self.flat, self.solver())
        c, M, b = ball.with_margins(A)
        cones = dict(dims_to_solver_dict(ball.dims))
        cones["l"] = cones["l"] + len(A)
        data = {"A": M, "b": b, "c": c}
        settings = {
            "eps_abs": _PRECISE,
            "eps_rel": _PRECISE,
            "max_iters": 20_000,
            "verbose": False,
            "time_limit_secs": _PATIENCE,
        }
        solution = scs.SCS(data, cones, **settings).solve()
        return ball.pair(_finite(solution["x"], self.name), _finite(solution["y"], self.name), len(A))


def _finite(values: Any, name: str) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    if not np.isfinite(vector).all():
        raise RouteError(f"{name}: no finite solution")
    return vector
