"""Formulas of learning-rate factors come back from measured lengths, or nothing does."""

from __future__ import annotations

import pytest
import torch
from toys import Rule, newton_schulz, polar

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.norm.shape_law import LAWS, SHAPES, shape_law, weight_law
from maxmargin.verify.thresholds.norm import LENGTH_EXACT

PLAIN = {"lr": 0.02, "momentum": 0.0}


def measured(name, constant=0.2, off=None):
    reaches = {shape: constant * LAWS[name](*shape) for shape in SHAPES.values()}
    if off is not None:
        reaches[SHAPES["tall"]] *= 1 + off
    return reaches


@pytest.mark.parametrize("name", LAWS)
def test_each_law_is_told_from_all_others(name):
    found, constant, error = weight_law(measured(name))
    assert (found, constant) == (name, pytest.approx(0.2))
    assert error < 1e-12


@pytest.mark.parametrize("name", LAWS)
def test_one_wrong_length_is_no_law(name):
    assert weight_law(measured(name, off=3 * LENGTH_EXACT)) is None


def test_shapes_that_cannot_tell_give_no_name():
    assert weight_law({(4, 4): 1.0, (5, 5): 1.0}) is None  # 1, or √(rows/columns)
    assert weight_law({(4, 4): 1.0}) is None
    either = {(4, 4): 1.0, (9, 4): 1.5, (4, 9): 1.0}  # √max(1, rows/columns), or √rows/2
    assert weight_law(either) is None
    assert weight_law({**either, (9, 9): 1.0})[0] == "sqrt(max(1, rows/columns))"


@pytest.mark.parametrize("rule", [polar, newton_schulz, lambda m: m / m.norm(), torch.sign])
@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("1", lambda r, c: 1.0),
        ("sqrt(max(1, rows/columns))", lambda r, c: max(1.0, r / c) ** 0.5),
        ("sqrt(max(rows, columns))", lambda r, c: 0.2 * max(r, c) ** 0.5),
        ("1/columns", lambda r, c: 1 / c),
    ],
)
def test_laws_of_optimizers(rule, name, factor):
    law = shape_law(load(Rule, PLAIN | {"rule": lambda m: rule(m) * factor(*m.shape)}), draws=8)
    assert law.name == name
    assert law.norm == {polar: "spectral", newton_schulz: "spectral", torch.sign: "linf"}.get(rule, "l2")
    if rule is not newton_schulz:
        assert law.constant == pytest.approx(0.02 * factor(1, 1), rel=1e-9)


def test_lengths_that_follow_the_gradient_are_no_law_of_shapes():
    assert shape_law(load(torch.optim.SGD, {"lr": 0.1}), draws=8) is None


def test_what_follows_no_norm_has_no_law():
    target = load(Rule, PLAIN | {"rule": lambda m: polar(m) * torch.arange(m.numel()).reshape(m.shape)})
    assert shape_law(target, draws=8) is None
    assert shape_law(load(Rule, PLAIN | {"rule": lambda m: 0 * m}), draws=2) is None
    assert shape_law(load(Rule, PLAIN | {"rule": lambda m: -polar(m)}), draws=4) is None
