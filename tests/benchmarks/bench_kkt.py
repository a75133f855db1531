"""What one KKT gap costs: ``python tests/benchmarks/bench_kkt.py``.

Targets at n = 40 margins and a 10 × 10 block: ℓ2 ≤ 1 ms, ℓ∞ ≤ 5 ms, spectral ≤ 30 ms (one checkpoint, inner problem
only, solver kept from call to call). Printed beside it: a cvxpy problem with A as a
parameter, the whole gap with its gradients on a two-layer network, and the slack that was reached.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from maxmargin.models import problems
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.routes.saddle import InnerSolver, within

TARGETS = {"l2": 1.0, "linf": 5.0, "spectral": 30.0, "hybrid": 30.0}  # milliseconds
MORE = ["l1", "nuclear", "maxrow"]
SIZES = ((40, (10, 10)), (12, (8, 5)))


def instance(n: int, p: int, seed: int) -> np.ndarray:
    """Rows with a drawn unit teacher's margin of at least 1."""
    rng = np.random.default_rng(seed)
    teacher = rng.standard_normal(p)
    teacher /= np.linalg.norm(teacher)
    A = rng.standard_normal((n, p))
    A *= np.where(A @ teacher > 0, 1.0, -1.0)[:, None]
    return A + np.maximum(0, 1 - A @ teacher)[:, None] * teacher


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """The median wall time of a call, after one call to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def parametrized(name: str, n: int, shape: tuple[int, int]) -> Callable[[np.ndarray], float]:
    """The same inner problem as a cvxpy problem with the gradients as a parameter."""
    import cvxpy as cp

    A, W, t = cp.Parameter((n, shape[0] * shape[1])), cp.Variable(shape), cp.Variable()
    margins = A @ cp.vec(W, order="C") >= t
    problem = cp.Problem(cp.Maximize(t), [margins, get_norm(name).atom({"W": W}) <= 1])
    solver = {"linf": "HIGHS"}.get(name, "CLARABEL")

    def solve(value: np.ndarray) -> float:
        A.value = value
        return problem.solve(solver=solver)

    return solve


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    for n, shape in SIZES:
        inner(n, shape, repeats)
    print("\nwhole gap of one checkpoint, gradients included")
    print(f"{'problem':<42}{'norm':<10}{'ms':>8}{'slack':>10}")
    for spec in ("binary@relu2:h=8", "multiclass@deep-linear:depth=2,width=4", "digits-3@relu2:h=8"):
        problem = problems.get(spec)
        # A start that need not separate would cost nothing: q ≤ 0 is answered at once. So a few steps of descent.
        theta = separating(problem)
        for name in TARGETS:
            evaluate = GapEvaluator(problem, get_norm(name))
            cost = milliseconds(partial(evaluate, theta), repeats)
            print(f"{spec:<42}{name:<10}{cost:>8.2f}{evaluate(theta).slack:>10.1e}")


def inner(n: int, shape: tuple[int, int], repeats: int) -> None:
    """Print the table of one size."""
    tol = 1e-9
    print(f"\ninner problem, n = {n} margins, one block {shape[0]} × {shape[1]}, relative gap ≤ {tol:g}")
    print(f"{'norm':<10}{'ms':>8}{'target':>8}{'ratio':>7}{'cvxpy ms':>10}{'worst gap':>11}  solver")
    rows = [instance(n, shape[0] * shape[1], seed) for seed in range(5)]
    for name in [*TARGETS, *MORE]:
        solver = InnerSolver(get_norm(name), {"W": shape})
        bounds = [solver.solve(A, within(tol), tol=tol) for A in rows]
        ours = statistics.median(milliseconds(partial(solver.solve, A, within(tol), tol=tol), repeats) for A in rows)
        theirs = milliseconds(partial(parametrized(name, n, shape), rows[0]), max(3, repeats // 3))
        target = TARGETS.get(name) if n == 40 else None
        shown = f"{target:>8.0f}{ours / target:>7.2f}" if target else f"{'–':>8}{'–':>7}"
        print(f"{name:<10}{ours:>8.2f}{shown}{theirs:>10.1f}{max(b.gap for b in bounds):>11.1e}  {bounds[0].solver}")


def separating(problem: Problem) -> dict[str, np.ndarray]:
    """A θ with positive margins, by Adam on the log of the exponential loss."""
    import torch

    theta = {key: block.clone().requires_grad_() for key, block in problem.model.init(0).items()}
    optimizer = torch.optim.Adam(theta.values(), lr=0.02)
    for _ in range(800):
        optimizer.zero_grad()
        torch.logsumexp(-problem.margins(theta), 0).backward()
        optimizer.step()
    return {key: block.detach().numpy() for key, block in theta.items()}


if __name__ == "__main__":
    main()
