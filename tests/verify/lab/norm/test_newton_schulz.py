"""Iterations are recognised by what they make of singular values."""

from __future__ import annotations

import numpy as np
import pytest

from maxmargin.verify.lab.norm.newton_schulz import ITERATIONS, fitted, iterate


def spread(draws=20, k=4):
    return 20.0 ** -np.random.default_rng(0).random((draws, k))


def test_by_matrices():
    """The scalar recursion is the matrix recursion on singular values."""
    g = np.random.default_rng(1).standard_normal((4, 6))
    g /= np.linalg.norm(g)
    x = g
    for _ in range(3):
        a = x @ x.T
        x = 15 / 8 * x + (-10 / 8 * a + 3 / 8 * a @ a) @ x
    s = np.linalg.svd(g, compute_uv=False)
    np.testing.assert_allclose(
        iterate(s, "coefficients 15/8, -10/8, 3/8", 3), np.linalg.svd(x, compute_uv=False), rtol=1e-12
    )


@pytest.mark.parametrize("name", ITERATIONS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("spectral", [False, True])
def test_names_and_counts(name, steps, spectral):
    x = spread()
    normal = x.max(1, keepdims=True) if spectral else np.linalg.norm(x, axis=1, keepdims=True)
    noise = 1 + 0.01 * np.random.default_rng(2).standard_normal(x.shape)
    fit = fitted(x, 0.3 * iterate(x / normal, name, steps) * noise)
    assert (fit.name, fit.steps) == (name, steps)
    assert fit.scale == pytest.approx(0.3, rel=0.02)
    assert 0.001 < fit.residual < 0.02


def test_what_is_no_iteration_is_not_named():
    x = spread()
    assert fitted(x, x**-0.5) is None
    assert fitted(x, -np.ones_like(x)) is None
    assert fitted(x, np.random.default_rng(3).random(x.shape)) is None
