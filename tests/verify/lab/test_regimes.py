"""Two optimizers in one: where the one passes into the other, and that each is measured far from there."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import Units, load
from maxmargin.verify.lab.examine import Laboratory
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.regimes import regimes
from maxmargin.verify.lab.twin.search import search
from maxmargin.verify.results.answer import Answer, NoNorm
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.running.checking import check
from maxmargin.verify.running.spread import Backend
from tests.toys import Descent, Momentum, SignDescent

SHAPES = {"W": (4, 3), "a": (3,)}


def _found(target, kwargs=None, seed=0):
    loaded = load(target, kwargs)
    return regimes(loaded, SHAPES, probe(loaded, SHAPES), seed)


class ClippedNorm(torch.optim.SGD):
    """Gradients longer than 1 are cut to that length."""

    def step(self, closure=None):
        torch.nn.utils.clip_grad_norm_([p for g in self.param_groups for p in g["params"]], 1.0)
        return super().step(closure)


class Guarded(Momentum):
    """Along the normalized average, with a guard that is far below every eps in use."""

    def direction(self, p, state):
        m = super().direction(p, state)
        return m / (m.norm() + 1e-30)


class Steps(Momentum):
    """The sign of gradients above 1, their square root between 1e-12 and 1, and themselves below: three regimes."""

    def direction(self, p, state):
        g = p.grad
        size = g.norm()
        return torch.where(size > 1, g / size, torch.where(size > 1e-12, g / size**0.5, 1e6 * g))


class Friction(Descent):
    """Adam's step of a memory of 100, and a factor from 1/2 to 1 by how much each entry's gradient changes (diffGrad).

    ``grows``: by its size instead, as a power of it.
    """

    def __init__(self, params, lr=1e-3, eps=1e-8, grows=0.0):
        super().__init__(params, lr)
        self.eps, self.grows = eps, grows

    def direction(self, p, state):
        v, before = (state.setdefault(k, torch.zeros_like(p)) for k in ("v", "before"))
        v.mul_(0.99).add_(0.01 * p.grad**2)
        factor = torch.sigmoid((before - p.grad).abs())
        if self.grows:
            factor = torch.clamp(p.grad.norm(), max=1.0) ** self.grows
        before.copy_(p.grad)
        return factor * p.grad / (v.sqrt() + self.eps)


class Partial(Descent):
    """Adam's step with half of its exponent (Padam)."""

    def direction(self, p, state):
        v = state.setdefault("v", torch.zeros_like(p))
        v.mul_(0.95).add_(0.05 * p.grad**2)
        return p.grad / (v.sqrt() + 1e-8) ** 0.5


def test_steps_that_change_in_length_alone_are_of_one_regime():
    """The factor 1/2 of small changes is a matter of the learning rate; one that goes on falling is a third regime."""
    two = _found(Friction)
    assert two.degrees == (0.0, 1.0)
    assert two.floor < 1e-5 < 0.1 < two.shift < 1000  # its eps; and where the factor changes
    assert probe(two.above, SHAPES).exactly_invariant
    assert _found(Friction, {"grows": 0.1}) is None


def test_a_regime_may_have_a_power_of_its_own():
    two = _found(Partial)
    assert two.degrees == (0.5, 1.0)
    assert two.shift is None
    about = probe(two.above, SHAPES)
    assert about.update_degree == 0.5
    assert about.defect <= 1e-9


class LongerMemory(Descent):
    """An average of gradients that forgets more slowly where they are short, from its beginning on (Adai's does)."""

    def direction(self, p, state):
        m, left = state.get("m", torch.zeros_like(p)), state.get("left", 1.0)
        keep = 0.9 if max(p.grad.norm(), m.norm()) > 0.1 else 0.95
        state["m"], state["left"] = m, left = keep * m + (1 - keep) * p.grad, keep * left
        return m / (1 - left)


class InHalf(Momentum):
    """An average of gradients that passes through float16."""

    def direction(self, p, state):
        return super().direction(p, state).half().double()


class TwiceNormalized(Descent):
    """Along the average of normalized gradients, normalized again, each with an eps: the second hides the first."""

    def direction(self, p, state):
        m = state.setdefault("m", torch.zeros_like(p))
        m.mul_(0.9).add_(0.1 * p.grad / (p.grad.norm() + 1e-8))
        return m / (m.norm() + 1e-8)


def test_the_regime_above_is_measured_where_its_law_was_seen_to_hold():
    """Far above the floor, of 1e-15, the first eps is still 1e-8 of the gradients."""
    found = _found(TwiceNormalized)
    assert found.floor == pytest.approx(3e-15, rel=0.5)
    assert probe(found.above, SHAPES).exactly_invariant


class Projects(Momentum):
    """Where weights are nearly orthogonal to their gradient, its step leaves their length alone (AdamP, SGDP).

    ``ratio``: and everywhere it is as long as they are.
    """

    def __init__(self, params, lr=1e-2, eps=1e-8, ratio=False):
        super().__init__(params, lr, eps=eps, ratio=ratio)

    def direction(self, p, state):
        m, [group] = super().direction(p, state), self.param_groups
        cosine = torch.sum(p * p.grad).abs() / ((p.norm() + group["eps"]) * (p.grad.norm() + group["eps"]))
        step = m - p * torch.sum(p * m) / p.norm() ** 2 if cosine < 0.03 else m
        return p.norm() * step if group["ratio"] else step


def test_weights_that_count_below_an_eps_alone_leave_two_regimes():
    two = _found(Projects)
    assert 2e-10 < two.floor < 2e-9  # where 1e-8 makes the cosine 0.03
    assert two.degrees == (1.0, 1.0)
    found = check(Projects, problems=["blocks@linear"])
    assert (found.answer, found.norm) == (Answer.REGIMES, "l2")
    assert "l2 above, no known norm below" in found.reasons[0]


def test_weights_that_count_everywhere_leave_none():
    assert probe(load(Projects, {"ratio": True}), SHAPES).value_dependence > 0.6
    assert _found(Projects, {"ratio": True}) is None


class AverageRate(Descent):
    """Each entry's step at the average of its last 1,000 learning rates over sqrt(v) (AdaMod)."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                v, rate = (state.setdefault(k, torch.zeros_like(p)) for k in ("v", "rate"))
                v.mul_(0.95).add_(0.05 * p.grad**2)
                rate.mul_(0.999).add_(0.001 * group["lr"] / (v.sqrt() + 1e-8))
                p.sub_(rate * p.grad)


def test_steps_that_are_scaled_from_outside_lose_no_digits_in_the_weights():
    """On gradients of 2^-78 its steps are 1e-27, which weights of order one do not show."""
    found = _found(AverageRate)
    assert found.degrees == (0.0, 1.0)
    for part in (found.above, found.below):
        assert part.units.at_zero
        assert probe(part, SHAPES).exactly_invariant
    handle = Handle(found.below, [torch.nn.Parameter(torch.ones(2, dtype=torch.float64))])
    handle.set_lr(1.0)
    handle.step([torch.ones(2, dtype=torch.float64)])
    assert handle.params[0].tolist() == pytest.approx([1.0 - 1e-2 * 1e-3 / 1e-8] * 2)  # from the weights that it has


def test_a_change_of_less_than_a_tenth_makes_two_regimes_too():
    """Under nearly constant gradients a longer memory shows in a few percent of the step."""
    about = probe(load(LongerMemory), SHAPES)
    assert about.floor == 0
    assert 1e-3 < about.defect < 0.1
    assert about.other_step == about.defect / 2
    two = _found(LongerMemory)
    assert two.degrees == (1.0, 1.0)
    assert 0.05 < two.floor < 1.0
    memories = []
    for part in (two.above, two.below):
        inside = probe(part, SHAPES)
        assert inside.exactly_invariant
        memories.append(inside.memory)
    assert memories == pytest.approx([10, 20], rel=0.1)
    assert probe(load(Momentum), SHAPES).other_step == 0.1
    assert _found(InHalf) is None


class Stopping(Momentum):
    """Signs of an average, while the gradient is longer than this."""

    def __init__(self, params, lr=1e-2, least=1e-6):
        super().__init__(params, lr)
        self.least = least

    def direction(self, p, state):
        return super().direction(p, state).sign() * (p.grad.norm() > self.least)


class ThroughHalf(Momentum):
    """Signs of an average of gradients that are cast to float16, where small ones vanish and large ones overflow."""

    def direction(self, p, state):
        p.grad = p.grad.half().double()
        return super().direction(p, state).sign()


class Short(SignDescent):
    """Signs of gradients that are cast to float32, where those below 1e-45 vanish."""

    def direction(self, p, state):
        return p.grad.float().sign().double()


def test_one_that_stands_still_on_small_gradients_has_a_regime_of_that():
    two = _found(Stopping)
    assert two.degrees == (0.0, 0.0)
    assert 1e-7 < two.floor < 1e-5
    assert probe(two.above, SHAPES).exactly_invariant
    assert probe(two.below, SHAPES).step_per_lr == 0
    assert _found(Short) is None  # it is not blamed for underflow
    assert _found(ThroughHalf) is None  # large gradients are none that it could be measured on


@pytest.mark.parametrize(
    ("least", "outcome", "sentence"),
    [
        (1e-12, Outcome.HOLDS, "maximizes the linf margin while the gradient's norm is above 1e-12, then no norm's"),
        (1e-6, Outcome.FAILS, "maximizes no norm's margin: it stops, whatever the learning rate."),  # at margins of 14
    ],
)
def test_what_stands_still_late_is_a_regime_and_what_does_so_early_has_no_norm(least, outcome, sentence):
    options = {"problems": ["multiclass@linear"], "backend": Backend("loky", workers=1)}
    for claim in (None, "linf"):
        verdict = check(Stopping, least=least, claim=claim, **options)
        assert verdict.outcome is outcome
        assert sentence in verdict.sentence
        assert [regime.why for regime in verdict.regimes] == [None, NoNorm.STILL]
        assert "linf above, none (it does not move) below" in verdict.reasons[0]
        assert any("it does not move 160 × 144" in reason for reason in verdict.reasons)
        assert not any("refuses" in reason or "cannot tell" in reason for reason in verdict.reasons)


class ShortAdam(Descent):
    """Adam, its state in float32, as older packages have it."""

    def __init__(self, params, lr=1e-3, eps=1e-8):
        super().__init__(params, lr)
        self.eps = eps

    def direction(self, p, state):
        g = p.grad.float()
        m, v = state.setdefault("m", torch.zeros_like(g)), state.setdefault("v", torch.zeros_like(g))
        m.mul_(0.9).add_(0.1 * g)
        v.mul_(0.95).add_(0.05 * g**2)
        return (m / (v.sqrt() + self.eps)).double()


@pytest.mark.parametrize("eps", [1e-2, 1e-5, 1e-8])
def test_squares_that_state_in_float32_keeps_end_in_neither_regime(eps):
    two = _found(ShortAdam, {"eps": eps})
    assert two.degrees == (0.0, 1.0)
    for part in (two.above, two.below):
        about = probe(part, SHAPES)
        assert about.state_formats
        assert about.rescalable
        assert about.defect <= 1e-6  # float32's rounding


@pytest.mark.parametrize("eps", [1e-3, 1e-8, 1e-20, 1e-45, 1e-90])
def test_an_eps_makes_two_regimes_of_adam_wherever_it_lies(eps):
    """√v is 10 eps to 100 eps, entry by entry, where a step has changed by 10 %."""
    two = _found("torch.optim:Adam", {"eps": eps})
    assert two.degrees == (0.0, 1.0)
    assert 5 * eps <= two.floor <= 1000 * eps
    for part, degree in zip((two.above, two.below), two.degrees, strict=True):
        about = probe(part, SHAPES)
        assert about.update_degree == degree
        assert about.defect <= 1e-12
        assert about.exactly_invariant


def test_each_regime_follows_a_recursion_of_the_engine():
    """Which no optimizer with an eps in its range does."""
    two = _found("torch.optim:Adam", {"betas": (0.9, 0.95)})
    twins = [search(part, SHAPES, probe(part, SHAPES)).twin for part in (two.above, two.below)]
    assert ["√v̂ + 0" in twins[0].text, "lmo(m), l2 ball" in twins[1].text] == [True, True]
    loaded = load("torch.optim:Adam", {"betas": (0.9, 0.95)})
    assert search(loaded, SHAPES, probe(loaded, SHAPES)).twin is None


@pytest.mark.parametrize("target", [ClippedNorm, Guarded], ids=lambda t: t.__name__)
def test_clipping_and_guards_are_regimes_too(target):
    two = _found(target)
    assert two.degrees == (0.0, 1.0)
    assert (0.1 < two.floor < 10) if target is ClippedNorm else (1e-31 < two.floor < 1e-28)


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [
        (Momentum, {}),
        (SignDescent, {}),
        ("torch.optim:Adam", {"eps": 0.0}),
        ("torch.optim:AdamW", {}),  # its decay is what is left below
        (Steps, {}),
    ],
    ids=str,
)
def test_one_regime_three_or_none_are_not_two(target, kwargs):
    assert _found(target, kwargs) is None


def test_units_change_what_an_optimizer_sees_and_nothing_else():
    """Sign descent sees no difference, and gradient descent none that its learning rate does not undo."""
    for target, units in ((SignDescent, Units(40, 0)), (Momentum, Units(-60, 60))):
        loaded = load(target)
        plain = Session(loaded, SHAPES, 0).run()[1]
        other = Session(replace(loaded, units=units), SHAPES, 0).run()[1]
        assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


def test_a_target_keeps_its_units_in_another_process():
    target = replace(load("torch.optim:SGD", {"momentum": 0.9}), units=Units(-60, 60))
    assert pickle.loads(pickle.dumps(target)).units == Units(-60, 60)


class OtherWhereLarge(Descent):
    """Gradient descent; of gradients above 1 a step of length 1, and the sign of what has more than 100 entries."""

    def direction(self, p, state):
        if p.grad.norm() <= 1:
            return p.grad
        return p.grad.sign() if p.numel() > 100 else p.grad / p.grad.norm()


def test_realistic_shapes_are_seen_in_each_regimes_own_units(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    above, below = check(OtherWhereLarge, problems=["multiclass"]).regimes
    assert above.outcome is Outcome.FAILS
    assert any("at all shapes" in reason for reason in above.problems[0].reasons)
    assert below.problems[0].outcome is Outcome.HOLDS


def test_units_are_no_change_of_the_gradients():
    laboratory = Laboratory(load("torch.optim:Adam"))
    two = laboratory.regimes(("blocks@linear",))
    for part in (two.above, two.below):
        assert laboratory.within(part).on("blocks@linear").probe.gradient_change == 0.0
