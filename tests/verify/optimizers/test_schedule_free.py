"""Schedule-free GD and Adam: the engine's steps are those of three sequences written out; the twin; what is none.

The optimizer below keeps z and the average x apart, and sets y from them, as the paper's equations do (Defazio et al.
2405.15682); the package keeps y and z, and the engine z − y. Each comparison is also made with one fault, which it must
see.
"""

from __future__ import annotations

import math

import pytest
import torch

import maxmargin
from maxmargin.models import problems
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.engine.losses import LOSSES, scaled_gradient
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.judging.wording import about_optimizer
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.twin import gradients as rehearsals
from maxmargin.verify.lab.twin.search import search
from maxmargin.verify.optimizers import OptimizerError, get_optimizer
from maxmargin.verify.optimizers.core.logscale import scaled
from maxmargin.verify.optimizers.schedule_free import ScheduleFree
from maxmargin.verify.results.outcome import Outcome

SHAPES = {"W": (3, 4), "V": (4, 2), "a": (3,)}


class Averaged(torch.optim.Optimizer):
    """z ← z − γ ĝ(y), x ← (1−c) x + c z, y ← (1−β) z + β x, with c = w_t/Σ w_s and w_t = t^r (max γ)^power."""

    def __init__(self, params, lr=0.5, beta=0.9, beta2=None, r=0.0, weight_lr_power=2.0, **spoiled):
        super().__init__(params, {"lr": lr, "beta": beta, "r": r, "weight_lr_power": weight_lr_power})
        if beta2 is not None:
            self.defaults["beta2"] = beta2
        self.beta2, self.spoiled = beta2, {"late": 0.0, "share": 0.0, "decay": 0.0, "ascends": 1.0} | spoiled
        self.t, self.top, self.total = 0, 0.0, 0.0

    def rate(self, lr):
        return lr

    @torch.no_grad()
    def step(self, closure=None):
        group, self.t = self.param_groups[0], self.t + 1
        gamma, beta = self.rate(group["lr"]), group["beta"]
        self.top = max(self.top, gamma)
        weight = (self.t + self.spoiled["late"]) ** group["r"] * self.top ** group["weight_lr_power"]
        self.total += weight
        c = weight / self.total if self.total else 0.0
        c = min(1.0, c * (1 + self.spoiled["share"]))
        for i, p in enumerate(group["params"]):
            state = self.state[p]
            if not state:
                state |= {"z": p.clone(), "x": p.clone(), "v": torch.zeros_like(p)}
            z, x, g = state["z"], state["x"], p.grad
            if self.beta2 is not None:
                v = state["v"].mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
                g = torch.where(v > 0, g / (v / (1 - self.beta2**self.t)).sqrt(), 0.0)
            z.mul_(1 - self.spoiled["decay"]).sub_((self.spoiled["ascends"] if i == 0 else 1.0) * gamma * g)
            x.lerp_(z, c)
            p.copy_(z + beta * (x - z))


class Rectified(Averaged):
    def rate(self, lr):
        most, kept = 2 / (1 - self.beta2) - 1, self.beta2**self.t
        now = most - 2 * self.t * kept / (1 - kept)
        if now <= 4:
            return 0.0
        return lr * math.sqrt((now - 4) * (now - 2) * most / ((most - 4) * (most - 2) * now))


class MovesTheAverage(Averaged):
    """Gradients are taken at z: y is z itself."""

    def step(self, closure=None):
        super().step()
        for p in self.param_groups[0]["params"]:
            p.data.copy_(self.state[p]["z"])


ADAM = {"beta2": 0.97, "lr": 0.01}


def _at(t):
    return torch.tensor(float(t), dtype=torch.float64)


def _apart(make, optimizer, steps=200, power=1.0):
    """The largest relative difference of a step; the learning rate goes as ‖g‖^(−power)."""
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(s, dtype=torch.float64)) for s in SHAPES.values()]
    theirs = make(params)
    base = theirs.param_groups[0]["lr"]
    state, worst = optimizer.init({k: torch.zeros(s, dtype=torch.float64) for k, s in SHAPES.items()}), 0.0
    for t in range(1, steps + 1):
        g = {k: 10 ** (2 * math.sin(t)) * torch.randn(s, dtype=torch.float64) for k, s in SHAPES.items()}
        length = math.sqrt(sum(float((b * b).sum()) for b in g.values()))
        theirs.param_groups[0]["lr"] = base * length**-power
        before = [p.detach().clone() for p in params]
        for p, b in zip(params, g.values(), strict=True):
            p.grad = b.clone()
        theirs.step()
        u, state = optimizer.direction(state, scaled(g), _at(t))
        for p, b, one in zip(params, before, u.values(), strict=True):
            want = (p.detach() - b) / base
            worst = max(worst, float((one - want).norm() / want.norm().clamp(min=1e-3)))
    return worst


CASES = [
    ({}, {}, 1.0, Averaged),
    ({"beta": 0.6, "r": 1.0, "weight_lr_power": 1.0}, {"beta1": 0.6, "r": 1.0, "weight_lr_power": 1.0}, 1.0, Averaged),
    ({"weight_lr_power": 0.0}, {"weight_lr_power": 0.0}, 1.0, Averaged),
    (ADAM, {"kind": "adam", "beta2": 0.97}, 0.0, Averaged),
    (ADAM, {"kind": "adam", "beta2": 0.97, "rectified": True}, 0.0, Rectified),
    (ADAM | {"weight_lr_power": 0.0}, {"kind": "adam", "beta2": 0.97, "rectified": True, "weight_lr_power": 0.0}, 0.0,
     Rectified),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "ours", "power", "rule"), CASES)
def test_its_steps_are_those_of_the_three_sequences(theirs, ours, power, rule):
    optimizer = get_optimizer("schedule-free", ours)
    assert _apart(lambda p: rule(p, **theirs), optimizer, power=power) < 1e-10
    for spoiled in ({"share": 1e-3}, {"ascends": -1.0}, {"decay": 1e-3}):
        assert _apart(lambda p, spoiled=spoiled: rule(p, **theirs, **spoiled), optimizer, power=power) > 1e-6
    assert _apart(lambda p: MovesTheAverage(p, **theirs), optimizer, power=power) > 1e-2
    if theirs.get("r"):
        assert _apart(lambda p: rule(p, late=1.0, **theirs), optimizer, power=power) > 1e-6


def test_a_gradient_that_vanishes_changes_nothing_for_good():
    optimizer = ScheduleFree()
    g = {"a": torch.tensor([3.0, -4.0], dtype=torch.float64)}
    state = optimizer.init(g)
    for t, factor in enumerate((1.0, 0.0, 1.0, 1e-200), start=1):
        u, state = optimizer.direction(state, scaled({"a": factor * g["a"]}), _at(t))
        assert bool(torch.isfinite(u["a"]).all())
    assert not state.ahead["a"].any()  # so large a rate has all the weight: the average is z, and so is y


def test_a_kind_that_is_none():
    with pytest.raises(OptimizerError, match="it must be 'gd' or 'adam'"):
        get_optimizer("schedule-free", {"kind": "sgd"})


def _trained(rule, kwargs, problem, theta0, steps, eta, power):
    """The weights after training on the true gradient, at a learning rate that goes as ‖g‖^(−power)."""
    params = {k: torch.nn.Parameter(b[0].clone()) for k, b in theta0.items()}
    optimizer = rule(list(params.values()), **kwargs)
    for _ in range(steps):
        theta = {k: p.detach() for k, p in params.items()}
        g = scaled_gradient(problem.model, LOSSES["exponential"], theta, problem.X, problem.contrasts)
        blocks = {k: math.exp(float(g.log_scale)) * b for k, b in g.blocks.items()}
        length = math.sqrt(sum(float((b * b).sum()) for b in blocks.values()))
        optimizer.param_groups[0]["lr"] = eta * length**-power
        for k, p in params.items():
            p.grad = blocks[k]
        optimizer.step()
    return {k: p.detach() for k, p in params.items()}


@pytest.mark.parametrize(("theirs", "ours", "power"), [({}, {}, 1.0), (ADAM, {"kind": "adam", "beta2": 0.97}, 0.0)])
def test_the_engine_trains_as_it_does(theirs, ours, power):
    """In the loop: gradients at the weights that its own steps led to, native steps."""
    problem, eta, steps = problems.get("binary@relu2:h=8"), 0.01, 400
    start = starts(problem, 1, seed=0, scale=0.5)
    path = run(
        problem, get_optimizer("schedule-free", ours), start,
        steps=steps, schedule=PowerLaw(eta), loss="exponential", checkpoints=2,
    )  # fmt: skip
    assert path.steps[-1] == steps
    ends = {}
    for spoiled in (0.0, 0.1):
        end = _trained(Averaged, theirs | {"share": spoiled}, problem, start, steps, eta, power)
        ends[spoiled] = max(
            float((end[k] - torch.as_tensor(b[-1, 0])).norm() / end[k].norm()) for k, b in path.theta.items()
        )
    assert ends[0.0] < 1e-9
    assert ends[0.1] > 1e-4


# -- As a black box -----------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch):
    """A quarter of the late steps."""
    monkeypatch.setattr(rehearsals, "TWIN_LATE", 500)


def _twin(rule, **kwargs):
    loaded = load(rule, kwargs)
    about = probe(loaded, SHAPES)
    return search(loaded, SHAPES, about).twin, about


@pytest.mark.parametrize(
    ("rule", "kwargs", "want"),
    [
        (Averaged, {}, ScheduleFree(0.9)),
        (Averaged, ADAM, ScheduleFree(0.9, 0.97, "adam")),
        (Rectified, ADAM, ScheduleFree(0.9, 0.97, "adam", rectified=True)),
        (Averaged, {"beta": 0.7, "r": 1.0}, ScheduleFree(0.7, r=1.0)),
    ],
)
def test_a_black_box_is_recognised(hasty, rule, kwargs, want):
    twin, about = _twin(rule, **kwargs)
    assert twin is not None
    assert (twin.optimizer.kind, twin.optimizer.rectified) == (want.kind, want.rectified)
    assert twin.optimizer.recursion == want.recursion
    assert twin.factor == pytest.approx(kwargs.get("lr", 0.5), rel=1e-9)
    ends = "goes as one over the gradient's norm" if want.kind == "gd" else "is constant"
    assert twin.text.endswith(f"while its learning rate {ends}")
    assert {path[-1] for path in about.copies} == {"x", "z"}
    unmet = {name for name, h in about_optimizer(about).items() if h.met is False}
    assert unmet == {"learning rate honoured at once"}
    assert all(h.met for h in about_optimizer(about, twin).values())


@pytest.mark.parametrize(
    ("kwargs", "spoiled"),
    [
        ({}, {"share": 1e-8}),
        ({}, {"ascends": -1.0}),
        ({}, {"decay": 1e-6}),
        ({}, {"r": 1.0, "late": 1.0}),
        (ADAM, {"share": 1e-8}),
        (ADAM, {"ascends": -1.0}),
    ],
)
def test_a_spoiled_one_has_no_twin(hasty, kwargs, spoiled):
    twin, about = _twin(Averaged, **kwargs, **spoiled)
    assert twin is None
    assert bool(about.copies) == ("decay" not in spoiled)


def test_gradients_at_the_base_sequence_are_plain_descents(hasty):
    twin, _ = _twin(MovesTheAverage)
    assert "lmo(g)" in twin.optimizer.recursion


class Forgetful(Averaged):
    """What it keeps of the weights is only nearly a copy: an average of them that began at 0."""

    def step(self, closure=None):
        super().step()
        for p in self.param_groups[0]["params"]:
            self.state[p].setdefault("mean", torch.zeros_like(p)).lerp_(p.data, 0.1)


def test_places_among_the_weights_are_told_from_other_state():
    def copies(target, **kwargs):
        return {path[-1] for path in probe(load(target, kwargs), SHAPES).copies}

    assert copies(Forgetful) == {"x", "z"}
    assert copies(Averaged, decay=1e-6) == set()
    assert copies("torch.optim:Adam") == copies("torch.optim:SGD", momentum=0.9) == set()
    assert copies("torch.optim:ASGD", lambd=0.0) == {"ax"}


def test_weights_that_are_put_elsewhere_take_their_copies_along():
    loaded = load(Averaged)
    about = probe(loaded, SHAPES)
    moved = {}
    for at in (None, about.copies, ()):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(s, dtype=torch.float64)) for s in SHAPES.values()]
        handle = Handle(loaded, params)
        gradients = [[torch.randn(s, dtype=torch.float64) for s in SHAPES.values()] for _ in range(4)]
        for g in gradients[:3]:
            handle.advance(g)
        if at is not None:
            handle.put([torch.ones(s, dtype=torch.float64) for s in SHAPES.values()], at)
            assert all(bool((p == 1).all()) for p in params)
        moved[at] = torch.cat([u.reshape(-1) for u in handle.advance(gradients[3])])
    stays, along, left = moved.values()
    assert torch.allclose(stays, along, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(stays, left, rtol=1e-2)


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_verdict(spoiled):
    """The right one holds, as its twin makes it; one whose first block ascends is none, and never holds."""
    kwargs = {"ascends": -1.0} if spoiled else {}
    verdict = maxmargin.check(Averaged, kwargs=kwargs, problems="blocks")
    assert not any("own schedule" in r for r in verdict.reasons)
    if spoiled:
        assert verdict.outcome is not Outcome.HOLDS
        assert verdict.twin is None
    else:
        assert (verdict.outcome, verdict.norm) == (Outcome.HOLDS, "l2")
        assert any("while its learning rate goes as one over the gradient's norm" in r for r in verdict.reasons)
