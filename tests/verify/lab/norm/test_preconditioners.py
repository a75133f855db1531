"""Preconditioners are told from momentum, whatever the rule that follows it."""

from __future__ import annotations

import pytest
import torch
from toys import Rule, polar

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.norm.preconditioners import preconditioners
from maxmargin.verify.lab.norm.symmetry import symmetries
from maxmargin.verify.thresholds.norm import RESPONSE_SLACK

SHAPES = {"W": (4, 3), "a": (4,)}


def root(x, power):
    values, vectors = torch.linalg.eigh(x)
    return (vectors * values.clamp_min(1e-12) ** power) @ vectors.T


class Shampoo(torch.optim.Optimizer):
    """L^(-1/4) G R^(-1/4) with sums of Gram matrices (Gupta et al. 1802.09568); vectors as one-column matrices."""

    def __init__(self, params, lr=1e-2, forget=1.0):
        super().__init__(params, {"lr": lr, "forget": forget})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                g, state = p.grad.reshape(len(p), -1), self.state[p]
                for name, gram in (("L", g @ g.T), ("R", g.T @ g)):
                    state[name] = group["forget"] * state.get(name, 0.0) + gram
                step = root(state["L"], -0.25) @ g @ root(state["R"], -0.25)
                p.sub_(group["lr"] * step.reshape(p.shape))


def one_newton_schulz_step(m):
    if m.ndim == 1:
        return torch.sign(m)
    x = m / m.norm()
    return x @ (3.4445 * torch.eye(x.shape[1]).double() + (-4.7750 * x.T @ x + 2.0315 * x.T @ x @ x.T @ x))


def found(target):
    return {p.block: p for p in preconditioners(target, SHAPES, symmetries(target, SHAPES))}


AVERAGES = {
    "heavy ball": load(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "Nesterov": load(torch.optim.SGD, {"lr": 0.1, "momentum": 0.99, "nesterov": True}),
    "no momentum": load(torch.optim.SGD, {"lr": 0.1}),
    "signum": load(Rule, {"rule": torch.sign}),
    "muon": load(Rule, {"rule": polar}),
    "one Newton–Schulz step": load(Rule, {"rule": one_newton_schulz_step}),
    "square root": load(Rule, {"rule": lambda m: torch.sign(m) * m.abs() ** 0.5}),
    "square": load(Rule, {"rule": lambda m: m * m.abs()}),
    "soft sign": load(Rule, {"rule": lambda m: m / (m.abs() + 0.1)}),
    "rows": load(Rule, {"rule": lambda m: m / m.norm(dim=-1, keepdim=True)}),
    "layerwise": load(Rule, {"rule": lambda m: m / m.norm()}),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_a_function_of_an_average_is_no_preconditioner(name):
    assert found(AVERAGES[name]) == {}


@pytest.mark.parametrize(
    ("cls", "kwargs"),
    [
        (torch.optim.Adam, {"eps": 0.0}),
        (torch.optim.Adam, {"eps": 0.0, "betas": (0.9, 0.95)}),
        (torch.optim.Adagrad, {"eps": 0.0}),
        (torch.optim.RMSprop, {"eps": 0.0}),
        (torch.optim.Adamax, {"eps": 0.0}),
    ],
)
def test_histories_of_entries(cls, kwargs):
    blocks = found(load(cls, {"lr": 1e-3, **kwargs}))
    assert {b: p.kind for b, p in blocks.items()} == {"W": "diagonal", "a": "diagonal"}
    assert all(p.size > 1.5 * RESPONSE_SLACK for p in blocks.values())


@pytest.mark.parametrize("forget", [1.0, 0.95])
def test_histories_of_singular_directions(forget):
    blocks = found(load(Shampoo, {"forget": forget}))
    assert blocks["W"].kind == "matrix"


def test_a_history_of_rows_is_neither():
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                v = self.state[p].get("v", 0.0) + (p.grad**2).sum(-1, keepdim=True)
                self.state[p]["v"] = v
                p.data.sub_(group["lr"] * p.grad / v.sqrt())

    rows = type("Rows", (Rule,), {"step": step})
    blocks = found(load(rows, {"rule": None}))
    assert blocks["W"].kind == "adaptive"


def test_one_block_of_two():
    class Half(torch.optim.RMSprop):
        def __init__(self, params, **kwargs):
            self.rest = torch.optim.SGD([p for p in params if p.ndim == 2], lr=0.1)
            super().__init__([p for p in params if p.ndim == 1], eps=0.0, **kwargs)
            self.add_param_group({"params": self.rest.param_groups[0]["params"], "lr": 0.0})

        def step(self, closure=None):
            super().step()
            self.rest.step()

    assert set(found(load(Half, {"lr": 0.01}))) == {"a"}
