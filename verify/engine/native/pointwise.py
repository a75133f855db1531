"""Operators that work number by number, as LLVM writes them for vectors of a width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from maxmargin.verify.engine.native import functions
from maxmargin.verify.engine.native.graph import Meta, UnsupportedError
from maxmargin.verify.engine.native.ir import REGISTER, Code, literal, suffix, vector
from maxmargin.verify.engine.native.lowering import (
    POINTWISE,
    Lowering,
    Rule,
    as_value,
    cast,
    expanded,
    pointwise,
    promoted,
    rule,
    select,
)  # fmt: skip
from maxmargin.verify.engine.native.values import Apply, Value

aten = torch.ops.aten


def intrinsic(name: str) -> Callable[..., str]:
    """An LLVM intrinsic of doubles."""

    def build(code: Code, width: int, *operands: str) -> str:
        kind = vector("double", width)
        return code.call(f"llvm.{name}.{suffix('double', width)}", kind, *[(kind, x) for x in operands])

    return build


def _libm(name: str) -> Callable[..., str]:
    """A function of the C library, number by number."""

    def build(code: Code, width: int, *operands: str) -> str:
        if width == 1:
            return code.call(name, "double", *[("double", x) for x in operands])
        out, whole = "poison", vector("double", width)
        for i in range(width):
            each = [code.op(f"extractelement {whole} {x}, i64 {i}") for x in operands]
            one = code.call(name, "double", *[("double", x) for x in each])
            out = code.op(f"insertelement {whole} {out}, double {one}, i64 {i}")
        return out

    return build


def _binary(double: str, whole: str = "") -> Callable[[torch.dtype], Callable[..., str]]:
    def of(dtype: torch.dtype) -> Callable[..., str]:
        kind = REGISTER[dtype]

        def build(code: Code, width: int, a: str, b: str) -> str:
            return code.op(f"{double if kind == 'double' else whole} {vector(kind, width)} {a}, {b}")

        return build

    return of


add, subtract, multiply = _binary("fadd", "add"), _binary("fsub", "sub"), _binary("fmul", "mul")
divide = _binary("fdiv")


def _constant(code: Code, width: int, value: float) -> str:
    return code.splat(literal(value, torch.float64), "double", width)


def _clamped(compare: str) -> Callable[..., str]:
    """Keep x unless it compares so with the bound: NaN stays NaN."""

    def build(code: Code, width: int, x: str, bound: str) -> str:
        beyond = code.op(f"fcmp {compare} {vector('double', width)} {x}, {bound}")
        return select(code, width, beyond, "double", bound, x)

    return build


def _extreme(compare: str) -> Callable[..., str]:
    """The larger or smaller of two; NaN if either is."""

    def build(code: Code, width: int, a: str, b: str) -> str:
        kind = vector("double", width)
        first = code.op(f"fcmp {compare} {kind} {a}, {b}")
        first = code.op(f"or {vector('i1', width)} {first}, {code.op(f'fcmp uno {kind} {a}, {a}')}")
        return select(code, width, first, "double", a, b)

    return build


def _sign(code: Code, width: int, x: str) -> str:
    kind, flag = vector("double", width), vector("i1", width)
    zero = _constant(code, width, 0.0)
    up = code.op(f"uitofp {flag} {code.op(f'fcmp ogt {kind} {x}, {zero}')} to {kind}")
    down = code.op(f"uitofp {flag} {code.op(f'fcmp olt {kind} {x}, {zero}')} to {kind}")
    return code.op(f"fsub {kind} {up}, {down}")


def _negated(code: Code, width: int, x: str) -> str:
    return code.op(f"fneg {vector('double', width)} {x}")


def _not(code: Code, width: int, x: str) -> str:
    return code.op(f"xor {vector('i1', width)} {x}, {code.splat('true', 'i1', width)}")


def _inverted(code: Code, width: int, x: str) -> str:
    return code.op(f"fdiv {vector('double', width)} {_constant(code, width, 1.0)}, {x}")


def power(exponent: float) -> Callable[..., str]:
    """x to a constant power: by products and roots where torch does so."""

    def build(code: Code, width: int, x: str) -> str:
        kind = vector("double", width)
        if exponent in (2.0, 3.0, -2.0):
            out = code.op(f"fmul {kind} {x}, {x}")
            out = code.op(f"fmul {kind} {out}, {x}") if exponent == 3.0 else out
            return _inverted(code, width, out) if exponent < 0 else out
        if abs(exponent) == 0.5:
            root = intrinsic("sqrt")(code, width, x)
            return _inverted(code, width, root) if exponent < 0 else root
        if exponent == -1.0:
            return _inverted(code, width, x)
        if exponent in (0.0, 1.0):
            return x if exponent else _constant(code, width, 1.0)
        return _libm("pow")(code, width, x, _constant(code, width, exponent))

    return build


def _remainder(code: Code, width: int, a: str, b: str) -> str:
    """a modulo b with b's sign, as Python's."""
    kind = vector("double", width)
    rest = code.op(f"frem {kind} {a}, {b}")
    zero = _constant(code, width, 0.0)
    off = code.op(f"fcmp une {kind} {rest}, {zero}")
    below, beyond = (code.op(f"fcmp olt {kind} {x}, {zero}") for x in (rest, b))
    apart = code.op(f"xor {vector('i1', width)} {below}, {beyond}")
    both = code.op(f"and {vector('i1', width)} {off}, {apart}")
    return select(code, width, both, "double", code.op(f"fadd {kind} {rest}, {b}"), rest)


REAL: dict[Any, Callable[..., str]] = {
    aten.abs.default: intrinsic("fabs"),
    aten.neg.default: _negated,
    aten.exp.default: functions.exp,
    aten.exp2.default: _libm("exp2"),
    aten.expm1.default: _libm("expm1"),
    aten.log.default: functions.log,
    aten.log2.default: _libm("log2"),
    aten.log1p.default: functions.log1p,
    aten.sqrt.default: intrinsic("sqrt"),
    aten.rsqrt.default: lambda code, width, x: _inverted(code, width, intrinsic("sqrt")(code, width, x)),
    aten.reciprocal.default: _inverted,
    aten.relu.default: lambda code, width, x: _clamped("olt")(code, width, x, _constant(code, width, 0.0)),
    aten.sign.default: _sign,
    aten.sgn.default: _sign,
    aten.floor.default: intrinsic("floor"),
    aten.ceil.default: intrinsic("ceil"),
    aten.round.default: intrinsic("roundeven"),
    aten.tanh.default: _libm("tanh"),
    aten.sigmoid.default: lambda code, width, x: _inverted(
        code, width, code.op(
            f"fadd {vector('double', width)} {functions.exp(code, width, _negated(code, width, x))}, "
            f"{_constant(code, width, 1.0)}"
        ),
    ),
    aten.div.Tensor: divide(torch.float64),
    aten.div.Scalar: divide(torch.float64),
    aten.remainder.Tensor: _remainder,
    aten.remainder.Scalar: _remainder,
    aten.maximum.default: _extreme("ogt"),
    aten.minimum.default: _extreme("olt"),
    aten.clamp_min.default: _clamped("olt"),
    aten.clamp_max.default: _clamped("ogt"),
    aten.hypot.default: functions.hypot,
    aten.copysign.Tensor: intrinsic("copysign"),
    aten.pow.Scalar: _libm("pow"),
    aten.pow.Tensor_Tensor: _libm("pow"),
}  # fmt: skip
"""Operators of real numbers alone."""

COMPARISONS = {
    "eq": ("oeq", "eq"), "ne": ("une", "ne"), "gt": ("ogt", "sgt"), "ge": ("oge", "sge"), "lt": ("olt", "slt"),
    "le": ("ole", "sle"),
}  # fmt: skip


def point(*targets: Any) -> Callable[[Rule], Rule]:
    """Enter a rule for an operator that works number by number."""
    POINTWISE.update(targets)
    return rule(*targets, once=True)


def _real(target: Any, build: Callable[..., str]) -> None:
    @point(target)
    def lowered(self: Lowering, meta: Meta, *args: Any) -> Value:
        del self
        if not meta.dtype.is_floating_point:
            raise UnsupportedError(f"{target} of {meta.dtype}")
        return pointwise(meta, build, *args)


for _target, _build in REAL.items():
    _real(_target, _build)


def _comparison(name: str) -> None:
    double, whole = COMPARISONS[name]
    packet = getattr(aten, name)

    @point(packet.Tensor, packet.Scalar)
    def lowered(self: Lowering, meta: Meta, a: Value, b: Any) -> Value:
        kind = promoted((a, b))

        def build(code: Code, width: int, x: str, y: str) -> str:
            compare = f"fcmp {double}" if kind.is_floating_point else f"icmp {whole}"
            return code.op(f"{compare} {vector(REGISTER[kind], width)} {x}, {y}")

        del self
        return pointwise(meta, build, a, b, kind=kind)


for _name in COMPARISONS:
    _comparison(_name)


def times(x: Any, alpha: Any, meta: Meta) -> Any:
    """A tensor or a number times a number, as alpha and beta scale arguments."""
    if alpha == 1:
        return x
    if not isinstance(x, Value):
        return x * alpha
    return pointwise(Meta(x.shape, meta.dtype), multiply(meta.dtype), x, alpha)


@point(aten.add.Tensor, aten.add.Scalar)
def _(self: Lowering, meta: Meta, a: Value, b: Any, alpha: Any = 1) -> Value:
    return pointwise(meta, add(meta.dtype), a, times(b, alpha, meta))


@point(aten.sub.Tensor, aten.sub.Scalar)
def _(self: Lowering, meta: Meta, a: Value, b: Any, alpha: Any = 1) -> Value:
    return pointwise(meta, subtract(meta.dtype), a, times(b, alpha, meta))


@point(aten.rsub.Scalar, aten.rsub.Tensor)
def _(self: Lowering, meta: Meta, a: Value, b: Any, alpha: Any = 1) -> Value:
    return pointwise(meta, subtract(meta.dtype), b, times(a, alpha, meta))


@point(aten.mul.Tensor, aten.mul.Scalar)
def _(self: Lowering, meta: Meta, a: Value, b: Any) -> Value:
    if meta.dtype == torch.bool:
        return pointwise(meta, _binary("", "and")(torch.bool), a, b, kind=torch.bool)
    return pointwise(meta, multiply(meta.dtype), a, b)


@point(aten.div.Tensor_mode, aten.div.Scalar_mode)
def _(self: Lowering, meta: Meta, a: Value, b: Any, rounding_mode: str | None = None) -> Value:
    if not meta.dtype.is_floating_point or rounding_mode not in ("floor", "trunc"):
        raise UnsupportedError(f"div with rounding_mode={rounding_mode} of {a.dtype}")

    def build(code: Code, width: int, x: str, y: str) -> str:
        kind = vector("double", width)
        if rounding_mode == "trunc":
            return intrinsic("trunc")(code, width, code.op(f"fdiv {kind} {x}, {y}"))
        # As torch: from the remainder, so that the quotient is not rounded up first.
        rest = _remainder(code, width, x, y)
        whole = code.op(f"fdiv {kind} {code.op(f'fsub {kind} {x}, {rest}')}, {y}")
        return intrinsic("roundeven")(code, width, whole)

    return pointwise(meta, build, a, b)


@point(aten.clamp.default, aten.clamp.Tensor)
def _(self: Lowering, meta: Meta, x: Value, min: Any = None, max: Any = None) -> Value:
    if not meta.dtype.is_floating_point:
        raise UnsupportedError(f"clamp of {x.dtype}")
    if min is not None:
        x = pointwise(meta, _clamped("olt"), x, min)
    return x if max is None else pointwise(meta, _clamped("ogt"), x, max)


@point(aten.pow.Tensor_Scalar)
def _(self: Lowering, meta: Meta, x: Value, exponent: float) -> Value:
    return pointwise(meta, power(float(exponent)), x)


def _logical(how: str, *targets: Any) -> None:
    @point(*targets)
    def lowered(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
        return pointwise(meta, _binary("", how)(meta.dtype), a, b, kind=meta.dtype)


_logical("and", aten.bitwise_and.Tensor, aten.logical_and.default)
_logical("or", aten.bitwise_or.Tensor, aten.logical_or.default)


@point(aten.logical_not.default, aten.bitwise_not.default)
def _(self: Lowering, meta: Meta, x: Value) -> Value:
    if x.dtype != torch.bool:
        raise UnsupportedError(f"not of {x.dtype}")
    return pointwise(meta, _not, x, kind=torch.bool)


@point(aten.isnan.default)
def _(self: Lowering, meta: Meta, x: Value) -> Value:
    return pointwise(meta, lambda code, width, a: code.op(f"fcmp uno {vector('double', width)} {a}, {a}"), x)


@point(aten.where.self)
def _(self: Lowering, meta: Meta, condition: Value, a: Any, b: Any) -> Value:
    kind = REGISTER[meta.dtype]
    parts = [expanded(cast(as_value(x, meta.dtype), meta.dtype), meta.shape).tree for x in (a, b)]

    def build(code: Code, width: int, c: str, x: str, y: str) -> str:
        return select(code, width, c, kind, x, y)

    chosen = expanded(cast(condition, torch.bool), meta.shape).tree
    return Value(meta.shape, Apply(build, (chosen, *parts), meta.dtype))


def _gated(compare: str, off: Callable[[Code, int, str, str], str]) -> Callable[..., str]:
    """``value`` where ``x`` compares so with ``level``, else ``off`` of value and slope."""

    def build(code: Code, width: int, value: str, x: str, level: str, slope: str) -> str:
        on = code.op(f"fcmp {compare} {vector('double', width)} {x}, {level}")
        return select(code, width, on, "double", value, off(code, width, value, slope))

    return build


_RELU_GRADIENT = _gated("ugt", lambda code, width, value, slope: slope)  # of NaN too, as torch does
_LEAKY = _gated("ogt", lambda code, width, value, slope: multiply(torch.float64)(code, width, value, slope))


@point(aten.threshold_backward.default)
def _(self: Lowering, meta: Meta, gradient: Value, x: Value, threshold: float) -> Value:
    return pointwise(meta, _RELU_GRADIENT, gradient, x, float(threshold), 0.0)


@point(aten.leaky_relu.default)
def _(self: Lowering, meta: Meta, x: Value, negative_slope: float = 0.01) -> Value:
    return pointwise(meta, _LEAKY, x, x, 0.0, float(negative_slope))


@point(aten.leaky_relu_backward.default)
def _(self: Lowering, meta: Meta, gradient: Value, x: Value, negative_slope: float, _of_result: bool) -> Value:
    return pointwise(meta, _LEAKY, gradient, x, 0.0, float(negative_slope))


@point(aten.addcmul.default)
def _(self: Lowering, meta: Meta, x: Value, a: Value, b: Value, value: float = 1) -> Value:
    product = pointwise(meta, multiply(meta.dtype), times(a, value, meta), b)
    return pointwise(meta, add(meta.dtype), x, product)


@point(aten._to_copy.default)
def _(self: Lowering, meta: Meta, x: Value, **_options: Any) -> Value:
    return cast(x, meta.dtype)


@point(
    aten.detach.default, aten.clone.default, aten.alias.default, aten.lift_fresh.default, aten.lift_fresh_copy.default
)
def _(self: Lowering, meta: Meta, x: Value, **_options: Any) -> Value:
    return x
