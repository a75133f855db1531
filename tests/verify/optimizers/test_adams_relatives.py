"""Adam's relatives, NAdam to StableAdamW: 250 steps against torch.optim or plain loops, and far below.

The loops are written after the authors' or ``pytorch_optimizer``'s code; each comparison is also made with loops that
have one fault, and must tell each of them.
"""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.regimes import regimes
from maxmargin.verify.lab.twin import gradients as rehearsals
from maxmargin.verify.lab.twin.search import search
from maxmargin.verify.optimizers import OptimizerError, get_optimizer
from maxmargin.verify.optimizers.core.logscale import Scaled

SHAPES = {"W": (3, 2), "a": (3,)}
STEPS = 250


def _gradients(steps, seed=0):
    """Noise around a drift, falling by e^(−0.02) a step, with a burst in the middle and an entry that is always 0."""
    rng = np.random.default_rng(seed)
    base = {k: rng.standard_normal(s) for k, s in SHAPES.items()}
    size = [math.exp(-0.02 * t) * (5.0 if 40 <= t < 45 else 1.0) for t in range(steps)]
    found = [{k: c * (b + 0.5 * rng.standard_normal(b.shape)) for k, b in base.items()} for c in size]
    for g in found:
        g["a"][2] = 0.0
    return found


def _at(t):
    return torch.tensor(float(t), dtype=torch.float64)


def _directions(optimizer, gradients, logs=None):
    """Directions, all blocks in one row."""
    state, out = optimizer.init({k: torch.zeros(np.shape(b), dtype=torch.float64) for k, b in gradients[0].items()}), []
    for t, g in enumerate(gradients, start=1):
        scaled = Scaled({k: torch.as_tensor(b) for k, b in g.items()}, _at(0.0 if logs is None else logs[t - 1]))
        u, state = optimizer.direction(state, scaled, _at(t))
        out.append(np.concatenate([b.numpy().ravel() for b in u.values()]))
    return np.array(out)


def _torch_directions(make, gradients):
    params = {k: torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for k, s in SHAPES.items()}
    optimizer, out = make(list(params.values())), []
    for g in gradients:
        for k, p in params.items():
            p.data.zero_()
            p.grad = torch.as_tensor(g[k]).clone()
        optimizer.step()
        out.append(np.concatenate([p.detach().numpy().copy().ravel() for p in params.values()]))
    return np.array(out)


def _apart(got, want):
    """The largest difference of a step, relative to its largest entry."""
    return float(np.max(np.abs(got - want).max(1) / np.maximum(np.abs(want).max(1), 1e-300)))


@pytest.mark.parametrize(
    ("name", "kwargs", "theirs", "arguments"),
    [
        ("nadam", {"beta2": 0.999, "eps": 1e-8, "product": "float32"}, "NAdam", {}),
        ("nadam", {"eps": 0.1, "beta1": 0.7, "momentum_decay": 0.3, "product": "float32"}, "NAdam",
         {"betas": (0.7, 0.95), "eps": 0.1, "momentum_decay": 0.3}),
        ("adamax", {"beta2": 0.999, "eps": 1e-8}, "Adamax", {}),
        ("adamax", {"beta1": 0.5, "eps": 0.1}, "Adamax", {"betas": (0.5, 0.95), "eps": 0.1}),
    ],
)  # fmt: skip
def test_it_is_torchs(name, kwargs, theirs, arguments):
    gradients = _gradients(STEPS)
    want = _torch_directions(lambda p: getattr(torch.optim, theirs)(p, lr=1.0, foreach=False, **arguments), gradients)
    assert _apart(_directions(get_optimizer(name, kwargs), gradients), want) < 1e-10


# -- Plain loops, right and with one fault ------------------------------------------------------------------------


def _root(x):
    return np.vectorize(mpmath.sqrt, otypes=[object])(x) if x.dtype == object else np.sqrt(x)


def _ratio(x, y):
    """x / y with 0/0 := 0, of floats or of mpmath's numbers."""
    return np.where(y != 0, x / np.where(y != 0, y, y + 1), 0 * y)


def _nadam(g, b1=0.9, b2=0.95, *, decay=4e-3, half=0.5, shifted=True, jointly=False):
    m, v, product = 0.0, 0.0, 1.0
    for t, x in enumerate(g, start=1):
        mu, then = (b1 * (1 - half * 0.96 ** (s * decay)) for s in (t, t + 1 if shifted else t))
        product *= mu
        m, v = b1 * m + (1 - b1) * x, b2 * v + (1 - b2) * x**2
        later = product if jointly else product * then
        yield _ratio((1 - mu) * x / (1 - product) + then * m / (1 - later), _root(v / (1 - b2**t)))


def _adamax(g, b1=0.9, b2=0.95, *, peak=True, bias=True):
    m, u = 0.0, np.zeros_like(g[0])
    for t, x in enumerate(g, start=1):
        m = b1 * m + (1 - b1) * x
        u = np.maximum(b2 * u, abs(x)) if peak else b2 * u + (1 - b2) * abs(x)
        yield _ratio(m / (1 - b1**t if bias else 1.0), u)


def _laprop(g, b1=0.9, b2=0.95, *, after=False, bias=True):
    m, v = 0.0, 0.0
    for t, x in enumerate(g, start=1):
        v = b2 * v + (1 - b2) * x**2
        root = _root(v / (1 - b2**t))
        m = b1 * m + (1 - b1) * (x if after else _ratio(x, root))
        yield (_ratio(m, root) if after else m) / (1 - b1**t if bias else 1.0)


def _adopt(g, b1=0.9, b2=0.95, *, late=True, clip=0.25, first=1):
    m, v = np.zeros_like(g[0]), g[0] ** 2
    yield m
    for t, x in enumerate(g[1:], start=2):
        before, v = v, b2 * v + (1 - b2) * x**2
        bound = (t - 1 + first) ** clip if clip is not None else math.inf
        m = b1 * m + (1 - b1) * np.clip(_ratio(x, _root(before if late else v)), -bound, bound)
        yield m


def _adan(g, b1=0.98, b2=0.92, b3=0.99, *, skip=False, ahead=True, first_change=False):
    m, d, n, last = 0.0, 0.0, np.zeros_like(g[0]), 0.0 if first_change else g[0]
    for t, x in enumerate(g, start=1):
        if t > 1 or not skip:
            change = x - last
            m, d = b1 * m + (1 - b1) * x, b2 * d + (1 - b2) * change
            n = b3 * n + (1 - b3) * (x + b2 * change if ahead else x) ** 2
        last = x
        yield _ratio(m / (1 - b1**t) + b2 * d / (1 - b2**t), _root(n / (1 - b3**t)))


def _adabelief(g, b1=0.9, b2=0.95, *, stale=False):
    m, s = 0.0, 0.0
    for t, x in enumerate(g, start=1):
        before, m = m, b1 * m + (1 - b1) * x
        s = b2 * s + (1 - b2) * (x - (before if stale else m)) ** 2
        yield _ratio(m / (1 - b1**t), _root(s / (1 - b2**t)))


def _adams(g, b1, b2):
    """m̂ and v̂ of every step."""
    m, v = 0.0, 0.0
    for t, x in enumerate(g, start=1):
        m, v = b1 * m + (1 - b1) * x, b2 * v + (1 - b2) * x**2
        yield x, m / (1 - b1**t), v / (1 - b2**t)


def _grams(g, b1=0.9, b2=0.95, *, own=True):
    for x, m, v in _adams(g, b1, b2):
        yield _ratio(abs(m) if own else m, _root(v)) * (np.sign(x) if own else 1)


def _blocks(row):
    """The entries of each block, where a row is one of SHAPES."""
    return (row[:6], row[6:]) if len(row) > 6 else (row,)


def _stable(g, b1=0.9, b2=0.95, *, joined=False, held=True):
    for x, m, v in _adams(g, b1, b2):
        parts = [_ratio(a**2, b) for a, b in zip(_blocks(x), _blocks(v), strict=True)]
        if joined:
            parts = [np.concatenate(parts)] * len(parts)
        rates = [max(1, _root(np.array([p.mean()]))[0]) if held else 1 for p in parts]
        steps = [r / late for r, late in zip(_blocks(_ratio(m, _root(v))), rates, strict=True)]
        yield np.concatenate(steps)


def _normalized(g, b1=0.9, b2=0.95, *, over="all", eps=0):
    def unit(x):
        parts = _blocks(x) if over == "block" else (x,)
        return np.concatenate([p / (_root(np.array([(p**2).sum()])) if over else 1) for p in parts])

    for _, m, v in _adams([unit(x) for x in g], b1, b2):
        yield _ratio(m, _root(v) + eps)


def _mini(g, b1=0.9, b2=0.95, *, over="block"):
    ends = {"block": [6], "row": [2, 4, 6], "all": []}[over]  # of SHAPES

    def mean(x):
        parts = np.split(x, ends if len(x) > 6 else [])
        return np.concatenate([np.full(p.size, (p**2).mean()) for p in parts])

    m, v = 0.0, 0.0
    for t, x in enumerate(g, start=1):
        m, v = b1 * m + (1 - b1) * x, b2 * v + (1 - b2) * mean(x)
        yield _ratio(m / (1 - b1**t), _root(v / (1 - b2**t)))


def _ademamix(g, b1=0.9, b2=0.99, b3=0.99, alpha=5.0, *, corrected=False, normalized=False):
    s = 0.0
    for t, (x, m, v) in enumerate(_adams(g, b1, b2), start=1):
        s = b3 * s + (1 - b3) * x
        top = m + alpha * s / (1 - b3**t if corrected else 1.0)
        yield top / _root(np.array([(top**2).sum()])) if normalized else _ratio(top, _root(v))


LOOPS = {
    "nadam": (("nadam", {}), _nadam, {}),
    "dozat": (("nadam", {"scheduled": False}), _nadam, {"half": 0.0}),
    "nadam jointly": (("nadam", {"scheduled": False, "jointly": True}), _nadam, {"half": 0.0, "jointly": True}),
    "adamax": (("adamax", {}), _adamax, {}),
    "laprop": (("laprop", {}), _laprop, {}),
    "adopt": (("adopt", {}), _adopt, {}),
    "adopt of its authors": (("adopt", {"counts_first": False}), _adopt, {"first": 0}),
    "adan": (("adan", {}), _adan, {}),
    "adan later": (("adan", {"skip_first": True}), _adan, {"skip": True}),
    "adabelief": (("adabelief", {}), _adabelief, {}),
    "grams": (("grams", {}), _grams, {}),
    "stable-adam": (("stable-adam", {}), _stable, {}),
    "normalized-adam": (("normalized-adam", {}), _normalized, {}),
    "normalized-adam, eps": (("normalized-adam", {"relative_eps": 0.25}), _normalized, {"eps": 0.25}),
    "adam-mini": (("adam-mini", {}), _mini, {}),
    "adam-mini rows": (("adam-mini", {"over": "row"}), _mini, {"over": "row"}),
    "ademamix": (("ademamix", {}), _ademamix, {}),
    "ademamix below eps": (("ademamix", {"normalized": True}), _ademamix, {"normalized": True}),
}


def _loop(loop, gradients, arguments):
    rows = [np.concatenate([b.ravel() for b in g.values()]) for g in gradients]
    return -np.array(list(loop(rows, **arguments)))


@pytest.mark.parametrize("which", LOOPS)
def test_it_is_the_plain_loop(which):
    (name, kwargs), loop, right = LOOPS[which]
    gradients = _gradients(STEPS, seed=2)
    assert _apart(_directions(get_optimizer(name, kwargs), gradients), _loop(loop, gradients, right)) < 1e-10


@pytest.mark.parametrize(
    ("which", "fault"),
    [
        ("nadam", {"decay": 0.005}),
        ("nadam", {"half": 0.0}),
        ("nadam", {"shifted": False, "decay": 1.0}),
        ("dozat", {"half": 0.5}),
        ("dozat", {"jointly": True}),
        ("adamax", {"peak": False}),
        ("adamax", {"bias": False}),
        ("adamax", {"b2": 0.949}),
        ("laprop", {"after": True}),
        ("laprop", {"bias": False}),
        ("adopt", {"late": False}),
        ("adopt", {"clip": None}),
        ("adopt", {"clip": 0.3}),
        ("adopt", {"first": 0}),
        ("adan", {"ahead": False}),
        ("adan", {"first_change": True}),
        ("adan", {"skip": True}),
        ("adan later", {"skip": False}),
        ("adabelief", {"stale": True}),
        ("grams", {"own": False}),
        ("stable-adam", {"held": False}),
        ("stable-adam", {"joined": True}),
        ("normalized-adam", {"over": "block"}),
        ("normalized-adam", {"over": ""}),
        ("normalized-adam, eps", {"eps": 0.2}),
        ("adam-mini", {"over": "row"}),
        ("adam-mini", {"over": "all"}),
        ("adam-mini rows", {"over": "block"}),
        ("ademamix", {"corrected": True}),
        ("ademamix", {"alpha": 4.9}),
        ("ademamix", {"b3": 0.989}),
        ("ademamix below eps", {"normalized": False}),
    ],
)
def test_a_loop_with_a_fault_differs(which, fault):
    (name, kwargs), loop, right = LOOPS[which]
    gradients = _gradients(STEPS, seed=2)
    apart = _apart(_directions(get_optimizer(name, kwargs), gradients), _loop(loop, gradients, right | fault))
    assert apart > (1e-4 if fault == {"decay": 0.005} else 1e-3)


@pytest.mark.parametrize("which", LOOPS)
@pytest.mark.parametrize("fall", [-5_000.0, -1e6])
def test_margins_of_a_million_against_mpmath(which, fall):
    """The loops themselves, on numbers without a range; the loss falls by e^(fall) in one step, and rises a little."""
    (name, kwargs), loop, right = LOOPS[which]
    logs = np.cumsum([-60.0, -1.5, -0.3, fall, 3.0, 0.4, -9.0, 8.0, -0.3, 1.0, 30.0, -0.2, -0.1])
    g = np.random.default_rng(4).standard_normal((len(logs), 4))
    got = _directions(get_optimizer(name, kwargs), [{"a": row} for row in g], logs)
    with mpmath.workdps(60):
        exact = [np.array([mpmath.mpf(x) * mpmath.exp(float(s)) for x in row]) for row, s in zip(g, logs, strict=True)]
        want = -np.array([[float(x) for x in row] for row in loop(exact, **right)])
    np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-300)
    assert np.abs(got[2]).min() > 1e-3


def test_bad_numbers_are_refused():
    with pytest.raises(OptimizerError, match="momentum_decay is -1"):
        get_optimizer("nadam", {"momentum_decay": -1.0})
    with pytest.raises(OptimizerError, match="beta3 is 1"):
        get_optimizer("adan", {"beta3": 1.0})


# -- Twins ----------------------------------------------------------------------------------------------------------

TWIN_SHAPES = {"W": (3, 4), "a": (3,)}


class Clipped(torch.optim.Adam):
    """Adam that clips its gradients' norm, as training loops do."""

    def __init__(self, params, longest=1.0, eps=1e-8):
        super().__init__(params, eps=eps)
        self.longest = longest

    def step(self, closure=None):
        torch.nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], self.longest)
        return super().step(closure)


@pytest.fixture
def hasty(monkeypatch):
    """A quarter of the late steps."""
    monkeypatch.setattr(rehearsals, "TWIN_LATE", 500)


@pytest.mark.parametrize(
    ("target", "kwargs", "texts"),
    [
        ("torch.optim:NAdam", {}, ("μ_t = 0.9 (1 − 0.96^(0.004 t)/2)", "g/(1−Π_t) + μ_(t+1) m/(1−Π_(t+1))), momentum")),
        (
            "torch.optim:NAdam",
            {"betas": (0.8, 0.99), "momentum_decay": 0.1},
            ("μ_t = 0.8 (1 − 0.96^(0.1 t)/2)", "momentum_decay 0.1, normalized"),
        ),
        ("torch.optim:Adamax", {}, ("u ← max(0.999 u, |g| + 0)", "lmo(m), l2 ball")),
        (Clipped, {}, ("g ← g/‖g‖₂,  m ← 0.9 m + 0.1 g,  v ← 0.999 v + 0.001 g²", "lmo(m), l2 ball")),
        (Clipped, {"longest": 3.0, "eps": 1e-6}, ("g ← g/‖g‖₂,  m ← 0.9 m", "lmo(m), l2 ball")),
    ],
)
def test_twins_above_and_below_their_eps(hasty, target, kwargs, texts):
    loaded = load(target, kwargs)
    two = regimes(loaded, TWIN_SHAPES, probe(loaded, TWIN_SHAPES))
    assert two.degrees == (0.0, 1.0)
    for part, text in zip((two.above, two.below), texts, strict=True):
        twin = search(part, TWIN_SHAPES, probe(part, TWIN_SHAPES)).twin
        assert text in twin.text
        assert twin.difference < 1e-10


class Plain(torch.optim.Optimizer):
    """θ ← θ − lr · direction, one parameter at a time; 0/0 := 0."""

    def __init__(self, params, lr=0.02, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                p.add_(self.direction(p.grad, state, group["betas"]), alpha=-group["lr"])


class PlainADOPT(Plain):
    late = True
    """Whether the second moment is that of the gradients before."""
    clip = 0.25

    def direction(self, g, state, betas):
        if state["step"] == 1:
            state["m"], state["v"] = torch.zeros_like(g), g * g
            return state["m"]
        after = betas[1] * state["v"] + (1 - betas[1]) * g * g
        root = (state["v"] if self.late else after).sqrt()
        n = torch.where(root > 0, g / root, 0.0).clamp(-(state["step"] ** self.clip), state["step"] ** self.clip)
        state["m"], state["v"] = betas[0] * state["m"] + (1 - betas[0]) * n, after
        return state["m"]


class SmallADOPT(PlainADOPT):
    """Far below its eps, which is 1."""

    def direction(self, g, state, betas):
        if state["step"] == 1:
            state["m"] = torch.zeros_like(g)
        else:
            state["m"] = betas[0] * state["m"] + (1 - betas[0]) * g
        return state["m"]


class Present(PlainADOPT):
    late = False


class OtherClip(PlainADOPT):
    clip = 0.26


class PlainAdan(Plain):
    """As ``adan_pytorch``: betas are what is taken, and the first gradient makes no step."""

    seen = True
    """Whether the change is in the second moment."""

    def __init__(self, params, lr=0.02, betas=(0.02, 0.08, 0.01)):
        super().__init__(params, lr, betas)

    def direction(self, g, state, betas):
        b1, b2, b3 = betas
        m, d, n = (state.setdefault(k, torch.zeros_like(g)) for k in "mdn")
        if state["step"] > 1:
            change = g - state["last"]
            m.lerp_(g, b1)
            d.lerp_(change, b2)
            n.lerp_((g + (1 - b2) * change * self.seen) ** 2, b3)
        state["last"] = g.clone()
        c1, c2, c3 = (1 - (1 - b) ** state["step"] for b in betas)
        return self.over(m / c1 + (1 - b2) * d / c2, n / c3)

    def over(self, top, n):
        return torch.where(n > 0, top / n.sqrt(), 0.0)


class SmallAdan(PlainAdan):
    """Far below its eps, which is 1."""

    def over(self, top, n):
        return top


class Unseen(PlainAdan):
    seen = False


class InMomentum(torch.optim.Optimizer):
    """LaProp as in ``pytorch_optimizer``, its learning rate inside m; ``after`` lets bare gradients in now and then."""

    def __init__(self, params, lr=0.02, betas=(0.9, 0.99), after=False):
        super().__init__(params, {"lr": lr, "betas": betas, "after": after})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                state["step"] = t = state.get("step", 0) + 1
                m, v = (state.setdefault(k, torch.zeros_like(p)) for k in "mv")
                v.mul_(b2).add_((1 - b2) * p.grad**2)
                root = (v / (1 - b2**t)).sqrt()
                given = p.grad if group["after"] and t % 50 == 0 else torch.where(root > 0, p.grad / root, 0.0)
                m.mul_(b1).add_((1 - b1) * group["lr"] * given)
                p.sub_(m / (1 - b1**t))


def test_a_learning_rate_inside_the_momentum_is_rehearsed_at_a_constant_one(hasty):
    target, spoiled = load(InMomentum), load(InMomentum, {"after": True})
    about = probe(target, TWIN_SHAPES)
    assert about.lr_knob_error > 0.1
    twin = search(target, TWIN_SHAPES, about).twin
    assert twin.optimizer == get_optimizer("laprop", {"beta2": 0.99})
    assert "while its learning rate is constant" in twin.text
    assert search(spoiled, TWIN_SHAPES, probe(spoiled, TWIN_SHAPES)).twin is None


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (PlainADOPT, "m ← 0.9 m + 0.1 clip(g/max(√v, 0), t^¼)"),
        (PlainAdan, "the first gradient makes no step"),
        (SmallADOPT, "m, from the second step on, normalized"),
        (SmallAdan, "(m̂ + 0.92 d̂) (d: the gradient's changes), adan-later, normalized"),
        (Present, None),
        (OtherClip, None),
        (Unseen, None),
    ],
)
def test_twins_of_optimizers_whose_first_step_is_none(hasty, rule, text):
    target = load(rule)
    twin = search(target, TWIN_SHAPES, probe(target, TWIN_SHAPES)).twin
    assert (text in twin.text) if text else twin is None
