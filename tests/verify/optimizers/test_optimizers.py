"""Every optimizer of the engine: a step by hand, 100 steps against torch.optim or plain numpy, and laws for all."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from maxmargin.models.blocks import inner
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.optimizers import OPTIMIZERS, OptimizerError, get_optimizer
from maxmargin.verify.optimizers.adagrad import Total
from maxmargin.verify.optimizers.amsgrad import Peaks
from maxmargin.verify.optimizers.core.base import register
from maxmargin.verify.optimizers.core.logscale import Scaled
from maxmargin.verify.optimizers.core.two_moments import Moments
from maxmargin.verify.optimizers.relatives.adan import Changes
from maxmargin.verify.optimizers.relatives.ademamix import Mixture
from maxmargin.verify.optimizers.rmsprop import Averages
from maxmargin.verify.optimizers.schedule_free import Averaging
from maxmargin.verify.optimizers.shampoo import Statistics
from maxmargin.verify.optimizers.steepest import SteepestDescent

SHAPES = {"W": (4, 3), "V": (2, 5), "a": (3,)}
NAMES = sorted(OPTIMIZERS)
every_name = pytest.mark.parametrize("name", NAMES)

# Arguments away from the defaults, so that no law holds only at them.
VARIANTS = [
    ("steepest", {"norm": "schatten:3"}),
    ("steepest", {"norm": "l1"}),
    ("momentum-steepest", {"norm": "maxrow", "beta": 0.5, "kind": "nesterov"}),
    ("momentum-steepest", {"norm": "spectral", "beta": 0.96, "kind": "heavy-ball"}),
    ("adam", {"beta1": 0.5, "beta2": 0.97}),
    ("adam", {"beta1": 0.0, "beta2": 0.9}),
    ("muon-signum", {"beta": 0.5, "ratio": 0.25}),
    ("muon-adam", {"beta": 0.8, "beta1": 0.5, "beta2": 0.9, "ratio": 3.0}),
    ("lion", {"beta1": 0.5, "beta2": 0.9}),
    ("amsgrad", {"beta1": 0.0, "normalized": False}),
    ("rmsprop", {"alpha": 0.9, "momentum": 0.5}),
    ("adagrad", {"normalized": False}),
    ("nadam", {"beta1": 0.5, "beta2": 0.9, "momentum_decay": 0.3}),
    ("nadam", {"scheduled": False}),
    ("adamax", {"beta1": 0.5, "beta2": 0.9}),
    ("below-eps", {"kind": "adopt"}),
    ("laprop", {"beta1": 0.5, "beta2": 0.9}),
    ("adopt", {"beta1": 0.5, "beta2": 0.9}),
    ("adan", {"beta1": 0.9, "beta2": 0.5, "beta3": 0.95, "skip_first": True}),
    ("adabelief", {"beta1": 0.5, "beta2": 0.9}),
    ("adam-mini", {"beta1": 0.5, "beta2": 0.9, "over": "row"}),
    ("ademamix", {"beta1": 0.5, "beta2": 0.9, "beta3": 0.95, "alpha": 2.0}),
    ("ademamix", {"beta1": 0.5, "beta3": 0.95, "normalized": True}),
    ("muon", {"factor": "original"}),
    ("muon", {"beta": 0.5, "factor": "match_rms_adamw"}),
    ("muon-ns", {"a": 1.5, "b": -0.5, "c": 0.0, "steps": 40, "dtype": "float64", "beta": 0.8}),
    ("muon-ns", {"dtype": "float64", "factor": "none", "nesterov": False}),
    ("shampoo", {"beta": 0.5, "vectors": "full"}),
    ("shampoo", {"exponent": 0.5, "normalized": True}),
    ("prgd", {"period": 3, "growth": 1.5}),
    ("schedule-free", {"kind": "adam", "beta1": 0.5, "beta2": 0.9, "rectified": True}),
    ("schedule-free", {"beta1": 0.5, "r": 1.0, "weight_lr_power": 0.0}),
]
CASES = [(name, {}) for name in NAMES] + VARIANTS
# What never forgets follows nothing, and is not meant to.
FORGETTING = [(name, kwargs) for name, kwargs in CASES if math.isfinite(get_optimizer(name, kwargs).memory)]
NORMED = [(name, kwargs) for name, kwargs in CASES if get_optimizer(name, kwargs).norm is not None]
# Newton-Schulz in bfloat16 rounds at 2^-9, five times amplified.
ROUNDING = {"muon-ns": 0.08, "shampoo": 1e-10, "shampoo-sum": 1e-10}


def _rounding(name, kwargs, usual):
    return usual if kwargs.get("dtype") == "float64" else max(usual, ROUNDING.get(name, 0.0))


every_case = pytest.mark.parametrize(("name", "kwargs"), CASES, ids=lambda v: v if isinstance(v, str) else str(v))


def _scaled(blocks, log_scale=0.0):
    as_tensors = {k: torch.as_tensor(np.asarray(b, dtype=float)) for k, b in blocks.items()}
    return Scaled(as_tensors, torch.tensor(log_scale, dtype=torch.float64))


def _play(optimizer, gradients, log_scales=None):
    """Directions along prescribed gradients, as numpy."""
    state = optimizer.init(_scaled(gradients[0]).blocks)
    out = []
    for t, g in enumerate(gradients):
        s = 0.0 if log_scales is None else float(log_scales[t])
        u, state = optimizer.direction(state, _scaled(g, s), torch.tensor(t + 1.0, dtype=torch.float64))
        out.append({k: b.numpy() for k, b in u.items()})
    return out


def _gradients(steps, seed=0, shapes=SHAPES):
    """A drifting gradient with noise, falling by e^(−0.02) a step."""
    rng = np.random.default_rng(seed)
    base = {k: rng.standard_normal(s) for k, s in shapes.items()}
    return [
        {k: math.exp(-0.02 * t) * (b + 0.5 * rng.standard_normal(b.shape)) for k, b in base.items()}
        for t in range(steps)
    ]


def _close(got, want, rtol=1e-11, atol=1e-13):
    assert set(got) == set(want)
    for k in want:
        np.testing.assert_allclose(got[k], want[k], rtol=rtol, atol=atol, err_msg=k)


# -- One step, or two, by hand ------------------------------------------------------------------------------------

G = {"W": np.array([[3.0, 0.0], [0.0, -4.0]]), "a": np.array([0.6, -0.8])}
UNIT = {k: -b / math.sqrt(26.0) for k, b in G.items()}  # 9 + 16 + 0.36 + 0.64 = 26
SIGN = {k: -np.sign(b) for k, b in G.items()}
POLAR = {"W": np.array([[-1.0, 0.0], [0.0, 1.0]]), "a": np.array([-0.6, 0.8])}
MIXED = {"W": POLAR["W"], "a": SIGN["a"]}
SPLIT = {"W": np.array([[-0.6, 0.0], [0.0, 0.8]]), "a": np.array([-0.6, 0.8])}


def _times(blocks, of_matrix, of_vector=None):
    return {"W": of_matrix * blocks["W"], "a": (of_matrix if of_vector is None else of_vector) * blocks["a"]}


def _jordan(x):
    for _ in range(5):
        x = 3.4445 * x - 4.775 * x**3 + 2.0315 * x**5
    return x


def _mu(t):
    return 0.9 * (1 - 0.5 * 0.96 ** (0.004 * t))


FIRST = {
    "steepest": UNIT,
    "momentum-steepest": UNIT,
    "ngd": UNIT,
    "momentum-gd": UNIT,
    "sign-gd": SIGN,
    "signum": SIGN,
    "adam": SIGN,  # m̂ = g and v̂ = g² after the first step
    "adamw": SIGN,
    "decayed": SIGN,
    "lion": SIGN,
    "amsgrad": _times(SIGN, 1 / 2),  # four entries, one length
    "adagrad": _times(SIGN, 1 / 2),
    "nadam": _times(SIGN, 1.0 + 0.1 * _mu(2) / (1 - _mu(1) * _mu(2))),  # g and m = 0.1 g
    "adamax": SIGN,
    "below-eps": UNIT,
    "laprop": SIGN,
    "adopt": _times(SIGN, 0.0),  # only its second moment begins
    "adan": SIGN,
    "grams": SIGN,
    "stable-adam": SIGN,
    "normalized-adam": SIGN,
    "adabelief": _times(SIGN, 1 / 0.9),  # g − m = 0.9 g
    "adam-mini": _times(SPLIT, 2.0, math.sqrt(2.0)),  # ‖W‖_F = 5 of four entries, ‖a‖ = 1 of two
    "ademamix": _times(SIGN, 1.05),  # m̂ = g, s = 0.01 g
    "rmsprop": _times(SIGN, 1 / math.sqrt(0.05)),  # not corrected
    "spectral-gd": POLAR,
    "muon": POLAR,
    "muon-ns": {"W": np.diag([-_jordan(0.6), _jordan(0.8)]), "a": _jordan(1.0) * POLAR["a"]},  # ‖W‖_F = 5, ‖a‖ = 1
    "muon-signum": MIXED,
    "muon-adam": MIXED,
    "muon-l2": _times(POLAR, 7 / math.sqrt(50), 1 / math.sqrt(50)),  # nuclear norms 7 and 1
    "muon-sum": _times(POLAR, 1.0, 0.0),
    "muon-max": _times(MIXED, 7 / math.hypot(7, 1.4), 1.4 / math.hypot(7, 1.4)),
    "shampoo": MIXED,
    "shampoo-sum": _times(MIXED, 1 / 2),
    "layer-gd": SPLIT,
    "coordinate-descent": {"W": np.array([[0.0, 0.0], [0.0, 1.0]]), "a": np.zeros(2)},
    "prgd": UNIT,
    "schedule-free": UNIT,
}


@every_name
def test_the_first_step_by_hand(name):
    (u,) = _play(get_optimizer(name), [G])
    _close(u, FIRST[name], rtol=ROUNDING.get(name, 1e-14), atol=1e-14)


@pytest.mark.parametrize(
    ("name", "kwargs", "second", "sign"),
    [
        # m₂ ∝ 0.9 g + second · g, with 0.9 the momentum: the step turns where that changes sign.
        ("signum", {}, -0.89, +1),
        ("signum", {}, -0.91, -1),
        ("signum", {"kind": "heavy-ball"}, -0.89, +1),
        ("signum", {"kind": "heavy-ball"}, -0.91, -1),
        # Nesterov looks ahead: 0.9 (0.9 g + second g) + second g = (0.81 + 1.9 second) g, zero at −0.4263.
        ("signum", {"kind": "nesterov"}, -0.42, +1),
        ("signum", {"kind": "nesterov"}, -0.43, -1),
        ("muon", {"beta": 0.5}, -0.49, +1),
        ("muon", {"beta": 0.5}, -0.51, -1),
        ("momentum-gd", {"beta": 0.0}, -0.01, -1),
    ],
)
def test_the_second_step_by_hand(name, kwargs, second, sign):
    optimizer = get_optimizer(name, kwargs)
    first, then = _play(optimizer, [G, {k: second * b for k, b in G.items()}])
    _close(then, {k: sign * b for k, b in first.items()}, rtol=1e-12)


def test_the_second_step_of_adam_by_hand():
    """m₂ = (0.09 − 0.05) g, v₂ = (0.0475 + 0.0125) g²; corrected by 0.19 and 0.0975."""
    _, u = _play(get_optimizer("adam"), [G, {k: -0.5 * b for k, b in G.items()}])
    kappa = (0.04 / 0.19) / math.sqrt(0.06 / 0.0975)
    _close(u, {k: -kappa * np.sign(b) for k, b in G.items()}, rtol=1e-12)
    _, u = _play(get_optimizer("adam", {"bias_correction": False}), [G, {k: -0.5 * b for k, b in G.items()}])
    _close(u, {k: -0.04 / math.sqrt(0.06) * np.sign(b) for k, b in G.items()}, rtol=1e-12)
    _, u = _play(get_optimizer("adam", {"eps": 2.0}), [G, {k: -0.5 * b for k, b in G.items()}])
    root = math.sqrt(0.06 / 0.0975)
    _close(u, {k: -(0.04 / 0.19) * b / (root * np.abs(b) + 2.0) for k, b in G.items()}, rtol=1e-12)


def test_the_ratio_multiplies_the_vectors_alone():
    for name in ("muon-signum", "muon-adam"):
        (one,), (two,) = (_play(get_optimizer(name, {"ratio": r}), [G]) for r in (1.0, 2.5))
        _close(two, {"W": one["W"], "a": 2.5 * one["a"]})


# -- 100 steps against other people's code ------------------------------------------------------------------------


def _torch_steps(make, gradients):
    """Δθ / lr of a torch optimizer along the same gradients."""
    lr = 1e-2
    params = {k: torch.nn.Parameter(torch.zeros(np.shape(b), dtype=torch.float64)) for k, b in gradients[0].items()}
    optimizer = make(list(params.values()), lr)
    out = []
    for g in gradients:
        before = {k: p.detach().clone() for k, p in params.items()}
        for k, p in params.items():
            p.grad = torch.as_tensor(g[k]).clone()
        optimizer.step()
        out.append({k: ((p.detach() - before[k]) / lr).numpy() for k, p in params.items()})
    return out


def _unit(blocks):
    norm = math.sqrt(sum(float((b**2).sum()) for b in blocks.values()))
    return {k: b / norm for k, b in blocks.items()}


@pytest.mark.parametrize(
    ("kwargs", "torchs"),
    [
        ({"eps": 0.0}, {"eps": 0.0, "betas": (0.9, 0.95)}),
        ({"eps": 1e-8}, {"eps": 1e-8, "betas": (0.9, 0.95)}),
        ({"eps": 0.3, "beta1": 0.5, "beta2": 0.999}, {"eps": 0.3, "betas": (0.5, 0.999)}),
    ],
)
def test_adam_is_torchs(kwargs, torchs):
    gradients = _gradients(100)
    want = _torch_steps(lambda p, lr: torch.optim.Adam(p, lr=lr, foreach=False, **torchs), gradients)
    for ours, theirs in zip(_play(get_optimizer("adam", kwargs), gradients), want, strict=True):
        _close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["ema", "heavy-ball", "nesterov"])
def test_momentum_gd_is_torchs_sgd_up_to_its_length(kind):
    gradients = _gradients(100, seed=1)
    want = _torch_steps(
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=kind == "nesterov", foreach=False), gradients
    )
    got = _play(get_optimizer("momentum-gd", {"kind": kind}), gradients)
    for ours, theirs in zip(got, want, strict=True):
        _close(ours, _unit(theirs), rtol=1e-8, atol=1e-11)


def test_without_momentum_sgd_is_ngd():
    gradients = _gradients(20, seed=2)
    want = _torch_steps(lambda p, lr: torch.optim.SGD(p, lr=lr, foreach=False), gradients)
    for ours, theirs in zip(_play(get_optimizer("ngd"), gradients), want, strict=True):
        _close(ours, _unit(theirs), rtol=1e-9)


def _polar(m):
    """The pseudo-polar factor, by numpy's own cut of small singular values."""
    if m.ndim == 1:
        return m / np.linalg.norm(m)
    u, s, vt = np.linalg.svd(m, full_matrices=False)
    r = int((s > 1e-13 * s[0]).sum())
    return u[:, :r] @ vt[:r]


def _numpy_momentum(gradients, beta, kind, step):
    m = {k: np.zeros_like(b) for k, b in gradients[0].items()}
    out = []
    for g in gradients:
        m = {k: beta * m[k] + (1.0 if kind == "heavy-ball" else 1 - beta) * g[k] for k in m}
        d = {k: beta * m[k] + (1 - beta) * g[k] for k in m} if kind == "nesterov" else m
        out.append({k: -step(b) for k, b in d.items()})
    return out


@pytest.mark.parametrize("kind", ["ema", "heavy-ball", "nesterov"])
@pytest.mark.parametrize(("name", "step"), [("signum", np.sign), ("muon", _polar)])
def test_signum_and_muon_against_numpy(name, step, kind):
    gradients = _gradients(100, seed=3)
    want = _numpy_momentum(gradients, 0.9, kind, step)
    for ours, theirs in zip(_play(get_optimizer(name, {"kind": kind}), gradients), want, strict=True):
        _close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rank", [1, 2])
def test_muon_on_rank_deficient_gradients(rank):
    """All gradients in one rank-deficient subspace: null directions do not move, rounding does not choose them."""
    rng = np.random.default_rng(rank)
    left, right = rng.standard_normal((4, rank)), rng.standard_normal((rank, 3))
    gradients = [{"W": left @ np.diag(rng.uniform(1, 2, rank)) @ right} for _ in range(60)]
    got = _play(get_optimizer("muon"), gradients)
    for ours, theirs in zip(got, _numpy_momentum(gradients, 0.9, "ema", _polar), strict=True):
        _close(ours, theirs, rtol=1e-8, atol=1e-9)
        assert np.linalg.matrix_rank(ours["W"], tol=1e-8) == rank
        np.testing.assert_allclose(np.linalg.svd(ours["W"], compute_uv=False)[:rank], 1.0, rtol=1e-10)


@pytest.mark.parametrize("ratio", [1.0, 0.3])
def test_composites_are_their_parts(ratio):
    gradients = _gradients(100, seed=4)
    matrices = [{k: g[k] for k in ("W", "V")} for g in gradients]
    vectors = [{"a": g["a"]} for g in gradients]
    muon = _numpy_momentum(matrices, 0.9, "ema", _polar)
    signs = _numpy_momentum(vectors, 0.9, "ema", np.sign)
    adam = _torch_steps(lambda p, lr: torch.optim.Adam(p, lr=lr, eps=0.0, betas=(0.9, 0.95), foreach=False), vectors)
    for name, rest in (("muon-signum", signs), ("muon-adam", adam)):
        got = _play(get_optimizer(name, {"ratio": ratio}), gradients)
        for ours, m, v in zip(got, muon, rest, strict=True):
            _close(ours, {**m, "a": ratio * v["a"]}, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("only", [{"W": (4, 3)}, {"a": (3,)}])
@pytest.mark.parametrize("name", ["muon-signum", "muon-adam"])
def test_composites_where_one_kind_of_block_is_missing(name, only):
    got = _play(get_optimizer(name), _gradients(5, shapes=only))
    assert set(got[-1]) == set(only)
    assert all(np.abs(b).max() > 0.1 for b in got[-1].values())


# -- Laws of every registered optimizer ---------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("shift", [500.0, -500.0, -1e5])
def test_directions_do_not_depend_on_the_gradients_scale(name, kwargs, shift):
    optimizer = get_optimizer(name, kwargs)
    gradients = _gradients(40, seed=5)
    logs = np.random.default_rng(0).uniform(-1, 0, 40).cumsum()
    slack = _rounding(name, kwargs, 1e-9)  # at −1e5 the log-scales themselves round at 1e-11
    for one, other in zip(_play(optimizer, gradients, logs), _play(optimizer, gradients, logs + shift), strict=True):
        _close(one, other, rtol=slack, atol=slack)


def test_an_eps_does_depend_on_it():
    """The spoiled twin of the law above."""
    optimizer = get_optimizer("adam", {"eps": 1e-8})
    one, far = (_play(optimizer, [G], [s])[0] for s in (0.0, -30.0))
    assert np.abs(far["a"]).max() < 1e-3 * np.abs(one["a"]).max()


@every_case
def test_the_mantissas_scale_does_not_matter_either(name, kwargs):
    """e^s G̃ is the same gradient as e^(s−200) (e^200 G̃)."""
    optimizer = get_optimizer(name, kwargs)
    gradients = _gradients(10, seed=6)
    scaled = [{k: math.exp(200.0) * b for k, b in g.items()} for g in gradients]
    pairs = zip(_play(optimizer, gradients), _play(optimizer, scaled, [-200.0] * 10), strict=True)
    slack = _rounding(name, kwargs, 1e-9)
    for one, other in pairs:
        _close(one, other, rtol=slack, atol=slack)


@pytest.mark.parametrize(("name", "kwargs"), NORMED)
def test_a_settled_step_is_steepest_descent_in_its_own_norm(name, kwargs):
    """Constant gradient, moments settled: ⟨g, u⟩ = −‖g‖_* ‖u‖ and ‖u‖ = step_norm."""
    optimizer = get_optimizer(name, kwargs)
    g = _gradients(1, seed=7)[0]
    u = _play(optimizer, [g] * (450 if name == "rmsprop" else 60))[-1]  # its average is not corrected
    length, dual = float(optimizer.norm.value(u)), float(optimizer.norm.dual(g))
    assert length == pytest.approx(optimizer.step_norm, rel=1e-9)
    assert float(inner(g, u)) == pytest.approx(-dual * length, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("ngd", "l2"),
        ("momentum-gd", "l2"),
        ("sign-gd", "linf"),
        ("signum", "linf"),
        ("adam", "linf"),
        ("spectral-gd", "spectral"),
        ("muon", "spectral"),
        ("muon-signum", "hybrid"),
        ("muon-adam", "hybrid"),
        ("lion", "linf"),
        ("rmsprop", "linf"),
        ("shampoo", "hybrid"),
        ("layer-gd", "l2;max"),
        ("coordinate-descent", "l1"),
        ("prgd", "l2"),
        ("muon-l2", "spectral;l2"),
        ("muon-sum", "spectral;sum"),
    ],
)
def test_norms_are_the_papers(name, norm):
    assert get_optimizer(name).norm == get_norm(norm)


def test_the_hybrids_ratio_is_that_of_the_learning_rates():
    """max(ratio ‖W‖_sp, ‖u‖_∞) with ratio = η_A / η_M (Gronich & Vardi)."""
    norm = get_optimizer("muon-signum", {"ratio": 0.25}).norm
    theta = {"W": np.diag([8.0, 1.0]), "a": np.array([1.5, -1.0])}
    assert float(norm.value(theta)) == pytest.approx(2.0)


WITHOUT_THEOREM = ["adagrad", "amsgrad", "adamw", "decayed", "muon-ns", "muon-max", "shampoo-sum", "schedule-free"]
ADAMS_RELATIVES = ["below-eps", "nadam", "adamax", "laprop", "adopt", "adan", "adabelief", "adam-mini", "ademamix"]


@pytest.mark.parametrize("name", [*WITHOUT_THEOREM, *ADAMS_RELATIVES])
def test_no_norm_is_claimed_without_a_theorem(name):
    assert get_optimizer(name).norm is None


def test_adam_with_eps_is_not_said_to_be_linf():
    assert get_optimizer("adam", {"eps": 1e-8}).norm == get_norm("l2")


KINDS = (Moments, Mixture, Peaks, Averages, Averaging, Changes, Total, Statistics, Scaled)


def _parts(state):
    """(moment, degree) of every moment in a state; a root counts twice, it stands for v."""
    for node in pytree.tree_leaves(state, is_leaf=lambda x: isinstance(x, KINDS)):
        if isinstance(node, Moments | Changes):  # a constant gradient does not change
            yield from ((node.first, 1), (node.root, 2))
        elif isinstance(node, Mixture):
            yield from ((node.first, 1), (node.slow, 1), *((root, 2) for root in node.root))
        elif isinstance(node, Peaks):
            yield from (*_parts(node.moments), (node.peak, 2))
        elif isinstance(node, Averages | Total):
            yield node.root, 2
        elif isinstance(node, Averaging):
            yield from ((root, 2) for root in node.root)
        elif isinstance(node, Statistics):
            for side in (node.left, node.right):
                roots = {k: b for k, b in side.items() if b.numel()}
                if roots:
                    yield Scaled(roots, node.log_scale), 2
        elif isinstance(node, Scaled):
            yield node, 1


def _scales(state):
    """Log of the largest entry of every moment, in true units."""
    tops = [(s.log_scale, max(float(b.abs().max()) for b in s.blocks.values()), d) for s, d in _parts(state)]
    return [d * (float(s) + math.log(top)) if top else -math.inf for s, top, d in tops]


DIRECTIONS_ALONE = ("normalized-adam",)  # what these see of a gradient


@every_case
def test_memory_is_the_slowest_moments_decay(name, kwargs):
    optimizer = get_optimizer(name, kwargs)
    g = _gradients(1, seed=9)[0]
    state = optimizer.init(_scaled(g).blocks)
    sizes = []
    late = 0.0 if name in DIRECTIONS_ALONE else 1.0
    for t in range(200 if name == "adabelief" else 20):  # whose s also forgets what m had kept
        fed = _scaled(g) if t < 10 else _scaled({k: late * b for k, b in g.items()}, -100.0 * t)
        _, state = optimizer.direction(state, fed, torch.tensor(t + 1.0, dtype=torch.float64))
        sizes.append(_scales(state))
    if not sizes[0]:
        assert optimizer.memory == 1.0
        return
    kept = np.exp(np.array(sizes[-1]) - np.array(sizes[-2]))
    if math.isinf(optimizer.memory):
        assert kept.max() == pytest.approx(1.0, rel=1e-9)
        return
    assert optimizer.memory == pytest.approx(1 / (1 - kept.max()), rel=1e-9)


@pytest.mark.parametrize(("name", "kwargs"), [case for case in FORGETTING if case[0] not in DIRECTIONS_ALONE])
def test_moments_follow_below_the_lag_limit_and_not_above(name, kwargs):
    """A gradient that falls by e^(−r) a step: m/g settles for r below the limit, and grows without end above it."""
    optimizer = get_optimizer(name, kwargs)
    steps = int(20 * optimizer.memory) + 40
    below = _scales_minus_gradient(optimizer, 0.5 * optimizer.lag_limit, steps)
    assert np.abs(below[-1] - below[-5]).max(initial=0.0) < 1e-3
    if name == "adamax" or kwargs.get("beta3", 0.0) > kwargs.get("beta2", 1.0):
        return  # their limit is where longer steps make steps longer; moments follow for a while yet
    above = _scales_minus_gradient(optimizer, 2.0 * optimizer.lag_limit, steps)
    if above.size and optimizer.memory > 1.0:
        assert (above[-1] - above[-5]).max() > 0.1 * optimizer.lag_limit


def _scales_minus_gradient(optimizer, rate, steps):
    g = _gradients(1, seed=8)[0]
    state = optimizer.init(_scaled(g).blocks)
    history = []
    for t in range(steps):
        _, state = optimizer.direction(state, _scaled(g, -rate * t), torch.tensor(t + 1.0, dtype=torch.float64))
        degrees = _degrees(state)
        history.append([s + d * rate * t for s, d in zip(_scales(state), degrees, strict=True)])
    return np.array(history)


def _degrees(state):
    return [d for _, d in _parts(state)]


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.02])
def test_adams_step_shrinks_by_the_known_factor(rate):
    """Theory sheet G7: κ = (1−β₁)/(1−β₁e^r) · √((1−β₂e^{2r})/(1−β₂)) for a gradient that falls like e^(−rt)."""
    b1, b2 = 0.9, 0.95
    gradients = [{"a": np.array([1.0, -0.1])}] * 1800
    u = _play(get_optimizer("adam"), gradients, -rate * np.arange(1800))[-1]
    kappa = (1 - b1) / (1 - b1 * math.exp(rate)) * math.sqrt((1 - b2 * math.exp(2 * rate)) / (1 - b2))
    np.testing.assert_allclose(u["a"], [-kappa, kappa], rtol=1e-8)


@every_case
def test_vmapped_equals_run_by_run(name, kwargs):
    optimizer = get_optimizer(name, kwargs)
    rng = np.random.default_rng(10)
    logs = torch.tensor([0.0, -2e4, 400.0], dtype=torch.float64)
    zero = {k: torch.zeros((3, *s), dtype=torch.float64) for k, s in SHAPES.items()}
    state = torch.func.vmap(optimizer.init)(zero)
    alone = [optimizer.init({k: b[i] for k, b in zero.items()}) for i in range(3)]
    step = torch.func.vmap(optimizer.direction, in_dims=(0, 0, None))
    for t in range(6):
        g = {k: torch.as_tensor(rng.standard_normal((3, *s))) for k, s in SHAPES.items()}
        at = torch.tensor(t + 1.0, dtype=torch.float64)
        together, state = step(state, Scaled(g, logs - t), at)
        for i in range(3):
            one, alone[i] = optimizer.direction(alone[i], Scaled({k: b[i] for k, b in g.items()}, logs[i] - t), at)
            for k in SHAPES:
                slack = _rounding(name, kwargs, 1e-12)
                torch.testing.assert_close(together[k][i], one[k], rtol=slack, atol=slack)


@every_name
def test_every_optimizer_says_what_it_does(name):
    optimizer = get_optimizer(name)
    assert "←" in optimizer.recursion
    assert re.search(r"\b\d{4}\.\d{4,5}\b", optimizer.source)  # an arXiv number
    assert OPTIMIZERS[name].summary


def test_the_default_arguments_are_those_of_the_summary():
    adam = get_optimizer("adam")
    assert (adam.beta1, adam.beta2, adam.eps, adam.memory) == (0.9, 0.95, 0.0, pytest.approx(20.0))
    assert adam.lag_limit == pytest.approx(0.025)
    assert get_optimizer("signum").memory == pytest.approx(10.0)


# -- Bad input, and the registry ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kwargs", "text"),
    [
        ("sigum", {}, r"unknown optimizer 'sigum'; did you mean 'signum'\?"),
        ("zzz", {}, r"unknown optimizer 'zzz'; known: adabelief, adagrad, "),
        ("adam", {"beta1": 1.0}, "beta1 is 1.0; an exponential average needs 0 <= beta1 < 1"),
        ("adam", {"beta2": -0.1}, "beta2 is -0.1"),
        ("adam", {"eps": -1e-8}, "eps is -1e-08; it must be a finite number >= 0"),
        ("adam", {"eps": float("nan")}, "eps is nan"),
        ("adam", {"betas": (0.9, 0.99)}, r"optimizer 'adam' rejects .*betas"),
        ("adam", {"beta1": "high"}, "optimizer 'adam' rejects"),
        ("signum", {"beta": 1.5}, "beta is 1.5"),
        ("signum", {"beta": float("nan")}, "beta is nan"),
        ("signum", {"kind": "polyak"}, "kind is 'polyak'; it must be 'ema', 'heavy-ball' or 'nesterov'"),
        ("steepest", {"norm": "l3"}, r"unknown norm 'l3'"),
        ("muon-signum", {"ratio": 0.0}, "ratio is 0.0; it must be a finite number > 0"),
        ("muon-adam", {"ratio": float("inf")}, "ratio is inf"),
        ("ngd", {"lr": 0.1}, "optimizer 'ngd' rejects .*lr"),
        ("muon", {"factor": "rows"}, "factor is 'rows'; it must be one of none, original, match_rms_adamw"),
        ("muon-ns", {"dtype": "int8"}, "dtype is 'int8'; it must be one of float64, float32, bfloat16"),
        ("muon-ns", {"steps": 100}, "steps is 100; it must be 1 to 99"),
        ("muon-ns", {"a": 30.0}, "coefficients 30, .*; they must stay near 1"),
        ("rmsprop", {"momentum": 1.0}, "momentum is 1.0"),
        ("shampoo", {"exponent": 0.0}, r"exponent is 0.0; it must be a number in \(0, 1\]"),
        ("shampoo", {"vectors": "rows"}, "vectors is 'rows'; it must be 'diagonal' or 'full'"),
        ("adamw", {"decay": -1.0}, "decay is -1.0; it must be a finite number >= 0"),
        ("decayed", {"optimizer": "sigum"}, "did you mean 'signum'"),
        ("prgd", {"period": 0}, "period is 0; it must be a whole number of steps >= 1"),
        ("prgd", {"growth": 0.5}, "a norm that grows needs growth >= 1"),
        ("prgd", {"radius": 0.0}, "they must be finite numbers with 0 < radius <= ceiling"),
    ],
)
def test_bad_arguments_are_refused_with_a_reason(name, kwargs, text):
    with pytest.raises(OptimizerError, match=text):
        get_optimizer(name, kwargs)


def test_a_new_optimizer_appears_when_registered():
    known = dict(OPTIMIZERS)
    try:

        @register("max-row-gd", "rows of the gradient, normalized")
        def max_row_gd():
            return SteepestDescent(get_norm("maxrow"))

        assert get_optimizer("max-row-gd").norm == get_norm("maxrow")
        assert "max-row-gd" in OPTIMIZERS
        with pytest.raises(OptimizerError, match=r"did you mean 'max-row-gd'\?"):
            get_optimizer("max-row-dg")
        (u,) = _play(get_optimizer("max-row-gd"), [G])
        _close(u, {"W": POLAR["W"], "a": POLAR["a"]})
    finally:
        OPTIMIZERS.clear()
        OPTIMIZERS.update(known)


def test_a_name_is_registered_once():
    with pytest.raises(OptimizerError, match=r"'adam' is registered by maxmargin\.verify\.optimizers\.adam already"):
        register("adam", "another one")(lambda: get_optimizer("adam"))


def test_betas_are_those_of_adam_without_eps():
    assert get_optimizer("adam").betas == (0.9, 0.95)
    assert get_optimizer("muon-adam", {"beta2": 0.99}).betas == (0.9, 0.99)
    assert get_optimizer("adamw", {"decay": 0.0}).betas == (0.9, 0.95)
    assert get_optimizer("adam", {"eps": 1e-8}).betas is None
    assert get_optimizer("signum").betas is None
