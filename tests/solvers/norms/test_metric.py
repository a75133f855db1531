"""ℓ2 in a metric: the laws of norms, its margin problems, and that a spoiled metric breaks them."""

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.models.blocks import flatten, size, unflatten
from maxmargin.solvers.kkt.gap import kkt_gap
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import NormError, get_norm
from maxmargin.solvers.norms import laws as law
from maxmargin.solvers.norms.laws import LawError, Sample, check_laws
from maxmargin.solvers.norms.measured.metric import Metric
from maxmargin.solvers.routes.conic import Clarabel
from maxmargin.solvers.routes.nnls import NearestInMetric
from maxmargin.solvers.routes.saddle import design, inner_solver, within

SHAPES = {"W": (3, 4), "a": (3,)}


def metric(shapes=SHAPES, seed=0, spread=30.0):
    """A drawn metric whose eigenvalues spread by a factor."""
    rng, p = np.random.default_rng(seed), size(shapes)
    Q, _ = np.linalg.qr(rng.standard_normal((p, p)))
    P = (Q * spread ** rng.random(p)) @ Q.T
    return Metric.of("metric", (P + P.T) / 2, shapes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_it_obeys_the_laws(seed, scale):
    sample = Sample.random(SHAPES, seed, radius=0.3 + 0.3 * seed)
    sample = Sample(
        *({k: scale * b for k, b in x.items()} for x in (sample.theta, sample.eta, sample.G)), sample.radius
    )
    for norm in (metric(seed=seed), metric(seed=seed).dual_norm):
        check_laws(norm, sample, law.LAWS if scale == 1.0 else (law.homogeneity, law.holder, law.oracle, law.duality))


def test_a_spoiled_one_breaks_them():
    norm, sample = metric(), Sample.random(SHAPES, 1)
    spoiled = Metric(norm.name, SHAPES, norm.basis + 1e-6, norm.lengths)  # no longer orthogonal
    with pytest.raises(LawError):
        check_laws(spoiled, sample, (law.oracle, law.duality))


def test_its_steepest_step_is_preconditioned_by_the_inverse():
    norm, G = metric(), Sample.random(SHAPES, 2).G
    step, g = flatten(norm.lmo(G), SHAPES), flatten(G, SHAPES)
    wanted = -np.linalg.solve(norm.matrix, g)
    assert np.allclose(step / np.linalg.norm(step), wanted / np.linalg.norm(wanted), atol=1e-12)


@pytest.mark.parametrize(
    ("P", "text"),
    [
        (np.eye(14), "finite"),
        (np.diag([*np.ones(14), 0.0]), "positive definite"),
        (np.diag([*np.ones(14), -1.0]), "positive definite"),
        (np.eye(15) + np.triu(np.ones((15, 15)), 1), "symmetric"),
        (np.full((15, 15), np.nan), "finite"),
    ],
)
def test_what_is_no_metric_is_refused(P, text):
    with pytest.raises(NormError, match=text):
        Metric.of("metric", P, SHAPES)


@pytest.mark.parametrize("name", ["blocks", "multiclass"])
def test_margin_problems_are_solved_to_the_last_digits(name):
    problem = problems.get(name)
    norm = metric(problem.shapes)
    found = solve_margin(problem, norm)
    assert found.margin / found.upper > 1 - 1e-9
    assert kkt_gap(problem, found.theta, norm).value < 1e-8
    # An independent solver on the same metric, as a second-order cone.
    A = design(problem.jacobian(found.theta), problem.shapes)
    other = inner_solver(norm, problem.shapes).solve(A, within(1e-7), routes=(Clarabel,))
    assert other.upper == pytest.approx(found.upper, rel=1e-6)
    # And the margin of another metric is another one: its optimum leaves a gap here.
    wrong = solve_margin(problem, metric(problem.shapes, seed=5))
    assert kkt_gap(problem, wrong.theta, norm).value > 0.01


def test_the_identity_is_plain_l2():
    problem = problems.get("multiclass")
    norm = Metric.of("metric", np.eye(24), problem.shapes)
    theta = unflatten(np.random.default_rng(0).standard_normal(24) + solve_flat(problem), problem.shapes)
    assert kkt_gap(problem, theta, norm).value == pytest.approx(kkt_gap(problem, theta, get_norm("l2")).value, abs=1e-8)


def solve_flat(problem):
    return 9 * flatten(solve_margin(problem, get_norm("l2")).theta, problem.shapes)


def test_its_own_route_serves_no_other_norm():
    for spec in ("l2", "spectral", "linf"):
        assert NearestInMetric.build(inner_solver(get_norm(spec), SHAPES).flat) is None
