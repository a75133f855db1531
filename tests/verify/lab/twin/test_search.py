"""Native twins: right implementations, differently written, are recognised; every subtle fault prevents it."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log

import numpy as np
import pytest
import torch
from toys import Tires

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.twin import gradients
from maxmargin.verify.lab.twin.gradients import Draw, changing, low_rank, moves
from maxmargin.verify.lab.twin.guesses import retentions
from maxmargin.verify.lab.twin.search import _compare, search
from maxmargin.verify.optimizers import OptimizerError, get_optimizer
from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.optimizers.composite import Composite
from maxmargin.verify.optimizers.core.blockwise import Blockwise, Part
from maxmargin.verify.optimizers.steepest import MomentumSteepestDescent, SteepestDescent
from maxmargin.verify.thresholds.twin import TWIN_LATE

SHAPES = {"W": (3, 4), "V": (4, 2), "a": (3,)}


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """A quarter of the late steps: what they are for is tested where it is asked for."""
    monkeypatch.setattr(gradients, "TWIN_LATE", 500)


def _twin(target, kwargs=None, shapes=None, **options):
    loaded, shapes = load(target, kwargs), shapes or SHAPES
    return search(loaded, shapes, probe(loaded, shapes), **options).twin


class Rule(torch.optim.Optimizer):
    """θ ← θ − lr · direction, one parameter at a time; written apart from the engine's code."""

    def __init__(self, params, lr=0.02, **hyper):
        super().__init__(params, {"lr": lr} | hyper)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                p.add_(self.direction(p, state, group), alpha=-group["lr"])

    def average(self, p, state, beta, key="m"):
        m = state.setdefault(key, torch.zeros_like(p))
        return m.mul_(beta).add_(p.grad, alpha=1 - beta)


class Signum(Rule):
    def __init__(self, params, lr=0.02, momentum=0.8, **hyper):
        super().__init__(params, lr, momentum=momentum, **hyper)

    def direction(self, p, state, group):
        return self.average(p, state, group["momentum"]).sign()


class Lion(Rule):
    def __init__(self, params, lr=0.02, betas=(0.85, 0.95)):
        super().__init__(params, lr, betas=betas)

    def direction(self, p, state, group):
        m = state.setdefault("m", torch.zeros_like(p))
        u = (0.85 * m + 0.15 * p.grad).sign()
        m.mul_(0.95).add_(p.grad, alpha=0.05)
        return u


def pseudo_polar(m):
    u, s, vt = torch.linalg.svd(m, full_matrices=False)
    return u[:, s > 1e-10 * s[0]] @ vt[s > 1e-10 * s[0]]


class Muon(Rule):
    """Exact polar factors of a Nesterov average; signs of the average on vectors, at a learning rate of their own."""

    def __init__(self, params, lr=0.02, beta=0.9, shaped=False, vector_lr=0.005):
        params = list(params)
        groups = [
            {"params": [p for p in params if p.ndim == 2]},
            {"params": [p for p in params if p.ndim < 2], "lr": vector_lr},
        ]
        super().__init__(groups, lr, beta=beta, shaped=shaped)

    def polar(self, m):
        return pseudo_polar(m)

    def direction(self, p, state, group):
        m = self.average(p, state, group["beta"])
        if p.ndim < 2:
            return m.sign()
        ahead = (1 - group["beta"]) * p.grad + group["beta"] * m
        return self.polar(ahead) * (max(1.0, p.shape[0] / p.shape[1]) ** 0.5 if group["shaped"] else 1.0)


class LayerNormalized(Rule):
    def direction(self, p, state, group):
        return p.grad / p.grad.norm()


class MuonAdam(Muon):
    def __init__(self, params, lr=0.02, beta=0.9, betas=(0.7, 0.9), vector_lr=0.005):
        super().__init__(params, lr, beta, vector_lr=vector_lr)
        for group in self.param_groups:
            group["betas"] = betas

    def direction(self, p, state, group):
        if p.ndim == 2:
            return super().direction(p, state, group)
        m, t = self.average(p, state, 0.7), state["step"]
        v = state.setdefault("v", torch.zeros_like(p)).mul_(0.9).addcmul_(p.grad, p.grad, value=0.1)
        return (m / (1 - 0.7**t)) / (v / (1 - 0.9**t)).sqrt()


def sgd_of_two_rates(params, lr=0.1):
    first, *rest = params
    return torch.optim.SGD([{"params": [first], "lr": lr}, {"params": rest, "lr": lr / 8}], lr=lr, momentum=0.9)


# -- What is recognised -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "kwargs", "optimizer", "factor"),
    [
        ("torch.optim:SGD", {"lr": 0.5}, SteepestDescent(get_norm("l2")), 1.0),
        ("torch.optim:SGD", {"momentum": 0.9}, MomentumSteepestDescent(get_norm("l2"), 0.9), 1.0),
        (
            "torch.optim:SGD",
            {"momentum": 0.7, "nesterov": True},
            MomentumSteepestDescent(get_norm("l2"), 0.7, "nesterov"),
            1.0,
        ),
        ("torch.optim:Adam", {"eps": 0.0, "betas": (0.8, 0.95), "lr": 0.01}, Adam(0.8, 0.95), 0.01),
        (Signum, {}, MomentumSteepestDescent(get_norm("linf"), 0.8), 0.02),
        (LayerNormalized, {}, SteepestDescent(get_norm("l2;max")), 0.02),
        (
            Muon,
            {},
            Composite(
                MomentumSteepestDescent(get_norm("spectral"), 0.9, "nesterov"),
                MomentumSteepestDescent(get_norm("linf"), 0.9),
                0.25,
            ),
            0.02,
        ),
        (
            MuonAdam,
            {"vector_lr": 0.04},
            Composite(MomentumSteepestDescent(get_norm("spectral"), 0.9, "nesterov"), Adam(0.7, 0.9), 2.0),
            0.02,
        ),
    ],
)
def test_the_engines_recursion_is_recognised(target, kwargs, optimizer, factor):
    twin = _twin(target, kwargs)
    assert twin is not None
    assert twin.optimizer == optimizer
    assert twin.factor == pytest.approx(factor, rel=1e-9)
    assert twin.difference <= 1e-12
    assert twin.steps >= 700
    assert optimizer.recursion in twin.text


@pytest.mark.parametrize(
    ("target", "kwargs", "like"),
    [
        (Lion, {}, ("lion", {"beta1": 0.85, "beta2": 0.95})),
        ("torch.optim:RMSprop", {"eps": 0.0, "alpha": 0.9}, ("rmsprop", {"alpha": 0.9})),
    ],
)
def test_so_are_the_registrys_newer_rows(target, kwargs, like):
    twin = _twin(target, kwargs)
    assert twin is not None
    assert twin.optimizer == get_optimizer(*like)


def test_a_beta_that_is_neither_declared_nor_seen_in_the_state_is_not_guessed():
    class Undeclared(Lion):
        def __init__(self, params, lr=0.02):
            Rule.__init__(self, params, lr)

    assert _twin(Undeclared) is None


def test_a_shape_factor_is_a_weight_of_the_norm():
    shapes = {"W": (2, 4), "V": (4, 2), "a": (3,)}
    twin = _twin(Muon, {"shaped": True}, shapes)
    assert twin is not None
    norm = twin.optimizer.norm
    weights = {name: norm.block(name, shape) for name, shape in shapes.items()}
    assert {name: block.name for name, (block, _) in weights.items()} == {"W": "spectral", "V": "spectral", "a": "linf"}
    unit = weights["V"][1]
    assert weights["W"][1] / unit == pytest.approx(2**0.5, rel=1e-9)
    assert weights["a"][1] / unit == pytest.approx(4 * 2**0.5, rel=1e-9)
    assert norm.aggregation == inf
    assert twin.factor == pytest.approx(0.02 * 2**0.5, rel=1e-9)


def test_two_rates_of_gradient_descent_weigh_an_l2_norm():
    twin = _twin(sgd_of_two_rates)
    assert twin is not None
    norm = twin.optimizer.norm
    weights = [norm.block(name, shape)[1] for name, shape in SHAPES.items()]
    assert weights == pytest.approx([1.0, 8**0.5, 8**0.5])
    assert norm.aggregation == 2


class SwappedRules(Muon):
    """The vectors' rule on matrices and the other way round: no hybrid norm, whatever the groups say."""

    def direction(self, p, state, group):
        m = self.average(p, state, group["beta"])
        return m.sign() if p.ndim == 2 else m / m.norm()


class Rows(Rule):
    def direction(self, p, state, group):
        return p.grad / p.grad.norm(dim=-1, keepdim=True).clamp(min=1e-300)


def test_rules_that_make_no_hybrid_norm_are_not_called_one():
    twin = _twin(SwappedRules, {"vector_lr": 0.02})
    assert twin is not None
    found = {name: twin.optimizer.norm.block(name, shape) for name, shape in SHAPES.items()}
    assert {name: (norm.name, weight) for name, (norm, weight) in found.items()} == {
        "W": ("linf", 1.0),
        "V": ("linf", 1.0),
        "a": ("l2", 1.0),
    }
    assert twin.factor == pytest.approx(0.02, rel=1e-9)


def test_rows_and_a_single_entry_at_a_time():
    class Greedy(torch.optim.Optimizer):
        def __init__(self, params, lr=0.02):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            group = self.param_groups[0]
            top = max(group["params"], key=lambda p: float(p.grad.abs().max()))
            i = int(top.grad.abs().argmax())
            top.view(-1)[i] -= group["lr"] * top.grad.reshape(-1)[i].sign()

    matrices = {"W": (3, 4), "V": (4, 2)}
    for rule, norm in ((Rows, "maxrow"), (Greedy, "l1")):
        twin = _twin(rule, shapes=matrices)
        assert twin is not None
        assert twin.optimizer == SteepestDescent(get_norm(norm))


def test_a_suspected_norm_is_tried():
    class Schatten(Rule):
        def direction(self, p, state, group):
            u, s, vt = torch.linalg.svd(p.grad, full_matrices=False)
            s = s / s.norm(4)
            return (u * s**3) @ vt  # the dual exponent of 4/3 is 4

    shapes = {"W": (3, 4)}
    assert _twin(Schatten, shapes=shapes) is None
    twin = _twin(Schatten, shapes=shapes, norms=[get_norm(f"schatten:{4 / 3!r}")])
    assert twin is not None
    assert twin.optimizer == SteepestDescent(get_norm(f"schatten:{4 / 3!r}"))


# -- What is not --------------------------------------------------------------------------------------------------


class WrongBetaNowAndThen(Signum):
    def direction(self, p, state, group):
        return self.average(p, state, group["momentum"] + (1e-3 if state["step"] % 2 else 0.0)).sign()


class LateMomentum(Signum):
    def direction(self, p, state, group):
        return self.average(p, state, group["momentum"] if state["step"] > 3 else 0.0).sign()


class FrozenRow(Signum):
    def direction(self, p, state, group):
        u = super().direction(p, state, group)
        u[-1] = 0.0
        return u


class Skips(Signum):
    def direction(self, p, state, group):
        return super().direction(p, state, group) * (state["step"] % 50 != 0)


class WarmsUp(Signum):
    def __init__(self, params, lr=0.02, until=150):
        super().__init__(params, lr, until=until)

    def direction(self, p, state, group):
        return super().direction(p, state, group) * (1.0 if state["step"] <= group["until"] else 1.001)


class HiddenDecay(Signum):
    def direction(self, p, state, group):
        return super().direction(p, state, group) + 1e-6 * p


class TrustRatio(LayerNormalized):
    def direction(self, p, state, group):
        return super().direction(p, state, group) * p.norm()


class Single(Signum):
    def direction(self, p, state, group):
        return super().direction(p, state, group) * (1 + 1e-8)


class LowPrecisionState(LayerNormalized):
    def direction(self, p, state, group):
        m = self.average(p, state, 0.8).float().double()
        state["m"] = m
        return m / m.norm()


class Noisy(LayerNormalized):
    def direction(self, p, state, group):
        return super().direction(p, state, group) + 1e-9 * torch.randn_like(p)


class SignOfZero(Signum):
    def direction(self, p, state, group):
        return torch.where(self.average(p, state, group["momentum"]) >= 0, 1.0, -1.0)


class FullPolar(Muon):
    """U Vᵀ: where the momentum has null directions, a rotation made of rounding noise."""

    def polar(self, m):
        u, _, vt = torch.linalg.svd(m, full_matrices=False)
        return u @ vt


class Transposed(Muon):
    def polar(self, m):
        return pseudo_polar(m.reshape(m.shape[::-1])).reshape(m.shape)


class RatioDrifts(Muon):
    """The vectors' learning rate grows by 1e-7 a step."""

    def direction(self, p, state, group):
        u = super().direction(p, state, group)
        return u * (1 + 1e-7 * state["step"]) if p.ndim < 2 else u


class ForgetsBiasCorrection(torch.optim.Adam):
    def step(self, closure=None):
        for state in self.state.values():
            if "step" in state and float(state["step"]) == 60:
                state["step"].fill_(0.0)
        return super().step()


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [
        (WrongBetaNowAndThen, {}),
        (LateMomentum, {}),
        (FrozenRow, {}),
        (Skips, {}),
        (WarmsUp, {"until": 450}),
        (HiddenDecay, {}),
        (TrustRatio, {}),
        (LowPrecisionState, {}),
        (Noisy, {}),
        (SignOfZero, {}),
        (FullPolar, {}),
        (Transposed, {}),
        (RatioDrifts, {}),
        ("torch.optim:Adam", {"betas": (0.8, 0.95), "eps": 1e-8}),
        ("torch.optim:Adam", {"betas": (0.8, 0.95), "eps": 1e-15}),
        ("torch.optim:SGD", {"momentum": 0.9, "weight_decay": 1e-4}),
        ("torch.optim:SGD", {"momentum": 0.9, "dampening": 0.5}),
        ("torch.optim:AdamW", {"eps": 0.0, "betas": (0.8, 0.95), "weight_decay": 1e-3}),
    ],
)
def test_a_spoiled_twin_is_none(target, kwargs):
    assert _twin(target, kwargs) is None


@pytest.mark.parametrize(
    ("target", "kwargs"), [(WarmsUp, {}), (ForgetsBiasCorrection, {"eps": 0.0, "betas": (0.8, 0.95)})]
)
def test_a_factor_common_to_all_blocks_is_a_learning_rate_of_its_own(target, kwargs):
    assert _twin(target, kwargs).text.endswith("up to a learning rate of its own each step")


def test_a_wrong_beta_is_recognised_as_what_it_is():
    """Declared 0.8, run at 0.801: the twin is of 0.801, as its state was seen to decay."""

    class Off(Signum):
        def direction(self, p, state, group):
            return self.average(p, state, group["momentum"] + 1e-3).sign()

    twin = _twin(Off)
    assert twin is not None
    assert twin.optimizer.beta == pytest.approx(0.801, rel=1e-11)


# -- The pieces ---------------------------------------------------------------------------------------------------


def test_the_gradients_are_what_they_are_said_to_be():
    sizes, conditions = [], []
    for g in changing(Draw(SHAPES, 0)):
        sizes.append(float(g["W"].norm()))
        s = torch.linalg.svdvals(g["W"])
        conditions.append(float(s[0] / s[-1]))
    assert max(sizes) / min(sizes) > 1e6
    assert sorted(conditions)[len(conditions) // 2] < 30
    for g in low_rank(Draw({"W": (3, 4), "V": (4, 2)}, 0)):
        for name, rank in (("W", 2), ("V", 1)):
            s = torch.linalg.svdvals(g[name])
            assert (s > 1e-12 * s[0]).sum() == rank


def test_retentions_are_read_by_name_and_seen_in_the_state():
    loaded = load("torch.optim:Adam", {"eps": 0.0, "betas": (0.8, 0.95)})
    about = probe(loaded, SHAPES)
    box = loaded.build([torch.nn.Parameter(torch.zeros(2))])
    found = retentions(box, loaded.kwargs, about)
    assert {0.8, 0.95, 0.0} <= {round(b, 9) for b in found}
    box.param_groups[0].pop("betas")
    seen = retentions(box, {}, about) if box.defaults.pop("betas") else []
    assert 0.95 in [round(b, 9) for b in seen]


def test_blockwise_is_its_parts():
    adam, sign = Adam(0.5, 0.8), MomentumSteepestDescent(get_norm("linf"), 0.6)
    both = Blockwise((Part("W", (3, 4), sign, 0.5), Part("a", (3,), adam, 2.0)))
    assert both.norm is not None
    assert both.norm.name == "blocks:W=2*linf,a=0.5*linf;max"
    assert both.memory == pytest.approx(5.0)
    assert both.lag_limit == pytest.approx(0.1)
    with pytest.raises(OptimizerError, match="factor is 0"):
        Part("W", (3, 4), sign, 0.0)


def test_a_blockwise_twin_runs_in_the_engine():
    """Traced and batched, at the pace of its parts; the updates kept at checkpoints are those of the parts alone."""
    problem = problems.get("blocks@linear")
    first, second, *rest = problem.shapes
    rules = dict.fromkeys(problem.shapes, SteepestDescent(get_norm("linf")))
    rules |= {first: SteepestDescent(get_norm("spectral")), second: Adam(0.5, 0.7)}
    parts = tuple(Part(k, s, rules[k], 0.5 if k == first else 1.0) for k, s in problem.shapes.items())
    got = run(problem, Blockwise(parts), starts(problem, 2, scale=0.01), steps=160, checkpoints=6)
    assert got.separated.all()
    for t in range(len(got.steps)):
        for i in range(2):
            g, d, eta = got.at(t, i, "gradient"), got.at(t, i, "update"), got.eta[t, i]
            np.testing.assert_allclose(
                d[first], 0.5 * eta * get_norm("spectral").lmo({first: g[first]})[first], atol=1e-12
            )
            for k in rest:
                np.testing.assert_allclose(d[k], -eta * np.sign(g[k]), atol=1e-12)
            assert np.abs(d[second]).max() <= 1.3 * eta


def test_a_change_after_thousands_of_steps_is_no_twin(monkeypatch):
    class Turns(Rule):
        """Sign descent that becomes gradient descent after 1,500 steps."""

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    state["t"] = state.get("t", 0) + 1
                    p.sub_(group["lr"] * (p.grad.sign() if state["t"] <= 1500 else p.grad / p.grad.norm()))

    assert _twin(Turns) is not None  # not seen in the first 500
    monkeypatch.setattr(gradients, "TWIN_LATE", TWIN_LATE)
    assert _twin(Turns) is None


@pytest.mark.parametrize("least", [0.0, 1e-9])
def test_what_compares_a_gradient_with_larger_ones_before_has_no_twin(least):
    """Gradients that were fed at one size a run let it pass for gradient descent: in training they fall without end."""

    twin = _twin(Tires, {"least": least})
    assert (twin is None) == (least > 0)
    if twin is not None:
        assert 0 < twin.fallen < 1e-20


def test_gradients_fall_no_faster_than_the_twins_own_memory_can_follow():
    """Its memory of 20 steps is in a logarithm, and not seen; steps of 1e-78 would prove nothing."""

    class Logarithmic(Rule):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    size = p.grad.abs().log()
                    old = self.state[p].get("log_v", torch.full_like(p, -torch.inf))
                    kept = torch.logaddexp(old + log(0.95), 2 * size + log(0.05))
                    self.state[p]["log_v"] = kept
                    p.sub_(group["lr"] * p.grad.sign() * (size - kept / 2).exp())

    twin = _twin(Logarithmic)
    assert twin is not None
    assert 0 < twin.fallen < 1e-4


# -- All of the rehearsal, or nothing ------------------------------------------------------------------------------


class NotFinite(Signum):
    """Signum, of whose steps one is not a number."""

    at = 700

    def direction(self, p, state, group):
        u = super().direction(p, state, group)
        return u * float("nan") if state["step"] == self.at else u


class GivesUp(Signum):
    """Signum, which raises at one of its calls."""

    at = 400

    def direction(self, p, state, group):
        if state["step"] == self.at:
            raise RuntimeError("no more")
        return super().direction(p, state, group)


@pytest.mark.parametrize("at", [1, 20, 150, 300, 400])
def test_a_rehearsal_that_is_cut_short_proves_nothing(at):
    class Late(NotFinite):
        pass

    Late.at = at
    assert _twin(Late) is None


def test_the_call_that_was_not_finite_is_known():
    class Late(NotFinite):
        at = 300

    target = load(Late)
    found = search(target, SHAPES, probe(target, SHAPES))
    assert (found.twin, found.broken) == (None, 300)


def test_an_optimizer_that_raises_in_the_rehearsal_has_no_twin():
    assert _twin(GivesUp) is None


@pytest.mark.parametrize(("rounding", "proved"), [(1e-10, True), (1e-2, False)])
def test_every_step_counts(rounding, proved):
    """Steps that rounding in the weights hides are no evidence, however many others there are."""
    target = load(Signum)
    run = moves(target, SHAPES, probe(target, SHAPES), changing, 0).moves
    blurred = [
        replace(m, rounding={k: rounding * float(u.norm()) for k, u in m.update.items()}) if t % 3 == 0 else m
        for t, m in enumerate(run)
    ]
    signum = MomentumSteepestDescent(get_norm("linf"), 0.8)
    assert (_compare(signum, [blurred], 0.0) is not None) is proved


def test_steps_too_small_or_too_large_to_be_compared_prove_nothing():
    """Adadelta with a tiny eps makes steps of 1e-100, which no weights show; enlarged, they overflow any comparison."""
    assert _twin("torch.optim:Adadelta", {"eps": 1e-200}) is None
    target = load(Signum)
    run = moves(target, SHAPES, probe(target, SHAPES), changing, 0).moves
    huge = [replace(m, update={k: 1e200 * u for k, u in m.update.items()}, factor=1e200 * m.factor) for m in run]
    assert _compare(MomentumSteepestDescent(get_norm("linf"), 0.3), [huge], 0.0) is None


class DeepFloor(Rule):
    """Adam's recursion, with an eps that no usual gradient shows."""

    eps = 1e-45

    def direction(self, p, state, group):
        m, t = self.average(p, state, 0.7), state["step"]
        v = state.setdefault("v", torch.zeros_like(p)).mul_(0.9).addcmul_(p.grad, p.grad, value=0.1)
        return (m / (1 - 0.7**t)) / ((v / (1 - 0.9**t)).sqrt() + self.eps)


@pytest.mark.parametrize("eps", [1e-20, 1e-45, 1e-120, 1e-140])
def test_no_twin_says_plus_0_where_an_eps_can_be_fed(eps):
    target = load(type("Deep", (DeepFloor,), {"eps": eps}), {"betas": (0.7, 0.9)})
    about = probe(target, SHAPES)
    assert (
        search(target, SHAPES, replace(about, floor=0.0, depth=1e-143)).twin is None
    )  # it shows in the rehearsal itself
    assert eps < about.floor < 1e3 * eps
    target = load(type("Exact", (DeepFloor,), {"eps": 0.0}), {"betas": (0.7, 0.9)})
    assert search(target, SHAPES, probe(target, SHAPES)).twin.optimizer == Adam(0.7, 0.9)


class Clamped(Rule):
    """Sign descent within a box, as a critic's weights are kept small."""

    most = 1000.0

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad.sign()).clamp_(-self.most, self.most)


class Roomy(Clamped):
    most = 1e12


class FarSign(Rule):
    """Gradient descent, but by signs once weights are large."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                near = p.norm() < 1000.0
                p.sub_(group["lr"] * (p.grad if near else p.grad.sign() * p.grad.abs().mean()))


def test_what_changes_at_large_weights_has_no_twin():
    """Weights of order one were all that was tried: what a long run meets at a thousand was vouched for unseen."""
    assert _twin(Clamped) is None
    assert _twin(FarSign) is None
    twin = _twin(Roomy)
    assert twin is not None
    assert 1e5 < twin.heaviest < 1e8
