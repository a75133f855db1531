"""Arguments without effect are named; those that only wait, lie far away or show in another way are not."""

from __future__ import annotations

from math import nan

import pytest
import torch
from toys import Descent

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.knobs import dead_knobs

SHAPES = {"W": (6, 3), "V": (3, 5), "a": (7,)}
MATRICES = {"W": (6, 3), "V": (3, 5)}


class Sgd(Descent):
    """Momentum, decay, clipping, warm-up and a second moment, each of which can be lost."""

    lost = ""

    def __init__(self, params, lr=1e-2, momentum=0.9, nesterov=False, betas=(0.9, 0.99), weight_decay=0.0, clip=1e9,
                 warmup=0, eps=1e-30):  # fmt: skip
        super().__init__(params, lr)
        self.o = {"momentum": momentum, "nesterov": nesterov, "beta": betas[1], "decay": weight_decay, "clip": clip}
        self.o |= {"warmup": warmup, "eps": eps}

    def direction(self, p, state):
        o, g = self.o, p.grad
        state["t"] = state.get("t", 0) + 1
        m = state.setdefault("m", torch.zeros_like(p))
        m.mul_(0.0 if self.lost == "momentum" else o["momentum"]).add_(g)
        u = g + o["momentum"] * m if o["nesterov"] and o["momentum"] else m.clone()
        if self.lost != "betas[1]":
            v = state.setdefault("v", torch.zeros_like(p))
            v.mul_(o["beta"]).add_((1 - o["beta"]) * g * g)
            u /= v.sqrt() + o["eps"]
        if self.lost != "weight_decay":
            u = u + o["decay"] * p
        u = u.clamp(-o["clip"], o["clip"])
        return u * (0.1 if state["t"] < o["warmup"] else 1.0)


class NoMomentum(Sgd):
    lost = "momentum"


class NoSecondBeta(Sgd):
    lost = "betas[1]"


class NoDecay(Sgd):
    lost = "weight_decay"


class InGradient(Descent):
    """Keeps its momentum in p.grad, for loops that do not clear it."""

    def __init__(self, params, lr=1e-2, momentum=0.9):
        super().__init__(params, lr)
        self.momentum = momentum

    def direction(self, p, state):
        u = p.grad.clone()
        p.grad.mul_(self.momentum)
        return u


class Nan(Descent):
    def __init__(self, params, lr=1e-2, momentum=0.9):
        super().__init__(params, lr)

    def direction(self, p, state):
        return p.grad * nan


class Noisy(Descent):
    """Draws from a generator that no seed reaches."""

    generator = torch.Generator().manual_seed(0)

    def __init__(self, params, lr=1e-2, momentum=0.9):
        super().__init__(params, lr)

    def direction(self, p, state):
        return p.grad + torch.randn(p.shape, generator=self.generator, dtype=p.dtype)


def names(target, **kwargs):
    return {(k.name, k.given) for k in dead_knobs(load(target, kwargs), SHAPES)}


@pytest.mark.parametrize(
    ("target", "kwargs", "dead"),
    [
        (NoMomentum, {}, {("momentum", False)}),
        (NoMomentum, {"momentum": 0.5}, {("momentum", True)}),
        (NoSecondBeta, {}, {("betas[1]", False), ("betas[0]", False)}),
        (NoDecay, {"weight_decay": 0.1}, {("weight_decay", True), ("betas[0]", False)}),
        (NoMomentum, {"momentum": 0.0}, {("momentum", True)}),
    ],
)
def test_an_argument_without_effect_is_named(target, kwargs, dead):
    found = names(target, **kwargs)
    assert found >= dead
    assert {name for name, _ in found - dead} <= {"betas[0]"}  # which these toys never read


def test_the_sentence_says_what_was_tried():
    (dead,) = (k for k in dead_knobs(load(NoMomentum), SHAPES) if k.name == "momentum")
    assert dead.text.startswith(
        "momentum=0.9 (its default) has no effect as long as nesterov=False: with 0.45, 1.8, 0.95 or any other value "
    )
    assert dead.text.endswith("tried in its place each of 200 steps is the same to the last bit.")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"momentum": 0.5, "weight_decay": 0.01, "nesterov": True, "betas": (0.5, 0.999)},
        {"clip": 1e6, "warmup": 10_000, "eps": 1e-12},
        {"momentum": 0.0, "clip": 30},
    ],
)
def test_what_lies_far_away_is_not_dead(kwargs):
    assert {name for name, _ in names(Sgd, **kwargs)} <= {"betas[0]"}


def test_what_waits_for_another_is_said_of_the_users_own_alone():
    (given,) = (k for k in dead_knobs(load(Sgd, {"momentum": 0.0, "nesterov": True}), SHAPES) if k.name == "nesterov")
    assert given.waits_for == "momentum=0.0"
    assert given.text.startswith("nesterov=True has no effect as long as momentum=0.0: with False in its place each")

    class Nesterov(Sgd):
        def __init__(self, params, lr=1e-2, momentum=0.0, nesterov=True):
            super().__init__(params, lr, momentum, nesterov)

    assert names(Nesterov) == set()


def test_what_only_vectors_or_large_blocks_use_is_not_dead():
    class Elsewhere(Descent):
        def __init__(self, params, lr=1e-2, momentum=0.9, beta=0.5):
            super().__init__(params, lr)
            self.o = {1: momentum, 4: beta}

        def direction(self, p, state):
            return p.grad * self.o.get(p.ndim, 1.0)

    assert dead_knobs(load(Elsewhere), MATRICES) == ()


@pytest.mark.parametrize("target", [InGradient, Nan, Noisy])
def test_nothing_is_said_where_nothing_can_be_seen(target):
    assert names(target, momentum=0.9) == set()


def test_off_is_not_asked():
    assert names(NoDecay, weight_decay=0.0, nesterov=False) <= {("betas[0]", False)}


@pytest.mark.parametrize("kwargs", [{"momentum": 0.0}, {"clip": 0.0}, {"betas": (0.0, 0.9)}, {"eps": 0.0}])
def test_a_zero_that_does_something_is_not_dead(kwargs):
    assert {name for name, _ in names(Sgd, **kwargs)} <= {"betas[0]"}


TORCH = [c for c in vars(torch.optim).values() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)]


@pytest.mark.parametrize("cls", [c for c in TORCH if c.__name__ not in ("Optimizer", "LBFGS")])
def test_torchs_own_have_none(cls):
    shapes = MATRICES if cls is torch.optim.Muon else SHAPES
    options = cls([torch.nn.Parameter(torch.zeros(2, 2))], **({"lr": 0.1} if cls is torch.optim.SGD else {})).defaults
    given = {"weight_decay": 0.1, "momentum": 0.8, "nesterov": True, "amsgrad": True, "maximize": True, "eps": 1e-8}
    given = {k: v for k, v in given.items() if k in options and (k, cls) != ("eps", torch.optim.Adafactor)}
    assert dead_knobs(load(cls, given), shapes) == ()
    assert dead_knobs(load(cls), shapes) == ()
