"""What takes no float64 is stepped on float32 copies: as torch steps float32 parameters, and wherever weights are."""

from __future__ import annotations

import pytest
import torch

from maxmargin.verify import check
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.regimes import regimes
from maxmargin.verify.results.outcome import Outcome

SHAPES = ((3, 2), (2,))


def only_float32(base):
    """The optimizer, which refuses all but float32 parameters and gradients."""

    class Only(base):
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.dtype != torch.float32 or (p.grad is not None and p.grad.dtype != torch.float32):
                        raise TypeError("expected Float")
            return super().step(closure)

    return Only


def _blocks(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]


def _handle(base, **kwargs):
    return Handle(load(only_float32(base), kwargs), [torch.nn.Parameter(b) for b in _blocks(0)])


@pytest.mark.parametrize(
    ("base", "kwargs"),
    [
        (torch.optim.Adam, {"lr": 0.01}),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (torch.optim.LBFGS, {"lr": 0.1, "max_iter": 1}),  # it calls a closure
    ],
)
def test_it_steps_as_torch_does_in_float32(base, kwargs):
    handle = _handle(base, **kwargs)
    plain = [torch.nn.Parameter(b.float()) for b in _blocks(0)]
    torchs = base(plain, **kwargs)

    def again(gradients):
        for p, g in zip(plain, gradients, strict=True):
            p.grad = g.float()
        return torch.stack([g.norm() for g in gradients]).norm().float()

    for step in range(4):
        gradients = _blocks(step + 1)
        handle.step(gradients)
        again(gradients)
        torchs.step(lambda gradients=gradients: again(gradients))
        for p, q in zip(handle.params, plain, strict=True):
            assert p.dtype == torch.float64
            assert torch.equal(p.detach(), q.detach().double())


def test_weights_that_are_put_elsewhere_are_stepped_there():
    handle = _handle(torch.optim.SGD, lr=0.5)
    handle.step(_blocks(1))
    handle.put([torch.full_like(p, 4.0) for p in handle.params])
    handle.step([torch.ones_like(p) for p in handle.params])
    assert all(bool((p == 3.5).all()) for p in handle.params)
    handle.set_lr(2.0)
    handle.step([torch.ones_like(p) for p in handle.params])
    assert all(bool((p == 2.5).all()) for p in handle.params)


def test_its_state_is_found_where_that_of_float64_parameters_is():
    handles = _handle(torch.optim.Adam), Handle(load(torch.optim.Adam), [torch.nn.Parameter(b) for b in _blocks(0)])
    for handle in handles:
        handle.step(_blocks(1))
    single, double = ({leaf.path: leaf for leaf in handle.leaves()} for handle in handles)
    assert set(single) == set(double)
    leaf = single[0, "state", "exp_avg"]
    assert leaf.value.dtype == torch.float32
    leaf.multiply(2.0)
    assert torch.allclose(handles[0].optimizer.raw.state[handles[0].optimizer.copies[0]]["exp_avg"], leaf.value)


class Swapping(torch.optim.SGD):
    """Has its model evaluated a quarter away."""

    training = True

    def train(self):
        self._swap(True)

    def eval(self):
        self._swap(False)

    def _swap(self, training):
        if training != self.training:
            for p in self.param_groups[0]["params"]:
                p.data.add_(0.25 if training else -0.25)
        self.training = training


def test_the_weights_that_it_wants_evaluated():
    handle = _handle(Swapping, lr=0.5)
    handle.put([torch.full_like(p, 4.0) for p in handle.params])
    handle.step([torch.ones_like(p) for p in handle.params])
    assert [float(b.reshape(-1)[0]) for b in handle.evaluated()] == [3.25, 3.25]
    assert all(bool((p == 3.5).all()) for p in handle.params)


class Halving(torch.optim.SGD):
    """Halves the weights when it is made."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        for p in self.param_groups[0]["params"]:
            p.data.mul_(0.5)


def test_what_its_construction_does_to_the_weights_is_seen():
    assert _handle(Halving).reinitialised == pytest.approx(0.5, rel=1e-6)
    assert _handle(torch.optim.SGD).reinitialised == 0


def test_a_complaint_of_every_precision_is_the_optimizers_own():
    class Broken(torch.optim.SGD):
        def step(self, closure=None):
            raise TypeError("expected Float")

    broken = Handle(load(Broken), [torch.nn.Parameter(b) for b in _blocks(0)])
    with pytest.raises(TargetError, match=r"on float64 parameters.*expected Float"):
        broken.step(_blocks(1))


class Tiring(torch.optim.SGD):
    """Fails in its hundredth call."""

    calls = 0

    def step(self, closure=None):
        self.calls += 1
        if self.calls == 100:
            raise RuntimeError("tired")
        return super().step(closure)


def test_what_fails_later_is_said_to_in_float32():
    handle = _handle(Tiring)
    for _ in range(99):
        handle.step(_blocks(1))
    with pytest.raises(TargetError, match=r"on float32 parameters.*tired"):
        handle.step(_blocks(1))


class Deaf(torch.optim.SGD):
    """Momentum that takes no notice of entries below 1e-6."""

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.grad = torch.where(p.grad.abs() > 1e-6, p.grad, torch.zeros_like(p.grad))
        return super().step(closure)


@pytest.mark.parametrize(
    ("base", "kwargs", "least", "most"),
    [
        (
            torch.optim.Adam,
            {"eps": 0.0, "betas": (0.9, 0.95)},
            0.0,
            0.0,
        ),  # squares vanish at 1e-20, and nothing is left
        (torch.optim.Adam, {"eps": 1e-8, "betas": (0.9, 0.95)}, 1e-8, 1e-5),
        (torch.optim.Adam, {"eps": 1e-14, "betas": (0.9, 0.95)}, 1e-14, 1e-11),
        (Deaf, {"momentum": 0.9}, 1e-7, 1e-4),
    ],
)
def test_what_float32_does_to_small_gradients_is_no_floor_of_the_method(base, kwargs, least, most):
    found = probe(load(only_float32(base), kwargs), {"W": (3, 4), "a": (3,)})
    assert found.convention.startswith("float32 copies")
    assert least <= found.floor <= most


def test_its_small_regime_lies_within_what_float32_holds():
    target, shapes = (
        load(only_float32(torch.optim.Adam), {"eps": 1e-17, "betas": (0.9, 0.95)}),
        {"W": (3, 4), "a": (3,)},
    )
    two = regimes(target, shapes, probe(target, shapes))
    below = probe(two.below, shapes)
    assert below.update_degree == 1
    assert below.exactly_invariant
    deep = load(only_float32(torch.optim.Adamax), {"eps": 1e-27, "betas": (0.9, 0.95)})  # it takes no squares
    about = probe(deep, shapes)
    assert about.floor > 0
    assert regimes(deep, shapes, about) is None  # no learning rate in float32 undoes gradients that small


@pytest.mark.parametrize(("kwargs", "norm"), [({"momentum": 0.9}, "l2"), ({"eps": 0.0, "betas": (0.9, 0.95)}, "linf")])
def test_its_norm_is_found(kwargs, norm):
    base = torch.optim.SGD if norm == "l2" else torch.optim.Adam
    verdict = check(only_float32(base), kwargs=kwargs, problems=["blocks"])
    assert (verdict.outcome, verdict.norm) == (Outcome.HOLDS, norm)
    assert any("float32 copies (it takes no float64)" in reason for reason in verdict.reasons)
