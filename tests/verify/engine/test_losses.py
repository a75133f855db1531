"""Log-weights and the scaled gradient against autograd of the loss itself, and mpmath where the loss underflows."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.models.families.linear import BlockLinear
from maxmargin.models.problem import Problem
from maxmargin.verify.engine.losses import (
    GRADED,
    LOSSES,
    NARROWEST,
    WIDEST,
    cross_entropy,
    exponential,
    graded,
    margins_of,
    scaled_gradient,
)
from maxmargin.verify.engine.run import run
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.optimizers import get_optimizer

PROBLEMS = (
    "binary@linear",
    "blocks@linear",
    "multiclass@linear",
    "multiclass@relu2:h=4",
    "binary@relu2:h=4",
    "binary@relu2-fixed:h=4",
    "multiclass@deep-linear:depth=2,width=3",
    "binary@diagonal:depth=3",
)


def exponential_loss(margins):
    """Σ e^{−m}, written by someone who does not care for underflow."""
    return torch.exp(-margins).sum()


def cross_entropy_loss(margins):
    """Σ log(1 + Σ e^{−m})."""
    return torch.log1p(torch.exp(-margins).sum(-1)).sum()


PLAIN = {"exponential": exponential_loss, "logistic": cross_entropy_loss, "cross-entropy": cross_entropy_loss}


def test_every_registered_loss_is_tested_here():
    assert set(LOSSES) == set(PLAIN)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("contrasts", [1, 2, 5])
def test_log_weights_are_minus_the_derivative_of_the_loss(name, contrasts):
    generator = torch.Generator().manual_seed(contrasts)
    margins = 6 * torch.randn((7, contrasts), generator=generator, dtype=torch.float64)
    (slope,) = torch.autograd.grad(PLAIN[name](margins.requires_grad_()), margins)
    torch.testing.assert_close(torch.exp(LOSSES[name](margins.detach())), -slope, rtol=1e-12, atol=0)


def test_cross_entropy_is_torchs_own():
    """With margins m_c = s_y − s_c the loss is torch.nn.functional.cross_entropy of the scores."""
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn((6, 4), generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 3, 0, 2])
    scores.requires_grad_()
    (by_scores,) = torch.autograd.grad(torch.nn.functional.cross_entropy(scores, y, reduction="sum"), scores)
    s = scores.detach()
    margins = torch.stack([s[i, y[i]] - torch.cat([s[i, : y[i]], s[i, y[i] + 1 :]]) for i in range(6)])
    weights = torch.exp(cross_entropy(margins))
    others = torch.stack([torch.cat([by_scores[i, : y[i]], by_scores[i, y[i] + 1 :]]) for i in range(6)])
    torch.testing.assert_close(weights, others, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("scale", [1e3, 1e6])
@pytest.mark.parametrize("contrasts", [1, 3])
def test_log_weights_far_beyond_float64(scale, contrasts):
    """Margins of ±10³ and ±10⁶: weights of e^(−10⁶), by mpmath; misclassified samples have weights near 1."""
    rng = np.random.default_rng(1)
    signs = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    margins = signs * scale * rng.uniform(0.5, 1.5, (4, contrasts))
    margins[3, 0] = scale  # a sample with margins of both signs, or another plain one
    got_ce = cross_entropy(torch.as_tensor(margins)).numpy()
    got_exp = exponential(torch.as_tensor(margins)).numpy()
    with mpmath.workdps(40):
        for i in range(4):
            row = [mpmath.mpf(float(m)) for m in margins[i]]
            # mpmath's exponent is unbounded; e^(−10⁶) beside 1 is lost in both, as it must be (it is below 1e-400000).
            total = 1 + mpmath.fsum(mpmath.exp(-m) for m in row)
            for j, m in enumerate(row):
                want = float(-m - mpmath.log(total))
                assert abs(got_ce[i, j] - want) <= 4e-16 * 2 * scale
                assert got_exp[i, j] == -margins[i, j]
    assert np.isfinite(got_ce).all()


@pytest.mark.parametrize("spec", PROBLEMS)
def test_margins_are_the_problems(spec):
    problem = problems.get(spec)
    theta = problem.model.init(3, 1.5)
    m = margins_of(problem.model, theta, problem.X, problem.contrasts)
    assert m.shape == problem.contrasts.shape[:2]
    torch.testing.assert_close(m.reshape(-1), problem.margins(theta), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("spec", PROBLEMS)
def test_scaled_gradient_is_the_gradient_of_the_loss(spec, loss):
    problem = problems.get(spec)
    theta = {k: b.requires_grad_() for k, b in problem.model.init(5, 1.5).items()}
    margins = problem.margins(theta).reshape(problem.contrasts.shape[:2])
    truth = torch.autograd.grad(PLAIN[loss](margins), list(theta.values()))
    with torch.no_grad():
        got = scaled_gradient(problem.model, LOSSES[loss], theta, problem.X, problem.contrasts)
    size = max(float(g.abs().max()) for g in truth)
    assert size > 1e-3
    for block, want in zip(got.blocks.values(), truth, strict=True):
        torch.testing.assert_close(block * torch.exp(got.log_scale), want, rtol=1e-11, atol=1e-13 * size)


@pytest.mark.parametrize("spec", ["binary@linear", "multiclass@linear", "binary@relu2:h=4"])
def test_log_scale_is_the_largest_weight(spec):
    """The mantissa's largest sample weight is 1, so its size is that of the margins' own gradients."""
    problem = problems.get(spec)
    theta = problem.model.init(2, 2.0)
    got = scaled_gradient(problem.model, cross_entropy, theta, problem.X, problem.contrasts)
    logw = cross_entropy(problem.margins(theta).reshape(problem.contrasts.shape[:2]))
    assert float(got.log_scale) == float(logw.amax())
    weights = torch.exp(logw - logw.amax()).reshape(-1)
    assert float(weights.max()) == 1.0
    want = problem.pullback(theta, -weights)
    for k, block in got.blocks.items():
        torch.testing.assert_close(block, want[k], rtol=1e-12, atol=1e-14)


def test_at_margins_of_a_million_the_gradient_is_that_of_the_smallest_margins():
    """θ scaled by 10⁶: what remains is Σ over the minimal margin's sample, exactly, at log-scale −q."""
    problem = problems.get("multiclass@linear")
    far = {k: 1e6 * b for k, b in _separating(problem).items()}
    margins = problem.margins(far)
    got = scaled_gradient(problem.model, cross_entropy, far, problem.X, problem.contrasts)
    assert float(margins.min()) > 1e5
    assert float(got.log_scale) == pytest.approx(-float(margins.min()), rel=1e-14)
    one = torch.zeros(problem.n_margins, dtype=torch.float64)
    one[margins.argmin()] = -1.0
    want = problem.pullback(far, one)
    torch.testing.assert_close(got.blocks["W"], want["W"], rtol=1e-12, atol=1e-300)


def _separating(problem):
    """Weights with positive margins, by interpolation: 8 independent samples in 8 dimensions."""
    goal = torch.nn.functional.one_hot(torch.as_tensor(problem.labels), 3).to(torch.float64)
    goal = goal + 0.1 * torch.rand(goal.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    W = torch.linalg.solve(problem.X, goal).T
    assert float(problem.margins({"W": W}).min()) > 0
    return {"W": W}


# -- Weights that would underflow -------------------------------------------------------------------------------------


def test_gaps_between_log_weights_are_closed_and_nothing_else_changes():
    closed = graded(exponential)
    margins = torch.tensor([[1000.0], [7.0], [17.0], [1001.0], [3000.0], [17.0]], dtype=torch.float64)
    got = closed(margins).reshape(-1).tolist()
    assert got == pytest.approx([-17 - WIDEST, -7, -17, -18 - WIDEST, -18 - 2 * WIDEST, -17], abs=1e-12)
    near = torch.linspace(5.0, 5.0 + 8 * NARROWEST, 9, dtype=torch.float64).reshape(9, 1)
    assert torch.equal(closed(near), exponential(near))
    many = torch.linspace(0.0, 1e6, GRADED + 1, dtype=torch.float64).reshape(-1, 1)
    assert torch.equal(closed(many), exponential(many))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [30.0, 2e3, 1e5])
def test_every_entry_has_the_sign_that_exact_arithmetic_gives_it(loss, size):
    """One class far ahead of the other: units that answer to it alone, by mpmath; the plain weights lose them."""
    problem = problems.get("binary@relu2:h=8")
    theta = problem.model.init(4, 1.0)
    theta = {k: size ** (1 / 3) * b for k, b in theta.items()}
    margins = problem.margins(theta)
    rows = [problem.pullback(theta, one) for one in torch.eye(problem.n_margins, dtype=torch.float64)]
    logw = LOSSES[loss](margins.reshape(problem.contrasts.shape[:2])).reshape(-1)
    got = scaled_gradient(problem.model, graded(LOSSES[loss]), theta, problem.X, problem.contrasts)
    plain = scaled_gradient(problem.model, LOSSES[loss], theta, problem.X, problem.contrasts)
    lost = 0
    with mpmath.workdps(60):
        weights = [mpmath.exp(mpmath.mpf(float(x))) for x in logw]
        for k, block in got.blocks.items():
            for at in np.ndindex(*block.shape):
                exact = -mpmath.fsum(w * mpmath.mpf(float(row[k][at])) for w, row in zip(weights, rows, strict=True))
                assert mpmath.sign(exact) == float(torch.sign(block[at])), (k, at)
                lost += mpmath.sign(exact) != float(torch.sign(plain.blocks[k][at]))
    if loss == "exponential":  # the others' weights are about 1 on the wrong side
        assert (lost > 0) == (size > 1e3)


@pytest.mark.parametrize("name", ["signum", "adam"])
def test_signs_move_what_answers_to_a_far_sample_alone(name):
    """Two samples, a feature each: both weights go at the same speed, though margins are 2,000 apart in the end."""
    X = torch.diag(torch.tensor([1.0, 100.0], dtype=torch.float64))
    ones = torch.ones(2, 1, 1, dtype=torch.float64)
    problem = Problem("two", BlockLinear((("w", (2,)),)), X, ones, np.ones(2))
    start = {"w": torch.full((1, 2), 1e-3, dtype=torch.float64)}
    path = run(problem, get_optimizer(name), start, steps=400_000, schedule=PowerLaw(5e-5))
    w = path.theta["w"][-1, 0]
    assert w[0] == pytest.approx(20.0, rel=0.01)
    assert w[1] == pytest.approx(w[0], rel=0.05)  # Adam lags behind what falls faster
