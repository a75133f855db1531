"""The default problems are easy enough to train on, and their optimal points under the norms lie apart.

Measured with cvxpy directly, without the package's own norms and solvers: the numbers in the docstrings of
``multiclass``, ``blocks``, ``binary`` and ``digits_3`` are these.
"""

import cvxpy as cp
import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.datasets.synthetic import APART_SEEDS

# The face of optimal points, thickened so that the solver finds an interior: the gaps below can only shrink.
FACE = 1e-4
L2, LINF, SPECTRAL, HYBRID = "l2", "linf", "spectral", "hybrid"


def block_norms(norm, theta, dual=False):
    for block in theta.values():
        entrywise = norm == LINF or (norm == HYBRID and block.ndim == 1)
        if entrywise:
            yield np.abs(block).sum() if dual else cp.max(cp.abs(block))
        elif block.ndim == 1:
            yield np.linalg.norm(block) if dual else cp.norm(block, 2)
        else:
            yield np.linalg.norm(block, "nuc") if dual else cp.sigma_max(block)


def atom(norm, theta):
    if norm == L2:
        return cp.norm(cp.hstack([cp.vec(block, order="C") for block in theta.values()]), 2)
    return cp.max(cp.hstack(list(block_norms(norm, theta))))


def dual(norm, gradient):
    if norm == L2:
        return np.sqrt(sum((block**2).sum() for block in gradient.values()))
    return sum(block_norms(norm, gradient, dual=True))


def least(problem, norm, extra=lambda theta: []):
    """min ‖θ‖ with all margins >= 1: the reciprocal of the optimal margin."""
    rows = problem.jacobian({name: np.zeros(shape) for name, shape in problem.shapes.items()})
    theta = {name: cp.Variable(shape) for name, shape in problem.shapes.items()}
    margins = sum(rows[k].reshape(problem.n_margins, -1) @ cp.vec(theta[k], order="C") for k in theta)
    program = cp.Problem(cp.Minimize(atom(norm, theta)), [margins >= 1, *extra(theta)])
    program.solve(solver=cp.CLARABEL)
    assert program.status == cp.OPTIMAL
    return program.value, rows


def easiness(problem, norm):
    """q*/max‖g_i‖_*."""
    value, rows = least(problem, norm)
    sizes = [dual(norm, {k: rows[k][i] for k in rows}) for i in range(problem.n_margins)]
    return 1 / (value * max(sizes))


def smallest_gap(problem, of, under):
    """The least KKT gap under one norm that any optimal point of another one has."""
    best, _ = least(problem, of)
    own, _ = least(problem, under)
    forced, _ = least(problem, under, lambda theta: [atom(of, theta) <= best * (1 + FACE)])
    return 1 - own / forced


MEASURED = [
    ("multiclass", (L2, LINF, SPECTRAL), 0.220, 0.079),
    ("multiclass:n=10,d=8,k=4,seed=20", (L2, LINF, SPECTRAL), 0.143, 0.138),
    ("binary", (L2, LINF), 0.427, 0.200),
    ("blocks", (L2, LINF, SPECTRAL, HYBRID), 0.320, 0.129),
    ("matrices", (L2, LINF, SPECTRAL), 0.253, 0.179),
    ("digits-3", (L2, LINF, SPECTRAL), 0.128, 0.068),
    ("digits-odd-even", (L2, LINF), 0.147, 0.222),
    ("rademacher", (L2, LINF), 0.180, 0.218),
]


@pytest.mark.parametrize(("name", "norms", "ratio", "gap"), MEASURED)
def test_default_problem_is_easy_and_tells_the_norms_apart(name, norms, ratio, gap):
    problem = problems.get(name)
    assert min(easiness(problem, norm) for norm in norms) == pytest.approx(ratio, abs=1e-3)
    gaps = [smallest_gap(problem, of, under) for of in norms for under in norms if of != under]
    assert min(gaps) == pytest.approx(gap, abs=1e-3)
    assert ratio >= 0.1
    assert gap >= 0.05


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in APART_SEEDS for seed in APART_SEEDS[name]])
def test_seeds_that_are_said_to_be_apart_are(name, seed):
    problem = problems.get(f"{name}:seed={seed}")
    norms = {"binary": (L2, LINF), "multiclass": (L2, LINF, SPECTRAL), "blocks": (L2, LINF, SPECTRAL, HYBRID)}[name]
    assert min(easiness(problem, norm) for norm in norms) >= 0.15
    assert min(smallest_gap(problem, of, under) for of in norms for under in norms if of != under) >= 0.06


def test_the_default_seed_is_the_first_of_them():
    for name, seeds in APART_SEEDS.items():
        assert problems.DATASETS[name].options["seed"] == seeds[0]


def test_norms_that_nearly_share_an_optimum_are_seen():
    assert abs(smallest_gap(problems.get("multiclass:seed=9"), L2, SPECTRAL)) < 0.01


def test_every_block_of_the_blocks_problem_matters():
    """Without any one of the four blocks the optimal margin falls by at least a tenth, under every norm."""
    problem = problems.get("blocks")
    for norm in (L2, LINF, SPECTRAL, HYBRID):
        whole, _ = least(problem, norm)
        for left_out in problem.shapes:
            without, _ = least(problem, norm, lambda theta, name=left_out: [theta[name] == 0])
            assert whole / without <= 0.9, (norm, left_out)
