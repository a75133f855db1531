"""The short experiments, on torch's optimizers and on ours with one fault each; every fault has its sound twin."""

from __future__ import annotations

import math
import weakref

import pytest
import torch
from toys import Descent as Custom
from toys import PutAnew, SignDescent

from maxmargin.solvers.schedules.lag import resonance_limit
from maxmargin.verify.blackbox.learning_rate import ANCHORED, OUTSIDE
from maxmargin.verify.blackbox.targets import TargetError, load
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.thresholds.probe import EXACT_SCALE, OTHER_STEP

SHAPES = {"W": (3, 2), "V": (2, 4), "a": (4,)}


class Lion(Custom):
    """Sign of an average, with a slower one remembered (Chen et al. 2302.06675)."""

    def direction(self, p, state):
        m = state.setdefault("exp_avg", torch.zeros_like(p))
        u = torch.sign(0.9 * m + 0.1 * p.grad)
        m.mul_(0.98).add_(p.grad, alpha=0.02)
        return u


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


class SharedScale(Custom):
    """A second moment for the whole group, kept in the group."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            square = sum((p.grad**2).sum() for p in group["params"])
            group["v"] = 0.9 * group.get("v", torch.zeros_like(square)) + 0.1 * square
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad / torch.sqrt(group["v"]))


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


# -- Memory and coupling ------------------------------------------------------------------------------------------


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
