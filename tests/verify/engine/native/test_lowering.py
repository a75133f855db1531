"""Every lowered operator against torch, on awkward shapes and numbers; and spoiled ones, which must be seen."""

from __future__ import annotations

import math

import pytest
import torch

from maxmargin.solvers.norms.polar.factor import polar
from maxmargin.verify.engine.native import kernels, lowering, pointwise
from maxmargin.verify.engine.native.function import compiled
from maxmargin.verify.engine.native.graph import UnsupportedError, record
from maxmargin.verify.engine.native.lowering import RULES

aten = torch.ops.aten
INF, NAN = math.inf, math.nan


def _draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Y = _draw(3, 7, 5), _draw(7, 1, seed=1)
ROW, ONE = _draw(19, seed=2), torch.tensor(0.7, dtype=torch.float64)
ODD = torch.tensor([0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 1e-320, 1e300, -1e300, 2.5, -2.5], dtype=torch.float64)
OTHER = torch.tensor([0.0, 0.0, -1.0, INF, INF, 2.0, 1.0, 1e-320, 1e300, 1e-300, -2.0, NAN], dtype=torch.float64)
WHOLE = torch.tensor([3, -2, 0, 7, 11, 0, 1], dtype=torch.int64)
PLACES = torch.tensor([3, 2, 0, 6, 6, 0, 1, 5], dtype=torch.int64)
FLAGS = torch.tensor([True, False, True, True, False, False, True, True, False])

UNARY = {
    "abs": torch.abs, "neg": torch.neg, "exp": torch.exp, "exp2": torch.exp2, "expm1": torch.expm1, "log": torch.log,
    "log2": torch.log2, "log1p": torch.log1p, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal, "relu": torch.relu, "sign": torch.sign, "sgn": torch.sgn, "floor": torch.floor,
    "ceil": torch.ceil, "round": torch.round, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "isnan": torch.isnan,
    "clamp": lambda x: torch.clamp(x, -0.5, 0.25), "clamp min": lambda x: torch.clamp(x, min=0.1),
    "clamp_min": lambda x: torch.clamp_min(x, 0.1), "clamp_max": lambda x: torch.clamp_max(x, 0.1),
    "clamp tensors": lambda x: torch.clamp(x, min=ONE - 1, max=ONE.clone()),
    "squares": lambda x: x**2, "cubes": lambda x: x**3, "power -2": lambda x: x**-2, "power 1/2": lambda x: x**0.5,
    "power -1/2": lambda x: x**-0.5, "power 0.3": lambda x: x.abs() ** 0.3, "power -1": lambda x: x**-1,
    "power 0": lambda x: x**0, "power 1": lambda x: x**1, "2^x": lambda x: torch.pow(2.0, x.clamp(-50, 50)),
    "detach": lambda x: x.detach() * 1, "clone": lambda x: x.clone(), "alias": lambda x: aten.alias(x) + 0,
    "to int": lambda x: (x.clamp(-9, 9) * 0 + 3.7).to(torch.int64),
    "to bool": lambda x: x.to(torch.bool),
    "zeros": lambda x: x * 0 + torch.zeros(x.shape, dtype=x.dtype) + x.new_zeros(()) + torch.zeros_like(x),
    "ones": lambda x: torch.ones_like(x) + x.new_ones(x.shape) + torch.ones(x.shape, dtype=x.dtype) + 0 * x,
    "full": lambda x: torch.full(x.shape, 2.5, dtype=x.dtype) + torch.full_like(x, -INF) + x.new_full((), 3) + x,
    "constant": lambda x: x * torch.tensor(3.25, dtype=x.dtype) + aten.scalar_tensor(1.5, dtype=x.dtype),
    "lift": lambda x: x * aten.lift_fresh_copy(torch.tensor(3.25, dtype=x.dtype)),
}  # fmt: skip

UNARY |= {  # as torch writes them for numbers
    name: lambda x, f=f: f(x, 0.75)
    for name, f in {
        "add.Scalar": aten.add.Scalar, "sub.Scalar": aten.sub.Scalar, "mul.Scalar": aten.mul.Scalar,
        "div.Scalar": aten.div.Scalar, "rsub.Scalar": aten.rsub.Scalar, "eq.Scalar": aten.eq.Scalar,
        "ne.Scalar": aten.ne.Scalar, "ge.Scalar": aten.ge.Scalar, "lt.Scalar": aten.lt.Scalar,
    }.items()
}  # fmt: skip

BINARY = {
    "add": torch.add, "add alpha": lambda a, b: torch.add(a, b, alpha=-3), "sub": torch.sub,
    "sub alpha": lambda a, b: torch.sub(a, b, alpha=0.3), "rsub": lambda a, b: torch.rsub(a, b, alpha=2),
    "mul": torch.mul, "div": torch.div, "maximum": torch.maximum, "minimum": torch.minimum, "hypot": torch.hypot,
    "eq": torch.eq, "ne": torch.ne, "gt": torch.gt, "ge": torch.ge, "lt": torch.lt, "le": torch.le,
    "copysign": torch.copysign, "pow": lambda a, b: torch.pow(a.abs(), b),
    "where": lambda a, b: torch.where(a > b, a, b), "where number": lambda a, b: torch.where(a > b, a, 0.0),
    "where numbers": lambda a, b: torch.where(a > b, 1.0, 2.0).to(torch.float64) + 0 * b,
    "where other": lambda a, b: torch.where(a > b, 0.5, b),
    "and": lambda a, b: (a > 0) & (b > 0), "or": lambda a, b: (a > 0) | (b > 0), "not": lambda a, b: ~(a > b),
    "logical": lambda a, b: torch.logical_and(a > 0, torch.logical_or(b > 0, torch.logical_not(a == b))),
    "flags times": lambda a, b: (a > 0) * (b > 0), "flag times": lambda a, b: (a > 0) * b,
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    "relu gradient": lambda a, b: aten.threshold_backward(a + 0 * b, b + 0 * a, 0.0),
    "leaky relu": lambda a, b: aten.leaky_relu(a - b, 0.1),
    "leaky relu gradient": lambda a, b: aten.leaky_relu_backward(a + 0 * b, b + 0 * a, 0.1, False),
}  # fmt: skip

FINITE = {  # where torch itself is not exact, or is undefined, at the odd numbers
    "remainder": lambda a, b: torch.remainder(a, b), "remainder 3": lambda a, b: torch.remainder(a * 9, 3.0),
    "floor div": lambda a, b: torch.div(a * 9, b, rounding_mode="floor"),
    "floor div 2": lambda a, b: aten.div.Scalar_mode(a * 9, 2.0, rounding_mode="floor") + 0 * b,
    "trunc div": lambda a, b: torch.div(a * 9, b, rounding_mode="trunc"),
}  # fmt: skip

SHAPED = {
    "view": lambda x: x.view(21, 5) * 2, "reshape of turned": lambda x: x.permute(2, 0, 1).reshape(15, 7),
    "view of a sum": lambda x: (x + Y).view(7, 15), "permute": lambda x: x.permute(1, 2, 0) + 1,
    "transpose": lambda x: x.transpose(0, -1) * 2, "t": lambda x: x[0].t() * 2, "mT": lambda x: (x * 2).mT,
    "expand": lambda x: x[:1].expand(4, 7, 5) * 1, "select": lambda x: x[-1] + x[:, 2].sum(),
    "slice": lambda x: x[1:, 1:6:2, -3:], "unsqueeze": lambda x: x.unsqueeze(1) * x.unsqueeze(0),
    "squeeze": lambda x: x[:1].squeeze(0) + x[:, :1].squeeze().sum() + x[:, :1].squeeze((1,)).amax(),
    "diagonal": lambda x: x[0].diagonal() * 1 + x[0].diagonal(1)[0] + x[0].diagonal(-1).sum(),
    "unbind": lambda x: x.unbind(1)[3] - x.unbind(1)[0],
    "split": lambda x: x.split(3, 1)[2] * 2 + x.split([2, 1, 4], 1)[1],
    "cat": lambda x: torch.cat([x, 2 * x[:, :3], x[:, :0]], 1), "stack": lambda x: torch.stack([x, -x], -1),
    "cat of none": lambda x: torch.cat([x[0, 0, :0], x[0, 0]]),
    "sum": lambda x: x.sum(), "sum 0": lambda x: x.sum(0), "sum 1": lambda x: x.sum(1), "sum -1": lambda x: x.sum(-1),
    "sum kept": lambda x: x.sum((0, 2), keepdim=True), "sum of turned": lambda x: x.permute(2, 1, 0).sum(1),
    "sum of flags": lambda x: (x > 0).sum(1), "sum of nothing": lambda x: x[:, :0].sum(1),
    "sum of products": lambda x: (x * Y).sum((1, 2)), "mean": lambda x: x.mean() + x.mean(1).sum(),
    "amax": lambda x: x.amax(), "amax 0": lambda x: x.amax(0), "amax -1": lambda x: x.amax(-1, keepdim=True),
    "amin": lambda x: x.amin(), "amin 1": lambda x: x.amin(1), "amin 0 2": lambda x: x.amin((0, 2)),
    "max": lambda x: x.max() - x.min(), "any": lambda x: (x > 2).any() | (x > 1).any(1).all(),
    "all": lambda x: (x > -9).all(2), "any of dims": lambda x: (x > 2).any((0, 1)),
    "all of dims": lambda x: (x > -1).all((0, 1)),
    "all of all": lambda x: (x > -9).all(), "norm": lambda x: torch.linalg.vector_norm(x),
    "norm 1": lambda x: torch.linalg.vector_norm(x, 1, dim=1), "norm inf": lambda x: torch.linalg.vector_norm(x, INF),
    "norm -inf": lambda x: torch.linalg.vector_norm(x, -INF, dim=(0, 1)),
    "norm 3": lambda x: torch.linalg.vector_norm(x, 3.0, dim=-1, keepdim=True),
    "argmax": lambda x: x.argmax(), "argmax of a row": lambda x: x[1, 2].argmax(),
    "mm": lambda x: x[0] @ x[1].T, "mm of turned": lambda x: x[0].T @ x[1],
    "mm of slices": lambda x: x[0, :, 1:4] @ x[1, :, 1:4].T,
    "mm long": lambda x: x.view(5, 21) @ x.view(5, 21).T, "mm wide": lambda x: x.view(21, 5) @ x.view(5, 21),
    "outer": lambda x: x.view(105, 1) @ x.view(1, 105), "inner": lambda x: x.view(1, 105) @ x.view(105, 1),
    "wide rows": lambda x: x.view(105, 1)[:3] @ x.view(1, 105)[:, :81],
    "mv": lambda x: x[0] @ x[1, 0], "vm": lambda x: x[1, :, 0] @ x[0],
    "row of a view": lambda x: x[0, 0].view(1, 5) @ x[1].T,
    "dot": lambda x: x[0, 0] @ x[1, 0], "bmm": lambda x: x @ x.mT,
    "bmm of one": lambda x: x[:1] @ x[:1].mT, "bmm of expanded": lambda x: x[:1].expand(3, 7, 5) @ x.mT,
    "mm of nothing": lambda x: x[0, :, :0] @ x[1, :, :0].T, "nothing": lambda x: x[0, :0] @ x[1].T,
    "addmm": lambda x: torch.addmm(x[0, :5] * 0 + 1, x[0].T, x[1], beta=0.5, alpha=-2.0),
    "arange": lambda x: x * torch.arange(5, dtype=x.dtype) + torch.arange(1, 6, dtype=x.dtype) + torch.arange(0, 10, 2),
    "eye": lambda x: x[0, :5] + torch.eye(5, dtype=x.dtype) + torch.eye(5, 5, dtype=x.dtype),
    "topk": lambda x: torch.topk(x[0, 0], 3, largest=False).values,
    "places": lambda x: torch.topk(x.view(105), 40).indices,
    "places of the smallest": lambda x: torch.topk(x[:, 3].reshape(15), 15, largest=False).indices,
    "polar": lambda x: polar(x[0]), "polar of wide": lambda x: polar(x[0].T), "polar of many": lambda x: polar(x),
    "svdvals": lambda x: torch.linalg.svdvals(x), "svd": lambda x: _whole_again(x[0]),
    "svd of wide": lambda x: _whole_again(x[1].T),
    "float32": lambda x: (x.to(torch.float32) * 3 + 1).to(torch.float64),
    "bfloat16": lambda x: (x.to(torch.bfloat16) / 3).to(torch.float64),
}  # fmt: skip


def _whole_again(x):
    U, sigma, Vt = torch.linalg.svd(x, full_matrices=False)
    return (U * sigma.sqrt()) @ Vt


ONES = {"odd": (ODD,), "block": (X,), "turned": (X.permute(2, 0, 1),), "number": (ONE,)}
TWOS = {"odd": (ODD, OTHER), "broadcast": (X, Y), "numbers": (ONE, ONE + 1), "number": (ROW, ONE)}
CASES = (
    [(f"{k} {n}", f, x) for k, f in UNARY.items() for n, x in ONES.items()]
    + [(f"{k} {n}", f, ab) for k, f in BINARY.items() for n, ab in TWOS.items()]
    + [(f"{k} {n}", f, ab) for k, f in FINITE.items() for n, ab in TWOS.items() if n in ("broadcast", "number")]
    + [(k, f, (X,)) for k, f in SHAPED.items()]
    + [
        ("integers", lambda i: i * 3 + 1 - i, (WHOLE,)), ("compared", lambda i: (i > 0) & (i <= 7), (WHOLE,)),
        ("integers to numbers", lambda i: i * torch.tensor(0.5, dtype=torch.float64), (WHOLE,)),
        ("flags to numbers", lambda f: f.to(torch.float64) + f, (FLAGS,)),
        ("index_select", lambda x, i: x.index_select(1, i), (X, PLACES)),
        ("gathered rows", lambda x, i: x.permute(1, 2, 0).index_select(0, i[::3]), (X, PLACES)),
        ("flags to integers", lambda f: f.to(torch.int64) * 2, (FLAGS,)), ("flags", lambda f: ~f, (FLAGS,)),
    ]
)  # fmt: skip


def _assert_same(function, arguments, tolerance=4e-15):
    fast = compiled(function, *[a.clone() for a in arguments])
    got, want = fast(*arguments), function(*arguments)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    size = (
        torch.where(torch.isfinite(want), want.abs(), 0.0).max()
        if want.numel() and want.dtype == torch.float64
        else 1.0
    )
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * float(size), equal_nan=True)


@pytest.mark.parametrize(("name", "function", "arguments"), CASES, ids=[name for name, _, _ in CASES])
def test_an_operator_is_torchs(name, function, arguments):
    _assert_same(function, arguments, 1e-13 if "polar" in name or "svd" in name else 4e-15)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("m", "k", "n"), [(5, 37, 19), (3, 64, 1), (8, 50, 8), (21, 33, 66)])
def test_a_product_in_parts_is_the_same_bit_for_bit(monkeypatch, m, k, n, turned):
    a, b = _draw(k, m).T if turned else _draw(m, k), _draw(k, n, seed=1)
    whole = compiled(torch.mm, a, b)(a, b)
    monkeypatch.setattr(kernels, "CACHED", 1)
    monkeypatch.setattr(kernels, "LEAST_DEPTH", 7)
    assert torch.equal(compiled(torch.mm, a, b)(a, b), whole)
    _assert_same(torch.mm, (a, b))


def test_a_product_larger_than_the_cache_is_torchs():
    a, b = _draw(2000, 9).T, _draw(2000, 67, seed=1)
    _assert_same(lambda a, b: (a @ b) / 50, (a, b))


def test_every_rule_is_tried():
    seen = set()
    for _, function, arguments in CASES:
        seen |= {node.target for node in record(function, *[a.clone() for a in arguments])[0].nodes}
    assert set(RULES) - seen == set()


def _off_by_a_little(rule):
    def spoiled(self, meta, *args, **kwargs):
        found = rule(self, meta, *args, **kwargs)
        return (
            lowering.pointwise(meta, pointwise.add(torch.float64), found, 1e-10)
            if meta.dtype == torch.float64
            else found
        )

    return spoiled


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (aten.add.Tensor, "add broadcast"), (aten.exp.default, "exp block"), (aten.sum.dim_IntList, "sum 1"),
        (aten.amax.default, "amax 0"), (aten.mm.default, "mm of turned"), (aten.bmm.default, "bmm"),
        (aten.cat.default, "cat"), (aten.index_select.default, "index_select"), (aten.where.self, "where broadcast"),
        (torch.ops.maxmargin.polar.default, "polar of wide"),
        (aten.threshold_backward.default, "relu gradient broadcast"), (aten.leaky_relu.default, "leaky relu broadcast"),
        (aten.linalg_vector_norm.default, "norm 3"),
    ],
)  # fmt: skip
def test_a_rule_that_is_off_by_a_little_is_seen(target, name, monkeypatch):
    monkeypatch.setitem(RULES, target, _off_by_a_little(RULES[target]))
    _, function, arguments = next(case for case in CASES if case[0] == name)
    with pytest.raises(AssertionError):
        _assert_same(function, arguments, 1e-13)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: torch.erf(x), "aten.erf.default"),
        (lambda x: x if float(x.sum()) > 0 else -x, "a branch on a tensor's value"),
        (lambda x: x.add_(1), "writes into its argument"),
        (lambda x: x.to(torch.complex128).abs(), "torch.complex128"),
        (lambda x: x.to(torch.float32), "a result in torch.float32"),
    ],
)
def test_what_has_no_native_form_is_named(function, text):
    with pytest.raises(UnsupportedError, match=text):
        compiled(function, X.clone())


def test_arguments_of_another_shape_are_refused():
    double = compiled(lambda x: x * 2, X.clone())
    with pytest.raises(ValueError, match="an argument is"):
        double(X[0])
    with pytest.raises(ValueError, match="an argument is"):
        double(X.to(torch.float32))


def test_results_are_new_at_every_call():
    double = compiled(lambda x: {"a": x * 2}, ROW.clone())
    first, second = double(ROW)["a"], double(-ROW)["a"]
    assert torch.equal(first, 2 * ROW)
    assert torch.equal(second, -2 * ROW)
