"""What ``solve --prove`` says: is there an exact KKT point near this numerical one, how near, and by which argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from maxmargin.models.blocks import Blocks, size
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.interpreter import Untranslatable
from maxmargin.solvers.exact.krawczyk import prove
from maxmargin.solvers.exact.symbolic import prove_homogeneity
from maxmargin.solvers.norms import Norm

LARGEST = 1000
"""Parameters up to which a proof is attempted: a network of 400 takes some 15 s, and the cost grows with the square."""

RADII = (1e-6, 1e-4)
"""Distances tried, for ‖θ‖ = 1; each is also what counts as zero, saturated or inactive in the numerical point."""


@final
@dataclass(frozen=True)
class NearProof:
    """Whether an exact KKT point was proved to lie near a numerical one.

    Attributes:
        proved: Whether it was.
        radius: Bound of the distance, entrywise, for ‖θ‖ = 1; None where nothing was proved.
        argument: By which argument.
        statement: What is proved; empty where nothing is.
        refused: Why nothing is proved; None where it is.
    """

    proved: bool
    radius: float | None
    argument: str
    statement: str
    refused: str | None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return dict(vars(self))

    def text(self) -> str:
        """One paragraph for the table."""
        if self.refused is not None:
            return f"not proved: {self.refused}"
        return f"proved: {self.statement}\n  by {self.argument}"


def prove_near(problem: Problem, theta: Blocks, lam: Sequence[float] | np.ndarray, norm: Norm) -> NearProof:
    """Attempt the proof: the model's degree by algebra, then the point in interval arithmetic.

    Args:
        problem: The problem; its data are taken as the exact rationals that their floats are.
        theta: The numerical point.
        lam: Its multipliers.
        norm: The norm.

    Returns:
        What is proved, or why nothing is.

    Example:
        >>> from maxmargin.models import problems
        >>> from maxmargin.solvers.norms import get_norm
        >>> found = prove_near(problems.get("G1:x=3:4"), {"w": np.array([3.0, 4.0])}, [1.0], get_norm("l2"))
        >>> found.proved, found.radius < 1e-15
        (True, True)
    """
    argument = "Krawczyk's test in ball arithmetic on the polynomial KKT equations of the active margins"
    p = size(problem.shapes)
    if p > LARGEST:
        return _refused(argument, f"the model has {p} parameters; a proof is attempted up to {LARGEST}")
    try:
        law = prove_homogeneity(problem.model)
        if not law.proved:
            return _refused(argument, f"the model's degree is not proved: {'; '.join(law.reasons)}")
        for radius in RADII:
            found = prove(problem, theta, lam, norm, radius=radius)
            if found.proved:
                break
    except Untranslatable as error:
        return _refused(argument, str(error))
    if not found.proved or found.margin is None:
        return _refused(argument, "; ".join(found.reasons))
    lo, hi = found.margin
    optimum = "; the problem is convex, so θ* is a global optimum" if problem.linear else ""
    return NearProof(
        True,
        found.radius,
        f"{argument} ({found.unknowns} unknowns, {len(found.active)} active margins), with every inequality beside "
        f"them checked on the whole box; the model's degree {problem.degree} by polynomial identities",
        f"there is an exact KKT point θ* with ‖θ*‖ = 1, each of its entries within {found.radius:.1e} of the one "
        f"found, and its margin in [{lo!r}, {hi!r}]{optimum}",
        None,
    )


def _refused(argument: str, why: str) -> NearProof:
    return NearProof(False, None, argument, "", why)
