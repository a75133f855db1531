"""Symmetries of steps: those of the norms by hand, those of optimizers by their norms, and what breaks them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import Rule, newton_schulz, polar

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.norm.signature import follow
from maxmargin.verify.lab.norm.symmetry import GROUPS, contradictions, predicted, symmetries
from maxmargin.verify.thresholds.norm import SYMMETRY_EXACT, SYMMETRY_HOLDS, SYMMETRY_PLAIN

SHAPES = {"W": (5, 3), "a": (4,)}
PERMUTATIONS = {"row permutation", "column permutation"}
TURNS = {"left orthogonal", "right orthogonal", "transposition"}
SCALES = {"row scaling", "column scaling", "entry scaling"}

# By hand: what a norm is invariant under, its lmo follows; and linf's lmo ignores sizes, maxrow's those of rows.
TABLE = {
    "l2": (PERMUTATIONS | TURNS | {"entry permutation"}, {"orthogonal", "entry permutation"}),
    "spectral": (PERMUTATIONS | TURNS | {"block scaling"}, {"orthogonal", "entry permutation", "block scaling"}),
    "nuclear;max": (PERMUTATIONS | TURNS | {"block scaling"}, {"orthogonal", "entry permutation", "block scaling"}),
    "linf": (
        PERMUTATIONS | SCALES | {"entry permutation", "transposition", "block scaling"},
        {"entry permutation", "entry scaling", "block scaling"},
    ),
    "entrywise:4": (PERMUTATIONS | {"entry permutation", "transposition"}, {"entry permutation"}),
    "maxrow": (
        PERMUTATIONS | {"right orthogonal", "row scaling", "block scaling"},
        {"orthogonal", "entry permutation", "block scaling"},
    ),
    "maxcolumn": (
        PERMUTATIONS | {"left orthogonal", "column scaling", "block scaling"},
        {"entry permutation", "entry scaling", "block scaling"},
    ),
    "schatten:4": (PERMUTATIONS | TURNS, {"orthogonal", "entry permutation"}),
    "l2;max": (
        PERMUTATIONS | TURNS | {"entry permutation", "block scaling"},
        {"orthogonal", "entry permutation", "block scaling"},
    ),
}


OPTIMIZERS = {
    "momentum": (load(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}), "l2"),
    "signum": (load(Rule, {"rule": torch.sign}), "linf"),
    "muon": (load(Rule, {"rule": polar}), "hybrid"),
    "layerwise": (load(Rule, {"rule": lambda m: m / m.norm()}), "l2;max"),
    "rows": (load(Rule, {"rule": lambda m: m / m.norm(dim=-1, keepdim=True)}), "maxrow"),
    "adam": (load(torch.optim.Adam, {"lr": 1e-3, "eps": 0.0}), "linf"),
}


@pytest.mark.parametrize("name", TABLE)
def test_norms_have_the_symmetries_of_their_balls(name):
    found = predicted(get_norm(name), SHAPES)
    for block, wanted in zip(SHAPES, TABLE[name], strict=True):
        assert {s.group for s in found if s.block == block and s.holds} == wanted
    # and lack the others by so much that a step can be seen to have them
    assert all(s.error <= SYMMETRY_EXACT or s.error >= SYMMETRY_PLAIN for s in found)


def test_a_vector_and_a_matrix_of_one_row():
    """Where a norm is another norm, so are its symmetries: nothing is listed by the norm's name."""
    found = {s.group: s.holds for s in predicted(get_norm("spectral"), {"W": (1, 5)})}
    assert found == {s.group: s.holds for s in predicted(get_norm("l2"), {"W": (1, 5)})}
    assert found["entry permutation"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_have_the_symmetries_of_their_norms(name):
    target, norm = OPTIMIZERS[name]
    found = symmetries(target, SHAPES)
    theory = {(s.block, s.group): s.holds for s in predicted(get_norm(norm), SHAPES)}
    assert {(s.block, s.group): s.holds for s in found} == theory
    assert contradictions(found, get_norm(norm)) == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_other_norm_is_contradicted(name):
    target, norm = OPTIMIZERS[name]
    found = symmetries(target, SHAPES)
    for other in ("l2", "linf", "hybrid", "l2;max", "maxrow", "maxcolumn", "spectral"):
        if other != norm:
            assert contradictions(found, get_norm(other)), other


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_newton_schulz_in_bf16_keeps_the_symmetries_nearly(seed):
    found = symmetries(load(Rule, {"rule": newton_schulz}), {"W": (6, 4), "a": (4,)}, seed)
    assert contradictions(found, get_norm("hybrid")) == []
    errors = [s.error for s in found if s.block == "W" and s.group in TURNS - {"transposition"}]
    assert all(1e-4 < e < SYMMETRY_HOLDS for e in errors)


def test_the_sentences():
    found = symmetries(load(Rule, {"rule": torch.sign}), SHAPES)
    said = [says.text for _, says in contradictions(found, get_norm("spectral"))]
    assert any(
        t.startswith("the step on W is not equivariant under orthogonal maps from the left (error 0.")
        and t.endswith(", as steepest descent under spectral is")
        for t in said
    )
    assert any("the step on W is indifferent to the scale of each row" in t and "spectral is not" in t for t in said)


def test_one_scaled_row_breaks_the_left_side_alone():
    def rule(m):
        step = polar(m).clone()
        if m.ndim == 2:
            step[2] *= 0.3
        return step

    found = {s.group: s.holds for s in symmetries(load(Rule, {"rule": rule}), SHAPES) if s.block == "W"}
    assert not found["left orthogonal"]
    assert not found["row permutation"]
    assert found["right orthogonal"]
    assert found["column permutation"]


def test_a_decay_turns_with_the_weights():
    """The start is transformed as the gradients are, so that decay is not mistaken for a broken symmetry."""
    target = load(Rule, {"rule": lambda m: m, "decay": 20.0})
    assert contradictions(symmetries(target, SHAPES), get_norm("l2")) == []
    start = {"W": np.ones((5, 3)), "a": np.ones(4)}
    nothing = [{"W": np.zeros((5, 3)), "a": np.zeros(4)}]
    assert follow(target, nothing, start)["W"][0, 0] == pytest.approx(-0.2)  # and the decay is not small


def test_a_block_that_never_moves_shows_nothing():
    target = load(Rule, {"rule": lambda m: m if m.ndim == 2 else 0 * m})
    found = symmetries(target, SHAPES)
    assert {s.block for s in found if s.group != "block scaling"} == {"W"}


def test_a_refused_transposition_is_left_out():
    def rule(m):
        if m.ndim == 2 and m.shape[0] < m.shape[1]:
            raise ValueError("tall matrices only")
        return torch.sign(m)

    found = symmetries(load(Rule, {"rule": rule}), SHAPES)
    assert {s.group for s in found if s.block == "W"} == {n for n, g in GROUPS.items() if 2 in g.dimensions} - {
        "transposition"
    }


def test_not_finite_is_not_symmetric():
    found = symmetries(load(Rule, {"rule": lambda m: m * float("nan")}), SHAPES)
    assert found
    assert not any(s.holds for s in found)
