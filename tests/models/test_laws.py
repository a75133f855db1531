"""Every registered model obeys the laws it claims, at random parameters, by three independent routes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx

from maxmargin.models import problems
from maxmargin.models.checks import EXACT, JUMP, check_homogeneity

BINARY, TERNARY = "binary:n=5,d=4", "multiclass:n=5,d=4,k=3"
SPECS = {
    "linear": [f"{BINARY}@linear", f"{TERNARY}@linear", "blocks:n=4@linear"],
    "deep-linear": [f"{data}@deep-linear:depth={L},width=3" for data in (BINARY, TERNARY) for L in (2, 3, 5)],
    "diagonal": [f"{BINARY}@diagonal:depth={L}" for L in (2, 3, 5)],
    "relu2": [f"{data}@relu2:h=5" for data in (BINARY, TERNARY)],
    "relu2-fixed": [f"{BINARY}@relu2-fixed:h={h}" for h in (2, 5)],
    "relu": [f"{data}@relu:h=5" for data in (BINARY, TERNARY)],
    "relu-power": [f"{TERNARY}@relu-power:q=1.5,h=5", f"{BINARY}@relu-power:q=3,h=5"],
    "quadratic": [f"{TERNARY}@quadratic:h=5"],
    "quadratic-fixed": [f"{BINARY}@quadratic-fixed:h=5"],
    "deep-relu": [f"{BINARY}@deep-relu:h=6", f"{TERNARY}@deep-relu:depth=4,h=6,q=1"],
    "tied": ["binary:n=5,d=8@tied:q=1.5", "multiclass:n=5,d=8,k=3@tied"],  # as wide as the input: narrow ones die
    "conv": [f"{BINARY}@conv:depth={L}" for L in (2, 3)],
    "attention": [f"{BINARY}@attention:tokens=2,width=3", f"{TERNARY}@attention:tokens=2,width=3"],
}  # fmt: skip
DEGREES = {
    "linear": 1, "relu2": 3, "relu2-fixed": 2, "relu": 2, "quadratic": 3, "quadratic-fixed": 2, "attention": 3,
    "relu-power:q=1.5,h=5": 2.5, "relu-power:q=3,h=5": 4, "deep-relu:h=6": 7, "deep-relu:depth=4,h=6,q=1": 4,
    "tied": 7, "tied:q=1.5": 4.75,
}  # fmt: skip
every_spec = pytest.mark.parametrize("spec", [spec for specs in SPECS.values() for spec in specs])
few = settings(derandomize=True, deadline=None, max_examples=8)
seeds = st.integers(0, 2**31 - 1)


def weights_for(problem, seed):
    return np.random.default_rng(seed).standard_normal(problem.n_margins)


def test_no_registered_model_is_left_out():
    assert set(SPECS) == set(problems.MODELS)


@every_spec
@few
@given(seed=seeds)
def test_homogeneity_euler_and_pullback(spec, seed):
    problem = problems.get(spec)
    measured = check_homogeneity(problem, seed=seed)
    degrees = problem.model.block_degrees
    assert set(measured.block_euler) == set(degrees or ())
    residuals = [measured.homogeneity, measured.euler, measured.pullback, *measured.block_euler.values()]
    assert max(residuals) <= EXACT


@every_spec
def test_degree_is_what_the_name_says(spec):
    problem = problems.get(spec)
    model, _, options = spec.rpartition("@")[2].partition(":")
    named = DEGREES.get(spec.rpartition("@")[2], DEGREES.get(model))
    expected = named or int(dict(o.split("=") for o in options.split(","))["depth"])
    assert problem.degree == expected
    theta = {name: block.numpy() for name, block in problem.model.init(3).items()}
    scaled = {name: 2.0 * block for name, block in theta.items()}
    np.testing.assert_allclose(problem.margins(scaled), 2.0**expected * problem.margins(theta), rtol=1e-13)


@every_spec
@few
@given(seed=seeds)
def test_pullback_against_finite_differences(spec, seed):
    problem = problems.get(spec)
    theta = {name: block.numpy() for name, block in problem.model.init(seed, scale=2.0).items()}
    lam = weights_for(problem, seed)
    gradient = problem.pullback(theta, lam)
    rng = np.random.default_rng(seed)
    step = 1e-5
    direction = {name: rng.standard_normal(block.shape) for name, block in theta.items()}
    ahead = {name: block + step * direction[name] for name, block in theta.items()}
    behind = {name: block - step * direction[name] for name, block in theta.items()}
    slope = float(lam @ (problem.margins(ahead) - problem.margins(behind))) / (2 * step)
    predicted = sum(float((gradient[name] * direction[name]).sum()) for name in theta)
    # Central differences: the third derivative times step², and rounding over step; both below 1e-7 of the size.
    size = max(float(np.abs(block).max()) for block in gradient.values())
    if not slope_jumps(problem, theta, step):
        assert abs(slope - predicted) <= 1e-6 * max(1.0, size)


def slope_jumps(problem, theta, step):
    """Whether a unit of a power below 2 is near its kink, where its slope is not Lipschitz."""
    unit = getattr(problem.model, "unit", None)
    if unit is None or unit.power >= 2:
        return False
    near = []

    def watched(self, z):
        near.append(float(z.abs().amin()))
        return torch.relu(z)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(unit), "base", watched)
        problem.margins(theta)
    return min(near) < 1e3 * step


@every_spec
def test_jacobian_rows_are_the_gradients_of_the_margins(spec):
    problem = problems.get(spec)
    theta = {name: block.numpy() for name, block in problem.model.init(5).items()}
    rows = problem.jacobian(theta)
    for name, block in theta.items():
        assert rows[name].shape == (problem.n_margins, *block.shape)
        step = 1e-6
        for index in np.ndindex(block.shape):
            bumped = {k: v.copy() for k, v in theta.items()}
            bumped[name][index] += step
            ahead = problem.margins(bumped)
            bumped[name][index] -= 2 * step
            slope = (ahead - problem.margins(bumped)) / (2 * step)
            np.testing.assert_allclose(rows[name][(slice(None), *index)], slope, atol=1e-7)


@every_spec
def test_scores_and_pullback_can_be_vmapped_over_runs_and_data(spec):
    problem = problems.get(spec)
    model = problem.model
    thetas = [model.init(seed) for seed in range(3)]
    stacked = {name: torch.stack([theta[name] for theta in thetas]) for name in model.shapes}
    X = torch.stack([problem.X * (1 + seed) for seed in range(3)])
    c = torch.randn(3, problem.n_samples, model.outputs, dtype=torch.float64)
    scores = torch.func.vmap(model.scores)(stacked, X)
    gradients = torch.func.vmap(model.pullback)(stacked, X, c)
    for run, theta in enumerate(thetas):
        torch.testing.assert_close(scores[run], model.scores(theta, X[run]), rtol=1e-12, atol=1e-13)
        for name, gradient in model.pullback(theta, X[run], c[run]).items():
            torch.testing.assert_close(gradients[name][run], gradient, rtol=1e-12, atol=1e-13)


@every_spec
def test_traced_pullback_depends_on_its_arguments_only(spec):
    problem = problems.get(spec)
    model = problem.model
    c = torch.ones(problem.n_samples, model.outputs, dtype=torch.float64)
    traced = make_fx(lambda theta, X, c: model.pullback(theta, X, c))(model.init(0), problem.X, c)
    theta, X, c = model.init(1), 2.0 * problem.X, -3.0 * c
    for name, gradient in traced(theta, X, c).items():
        torch.testing.assert_close(gradient, model.pullback(theta, X, c)[name], rtol=1e-13, atol=1e-13)


@every_spec
def test_smoothness_is_as_claimed(spec):
    problem = problems.get(spec)
    jump = check_homogeneity(problem).kink
    assert (jump <= JUMP) == problem.model.smooth


def test_init_is_seeded_and_scaled():
    model = problems.get("multiclass@relu2").model
    one, again, other = model.init(1), model.init(1), model.init(2)
    small = model.init(1, scale=0.02)
    for name in model.shapes:
        assert one[name].dtype == torch.float64
        assert torch.equal(one[name], again[name])
        assert not torch.equal(one[name], other[name])
        torch.testing.assert_close(small[name], 0.02 * one[name], rtol=1e-14, atol=0.0)


def test_init_has_the_stated_variance():
    model = problems.get("binary:n=4,d=50@deep-linear:depth=2,width=400").model
    W = model.init(0)["W1"]
    assert float(W.var()) == pytest.approx(1 / 50, rel=0.05)  # 20,000 entries: a standard error of 1 %
