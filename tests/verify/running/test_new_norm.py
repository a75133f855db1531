"""A norm that a user's file registers is one that ``check`` can name, without a claim."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

import maxmargin.solvers.norms as package
from maxmargin.solvers.norms import families, get_block_norm
from maxmargin.verify.lab.norm.reading import SIMPLEST, readings
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.running.checking import check


@pytest.fixture
def modulus(tmp_path, monkeypatch):
    """The norm of the package's docstring, from a file; forgotten after the test."""
    lines = package.__doc__.split("::", 1)[1].split("That is all")[0].splitlines()
    path = tmp_path / "modulus.py"
    path.write_text("\n".join(line[4:] for line in lines), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("modulus", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "modulus", module)
    before = dict(families.MEMBERS), dict(families.FAMILIES)
    spec.loader.exec_module(module)
    yield "maxmodulus"
    for table, rows in zip((families.MEMBERS, families.FAMILIES), before, strict=True):
        table.clear()
        table.update(rows)


class Modular(torch.optim.Optimizer):
    """Heavy-ball momentum along the norm's lmo."""

    def __init__(self, params, lr=0.02, momentum=0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(group["momentum"]).add_(p.grad)
                p.add_(group["lr"] * get_block_norm("maxmodulus").lmo(m))


def test_registered_norms_are_read_after_the_simplest(modulus):
    assert readings((3, 2))[-1] == readings((3,))[-1] == modulus
    assert readings((3, 2))[:-1] == tuple(SIMPLEST)


def test_it_is_named_without_a_claim(modulus):
    found = check(Modular, problems=["multiclass"])
    assert (found.outcome, found.norm) == (Outcome.HOLDS, modulus)
    assert found.blocks["W"]["norm"] == modulus
    assert found.twin.startswith("follows m ← 0.9 m + 0.1 g;  θ ← θ + η lmo(m), maxmodulus ball")
