"""How long states remember, which never forget, and how fast a run may go: of torch's optimizers and of toys."""

from __future__ import annotations

import math

import pytest
import torch
from toys import Descent as Custom
from toys import Lion, SharedScale

from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.probe.probes import probe

SHAPES = {"W": (3, 2), "V": (2, 4), "a": (4,)}


def _probe(target, **kwargs):
    return probe(load(target, kwargs), SHAPES)


@pytest.mark.parametrize(
    ("target", "kwargs", "memory", "lag"),
    [
        ("torch.optim:SGD", {}, 1.0, 1.0),
        ("torch.optim:SGD", {"momentum": 0.9}, 10.0, 0.1),
        ("torch.optim:Adam", {"eps": 0.0, "betas": (0.9, 0.99)}, 100.0, 0.005),
        ("torch.optim:Adam", {"eps": 0.0, "betas": (0.9, 0.5)}, 10.0, resonance_limit(0.9, 0.5)),
        ("torch.optim:RMSprop", {"eps": 0.0, "alpha": 0.95}, 20.0, 0.025),
        ("torch.optim:Adagrad", {"eps": 0.0}, math.inf, 1.0),
        (Lion, {}, 50.0, 0.02),
        (SharedScale, {}, 10.0, 0.05),
    ],
)
def test_memory_and_lag(target, kwargs, memory, lag):
    found = _probe(target, **kwargs)
    assert found.memory == pytest.approx(memory, rel=1e-6)
    assert found.lag_limit == pytest.approx(lag, rel=1e-6)


class Distance(torch.optim.SGD):
    """Its rate comes from the first gradient's length, which it keeps for ever."""

    @torch.no_grad()
    def step(self, closure=None):
        group = self.param_groups[0]
        params = group["params"]
        group.setdefault("first", torch.stack([p.grad.norm() for p in params]).norm())
        for p in params:
            p.sub_(group["lr"] * p.grad / group["first"])


class Beginning(torch.optim.Adagrad):
    """Its sums begin at a number of their own, so that they scale by no power of the gradient."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr=lr, initial_accumulator_value=0.3, eps=0.0)


class Slow(torch.optim.Optimizer):
    """Squares averaged over all steps; ``kept``: summed, and divided by a power of t; 1 − t^−``forgets`` is kept."""

    def __init__(self, params, lr=1e-2, kept=0.0, forgets=1.0):
        super().__init__(params, {"lr": lr})
        self.kept, self.forgets = kept, forgets

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                t = state["calls"] = state.get("calls", 0) + 1
                v = state.setdefault("v", torch.zeros_like(p))
                if self.kept:
                    v.mul_(((t - 1) / t) ** self.kept).add_(p.grad**2)
                else:
                    v.add_((p.grad**2 - v) / t**self.forgets)
                p.sub_(group["lr"] * p.grad / v.sqrt())


class Copies(torch.optim.SGD):
    """Keeps the weights that it began with, and goes a little towards them."""

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            begin = self.state[p].setdefault("begin", p.clone())
            p.sub_(1e-3 * (p - begin))
        super().step()


class Between(torch.optim.Optimizer):
    """Its momentum lies between the weights and a place among them (AccSGD's way); or that place only follows."""

    def __init__(self, params, lr=1e-2, ahead=0.1, pull=0.2, watched=False):
        super().__init__(params, {"lr": lr})
        self.ahead, self.pull, self.watched = ahead, pull, watched

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                place = self.state[p].setdefault("place", p.clone())
                place.add_(self.ahead * (p - place)).sub_(group["lr"] * p.grad)
                if not self.watched:
                    p.add_(self.pull * (place - p))
                p.sub_(group["lr"] * p.grad)


@pytest.mark.parametrize(("ahead", "pull"), [(0.1, 0.2), (0.01, 0.05)])
def test_a_momentum_between_the_weights_and_a_copy_is_remembered(ahead, pull):
    """Without gradient the two approach by (1 − ahead)(1 − pull) in a step; there is no schedule besides."""
    kept = (1 - ahead) * (1 - pull)
    found = _probe(Between, ahead=ahead, pull=pull)
    assert found.memory == pytest.approx(1 / (1 - kept), rel=1e-6)
    assert found.lag_limit == pytest.approx(1 - kept, rel=1e-6)
    assert found.own_schedule == 0.0


def test_a_copy_that_only_follows_the_weights_is_no_memory():
    assert _probe(Between, watched=True).memory == 1.0


class Diary(Custom):
    """Keeps what no step reads, 1 more than the last gradient's entries; or what the next one divides by."""

    def direction(self, p, state):
        kept = state.setdefault("kept", torch.ones_like(p))
        step = p.grad / (kept if self.defaults.get("reads") else 1.0)
        kept.copy_(1 + p.grad.abs())
        return step


def test_a_state_that_no_step_reads_needs_no_degree():
    found = _probe(Diary)
    assert set(found.state_degrees.values()) == {0.0}
    assert found.exactly_invariant
    assert any(math.isnan(d) for d in _probe(Diary, reads=True).state_degrees.values())


@pytest.mark.parametrize(
    ("target", "kwargs", "memory", "stays"),
    [
        ("torch.optim:Adagrad", {}, math.inf, True),
        ("torch.optim:Adam", {"amsgrad": True}, math.inf, True),
        (Beginning, {}, math.inf, True),
        (Slow, {}, math.inf, True),
        (Slow, {"kept": 0.5}, math.inf, True),
        (Slow, {"forgets": 0.8}, math.inf, False),
        (Distance, {}, 1.0, False),
        (Copies, {}, 1.0, False),
        ("torch.optim:Adam", {}, 1000.0, False),
        ("torch.optim:SGD", {"momentum": 0.9}, 10.0, False),
    ],
)
def test_what_stands_still_and_shapes_the_steps(target, kwargs, memory, stays):
    found = _probe(target, **kwargs)
    assert found.memory == pytest.approx(memory, rel=1e-6)
    assert found.stays is stays


def test_moments_that_take_turns_forget():
    class Turns(Custom):
        every = 2

        def direction(self, p, state):
            state["step"] = state.get("step", 0) + 1
            turn = f"moment {state['step'] % self.every}"
            state[turn] = 0.8 * state.get(turn, torch.zeros_like(p)) + 0.2 * p.grad
            return sum(m for k, m in state.items() if k != "step")

    class Seldom(Custom):
        def direction(self, p, state):
            state["step"] = state.get("step", 0) + 1
            if state["step"] % 10 == 1:
                state["scale"] = 0.9 * state.get("scale", 0.0) + 0.1 * p.grad.norm()
            return p.grad / state["scale"]

    # 0.8 in every other step is 0.8^(1/2) a step.
    assert _probe(Turns).memory == pytest.approx(1 / (1 - 0.8**0.5), rel=0.02)
    assert _probe(Seldom).memory == pytest.approx(1 / (1 - 0.9**0.1), rel=0.2)


class Debiased(torch.optim.Optimizer):
    """Adam whose weights correct the bias, as many packages write it: at step t, (β^t − β)/(β^t − 1) in β's place."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas, "t": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["t"] += 1
            b1, b2 = ((b ** group["t"] - b) / (b ** group["t"] - 1) for b in group["betas"])
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p)).mul_(b1).add_(p.grad, alpha=1 - b1)
                v = self.state[p].setdefault("v", torch.zeros_like(p)).mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                p.addcdiv_(m, v.sqrt(), value=-group["lr"])


@pytest.mark.parametrize("beta", [0.95, 0.99, 0.999])
def test_memory_is_measured_once_it_has_settled(beta):
    """After eight steps such a moment seems to remember eight; a run at that pace would leave it behind."""
    found = _probe(Debiased, betas=(0.9, beta))
    assert found.memory == pytest.approx(1 / (1 - beta), rel=0.1)
    assert found.lag_limit == pytest.approx((1 - beta) / 2, rel=0.1)


def test_a_mean_of_all_gradients_never_forgets():
    class Mean(Custom):
        def direction(self, p, state):
            state["n"] = state.get("n", 0) + 1
            state["mean"] = state.get("mean", torch.zeros_like(p)) * (1 - 1 / state["n"]) + p.grad / state["n"]
            return state["mean"]

    assert _probe(Mean).memory == math.inf


@pytest.mark.parametrize("window", [10, 50, 200])
def test_a_window_forgets_all_at_once(window):
    """The largest gradient of the last steps: nothing of it fades before it is gone."""

    class Window(Custom):
        def direction(self, p, state):
            kept = state.setdefault("kept", torch.zeros(window, *p.shape, dtype=p.dtype))
            kept.copy_(kept.roll(1, 0))
            kept[0] = p.grad.abs()
            return p.grad / kept.amax(0)

    found = _probe(Window)
    assert window - 4 <= found.memory <= window
    assert not found.stays


def test_a_running_maximum_never_forgets():
    found = _probe("torch.optim:Adam", eps=0.0, betas=(0.9, 0.95), amsgrad=True)
    assert found.memory == math.inf
    assert found.lag_limit == pytest.approx(0.1, rel=1e-6)  # the mean follows; the squares need not


def test_two_moments_that_resonate_are_followed_more_slowly():
    usual, odd = (probe(load("torch.optim:Adam", {"eps": 0.0, "betas": b}), SHAPES) for b in ((0.9, 0.9), (0.95, 0.9)))
    assert usual.lag_limit == pytest.approx(0.05, rel=1e-3)
    assert odd.lag_limit == pytest.approx(0.0177, rel=1e-2)


class LogMoment(torch.optim.Optimizer):
    """RMSprop whose log v is what is kept: under small gradients its size grows as v is forgotten."""

    def __init__(self, params, lr=1e-3, alpha=0.95):
        super().__init__(params, {"lr": lr, "alpha": alpha})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                log_g = p.grad.abs().log()
                old = self.state[p].get("log_v", torch.full_like(p, -torch.inf))
                self.state[p]["log_v"] = torch.logaddexp(
                    old + math.log(group["alpha"]), 2 * log_g + math.log(1 - group["alpha"])
                )
                p.sub_(group["lr"] * p.grad.sign() * (log_g - self.state[p]["log_v"] / 2).exp())


def test_a_logarithm_that_grows_as_its_moment_is_forgotten_is_no_sum():
    found = _probe(LogMoment)
    assert not found.stays
    assert found.memory < math.inf
