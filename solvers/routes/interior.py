"""A primal-dual interior-point method for balls of operator norms and boxes, which never forms their big cones.

    max c·x   subject to   G x ≥ g,   ‖W_b(x)‖_op ≤ 1 for every matrix block b,   |y_j(x)| ≤ 1,

with y = B x the blocks' entries. ‖W‖_op ≤ 1 is X = [I W; Wᵀ I] ⪰ 0 with multiplier Y = [P C; Cᵀ Q] ⪰ 0. In the
HKM direction  ΔY = σμ X⁻¹ − Y − sym(Y ΔX X⁻¹)  the blocks P and Q follow from the rest, since X moves in W alone:
what remains is one Cholesky factor of the size of x. A general semidefinite solver factors a matrix larger by
(m + k)(m + k + 1)/2 for every block.

Source: Helmberg, Rendl, Vanderbei & Wolkowicz (SIAM J. Optim. 6, 1996), Kojima, Shindoh & Hara (7, 1997),
Monteiro (7, 1997); predictor and corrector by Mehrotra.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.linalg import LinAlgError

from maxmargin.solvers.routes.cholesky import Factor
from maxmargin.solvers.routes.operator_cone import Layout, MatrixBlock, symmetric

_ITERATIONS = 60
_TO_BOUNDARY = 0.95
_STALLED = 1e-8


class Program(ABC):
    """The linear maps of one program; ``curvature`` is Bᵀ H B + Gᵀ D G for block-diagonal H and diagonal D."""

    layout: Layout
    c: np.ndarray

    @abstractmethod
    def start(self) -> tuple[np.ndarray, float]:
        """A strictly feasible x, and a first μ of the scale of the objective."""

    @abstractmethod
    def image(self, x: np.ndarray) -> np.ndarray:
        """B x."""

    @abstractmethod
    def image_adjoint(self, y: np.ndarray) -> np.ndarray:
        """Bᵀ y."""

    @abstractmethod
    def rows(self, x: np.ndarray) -> np.ndarray:
        """G x (its value at x is the slack, where g = 0)."""

    @abstractmethod
    def rows_adjoint(self, s: np.ndarray) -> np.ndarray:
        """Gᵀ s."""

    @abstractmethod
    def curvature(self, H: list[np.ndarray], h: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Bᵀ diag(H…, h) B + Gᵀ diag(d) G."""


@final
@dataclass(frozen=True)
class Iterate:
    """Where the method stands.

    Attributes:
        x: The primal variables, strictly feasible.
        rows: Multipliers of G x ≥ 0, positive.
        ball: Multipliers of the balls, as the gradient Z in y's layout: c + Gᵀ rows = Bᵀ Z at the solution.
        complementarity: Σ of all products that are 0 at the solution; the duality gap once Z fits.
    """

    x: np.ndarray
    rows: np.ndarray
    ball: np.ndarray
    complementarity: float


def follow(program: Program) -> Iterator[Iterate]:
    """The iterates, better and better, until the numbers break down or 60 are reached.

    Yields:
        One iterate a step.
    """
    try:
        state = _State(program)
        for _ in range(_ITERATIONS):
            yield state.report()
            state.step()
    except LinAlgError:
        return  # out of digits: the caller has the iterates so far


@final
@dataclass(frozen=True)
class _Direction:
    """A change of everything: x, the slacks s, λ, each block's X and Y, the box y and its two multipliers."""

    x: np.ndarray
    s: np.ndarray
    lam: np.ndarray
    X: list[np.ndarray]
    Y: list[np.ndarray]
    y: np.ndarray
    up: np.ndarray
    down: np.ndarray


@final
class _State:
    """All variables. ``up`` and ``down`` are the multipliers of y ≤ 1 and −y ≤ 1."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.x, mu = program.start()
        self.s = program.rows(self.x)
        self.lam = mu / self.s
        images, self.y = program.layout.split(program.image(self.x))
        self.matrices = [MatrixBlock(W, mu) for W in images]
        self.up, self.down = mu / (1 - self.y), mu / (1 + self.y)

    def complementarity(self, along: _Direction | None = None, primal: float = 0.0, dual: float = 0.0) -> float:
        """Σ of the products s λ, (1 ∓ y) up/down and ⟨X, Y⟩; after a step, if a direction comes."""
        s, y, lam, up, down = self.s, self.y, self.lam, self.up, self.down
        pairs = [(block.X, block.Y) for block in self.matrices]
        if along is not None:
            s, y = s + primal * along.s, y + primal * along.y
            lam, up, down = lam + dual * along.lam, up + dual * along.up, down + dual * along.down
            moves = zip(pairs, along.X, along.Y, strict=True)
            pairs = [(X + primal * dX, Y + dual * dY) for (X, Y), dX, dY in moves]
        return float(lam @ s + up @ (1 - y) + down @ (1 + y)) + sum(float((X * Y).sum()) for X, Y in pairs)

    def report(self) -> Iterate:
        """The iterate for the caller."""
        Z = [-2 * block.Y[: block.m, block.m :].ravel() for block in self.matrices]
        return Iterate(self.x, self.lam, np.concatenate([*Z, self.up - self.down]), self.complementarity())

    def step(self) -> None:
        """One predictor and corrector step.

        Raises:
            LinAlgError: no further step is possible in these digits.
        """
        total = self.complementarity()
        mu = total / (len(self.s) + self.program.layout.degree)
        h = self.up / (1 - self.y) + self.down / (1 + self.y)
        H = [block.hessian() for block in self.matrices]
        factor = Factor(self.program.curvature(H, h, self.lam / self.s))
        predictor = self._direction(factor, 0.0, None)
        primal, dual = self._lengths(predictor, 1.0)
        share = self.complementarity(predictor, primal, dual) / total
        # Mehrotra's centring; his cube only where the predictor went some way.
        sigma = min(1.0, max(1e-8, share)) ** (3 if min(primal, dual) > 0.1 else 1)
        corrector = self._direction(factor, sigma * mu, predictor)
        self._advance(corrector, *self._lengths(corrector, _TO_BOUNDARY))

    def _direction(self, factor: Factor, target: float, before: _Direction | None) -> _Direction:
        """Newton's direction to products of ``target``; with the second-order terms of ``before``, if it comes."""
        y, up, down, d = self.y, self.up, self.down, self.lam / self.s
        of_rows = target - self.lam * self.s
        of_up, of_down = target - up * (1 - y), target - down * (1 + y)
        second = [np.zeros_like(block.X) for block in self.matrices]
        if before is not None:
            of_rows = of_rows - before.lam * before.s
            of_up, of_down = of_up + before.up * before.y, of_down - before.down * before.y
            second = [
                symmetric(dY @ dX @ block.inverse)
                for block, dX, dY in zip(self.matrices, before.X, before.Y, strict=True)
            ]
        pull = [
            2 * (target * block.inverse - E)[: block.m, block.m :].ravel()
            for block, E in zip(self.matrices, second, strict=True)
        ]
        box = down + of_down / (1 + y) - up - of_up / (1 - y)
        program = self.program
        right = program.c + program.rows_adjoint(self.lam + of_rows / self.s)
        dx = factor.solve(right + program.image_adjoint(np.concatenate([*pull, box])))
        if not np.isfinite(dx).all():
            raise LinAlgError("the direction is not finite")
        images, dy = program.layout.split(program.image(dx))
        ds = program.rows(dx)
        dX = [block.dX(D) for block, D in zip(self.matrices, images, strict=True)]
        dY = [block.dY(D, target, E) for block, D, E in zip(self.matrices, dX, second, strict=True)]
        return _Direction(
            dx, ds, of_rows / self.s - d * ds, dX, dY, dy, (of_up + up * dy) / (1 - y), (of_down - down * dy) / (1 + y)
        )

    def _lengths(self, to: _Direction, share: float) -> tuple[float, float]:
        """Primal and dual step lengths: at most 1, and at most ``share`` of the way to the boundary."""
        primal = [_length(self.s, to.s), _length(1 - self.y, -to.y), _length(1 + self.y, to.y)]
        dual = [_length(self.lam, to.lam), _length(self.up, to.up), _length(self.down, to.down)]
        for block, dX, dY in zip(self.matrices, to.X, to.Y, strict=True):
            of_X, of_Y = block.lengths(dX, dY)
            primal.append(of_X)
            dual.append(of_Y)
        return min(1.0, share * min(primal)), min(1.0, share * min(dual))

    def _advance(self, to: _Direction, primal: float, dual: float) -> None:
        self.x = self.x + primal * to.x
        self.lam, self.up, self.down = self.lam + dual * to.lam, self.up + dual * to.up, self.down + dual * to.down
        # The slacks are recomputed, not updated: x stays feasible to the last digit.
        self.s = self.program.rows(self.x)
        images, self.y = self.program.layout.split(self.program.image(self.x))
        inside = self.s.min() > 0 and np.abs(self.y).max(initial=0.0) < 1 and self.lam.min() > 0
        if not inside or primal + dual < _STALLED:
            raise LinAlgError("the step ends nowhere")
        for block, W, dY in zip(self.matrices, images, to.Y, strict=True):
            block.move(W)
            block.Y = block.Y + dual * dY


def _length(v: np.ndarray, dv: np.ndarray) -> float:
    """The largest a with v + a dv ≥ 0."""
    return 1 / max(float((-dv / v).max(initial=-math.inf)), 1e-300)
