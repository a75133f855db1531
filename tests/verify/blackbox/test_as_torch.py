"""The engine's recursions behind torch's interface: held against torch's own."""

from __future__ import annotations

import pytest
import torch

from maxmargin.verify.blackbox.as_torch import AsTorch, as_target
from maxmargin.verify.lab.norm.fingerprint import read
from maxmargin.verify.lab.norm.signature import signature
from maxmargin.verify.optimizers import get_optimizer

STEPS = 30
SHAPES = {"W": (3, 4), "a": (5,)}


def _train(make, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64)) for s in SHAPES.values()]
    optimizer = make(params)
    for _ in range(STEPS):
        for p in params:
            p.grad = scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in params])


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e9])
def test_adam_is_torchs(scale):
    native = get_optimizer("adam", {"beta1": 0.8, "beta2": 0.9})
    ours = _train(lambda p: AsTorch(p, native, lr=0.01), scale)
    torchs = _train(lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.9), eps=0.0), scale)
    spoilt = _train(lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.901), eps=0.0), scale)
    torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-12)
    assert float((ours - spoilt).abs().amax()) > 1e-5


def _in_groups(rates):
    return lambda params: AsTorch(
        [{"params": [p], "lr": rate} for p, rate in zip(params, rates, strict=True)], get_optimizer("adam"), lr=0.01
    )


def test_every_group_has_its_learning_rate_and_all_have_one_state():
    whole, split = _train(_in_groups((0.01, 0.01))), _train(_in_groups((0.01, 0.03)))
    assert torch.equal(whole, _train(lambda p: AsTorch(p, get_optimizer("adam"), lr=0.01)))
    start = _train(_in_groups((0.0, 0.0)))
    factors = torch.cat([torch.full((12,), 1.0), torch.full((5,), 3.0)]).double()
    torch.testing.assert_close(split - start, factors * (whole - start), rtol=0, atol=1e-12)


def test_a_parameter_without_gradient_counts_as_zero_gradient():
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    AsTorch([w], get_optimizer("sign-gd")).step()
    assert w.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("name", "norm"), [("signum", "linf"), ("momentum-gd", "l2"), ("muon-signum", "hybrid")])
def test_an_engine_optimizer_has_a_signature_like_any_other(name, norm):
    seen = read(signature(as_target(get_optimizer(name), name), SHAPES), 0.0 if norm != "l2" else 1.0)
    assert seen.norm.name == norm
    assert seen.alignment == pytest.approx(1.0, abs=1e-9)
