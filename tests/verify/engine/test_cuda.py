"""The engine on a GPU: the same trajectories as on the CPU, and no wait for the host inside the loop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.solvers.norms.polar import factor as polar
from maxmargin.verify.engine.losses import LOSSES
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.engine.stepping import OneRun, Stepping
from maxmargin.verify.engine.tracing import captured
from maxmargin.verify.optimizers import get_optimizer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
NETWORK = "binary:n=12,d=5@relu2:h=8"
# 200 steps of smooth recursions part by rounding alone; a sign of a near-zero entry may differ, and moves by η.
AGREE = {"momentum-gd": 1e-10, "adam": 1e-8, "muon": 1e-8, "signum": 1e-10}


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Every wait of the host for the GPU raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", AGREE)
def test_the_gpu_follows_the_cpu(name):
    problem = problems.get(NETWORK)
    theta0 = starts(problem, 32, seed=1)
    cpu, gpu = (
        run(problem, get_optimizer(name), theta0, steps=200, schedule=PowerLaw(1e-3), device=device)
        for device in ("cpu", "cuda")
    )
    for block in problem.shapes:
        np.testing.assert_allclose(gpu.theta[block], cpu.theta[block], rtol=0, atol=AGREE[name])
    assert np.abs(cpu.theta["W"][-1] - cpu.theta["W"][0]).max() > 1e-2  # they moved


@pytest.mark.parametrize("name", AGREE)
def test_steps_never_wait_for_the_host(name, no_waiting):
    torch.cuda.set_sync_debug_mode("default")  # building may wait
    problem, optimizer = problems.get(NETWORK).to("cuda"), get_optimizer(name)
    stepping = Stepping(OneRun(problem, optimizer, LOSSES["logistic"], optimizer.pace_norm), 64, None, False)
    theta = {k: b.cuda() for k, b in starts(problems.get(NETWORK), 64).items()}
    t = torch.ones((), dtype=torch.float64, device="cuda")
    eta = torch.full((64,), 1e-3, dtype=torch.float64, device="cuda")
    rest = (eta, problem.X, problem.contrasts)
    state = stepping.init(theta)
    chunk = captured(stepping.step, theta, state, t, *rest, times=8)
    torch.cuda.set_sync_debug_mode("error")
    fast = (theta, state, t)
    for _ in range(25):
        fast = chunk(*fast, *rest)
    slow = (theta, state, t)
    for _ in range(200):
        slow = stepping.step(*slow, *rest)
    torch.cuda.set_sync_debug_mode("default")
    assert float(fast[2]) == 201.0
    for block in theta:
        torch.testing.assert_close(fast[0][block], slow[0][block], rtol=0, atol=AGREE[name])


def test_what_would_wait_is_caught(no_waiting):
    x = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="synchroniz"):
        x.sum().item()


def test_results_survive_the_next_replay():
    x = torch.arange(6.0, dtype=torch.float64, device="cuda").reshape(3, 2)
    double = captured(lambda x: x * 2, x, times=3)
    first = double(x)
    second = double(first)
    assert torch.equal(first, 8 * x)
    assert torch.equal(second, 64 * x)


@pytest.mark.parametrize(("m", "n"), [(8, 5), (3, 8), (4, 4)])
@pytest.mark.parametrize("rank", [1, 2, None])
def test_polar_factors(m, n, rank, no_waiting):
    draw = torch.Generator().manual_seed(0)
    A = torch.randn(64, m, n, generator=draw, dtype=torch.float64)
    if rank is not None:
        A = A[:, :, :rank] @ torch.randn(64, rank, n, generator=draw, dtype=torch.float64)
    torch.cuda.set_sync_debug_mode("default")
    there = A.cuda()
    torch.cuda.set_sync_debug_mode("error")
    P = polar.polar(there)
    torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(P.cpu(), polar.svd_polar(A), rtol=0, atol=1e-10)
