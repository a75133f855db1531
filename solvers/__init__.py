"""What theory says: norms, margin problems, KKT gaps, matching, certificates, exact answers, schedules.

The names below load on first use, so that ``maxmargin --help`` need not load cvxpy or torch:

- ``solve(problem, norm, certify=…, prove=…)``: KKT points with multipliers, class and proof;
- ``kkt_gap(problem, θ, norm)``: how far a point is from being one;
- ``NORMS``: the named norms;
- ``answers(problem)``: the KKT points that theory states exactly;
- ``prove_homogeneity(model)``: a model's degree by algebra;
- ``admissible(schedule, degree)``, ``admissible_powers(degree)``: the theorem's conditions on a learning rate;
- ``critical_law(η₀, β₁, β₂, degree)``: Adam's lag at the edge of them;
- ``crossover(η, ε, β₁, β₂, γ, log_gradient)``: the step at which Adam's eps takes over.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maxmargin.solvers.exact.answers import answers
    from maxmargin.solvers.exact.symbolic import prove_homogeneity
    from maxmargin.solvers.kkt.gap import kkt_gap
    from maxmargin.solvers.norms import NORMS
    from maxmargin.solvers.schedules.admissibility import admissible, admissible_powers
    from maxmargin.solvers.schedules.crossover import crossover
    from maxmargin.solvers.schedules.lag import critical_law
    from maxmargin.solvers.solving import solve

_HOME = {
    "NORMS": "norms",
    "admissible": "schedules.admissibility",
    "admissible_powers": "schedules.admissibility",
    "answers": "exact.answers",
    "critical_law": "schedules.lag",
    "crossover": "schedules.crossover",
    "kkt_gap": "kkt.gap",
    "prove_homogeneity": "exact.symbolic",
    "solve": "solving",
}

__all__ = [
    "NORMS",
    "admissible",
    "admissible_powers",
    "answers",
    "critical_law",
    "crossover",
    "kkt_gap",
    "prove_homogeneity",
    "solve",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"maxmargin.solvers.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
