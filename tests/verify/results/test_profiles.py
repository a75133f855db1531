"""Profiles of the last weights: against torch's singular values, and where nothing can be said."""

from __future__ import annotations

import numpy as np
import torch

from maxmargin.verify.results.profiles import POINTS, profiles


def test_singular_values_are_torchs_and_relative_to_the_largest_of_all_matrices() -> None:
    rng = np.random.default_rng(0)
    theta = {"A": rng.standard_normal((3, 5, 4)), "B": rng.standard_normal((3, 2, 6)), "b": rng.standard_normal((3, 7))}
    found = profiles(theta)
    spectra = {name: torch.linalg.svdvals(torch.tensor(theta[name])).numpy() for name in "AB"}
    largest = np.maximum(spectra["A"][:, 0], spectra["B"][:, 0])[:, None]
    for name, values in spectra.items():
        np.testing.assert_allclose(found[f"profile:singular values:{name}"], values / largest, rtol=1e-12)
    flat = np.abs(np.concatenate([block.reshape(3, -1) for block in theta.values()], axis=1))
    np.testing.assert_allclose(found["profile:entries"], np.sort(flat / flat.max(axis=1, keepdims=True))[:, ::-1])
    assert set(found) == {"profile:entries", "profile:singular values:A", "profile:singular values:B"}


def test_a_long_profile_is_thinned_and_keeps_its_ends() -> None:
    (found,) = profiles({"b": np.arange(1.0, 10_001.0)[None]}).values()
    assert found.shape == (1, POINTS)
    assert (found[0, 0], found[0, -1]) == (1.0, 1e-4)
    assert (np.diff(found) < 0).all()


def test_runs_that_are_not_finite_or_zero_have_none() -> None:
    theta = {"W": np.stack([np.eye(3), np.full((3, 3), np.nan), np.zeros((3, 3)), np.full((3, 3), np.inf)])}
    for values in profiles(theta).values():
        np.testing.assert_array_equal(np.isfinite(values).all(axis=1), [True, False, False, False])
    assert profiles({}) == {}


def test_a_block_of_more_dimensions_is_a_matrix_of_its_first() -> None:
    block = np.random.default_rng(1).standard_normal((1, 4, 2, 3))
    found = profiles({"K": block})["profile:singular values:K"]
    wanted = np.linalg.svd(block[0].reshape(4, 6), compute_uv=False)
    np.testing.assert_allclose(found[0], wanted / wanted[0])
