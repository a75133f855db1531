"""The (mantissa, log-scale) recursions against mpmath, far beyond float64, and against plain float64 inside it."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maxmargin.verify.optimizers.core.logscale import Scaled, combine, combine_rms, safe_ratio, zeros_like

STEPS = 500
ROUNDING = 1e-12  # 500 steps of a contraction: rounding errors of 2e-16 a step do not add up beyond this


def _constant(rng: np.random.Generator) -> np.ndarray:
    return np.full(STEPS, -3.0)


def _falling(rng: np.random.Generator) -> np.ndarray:
    """As late in training: a little less each step, far below the least float64 (e^-745) at the end."""
    return -np.cumsum(rng.uniform(0, 10, STEPS))


def _plunging(rng: np.random.Generator) -> np.ndarray:
    return -np.cumsum(rng.uniform(0, 4000, STEPS))


def _rising(rng: np.random.Generator) -> np.ndarray:
    return -1e6 + np.cumsum(rng.uniform(0, 50, STEPS))


def _jumping(rng: np.random.Generator) -> np.ndarray:
    """Slow drift, and every 25 steps a jump of ±1500 that no single float64 spans."""
    drift = np.cumsum(rng.normal(0, 0.3, STEPS))
    jumps = 1500.0 * rng.choice([-1.0, 1.0], STEPS) * (np.arange(STEPS) % 25 == 24)
    return -1e4 + drift + np.cumsum(jumps)


PATHS = {f.__name__.strip("_"): f for f in (_constant, _falling, _plunging, _rising, _jumping)}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def _gradients(seed: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"W": rng.standard_normal((2, 3)), "a": rng.standard_normal(2)} for _ in range(STEPS)]


def _scaled(blocks: dict[str, np.ndarray], log_scale: float) -> Scaled:
    return Scaled({k: torch.as_tensor(b) for k, b in blocks.items()}, torch.tensor(log_scale, dtype=torch.float64))


def _exact(x: Scaled) -> list[mpmath.mpf]:
    factor = mpmath.exp(mpmath.mpf(float(x.log_scale)))
    return [mpmath.mpf(v) * factor for b in x.blocks.values() for v in b.reshape(-1).tolist()]


def _finite(x: Scaled) -> bool:
    return bool(torch.isfinite(x.log_scale)) and all(bool(torch.isfinite(b).all()) for b in x.blocks.values())


@every_path
@pytest.mark.parametrize(("keep", "take"), [(0.9, 1.0), (0.0, 1.0), (0.999, 0.001)])
def test_combine_is_the_exact_recursion(path, keep, take):
    logs = path(np.random.default_rng(1))
    moment = zeros_like({"W": torch.zeros(2, 3, dtype=torch.float64), "a": torch.zeros(2, dtype=torch.float64)})
    with mpmath.workdps(40):
        truth, size = [mpmath.mpf(0)] * 8, [mpmath.mpf(0)] * 8
        for t, blocks in enumerate(_gradients(2)):
            gradient = _scaled(blocks, float(logs[t]))
            moment = combine(moment, keep, gradient, take)
            assert _finite(moment)
            new = _exact(gradient)
            truth = [keep * m + take * g for m, g in zip(truth, new, strict=True)]
            size = [keep * m + take * abs(g) for m, g in zip(size, new, strict=True)]
            if t % 50 == 49 or t < 5:
                # Signs differ, so an entry may cancel: the error is measured against the sum of absolute values.
                for got, want, scale in zip(_exact(moment), truth, size, strict=True):
                    assert abs(got - want) <= ROUNDING * scale


@every_path
@pytest.mark.parametrize("keep", [0.95, 0.0])
def test_combine_rms_is_the_root_of_the_exact_recursion(path, keep):
    logs = path(np.random.default_rng(3))
    root = zeros_like({"W": torch.zeros(2, 3, dtype=torch.float64), "a": torch.zeros(2, dtype=torch.float64)})
    with mpmath.workdps(40):
        truth = [mpmath.mpf(0)] * 8
        for t, blocks in enumerate(_gradients(4)):
            gradient = _scaled(blocks, float(logs[t]))
            root = combine_rms(root, keep, gradient, 1 - keep)
            assert _finite(root)
            truth = [keep * v + (1 - keep) * g**2 for v, g in zip(truth, _exact(gradient), strict=True)]
            if t % 50 == 49 or t < 5:
                for got, want in zip(_exact(root), truth, strict=True):
                    assert abs(got - mpmath.sqrt(want)) <= ROUNDING * mpmath.sqrt(want)


def test_a_wrong_factor_would_be_seen():
    """The spoiled twin: take off by 1e-9, and the same comparison objects."""
    g = _scaled({"a": np.array([1.0, -2.0])}, -5000.0)
    one = combine(combine(zeros_like(g.blocks), 0.9, g, 0.1), 0.9, g, 0.1)
    spoiled = combine(combine(zeros_like(g.blocks), 0.9, g, 0.1 + 1e-9), 0.9, g, 0.1)
    with mpmath.workdps(40):
        errors = [abs(a - b) / abs(a) for a, b in zip(_exact(one), _exact(spoiled), strict=True)]
    assert min(errors) > 1e3 * ROUNDING


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), keep=st.floats(0, 0.999), width=st.floats(0, 20))
def test_equal_to_plain_float64_where_that_works(seed, keep, width):
    rng = np.random.default_rng(seed)
    logs = rng.uniform(-width, width, 60)
    m, v = np.zeros(4), np.zeros(4)
    first = root = zeros_like({"a": torch.zeros(4, dtype=torch.float64)})
    size = np.zeros(4)
    for s in logs:
        mantissa = rng.standard_normal(4)
        g = np.exp(s) * mantissa
        m, v, size = keep * m + (1 - keep) * g, keep * v + (1 - keep) * g**2, keep * size + (1 - keep) * abs(g)
        gradient = _scaled({"a": mantissa}, float(s))
        first, root = combine(first, keep, gradient, 1 - keep), combine_rms(root, keep, gradient, 1 - keep)
    got_m = first.blocks["a"].numpy() * np.exp(float(first.log_scale))
    got_v = (root.blocks["a"].numpy() * np.exp(float(root.log_scale))) ** 2
    assert (np.abs(got_m - m) <= ROUNDING * size).all()
    np.testing.assert_allclose(got_v, v, rtol=ROUNDING)


def test_the_result_stays_of_order_one():
    moment = zeros_like({"a": torch.zeros(3, dtype=torch.float64)})
    for t in range(400):
        moment = combine(moment, 0.9, _scaled({"a": np.array([1.0, -0.5, 0.25])}, -25.0 * t), 0.1)
        assert 0.05 <= float(moment.blocks["a"].abs().max()) <= 2.0


@pytest.mark.parametrize("join", [combine, combine_rms], ids=lambda f: f.__name__)
@pytest.mark.parametrize("log_scale", [0.0, -2000.0, 2000.0])
def test_a_gradient_that_is_exactly_zero_leaves_no_nan(join, log_scale):
    """A dead block: zeros at one scale, then the first real gradient at a scale that float64 cannot relate to it."""
    zero = _scaled({"a": np.zeros(2)}, log_scale)
    moment = join(zeros_like(zero.blocks), 0.9, zero, 0.1)
    assert _finite(moment)
    assert not moment.blocks["a"].any()
    after = join(moment, 0.9, _scaled({"a": np.array([3.0, 0.0])}, -7000.0), 0.1)
    assert _finite(after)
    assert float(after.log_scale) == -7000.0
    expected = 0.1 * 3.0 if join is combine else 0.1**0.5 * 3.0
    torch.testing.assert_close(
        after.blocks["a"], torch.tensor([expected, 0.0], dtype=torch.float64), rtol=1e-14, atol=0
    )


def test_zeros_give_way_to_any_gradient():
    for log_scale in (-1e6, -745.0, 0.0, 700.0):
        g = _scaled({"a": np.array([1.0, 2.0])}, log_scale)
        moment = combine(zeros_like(g.blocks), 0.9, g, 1.0)
        assert float(moment.log_scale) == log_scale
        assert torch.equal(moment.blocks["a"], g.blocks["a"])


def test_runs_of_a_batch_do_not_see_each_other():
    """One scale a run: vmapped over runs whose scales are 10⁵ apart, each is bit for bit its own."""
    rng = np.random.default_rng(0)
    logs = torch.tensor([0.0, -1e5, 300.0], dtype=torch.float64)
    old = torch.tensor([-10.0, -1e5 + 3, -800.0], dtype=torch.float64)
    g, m = (torch.as_tensor(rng.standard_normal((3, 4))) for _ in range(2))
    for join in (combine, combine_rms):

        def step(m, s, g, t, join=join):
            return join(Scaled({"a": m}, s), 0.9, Scaled({"a": g}, t), 0.1)

        together = torch.func.vmap(step)(m, old, g, logs)
        for i in range(3):
            alone = step(m[i], old[i], g[i], logs[i])
            assert torch.equal(together.blocks["a"][i], alone.blocks["a"])
            assert torch.equal(together.log_scale[i], alone.log_scale)


def test_ratio_of_scales_far_below_float64():
    num = _scaled({"a": np.array([3.0, -4.0, 0.0])}, -1e6)
    den = _scaled({"a": np.array([2.0, 8.0, 1.0])}, -1e6 + 2.0)
    expected = np.exp(-2.0) * np.array([1.5, -0.5, 0.0])
    np.testing.assert_allclose(safe_ratio(num, den)["a"].numpy(), expected, rtol=1e-14)


def test_zero_over_zero_is_zero_and_gives_no_nan():
    num, den = _scaled({"a": np.array([0.0, 1.0])}, -900.0), _scaled({"a": np.array([0.0, 2.0])}, -900.0)
    assert safe_ratio(num, den)["a"].tolist() == [0.0, 0.5]
    nothing = zeros_like({"a": torch.zeros(2, dtype=torch.float64)})
    assert safe_ratio(nothing, nothing)["a"].tolist() == [0.0, 0.0]


def test_a_coordinate_far_below_the_others_keeps_its_digits():
    """One log-scale serves entries of very different size: x/d must not pass through a denormal number."""
    num = _scaled({"a": np.array([1.0, 3e-300])}, -40.0)
    den = _scaled({"a": np.array([1.0, 7e-300])}, 0.0)
    np.testing.assert_allclose(safe_ratio(num, den)["a"].numpy(), np.exp(-40.0) * np.array([1, 3 / 7]), rtol=1e-14)


@pytest.mark.parametrize("log_scale", [-10.0, -300.0, 0.0, 5.0])
@pytest.mark.parametrize("eps", [1e-8, 1e-3])
def test_eps_is_in_true_units(eps, log_scale):
    num, den = _scaled({"a": np.array([3.0, -1.0])}, log_scale), _scaled({"a": np.array([2.0, 0.0])}, log_scale)
    with mpmath.workdps(40):
        unit = mpmath.exp(log_scale)
        expected = [float(3 * unit / (2 * unit + eps)), float(-unit / mpmath.mpf(eps))]
    np.testing.assert_allclose(safe_ratio(num, den, eps)["a"].numpy(), expected, rtol=1e-12)


def test_eps_over_a_gradient_below_float64_gives_a_negligible_step_not_a_nan():
    num, den = _scaled({"a": np.array([1.0, 0.0])}, -1e5), _scaled({"a": np.array([1.0, 0.0])}, -1e5)
    out = safe_ratio(num, den, 1e-8)["a"]
    assert torch.isfinite(out).all()
    assert float(out.abs().max()) < 1e-290
