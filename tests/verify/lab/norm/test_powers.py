"""Powers of the steps give P of the entrywise, Schatten, row and column norms, alone and joined; no power, no norm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import Rule, newton_schulz

from maxmargin.solvers.norms import get_block_norm, get_norm
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.norm.fingerprint import read
from maxmargin.verify.lab.norm.powers import followed
from maxmargin.verify.lab.norm.reading import Step
from maxmargin.verify.lab.norm.signature import spread_gradient
from maxmargin.verify.lab.norm.subject import Subject

SHAPES = {"W1": (5, 4), "W2": (3, 6), "a": (4,)}


def _steps(norm, shapes=SHAPES, seed=0):
    rng, norm = np.random.default_rng(seed), get_norm(norm)
    gradients = [{k: np.exp(rng.normal()) * spread_gradient(rng, s) for k, s in shapes.items()} for _ in range(24)]
    return [Step(g, norm.lmo(g), 1.0) for g in gradients]


def _law(change, shape=(5, 4)):
    rng = np.random.default_rng(1)
    G = np.array([spread_gradient(rng, shape) for _ in range(24)])
    return {norm.name: law for norm, law in followed(G, -np.array([change(g) for g in G]))}


def _singular(change):
    def changed(g):
        u, s, vt = np.linalg.svd(g, full_matrices=False)
        return (u * change(s)) @ vt

    return changed


@pytest.mark.parametrize("p", [1.25, 1.5, 3.0, 4.0, 2.3456789, 12.0])
@pytest.mark.parametrize("family", ["entrywise", "schatten", "rows", "columns"])
def test_p_is_recovered(family, p):
    norm = get_block_norm(f"{family}:{p}")
    found = _law(lambda g: -norm.lmo(g))
    assert len(found) == 1
    (name,) = found
    assert name.split(":")[0] == family
    assert float(name.split(":")[1]) == pytest.approx(p, rel=1e-6)
    if p != 2.3456789:
        assert name == norm.name


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda g: np.sign(g),
        lambda g: g,
        lambda g: 1 / g,
        lambda g: g / (np.abs(g) + 0.05 * np.abs(g).max()),
        lambda g: g / (np.abs(g) + 1e-3),
        lambda g: np.sign(g) * np.abs(g) ** 0.5 * np.where(np.arange(4) == 1, 1.5, 1.0),
        _singular(lambda s: 1.5 * s - 0.5 * s**3),
        _singular(lambda s: 1 / s),
        lambda g: np.sign(g) * np.random.default_rng(2).random(g.shape),
    ],
    ids=["sign", "gradient", "1/g", "soft sign", "eps", "odd column", "one Newton-Schulz step", "1/sigma", "noise"],
)
def test_what_has_no_power_has_no_such_norm(spoilt):
    assert _law(spoilt) == {}


NORMS = ["entrywise:3", "entrywise:1.5", "schatten:3", "schatten:1.5;max", "entrywise:3;max", "entrywise:4;l2"]


@pytest.mark.parametrize("norm", [*NORMS, "blocks:@matrix=schatten:3,@vector=linf;max"])
def test_whole_norms_of_other_powers_are_named(norm):
    found = read(_steps(norm))
    assert found.norm == get_norm(norm), found.norm.name
    assert found.alignment > 1 - 1e-9


@pytest.mark.parametrize("norm", ["entrywise:3", "schatten:3", "rows:1.5"])
def test_a_single_matrix(norm):
    assert read(_steps(norm, {"W": (5, 4)})).norm.name == norm


@pytest.mark.parametrize(("power", "name"), [(0.5, "entrywise:3"), (1 / 3, "entrywise:4"), (2.0, "entrywise:1.5")])
def test_black_boxes_with_a_power_of_the_entries(power, name):
    """Not normalized at all, each entry on its own: the join is the entries' own."""
    subject = Subject(load(Rule, {"rule": lambda m: m.sign() * m.abs() ** power}), SHAPES)
    assert read(subject.signature, subject.probe.coupling).norm.name == name


def test_newton_schulz_stays_spectral():
    subject = Subject(load(Rule, {"rule": lambda m: newton_schulz(m, 5, torch.float64)}), SHAPES)
    assert {b.norm for b in read(subject.signature, 0.0).blocks.values()} == {"spectral", "linf"}
