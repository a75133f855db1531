"""A model's code on exact numbers agrees with torch, operation by operation, and refuses what it cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor
from typing_extensions import override

from maxmargin.models import problems
from maxmargin.models.blocks import unflatten
from maxmargin.models.model import HomogeneousModel
from maxmargin.solvers.exact.interpreter import Ring, Untranslatable, margins, scores
from maxmargin.solvers.exact.polynomials import (
    Polynomial,
    activation_signs,
    exact,
    margin_polynomials,
)

RATIONALS = Ring(lambda q: q, lambda z: Fraction(z > 0))


@dataclass(frozen=True)
class Code(HomogeneousModel):
    """A model with blocks z (3, 2) before a — an order that is not the alphabet's — and any code."""

    code: Callable[[Mapping[str, Tensor], Tensor], Tensor]
    name: ClassVar[str] = "code"
    degree = 1
    shapes: ClassVar = {"z": (3, 2), "a": (3,)}
    outputs = 1
    features = 2
    block_degrees = None

    @override
    def scores(self, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        return self.code(theta, X)


CODES: dict[str, Callable[[Mapping[str, Tensor], Tensor], Tensor]] = {
    "mm, mv": lambda t, X: (X @ t["z"].T) @ t["a"],
    "vector @ matrix": lambda t, X: X @ (t["a"] @ t["z"]),
    "einsum": lambda t, X: torch.einsum("nd,hd,h->n", X, t["z"], t["a"]),
    "relu squared": lambda t, X: torch.relu(X @ t["z"].T).square() @ t["a"],
    "pow": lambda t, X: (X @ t["z"].T) ** 3 @ t["a"],
    "clamp": lambda t, X: (X @ t["z"].T).clamp(min=0) @ t["a"],
    "leaky": lambda t, X: torch.nn.functional.leaky_relu(X @ t["z"].T, 0.25) @ t["a"],
    "abs": lambda t, X: (X @ t["z"].T).abs() @ t["a"],
    "prod": lambda t, X: (X @ t["z"].T).prod(-1) * t["a"].sum(),
    "sum over dims": lambda t, X: (X @ t["z"].T).sum(1) - (t["z"] * 3).sum() / 8,
    "scalars": lambda t, X: 2.5 - (X @ t["z"].T @ t["a"]) / 3 + 1,
    "slices": lambda t, X: (X @ t["z"][:2].T)[:, 1] - X[:, 0] * t["a"][-1],
    "cat": lambda t, X: torch.cat([X @ t["z"].T, -(X @ t["z"][1:].T)], -1).sum(-1),
    "stack": lambda t, X: torch.stack([X @ t["z"][0], X @ t["z"][1]]).sum(0),
    "constant tensor": lambda t, X: (X @ t["z"].T) @ (t["a"] * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)),
    "linear": lambda t, X: torch.nn.functional.linear(X, t["z"], t["a"]).sum(-1),
    "in place": lambda t, X: (X @ t["z"].T).mul_(2.0).add_(t["a"])[:, 0],
}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_the_traced_code_on_rationals_equals_torch(code: Callable[..., Tensor]) -> None:
    model = Code(lambda theta, X: code(theta, X).reshape(-1, 1))
    rng = np.random.default_rng(1)
    theta = {name: rng.integers(-16, 17, shape) / 8 for name, shape in model.shapes.items()}
    X = rng.integers(-16, 17, (4, 2)) / 8
    given = model.scores({n: torch.tensor(b) for n, b in theta.items()}, torch.tensor(X)).numpy()
    fractions = {n: np.vectorize(Fraction, otypes=[object])(b) for n, b in theta.items()}
    found = scores(model, fractions, np.vectorize(Fraction, otypes=[object])(X), RATIONALS)
    assert found.shape == given.shape
    # Eighths and small degrees: only the two divisions by 3 and 8 can round at all.
    np.testing.assert_allclose(found.astype(float), given, rtol=1e-15, atol=1e-15)


REFUSED: dict[str, tuple[Callable[..., Tensor], str]] = {
    "division by a tensor": (lambda t, X: (X @ t["z"].T).sum(-1) / t["a"].sum(), "division by a tensor"),
    "square root": (lambda t, X: (X @ t["z"].T).abs().sqrt().sum(-1), "'sqrt'"),
    "softplus": (lambda t, X: torch.nn.functional.softplus(X @ t["z"].T).sum(-1), "'softplus'"),
    "clamp above": (lambda t, X: (X @ t["z"].T).clamp(0, 1).sum(-1), "only clamp"),
    "negative power": (lambda t, X: (X @ t["z"].T).pow(-1).sum(-1), "exponent -1"),
}


@pytest.mark.parametrize(("code", "words"), REFUSED.values(), ids=REFUSED)
def test_code_without_exact_meaning_is_refused_by_name(code: Callable[..., Tensor], words: str) -> None:
    model = Code(lambda theta, X: code(theta, X).reshape(-1, 1))
    ones = {name: np.full(shape, Fraction(1), dtype=object) for name, shape in model.shapes.items()}
    with pytest.raises(Untranslatable, match=words):
        scores(model, ones, np.full((1, 2), Fraction(1), dtype=object), RATIONALS)


@pytest.mark.parametrize(
    "spec", ["multiclass:n=4,d=3,k=3@linear", "binary:n=4,d=3@relu2:h=3", "binary:n=4,d=3@deep-linear:depth=3,width=2"]
)
def test_margins_and_their_polynomials_equal_the_problems_own(spec: str) -> None:
    problem = problems.get(spec)
    theta = problem.model.init(3)
    blocks = {name: block.numpy() for name, block in theta.items()}
    at = exact(blocks, problem.shapes)
    signs = activation_signs(problem, at)
    found = margin_polynomials(problem, [s > 0 for s in signs])
    m = [float(Fraction(int(v.p), int(v.q))) for v in (p.value(at) for p in found.margins)]
    np.testing.assert_allclose(m, problem.margins(blocks), rtol=1e-12)
    fractions = [Fraction(int(q.p), int(q.q)) for q in at]
    direct = margins(problem, unflatten(np.array(fractions, dtype=object), problem.shapes), RATIONALS)
    assert [Fraction(int(v.p), int(v.q)) for v in (p.value(at) for p in found.margins)] == list(direct)
    # The gradients, against the problem's own pullback.
    J = problem.jacobian(blocks)
    rows = np.concatenate([J[name].reshape(problem.n_margins, -1) for name in problem.shapes], axis=1)
    own = [
        [float(Fraction(int(v.p), int(v.q))) for v in (p.derivative(j).value(at) for j in range(len(at)))]
        for p in found.margins
    ]
    np.testing.assert_allclose(own, rows, rtol=1e-12, atol=1e-13)


def test_a_pattern_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 entries, the model's code has 12"):
        margin_polynomials(problems.get("binary:n=4,d=3@relu2:h=3"), [True])


def test_signs_are_exact_where_floats_cancel() -> None:
    problem = problems.get("point:x=1:1@relu2:h=1")
    blocks = {"W": np.array([[1.0 + 2.0**-52, -1.0 - 2.0**-52]]), "a": np.ones(1)}
    assert activation_signs(problem, exact(blocks, problem.shapes)) == (0,)
    at = exact(blocks, problem.shapes)
    assert activation_signs(problem, [at[0] + at[2] / 2**80, *at[1:]]) == (1,)


def test_polynomial_arithmetic_against_sympy() -> None:
    a, b = sp.symbols("a b")
    v, w = Polynomial.variable(0), Polynomial.variable(1)
    ours = (v * v - w * Polynomial.constant(Fraction(1, 3))) * (v + w) - w
    theirs = sp.expand((a**2 - b / 3) * (a + b) - b)
    at = (sp.Rational(2, 7), sp.Rational(-5, 3))

    def number(c: object) -> sp.Expr:
        return sp.Rational(str(c))

    assert ours.value(at, number) == theirs.subs({a: at[0], b: at[1]})
    assert ours.derivative(0).value(at, number) == sp.diff(theirs, a).subs({a: at[0], b: at[1]})
    assert ours.derivative(1).value(at, number) == sp.diff(theirs, b).subs({a: at[0], b: at[1]})
    assert (ours - ours).zero
