"""Margins of diagonal and deep linear networks as margins of their predictor (G3, G4): reached and not exceeded."""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.solvers.kkt.bounds import upper_bound
from maxmargin.solvers.norms import get_norm

WIDTH = 4


@dataclass(frozen=True)
class Reduction:
    """Optimal margin of ``problem`` under ``norm`` = factor · that of the linear problem under ``linear_norm``."""

    id: str
    problem: str
    norm: str
    linear_norm: str
    factor: float


def reductions():
    rows = [Reduction("G3/depth=2/l2", "binary@diagonal:depth=2", "l2", "l1", 0.5)]  # |uv| <= (u² + v²)/2
    for depth in (2, 3):
        diagonal, deep = f"binary@diagonal:depth={depth}", f"binary@deep-linear:depth={depth},width={WIDTH}"
        rows += [
            Reduction(f"G3/depth={depth}/linf", diagonal, "linf", "linf", 1.0),  # β_i = Π u_i over a box
            Reduction(f"G4/depth={depth}/l2", deep, "l2", "l2", depth ** (-depth / 2)),  # balanced rank-one layers
            Reduction(f"G4/depth={depth}/spectral", deep, "spectral", "l2", 1.0),  # ‖W x‖ <= ‖W‖ ‖x‖
            Reduction(f"G4/depth={depth}/linf", deep, "linf", "linf", float(WIDTH ** (depth - 1))),  # all entries alike
            Reduction(f"G4/depth={depth}/hybrid", deep, "hybrid", "l2", WIDTH**0.5),  # ‖a‖_2 <= √m ‖a‖_∞
        ]
    return rows


def predictor(data, norm):
    """(optimal margin, direction) of the linear problem on the same data, by cvxpy or a linear program."""
    problem = problems.get(data)
    A = problem.jacobian({"w": np.zeros(problem.shapes["w"])})["w"]
    w = cp.Variable(A.shape[1])
    atom = {"l1": cp.norm(w, 1), "l2": cp.norm(w, 2), "linf": cp.norm(w, "inf")}[norm]
    program = cp.Problem(cp.Minimize(atom), [A @ w >= 1])
    program.solve(solver=cp.CLARABEL)
    return 1 / program.value, w.value / program.value


def build(problem, norm, beta):
    """Parameters whose predictor is along β and whose norm is 1, as the proof of each reduction takes them."""
    names, depth = list(problem.shapes), problem.degree
    if names[0] == "u1" and norm == "linf":
        return {name: beta if name == "u1" else np.ones_like(beta) for name in names}
    if names[0] == "u1":
        root = np.sqrt(np.abs(beta) / 2)
        return {"u1": np.sign(beta) * root, "u2": root}
    m = problem.shapes["a"][0]
    unit = np.eye(m)[0] if norm != "hybrid" else np.ones(m) / np.sqrt(m)
    inner = {name: np.outer(unit, unit) for name in names[1:-1]}
    if norm == "linf":
        ones = {name: np.ones(problem.shapes[name]) for name in names[1:]}
        return {"W1": np.outer(np.ones(m), beta), **ones}
    head = np.ones(m) if norm == "hybrid" else unit
    theta = {"W1": np.outer(unit, beta), **inner, "a": head}
    return theta if norm != "l2" else {name: block / np.sqrt(depth) for name, block in theta.items()}


@pytest.mark.parametrize("reduction", reductions(), ids=lambda r: r.id)
def test_reduction_is_attained_by_the_construction_of_its_proof(reduction):
    problem = problems.get(reduction.problem)
    margin, beta = predictor("binary@linear", reduction.linear_norm)
    theta = build(problem, reduction.norm, beta)
    assert float(get_norm(reduction.norm).value(theta)) == pytest.approx(1, rel=1e-6)
    reached = float(problem.min_margin(theta))
    assert reached == pytest.approx(reduction.factor * margin, rel=1e-6)


@pytest.mark.parametrize("reduction", reductions(), ids=lambda r: r.id)
def test_the_upper_bound_is_the_reduced_margin(reduction):
    margin, _ = predictor("binary@linear", reduction.linear_norm)
    bound = upper_bound(problems.get(reduction.problem), get_norm(reduction.norm))
    assert bound == pytest.approx(reduction.factor * margin, rel=1e-6)


@pytest.mark.parametrize("reduction", [r for r in reductions() if r.norm in ("l2", "linf")], ids=lambda r: r.id)
def test_reduction_is_not_exceeded_from_random_starts(reduction, ascend):
    problem = problems.get(reduction.problem)
    margin, _ = predictor("binary@linear", reduction.linear_norm)
    best = max(ascend(problem, reduction.norm, seed) for seed in range(4))
    assert best <= reduction.factor * margin * (1 + 1e-6)
    assert best >= 0.99 * reduction.factor * margin
