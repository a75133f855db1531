"""Steps made by a known norm: reading them gives that norm back, with its weights, and noise gives none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.lab.norm.fingerprint import Step, read
from maxmargin.verify.results.candidates import family

SHAPES = {"W1": (5, 4), "W2": (3, 6), "a": (4,)}


def _draw(rng, shapes):
    """Gradients whose blocks' sizes vary from step to step, as joins by ℓ2 and by a maximum must be told apart."""
    return {k: np.exp(rng.normal()) * rng.standard_normal(s) / np.prod(s) ** 0.5 for k, s in shapes.items()}


def _steps(norm, shapes=SHAPES, count=24, seed=0, noise=0.0):
    """Steepest descent under ``norm``; ``noise`` is added relative to each block's size."""
    rng, norm = np.random.default_rng(seed), get_norm(norm)
    steps = []
    for _ in range(count):
        g, eta = _draw(rng, shapes), float(np.exp(rng.normal()))
        u = norm.lmo(g)
        spoilt = {k: b + noise * np.linalg.norm(b) / b.size**0.5 * rng.standard_normal(b.shape) for k, b in u.items()}
        steps.append(Step(g, {k: eta * b for k, b in spoilt.items()}, eta))
    return steps


def _proportional(a, b, shapes=SHAPES, within=0.02):
    """Whether two norms agree up to one factor at random parameters, in which now this block counts, now that."""
    rng = np.random.default_rng(1)
    ratios = []
    for k in [*shapes, None] * 3:
        theta = {n: (10.0 if n == k else 1.0) * rng.standard_normal(s) for n, s in shapes.items()}
        ratios.append(float(a.value(theta)) / float(b.value(theta)))
    return max(ratios) / min(ratios) <= 1 + within


COMMON = ["l2", "linf", "spectral", "hybrid", "l1", "l2;max", "spectral;l2", "spectral;sum", "linf;l2"]
WEIGHTED_ONES = [
    "hybrid:2",
    "hybrid:0.25",
    "blocks:W1=2*spectral,W2=spectral,a=l2;max",
    "blocks:W1=spectral,W2=1.5*spectral,a=3*linf;max",
    "blocks:W1=linf,W2=4*linf,a=2*linf;max",
    "blocks:W1=3*l2,W2=l2,a=1.2*l2;max",
    "blocks:W1=maxrow,W2=2*maxcolumn,a=linf;max",
    "blocks:W1=maxrow,W2=maxrow,a=l2;max",
    "blocks:W1=2*l2,W2=l2,a=1.4*l2;l2",
    "blocks:W1=2*spectral,W2=l2,a=linf;l2",
    "blocks:W1=nuclear,W2=spectral,a=l1;max",
]


@pytest.mark.parametrize("truth", COMMON)
def test_common_norms_are_named(truth):
    found = read(_steps(truth))
    assert found.norm.name == truth
    assert found.norm == get_norm(truth)
    assert found.alignment > 1 - 1e-9


@pytest.mark.parametrize(
    "truth",
    [
        "blocks:@matrix=maxcolumn,@vector=l2;max",
        "blocks:@matrix=linf,@vector=l2;max",
        "blocks:@matrix=spectral,@vector=linf;l2",
        "blocks:@matrix=nuclear,@vector=l1;max",
    ],
)
def test_two_rules_by_rank_have_a_name_for_any_problem(truth):
    found = read(_steps(truth))
    assert found.norm.name == truth
    assert found.alignment > 1 - 1e-9
    if truth.endswith(";max"):
        doubled = read(_steps(truth.replace("@vector=", "@vector=2*"))).norm.name
        assert doubled != truth
        assert family(doubled) == truth


@pytest.mark.parametrize("truth", WEIGHTED_ONES)
def test_weights_are_read_within_two_percent(truth):
    found = read(_steps(truth))
    assert _proportional(found.norm, get_norm(truth)), found.norm.spec
    assert found.alignment > 1 - 1e-3


@pytest.mark.parametrize("truth", [*COMMON, *WEIGHTED_ONES])
def test_no_other_norm_of_the_list_would_have_passed(truth):
    """The spoiled twin of the two tests above: the comparison tells every pair of these norms apart."""
    others = [n for n in [*COMMON, *WEIGHTED_ONES] if n != truth]
    assert not any(_proportional(get_norm(n), get_norm(truth)) for n in others)


@pytest.mark.parametrize("truth", ["l2", "linf", "spectral", "hybrid", "hybrid:2"])
def test_a_little_noise_does_not_change_the_name(truth):
    found = read(_steps(truth, noise=0.05))
    assert _proportional(found.norm, get_norm(truth), within=0.06)
    assert 0.9 < found.alignment < 0.9999


def test_noise_is_aligned_with_nothing():
    rng = np.random.default_rng(3)
    steps = [Step(_draw(rng, SHAPES), _draw(rng, SHAPES), 1.0) for _ in range(24)]
    found = read(steps)
    assert abs(found.alignment) < 0.3
    assert all(abs(b.alignment) < 0.3 for b in found.blocks.values())


def test_ascent_is_aligned_the_wrong_way_round():
    steps = [Step(s.gradient, {k: -b for k, b in s.update.items()}, s.eta) for s in _steps("spectral")]
    assert read(steps).alignment < -0.2  # the least wrong norm is named, with its sign


def test_a_preconditioned_step_is_not_perfect():
    """A fixed diagonal preconditioner is no norm of the list: its alignment says so."""
    rng = np.random.default_rng(4)
    scale = {k: np.exp(rng.normal(0, 1.5, s)) for k, s in SHAPES.items()}
    steps = []
    for _ in range(24):
        g = _draw(rng, SHAPES)
        steps.append(Step(g, {k: -scale[k] * b for k, b in g.items()}, 1.0))
    assert read(steps).alignment < 0.9


@pytest.mark.parametrize("kind", ["l2", "linf", "spectral", "l1", "nuclear", "maxrow", "maxcolumn"])
def test_a_single_matrix(kind):
    found = read(_steps(kind, {"W": (5, 4)}))
    assert found.norm == get_norm(kind)
    assert found.blocks["W"].norm == kind


@pytest.mark.parametrize("kind", ["l2", "linf", "l1"])
def test_a_single_vector(kind):
    assert read(_steps(kind, {"w": (7,)})).norm == get_norm(kind)


def test_blocks_are_read_one_by_one():
    found = read(_steps("blocks:W1=spectral,W2=l2,a=linf;max"))
    assert {k: b.norm for k, b in found.blocks.items()} == {"W1": "spectral", "W2": "l2", "a": "linf"}
    for block in found.blocks.values():
        assert block.alignment == max(block.alignments.values())
        assert block.reach == pytest.approx(1.0, rel=1e-9)


def test_weights_in_json():
    data = read(_steps("blocks:W1=2*spectral,W2=spectral,a=4*linf;max")).to_json()
    assert {k: row["weight"] for k, row in data.items()} == {"W1": 2.0, "W2": 1.0, "a": 4.0}
    assert {k: row["norm"] for k, row in data.items()} == {"W1": "spectral", "W2": "spectral", "a": "linf"}
    json.dumps(data, allow_nan=False)
    assert {row["weight"] for row in read(_steps("l2")).to_json().values()} == {1.0}
    two_groups = read(_steps("blocks:W1=2*l2,W2=l2,a=l2;l2")).to_json()
    assert {k: row["weight"] for k, row in two_groups.items()} == pytest.approx({"W1": 2.0, "W2": 1.0, "a": 1.0})


@pytest.mark.parametrize(
    ("truth", "name"),
    [
        ("blocks:W1=linf,W2=4*linf,a=2*linf;max", "weighted linf"),
        ("blocks:W1=2*spectral,W2=spectral,a=l2;max", "weighted spectral"),
        ("blocks:W1=spectral,W2=1.5*spectral,a=3*linf;max", "weighted hybrid"),
        # A maximum of ℓ2 norms is not the ℓ2 norm, and must not be called by its name.
        ("blocks:W1=3*l2,W2=l2,a=1.2*l2;max", "weighted l2;max"),
        ("l2;max", "l2;max"),
        ("blocks:W1=2*l2,W2=l2,a=1.4*l2;l2", "weighted l2"),
    ],
)
def test_weighted_families_keep_their_join(truth, name):
    found = read(_steps(truth))
    assert found.norm.name == name
    assert found.weighted == (found.family != name)
    assert found.family == family(name)
    assert get_norm(found.family).aggregation == found.norm.aggregation


@pytest.mark.parametrize(("truth", "coupling"), [("l2", 1.0), ("l2;max", 0.0), ("spectral", 0.0), ("spectral;l2", 1.0)])
def test_where_gradients_stand_still_the_probed_coupling_decides(truth, coupling):
    """At convergence the blocks' gradients keep their proportions, and steps alone cannot tell the joins apart."""
    once = _steps(truth, count=1)[0]
    still = [Step({k: c * b for k, b in once.gradient.items()}, once.update, once.eta) for c in (1.0, 0.5, 0.1)]
    assert _proportional(read(still, coupling).norm, get_norm(truth))
    assert not _proportional(read(still, 1.0 - coupling).norm, get_norm(truth))


def test_a_block_on_which_norms_are_one_has_the_simplest_name():
    assert read(_steps("l2", {"w": (7,)})).norm == get_norm("l2")  # not spectral, which is the same on a vector


def test_nothing_moved():
    assert read([]) is None
    still = [Step(s.gradient, {k: 0 * b for k, b in s.update.items()}, 1.0) for s in _steps("l2")]
    assert read(still) is None
    frozen = [Step(s.gradient, s.update | {"a": 0 * s.update["a"]}, 1.0) for s in _steps("l2")]
    assert read(frozen) is None
