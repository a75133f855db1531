"""The homogeneity check accepts what holds and names what does not: one spoiled twin for each law."""

from dataclasses import dataclass
from typing import ClassVar

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
