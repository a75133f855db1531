"""The batched polar factor against LAPACK's SVD, matrix by matrix, and against its own definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx

from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.norms.polar import factor as polar
from maxmargin.solvers.norms.polar.jacobi import jacobi_polar, sweeps_for

EPS = 2.0**-52
EXACT = 1e-12  # full rank and condition up to 1e3, or exact rank: 30 eps times the condition, with room
BACKWARD = 64.0  # error in units of eps times the condition: what a backward stable method may have (seen: up to 12)
SHAPES = [(8, 5), (3, 8), (16, 10), (4, 4), (2, 2), (49, 3)]
BATCH = 100


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _spectrum(seed: int, m: int, n: int, decades: float) -> Tensor:
    """Matrices with singular values spread evenly over so many decades, so known singular vectors too."""
    k = min(m, n)
    U, V = torch.linalg.qr(_random(seed, BATCH, m, k))[0], torch.linalg.qr(_random(seed + 1, BATCH, n, k))[0]
    return (U * 10.0 ** -torch.linspace(0, decades, k, dtype=torch.float64)) @ V.mT


def _of_rank(seed: int, m: int, n: int, rank: int) -> Tensor:
    return _random(seed, BATCH, m, rank) @ _random(seed + 1, BATCH, rank, n)


def _svd_one_by_one(A: Tensor) -> np.ndarray:
    """By numpy's LAPACK, not torch's."""
    out = []
    for a in A.numpy():
        U, s, Vt = np.linalg.svd(a, full_matrices=False)
        out.append((U * (s > max(a.shape) * EPS * s[0])) @ Vt)
    return np.stack(out)


def _worst(got: Tensor, A: Tensor) -> float:
    return float(np.abs(got.numpy() - _svd_one_by_one(A)).max())


def _last(A: Tensor) -> Tensor:
    """Rows ≥ columns, batch last, largest entry 1: what the kernels take."""
    tall = A if A.shape[1] >= A.shape[2] else A.mT
    return (tall / tall.abs().amax((1, 2), keepdim=True)).permute(1, 2, 0).contiguous()


def _jacobi(A: Tensor, sweeps: int | None = None) -> Tensor:
    P = jacobi_polar(_last(A), sweeps).permute(2, 0, 1)
    return P if A.shape[1] >= A.shape[2] else P.mT


METHODS = {"polar": polar.polar, "jacobi": _jacobi}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_shape = pytest.mark.parametrize(("m", "n"), SHAPES)


@every_method
@every_shape
def test_full_rank_equals_the_svd(method, m, n):
    for A in (_random(1, BATCH, m, n) if m != n else _spectrum(1, m, n, 1.5), _spectrum(2, m, n, 3.0)):
        assert _worst(method(A), A) <= EXACT


@every_method
@every_shape
def test_rank_deficient_equals_the_svd(method, m, n):
    for rank in {1, min(m, n) - 1}:
        A = _of_rank(3 + rank, m, n, rank)
        A = A[torch.linalg.svdvals(A)[:, rank - 1] > 1e-3 * torch.linalg.svdvals(A)[:, 0]]
        assert len(A) > BATCH // 2
        assert _worst(method(A), A) <= EXACT


@every_method
@every_shape
def test_ill_conditioned_errors_are_those_of_a_backward_stable_method(method, m, n):
    """The factor itself moves by eps times the condition when the matrix is rounded; nobody can do better."""
    for decades in (6.0, 8.0):
        A = _spectrum(5, m, n, decades)
        P = method(A)
        assert _worst(P, A) <= BACKWARD * EPS * 10**decades
        tall = P if m >= n else P.mT
        assert float((tall.mT @ tall - torch.eye(min(m, n), dtype=torch.float64)).abs().max()) <= EXACT


@every_method
def test_zero_rows_repeated_columns_and_zero_matrices(method):
    A = _random(7, BATCH, 8, 5)
    A[0::4] = 0.0
    A[1::4, 3:] = 0.0
    A[2::4, :, 4] = A[2::4, :, 1]
    A[3::4, :, 0] = 0.0
    got = method(torch.cat([A[1::4], A[2::4], A[3::4]]))
    assert _worst(got, torch.cat([A[1::4], A[2::4], A[3::4]])) <= EXACT
    if method is polar.polar:
        assert torch.equal(polar.polar(A)[0::4], torch.zeros(BATCH // 4, 8, 5, dtype=torch.float64))


def test_scales_and_nan_stay_within_their_matrices():
    A = _random(8, BATCH, 3, 8)
    clean = polar.polar(A)
    scales = 10.0 ** torch.tensor([-150.0, 150.0, -300.0, 300.0], dtype=torch.float64)
    A[:4] *= scales[:, None, None]
    A[4, 0, 0], A[5, 1, 2] = torch.nan, torch.inf
    got = polar.polar(A)
    assert got[4:6].isnan().all()
    assert torch.equal(got[6:], clean[6:])
    torch.testing.assert_close(got[:4], clean[:4], rtol=0, atol=EXACT)


@every_shape
def test_the_batch_size_changes_nothing(m, n):
    A = _random(9, 2 * BATCH, m, n) if m != n else _spectrum(9, m, n, 1.0).repeat(2, 1, 1)
    whole = polar.polar(A)
    for part in (A[:1], A[:50]):
        torch.testing.assert_close(polar.polar(part), whole[: len(part)], rtol=0, atol=EXACT)
    np.testing.assert_allclose(polar.polar(A.numpy()), whole, rtol=0, atol=0)
    np.testing.assert_allclose(polar.polar(A[0].numpy()), whole[0], rtol=0, atol=EXACT)


def test_vmap_and_recorders_see_one_operator_over_the_whole_batch():
    A = _random(10, BATCH, 8, 5)
    lmo = get_norm("spectral").lmo
    with polar.as_one_operator():
        graph = make_fx(vmap(lambda G: lmo({"W": G})["W"]))(A)
    targets = [str(node.target) for node in graph.graph.nodes]
    assert targets.count("maxmargin.polar.default") == 1
    assert not any("svd" in target for target in targets)
    torch.testing.assert_close(graph(A), -torch.stack([polar.polar(a) for a in A]), rtol=0, atol=EXACT)
    plain = make_fx(vmap(lambda G: lmo({"W": G})["W"]))(A)
    assert any("svd" in str(node.target) for node in plain.graph.nodes)  # no call back into Python
    twice = vmap(vmap(polar.polar))(A.reshape(4, BATCH // 4, 8, 5))
    assert torch.equal(twice.reshape(A.shape), polar.polar(A))
    torch.library.opcheck(torch.ops.maxmargin.polar.default, (A,), test_utils=("test_schema",))


# Spoiled twins: each of these was a way to be wrong, and each test above must see it.


def test_without_the_rank_cut_noise_would_choose_directions():
    A = _of_rank(18, 8, 5, 4)
    U, _, Vt = torch.linalg.svd(A, full_matrices=False)
    assert _worst(U @ Vt, A) > 0.1
    assert _worst(_jacobi(A), A) <= EXACT < 0.1


def test_too_few_jacobi_sweeps_are_seen():
    A = _spectrum(19, 16, 10, 6.0)
    assert _worst(_jacobi(A, 4), A) > BACKWARD * EPS * 1e6 >= _worst(_jacobi(A), A)
    assert sweeps_for(10) > 4
