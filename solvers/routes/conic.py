"""Any norm with a cvxpy atom: cvxpy turns the ball into cones once, afterwards the solvers are called directly.

max t subject to A θ ≥ t, atom(θ) ≤ 1; or, through the ball of the dual norm, max Σ λ subject to dual atom(Aᵀλ) ≤ 1.
Only the rows of A change from call to call, so a call costs no modelling (a cvxpy problem with A as a parameter costs
5–10 ms more, rebuilding it 10–40 ms).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self, final

import numpy as np
from scipy import sparse
from typing_extensions import override

from maxmargin.solvers.norms import NormError
from maxmargin.solvers.norms.atoms import reshaped
from maxmargin.solvers.routes.compression import Compression
from maxmargin.solvers.routes.flat import FlatNorm
from maxmargin.solvers.routes.route import Pair, Route, RouteError
from maxmargin.solvers.routes.simplex import maximize, visible

_PRECISE = 1e-12
_PATIENCE = 10.0  # seconds for the last digits


@final
@dataclass(frozen=True, eq=False)
class Program:
    """min c·x subject to b − M x ∈ K, with K the zero cone, then the nonnegative one, then others.

    Attributes:
        c: (columns,).
        M: (rows, columns), sparse.
        b: (rows,).
        dims: cvxpy's description of K, but for ``rows`` more nonnegative rows, which come right after the equations.
        rows: Their number, one a margin.
        read: θ and λ out of x and the multipliers of the constraints.
    """

    c: np.ndarray
    M: sparse.csc_matrix
    b: np.ndarray
    dims: Any
    rows: int
    read: Callable[[np.ndarray, np.ndarray], Pair]


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

    def primal(self, A: np.ndarray) -> Program:
        """min −t  with the rows t − A θ ≤ 0; x is followed by t."""
        n, zero, end, d = len(A), self.dims.zero, self.start + self.p, _sizes(A)
        margins = sparse.hstack(
            [
                sparse.csc_matrix((n, self.start)),
                sparse.csc_matrix(-A / d),
                sparse.csc_matrix((n, self.columns - end)),
                sparse.csc_matrix(1 / d),
            ]
        )
        ball = sparse.hstack([self.M, sparse.csc_matrix((self.M.shape[0], 1))])
        return self._program(
            np.append(np.zeros(self.columns), -1.0),
            ball,
            margins,
            lambda x, y: (x[self.start : end], y[zero : zero + n] / d[:, 0]),
        )

    def polar(self, A: np.ndarray) -> Program:
        """min −Σ λ  with Aᵀλ in this ball (the dual norm's) and −λ ≤ 0; λ is last in x, θ are Aᵀλ's multipliers."""
        n, zero, end, d = len(A), self.dims.zero, self.start + self.p, _sizes(A)
        M = self.M[:, self.start : end]
        rest = sparse.hstack([self.M[:, : self.start], self.M[:, end:]])
        k = rest.shape[1]
        return self._program(
            np.append(np.zeros(k), -1 / d),
            sparse.hstack([rest, sparse.csc_matrix(M @ (A / d).T)]),
            sparse.hstack([sparse.csc_matrix((n, k)), -sparse.eye(n)]),
            lambda x, y: (M.T @ np.delete(y, slice(zero, zero + n)), x[k:] / d[:, 0]),
        )

    def _program(self, c: np.ndarray, ball: Any, rows: Any, read: Callable[[np.ndarray, np.ndarray], Pair]) -> Program:
        """The ball's rows, with ``rows`` x ≤ 0 put after the equations."""
        zero, ball, n = self.dims.zero, ball.tocsr(), rows.shape[0]
        M = sparse.vstack([ball[:zero], rows, ball[zero:]]).tocsc()
        b = np.concatenate([self.b[:zero], np.zeros(n), self.b[zero:]])
        return Program(c, M, b, self.dims, n, read)


def _sizes(A: np.ndarray) -> np.ndarray:
    """By what rows are divided (n, 1), so that all are as long as the least."""
    lengths = np.linalg.norm(A, axis=1, keepdims=True)
    return lengths / lengths.min() if lengths.min() > 0 else np.ones_like(lengths)


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
    problem = cp.Problem(cp.Minimize(cp.sum(z)), [flat.norm.atom(reshaped(z, dict(flat.shapes))) <= 1])
    data = problem.get_problem_data(solver)[0]
    column = data["param_prob"].var_id_to_col[z.id]
    return ConicBall(sparse.csc_matrix(data["A"]), data["b"], data["dims"], column, flat.size)


@dataclass(frozen=True, eq=False)
class _Conic(Route):
    """What the routes through :class:`ConicBall` share."""

    flat: FlatNorm
    solver: ClassVar[str] = "CLARABEL"
    """cvxpy's name of the solver whose row order is wanted."""

    @classmethod
    @override
    def build(cls, flat: FlatNorm) -> Self | None:
        try:
            return cls(flat) if cls.serves(flat) else None
        except NormError:
            return None

    @classmethod
    def serves(cls, flat: FlatNorm) -> bool:
        """Whether the solver can handle the norm's cones."""
        compile_ball(flat, cls.solver)
        return True

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        small = Compression(self.flat, A / (np.linalg.norm(A, axis=1).min() or 1.0))
        program = self.program(small.flat, small.A)
        x, y = (np.asarray(vector, dtype=np.float64) for vector in self.run(program, tol))
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise RouteError(f"{self.name}: no finite solution")
        theta, lam = program.read(x, y)
        return small.expand(theta), lam

    def program(self, flat: FlatNorm, A: np.ndarray) -> Program:
        """The program of a norm and the rows of A."""
        return compile_ball(flat, self.solver).primal(A)

    @abstractmethod
    def run(self, program: Program, tol: float) -> tuple[Any, Any]:
        """The solver's x and multipliers of a program."""


@final
class Polyhedral(_Conic):
    """HiGHS, for norms whose ball is a polytope (blocks of ℓ1 and ℓ∞, joined by sum and max)."""

    name = "highs"

    @classmethod
    @override
    def serves(cls, flat: FlatNorm) -> bool:
        ball = compile_ball(flat, cls.solver)
        return bool(ball.dims.zero + ball.dims.nonneg == ball.M.shape[0])

    @override
    def solve(self, A: np.ndarray, tol: float) -> Pair:
        x, y = visible(lambda rows: self.run(self.program(self.flat, rows), tol), A)
        return self.program(self.flat, A).read(x, y)

    @override
    def run(self, program: Program, tol: float) -> Pair:
        equal = np.arange(len(program.b)) < program.dims.zero
        free = np.full(len(program.c), np.inf)
        x, y = maximize(-program.c, program.M, np.where(equal, program.b, -np.inf), program.b, -free, free)
        return x, -y


class Clarabel(_Conic):
    """Clarabel, an interior-point method for all of cvxpy's cones; asked for too many digits it stops by itself.

    It solves the polar form instead where that takes far fewer variables: nuclear norms, whose dual is spectral.
    """

    name = "clarabel"
    other = False

    @override
    def program(self, flat: FlatNorm, A: np.ndarray) -> Program:
        if _prefers_polar(flat) is not self.other:
            return compile_ball(flat.dual_norm, self.solver).polar(A)
        return compile_ball(flat, self.solver).primal(A)

    @override
    def run(self, program: Program, tol: float) -> tuple[Any, Any]:
        import clarabel
        from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import dims_to_solver_cones

        cones = dims_to_solver_cones(program.dims)
        cones.insert(1 if program.dims.zero else 0, clarabel.NonnegativeConeT(program.rows))
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.max_threads = 1
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = min(max(tol / 10, _PRECISE), 1e-8)
        P = sparse.csc_matrix(2 * program.c.shape)
        solution = clarabel.DefaultSolver(P, program.c, program.M, program.b, cones, settings).solve()
        return solution.x, solution.z


@final
class ClarabelOther(Clarabel):
    """Clarabel on the form that :class:`Clarabel` did not take: what one form leaves open the other often settles."""

    name = "clarabel, other form"
    other = True

    @classmethod
    @override
    def serves(cls, flat: FlatNorm) -> bool:
        return super().serves(flat) and super().serves(flat.dual_norm)


def _prefers_polar(flat: FlatNorm) -> bool:
    """Whether the polar form of a norm's problem has less than two thirds of the variables."""
    try:
        return 3 * compile_ball(flat.dual_norm, "CLARABEL").columns < 2 * compile_ball(flat, "CLARABEL").columns
    except NormError:
        return False


@final
class Scs(_Conic):
    """SCS at 1e-12: a first-order method, whose last digits are better than an interior point's."""

    name = "scs"
    solver = "SCS"

    @override
    def run(self, program: Program, tol: float) -> tuple[Any, Any]:
        import scs
        from cvxpy.reductions.solvers.conic_solvers.scs_conif import dims_to_solver_dict

        cones = dict(dims_to_solver_dict(program.dims))
        cones["l"] = cones["l"] + program.rows
        settings = {
            "eps_abs": _PRECISE,
            "eps_rel": _PRECISE,
            "max_iters": 20_000,
            "verbose": False,
            "time_limit_secs": _PATIENCE,
        }
        solution = scs.SCS({"A": program.M, "b": program.b, "c": program.c}, cones, **settings).solve()
        return solution["x"], solution["y"]
