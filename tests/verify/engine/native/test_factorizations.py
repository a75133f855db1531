"""Native polar factors and singular values against LAPACK's, matrix by matrix; what a wrong one would show."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from maxmargin.solvers.norms.polar.factor import polar
from maxmargin.verify.engine.native import jacobi
from maxmargin.verify.engine.native.function import compiled

EPS = 2.0**-52
EXACT = 1e-12  # full rank and condition up to 1e3, or exact rank: 30 eps times the condition, with room
BACKWARD = 64.0  # error in units of eps times the condition: what a backward stable method may have
SHAPES = [(8, 5), (3, 8), (16, 10), (4, 4), (2, 2), (49, 3), (1, 6), (6, 1), (1, 1), (17, 17), (70, 9), (40, 30)]
BATCH = 60

every_shape = pytest.mark.parametrize(("m", "n"), SHAPES)


def _random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _spectrum(seed, m, n, decades):
    """Matrices with singular values spread evenly over so many decades."""
    k = min(m, n)
    U, V = torch.linalg.qr(_random(seed, BATCH, m, k))[0], torch.linalg.qr(_random(seed + 1, BATCH, n, k))[0]
    return (U * 10.0 ** -torch.linspace(0, decades, k, dtype=torch.float64)) @ V.mT


def _reference(A):
    out = []
    for a in A.numpy():
        U, s, Vt = np.linalg.svd(a, full_matrices=False)
        out.append((U * (s > max(a.shape) * EPS * s[0])) @ Vt)
    return np.stack(out)


@cache
def _native(m, n):
    return compiled(polar, torch.ones(BATCH, m, n, dtype=torch.float64))


def _worst(A):
    return float(np.abs(_native(*A.shape[1:])(A).numpy() - _reference(A)).max())


@every_shape
def test_full_rank_equals_the_svd(m, n):
    for decades in (1.0, 3.0):
        assert _worst(_spectrum(2, m, n, decades if min(m, n) > 1 else 0.0)) <= EXACT


@every_shape
def test_rank_deficient_equals_the_svd(m, n):
    for rank in {1, min(m, n) - 1} - {0}:
        A = _random(3, BATCH, m, rank) @ _random(4, BATCH, rank, n)
        sigma = torch.linalg.svdvals(A)
        A = torch.where((sigma[:, rank - 1] > 1e-3 * sigma[:, 0])[:, None, None], A, A[:1] * 0 + 1)
        assert _worst(A) <= EXACT


@every_shape
def test_ill_conditioned_errors_are_those_of_a_backward_stable_method(m, n):
    for decades in (6.0, 8.0):
        A = _spectrum(5, m, n, decades)
        assert _worst(A) <= BACKWARD * EPS * 10**decades
        P = _native(m, n)(A)
        tall = P if m >= n else P.mT
        assert float((tall.mT @ tall - torch.eye(min(m, n), dtype=torch.float64)).abs().max()) <= EXACT


def test_zero_rows_repeated_columns_and_zero_matrices():
    A = _random(7, BATCH, 8, 5)
    A[0::4] = 0.0
    A[1::4, 3:] = 0.0
    A[2::4, :, 4] = A[2::4, :, 1]
    A[3::4, :, 0] = 0.0
    assert _worst(A) <= EXACT
    assert torch.equal(_native(8, 5)(A)[0::4], torch.zeros(BATCH // 4, 8, 5, dtype=torch.float64))


@every_shape
def test_equal_singular_values(m, n):
    assert _worst(_spectrum(9, m, n, 0.0)) <= EXACT
    assert _worst(torch.eye(m, n, dtype=torch.float64).expand(BATCH, m, n)) <= EXACT


@pytest.mark.parametrize(("m", "n"), [(8, 5), (3, 8)])
def test_rows_on_their_way_to_zero_are_zero_where_no_factor_sees_them(m, n):
    """A dead unit's row of a momentum decays by β for ever, and subnormal numbers take ten times as long."""
    A = _random(11, BATCH, m, n)
    A[:, 1] *= 1e-140
    A[:, 2] *= 1e-300
    assert _worst(A) <= EXACT
    got = _native(m, n)(A)
    assert ((got[:, 1].abs().amax(-1) > 0) & (got[:, 1].abs().amax(-1) < 1e-135)).all()
    assert not got[:, 2].any()


def test_scales_and_nan_stay_within_their_matrices():
    A = _random(8, BATCH, 3, 8)
    clean = _native(3, 8)(A)
    A[:4] *= 10.0 ** torch.tensor([-150.0, 150.0, -300.0, 300.0], dtype=torch.float64)[:, None, None]
    A[4, 0, 0], A[5, 1, 2] = torch.nan, torch.inf
    got = _native(3, 8)(A)
    assert got[4:6].isnan().all()
    assert torch.equal(got[6:], clean[6:])
    torch.testing.assert_close(got[:4], clean[:4], rtol=0, atol=EXACT)


@every_shape
def test_singular_values(m, n):
    values = compiled(torch.linalg.svdvals, torch.ones(BATCH, m, n, dtype=torch.float64))
    for A in (_spectrum(1, m, n, 3.0), _spectrum(1, m, n, 0.0), _random(3, BATCH, m, 1) @ _random(4, BATCH, 1, n)):
        want = torch.linalg.svdvals(A)
        torch.testing.assert_close(values(A), want, rtol=0, atol=1e-14 * float(want.max()) * max(m, n))
    spoilt = _random(5, BATCH, m, n)
    spoilt[3, 0, 0] = torch.nan
    assert values(spoilt)[3].isnan().all()
    assert not values(spoilt)[4:].isnan().any()


@every_shape
def test_whole_decompositions_are_torchs_up_to_signs(m, n):
    def parts(A):
        return tuple(torch.linalg.svd(A, full_matrices=False))

    A = _random(11, m, n)
    U, sigma, Vt = compiled(parts, A.clone())(A)
    want = torch.linalg.svdvals(A)
    torch.testing.assert_close(sigma, want, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close((U * sigma) @ Vt, A, rtol=0, atol=1e-13 * float(want[0]))
    eye = torch.eye(min(m, n), dtype=torch.float64)
    torch.testing.assert_close(U.mT @ U, eye, rtol=0, atol=1e-13)
    torch.testing.assert_close(Vt @ Vt.mT, eye, rtol=0, atol=1e-13)


def test_too_few_sweeps_are_seen(monkeypatch):
    """The spoiled twin: two sweeps leave columns that are not orthogonal."""
    monkeypatch.setattr(jacobi, "SWEEPS", 2)
    A = _spectrum(2, 8, 5, 1.0)
    got = compiled(polar, A.clone())(A)
    assert np.abs(got.numpy() - _reference(A)).max() > 1e-9
