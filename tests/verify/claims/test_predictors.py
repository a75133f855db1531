"""What the records of deep networks and other references measure with, against what they were not written with."""

import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.models.blocks import as_numpy
from maxmargin.models.checks import HomogeneityError, check_homogeneity
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.claims.catalogue import CLAIMS
from maxmargin.verify.claims.linear.approach import approaches
from maxmargin.verify.claims.predictors.deep_networks import balanced, in_predictor, level
from maxmargin.verify.claims.predictors.other_references import robust_problem

NETS = {
    "binary:n=5,d=6@deep-linear:depth=3,width=4": None,
    "multiclass:n=5,d=4,k=3@deep-linear:depth=2,width=3": None,
    "binary:n=5,d=6@diagonal:depth=3": None,
    "binary:n=5,d=6@conv:depth=2": "even length: one real frequency more",
    "binary:n=5,d=5@conv:depth=3": "odd length",
    "binary:n=5,d=4@quadratic-fixed:h=6": None,
}


@pytest.mark.parametrize("spec", NETS)
def test_the_predictor_has_the_networks_margins(spec):
    problem = problems.get(spec)
    theta = as_numpy(problem.model.init(4))
    linear, beta = in_predictor(problem, theta)
    assert linear.linear
    np.testing.assert_allclose(linear.margins(beta), problem.margins(theta), rtol=1e-12, atol=1e-13)
    other = {name: 1.001 * block for name, block in beta.items()}
    assert np.abs(linear.margins(other) - problem.margins(theta)).max() > 1e-5


@pytest.mark.parametrize("d", [5, 6])
def test_sumrow_of_the_convolutions_predictor_is_the_l1_norm_of_its_transform(d):
    problem = problems.get(f"binary:n=5,d={d}@conv:depth=2")
    theta = as_numpy(problem.model.init(4))
    beta = problem.model.scores({k: torch.as_tensor(v) for k, v in theta.items()}, torch.eye(d).double())[:, 0].numpy()
    wanted = np.abs(np.fft.fft(beta)).sum()
    assert float(get_norm("sumrow").value(in_predictor(problem, theta)[1])) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("spec", ["binary:n=5,d=6@diagonal:depth=3", "binary:n=5,d=5@conv:depth=3"])
def test_the_balanced_network_has_the_same_predictor_and_the_quasi_norm(spec, depth):
    problem = problems.get(spec)
    theta = as_numpy(problem.model.init(4))
    lifted, other = balanced(problem, theta, depth)
    np.testing.assert_allclose(lifted.margins(other), problem.margins(theta), rtol=1e-11, atol=1e-12)
    sizes = [float((block**2).sum()) for block in other.values()]
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-12)
    beta = next(iter(in_predictor(problem, theta)[1].values()))
    if beta.ndim == 1:
        assert sum(sizes) == pytest.approx(depth * (np.abs(beta) ** (2 / depth)).sum(), rel=1e-12)


def test_the_level_start_has_no_predictor_but_a_gradient():
    for spec in ("binary:n=5,d=6@diagonal:depth=3", "binary:n=5,d=6@conv:depth=3"):
        problem = problems.get(spec)
        theta = {name: block[0] for name, block in level(problem, 0.1).items()}
        assert float(problem.margins(theta).abs().max()) == 0.0
        pull = problem.pullback(theta, torch.ones(problem.n_margins, dtype=torch.float64))
        assert float(next(reversed(pull.values())).abs().min()) > 0


@pytest.mark.parametrize("dual", [1, 2])
def test_robust_margins_are_the_worst_over_perturbations(dual):
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((5, 3)), np.array([1.0, -1.0, 1.0, 1.0, -1.0])
    problem, w, eps = robust_problem(X, y, 0.3, dual), rng.standard_normal(3), 0.3
    check_homogeneity(problem)
    moves = rng.standard_normal((20_000, 3))
    moves = eps * (np.sign(moves) if dual == 1 else moves / np.linalg.norm(moves, axis=1, keepdims=True))
    worst = np.array([(yi * ((xi + moves) @ w)).min() for xi, yi in zip(X, y, strict=True)])
    found = problem.margins({"w": w})
    assert (found <= worst + 1e-12).all()
    np.testing.assert_allclose(found, worst, atol=1e-3)


def test_a_robust_margin_that_calls_itself_linear_is_refused():
    problem = robust_problem(np.eye(3), np.ones(3), 0.3, 2)
    type(problem.model).linear = True
    with pytest.raises(HomogeneityError, match="says it is linear"):
        check_homogeneity(problem)


def test_runs_that_do_not_separate_are_told_and_not_judged():
    net = "binary@relu-power:q=1.5,h=4"
    found = approaches("quick", 0, problem=net, optimizer="signum", norm="linf", others=("l2",), steps=12)
    assert found["runs that separate"] == 0.0
    assert np.isnan(found["gap"])


def test_every_record_of_these_files_has_a_control_that_changes_its_first_case():
    mine = [c for c in CLAIMS.values() if c.paper in ("gunasekar", "robust", "batch-norm") or "gv-network" in c.id]
    assert len(mine) >= 14
    for claim in mine:
        assert claim.spoiled.params != claim.cases[0].params, claim.id
