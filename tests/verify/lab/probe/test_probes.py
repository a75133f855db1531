"""The short experiments, on torch's optimizers and on ours with one fault each; every fault has its sound twin."""

from __future__ import annotations

import math
import weakref

import pytest
import torch
from toys import Descent as Custom
from toys import Lion, PutAnew, SharedScale, SignDescent

from maxmargin.verify.blackbox.learning_rate import ANCHORED, OUTSIDE
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.thresholds.probe import EXACT_SCALE, OTHER_STEP

SHAPES = {"W": (3, 2), "V": (2, 4), "a": (4,)}


class EpsInsideRoot(Custom):
    """RMSprop with 1e-15 hidden under the root, where no constructor shows it."""

    hidden = 1e-15

    def direction(self, p, state):
        v = state.setdefault("v", torch.zeros_like(p))
        v.mul_(0.9).add_(0.1 * p.grad**2)
        return p.grad / torch.sqrt(v + self.hidden)


class NoEps(EpsInsideRoot):
    hidden = 0.0


class HiddenDecay(Custom):
    def direction(self, p, state):
        return p.grad + 0.01 * p


class TrustRatio(Custom):
    def direction(self, p, state):
        return p.norm() * p.grad / p.grad.norm()


class Noisy(Custom):
    def direction(self, p, state):
        return p.grad + 0.01 * torch.randn_like(p)


class IgnoresLr(Custom):
    def direction(self, p, state):
        return p.grad * (0.05 / self.param_groups[0]["lr"])


_KEPT = weakref.WeakKeyDictionary()


class HiddenMomentum(Custom):
    """Momentum kept in a module's global: no twin run can see its degree."""

    def direction(self, p, state):
        kept = _KEPT.setdefault(self, {})
        kept[p] = 0.9 * kept.get(p, torch.zeros_like(p)) + 0.1 * p.grad
        return torch.sign(kept[p])


class SeenMomentum(Custom):
    def direction(self, p, state):
        m = state.setdefault("m", torch.zeros_like(p))
        m.mul_(0.9).add_(0.1 * p.grad)
        return torch.sign(m)


class BreaksDown(Custom):
    """A state that is NaN from the first step on."""

    def direction(self, p, state):
        state["m"] = torch.full_like(p, math.nan)
        return torch.sign(p.grad)


class Overflows(Custom):
    def direction(self, p, state):
        state["m"] = torch.full_like(p, math.inf) * p.grad.sign()
        return torch.sign(p.grad)


class NormalizedWhole(Custom):
    """ℓ2 over all parameters together."""

    def direction(self, p, state):
        total = torch.sqrt(sum((q.grad**2).sum() for q in self.param_groups[0]["params"]))
        return p.grad / total


class NormalizedBlocks(Custom):
    def direction(self, p, state):
        return p.grad / p.grad.norm()


def _probe(target, shapes=SHAPES, **kwargs):
    return probe(load(target, kwargs), shapes)


def _degrees(found):
    """Degree by the state's name, which is the same for every parameter."""
    by_name = {}
    for path, degree in found.state_degrees.items():
        by_name.setdefault(path[-1], set()).add(degree)
    return {name: degrees.pop() for name, degrees in by_name.items() if len(degrees) == 1}


# -- Degrees ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "kwargs", "update", "states"),
    [
        ("torch.optim:SGD", {}, 1, {}),
        ("torch.optim:SGD", {"momentum": 0.9}, 1, {"momentum_buffer": 1}),
        ("torch.optim:SGD", {"momentum": 0.9, "nesterov": True}, 1, {"momentum_buffer": 1}),
        ("torch.optim:Adam", {"eps": 0.0}, 0, {"exp_avg": 1, "exp_avg_sq": 2, "step": 0}),
        ("torch.optim:Adam", {"eps": 0.0, "amsgrad": True}, 0, {"max_exp_avg_sq": 2}),
        ("torch.optim:RMSprop", {"eps": 0.0}, 0, {"square_avg": 2}),
        ("torch.optim:RMSprop", {"eps": 0.0, "momentum": 0.9}, 0, {"square_avg": 2, "momentum_buffer": 0}),
        ("torch.optim:Adagrad", {"eps": 0.0}, 0, {"sum": 2}),
        ("torch.optim:Adamax", {"eps": 0.0}, 0, {"exp_avg": 1, "exp_inf": 1}),
        (Lion, {}, 0, {"exp_avg": 1}),
        (NoEps, {}, 0, {"v": 2}),
        (SharedScale, {}, 0, {"v": 2}),
    ],
)
def test_degrees_of_updates_and_states(target, kwargs, update, states):
    found = _probe(target, **kwargs)
    assert found.update_degree == update
    assert states.items() <= _degrees(found).items()
    assert found.rescalable
    assert found.exactly_invariant
    assert found.defect <= EXACT_SCALE
    assert found.rescaling_error <= EXACT_SCALE
    assert found.floor == 0.0


def test_no_power_law_is_said_to_be_none():
    class Mixed(Custom):
        def direction(self, p, state):
            m = state.setdefault("m", torch.zeros_like(p))
            m.add_(p.grad + 1e-3)  # neither degree 0 nor 1
            return m

    found = _probe(Mixed)
    assert all(math.isnan(d) for d in found.state_degrees.values())
    assert not found.rescalable


def test_clipping_is_no_power_law():
    class Clipped(Custom):
        def direction(self, p, state):
            return p.grad.clamp(-0.1, 0.1)

    found = _probe(Clipped)
    assert math.isnan(found.update_degree)
    assert not found.exactly_invariant


@pytest.mark.parametrize(("power", "degree"), [(0.5, 0.5), (-1.0, -1.0), (1 / 3, 1 / 3), (2.0, 2.0)])
def test_any_power_law_is_followed(power, degree):
    """A missing root or one too many: a fault, but its runs can be rescaled and judged."""

    class Power(Custom):
        def direction(self, p, state):
            m = state.setdefault("m", torch.zeros_like(p))
            m.mul_(0.9).add_(0.1 * p.grad)
            return m.sign() * m.abs() ** power

    found = _probe(Power)
    assert found.update_degree == pytest.approx(degree)
    assert found.defect <= EXACT_SCALE
    assert found.exactly_invariant


def test_a_state_that_is_the_last_gradient_forgets():
    class Late(Custom):
        def direction(self, p, state):
            before = state.get("last", p.grad).clone()
            state["last"] = p.grad.clone()
            return before.sign()

    class Never(Custom):
        def direction(self, p, state):
            state["sum"] = state.get("sum", 0.0) + p.grad.abs()
            return p.grad / state["sum"]

    assert _probe(Late).memory == 1.0
    assert _probe(Never).memory == math.inf


@pytest.mark.parametrize("target", [BreaksDown, Overflows])
def test_a_state_that_is_not_finite_has_no_degree(target):
    found = _probe(target)
    assert all(math.isnan(d) for d in found.state_degrees.values())
    assert not found.rescalable


def test_state_that_cannot_be_seen_is_noticed():
    hidden, seen = _probe(HiddenMomentum), _probe(SeenMomentum)
    assert hidden.update_degree == seen.update_degree == 0
    assert hidden.defect <= EXACT_SCALE  # the twin runs alone find no fault
    assert hidden.rescaling_error > OTHER_STEP
    assert not hidden.rescalable
    assert not hidden.exactly_invariant
    assert seen.rescaling_error == 0.0
    assert seen.exactly_invariant


def test_shared_state_is_noticed():
    assert _probe(SharedScale).shared_state
    assert not _probe(SeenMomentum).shared_state


# -- An eps -------------------------------------------------------------------------------------------------------


def _gradient_norm():
    return math.sqrt(sum(math.prod(s) for s in SHAPES.values()))


@pytest.mark.parametrize(
    ("target", "kwargs", "entry"),
    [
        # Entries of size 1 times the entry's floor: eps itself beside √v, or √eps inside the root.
        ("torch.optim:Adam", {"eps": 1e-8}, 1e-8),
        ("torch.optim:Adam", {"eps": 1e-20}, 1e-20),
        ("torch.optim:RMSprop", {"eps": 1e-4}, 1e-4),
        ("torch.optim:Adam", {"eps": 1e-3}, 1e-3),
        (EpsInsideRoot, {}, math.sqrt(1e-15)),
    ],
)
def test_the_floor_of_an_eps_is_found(target, kwargs, entry):
    found = _probe(target, **kwargs)
    assert not found.exactly_invariant
    truth = entry * _gradient_norm()
    # 10 % is visible at √v = 10 eps, at first in the small entries; RMSprop's v is only 5 % filled by the warm steps.
    assert truth <= found.floor <= 100 * truth


class JoinedDecay(torch.optim.Optimizer):
    """Signs of g + w θ, a decay that no argument declares by its name; with an ``eps`` beside the absolute value."""

    def __init__(self, params, lr=0.1, w=1e-3, eps=0.0):
        super().__init__(params, {"lr": lr, "w": w, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad + group["w"] * p
                p.sub_(group["lr"] * (g.sign() if group["eps"] == 0 else g / (g.abs() + group["eps"])))


@pytest.mark.parametrize("eps", [0.0, 1e-6])
@pytest.mark.parametrize("w", [1e-1, 1e-3, 1e-8])
def test_a_decay_joined_to_the_gradient_is_no_eps(w, eps):
    found = _probe(JoinedDecay, w=w, eps=eps)
    assert found.floor > 0.1 * max(w, eps)
    assert found.ruled == found.floor  # far enough below, behind an eps too
    if w == 1e-3:
        assert found.value_dependence > 0.05


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [
        ("torch.optim:Adam", {}),
        ("torch.optim:Adam", {"weight_decay": 1e-2}),  # declared: it is switched off
        ("torch.optim:AdamW", {"weight_decay": 0.0}),
        ("torch.optim:RMSprop", {"eps": 1e-4, "momentum": 0.9}),
        ("torch.optim:Adagrad", {}),
        (EpsInsideRoot, {}),
        (JoinedDecay, {"w": 0.0, "eps": 1e-6}),
    ],
)
def test_below_an_eps_the_gradient_still_counts(target, kwargs):
    assert _probe(target, **kwargs).ruled == 0.0


@pytest.mark.parametrize("eps", [1e-7, 3e-7, 1e-6, 3e-6, 1e-5])
def test_an_eps_at_the_size_that_is_fed_is_no_power_law(eps):
    found = _probe("torch.optim:Adam", eps=eps)
    assert found.update_degree == 0.0
    assert eps * _gradient_norm() <= found.floor <= 100 * eps * _gradient_norm()


def test_without_an_eps_there_is_no_floor():
    assert _probe("torch.optim:Adam", eps=0.0).floor == 0.0
    assert _probe(NoEps).floor == 0.0


def test_a_large_eps_is_degree_one():
    """Adam with a huge eps is gradient descent, and read as such on the gradients it is shown."""
    found = _probe("torch.optim:Adam", eps=1e6)
    assert found.update_degree == 1
    assert not found.exactly_invariant


# -- Decay, randomness, the learning rate -------------------------------------------------------------------------


def test_declared_decay():
    assert _probe("torch.optim:AdamW", weight_decay=0.02).decay == 0.02
    assert _probe("torch.optim:Adam").decay == 0.0


@pytest.mark.parametrize("target", [HiddenDecay, TrustRatio])
def test_dependence_on_the_weights_is_found(target):
    found = _probe(target)
    assert found.decay == 0.0
    assert found.value_dependence > 1e-4


def test_noise_is_found():
    assert _probe(Noisy).random > 1e-4


def test_an_ignored_learning_rate_is_found():
    assert _probe(IgnoresLr).lr_error == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [(Custom, {}), (Lion, {}), ("torch.optim:SGD", {"momentum": 0.9}), ("torch.optim:Adam", {"eps": 0.0})],
)
def test_the_sound_twins_show_none_of_it(target, kwargs):
    found = _probe(target, **kwargs)
    assert found.random == 0.0
    assert found.value_dependence <= 1e-10
    assert found.lr_error <= 1e-10
    assert found.decay == 0.0


def test_an_optimizer_without_learning_rate():
    class Free(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        @torch.no_grad()
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                p.sub_(1e-3 * p.grad.sign())

    assert math.isnan(_probe(Free).lr_error)


def test_the_length_of_a_warm_step():
    """SGD with lr = 0.5 on the probe's own gradients: 0.5 times their norm."""
    one, half = _probe("torch.optim:SGD", lr=1.0), _probe("torch.optim:SGD", lr=0.5)
    assert one.step_per_lr == pytest.approx(2 * half.step_per_lr, rel=1e-12)
    assert one.step_per_lr == pytest.approx(_gradient_norm(), rel=0.5)
    sign = _probe(Lion, lr=1e-2).step_per_lr
    assert sign == pytest.approx(1e-2 * _gradient_norm(), rel=1e-12)


# -- Coupling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "coupling"),
    [(Custom, 1.0), (NormalizedWhole, 1.0), (NormalizedBlocks, 0.0), (Lion, 0.0), (SeenMomentum, 0.0)],
)
def test_coupling_of_the_blocks(target, coupling):
    assert _probe(target).coupling == pytest.approx(coupling, abs=0.05)


def test_a_single_block_has_no_coupling():
    assert _probe(Custom, {"W": (3, 2)}).coupling is None


# -- Habits -------------------------------------------------------------------------------------------------------


def test_findings_do_not_depend_on_the_run():
    one, two = _probe("torch.optim:Adam", eps=1e-8), _probe("torch.optim:Adam", eps=1e-8)
    assert one == two


def test_an_optimizer_that_refuses_is_a_target_error():
    with pytest.raises(TargetError, match="betta"):
        _probe("torch.optim:Adam", betta=1)

    class MatricesOnly(Custom):
        def direction(self, p, state):
            if p.ndim != 2:
                raise ValueError("only 2-D parameters")
            return p.grad

    with pytest.raises(TargetError, match="only 2-D parameters"):
        _probe(MatricesOnly)
    assert _probe(MatricesOnly, {"W": (3, 2)}).update_degree == 1


# -- An eps, as deep as it can be fed ------------------------------------------------------------------------------


class FifthPower(SignDescent):
    """Right in the reals, for any gradient; in float64 the fifth power of 1e-65 is 0, which no method is blamed for."""

    def direction(self, p, state):
        power = p.grad.abs() ** 5 * p.grad.sign()
        return power / power.abs().max()


class ToFloat32(SignDescent):
    """A cast: gradients below 1e-45 are gone."""

    def direction(self, p, state):
        return super().direction(p, state) if p.grad.float().abs().max() > 0 else torch.zeros_like(p)


class SmallFirst(SignDescent):
    """A momentum in float32, entries 1e-6 apart: the small ones are gone long before the large ones are."""

    def direction(self, p, state):
        scales = torch.logspace(0, -6, p.numel(), dtype=p.dtype).reshape(p.shape)
        kept = state.setdefault("m", torch.zeros_like(p, dtype=torch.float32))
        kept.mul_(0.9).add_(0.1 * (p.grad * scales).float())
        return kept.double().sign()


@pytest.mark.parametrize("eps", [1e-8, 1e-45, 1e-100, 1e-140, 1e-200, 1e-300])
@pytest.mark.parametrize("optimizer", ["Adam", "RMSprop"])
def test_an_eps_of_any_size_is_found(optimizer, eps):
    found = probe(load(f"torch.optim:{optimizer}", {"eps": eps}), {"W": (3, 4)})
    assert eps < found.floor < 1e4 * eps


def test_an_eps_inside_the_root_is_scaled_back_by_its_own_power():
    class Inside(SignDescent):
        def __init__(self, params, lr=1e-2, tiny=1e-250):
            super().__init__(params, lr)
            self.tiny = tiny

        def direction(self, p, state):
            return p.grad / (p.grad.square() + self.tiny).sqrt()

    found = probe(load(Inside), {"W": (3, 4)})
    assert 1e-126 < found.floor < 1e-122


@pytest.mark.parametrize("optimizer", [FifthPower, ToFloat32, SmallFirst, SignDescent, Custom])
def test_underflow_is_no_eps_and_ends_the_search(optimizer):
    found = probe(load(optimizer), {"W": (3, 4)})
    assert found.floor == 0
    assert found.depth < (1e-36 if optimizer is SmallFirst else 1e-40)  # its small entries end before float32 does
    assert (found.depth < 1e-143) is (optimizer in (SignDescent, Custom))


def test_short_steps_scaled_from_outside_are_not_taken_for_a_dependence_on_the_scale():
    about = _probe("torch.optim:ASGD", lambd=0.0)  # its learning rate is that of its construction
    assert about.lr_knob == OUTSIDE.name
    assert about.update_degree == 1
    assert about.defect <= EXACT_SCALE


def test_weights_that_are_put_anew_in_each_step_are_proportional_to_their_gradients():
    about = _probe(PutAnew)
    assert about.lr_knob == ANCHORED.name
    assert (about.update_degree, about.stays) == (1, True)
    assert about.defect <= EXACT_SCALE
