"""Muon, Shampoo, joined layers and rescaling: 100 steps against torch.optim.Muon and numpy, each fault told apart."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from maxmargin.models.blocks import inner
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.optimizers.core.logscale import Scaled

SHAPES = {"tall": (6, 2), "wide": (2, 5), "square": (3, 3)}
WITH_VECTOR = SHAPES | {"a": (4,)}
JORDAN, CUBIC, QUINTIC = (3.4445, -4.7750, 2.0315), (1.5, -0.5, 0.0), (15 / 8, -10 / 8, 3 / 8)


def _gradients(steps, seed=0, shapes=SHAPES, noise=0.5):
    """Noise around a drift, falling by e^(−0.02) a step."""
    rng = np.random.default_rng(seed)
    base = {k: rng.standard_normal(s) for k, s in shapes.items()}
    return [
        {k: math.exp(-0.02 * t) * (b + noise * rng.standard_normal(b.shape)) for k, b in base.items()}
        for t in range(steps)
    ]


def _at(t):
    return torch.tensor(float(t), dtype=torch.float64)


def _play(optimizer, gradients, logs=None):
    state = optimizer.init({k: torch.zeros(b.shape, dtype=torch.float64) for k, b in gradients[0].items()})
    out = []
    for t, g in enumerate(gradients, start=1):
        s = 0.0 if logs is None else logs[t - 1]
        u, state = optimizer.direction(state, Scaled({k: torch.as_tensor(b) for k, b in g.items()}, _at(s)), _at(t))
        out.append({k: b.numpy() for k, b in u.items()})
    return out


def _worst(got, want):
    """Largest difference relative to the block, over all steps."""
    return max(
        float(np.abs(a[k] - b[k]).max() / max(np.abs(b[k]).max(), 1e-12))
        for a, b in zip(got, want, strict=True)
        for k in b
    )


# -- Muon by Newton–Schulz ----------------------------------------------------------------------------------------


def _torch_muon(gradients, **arguments):
    lr = 0.5
    params = {k: torch.nn.Parameter(torch.zeros(b.shape, dtype=torch.float64)) for k, b in gradients[0].items()}
    optimizer = torch.optim.Muon(list(params.values()), lr=lr, weight_decay=0.0, **arguments)
    out = []
    for g in gradients:
        before = {k: p.detach().clone() for k, p in params.items()}
        for k, p in params.items():
            p.grad = torch.as_tensor(g[k]).clone()
        optimizer.step()
        out.append({k: ((p.detach() - before[k]) / lr).numpy() for k, p in params.items()})
    return out


@pytest.mark.parametrize(
    ("kwargs", "theirs"),
    [
        ({}, {}),
        ({"nesterov": False, "beta": 0.9}, {"nesterov": False, "momentum": 0.9}),
        ({"factor": "match_rms_adamw"}, {"adjust_lr_fn": "match_rms_adamw"}),
        ({"steps": 9, "a": 1.5, "b": -0.5, "c": 0.0}, {"ns_steps": 9, "ns_coefficients": CUBIC}),
        ({"eps": 3.0}, {"eps": 3.0}),
        ({"eps": 1e-7}, {}),
    ],
)
def test_newton_schulz_muon_is_torchs(kwargs, theirs):
    """In bfloat16, whose rounding moves a step by 9 % here: every product is rounded as torch rounds it."""
    gradients = _gradients(100)
    assert _worst(_play(get_optimizer("muon-ns", kwargs), gradients), _torch_muon(gradients, **theirs)) < 1e-12


@pytest.mark.parametrize(
    ("kwargs", "theirs"),
    [
        ({"nesterov": False}, {}),
        ({"beta": 0.5}, {}),
        ({"steps": 4}, {}),
        ({"factor": "none"}, {}),
        ({"factor": "original"}, {"adjust_lr_fn": "match_rms_adamw"}),
        ({"a": 1.5, "b": -0.5, "c": 0.0}, {}),
        ({}, {"eps": 3.0}),
        ({"dtype": "float64"}, {}),
    ],
)
def test_other_settings_are_not_torchs(kwargs, theirs):
    gradients = _gradients(100)
    assert _worst(_play(get_optimizer("muon-ns", kwargs), gradients), _torch_muon(gradients, **theirs)) > 0.05


FACTORS = {
    "none": lambda r, c: 1.0,
    "original": lambda r, c: math.sqrt(max(1.0, r / c)),
    "match_rms_adamw": lambda r, c: 0.2 * math.sqrt(max(r, c)),
}


def _muon_loop(gradients, beta=0.95, nesterov=True, coefficients=JORDAN, steps=5, factor="original", eps=0.0, **fault):
    """Newton–Schulz as a polynomial of singular values, from numpy's SVD; ``steps=None`` the polar factor."""
    a, b, c = coefficients
    m = {k: np.zeros_like(x) for k, x in gradients[0].items()}
    out = []
    for g in gradients:
        u = {}
        for k, x in g.items():
            m[k] = beta * m[k] + (1.0 if fault.get("heavy") else 1 - beta) * x
            along = beta * m[k] + (1 - beta) * x if nesterov else m[k]
            left, sigma, right = np.linalg.svd(along, full_matrices=False)
            sigma = sigma / max(math.sqrt((sigma**2).sum()), eps)
            for _ in range(steps or 0):
                sigma = a * sigma + b * sigma**3 + c * sigma**5
            sigma = np.ones_like(sigma) if steps is None else sigma
            shape = along.T.shape if fault.get("transposed") else along.shape
            u[k] = -FACTORS[factor](*shape) * (left * sigma) @ right
        out.append(u)
    return out


NS = [
    {},
    {"factor": "match_rms_adamw", "nesterov": False},
    {"factor": "none", "coefficients": QUINTIC, "steps": 8, "beta": 0.8},
    {"eps": 2.0},
]


@pytest.mark.parametrize("settings", NS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 2e-4)])
def test_newton_schulz_muon_is_the_plain_loop(settings, dtype, tolerance):
    gradients = _gradients(100, seed=1)
    kwargs = {k: v for k, v in settings.items() if k != "coefficients"} | {"dtype": dtype}
    kwargs |= dict(zip("abc", settings.get("coefficients", JORDAN), strict=True))
    assert _worst(_play(get_optimizer("muon-ns", kwargs), gradients), _muon_loop(gradients, **settings)) < tolerance


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_exact_muon_with_a_shape_factor(factor, nesterov):
    gradients = _gradients(100, seed=2)
    kind = "nesterov" if nesterov else "ema"
    want = _muon_loop(gradients, nesterov=nesterov, steps=None, factor=factor)
    assert _worst(_play(get_optimizer("muon", {"beta": 0.95, "kind": kind, "factor": factor}), gradients), want) < 1e-10


@pytest.mark.parametrize(
    "fault",
    [
        {"beta": 0.94},
        {"nesterov": False},
        {"steps": 4},
        {"coefficients": (3.4445, -4.775, 2.0)},
        {"factor": "none"},
        {"factor": "match_rms_adamw"},
        {"transposed": True},
        {"steps": None},
        {"eps": 10.0},
    ],
)
def test_a_muon_loop_with_a_fault_differs(fault):
    gradients = _gradients(100, seed=1)
    got = _play(get_optimizer("muon-ns", {"dtype": "float64"}), gradients)
    assert _worst(got, _muon_loop(gradients, **fault)) > 1e-2


@pytest.mark.parametrize("spec", ["original", "match_rms_adamw"])
def test_the_factor_is_the_inverse_weight_of_the_norm(spec):
    """A step of exact Muon has norm 1 in every block of its norm, and no other norm's step is as well aligned."""
    optimizer = get_optimizer("muon", {"factor": spec})
    g = _gradients(1, seed=3)[0]
    (u,) = _play(optimizer, [g])
    for k in SHAPES:
        assert float(optimizer.norm.value({k: u[k]})) == pytest.approx(1.0, rel=1e-12)
    plain = get_norm("spectral")
    assert float(inner(g, u)) == pytest.approx(-float(optimizer.norm.dual(g)), rel=1e-12)
    assert -float(inner(g, u)) / float(plain.dual(g)) / float(plain.value(u)) < 0.97


def test_which_coefficients_claim_the_spectral_norm():
    for coefficients, norm in ((CUBIC, "spectral-original:1"), (QUINTIC, "spectral-original:1"), (JORDAN, None)):
        kwargs = dict(zip("abc", coefficients, strict=True))
        got = get_optimizer("muon-ns", kwargs).norm
        assert (got.name if got else None) == norm
        assert get_optimizer("muon-ns", kwargs | {"eps": 1e-7}).norm is None


def test_newton_schulz_on_a_tiny_gradient():
    """Without eps any size will do; with torch's the step shrinks with the gradient."""
    g = _gradients(1, seed=4)
    one, far = (_play(get_optimizer("muon-ns", {"dtype": "float64"}), g, [s])[0] for s in (0.0, -1e5))
    assert _worst([far], [one]) < 1e-12
    (torchs,) = _play(get_optimizer("muon-ns", {"dtype": "float64", "eps": 1e-7}), g, [-40.0])
    assert np.abs(torchs["tall"]).max() < 1e-6
    (zero,) = _play(get_optimizer("muon-ns"), [{k: 0 * b for k, b in g[0].items()}])
    assert all((b == 0).all() for b in zero.values())


# -- Shampoo ------------------------------------------------------------------------------------------------------


def _power(M, p, eps):
    w, Q = np.linalg.eigh(M)
    w = np.where(w > 1e-13 * w[-1], w, 0.0) + eps
    return (Q * np.where(w > 0, np.where(w > 0, w, 1.0) ** -p, 0.0)) @ Q.T


def _shampoo_loop(
    gradients, beta=0.9, exponent=0.25, eps=0.0, vectors="diagonal", accumulate=False,
    *, swapped=False, corrected=True, only_left=False, power=1.0,
):  # fmt: skip
    L, R, out = {}, {}, []
    for t, g in enumerate(gradients, start=1):
        u = {}
        keep, take = (1.0, 1.0) if accumulate else (beta, 1 - beta)
        fix = 1.0 if accumulate or not corrected else 1 - beta**t
        for k, G in g.items():
            G = G.reshape(-1, 1) if G.ndim == 1 else G
            p = exponent * power
            if g[k].ndim == 1 and vectors == "diagonal":
                L[k] = keep * L.get(k, 0.0) + take * G**2
                u[k] = -(G * (L[k] / fix + eps) ** (-2 * p)).ravel()
                continue
            L[k] = keep * L.get(k, 0.0) + take * (G @ G.T)
            R[k] = keep * R.get(k, 0.0) + take * (G.T @ G)
            if g[k].ndim == 1:
                u[k] = -(_power(L[k] / fix, 2 * p, eps) @ G).ravel()
                continue
            left, right = _power(L[k] / fix, p, eps), _power(R[k] / fix, p, eps)
            if swapped and G.shape[0] == G.shape[1]:
                left, right = right, left
            u[k] = -left @ G if only_left else -left @ G @ right
        out.append(u)
    return out


SHAMPOO = [
    ("shampoo", {}, {}),
    ("shampoo", {"beta": 0.5, "vectors": "full", "eps": 0.1}, {"beta": 0.5, "vectors": "full", "eps": 0.1}),
    ("shampoo", {"exponent": 0.5}, {"exponent": 0.5}),
    ("shampoo-sum", {"normalized": False}, {"accumulate": True}),
    ("shampoo-sum", {"normalized": False, "eps": 1e-2}, {"accumulate": True, "eps": 1e-2}),
]


@pytest.mark.parametrize(("name", "kwargs", "right"), SHAMPOO)
def test_shampoo_is_the_plain_loop(name, kwargs, right):
    gradients = _gradients(100, seed=5, shapes=WITH_VECTOR)
    got = _play(get_optimizer(name, kwargs), gradients)
    assert _worst(got, _shampoo_loop(gradients, **right)) < 1e-9


@pytest.mark.parametrize(
    "fault",
    [
        {"beta": 0.89},
        {"exponent": 0.5},
        {"swapped": True},
        {"corrected": False},
        {"only_left": True},
        {"power": 2.0},
        {"eps": 0.01},
        {"vectors": "full"},
        {"accumulate": True},
    ],
)
def test_a_shampoo_loop_with_a_fault_differs(fault):
    gradients = _gradients(100, seed=5, shapes=WITH_VECTOR)
    assert _worst(_play(get_optimizer("shampoo"), gradients), _shampoo_loop(gradients, **fault)) > 1e-2


def test_shampoo_without_memory_is_the_polar_factor():
    """Bernstein & Newhouse 2409.20325."""
    gradients = _gradients(20, seed=6)
    want = _muon_loop(gradients, beta=0.0, nesterov=False, steps=None, factor="none")
    assert _worst(_play(get_optimizer("shampoo", {"beta": 0.0}), gradients), want) < 1e-9


@pytest.mark.parametrize("rank", [1, 2])
def test_shampoo_leaves_null_directions_alone(rank):
    rng = np.random.default_rng(rank)
    left, right = rng.standard_normal((4, rank)), rng.standard_normal((rank, 5))
    gradients = [{"W": left @ np.diag(rng.uniform(1, 2, rank)) @ right} for _ in range(30)]
    for u in _play(get_optimizer("shampoo"), gradients):
        assert np.linalg.matrix_rank(u["W"], tol=1e-6) == rank
        assert 0.3 < np.linalg.norm(u["W"], 2) < 3


def test_shampoo_keeps_weak_directions():
    """σ = 1 and 10⁻¹⁰: eigenvalues of G Gᵀ would be 1 and 10⁻²⁰, below rounding; its root keeps both."""
    rng = np.random.default_rng(11)
    left, right = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    g = {"W": left @ np.diag([1.0, 0.5, 0.1, 1e-10]) @ right}
    u = _play(get_optimizer("shampoo"), [g] * 5)[-1]
    np.testing.assert_allclose(u["W"], -left @ right, atol=1e-4)  # 2⁻⁵² / 10⁻¹⁰, a few times


def _mp_power(M, p):
    w, Q = mpmath.eigsy(M)
    return Q * mpmath.diag([x**-p for x in w]) * Q.T


@pytest.mark.parametrize("name", ["shampoo", "shampoo-sum"])
def test_shampoo_at_margins_of_a_million_against_mpmath(name):
    """Gradients from e^−10⁶ on, jumping by e^−50000 and back, in (mantissa, log-scale) form and in 60 digits."""
    logs = -1e6 + np.cumsum([0.0, -1.0, -0.5, 2.0, -50_000.0, 1.0, 50_003.0, -1.0])
    rng = np.random.default_rng(7)
    gradients = [{"W": rng.standard_normal((2, 2))} for _ in logs]
    got = _play(get_optimizer(name, {"normalized": True}), gradients, logs)
    beta = mpmath.mpf("0.9")
    with mpmath.workdps(60):
        L, R = mpmath.zeros(2), mpmath.zeros(2)
        for t, (g, s) in enumerate(zip(gradients, logs, strict=True), start=1):
            G = mpmath.matrix(g["W"].tolist()) * mpmath.exp(float(s))
            keep, take, fix = (1, 1, 1) if name == "shampoo-sum" else (beta, 1 - beta, 1 - beta**t)
            L, R = keep * L + take * G * G.T, keep * R + take * G.T * G
            # eigsy needs numbers near one: the common size of L and R is taken out, and put back as a factor of one.
            top = max(abs(x) for x in L)
            U = _mp_power(L / fix / top, 0.25) * G * _mp_power(R / fix / top, 0.25)
            U = U / mpmath.sqrt(sum(x**2 for x in U))
            want = -np.array(U.tolist(), dtype=float)
            np.testing.assert_allclose(got[t - 1]["W"], want, rtol=1e-7, atol=1e-8)


# -- Layers joined otherwise, one coordinate, one layer, rescaling ---------------------------------------------------


def _sums(m):
    return {k: np.linalg.svd(np.atleast_2d(b), compute_uv=False).sum() for k, b in m.items()}


def _polar(b):
    u, _, vt = np.linalg.svd(np.atleast_2d(b), full_matrices=False)
    return (u @ vt).reshape(b.shape)


def _joined(how, m):
    nuclear = _sums(m)
    if how == "muon-sum":
        best = max(nuclear, key=nuclear.get)
        return {k: _polar(b) if k == best else 0 * b for k, b in m.items()}
    if how == "muon-l2":
        length = math.sqrt(sum(n**2 for n in nuclear.values()))
        return {k: nuclear[k] / length * _polar(b) for k, b in m.items()}
    if how == "muon-max":
        A = sum(n for k, n in nuclear.items() if m[k].ndim == 2)
        B = sum(np.abs(b).sum() for b in m.values() if b.ndim == 1)
        return {k: (A * _polar(b) if b.ndim == 2 else B * np.sign(b)) / math.hypot(A, B) for k, b in m.items()}
    if how == "layer-gd":
        return {k: b / np.linalg.norm(b) for k, b in m.items()}
    best = max(m, key=lambda k: np.abs(m[k]).max())
    i = np.unravel_index(np.abs(m[best]).argmax(), m[best].shape)
    step = {k: np.zeros_like(b) for k, b in m.items()}
    step[best][i] = np.sign(m[best][i])
    return step


JOINED = {"muon-sum": 0.9, "muon-l2": 0.9, "muon-max": 0.9, "layer-gd": 0.9, "coordinate-descent": 0.0}


@pytest.mark.parametrize("name", JOINED)
def test_joined_layers_are_the_plain_loop_and_no_other(name):
    gradients = _gradients(100, seed=8, shapes=WITH_VECTOR)
    got = _play(get_optimizer(name), gradients)
    errors = {}
    for how in JOINED:
        m, want = {k: 0 * b for k, b in gradients[0].items()}, []
        for g in gradients:
            m = {k: JOINED[name] * m[k] + (1 - JOINED[name]) * g[k] for k in m}
            want.append({k: -b for k, b in _joined(how, m).items()})
        errors[how] = max(float(np.abs(a[k] - b[k]).max()) for a, b in zip(got, want, strict=True) for k in b)
    assert errors.pop(name) < 1e-10
    assert min(errors.values()) > 0.05


def test_muon_max_to_the_letter_has_the_dual_norms_length():
    gradients = _gradients(5, seed=9, shapes=WITH_VECTOR)
    unit = _play(get_optimizer("muon-max"), gradients)
    whole = _play(get_optimizer("muon-max", {"normalized": False}), gradients)
    m = {k: 0 * b for k, b in gradients[0].items()}
    for g, u, w in zip(gradients, unit, whole, strict=True):
        m = {k: 0.9 * m[k] + 0.1 * g[k] for k in m}
        nuclear = _sums({k: b for k, b in m.items() if b.ndim == 2})
        dual = math.hypot(sum(nuclear.values()), np.abs(m["a"]).sum())
        assert _worst([w], [{k: dual * b for k, b in u.items()}]) < 1e-12
        assert -float(inner(m, u)) == pytest.approx(dual, rel=1e-12)


def _prgd_loop(gradients, radius, growth, power, period, ceiling, projected=True, eta=0.3):
    theta, out = {k: np.ones_like(b) for k, b in gradients[0].items()}, []

    def length(x):
        return math.sqrt(sum(float((b**2).sum()) for b in x.values()))

    for t, g in enumerate(gradients, start=1):
        k = (t - 1) // period
        R, after = (min(radius * growth**j * (1 + j) ** power, ceiling) for j in (k, k + 1))
        theta = {n: b - eta * g[n] / length(g) for n, b in theta.items()}
        if t % period == 0:
            theta = {n: after * b / length(theta) for n, b in theta.items()}
        elif projected and length(theta) > R:
            theta = {n: R * b / length(theta) for n, b in theta.items()}
        out.append(theta)
    return out


PRGD = {"radius": 2.0, "growth": 1.3, "power": 0.5, "period": 7, "ceiling": 20.0}


def _prgd_weights(kwargs, gradients):
    optimizer = get_optimizer("prgd", kwargs)
    theta, out = {k: torch.ones(b.shape, dtype=torch.float64) for k, b in gradients[0].items()}, []
    for t, u in enumerate(_play(optimizer, gradients), start=1):
        theta = optimizer.move(theta, {k: torch.as_tensor(b) for k, b in u.items()}, _at(0.3), _at(t))
        out.append({k: b.numpy() for k, b in theta.items()})
    return out


@pytest.mark.parametrize("settings", [PRGD, PRGD | {"projected": False}, PRGD | {"ceiling": 1e6}])
def test_progressive_rescaling_is_the_plain_loop(settings):
    gradients = _gradients(100, seed=10)
    assert _worst(_prgd_weights(settings, gradients), _prgd_loop(gradients, **settings)) < 1e-11


@pytest.mark.parametrize(
    "fault", [{"radius": 2.1}, {"growth": 1.2}, {"power": 0.6}, {"period": 8}, {"ceiling": 30.0}, {"projected": False}]
)
def test_a_rescaling_loop_with_a_fault_differs(fault):
    gradients = _gradients(100, seed=10)
    assert _worst(_prgd_weights(PRGD, gradients), _prgd_loop(gradients, **(PRGD | fault))) > 1e-2


def test_rescaling_zero_leaves_it():
    optimizer = get_optimizer("prgd", {"period": 1})
    zero = {"a": torch.zeros(3, dtype=torch.float64)}
    moved = optimizer.move(zero, zero, _at(1.0), _at(1))
    assert bool((moved["a"] == 0).all())
