"""What theory states exactly of a problem, beside the KKT points that were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.answers import answers

if TYPE_CHECKING:
    from maxmargin.solvers.exact.kkt_certificate import Stated

SAME = 1e-6  # relative: margins of one KKT point; the natural residual of what was found is at most 1e-8
LONG = 40  # characters of an exact number that are still read


@final
@dataclass(frozen=True)
class Beside:
    """One stated point, and the found one with its margin.

    Attributes:
        stated: What theory states.
        found: Number of the found point with this margin, from 1; None where there is none.
        difference: Relative difference of the two margins.
        verified: Whether exact arithmetic confirms that it is a KKT point; None: not asked.
    """

    stated: Stated
    found: int | None
    difference: float | None
    verified: bool | None

    def to_json(self) -> dict[str, Any]:
        """One entry of ``theory``."""
        s = self.stated
        words = {"id": s.id, "class": s.kind, "margin": float(s.margin), "exact": str(s.margin), "why": s.why}
        return {**words, "source": s.source, **{k: v for k, v in vars(self).items() if k != "stated"}}


@final
@dataclass(frozen=True)
class Theory:
    """All stated points under one norm.

    Attributes:
        agrees: No found margin exceeds a stated optimum, and no found point with a stated margin is of another class.
        points: The stated points, optima first.
    """

    agrees: bool
    points: tuple[Beside, ...]

    def to_json(self) -> dict[str, Any]:
        """``theory`` in the JSON of ``solve``."""
        return {"agrees": self.agrees, "points": [point.to_json() for point in self.points]}

    def text(self) -> str:
        """One line a stated point, and one if anything contradicts them."""
        lines = [f"theory says: {_line(point)}" for point in self.points]
        return "\n".join(lines if self.agrees else [*lines, "theory and what was found DISAGREE"])


def compare(problem: Problem, norm: str, found: Sequence[tuple[float, str]], verify: bool = False) -> Theory | None:
    """Theory's exact answers under a norm, beside what was found.

    Args:
        problem: The problem.
        norm: The norm's name.
        found: Margin and class of each point found.
        verify: Confirm by exact arithmetic that the stated points are KKT points (a few tenths of a second each).

    Returns:
        The comparison; None where theory states nothing.

    Example:
        >>> from maxmargin.models import problems
        >>> print(compare(problems.get("F4"), "l2", [(3**0.5 / 9, "global")]).text())
        theory says: global, margin sqrt(3)/9 = 0.1924500897 (G3-L3-l2); found as 1, ...
        theory says: saddle, margin sqrt(6)/18 = 0.1360827635 (F4-l2); not among the points found
    """
    points, agrees = [], True
    for stated in answers(problem, norm):
        margin = float(stated.margin)
        off = [abs(value - margin) / margin for value, _ in found]
        best = min(range(len(off)), key=off.__getitem__)
        same = best if off[best] <= SAME else None
        verified = stated.verify().holds if verify else None
        agrees &= verified is not False and (same is None or _compatible(stated.kind, found[same][1]))
        agrees &= stated.kind != "global" or all(value <= margin * (1 + SAME) for value, _ in found)
        points.append(Beside(stated, None if same is None else same + 1, None if same is None else off[same], verified))
    return Theory(agrees, tuple(points)) if points else None


def _compatible(stated: str, found: str) -> bool:
    return found in (stated, "unknown") or (stated, found) == ("global", "local maximum")


def _line(point: Beside) -> str:
    stated = point.stated
    exact, decimal = str(stated.margin), f"{float(stated.margin):.10g}"
    margin = f"{exact} = {decimal}" if len(exact) <= LONG and exact != decimal else decimal
    where = (
        "not among the points found"
        if point.found is None
        else f"found as {point.found}, relative difference {point.difference:.1e}"
    )
    checked = {None: "", True: "; a KKT point by exact arithmetic", False: "; NO KKT point by exact arithmetic"}
    return f"{stated.kind}, margin {margin} ({stated.id}); {where}{checked[point.verified]}"
