"""Asking what the next steps would be leaves no trace, whatever the optimizer keeps and wherever."""

import threading

import numpy as np
import pytest
import torch
from toys import Descent, Sums

from maxmargin.models import problems
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.engine.losses import LOSSES
from maxmargin.verify.engine.run import starts
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.training import blackbox_run as blackbox
from maxmargin.verify.training.pacing import pace_of
from maxmargin.verify.training.rewind import response_of

PROBLEM = problems.get("multiclass")


class Counts(torch.optim.Adagrad):
    """Keeps something in an attribute that torch's own copying of optimizers loses, and draws from a generator."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr=lr)
        self.calls, self.noise = 0, torch.Generator().manual_seed(3)

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(1.0 + 1e-9 * torch.rand(p.shape, generator=self.noise, dtype=p.dtype) + 1e-3 / self.calls)
        super().step()


class Wraps:
    """An optimizer made of another one, with a momentum kept in p.grad."""

    def __init__(self, params, lr=1e-2):
        self.inner = Counts(params, lr)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state

    def zero_grad(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.mul_(0.5)

    def step(self):
        self.inner.step()


def runs_of(target, count=2):
    loaded = load(target, {})
    about = probe(loaded, PROBLEM.shapes)
    start = {k: b.to(torch.float64) for k, b in starts(PROBLEM, count, seed=0, scale=0.01).items()}
    batch = blackbox._Runs(
        loaded, PROBLEM, PROBLEM.shapes, start, about, pace_of(about), LOSSES["cross-entropy"], False, True
    )
    batch.look()
    return batch


def onward(batch, first, last):
    for step in range(first, last):
        batch.step(step)
        batch.look()


@pytest.mark.parametrize("target", [torch.optim.Adagrad, Counts, Wraps, torch.optim.Adam, Sums])
def test_a_run_goes_on_as_if_nobody_had_asked(target):
    asked, plain = runs_of(target), runs_of(target)
    for begin in (1, 40):
        onward(asked, begin, begin + 39)
        onward(plain, begin, begin + 39)
        assert np.isfinite(asked.response(begin).maps).all()
    assert torch.equal(asked.now, plain.now)


def test_asking_twice_gets_the_same_answer():
    batch = runs_of(Counts)
    onward(batch, 1, 40)
    first, second = batch.response(39), batch.response(39)
    assert np.array_equal(first.maps, second.maps)
    assert np.array_equal(first.errors, second.errors)


def test_what_cannot_be_copied_is_no_response():
    class Locked(torch.optim.Adagrad):
        def __init__(self, params, lr=1e-2):
            super().__init__(params, lr=lr)
            self.lock = threading.Lock()  # a thing that cannot be copied

    batch = runs_of(Locked)
    onward(batch, 1, 10)
    found = batch.response(9)
    assert (found.errors == np.inf).all()
    onward(batch, 10, 20)  # and the run goes on


def test_adagrad_answers_with_the_roots_of_its_sums():
    batch = runs_of(torch.optim.Adagrad)
    onward(batch, 1, 2000)
    found = batch.response(1999)
    for run in range(2):
        # The sums are the true gradients' own: nothing was rescaled.
        sums = next(iter(batch.instances.handles[run].optimizer.state.values()))["sum"].reshape(-1).numpy()
        assert sums == pytest.approx(found.squares[run], rel=1e-9)
        rates = np.diag(found.maps[run]) * np.sqrt(sums)
        assert np.ptp(rates) <= 1e-4 * rates.max()
    assert found.errors.max() <= 1e-6


def test_a_run_given_up_has_no_response():
    batch = runs_of(torch.optim.Adagrad)
    onward(batch, 1, 50)
    batch.instances.drop(0)
    found = batch.response(49)
    assert found.errors[0] == np.inf
    assert np.isfinite(found.errors[1])


def test_plain_descent_answers_with_the_identity():
    class Plain(Descent):
        def direction(self, p, state):
            return p.grad

    batch = runs_of(Plain)
    found = response_of(batch.instances, batch.weights, batch.parts, batch.gradient, 0)
    assert np.abs(found.maps / found.maps[:, :1, :1] - np.eye(24)).max() <= 1e-9
