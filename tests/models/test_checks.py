"""The homogeneity check accepts what holds and names what does not: one spoiled twin for each law."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.models.checks import HomogeneityError, check_homogeneity
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problem import Problem

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = [1, -1, 1, -1, 1]


@dataclass(frozen=True)
class Net(HomogeneousModel):
    """Σ_j a_j relu(w_j·x)², correct; each twin below spoils one thing."""

    name: ClassVar[str] = "net"
    degree = 3
    shapes: ClassVar = {"W": (3, 4), "a": (3,)}
    outputs = 1
    features = 4
    block_degrees: ClassVar = {"W": 2, "a": 1}

    def activation(self, z):
        return torch.relu(z) ** 2

    def scores(self, theta, X):
        return (self.activation(X @ theta["W"].T) @ theta["a"]).unsqueeze(-1)


class WrongDegree(Net):
    degree = 2
    block_degrees: ClassVar = {"W": 1, "a": 1}


class Biased(Net):
    def scores(self, theta, X):
        return super().scores(theta, X) + 0.1


class Gelu(Net):
    def activation(self, z):
        return torch.nn.functional.gelu(z) ** 2


class WrongBlockDegrees(Net):
    block_degrees: ClassVar = {"W": 1, "a": 2}


class DegreesThatDoNotAddUp(Net):
    block_degrees: ClassVar = {"W": 1, "a": 1}


class Detached(Net):
    def scores(self, theta, X):
        return super().scores({"W": theta["W"].detach(), "a": theta["a"]}, X)


class HalfPullback(Net):
    def pullback(self, theta, X, c):
        true = super().pullback(theta, X, c)
        return {"W": 0.5 * true["W"], "a": true["a"]}


class SlightlyWrongPullback(Net):
    def pullback(self, theta, X, c):
        true = super().pullback(theta, X, c)
        return {"W": true["W"], "a": true["a"] * (1 + 1e-9)}


class TransposedPullback(Net):
    def pullback(self, theta, X, c):
        true = super().pullback(theta, X, c)
        return {"W": true["W"].T, "a": true["a"]}


class SecretlyRelu(Net):
    """ReLU times |a|·a: homogeneous of degree 3 by another route, with kinks in W."""

    block_degrees: ClassVar = {"W": 1, "a": 2}

    def scores(self, theta, X):
        return (torch.relu(X @ theta["W"].T) @ (theta["a"] * theta["a"].abs())).unsqueeze(-1)


class SecretlyNonlinear(Net):
    linear = True


class Dead(Net):
    def scores(self, theta, X):
        return 0.0 * super().scores(theta, X)


def problem_with(model):
    return Problem.of(type(model).__name__, model, X, Y)


def test_correct_model_passes_with_small_residuals():
    measured = check_homogeneity(problem_with(Net()))
    assert max(measured.homogeneity, measured.euler, measured.pullback) < 1e-13
    assert measured.additivity is None
    assert measured.kink < 1e-10


@pytest.mark.parametrize(
    ("twin", "says"),
    [
        (WrongDegree, "not homogeneous of degree 2"),
        (Biased, "not homogeneous of degree 3"),
        (Gelu, "not homogeneous of degree 3.*GELU"),
        (WrongBlockDegrees, "block 'W': homogeneity of degree 1 is broken"),
        (DegreesThatDoNotAddUp, "do not add up to its degree 3"),
        (Detached, "breaks Euler's identity"),
        (HalfPullback, r"pullback differs from the gradient of scores by 5\.0e-01"),
        (SlightlyWrongPullback, "pullback differs"),
        (TransposedPullback, r"pullback has blocks .*\(4, 3\)"),
        (SecretlyRelu, "says it is C¹, but its gradient jumps"),
        (SecretlyNonlinear, "says it is linear"),
        (Dead, "all scores are 0"),
    ],
)
def test_spoiled_twin_is_refused(twin, says):
    with pytest.raises(HomogeneityError, match=says):
        check_homogeneity(problem_with(twin()))


@pytest.mark.parametrize("seed", range(20))
def test_kink_is_seen_from_every_seed(seed):
    with pytest.raises(HomogeneityError, match="jumps"):
        check_homogeneity(problem_with(SecretlyRelu()), seed=seed)


def test_linear_models_are_additive():
    for spec in ("binary", "multiclass", "blocks"):
        assert check_homogeneity(problems.get(spec)).additivity < 1e-14


def spoiled(family, **changes):
    """A registered family's model that computes something else than it says."""
    honest = problems.get(family)
    twin = type("Spoiled", (), {**changes, "__getattr__": lambda self, name: getattr(honest.model, name)})()
    return Problem(family, twin, honest.X, honest.contrasts, honest.labels)


BASE = "binary:n=5,d=4"


@pytest.mark.parametrize(
    ("family", "changes", "says"),
    [
        ("relu-power:q=1.5", {"degree": 3.0, "block_degrees": {"W": 2.0, "a": 1}}, "not homogeneous of degree 3"),
        ("relu-power:q=3", {"block_degrees": {"W": 2, "a": 2}}, "block 'W': homogeneity of degree 2"),
        ("quadratic", {"linear": True}, "says it is linear"),
        ("quadratic-fixed", {"degree": 1, "block_degrees": {"W": 1}}, "not homogeneous of degree 1"),
        ("deep-relu:q=1", {"smooth": True}, "says it is C¹"),
        ("deep-relu", {"block_degrees": {"W1": 2, "W2": 4, "a": 1}}, "block 'W1': homogeneity of degree 2"),
        ("tied", {"degree": 5, "block_degrees": {"W": 4, "a": 1}}, "not homogeneous of degree 5"),
        ("conv:depth=3", {"degree": 2, "block_degrees": {"w1": 1, "w2": 1, "w3": 0}}, "not homogeneous of degree 2"),
        ("attention:tokens=2", {"block_degrees": {"Q": 2, "K": 0, "v": 1}}, "block 'Q': homogeneity of degree 2"),
    ],
)
def test_spoiled_families_are_refused(family, changes, says):
    check_homogeneity(problems.get(f"{BASE}@{family}"))
    with pytest.raises(HomogeneityError, match=says):
        check_homogeneity(spoiled(f"{BASE}@{family}", **changes))


@pytest.mark.parametrize("family", ["relu-power:q=1.5", "tied", "conv", "attention:tokens=2", "deep-relu"])
def test_one_forgotten_term_of_a_families_gradient_is_refused(family):
    model = problems.get(f"{BASE}@{family}").model

    def pullback(self, theta, X, c):
        gradient = model.pullback(theta, X, c)
        first = next(iter(gradient))
        return {**gradient, first: gradient[first] * 0.5}

    with pytest.raises(HomogeneityError, match="pullback differs"):
        check_homogeneity(spoiled(f"{BASE}@{family}", pullback=pullback))


def test_second_derivatives_of_fractional_powers_are_finite_where_neurons_sleep():
    problem = problems.get("binary:n=5,d=4@relu-power:q=1.5,h=6")
    theta = {name: block.numpy() for name, block in problem.model.init(0).items()}
    assert np.isfinite(problem.hessian_of(theta, np.ones(problem.n_margins))).all()


def test_convolution_is_that_of_the_fourier_transforms():
    model = problems.get("binary:n=5,d=6@conv:depth=3").model
    theta = model.init(3)
    beta = model.scores(theta, torch.eye(6, dtype=torch.float64))[:, 0].numpy()
    wanted = np.prod([np.fft.fft(w.numpy()) for w in theta.values()], axis=0)
    np.testing.assert_allclose(np.fft.fft(beta), wanted, atol=1e-12)


def test_attention_is_the_sum_over_tokens():
    problem = problems.get("binary:n=5,d=6@attention:tokens=3,width=2")
    theta = {name: block.numpy() for name, block in problem.model.init(3).items()}
    for x, f in zip(problem.X.numpy(), problem.model.scores(problem.model.init(3), problem.X).numpy(), strict=True):
        tokens = x.reshape(3, 2)
        query = theta["Q"] @ tokens[-1]
        assert f[0] == pytest.approx(sum((theta["K"] @ t) @ query * (theta["v"] @ t) for t in tokens), rel=1e-12)


def test_tied_layers_are_the_deep_network_with_equal_layers():
    tied, deep = (problems.get(f"binary:n=5,d=4@{m}") for m in ("tied", "deep-relu:h=4"))
    theta = {name: block.abs() for name, block in tied.model.init(1).items()}
    twice = {"W1": theta["W"], "W2": theta["W"], "a": theta["a"]}
    torch.testing.assert_close(tied.model.scores(theta, tied.X), deep.model.scores(twice, tied.X))
    c = torch.ones(5, 1, dtype=torch.float64)
    one, two = tied.model.pullback(theta, tied.X, c), deep.model.pullback(twice, tied.X, c)
    torch.testing.assert_close(one["W"], two["W1"] + two["W2"])
