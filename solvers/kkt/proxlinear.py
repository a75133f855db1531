"""Prox-linear ascent of the margin: sequential convex programming that stays near where it starts.

One step maximises ``min_i (m_i + ⟨g_i, d⟩)/s − c ‖d‖²/‖θ‖₂²`` over ‖θ + d‖ ≤ 1, with s = max_i |m_i(θ)|: a convex
program in d whose multipliers are λ. c plays the part of a trust region, lowered after a good step, raised after a bad
one. Fixed points are exactly the KKT directions; parameters that no margin depends on (dead neurons) do not move.
Source: Drusvyatskiy & Paquette, "Efficiency of minimizing compositions of convex functions and smooth maps" (2019).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import final

import cvxpy as cp
import numpy as np

from maxmargin.models.blocks import Blocks, flatten, size, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.norms import Norm, NormError
from maxmargin.solvers.norms.atoms import reshaped

Array = np.ndarray


@final
@dataclass(frozen=True)
class Ascent:
    """Where the ascent ended.

    Attributes:
        theta: Flat parameters with ‖θ‖ = 1, (p,).
        lam: Multipliers of the last convex program, in the simplex.
        steps: Convex programs solved.
        converged: Whether the last step was as short as was asked.
    """

    theta: Array
    lam: Array
    steps: int
    converged: bool


@final
class ProxLinear:
    """The convex program of one problem and norm, built once and solved with new numbers at every step.

    Raises:
        NormError: the norm has no cvxpy expression.
    """

    def __init__(self, problem: Problem, norm: Norm) -> None:
        self.problem, self.norm = problem, norm
        p, n = size(problem.shapes), problem.n_margins
        self._d, self._t = cp.Variable(p), cp.Variable()
        self._G, self._m = cp.Parameter((n, p)), cp.Parameter(n)
        self._theta, self._c = cp.Parameter(p), cp.Parameter(nonneg=True)
        ball = norm.atom(reshaped(self._theta + self._d, problem.shapes)) <= 1
        self._margins = self._G @ self._d + self._m >= self._t
        objective = cp.Maximize(self._t - self._c * cp.sum_squares(self._d))
        self._program = cp.Problem(objective, [self._margins, ball])

    @classmethod
    def build(cls, problem: Problem, norm: Norm) -> ProxLinear | None:
        """The program, or None for a norm without a convex expression (``schatten:3``)."""
        try:
            return cls(problem, norm)
        except NormError:
            return None

    def step(self, theta: Array, margins: Array, jacobian: Array, c: float) -> tuple[Array, float, Array] | None:
        """One step from θ (‖θ‖ = 1, not all margins zero).

        Returns:
            The displacement d, the promised gain of the smallest margin in units of max_i |m_i|, and λ; None if the
            solver failed.
        """
        s = np.abs(margins).max()
        self._G.value, self._m.value, self._theta.value = jacobian / s, margins / s, theta
        self._c.value = c / (theta @ theta)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # "may be inaccurate": the step is judged by its gain
                self._program.solve(solver=cp.CLARABEL)
        except cp.SolverError:
            return None
        if self._d.value is None:
            return None
        lam = np.maximum(self._margins.dual_value, 0.0)
        promised = float((margins + jacobian @ self._d.value).min() - margins.min()) / s
        return self._d.value, promised, lam / lam.sum()

    def run(self, theta: Array, *, steps: int = 60, c: float = 100.0, tol: float = 1e-7) -> Ascent | None:
        """The end of steps from θ until one is shorter than ``tol`` ‖θ‖₂; None if the first program already failed."""
        theta = theta / self._length(theta)
        margins, jacobian = self._at(theta)
        end = None
        for k in range(1, steps + 1):
            answer = self.step(theta, margins, jacobian, c)
            if answer is None:
                return end
            d, promised, lam = answer
            new = theta + d
            new = new / self._length(new)
            new_margins = self.problem.margins(unflatten(new, self.problem.shapes))
            gain = (new_margins.min() - margins.min()) / np.abs(margins).max()
            if gain > 0.1 * promised:
                theta = new
                margins, jacobian = self._at(theta)
            short = np.linalg.norm(d) <= tol * np.linalg.norm(theta)
            end = Ascent(theta, lam, k, bool(short))
            if short:
                return end
            c = c / 3 if gain > 0.7 * promised else 3 * c if gain < 0.1 * promised else c
        return end

    def _length(self, theta: Array) -> float:
        return float(self.norm.value(unflatten(theta, self.problem.shapes)))

    def _at(self, theta: Array) -> tuple[Array, Array]:
        blocks: Blocks = unflatten(theta, self.problem.shapes)
        return self.problem.margins(blocks), flatten(self.problem.jacobian(blocks), self.problem.shapes)
