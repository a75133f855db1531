"""What each norm can do, and the rung of evidence it stands on: measured when asked, never listed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from maxmargin.models.blocks import Blocks, add, inner, scale
from maxmargin.models.errors import NormError
from maxmargin.solvers.norms.parameter import Norm
from maxmargin.solvers.norms.registry import NORMS, get_norm

QUANTITIES: Final = ("value", "dual", "lmo", "projection", "atom")
SHAPES: Final[Mapping[str, tuple[int, ...]]] = {"W": (3, 4), "a": (3,)}


@final
@dataclass(frozen=True)
class Capability:
    """One cell of the table.

    Attributes:
        norm: The norm's name.
        quantity: One of ``QUANTITIES``.
        rung: ``dual certificate`` (a feasible pair closes the gap, whoever computed it), ``numerical`` (two
            independent computations agree), ``missing`` (the norm refuses), or ``wrong`` (beyond the tolerance).
        residual: The largest relative residual seen; NaN where missing.
    """

    norm: str
    quantity: str
    rung: str
    residual: float


def capabilities(
    norms: Iterable[str | Norm] = tuple(NORMS), shapes: Mapping[str, tuple[int, ...]] = SHAPES, seed: int = 0
) -> list[Capability]:
    """Measure every quantity of the norms on drawn, rank-deficient and tied parameters.

    - value: against the cvxpy atom's value, a computation of cvxpy's (numerical).
    - lmo: Hölder's gap 1 + ⟨G, lmo(G)⟩ / ‖G‖_* of the feasible lmo(G) (dual certificate).
    - dual: against the largest ⟨G, S⟩ with atom(S) ≤ 1, found by cvxpy (numerical), which bounds it from
      below by lmo as well (dual certificate).
    - projection: 1 − ⟨x − P, P⟩ / (r ‖x − P‖_*), zero iff P is the projection (dual certificate).
    - atom: convex by cvxpy's rules, and the maximum above attained (numerical).

    Returns:
        One row a norm and quantity.
    """
    return [row for norm in norms for row in _measure(get_norm(norm), shapes, seed)]


def table(rows: Iterable[Capability]) -> str:
    """The rows as a Markdown table, norms × quantities, each cell its rung and residual."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        number = "" if np.isnan(row.residual) else f", {row.residual:.0e}"
        cells.setdefault(row.norm, {})[row.quantity] = f"{row.rung}{number}"
    lines = ["| norm | " + " | ".join(QUANTITIES) + " |", "|---|" + "---|" * len(QUANTITIES)]
    lines += [f"| `{norm}` | " + " | ".join(cell[q] for q in QUANTITIES) + " |" for norm, cell in cells.items()]
    return "\n".join(lines)


def _measure(norm: Norm, shapes: Mapping[str, tuple[int, ...]], seed: int) -> list[Capability]:
    worst = dict.fromkeys(QUANTITIES, 0.0)
    for point in _points(shapes, seed):
        x, dual = scale(point, 1 / float(norm.value(point))), float(norm.dual(point))
        step = norm.lmo(point)
        _raise(worst, "lmo", abs(1 + float(inner(point, step)) / dual), float(norm.value(step)) - 1)
        near = norm.project(x, 0.5)
        rest = add(x, near, -1.0)
        reach = 0.5 * float(norm.dual(rest))
        _raise(worst, "projection", 1 - float(inner(rest, near)) / reach, 2 * float(norm.value(near)) - 1)
        try:
            _raise(worst, "value", abs(_atom_value(norm, x) - 1))
            gap = abs(_largest(norm, point, shapes) / dual - 1)
            _raise(worst, "atom", gap)
            _raise(worst, "dual", gap)
        except NormError:
            worst["atom"] = worst["value"] = worst["dual"] = float("nan")
    rungs = {"value": "numerical", "atom": "numerical"}
    tolerance = {"value": 1e-7, "atom": 1e-6, "dual": 1e-6}  # the last two end at Clarabel's accuracy
    rows = []
    for quantity, residual in worst.items():
        rung = rungs.get(quantity, "dual certificate")
        if np.isnan(residual):
            rung = "missing"
        elif residual > tolerance.get(quantity, 1e-10):
            rung = "wrong"
        rows.append(Capability(norm.name, quantity, rung, residual))
    return rows


def _points(shapes: Mapping[str, tuple[int, ...]], seed: int) -> list[Blocks]:
    """Parameters that are not zero: normal entries; rank one; ties and zeros."""
    rng = np.random.default_rng(seed)
    normal = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    thin = {name: np.ones(shape) * rng.standard_normal(shape[-1:]) for name, shape in shapes.items()}
    tied = {
        name: np.eye(shape[0] if len(shape) == 2 else 1, shape[-1]).reshape(shape) for name, shape in shapes.items()
    }
    return [normal, thin, tied]


def _atom_value(norm: Norm, x: Blocks) -> float:
    import cvxpy as cp

    return float(norm.atom({name: cp.Constant(block) for name, block in x.items()}).value)


def _largest(norm: Norm, G: Blocks, shapes: Mapping[str, tuple[int, ...]]) -> float:
    import cvxpy as cp

    S = {name: cp.Variable(shape) for name, shape in shapes.items()}
    reward = sum(cp.sum(cp.multiply(G[name], S[name])) for name in S)
    problem = cp.Problem(cp.Maximize(reward), [norm.atom(S) <= 1])
    return float(problem.solve(solver=cp.CLARABEL))


def _raise(worst: dict[str, float], quantity: str, *residuals: float) -> None:
    worst[quantity] = max(worst[quantity], *residuals)
