"""What an optimizer does besides its update rule: every oddity is found, with its size, and its plain twin has none."""

from __future__ import annotations

import math
import random
from math import inf

import numpy as np
import pytest
import torch
from toys import Momentum

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.judging.wording import about_optimizer
from maxmargin.verify.lab.faults.diagnosis import diagnose
from maxmargin.verify.lab.norm.subject import Subject
from maxmargin.verify.lab.probe.habits import Habits
from maxmargin.verify.lab.probe.probes import probe

SHAPES = {"W": (4, 3), "V": (3, 5), "a": (4,)}


class Sign(Momentum):
    def direction(self, p, state):
        return super().direction(p, state).sign()


def _probe(target, **kwargs):
    return probe(load(target, kwargs), SHAPES)


@pytest.mark.parametrize("target", [Momentum, Sign, "torch.optim:SGD", "torch.optim:Adam", "torch.optim:RMSprop"])
def test_the_plain_twins_have_no_findings(target):
    found = _probe(target)
    assert found.findings == ()
    assert found.convention == "parameters"
    assert found.lr_knob == "lr of the parameter groups"
    assert (found.idle_steps, found.skips, found.reinitialised, found.closure_calls) == (0, 0, 0.0, 0)
    assert (found.eval_shift, found.loss_dependence, found.weight_format) == (None, None, None)
    assert (found.order_dependence, found.split_dependence, found.update_granularity) == (0.0, 0.0, 0.0)
    assert (found.state_formats, found.unmoved, found.gradient_change) == ((), (), 0.0)


def test_a_gradient_that_is_overwritten_is_named():
    class Overwrites(Momentum):
        def direction(self, p, state):
            update = super().direction(p, state)
            p.grad.mul_(0.9)
            return update

    class Clears(Momentum):
        def direction(self, p, state):
            update = super().direction(p, state)
            p.grad = None
            return update

    assert _probe(Overwrites).findings == ("It changes the gradients that it is given (by 1.0e-01, relative).",)
    assert _probe(Clears).findings == ()


# -- The learning rate ----------------------------------------------------------------------------------------------


class CachedRate(Momentum):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self._given = [lr]

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.sub_(self._given[0] * self.direction(p, self.state[p]))


class OwnRate(Momentum):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self.lr = lr

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.sub_(self.lr * self.direction(p, self.state[p]))


class RateInMomentum(Momentum):
    """Heavy ball with the rate inside the buffer: a change of it is heard late."""

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            v = self.state[p].setdefault("v", torch.zeros_like(p))
            v.mul_(0.5).add_(self.param_groups[0]["lr"] * p.grad)
            p.sub_(v)


class RateInRoot(Momentum):
    """Moves 1.4 times as far at twice the rate."""

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.sub_(self.param_groups[0]["lr"] ** 0.5 * self.direction(p, self.state[p]))


def test_a_rate_that_is_not_honoured_and_no_remedy():
    found = _probe(CachedRate)
    assert found.lr_error == pytest.approx(0.5)
    assert found.lr_knob.startswith("none")
    assert "nor anything else that looks like a learning rate; its steps are scaled from outside" in found.findings[0]


def test_a_rate_that_is_not_honoured_and_its_remedy():
    found = _probe(OwnRate)
    assert found.lr_error == pytest.approx(0.5)
    assert found.lr_knob == "a learning rate that the object keeps"
    assert found.lr_knob_error <= 1e-9
    assert "a learning rate that the object keeps is heard instead" in found.findings[0]


def test_a_rate_that_is_heard_late():
    found = _probe(RateInMomentum)
    # doubled before the last of many steps: 1 + 1/2 + 1/4 + ... = 2 gradients before, 3 instead of 4 after
    assert found.lr_error == pytest.approx(0.25, rel=0.1)
    assert "does not move twice as far" in found.findings[0]
    assert "set from the start on it does: a change acts later" in found.findings[0]
    assert found.lr_lags
    said = about_optimizer(found)
    assert said["learning rate honoured"].met
    assert said["learning rate honoured at once"].met is False
    assert said["learning rate honoured at once"].kind == "number"


def test_a_rate_that_is_not_honoured_from_the_start_on_either():
    found = _probe(RateInRoot)
    assert not found.lr_lags
    assert found.lr_constant_error == pytest.approx(1 - 0.5**0.5, rel=1e-6)
    assert about_optimizer(found)["learning rate honoured"].met is False


# -- Steps that are none --------------------------------------------------------------------------------------------


class NoFirstStep(Momentum):
    def direction(self, p, state):
        state["t"] = state.get("t", 0) + 1
        return super().direction(p, state) * (state["t"] > self.idle)

    idle = 1


class LongIdle(NoFirstStep):
    idle = 20


class EveryThird(NoFirstStep):
    def direction(self, p, state):
        state["t"] = state.get("t", 0) + 1
        return p.grad * (state["t"] % 3 == 0)


class NeverMoves(Momentum):
    def direction(self, p, state):
        return torch.zeros_like(p)


def test_idle_steps():
    first, long = _probe(NoFirstStep), _probe(LongIdle)
    assert (first.idle_steps, long.idle_steps) == (1, 20)
    assert "Its first step moves nothing." in first.findings
    assert "It moves nothing in its first 20 steps." in long.findings
    assert long.update_degree == 1  # probed where it moves


def test_steps_that_are_skipped():
    found = _probe(EveryThird)
    assert found.idle_steps == 2
    assert found.skips == 4  # steps 4, 5, 7 and 8 of nine
    assert found.update_degree == 1


def test_an_optimizer_that_never_moves():
    found = _probe(NeverMoves)
    assert found.unmoved == ("W", "V", "a")
    assert "It never moves W; V; a." in found.findings


class FrozenRow(Momentum):
    def direction(self, p, state):
        u = super().direction(p, state).clone()
        if p.ndim == 2:
            u[1] = 0
        else:
            u[2] = 0
        return u


class FrozenColumns(Momentum):
    def direction(self, p, state):
        u = super().direction(p, state).clone()
        if p.shape == (3, 5):
            u[:, [0, 3]] = 0
        return u


def test_weights_that_never_move_are_named():
    assert _probe(FrozenRow).unmoved == ("row 1 of W", "row 1 of V", "1 of 4 entries of a ([2])")
    assert _probe(FrozenColumns).unmoved == ("columns 0, 3 of V",)


class Greedy(Momentum):
    """Moves the entry of the largest gradient, row 1 never."""

    frozen = False

    def direction(self, p, state):
        g = p.grad.clone()
        if self.frozen and p.ndim == 2:
            g[1] = 0
        u = torch.zeros_like(p)
        u.view(-1)[g.abs().argmax()] = g.view(-1)[g.abs().argmax()]
        return u


class FrozenAndGreedy(Greedy):
    frozen = True


class OneAfterAnother(Momentum):
    """Moves one entry of a block in each step, in turn."""

    def direction(self, p, state):
        state["t"] = state.get("t", 0) + 1
        u = torch.zeros_like(p)
        u.view(-1)[state["t"] % p.numel()] = p.grad.view(-1)[state["t"] % p.numel()]
        return u


def test_weights_that_wait_for_their_turn_are_not_said_never_to_move():
    """Eight steps on nearly one gradient show a greedy rule's first choice alone."""
    assert _probe(Greedy).unmoved == ()
    assert _probe(OneAfterAnother).unmoved == ()
    assert _probe(FrozenAndGreedy).unmoved == ("row 1 of W", "row 1 of V")


def test_signs_that_cancel_are_moves():
    """Equal steps there and back leave a weight where it was; it has moved."""

    class ThereAndBack(Momentum):
        def direction(self, p, state):
            state["t"] = state.get("t", 0) + 1
            return torch.ones_like(p) * (-1) ** state["t"]

    assert _probe(ThereAndBack).unmoved == ()


# -- Weights and loss -----------------------------------------------------------------------------------------------


class Reinitialises(Momentum):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.mul_(3.0)


def test_a_constructor_that_changes_the_weights():
    found = _probe(Reinitialises)
    assert found.reinitialised == pytest.approx(2.0)
    assert any("Its constructor changes the weights" in f for f in found.findings)


class SwapsWeights(Momentum):
    evaluating = False

    def train(self):
        self._swap(False)

    def eval(self):
        self._swap(True)

    def _swap(self, evaluating):
        if evaluating != self.evaluating:
            self.evaluating = evaluating
            for p in self.param_groups[0]["params"]:
                p.data.mul_(2.0 if evaluating else 0.5)


class SwapsNothing(Momentum):
    def train(self):
        pass

    def eval(self):
        pass


def test_evaluated_weights():
    assert _probe(SwapsWeights).eval_shift == pytest.approx(0.5)
    assert any("eval() swaps the weights" in f for f in _probe(SwapsWeights).findings)
    assert _probe(SwapsNothing).eval_shift == 0.0
    assert _probe(SwapsNothing).findings == ()


class TwoEvaluations(Momentum):
    def step(self, closure):
        closure()
        self.loss = float(closure())
        super().step()


class Polyak(TwoEvaluations):
    def direction(self, p, state):
        return p.grad * self.loss


def test_closures_and_losses():
    twice = _probe(TwoEvaluations)
    assert twice.closure_calls == 2
    assert twice.loss_dependence == 0.0
    assert any("evaluates its closure 2 times" in f for f in twice.findings)
    polyak = _probe(Polyak)
    assert polyak.loss_dependence == pytest.approx(0.5)
    assert any("depends on the loss value" in f for f in polyak.findings)


# -- Order and groups -----------------------------------------------------------------------------------------------


class FirstIsDifferent(Momentum):
    @torch.no_grad()
    def step(self, closure=None):
        for i, p in enumerate(self.param_groups[0]["params"]):
            p.sub_(self.param_groups[0]["lr"] * p.grad * (2.0 if i == 0 else 1.0))


class NormalizedGroup(Momentum):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            total = torch.stack([p.grad.square().sum() for p in group["params"]]).sum().sqrt()
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad / total)


def test_dependence_on_the_order():
    assert _probe(FirstIsDifferent).order_dependence > 0.1
    assert any("list of parameters is reversed" in f for f in _probe(FirstIsDifferent).findings)


def test_dependence_on_groups():
    found = _probe(NormalizedGroup)
    assert found.split_dependence > 0.1
    assert found.order_dependence == 0.0
    assert any("shared over a group" in f for f in found.findings)


# -- Randomness -----------------------------------------------------------------------------------------------------


class TorchNoise(Momentum):
    def noise(self, p):
        return torch.randn_like(p)

    def direction(self, p, state):
        return p.grad + 1e-3 * self.noise(p)


class NumpyNoise(TorchNoise):
    def noise(self, p):
        return torch.as_tensor(np.random.standard_normal(p.shape))  # noqa: NPY002, as people write it


class PythonNoise(TorchNoise):
    def noise(self, p):
        return random.random()


class OwnNoise(TorchNoise):
    """From a generator that no seed reaches."""

    source = np.random.default_rng()

    def noise(self, p):
        return torch.as_tensor(self.source.standard_normal(p.shape))


@pytest.mark.parametrize("target", [TorchNoise, NumpyNoise, PythonNoise, OwnNoise])
def test_noise_from_anywhere_is_found(target):
    assert 1e-4 < _probe(target).random < 1e-2


def test_probing_leaves_random_numbers_alone():
    torch.manual_seed(1)
    wanted = float(torch.rand(()))
    torch.manual_seed(1)
    _probe(TorchNoise)
    assert float(torch.rand(())) == wanted


# -- Casts ----------------------------------------------------------------------------------------------------------


class CastGradient(Momentum):
    dtype = torch.float32

    def direction(self, p, state):
        return p.grad.to(self.dtype).double()


class CastTo16(CastGradient):
    dtype = torch.bfloat16


class CastToHalf(CastGradient):
    dtype = torch.float16


class CastState(Momentum):
    def direction(self, p, state):
        m = state.setdefault("m", torch.zeros_like(p, dtype=torch.float32))
        m.mul_(0.9).add_(0.1 * p.grad.float())
        return m.double()


class CastWeights(Momentum):
    def direction(self, p, state):
        p.copy_((p - 1e-2 * p.grad).float().double())
        return torch.zeros_like(p)


class NewtonSchulz(Momentum):
    """Five iterations, in the dtype given."""

    dtype = torch.float64

    def direction(self, p, state):
        if p.ndim < 2:
            return p.grad
        x = p.grad.to(self.dtype)
        x = x / x.norm()
        for _ in range(5):
            a = x @ x.mT
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        return x.double()


class NewtonSchulz16(NewtonSchulz):
    dtype = torch.bfloat16


@pytest.mark.parametrize(
    ("target", "unit", "name"),
    [
        (CastGradient, 2.0**-23, "float32"),
        (CastTo16, 2.0**-8, "bfloat16 or float16"),
        (CastToHalf, 2.0**-11, "bfloat16 or float16"),
        (CastState, 2.0**-23, "float32"),
        (NewtonSchulz16, 2.0**-8, "bfloat16 or float16"),
    ],
)
def test_a_step_through_low_precision(target, unit, name):
    found = _probe(target)
    assert (
        abs(math.log2(found.update_granularity / unit)) <= 5
    )  # octaves: blocks of few entries tell it to a factor of 30
    assert any(f"as if it passed through {name}" in f for f in found.findings)


@pytest.mark.parametrize("target", [NewtonSchulz, Momentum, Sign, "torch.optim:Rprop"])
def test_float64_and_signs_are_no_casts(target):
    assert _probe(target).update_granularity == 0.0


def test_state_in_low_precision():
    found = _probe(CastState)
    assert found.state_formats == ("m in float32",)
    assert "It keeps state in low precision: m in float32." in found.findings
    assert _probe("torch.optim:Adam").state_formats == ()  # its step counter is float32, and counts


def test_weights_in_low_precision():
    found = _probe(CastWeights)
    assert found.weight_format == "float32"
    assert any(f.startswith("It rounds the weights to float32: ") for f in found.findings)


# -- Hands ----------------------------------------------------------------------------------------------------------


def test_an_odd_convention_is_reported():
    class WantsNames(Momentum):
        def __init__(self, named_parameters, lr=1e-2):
            super().__init__([p for _, p in named_parameters], lr)

    found = _probe(WantsNames)
    assert found.convention == "named parameters"
    assert "Parameters are handed over as named parameters." in found.findings


def test_an_optimizer_that_fails_on_small_gradients_is_probed():
    class Fails(Momentum):
        def direction(self, p, state):
            if 0 < float(p.grad.norm()) < 1e-19:
                raise RuntimeError("value cannot be converted to type float without overflow")
            return p.grad.sign()

    found = _probe(Fails)
    assert found.update_degree == 0
    assert 1e-20 < found.floor < 1e-18


def test_nothing_is_said_of_what_is_not_a_number():
    seen = Habits(reinitialised=inf, eval_shift=inf, loss_dependence=inf, order_dependence=inf, split_dependence=inf)
    assert [r.text for r in (*seen.remarks, *Habits(lr_error=inf, lr_knob_error=inf).remarks)] == []


# -- Rounding of the weights is no broken hypothesis ---------------------------------------------------------------


class Rounds(Sign):
    """Signs of an average; the weights are kept in a format of their own, and decay a little, if asked."""

    def __init__(self, params, lr=1e-4, dtype=torch.float32, hidden=0.0, power=1.0):
        super().__init__(params, lr)
        self.dtype, self.hidden, self.power = dtype, hidden, power

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                lr = 1e-4 * (group["lr"] / 1e-4) ** self.power
                moved = p - lr * (self.direction(p, self.state[p]) + self.hidden * p)
                p.copy_(moved.to(self.dtype).double())


class RoundsDescent(Rounds):
    """Along the average itself: steps of small gradients are small."""

    direction = Momentum.direction


@pytest.mark.parametrize("lr", [1e-5, 1e-4, 1e-2])
def test_weights_rounded_to_float32_break_no_hypothesis(lr):
    found = _probe(Rounds, lr=lr)
    said = about_optimizer(found)
    assert found.weight_format == "float32"
    assert 1e-7 < found.blur < 1e-5
    assert said["independent of the weights"].met
    assert said["learning rate honoured"].met
    assert said["scale invariant"].met
    assert found.step_per_lr == pytest.approx(lr * 31**0.5, rel=1e-2)


def test_a_true_decay_shows_through_the_rounding():
    said = about_optimizer(_probe(Rounds, hidden=1e-4))
    assert said["independent of the weights"].met is False
    assert 1e-5 < said["independent of the weights"].value < 1e-3
    assert about_optimizer(_probe(Rounds, power=1.001))["learning rate honoured"].met is False


def test_what_a_coarse_format_hides_nobody_can_tell():
    said = about_optimizer(_probe(Rounds, dtype=torch.bfloat16, lr=1e-2))
    assert said["independent of the weights"].met is None


def test_rounding_is_no_fault_of_the_steps():
    class Case(Rounds):
        pass

    subject = Subject(load(Case, {"lr": 1e-5}), SHAPES)
    assert [f for f in diagnose(subject, get_norm("linf")) if f.kind == "weights"] == []
    subject = Subject(load(RoundsDescent, {"lr": 1e-2}), SHAPES)  # small gradients' steps are all rounding
    assert [f for f in diagnose(subject, get_norm("l2")) if f.kind == "weights"] == []
    subject = Subject(load(Case, {"lr": 1e-2, "hidden": 0.01}), SHAPES)
    assert [f for f in diagnose(subject, get_norm("linf")) if f.kind == "weights"]
