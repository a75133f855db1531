"""Spectral norms weighted by the block's shape: the laws, the numbers, and the step that they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maxmargin.solvers.norms import NormError, ParameterNorm, get_norm
from maxmargin.solvers.norms.laws import LawError, Sample, check_laws
from maxmargin.solvers.norms.shaped import SpectralOriginal

SHAPES = {"tall": (6, 2), "wide": (2, 6), "square": (3, 3), "a": (4,)}
LAWS = {
    "spectral-original:1": lambda r, c: math.sqrt(max(1.0, r / c)),
    "spectral-original:0.5": lambda r, c: 0.5 * math.sqrt(max(1.0, r / c)),
    "spectral-match-rms:0.2": lambda r, c: 0.2 * math.sqrt(max(r, c)),
    "spectral-match-rms:3": lambda r, c: 3 * math.sqrt(max(r, c)),
}


def _factors(spec):
    return {k: LAWS[spec](*(s if len(s) == 2 else (1, *s))) for k, s in SHAPES.items()}


@pytest.mark.parametrize(
    "spec",
    [
        "spectral-original:1", "spectral-match-rms:0.2", "nuclear-original:2", "nuclear-match-rms:0.2",
        "spectral-original:1;sum", "spectral-original:1;l2",
        "blocks:@matrix=2*spectral-original:1,@vector=linf;max",
    ],
)  # fmt: skip
def test_the_laws_of_a_norm(spec):
    check_laws(get_norm(spec), Sample.random(SHAPES, seed=0))


@pytest.mark.parametrize("spec", LAWS)
def test_value_dual_and_step_by_numpy(spec):
    norm, factors = get_norm(spec), _factors(spec)
    G = Sample.random(SHAPES, seed=3).G
    sigma = {k: np.linalg.svd(np.atleast_2d(g), compute_uv=False) for k, g in G.items()}
    assert float(norm.value(G)) == pytest.approx(max(s[0] / factors[k] for k, s in sigma.items()), rel=1e-13)
    assert float(norm.dual(G)) == pytest.approx(sum(s.sum() * factors[k] for k, s in sigma.items()), rel=1e-13)
    step = norm.lmo(G)
    for k, g in G.items():
        u, _, vt = np.linalg.svd(np.atleast_2d(g), full_matrices=False)
        np.testing.assert_allclose(np.atleast_2d(step[k]), -factors[k] * u @ vt, atol=1e-12)


@pytest.mark.parametrize("spec", [*LAWS, "nuclear-original:2", "nuclear-match-rms:0.2"])
def test_names_are_read_back(spec):
    norm = get_norm(spec)
    assert norm.name == spec
    assert get_norm(norm.dual_norm.name) == norm.dual_norm
    assert get_norm(f"dual:{spec}").dual_norm == norm


def test_it_is_the_weighted_norm_that_one_would_write_for_these_shapes():
    written = ParameterNorm.of({k: ("spectral", 1 / c) for k, c in _factors("spectral-match-rms:0.2").items()})
    sample = Sample.random(SHAPES, seed=4)
    assert float(written.value(sample.theta)) == pytest.approx(
        float(get_norm("spectral-match-rms:0.2").value(sample.theta)), rel=1e-14
    )
    got, want = get_norm("spectral-match-rms:0.2").project(sample.theta, 0.7), written.project(sample.theta, 0.7)
    for k in SHAPES:
        np.testing.assert_allclose(got[k], want[k], atol=1e-14)


def test_a_transposed_shape_factor_breaks_a_law():
    """The spoiled twin: a dual norm whose factor is that of the transposed matrix."""

    class Transposed:
        def __init__(self, norm):
            self.norm = norm

        def __getattr__(self, name):
            return getattr(self.norm, name)

        def dual(self, G):
            flipped = {k: np.swapaxes(b, 0, -1) for k, b in G.items()}
            return self.norm.dual(flipped)

    norm = get_norm("spectral-original:1")
    with pytest.raises(LawError, match="spectral-original:1"):
        check_laws(Transposed(norm), Sample.random(SHAPES, seed=0))


@pytest.mark.parametrize("spec", ["spectral-original:0", "spectral-match-rms:-1", "nuclear-original:inf"])
def test_a_factor_must_be_positive(spec):
    with pytest.raises(NormError, match="must be a positive finite number; try"):
        get_norm(spec)


@pytest.mark.parametrize("spec", ["spectral-original", "spectral-original:tall"])
def test_a_factor_must_be_a_number(spec):
    with pytest.raises(NormError, match="needs spectral-original:P"):
        get_norm(spec)


def test_blocks_of_other_dimensions_are_refused():
    with pytest.raises(NormError, match=r"shape \(2, 2, 2\) came; reshape it"):
        SpectralOriginal(1.0).value(np.zeros((2, 2, 2)))


def test_samples_differ_from_the_plain_spectral_norm():
    """Otherwise the tests above could not tell the weights from none."""
    sample = Sample.random(SHAPES, seed=5)
    plain = float(get_norm("spectral").dual(sample.G))
    assert all(abs(float(get_norm(spec).dual(sample.G)) / plain - 1) > 0.05 for spec in LAWS)
