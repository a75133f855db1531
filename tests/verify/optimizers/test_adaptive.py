"""Adam's relatives, Lion and decoupled decay: 100 steps against torch.optim or numpy, beyond its range against mpmath.

Every comparison is also made with loops that have one fault, and must tell each of them.
"""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import Paced
from maxmargin.verify.evidence.hypotheses import Known, hypotheses_of
from maxmargin.verify.evidence.measure import Effort, measure
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.optimizers.adam import Adam
from maxmargin.verify.optimizers.core.logscale import Scaled

SHAPES = {"W": (3, 2), "a": (3,)}
LR = 1e-2


def _gradients(steps, seed=0):
    """Noise around a drift, falling by e^(−0.02) a step, with a burst in the middle that a maximum remembers."""
    rng = np.random.default_rng(seed)
    base = {k: rng.standard_normal(s) for k, s in SHAPES.items()}
    size = [math.exp(-0.02 * t) * (5.0 if 40 <= t < 45 else 1.0) for t in range(steps)]
    return [{k: c * (b + 0.5 * rng.standard_normal(b.shape)) for k, b in base.items()} for c in size]


def _at(t):
    return torch.tensor(float(t), dtype=torch.float64)


def _weights(optimizer, gradients):
    """Weights after each step from θ = 1, with learning rate LR, through ``direction`` and ``move``."""
    theta = {k: torch.ones(s, dtype=torch.float64) for k, s in SHAPES.items()}
    state, out = optimizer.init(theta), []
    for t, g in enumerate(gradients, start=1):
        scaled = Scaled({k: torch.as_tensor(b) for k, b in g.items()}, _at(0.0))
        u, state = optimizer.direction(state, scaled, _at(t))
        theta = optimizer.move(theta, u, _at(LR), _at(t))
        out.append({k: b.numpy() for k, b in theta.items()})
    return out


def _torch_weights(make, gradients):
    params = {k: torch.nn.Parameter(torch.ones(s, dtype=torch.float64)) for k, s in SHAPES.items()}
    optimizer, out = make(list(params.values())), []
    for g in gradients:
        for k, p in params.items():
            p.grad = torch.as_tensor(g[k]).clone()
        optimizer.step()
        out.append({k: p.detach().numpy().copy() for k, p in params.items()})
    return out


def _worst(got, want):
    """Largest relative difference of the weights' changes over all steps."""
    return max(
        float(np.abs(a[k] - b[k]).max() / np.abs(b[k] - 1.0).max()) for a, b in zip(got, want, strict=True) for k in b
    )


TORCH = [
    ("adam", {"eps": 1e-8, "beta2": 0.999}, "Adam", {"betas": (0.9, 0.999)}),
    ("amsgrad", {"normalized": False}, "Adam", {"betas": (0.9, 0.95), "eps": 0.0, "amsgrad": True}),
    ("amsgrad", {"normalized": False, "beta1": 0.5, "eps": 0.1}, "Adam",
     {"betas": (0.5, 0.95), "eps": 0.1, "amsgrad": True}),
    ("adamw", {"decay": 0.3}, "AdamW", {"betas": (0.9, 0.95), "eps": 0.0, "weight_decay": 0.3}),
    ("adamw", {"decay": 0.1, "eps": 1e-8, "beta2": 0.999}, "AdamW", {"weight_decay": 0.1}),
    ("rmsprop", {}, "RMSprop", {"alpha": 0.95, "eps": 0.0}),
    ("rmsprop", {"alpha": 0.99, "eps": 1e-8, "momentum": 0.9}, "RMSprop", {"momentum": 0.9}),
    ("adagrad", {"normalized": False}, "Adagrad", {"eps": 0.0}),
    ("adagrad", {"normalized": False, "eps": 0.3}, "Adagrad", {"eps": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs", "theirs", "arguments"), TORCH)
def test_it_is_torchs(name, kwargs, theirs, arguments):
    gradients = _gradients(100)
    make = getattr(torch.optim, theirs)
    want = _torch_weights(lambda p: make(p, lr=LR, foreach=False, **arguments), gradients)
    assert _worst(_weights(get_optimizer(name, kwargs), gradients), want) < 1e-10


@pytest.mark.parametrize("name", ["amsgrad", "adagrad"])
def test_normalized_is_the_same_direction(name):
    """Steps of ℓ2 length LR along the literal recursion's."""
    gradients = _gradients(60, seed=1)
    optimizer, literal = get_optimizer(name), get_optimizer(name, {"normalized": False})
    one, other = _weights(optimizer, gradients), _weights(literal, gradients)
    start = {k: np.ones(s) for k, s in SHAPES.items()}
    for before, after, last, now in zip([start, *one], one, [start, *other], other, strict=False):
        du = np.concatenate([(after[k] - before[k]).ravel() for k in SHAPES])
        dv = np.concatenate([(now[k] - last[k]).ravel() for k in SHAPES])
        assert np.linalg.norm(du) == pytest.approx(LR, rel=1e-9)
        np.testing.assert_allclose(du / LR, dv / np.linalg.norm(dv), atol=1e-10)


# -- Plain loops, right and with one fault ------------------------------------------------------------------------


def _adam_loop(gradients, b1=0.9, b2=0.95, *, bias=True, root=True, peak=False, decay=0.0, coupled=False):
    theta = {k: np.ones(s) for k, s in SHAPES.items()}
    m, v, p, out = {}, {}, {}, []
    for t, g in enumerate(gradients, start=1):
        for k in SHAPES:
            x = g[k] + decay * theta[k] if coupled else g[k]
            m[k] = b1 * m.get(k, 0.0) + (1 - b1) * x
            v[k] = b2 * v.get(k, 0.0) + (1 - b2) * x**2
            p[k] = np.maximum(p.get(k, 0.0), v[k]) if peak else v[k]
            top, bottom = (m[k] / (1 - b1**t), p[k] / (1 - b2**t)) if bias else (m[k], p[k])
            step = top / (np.sqrt(bottom) if root else bottom)
            theta[k] = (theta[k] if coupled else (1 - LR * decay) * theta[k]) - LR * step
        out.append({k: b.copy() for k, b in theta.items()})
    return out


def _lion_loop(gradients, b1=0.9, b2=0.99, *, stale=False, signs=True):
    theta = {k: np.ones(s) for k, s in SHAPES.items()}
    m, out = {k: np.zeros(s) for k, s in SHAPES.items()}, []
    for g in gradients:
        for k in SHAPES:
            ahead = b1 * m[k] + (1 - b1) * g[k]
            m[k] = b2 * m[k] + (1 - b2) * g[k]
            along = m[k] if stale else ahead
            theta[k] = theta[k] - LR * (np.sign(along) if signs else along)
        out.append({k: b.copy() for k, b in theta.items()})
    return out


def _rms_loop(gradients, alpha=0.95, *, add=0.0, root=True, late=False):
    """RMSprop, or Adagrad with alpha = add = 1."""
    theta = {k: np.ones(s) for k, s in SHAPES.items()}
    v, out = {k: np.zeros(s) for k, s in SHAPES.items()}, []
    for g in gradients:
        for k in SHAPES:
            before = v[k]
            v[k] = alpha * v[k] + (add or 1 - alpha) * g[k] ** 2
            bottom = np.maximum(before, 1e-3) if late else v[k]
            theta[k] = theta[k] - LR * g[k] / (np.sqrt(bottom) if root else bottom)
        out.append({k: b.copy() for k, b in theta.items()})
    return out


LOOPS = {
    "adam": (("adam", {}), _adam_loop, {}),
    "uncorrected": (("adam", {"bias_correction": False}), _adam_loop, {"bias": False}),
    "amsgrad": (("amsgrad", {"normalized": False}), _adam_loop, {"peak": True}),
    "adamw": (("adamw", {"decay": 0.3}), _adam_loop, {"decay": 0.3}),
    "lion": (("lion", {}), _lion_loop, {}),
    "signum": (("lion", {"beta1": 0.9, "beta2": 0.9}), _lion_loop, {"b2": 0.9, "stale": True}),
    "rmsprop": (("rmsprop", {}), _rms_loop, {}),
    "adagrad": (("adagrad", {"normalized": False}), _rms_loop, {"alpha": 1.0, "add": 1.0}),
}


@pytest.mark.parametrize("which", LOOPS)
def test_it_is_the_plain_loop(which):
    (name, kwargs), loop, right = LOOPS[which]
    gradients = _gradients(100, seed=2)
    assert _worst(_weights(get_optimizer(name, kwargs), gradients), loop(gradients, **right)) < 1e-10


@pytest.mark.parametrize(
    ("which", "fault"),
    [
        ("adam", {"b1": 0.89}),
        ("adam", {"b2": 0.951}),
        ("adam", {"bias": False}),
        ("adam", {"root": False}),
        ("uncorrected", {"bias": True}),
        ("amsgrad", {"peak": False}),
        ("amsgrad", {"bias": False}),
        ("adamw", {"decay": 0.29}),
        ("adamw", {"coupled": True}),
        ("lion", {"b1": 0.8}),
        ("lion", {"b2": 0.98}),
        ("lion", {"stale": True}),
        ("lion", {"signs": False}),
        ("rmsprop", {"alpha": 0.94}),
        ("rmsprop", {"root": False}),
        ("rmsprop", {"late": True}),
        ("adagrad", {"alpha": 0.99}),
        ("adagrad", {"root": False}),
    ],
)
def test_a_loop_with_a_fault_differs(which, fault):
    (name, kwargs), loop, right = LOOPS[which]
    gradients = _gradients(100, seed=2)
    assert _worst(_weights(get_optimizer(name, kwargs), gradients), loop(gradients, **(right | fault))) > 1e-3


def test_decay_is_around_any_optimizer():
    gradients = _gradients(30, seed=3)
    plain = _weights(get_optimizer("decayed", {"optimizer": "lion", "decay": 0.0, "beta2": 0.9}), gradients)
    assert _worst(plain, _weights(get_optimizer("lion", {"beta2": 0.9}), gradients)) == 0.0
    theta, want = {k: np.ones(s) for k, s in SHAPES.items()}, []
    start = theta
    for now, last in zip(plain, [start, *plain], strict=False):
        theta = {k: (1 - LR * 0.5) * theta[k] + now[k] - last[k] for k in theta}
        want.append(theta)
    got = _weights(get_optimizer("decayed", {"optimizer": "lion", "decay": 0.5, "beta2": 0.9}), gradients)
    assert _worst(got, want) < 1e-12


# -- Beyond float64's range: mpmath --------------------------------------------------------------------------------

LOGS = {
    # The loss falls by e^−50000 from one step to the next, twice, and rises again.
    "falls": np.cumsum([-60.0, -1.5, -50_000.0, 3.0, 0.4, 39.0, -0.3, -50_000.0, 1.0, 49_000.0, -0.2, -0.1]),
    # A margin of 10⁶ from the start, moments within each other's reach.
    "deep": -1e6 + np.cumsum([0.0, -1.5, -0.3, 3.0, 0.4, -9.0, 8.0, -0.3, 1.0, 30.0, -0.2, -20.0]),
}


def _mp_directions(kind, gradients, logs):
    b1, b2 = mpmath.mpf("0.9"), mpmath.mpf("0.95")
    n = len(gradients[0])
    m, v, p, out = [mpmath.mpf(0)] * n, [mpmath.mpf(0)] * n, [mpmath.mpf(0)] * n, []
    for t, g in enumerate(gradients, start=1):
        g = [mpmath.mpf(float(x)) * mpmath.exp(float(logs[t - 1])) for x in g]
        if kind == "adagrad":
            v = [a + x**2 for a, x in zip(v, g, strict=True)]
            u = [x / mpmath.sqrt(a) for a, x in zip(v, g, strict=True)]
        else:
            c1, c2 = (1, 1) if kind == "rmsprop" else (1 - b1**t, 1 - b2**t)
            m = g if kind == "rmsprop" else [b1 * a + (1 - b1) * x for a, x in zip(m, g, strict=True)]
            v = [b2 * a + (1 - b2) * x**2 for a, x in zip(v, g, strict=True)]
            p = [max(a, x) for a, x in zip(p, v, strict=True)] if kind == "amsgrad" else v
            u = [x / c1 / mpmath.sqrt(a / c2) for x, a in zip(m, p, strict=True)]
        if kind in ("adagrad", "amsgrad"):
            length = mpmath.sqrt(sum(x**2 for x in u))
            u = [x / length for x in u]
        out.append([-float(x) for x in u])
    return np.array(out)


@pytest.mark.parametrize("kind", ["adam", "amsgrad", "rmsprop", "adagrad"])
@pytest.mark.parametrize("path", LOGS)
def test_margins_of_a_million_against_mpmath(kind, path):
    logs = LOGS[path]
    rng = np.random.default_rng(4)
    gradients = rng.standard_normal((len(logs), 4))
    optimizer = get_optimizer(kind)
    state = optimizer.init({"a": torch.zeros(4, dtype=torch.float64)})
    got = []
    for t, g in enumerate(gradients, start=1):
        u, state = optimizer.direction(state, Scaled({"a": torch.as_tensor(g)}, _at(logs[t - 1])), _at(t))
        got.append(u["a"].numpy())
    with mpmath.workdps(40):
        want = _mp_directions(kind, gradients, logs)
    np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-300)  # a log-scale of 1e6 rounds at 1e-10
    assert logs.min() < -1e5
    assert np.abs(got[1]).min() > 1e-3  # and not 0 = 0


@pytest.mark.parametrize(("limit", "gap"), [(None, 0.02), (0.05, None)])
def test_beyond_the_theorem_the_gap_closes_at_a_pace_below_the_resonance(limit, gap):
    """β₁ > √β₂: at the pace that either moment alone could follow the run blows up; below the resonance it does not."""
    problem, adam = problems.get("multiclass@linear"), Adam(0.95, 0.9)
    pace = Paced.following(limit or adam.lag_limit)
    found = run(problem, adam, starts(problem, 1, seed=0, scale=0.01), steps=100_000, schedule=pace)
    hypotheses = hypotheses_of(problem, found, get_norm("linf"), Known(betas=adam.betas))
    assert hypotheses["beta1 <= beta2"].met is False
    measured = measure(problem, found, [get_norm("linf")], effort=Effort()).norms["linf"]
    if gap is None:
        assert hypotheses["margins resolved"].met is False
        assert measured.kkt_gap > 0.1
    else:
        assert "margins resolved" not in hypotheses
        assert measured.kkt_gap < gap


def test_the_pace_of_usual_betas_is_as_it_was():
    assert Adam(0.9, 0.95).lag_limit == pytest.approx(0.025)
    assert Adam(0.9, 0.999).lag_limit == pytest.approx(5e-4)
    assert Adam(0.95, 0.9).lag_limit == pytest.approx(0.0177, rel=1e-2)
