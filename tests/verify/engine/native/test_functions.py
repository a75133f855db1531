"""Exponentials and logarithms to the last place, against the C library's long doubles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maxmargin.verify.engine.native import functions
from maxmargin.verify.engine.native.function import compiled

N = 20_000
UNITS = 1.1  # in the last place; seen: 0.99, where torch's have 0.7
DRAW = np.random.default_rng(0)
pytestmark = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="no 80-bit long double on this platform")

RANGES = {
    "exp": [(-1.0, 1.0), (-708.0, 709.7), (-1e-8, 1e-8)],
    "log": [(0.5, 2.0), (1 - 1e-6, 1 + 1e-6), (1e-300, 1e300)],
    "log1p": [(0.0, 1.0), (-0.999, 3.0), (-1e-9, 1e-9), (0.0, 1e18)],
}
SPREAD = {"log": np.exp(DRAW.uniform(-744, 709, N)), "log1p": np.exp(DRAW.uniform(-300, 300, N))}


def _units(name, x):
    want = getattr(np, name)(x.astype(np.longdouble))
    got = compiled(getattr(torch, name), torch.ones(len(x), dtype=torch.float64))(torch.from_numpy(x)).numpy()
    space = np.spacing(np.abs(want.astype(float))).astype(np.longdouble)
    return float((np.abs(got - want) / space)[want != 0].max())


@pytest.mark.parametrize("name", RANGES)
def test_the_last_place(name):
    for low, high in RANGES[name]:
        assert _units(name, DRAW.uniform(low, high, N)) <= UNITS
    if name in SPREAD:
        assert _units(name, SPREAD[name]) <= UNITS
    if name == "log1p":
        assert _units(name, -np.exp(DRAW.uniform(-40, -0.01, N))) <= UNITS


def test_small_exponentials_are_gradual():
    x = torch.linspace(-746.0, -700.0, 5001, dtype=torch.float64)
    got = compiled(torch.exp, x.clone())(x)
    torch.testing.assert_close(got, torch.exp(x), rtol=3e-16, atol=5e-324)
    assert int((got > 0).sum()) > 4800


def test_a_shorter_series_is_seen(monkeypatch):
    """The spoiled twin: of the series of e^r the last term is worth a unit and a half."""
    monkeypatch.setattr(functions, "TERMS", functions.TERMS - 2)
    assert _units("exp", DRAW.uniform(-1.0, 1.0, N)) > UNITS
