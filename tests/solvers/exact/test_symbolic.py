"""sympy proves every registered model homogeneous, and refutes models that only claim to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models.families.diagonal import Diagonal
from maxmargin.models.model import HomogeneousModel
from maxmargin.models.problems import MODELS, names
from maxmargin.models.registry import Data, ProblemError
from maxmargin.solvers.exact.interpreter import Ring, Untranslatable, scores
from maxmargin.solvers.exact.symbolic import find_counterexample, prove_homogeneity

names()  # loads every module of models/, so that every family has registered itself
SMALL = {classes: Data(np.eye(3, 2), np.arange(3) % classes) for classes in (2, 3)}


def small_models() -> list[tuple[str, HomogeneousModel]]:
    """Each registered family at its default options in two dimensions, for as many classes as it takes."""
    found = []
    for name, row in MODELS.items():
        for classes, data in SMALL.items():
            try:
                model = row.build(data)
            except ProblemError:
                continue
            found.append((f"{name}-{classes}", model))
    return found


def test_every_family_is_among_the_models_to_be_proved() -> None:
    assert {name.rpartition("-")[0] for name, _ in small_models()} == set(MODELS)


@pytest.mark.parametrize(("model"), [m for _, m in small_models()], ids=[n for n, _ in small_models()])
def test_registered_models_are_proved(model: HomogeneousModel) -> None:
    proof = prove_homogeneity(model)
    assert proof.proved, proof.reasons
    assert proof.homogeneous
    assert proof.degree == model.degree
    assert proof.blocks is (None if model.block_degrees is None else True)
    assert proof.smooth is (True if model.smooth else None)
    assert proof.counterexample is None
    assert proof.agreement <= 1e-12


@dataclass(frozen=True)
class Net(HomogeneousModel):
    """Two-layer relu**power with a bias, and claims that can be set apart from what it does."""

    bias: float = 0.0
    power: int = 2
    claimed: int = 3
    in_W: int = 2
    claims_smooth: bool = True
    name = "net"
    shapes = {"W": (2, 2), "a": (2,)}  # noqa: RUF012
    outputs = 1
    features = 2

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        return self.claims_smooth

    @property
    @override
    def degree(self) -> int:
        return self.claimed

    @property
    @override
    def block_degrees(self) -> Mapping[str, int]:
        return {"W": self.in_W, "a": self.claimed - self.in_W}

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        return (torch.relu(X @ theta["W"].T + self.bias) ** self.power @ theta["a"]).unsqueeze(-1)


def test_the_honest_net_is_proved() -> None:
    assert prove_homogeneity(Net()).proved
    assert prove_homogeneity(Net(power=1, claimed=2, in_W=1, claims_smooth=False)).proved


def test_a_bias_is_refuted_with_an_exact_counterexample() -> None:
    proof = prove_homogeneity(Net(bias=1.0))
    assert not proof.proved
    assert not proof.homogeneous
    found = proof.counterexample
    assert found is not None
    assert found.left != found.right
    # The counterexample is about the torch code: recompute both sides there.
    theta = {name: torch.tensor(np.array(block, dtype=float)) for name, block in found.theta.items()}
    x = torch.tensor([[float(v) for v in found.x]], dtype=torch.float64)
    doubled = {name: 2 * block for name, block in theta.items()}
    model = Net(bias=1.0)
    assert Fraction(float(model.scores(doubled, x)[0, found.output])) == found.left
    assert 8 * Fraction(float(model.scores(theta, x)[0, found.output])) == found.right


@pytest.mark.parametrize("claimed", [2, 4])
def test_a_wrong_degree_is_refuted(claimed: int) -> None:
    proof = prove_homogeneity(Net(claimed=claimed))
    assert not proof.homogeneous
    assert proof.counterexample is not None
    assert any(f"c^{claimed}" in reason for reason in proof.reasons)


def test_wrong_block_degrees_are_refuted_though_the_total_is_right() -> None:
    proof = prove_homogeneity(Net(in_W=1))
    assert proof.homogeneous
    assert proof.blocks is False
    assert not proof.proved
    assert {reason.split("block ")[1][:3] for reason in proof.reasons} == {"'W'", "'a'"}


def test_a_relu_that_claims_to_be_smooth_is_not_proved() -> None:
    proof = prove_homogeneity(Net(power=1, claimed=2, in_W=1))
    assert proof.homogeneous
    assert proof.smooth is None
    assert not proof.proved


def test_a_vanishing_bias_in_the_torch_code_alone_is_caught() -> None:
    """The polynomials come from the traced code, so a constant too small to see in a float test still refutes."""
    assert not prove_homogeneity(Net(bias=2.0**-60)).proved


def test_counterexamples_are_not_found_where_there_are_none() -> None:
    assert find_counterexample(Diagonal(3, 3)) is None


@pytest.mark.parametrize("spec", ["relu-power:q=1.5,h=2", "deep-relu:q=1.5,h=2", "tied:q=2.5", "relu-power:q=1.25,h=2"])
def test_fractional_powers_are_proved_homogeneous_by_sympy(spec: str) -> None:
    """f(cθ) = c^L f(θ) with every gate a free symbol: what the polynomials cannot say of z^1.5."""
    name, _, options = spec.partition(":")
    model = MODELS[name].build(SMALL[2], **MODELS[name].read(options))
    c, x = sp.Symbol("c", positive=True), sp.symbols("x0:2")
    gates = sp.symbols("g0:40", nonnegative=True)

    def values(factor: sp.Expr, degree: sp.Rational) -> sp.Expr:
        met = iter(gates)
        ring = Ring(sp.Rational, lambda _: next(met), lambda z, e: sp.factor(z) ** sp.Rational(e))
        theta = {
            block: np.array([factor * sp.Symbol(f"{block}{i}") for i in range(prod(shape))]).reshape(shape)
            for block, shape in model.shapes.items()
        }
        return scores(model, theta, [list(x)], ring)[0, 0] / factor**degree

    for degree, same in ((sp.Rational(str(model.degree)), True), (sp.Rational(str(model.degree)) + 1, False)):
        assert (sp.powdenest(sp.expand(values(c, degree) - values(sp.Integer(1), degree)), force=True) == 0) is same
    with pytest.raises(Untranslatable, match="only positive integers keep a polynomial"):
        prove_homogeneity(model)
