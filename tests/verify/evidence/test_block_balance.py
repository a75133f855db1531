"""Norm shares of the blocks at KKT directions: exact ones, found ones, and their neighbours."""

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.families.networks import Network
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.descent import descend, small_starts
from maxmargin.solvers.kkt.matching import match
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.evidence.block_balance import block_balance

RELU2, DEEP = "binary@relu2:h=4", "binary@deep-linear:depth=3,width=3"


@pytest.mark.parametrize(
    ("name", "spec"), [("l2", RELU2), ("linf", RELU2), ("spectral", RELU2), ("hybrid:2", RELU2), ("linf", DEEP)]
)
def test_a_matched_kkt_point_is_balanced_and_its_neighbours_are_not(name, spec):
    """The points are found by Levenberg-Marquardt on the natural residual, which knows nothing of block norms."""
    problem, norm = problems.get(spec), get_norm(name)
    ends = descend(problem, norm, small_starts(problem, range(3)), steps=400)
    each = [{k: b[run].numpy() for k, b in ends.items()} for run in range(3)]
    end = next(theta for theta in each if problem.min_margin(theta) > 0)
    found = match(problem, end, norm)
    assert found.success
    assert block_balance(problem, found.theta, norm) == pytest.approx(0.0, abs=1e-6)
    assert block_balance(problem, {k: b.numpy() for k, b in problem.model.init(0).items()}, norm) > 0.04
    first = next(iter(found.theta))
    off = {k: b * (1.1 if k == first else 1.0) for k, b in found.theta.items()}
    assert block_balance(problem, off, norm) > 0.04


def test_the_exact_l2_point_of_one_neuron():
    """Fixture G6: one neuron along x, |w|^2 : a^2 = 2 : 1."""
    x = np.array([3.0, 4.0])
    problem = Problem.of("one point", Network(2, (1,)), x[None], [1], classes=[-1, 1])
    theta = {"W": np.sqrt(2) * x[None] / 5, "a": np.ones(1)}
    assert block_balance(problem, theta, get_norm("l2")) == pytest.approx(0.0, abs=1e-12)
    equal = theta | {"W": x[None] / 5}
    assert block_balance(problem, equal, get_norm("l2")) == pytest.approx(0.5)  # 1/2 where 1/3 is asked
    assert block_balance(problem, equal, get_norm("spectral")) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["linf", "spectral", "hybrid"])
def test_blocks_that_add_up_are_equally_long_at_the_optimum_too(name):
    problem, norm = problems.get("blocks"), get_norm(name)
    best = solve_margin(problem, norm).theta
    assert block_balance(problem, best, norm) == pytest.approx(0.0, abs=1e-6)


def test_where_nothing_is_asked_nothing_is_said():
    blocks, one = problems.get("blocks"), problems.get("multiclass@linear")
    theta = {k: np.ones(shape) for k, shape in blocks.shapes.items()}
    assert block_balance(blocks, theta, get_norm("l2")) is None  # no degree in a block alone
    assert block_balance(one, {k: np.ones(s) for k, s in one.shapes.items()}, get_norm("linf")) is None
    assert block_balance(blocks, {k: 0 * b for k, b in theta.items()}, get_norm("linf")) is None
