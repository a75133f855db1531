"""Ascent from a KKT point that is no local maximum: structured and random perturbations, restored and verified.

A perturbation v that gains to second or third order usually also unbalances the active margins; one or two prox-linear
steps from θ + ε v restore the balance. What counts is only what comes out: a feasible point within 3 ε of θ whose
normalized margin q/‖·‖^L, evaluated afresh, is larger, at several ε that go to 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import final

import numpy as np

from maxmargin.models.blocks import Blocks, flatten, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.proxlinear import ProxLinear
from maxmargin.solvers.norms import Norm

Array = np.ndarray
EPSILONS = (3e-2, 1e-2, 3e-3)  # relative to ‖θ‖₂; a gain of third order is 3e-8 at the last
NOISE = 1e-10  # relative gains below this are rounding
FAR = 3.0  # a restored point further than this many ε belongs to another place


@final
@dataclass(frozen=True)
class Witness:
    """Why a point is no local maximum: nearby points of the same norm with a larger margin.

    Attributes:
        epsilons: How far they are from θ, ‖δ‖₂/‖θ‖₂, falling.
        gains: Their relative gains of q/‖·‖^L, all positive.
        displacement: δ of the nearest one, block by block.
        kind: Which perturbation found them.
    """

    epsilons: tuple[float, ...]
    gains: tuple[float, ...]
    displacement: dict[str, Array]
    kind: str


@final
class Search:
    """The search around one KKT point; ``tries`` counts the perturbations tried."""

    def __init__(self, problem: Problem, theta: Blocks, norm: Norm, seed: int = 0) -> None:
        self.problem, self.norm = problem, norm
        self.x = np.asarray(flatten(theta, problem.shapes))
        self.size = float(np.linalg.norm(self.x))
        self.margin = self._normalized(self.x)
        self.rng = np.random.default_rng(seed)
        self.tries = 0
        self._steps = ProxLinear.build(problem, norm)

    def run(self, directions: Iterable[tuple[str, Array]], limit: int, floor: float = NOISE) -> Witness | None:
        """Try at most ``limit`` directions.

        Args:
            directions: Kind and flat direction (p,), of any length.
            limit: How many to try.
            floor: Relative gains up to this do not count.

        Returns:
            The first witness, or None.
        """
        for kind, v in islice(directions, limit):
            length = float(np.linalg.norm(v))
            if length == 0:
                continue
            self.tries += 1
            found = self._along(kind, v / length, floor)
            if found is not None:
                return found
        return None

    def _along(self, kind: str, v: Array, floor: float) -> Witness | None:
        ends: list[Array] = []
        for epsilon in EPSILONS:
            end = self._restored(v, epsilon, floor)
            if end is None:
                return None
            ends.append(end)
        gains = tuple(self._gain(end) for end in ends)
        away = tuple(float(np.linalg.norm(end - self.x)) / self.size for end in ends)
        if not all(a > b for a, b in pairwise(away)):
            return None
        displacement = unflatten(ends[-1] - self.x, self.problem.shapes)
        return Witness(away, gains, displacement, kind)

    def _restored(self, v: Array, epsilon: float, floor: float) -> Array | None:
        """A point within FAR ε of θ with a larger margin, from θ + ε v as it is or after up to two steps."""
        point = self._onto_sphere(self.x + epsilon * self.size * v)
        for step in range(3):
            near = np.linalg.norm(point - self.x) <= FAR * epsilon * self.size
            if near and self._gain(point) > floor:
                return point
            if step == 2 or not near or self._steps is None:
                break
            blocks = unflatten(point, self.problem.shapes)
            margins = self.problem.margins(blocks)
            jacobian = np.asarray(flatten(self.problem.jacobian(blocks), self.problem.shapes))
            # a step of ε² must cost little, one of ε much
            answer = self._steps.step(point, margins, jacobian, c=1 / epsilon)
            if answer is None:
                break
            point = self._onto_sphere(point + answer[0])
        return None

    def _gain(self, x: Array) -> float:
        return self._normalized(x) / self.margin - 1

    def _normalized(self, x: Array) -> float:
        blocks = unflatten(x, self.problem.shapes)
        length = float(self.norm.value(blocks))
        return float(self.problem.min_margin(blocks)) / length**self.problem.degree

    def _onto_sphere(self, x: Array) -> Array:
        return x / float(self.norm.value(unflatten(x, self.problem.shapes)))

    def structured(self) -> Iterator[tuple[str, Array]]:
        """Directions in idle parameters (no margin depends on them): along the data, in signs, all and unit by unit."""
        blocks = unflatten(self.x, self.problem.shapes)
        jacobian = self.problem.jacobian(blocks)
        idle = {name: (np.abs(g).max(axis=0) == 0) for name, g in jacobian.items()}
        if not any(mask.any() for mask in idle.values()):
            return
        X = self.problem.X.cpu().numpy()
        patterns = [*X, *-X, *np.sign(X), np.abs(X).sum(axis=0), np.ones(X.shape[1])]
        units = max(mask.shape[0] for mask in idle.values())
        for unit in range(-1, units):
            for row in patterns:
                for sign in (1.0, -1.0):
                    yield "idle units along a sample", self._along_idle(idle, unit, row / np.linalg.norm(row), sign)

    def _along_idle(self, idle: dict[str, Array], unit: int, row: Array, sign: float) -> Array:
        """Idle entries of one unit (row of matrices, entry of vectors; −1: all) set to a sample, or to a sign."""
        parts = {}
        for name, mask in idle.items():
            chosen = mask.copy()
            if unit >= 0:
                chosen[np.arange(len(mask)) != unit] = False
            along = mask.ndim == 2 and mask.shape[1] == len(row)
            parts[name] = np.where(chosen, np.broadcast_to(row, mask.shape) if along else sign, 0.0)
        return np.asarray(flatten(parts, self.problem.shapes))

    def random(self) -> Iterator[tuple[str, Array]]:
        """Gaussian and sign directions, in all parameters and, in turn, in the idle ones alone."""
        blocks = unflatten(self.x, self.problem.shapes)
        G = flatten(self.problem.jacobian(blocks), self.problem.shapes)
        idle = (np.abs(G).max(axis=0) == 0).astype(float)
        while True:
            v = self.rng.standard_normal(len(self.x))
            yield "random", v
            yield "random signs", np.sign(v)
            if idle.any():
                yield "random, idle parameters", v * idle
                yield "random signs, idle parameters", np.sign(v) * idle
