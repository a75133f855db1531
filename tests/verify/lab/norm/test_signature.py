"""Steps under prescribed gradients: what is fed, what is read, and that the norm comes back from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import ErrorFeedback, Momentum, Rule, SignDescent, polar

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.lab.norm import signature as signatures
from maxmargin.verify.lab.norm.fingerprint import read
from maxmargin.verify.lab.norm.signature import (
    follow,
    late_start,
    random_start,
    signature,
    spread_gradient,
    steps_apart,
)
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.thresholds.norm import MEAN_STEPS, SIGNATURE_SPREAD, SIGNATURE_START, SIGNATURE_STEPS

SHAPES = {"W": (5, 3), "V": (2, 4), "a": (4,)}


def test_gradients_are_spread():
    rng = np.random.default_rng(0)
    for shape in [(6, 4), (3, 9), (2, 2), (1, 5)]:
        s = np.linalg.svd(spread_gradient(rng, shape), compute_uv=False)
        assert s[0] == pytest.approx(1.0)
        assert s[-1] >= 1 / SIGNATURE_SPREAD - 1e-12
    entries = np.abs([spread_gradient(rng, (50,)) for _ in range(20)])
    assert entries.max() == 1.0
    assert 1 / SIGNATURE_SPREAD <= entries.min() < 2 / SIGNATURE_SPREAD
    assert np.median(np.log(entries)) == pytest.approx(-np.log(SIGNATURE_SPREAD) / 2, rel=0.1)


def test_the_last_step_is_returned():
    gradients = [{"a": np.array([1.0, -2.0])}, {"a": np.array([4.0, 0.5])}]
    start = {"a": np.array([10.0, 20.0])}
    update = follow(load(torch.optim.SGD, {"lr": 0.1, "momentum": 0.5}), gradients, start)
    np.testing.assert_allclose(update["a"], [-0.1 * (0.5 * 1 + 4), -0.1 * (0.5 * -2 + 0.5)], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(start["a"], [10.0, 20.0])


def test_decay_acts_on_the_given_start():
    start = {"a": np.array([10.0, 20.0])}
    update = follow(load(torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.5}), [{"a": np.zeros(2)}], start)
    np.testing.assert_allclose(update["a"], [-0.5, -1.0], rtol=1e-14)


def test_torch_seeds_are_given():
    def noise(seed):
        target = load(Rule, {"rule": torch.rand_like})
        return follow(target, [{"a": np.ones(3)}], {"a": np.zeros(3)}, torch_seed=seed)["a"]

    np.testing.assert_array_equal(noise(3), noise(3))
    assert np.abs(noise(3) - noise(4)).max() > 1e-4


def test_a_signature_is_made_of_steady_steps():
    seen = []

    def rule(m):
        seen.append(m.clone())
        return m

    steps = signature(load(Rule, {"rule": rule, "momentum": 0.0, "lr": 0.5}), {"W": (3, 2)}, seed=1, draws=4)
    assert len(steps) == 4
    for step in steps:
        assert sum(np.array_equal(g.numpy(), step.gradient["W"]) for g in seen) == SIGNATURE_STEPS
        np.testing.assert_allclose(step.update["W"], -0.5 * step.gradient["W"], atol=1e-15)
        assert step.eta == 1.0


def test_seeds_draw_gradients():
    target = load(torch.optim.SGD, {"lr": 0.1})
    a, b, c = (signature(target, SHAPES, seed, draws=2) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a[1].update["W"], b[1].update["W"])
    assert np.abs(a[1].gradient["W"] - c[1].gradient["W"]).max() > 0.01


def test_steps_that_are_not_finite_are_left_out():
    def rule(m):
        return m / (m[0] > 0).double()  # half of the draws divide by 0

    steps = signature(load(Rule, {"rule": rule}), {"a": (3,)}, draws=16)
    assert 0 < len(steps) < 16
    assert all(s.gradient["a"][0] > 0 for s in steps)


def test_a_step_that_fails_is_reported():
    def rule(m):
        raise RuntimeError("only matrices")

    with pytest.raises(TargetError, match="only matrices"):
        signature(load(Rule, {"rule": rule}), SHAPES, draws=1)


def test_starts_are_of_their_size():
    start = random_start(np.random.default_rng(0), {"W": (40, 50)})
    assert np.std(start["W"]) == pytest.approx(SIGNATURE_START, rel=0.05)


@pytest.mark.parametrize("shape", [(40, 50), (5, 3), (3,), (1,)])
def test_late_starts_are_as_large_and_lean_against_the_gradient(shape):
    for seed in range(20):
        plain = random_start(np.random.default_rng(seed), {"W": shape})["W"]
        gradient = np.random.default_rng(seed + 100).standard_normal(shape)
        late = late_start(np.random.default_rng(seed), {"W": gradient})["W"]
        assert np.linalg.norm(late) == pytest.approx(np.linalg.norm(plain))
        assert -np.sum(late * gradient) >= 0.866 * np.linalg.norm(late) * np.linalg.norm(gradient)


class AlongTheSphere(Momentum):
    """Where weights are nearly orthogonal to their gradient, its step leaves their length alone (AdamP)."""

    def direction(self, p, state):
        m = super().direction(p, state)
        nearly = torch.sum(p * p.grad).abs() < 0.3 * p.norm() * p.grad.norm()
        return m - p * torch.sum(p * m) / p.norm() ** 2 if nearly else m


def test_what_steps_do_where_weights_are_orthogonal_to_gradients_is_not_read(monkeypatch):
    target = load(AlongTheSphere)
    assert read(signature(target, SHAPES)).alignment > 1 - 1e-9
    monkeypatch.setattr(signatures, "leaning", lambda weights, _: weights)
    assert read(signature(target, SHAPES)).alignment < 0.995


@pytest.mark.parametrize(
    ("rule", "kwargs", "norm"),
    [
        (lambda m: m, {}, "l2"),
        (torch.sign, {}, "linf"),
        (polar, {}, "hybrid"),
        (lambda m: polar(m) if m.ndim == 2 else m / m.norm(), {}, "spectral"),
        (lambda m: m / m.norm(), {}, "l2;max"),  # layer-normalized gradient descent
        (lambda m: m / m.norm(dim=-1, keepdim=True), {}, "blocks:V=maxrow,W=maxrow,a=l2;max"),
        (polar, {"lr": 1e-2, "vectors_lr": 5e-3}, "hybrid:0.5"),
        (polar, {"lr": 1e-2, "vectors_lr": 4e-2}, "hybrid:4"),
        (lambda m: m, {"lr": 1e-2, "vectors_lr": 4e-2}, "blocks:V=2*l2,W=2*l2,a=l2;l2"),
        (
            lambda m: polar(m) * (max(1.0, m.shape[0] / m.shape[1]) ** 0.5 if m.ndim == 2 else 1.0),
            {},
            f"blocks:V={(5 / 3) ** 0.5}*spectral,W=spectral,a={(5 / 3) ** 0.5}*linf;max",
        ),
    ],
)
def test_the_norm_is_read_off_the_steps(rule, kwargs, norm):
    target, wanted = load(Rule, {"rule": rule, **kwargs}), get_norm(norm)
    found = read(signature(target, SHAPES, draws=12), probe(target, SHAPES).coupling)
    assert found.alignment > 1 - 1e-3
    rng = np.random.default_rng(2)
    ratios = []
    for k in [*SHAPES, None]:
        theta = {n: (10.0 if n == k else 1.0) * rng.standard_normal(s) for n, s in SHAPES.items()}
        ratios.append(float(found.norm.value(theta)) / float(wanted.value(theta)))
    assert max(ratios) / min(ratios) < 1.002, found.norm.spec


# -- Steps that go on changing under a constant gradient ----------------------------------------------------------


class Forgets(ErrorFeedback):
    kept = False


class Lookahead(SignDescent):
    """Signs; every fifth step goes back half of the way to where the last such step was left."""

    def direction(self, p, state):
        slow = state.setdefault("slow", p.clone())
        state["t"] = state.get("t", 0) + 1
        if state["t"] % 5:
            return super().direction(p, state)
        rate = self.param_groups[0]["lr"]
        back = super().direction(p, state) + 0.5 * (p - rate * super().direction(p, state) - slow) / rate
        state["slow"] = p - rate * back
        return back


@pytest.mark.parametrize(("cls", "norm"), [(ErrorFeedback, "l2"), (Lookahead, "linf")])
def test_the_mean_is_read_where_single_steps_go_on_changing(cls, norm):
    target = load(cls)
    assert steps_apart(target, SHAPES) == MEAN_STEPS
    found = read(signature(target, SHAPES, more=MEAN_STEPS))
    assert found.norm.name == norm
    assert found.alignment > 0.999


def test_single_steps_of_error_feedback_are_anothers():
    assert read(signature(load(ErrorFeedback), SHAPES)).family != "l2"


@pytest.mark.parametrize("cls", [Forgets, Momentum, SignDescent, torch.optim.Adam, torch.optim.RAdam])
def test_single_steps_that_settle_are_read_as_they_are(cls):
    assert steps_apart(load(cls), SHAPES) == 0
