"""Handles on odd optimizers: where the rate is, where state is, what a step is given; each beside a plain twin."""

from __future__ import annotations

import random
from collections import deque

import numpy as np
import pytest
import torch
from toys import Sums

from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.learning_rate import ANCHORED, is_rate
from maxmargin.verify.blackbox.targets import load

ONE = torch.ones(3, 2, dtype=torch.float64)


class Descent(torch.optim.Optimizer):
    """Plain gradient descent; oddities are added by subclasses."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.rate(group) * self.direction(p, self.state[p]))

    def rate(self, group):
        return group["lr"]

    def direction(self, p, state):
        return p.grad


def _handle(target, **kwargs):
    return Handle(load(target, kwargs), [torch.nn.Parameter(ONE.clone())])


def _move(handle, gradient=ONE):
    before = handle.params[0].detach().clone()
    handle.step([gradient])
    return float((before - handle.params[0].detach())[0, 0])


# -- The learning rate ----------------------------------------------------------------------------------------------


class OtherName(Descent):
    def __init__(self, params, learning_rate=0.1):
        torch.optim.Optimizer.__init__(self, params, {"learning_rate": learning_rate})

    def rate(self, group):
        return group["learning_rate"]


class OnTheObject(Descent):
    """Declares lr in its groups and uses its own."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.lr = lr

    def rate(self, group):
        return self.lr


class FromDefaults(Descent):
    def rate(self, group):
        return self.defaults["lr"]


class CachedAtConstruction(Descent):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self._cached = (lr,)

    def rate(self, group):
        return self._cached[0]


class CachedInFirstStep(Descent):
    def rate(self, group):
        return group.setdefault("first_seen", (group["lr"],))[0]


class Squared(Descent):
    def rate(self, group):
        return 10 * group["lr"] ** 2


class NoRate(Descent):
    def __init__(self, params):
        torch.optim.Optimizer.__init__(self, params, {})

    def rate(self, group):
        return 0.1


class TwoRates(Descent):
    """lr for the matrices, another one for the vectors."""

    def __init__(self, params, lr=0.1, adamw_lr=0.2):
        torch.optim.Optimizer.__init__(self, params, {"lr": lr, "adamw_lr": adamw_lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_((group["lr"] if p.ndim == 2 else group["adamw_lr"]) * p.grad)


class MadeOfTwo:
    """Two optimizers in one object that is none."""

    def __init__(self, params):
        params = list(params)
        self.parts = [torch.optim.SGD([p], lr=0.1, momentum=0.9) for p in params]

    def step(self):
        for part in self.parts:
            part.step()


@pytest.mark.parametrize(
    ("target", "knob", "honoured"),
    [
        (Descent, "lr of the parameter groups", True),
        (OtherName, "every learning rate in the parameter groups", None),
        (OnTheObject, "a learning rate that the object keeps", False),
        (FromDefaults, "a learning rate that the object keeps", False),
        (CachedAtConstruction, "none: its steps are scaled from outside", False),
        (CachedInFirstStep, "none: its steps are scaled from outside", False),
        (Squared, "none: its steps are scaled from outside", False),
        (NoRate, "none: its steps are scaled from outside", None),
        (MadeOfTwo, "the learning rates of the optimizers that it is made of", None),
    ],
)
def test_a_step_is_as_long_as_asked_wherever_the_rate_is(target, knob, honoured):
    handle = _handle(target)
    assert handle.rate.knob.name == knob
    assert handle.has_lr == (honoured is not None)
    if honoured:
        assert handle.rate.error <= 1e-12
    base = _move(handle)
    handle.set_lr(4.0)
    four = _move(handle)
    handle.set_lr(0.5)  # a multiple of its own, not of the last
    half = _move(handle)
    if target is MadeOfTwo:  # momentum 0.9: 1, 1.9, 2.71 gradients
        base, four, half = base, four / 1.9, half / 2.71
    assert four == pytest.approx(4 * base, rel=1e-12)
    assert half == pytest.approx(0.5 * base, rel=1e-12)


class StartsInTheGroup(Sums):
    """Keeps where the weights began in a list of the group."""

    def start(self, p, state, group):
        starts = group.setdefault("x0", [q.clone() for q in group["params"]])
        return starts[next(i for i, q in enumerate(group["params"]) if q is p)]


class BackNowAndThen(NoRate):
    """Lookahead without a learning rate: every fifth step goes half the way back to weights of its own."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["t"] = state.get("t", 0) + 1
                slow = state.setdefault("slow", p.clone())
                if state["t"] % 5 == 0:
                    p.copy_(slow.lerp_(p, 0.5))


@pytest.mark.parametrize(("target", "anchored"), [(Sums, True), (BackNowAndThen, True), (NoRate, False)])
def test_who_goes_back_from_where_the_weights_are_put_is_known(target, anchored):
    assert (_handle(target).rate.knob.name == ANCHORED.name) == anchored


@pytest.mark.parametrize("target", [Sums, StartsInTheGroup])
def test_steps_scaled_from_outside_stay_so_where_the_weights_are_put_anew_in_each(target):
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(s, generator=generator, dtype=torch.float64) for s in [(3, 2), (3, 2), (3,)]]
    gradients = [[torch.randn(b.shape, generator=generator, dtype=torch.float64) for b in start] for _ in range(9)]
    ends = []
    for factor in (1.0, 8.0):
        handle = Handle(load(target), [torch.nn.Parameter(b.clone()) for b in start])
        handle.set_lr(factor)
        assert handle.rate.knob.outside
        for step in gradients:
            handle.step(step)
        ends.append([p.detach() - b for p, b in zip(handle.params, start, strict=True)])
    for plain, scaled in zip(*ends, strict=True):
        torch.testing.assert_close(scaled, 8.0 * plain, rtol=1e-12, atol=1e-12)


def test_a_rate_for_the_vectors_is_set_too():
    params = [torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float64)), torch.nn.Parameter(torch.zeros(2).double())]
    handle = Handle(load(TwoRates), params)
    handle.set_lr(3.0)
    handle.step([torch.ones_like(p) for p in params])
    assert params[0][0, 0].item() == pytest.approx(-0.3)
    assert params[1][0].item() == pytest.approx(-0.6)
    assert handle.rate.knob.name == "every learning rate in the parameter groups"


@pytest.mark.parametrize("name", ["lr", "learning_rate", "adamw_lr", "lr_max", "step_size", "base_learning_rate"])
def test_names_of_rates(name):
    assert is_rate(name)


@pytest.mark.parametrize("name", ["lr_decay", "momentum", "trust_ratio", "adjust_lr_fn", "precond_lr", "warmup_lr", 3])
def test_names_of_no_rates(name):
    assert not is_rate(name)


# -- The step -------------------------------------------------------------------------------------------------------


class MomentumInGrad(Descent):
    """Keeps its momentum in p.grad, and a zero_grad that leaves nine tenths of it."""

    def zero_grad(self, set_to_none=True):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.mul_(0.9)


class MomentumInState(Descent):
    def direction(self, p, state):
        state["m"] = 0.9 * state.get("m", torch.zeros_like(p)) + p.grad
        return state["m"]


def test_momentum_kept_in_grad_is_kept_as_in_a_training_loop():
    odd, plain = _handle(MomentumInGrad), _handle(MomentumInState)
    for k in range(4):
        assert _move(odd, (k + 1) * ONE) == pytest.approx(_move(plain, (k + 1) * ONE), rel=1e-12)
    (leaf,) = odd.leaves()
    assert leaf.path == (0, "grad")
    leaf.multiply(0.0)
    assert _move(odd) == pytest.approx(0.1)


class NeedsClosure(Descent):
    def step(self, closure):
        self.calls = getattr(self, "calls", 0) + 1
        self.loss = float(closure())
        super().step()


class AsksForClosure(NeedsClosure):
    def step(self, closure=None):
        if closure is None:
            raise RuntimeError("SAM-like optimizers need a closure")
        super().step(closure)


@pytest.mark.parametrize("target", [NeedsClosure, AsksForClosure])
def test_a_closure_is_given_where_one_is_wanted(target):
    handle = _handle(target)
    assert _move(handle) == pytest.approx(0.1)
    assert handle.optimizer.loss == pytest.approx(6**0.5)  # the gradient's norm, in place of the loss
    assert handle.closure.calls == 1
    assert handle.optimizer.calls == 1  # the trial was another instance
    assert _handle(Descent).closure is None


class Reinitialises(Descent):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        for p in self.param_groups[0]["params"]:
            torch.nn.init.zeros_(p)


def test_weights_changed_by_the_constructor_are_noticed():
    assert _handle(Reinitialises).reinitialised == 1.0
    assert _handle(Descent).reinitialised == 0.0


class ScheduleFree(Descent):
    """Trains at one point and evaluates at another, after Defazio et al. 2405.15682."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.training = False

    def train(self):
        self._swap(True)

    def eval(self):
        self._swap(False)

    def _swap(self, training):
        if training == self.training:
            return
        self.training = training
        for p in self.param_groups[0]["params"]:
            p.data.add_(0.25 if training else -0.25)

    def direction(self, p, state):
        assert self.training
        return p.grad


def test_the_evaluated_weights():
    handle = _handle(ScheduleFree)
    before = handle.params[0].detach().clone()
    (seen,) = handle.evaluated()
    assert torch.equal(seen, before - 0.25)
    assert torch.equal(handle.params[0], before)  # and back
    assert _move(handle) == pytest.approx(0.1)
    assert _handle(Descent).evaluated() is None


# -- State ----------------------------------------------------------------------------------------------------------


class StateEverywhere(Descent):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.by_parameter, self.by_id, self.in_list, self.beta, self.d = {}, {}, [], 0.5, 1.0
        self.queue, self.pair = deque(maxlen=2), ()
        self.inner = torch.optim.SGD(self.param_groups[0]["params"], lr=0.0, momentum=0.9)

    def direction(self, p, state):
        self.inner.step()
        shared = state["m"] = p.grad.clone()
        self.alias = shared
        self.by_parameter[p] = p.grad.clone()
        self.by_id[id(p)] = {"v": p.grad**2}
        self.in_list[:] = [p.grad.clone()]
        self.queue.append({"g": p.grad.clone()})
        self.pair = p.grad.clone(), 0.5  # no number in a tuple can change
        self.d = self.d + 1.0
        self.param_groups[0]["estimate"] = float(p.grad.sum())
        return p.grad


def test_state_is_found_wherever_it_lies():
    handle = _handle(StateEverywhere)
    assert handle.leaves() == []  # nothing but hyperparameters yet
    _move(handle)
    leaves = {leaf.path: leaf for leaf in handle.leaves()}
    assert set(leaves) == {
        (0, "state", "m"),  # once, though `alias` is the same tensor
        (0, "object", "by_parameter"),
        (0, "object", "by_id", "v"),
        (0, "object", "inner", 0, "state", "momentum_buffer"),
        ("object", "in_list", 0),
        ("object", "queue", 0, "g"),
        ("object", "pair", 0),
        ("object", "d"),  # it has changed; beta has not
        ("group", 0, "estimate"),
    }
    for leaf in leaves.values():
        leaf.multiply(3.0)
    optimizer = handle.optimizer
    assert optimizer.d == 6.0
    assert optimizer.beta == 0.5
    assert float(optimizer.queue[0]["g"][0, 0]) == float(optimizer.pair[0][0, 0]) == 3.0
    assert float(optimizer.state[handle.params[0]]["m"][0, 0]) == 3.0
    assert optimizer.param_groups[0]["estimate"] == 18.0
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_common_random_numbers_are_left_alone():
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002, this generator is what is tested
    torch.manual_seed(3)
    wanted = random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    handle = _handle(Descent)
    assert handle.rate.error <= 1e-12
    assert (random.random(), float(np.random.rand()), float(torch.rand(()))) == wanted  # noqa: NPY002


def test_who_takes_sparse_gradients_alone_gets_them_with_every_row():
    """SparseAdam on gradients of several shapes, some entries of which are 0, is Adam: nothing is left out."""
    shapes, rng = [(3, 2), (4,), (2, 3, 2)], np.random.default_rng(1)
    gradients = [[torch.as_tensor(rng.standard_normal(s) * (rng.random(s) < 0.7)) for s in shapes] for _ in range(5)]
    ends = {}
    for name in ("SparseAdam", "Adam"):
        params = [torch.nn.Parameter(torch.ones(s, dtype=torch.float64)) for s in shapes]
        handle = Handle(load(f"torch.optim:{name}", {"eps": 1e-30, "lr": 0.01}), params)
        for blocks in gradients:
            handle.step(blocks)
            assert not any(p.grad.is_sparse for p in params)
        ends[name] = [p.detach() for p in params]
    assert load("torch.optim:SparseAdam").calling(params).sparse
    assert not load("torch.optim:Adam").calling(params).sparse
    for sparse, dense in zip(ends["SparseAdam"], ends["Adam"], strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-13, atol=1e-13)
