"""The exact answers that theory has for a problem: what ``solve`` and ``list problems`` show, and the tests test.

sympy loads only for a problem that may have one, so that the others do not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxmargin.models.problem import Problem

if TYPE_CHECKING:
    from maxmargin.solvers.exact.kkt_certificate import Stated


def answers(problem: Problem, norm: str | None = None) -> tuple[Stated, ...]:
    """Return the points that theory states exactly, global optima first; there are none for most problems.

    Args:
        problem: Any problem: what it is counts, not its name.
        norm: Under this norm alone; None: under every norm.

    Example:
        >>> from maxmargin.models import problems
        >>> [(a.kind, a.margin) for a in answers(problems.get("F4"), "l2")]
        [('global', sqrt(3)/9), ('saddle', sqrt(6)/18)]
    """
    if problem.n_samples > 2 and problem.n_samples != problem.model.outputs:
        return ()  # no family has such data
    from maxmargin.solvers.exact.lesser_points import lesser_points
    from maxmargin.solvers.exact.optima import stated_optima

    found = [*stated_optima(problem), *lesser_points(problem)]
    return tuple(a for a in found if norm in (None, a.norm))
