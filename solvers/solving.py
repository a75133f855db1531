"""``solve``: reference solutions of a margin problem, with what there is to believe them by."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np

from maxmargin.models import problems
from maxmargin.models.blocks import scale
from maxmargin.models.errors import InputError
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.agreement import Theory, compare
from maxmargin.solvers.kkt.catalogue import SPARE, catalogue
from maxmargin.solvers.kkt.residual import natural_residual
from maxmargin.solvers.linear.dual_check import SecondRoute, second_route
from maxmargin.solvers.linear.enclosure import Enclosure, enclose
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import Norm, get_norm
from maxmargin.solvers.versions import versions

if TYPE_CHECKING:
    from maxmargin.solvers.exact.near import NearProof

Progress = Callable[[int, int, str], None]
SHOWN = 12  # support margins named in the table


class NoKKTPoint(InputError):
    """No start of a nonlinear problem led to a KKT point with positive margin."""

    undecided = True


@final
@dataclass(frozen=True, eq=False)
class Reference:
    """One KKT point as it is reported.

    Attributes:
        margin: q(θ)/‖θ‖^L.
        enclosure: Certified lo ≤ γ* ≤ hi of the *optimal* margin, or None.
        kkt_gap: Γ(θ) with the λ below, recomputed from (θ, λ).
        residual: The natural residual of (θ, λ).
        kind: ``"global"``, ``"local maximum"``, ``"saddle"`` or ``"unknown"``.
        evidence: What the class rests on.
        rung: ``"certified"``, ``"convex dual certificate"`` or ``"numerical"``.
        multipliers: λ in the simplex.
        parameters: θ with ‖θ‖ = 1.
        labels: One text a margin, for the table.
        found: How many ends of the catalogue fell on it.
    """

    margin: float
    enclosure: Enclosure | None
    kkt_gap: float
    residual: float
    kind: str
    evidence: str
    rung: str
    multipliers: np.ndarray
    parameters: dict[str, np.ndarray]
    labels: tuple[str, ...]
    found: int = 1

    def to_json(self) -> dict[str, Any]:
        """The entry in the JSON of ``solve``: finite numbers and null only."""
        box = self.enclosure
        return {
            "margin": _number(self.margin),
            "enclosure": None if box is None else [_number(box.lo), _number(box.hi)],
            "kkt_gap": _number(self.kkt_gap),
            "class": self.kind,
            "rung": self.rung,
            "multipliers": [float(v) for v in self.multipliers],
            "parameters": {name: block.tolist() for name, block in self.parameters.items()},
            "residual": _number(self.residual),
            "evidence": self.evidence,
            "found": self.found,
        }

    def support(self) -> list[tuple[str, float]]:
        """Label and λ_i of the margins with λ_i > 0, largest first."""
        order = np.argsort(-self.multipliers, kind="stable")
        least = 1e-9 * float(self.multipliers.max())
        return [(self.labels[i], float(self.multipliers[i])) for i in order if self.multipliers[i] > least]


@final
@dataclass(frozen=True, eq=False)
class Solution:
    """The references of one problem under one norm, the largest margin first.

    Attributes:
        problem: Its name.
        norm: Its name.
        best: The reference.
        others: Further KKT points, of a nonlinear problem.
        seconds: Wall time.
        failures: Ends of the catalogue that were no KKT points.
        theory: What theory states exactly of the problem under this norm, beside what was found; or None.
        second_route: The optimal margin of a linear problem computed another way, if certified; or None.
        proof: Whether an exact KKT point is proved to lie near the best one, if asked; or None.
    """

    problem: str
    norm: str
    best: Reference
    others: tuple[Reference, ...] = ()
    seconds: float = 0.0
    failures: int = 0
    theory: Theory | None = None
    second_route: SecondRoute | None = None
    proof: NearProof | None = None
    versions: dict[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """The JSON of ``solve``: schema 1; every number finite or null."""
        best = self.best.to_json()
        return {
            "schema": 1,
            "problem": self.problem,
            "norm": self.norm,
            **best,
            "duality_gap": best["kkt_gap"] if self.best.rung != "numerical" else None,
            "points": [point.to_json() for point in self.others],
            "failures": self.failures,
            "theory": self.theory and self.theory.to_json(),
            "second_route": self.second_route and self.second_route.to_json(),
            "proof": self.proof and self.proof.to_json(),
            "versions": self.versions,
            "seconds": self.seconds,
        }

    def table(self) -> str:
        """Readable rows: every KKT point, the support of the first, then what was asked for besides."""
        head = ("", "margin", "enclosure of the optimum", "KKT gap", "class", "rung")
        rows: list[tuple[str, ...]] = [head]
        for i, point in enumerate((self.best, *self.others)):
            box = "" if point.enclosure is None else f"[{point.enclosure.lo:.12g}, {point.enclosure.hi:.12g}]"
            rows.append(
                (str(i + 1), f"{point.margin:.10g}", box, f"{max(point.kkt_gap, 0.0):.1e}", point.kind, point.rung)
            )
        if not any(row[2] for row in rows[1:]):
            rows = [row[:2] + row[3:] for row in rows]
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = [f"{self.problem} under {self.norm}", ""]
        lines += ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += ["", f"1: {self.best.evidence}", "", "support margin  multiplier"]
        support = self.best.support()
        lines += [f"{label:<14}  {value:.10g}" for label, value in support[:SHOWN]]
        if len(support) > SHOWN:
            lines.append(f"… and {len(support) - SHOWN} more")
        for more in (self.theory, self.second_route, self.proof):
            lines += ["", more.text()] if more is not None else []
        return "\n".join(lines)


def solve(
    problem: Any,
    norm: Norm | str,
    *,
    certify: bool = False,
    prove: bool = False,
    starts: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Solution:
    """Reference KKT points: the global optimum of a linear problem, a catalogue for a nonlinear one.

    Args:
        problem: A name, a ``Problem``, ``(X, y)`` for a linear model, or ``(module, X, y)``.
        norm: A norm or its name.
        certify: Enclose the optimal margin of a linear problem rigorously, and compute it once more by another route.
            Nonlinear problems have no enclosure.
        prove: Attempt a proof that an exact KKT point lies near the best one, and verify theory's exact answers, where
            there are any, in exact arithmetic.
        starts: Starts of the catalogue of a nonlinear problem.
        seed: Of the starts.
        progress: Called with (done, total, text).

    Returns:
        The solution, best margin first.

    Raises:
        NoKKTPoint: no start of a nonlinear problem reached one.
    """
    problem, norm = problems.of(problem), get_norm(norm)
    began = time.perf_counter()
    say = progress or (lambda done, total, text: None)
    failures = 0
    if problem.linear:
        points = [_linear(problem, norm, certify, say)]
    else:
        found = catalogue(problem, norm, starts, seed, progress)
        points = [
            _reference(problem, norm, p.match.theta, p.match.multipliers, p.kind.kind, p.kind.evidence, None, p.found)
            for p in found.points
        ]
        failures = found.failures
    if not points:
        raise NoKKTPoint(
            f"{problem.name} under {norm.name}: none of {starts + SPARE} starts led to a KKT point with positive "
            f"margin ({failures} end(s) failed); try more starts or another seed"
        )
    best = points[0]
    theory = compare(problem, norm.name, [(point.margin, point.kind) for point in points], verify=prove)
    second = second_route(problem, norm, best.margin) if certify and problem.linear else None
    proof = None
    if prove:
        say(1, 1, "interval proof")
        from maxmargin.solvers.exact.near import prove_near

        proof = prove_near(problem, best.parameters, best.multipliers, norm)
    seconds = time.perf_counter() - began
    return Solution(problem.name, norm.name, best, tuple(points[1:]), seconds, failures, theory, second, proof)


def _linear(problem: Problem, norm: Norm, certify: bool, say: Progress) -> Reference:
    total = 2 if certify else 1
    say(0, total, "convex program")
    solution = solve_margin(problem, norm)
    say(1, total, "optimum found")
    box = None
    if certify:
        box = enclose(problem, solution.theta, solution.multipliers, norm)
        say(2, total, "optimum enclosed")
    evidence = f"convex problem: primal and dual margins agree to {max(solution.gap, 0.0):.1e} relative"
    return _reference(problem, norm, solution.theta, solution.multipliers, "global", evidence, box)


def _reference(
    problem: Problem,
    norm: Norm,
    theta: dict[str, np.ndarray],
    lam: np.ndarray,
    kind: str,
    evidence: str,
    box: Enclosure | None,
    found: int = 1,
) -> Reference:
    """A record in which every number is computed here, from θ and λ."""
    length = float(norm.value(theta))
    theta = scale(theta, 1 / length)
    margin = float(problem.min_margin(theta))
    if box is not None:  # rounding may put the floating-point margin an ulp outside what is proved of the exact one
        margin = min(max(margin, box.lo), box.hi)
    pull = float(norm.dual(problem.pullback(theta, lam)))
    gap = 1 - problem.degree * margin / pull if pull > 0 else math.inf
    rung = "numerical" if not problem.linear else "convex dual certificate" if box is None else "certified"
    residual = natural_residual(problem, norm, theta, lam)
    return Reference(margin, box, gap, residual, kind, evidence, rung, lam, theta, _labels(problem), found)


def _labels(problem: Problem) -> tuple[str, ...]:
    """What each margin compares: its sample, and for more than two classes the two classes."""
    classes = np.unique(problem.labels)
    each = problem.n_margins // problem.n_samples
    if each == 1:
        return tuple(f"{i} ({y})" for i, y in enumerate(problem.labels))
    return tuple(f"{i} ({y} over {c})" for i, y in enumerate(problem.labels) for c in classes[classes != y])


def _number(value: float) -> float | None:
    """The float, or None where JSON has no number for it."""
    return float(value) if math.isfinite(value) else None
