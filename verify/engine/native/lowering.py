"""aten operators as native code, one a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any

import torch
from torch import Tensor

from maxmargin.verify.engine.native import factorizations, kernels
from maxmargin.verify.engine.native.graph import Graph, Meta, Node, Ref, UnsupportedError, references
from maxmargin.verify.engine.native.ir import BITS, MEMORY, REGISTER, Code, literal, suffix, vector
from maxmargin.verify.engine.native.reductions import largest_index, ranked, reduce
from maxmargin.verify.engine.native.values import (
    Apply,
    Known,
    Leaf,
    Value,
    assign,
    contiguous,
    evaluate,
    reshaped_strides,
    restride,
)  # fmt: skip

aten = torch.ops.aten
DTYPES = frozenset(REGISTER)
Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}
VIEWS: set[Any] = set()
ONCE: set[Any] = set()
"""Operators that read every number of their arguments once, so that these need not be stored first."""


def rule(*targets: Any, once: bool = False, view: bool = False) -> Callable[[Rule], Rule]:
    """Enter a function (lowering, result's meta, *arguments) → value into the table."""

    def put(function: Rule) -> Rule:
        for target in targets:
            RULES[target] = function
            if once or view:
                ONCE.add(target)
            if view:
                VIEWS.add(target)
        return function

    return put


class Lowering:
    """Writes a graph's operators into a function's code."""

    def __init__(self, code: Code) -> None:
        self.code = code

    def write(self, graph: Graph, inputs: Sequence[Value], outputs: Sequence[Leaf | None]) -> list[Value]:
        """Write the graph, and store its results where a place is given.

        Returns:
            The results; those without a place may be numbers in registers.

        Raises:
            UnsupportedError: naming what has no rule.
        """
        self.graph, self.values = graph, dict(zip((r.number for r in graph.inputs), inputs, strict=True))
        for number, constant in graph.constants.items():
            self.values[number] = self._constant(constant)
        uses: dict[Ref, list[Node | None]] = {}
        for node in graph.nodes:
            for ref in references(node):
                uses.setdefault(ref, []).append(node)
        for ref in graph.outputs:
            uses.setdefault(ref, []).append(None)
        for ref in (*graph.inputs, *graph.outputs):
            if graph.metas[ref.number].dtype in BITS:
                raise UnsupportedError(f"an argument or a result in {graph.metas[ref.number].dtype}")
        for node in graph.nodes:
            self._node(node, uses)
        results = [self.values[ref.number] for ref in graph.outputs]
        for value, place in zip(results, outputs, strict=True):
            if place is not None:
                assign(self.code, [place], value)
        return results

    def _node(self, node: Node, uses: dict[Ref, list[Node | None]]) -> None:
        metas = [self.graph.metas[out.number] for out in node.outputs if out is not None]
        bad = next((m.dtype for m in metas if m.dtype not in DTYPES), None)
        if node.target not in RULES or bad is not None:
            raise UnsupportedError(str(node.target) + (f" in {bad}" if bad is not None else ""))
        args = [self._taken(a) for a in node.args]
        kwargs = {k: self._taken(a) for k, a in node.kwargs.items()}
        self.wanted = [out is not None for out in node.outputs]
        found = RULES[node.target](self, metas[0] if metas else None, *args, **kwargs)
        for out, value in zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=True):
            if out is None:
                continue
            if value.dtype in BITS and node.target not in VIEWS:
                value = Value(value.shape, Apply(_rounded(value.dtype), (value.tree,), value.dtype))
            meta = self.graph.metas[out.number]
            if value.shape != meta.shape or value.dtype != meta.dtype:
                raise UnsupportedError(f"{node.target}, whose result came out as {value.shape} instead of {meta}")
            self.values[out.number] = value if self._lazy(out, meta, uses.get(out, [])) else self.stored(value)

    def _lazy(self, out: Ref, meta: Meta, users: list[Node | None]) -> bool:
        """Whether one place reads each of the value's numbers at most once."""
        if len(users) != 1 or meta.shape == ():
            return False
        node = users[0]
        if node is None:
            return True
        first = next(out for out in node.outputs if out is not None)
        result = self.graph.metas[first.number]
        return node.target in ONCE and (node.target not in POINTWISE or prod(result.shape) == prod(meta.shape))

    def _taken(self, argument: Any) -> Any:
        if isinstance(argument, Ref):
            return self.values[argument.number]
        return [self._taken(a) for a in argument] if isinstance(argument, (list, tuple)) else argument

    def _constant(self, x: Tensor) -> Value:
        if x.dtype not in DTYPES:
            raise UnsupportedError(f"a constant in {x.dtype}")
        if x.ndim == 0:
            return Value((), Known(literal(x.item(), x.dtype), x.dtype))
        kind = MEMORY[x.dtype]
        numbers = ", ".join(
            f"{kind} {literal(v, x.dtype)}" for v in x.to(torch.int64 if kind == "i8" else x.dtype).flatten().tolist()
        )
        name = f"@{self.code.stem}constant{len(self.code.globals)}"
        self.code.globals.append(f"{name} = private constant [{x.numel()} x {kind}] [{numbers}], align 64")
        return Value(tuple(x.shape), Leaf(name, 0, contiguous(tuple(x.shape)), x.dtype))

    def stored(self, value: Value) -> Value:
        """The value as memory, or as a number in a register where it is one."""
        if isinstance(value.tree, (Leaf, Known)):
            return value
        if value.shape == ():
            return Value((), Known(evaluate(self.code, value.tree, ()), value.dtype))
        place = self.space(value.shape, value.dtype)
        assign(self.code, [place.tree], value)
        return place

    def memory(self, value: Value) -> Value:
        """The value as memory, a single number too."""
        if isinstance(value.tree, Leaf):
            return value
        place = self.space(value.shape, value.dtype)
        assign(self.code, [place.tree], value)
        return place

    def space(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Value:
        """New memory for a tensor."""
        base = self.code.scratch(prod(shape), MEMORY[dtype])
        return Value(shape, Leaf(base, 0, contiguous(shape), dtype))


def _rounded(dtype: torch.dtype) -> Callable[..., str]:
    """To the nearest number of a shorter kind, ties to even; exponents are not limited."""
    dropped = 52 - BITS[dtype]

    def build(code: Code, width: int, x: str) -> str:
        kind, whole = vector("double", width), vector("i64", width)

        def number(value: int) -> str:
            return code.splat(str(value), "i64", width)

        bits = code.op(f"bitcast {kind} {x} to {whole}")
        odd = code.op(f"and {whole} {code.op(f'lshr {whole} {bits}, {number(dropped)}')}, {number(1)}")
        more = code.op(f"add {whole} {odd}, {number((1 << (dropped - 1)) - 1)}")
        cut = code.op(f"and {whole} {code.op(f'add {whole} {bits}, {more}')}, {number(-(1 << dropped))}")
        near = code.op(f"bitcast {whole} {cut} to {kind}")
        none = code.op(f"fcmp uno {kind} {x}, {x}")
        return _select(code, width, none, "double", x, near)

    return build


# ---- values from Python numbers, kinds, shapes


def _value(x: Any, dtype: torch.dtype) -> Value:
    return x if isinstance(x, Value) else Value((), Known(literal(x, dtype), dtype))


def cast(value: Value, dtype: torch.dtype) -> Value:
    """The value in another kind of number."""
    if value.dtype == dtype:
        return value
    if isinstance(value.tree, Known) and not value.tree.name.startswith("%"):
        number = value.tree.name
        if dtype == torch.float64 and value.dtype == torch.int64:
            return Value(value.shape, Known(literal(int(number), dtype), dtype))
    source, target = REGISTER[value.dtype], REGISTER[dtype]
    if source == target == "double":  # rounding comes with the operator
        return Value(value.shape, Apply(lambda code, width, x: x, (value.tree,), dtype))

    def build(code: Code, width: int, x: str) -> str:
        a, b = vector(source, width), vector(target, width)
        if dtype == torch.bool:
            zero = "zeroinitializer" if width > 1 else literal(0, value.dtype)
            compare = "fcmp une" if source == "double" else "icmp ne"
            return code.op(f"{compare} {a} {x}, {zero}")
        how = {"i1i64": "zext", "i1double": "uitofp", "i64double": "sitofp", "doublei64": "fptosi"}[source + target]
        return code.op(f"{how} {a} {x} to {b}")

    return Value(value.shape, Apply(build, (value.tree,), dtype))


def expanded(value: Value, shape: Sequence[int]) -> Value:
    """Broadcast to a shape, as torch aligns them."""
    extra = len(shape) - len(value.shape)

    def change(leaf: Leaf) -> Leaf:
        strides = [0] * extra + [
            0 if old == 1 and new != 1 else s
            for old, new, s in zip(value.shape, shape[extra:], leaf.strides, strict=True)
        ]
        return replace(leaf, strides=tuple(strides))

    return Value(tuple(shape), restride(value.tree, change))


def pointwise(meta: Meta, build: Callable[..., str], *args: Any, kind: torch.dtype | None = None) -> Value:
    """An operation number by number, in the kind that torch promotes its arguments to."""
    values = [a for a in args if isinstance(a, Value)]
    if kind is None:
        kind = meta.dtype if meta.dtype != torch.bool else _promoted(args)
    trees = tuple(expanded(cast(_value(a, kind), kind), meta.shape).tree for a in args)
    del values
    return Value(meta.shape, Apply(build, trees, meta.dtype))


def _promoted(args: Sequence[Any]) -> torch.dtype:
    kinds = [a.dtype if isinstance(a, Value) else torch.tensor(a).dtype for a in args]
    if any(k.is_floating_point for k in kinds):
        return torch.float64  # comparisons do not care which
    return torch.int64 if torch.int64 in kinds else torch.bool


# ---- pointwise operators


def _intrinsic(name: str) -> Callable[..., str]:
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
            out = code.op(
                f"insertelement {whole} {out}, double {code.call(name, 'double', *[('double', x) for x in each])}, i64 {i}"
            )
        return out

    return build


def _binary(double: str, whole: str = "") -> Callable[[torch.dtype], Callable[..., str]]:
    def of(dtype: torch.dtype) -> Callable[..., str]:
        kind = REGISTER[dtype]

        def build(code: Code, width: int, a: str, b: str) -> str:
            return code.op(f"{double if kind == 'double' else whole} {vector(kind, width)} {a}, {b}")

        return build

    return of


_add, _sub, _mul = _binary("fadd", "add"), _binary("fsub", "sub"), _binary("fmul", "mul")
_div = _binary("fdiv")


def _select(code: Code, width: int, condition: str, kind: str, a: str, b: str) -> str:
    return code.op(f"select {vector('i1', width)} {condition}, {vector(kind, width)} {a}, {vector(kind, width)} {b}")


def _constant(code: Code, width: int, value: float) -> str:
    return code.splat(literal(value, torch.float64), "double", width)


def _clamped(compare: str) -> Callable[..., str]:
    """Keep x unless it compares so with the bound: NaN stays NaN."""

    def build(code: Code, width: int, x: str, bound: str) -> str:
        beyond = code.op(f"fcmp {compare} {vector('double', width)} {x}, {bound}")
        return _select(code, width, beyond, "double", bound, x)

    return build


def _extreme(compare: str) -> Callable[..., str]:
    """The larger or smaller of two; NaN if either is."""

    def build(code: Code, width: int, a: str, b: str) -> str:
        kind = vector("double", width)
        first = code.op(f"fcmp {compare} {kind} {a}, {b}")
        first = code.op(f"or {vector('i1', width)} {first}, {code.op(f'fcmp uno {kind} {a}, {a}')}")
        return _select(code, width, first, "double", a, b)

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


def _power(exponent: float) -> Callable[..., str]:
    """x to a constant power: by products and roots where torch does so."""

    def build(code: Code, width: int, x: str) -> str:
        kind = vector("double", width)
        if exponent in (2.0, 3.0, -2.0):
            out = code.op(f"fmul {kind} {x}, {x}")
            out = code.op(f"fmul {kind} {out}, {x}") if exponent == 3.0 else out
            return _inverted(code, width, out) if exponent < 0 else out
        if abs(exponent) == 0.5:
            root = _intrinsic("sqrt")(code, width, x)
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
    apart = code.op(
        f"xor {vector('i1', width)} {code.op(f'fcmp olt {kind} {rest}, {zero}')}, {code.op(f'fcmp olt {kind} {b}, {zero}')}"
    )
    both = code.op(f"and {vector('i1', width)} {off}, {apart}")
    return _select(code, width, both, "double", code.op(f"fadd {kind} {rest}, {b}"), rest)


UNARY: dict[Any, Callable[..., str]] = {
    aten.abs.default: _intrinsic("fabs"),
    aten.neg.default: _negated,
    aten.exp.default: kernels.exp,
    aten.exp2.default: _libm("exp2"),
    aten.expm1.default: _libm("expm1"),
    aten.log.default: kernels.log,
    aten.log2.default: _libm("log2"),
    aten.log1p.default: kernels.log1p,
    aten.sqrt.default: _intrinsic("sqrt"),
    aten.rsqrt.default: lambda code, width, x: _inverted(code, width, _intrinsic("sqrt")(code, width, x)),
    aten.reciprocal.default: _inverted,
    aten.relu.default: lambda code, width, x: _clamped("olt")(code, width, x, _constant(code, width, 0.0)),
    aten.sign.default: _sign,
    aten.sgn.default: _sign,
    aten.floor.default: _intrinsic("floor"),
    aten.ceil.default: _intrinsic("ceil"),
    aten.round.default: _intrinsic("roundeven"),
    aten.tanh.default: _libm("tanh"),
    aten.sigmoid.default: lambda code, width, x: _inverted(
        code, width, code.op(
            f"fadd {vector('double', width)} {kernels.exp(code, width, _negated(code, width, x))}, "
            f"{_constant(code, width, 1.0)}"
        ),
    ),
}  # fmt: skip

COMPARISONS = {
    "eq": ("oeq", "eq"), "ne": ("une", "ne"), "gt": ("ogt", "sgt"), "ge": ("oge", "sge"), "lt": ("olt", "slt"),
    "le": ("ole", "sle"),
}  # fmt: skip

POINTWISE: set[Any] = set()


def _unary(target: Any, build: Callable[..., str]) -> None:
    POINTWISE.add(target)

    @rule(target, once=True)
    def lowered(self: Lowering, meta: Meta, x: Value) -> Value:
        del self
        if not meta.dtype.is_floating_point:
            raise UnsupportedError(f"{target} of {x.dtype}")
        return pointwise(meta, build, x)


for _target, _build in UNARY.items():
    _unary(_target, _build)


def point(*targets: Any) -> Callable[[Rule], Rule]:
    """A rule for an operator that works number by number."""
    POINTWISE.update(targets)
    return rule(*targets, once=True)


def _comparison(name: str) -> None:
    double, whole = COMPARISONS[name]
    packet = getattr(aten, name)

    @point(packet.Tensor, packet.Scalar)
    def lowered(self: Lowering, meta: Meta, a: Value, b: Any) -> Value:
        kind = _promoted((a, b))

        def build(code: Code, width: int, x: str, y: str) -> str:
            compare = f"fcmp {double}" if kind.is_floating_point else f"icmp {whole}"
            return code.op(f"{compare} {vector(REGISTER[kind], width)} {x}, {y}")

        del self
        return pointwise(meta, build, a, b, kind=kind)


for _name in COMPARISONS:
    _comparison(_name)


def _times(x: Any, alpha: Any, meta: Meta) -> Any:
    if alpha == 1:
        return x
    if not isinstance(x, Value):
        return x * alpha
    return pointwise(Meta(x.shape, meta.dtype), _mul(meta.dtype), x, alpha)


@point(aten.add.Tensor, aten.add.Scalar)
def _(self: Lowering, meta: Meta, a: Value, b: Any, alpha: Any = 1) -> Value:
    return pointwise(meta, _add(meta.dtype), a, _times(b, alpha, meta))


@point(aten.sub.Tensor, aten.sub.Scalar)
def _(self: Lowering, meta: Meta, a: Value, b: Any, alpha: Any = 1) -> Value:
    return pointwise(meta, _sub(meta.dtype), a, _times(b, alpha, meta))


@point(aten.rsub.Scalar, aten.rsub.Tensor)
def _(self: Lowering, meta: Meta, a: Value, b: Any, alpha: Any = 1) -> Value:
    return pointwise(meta, _sub(meta.dtype), b, _times(a, alpha, meta))


@point(aten.mul.Tensor, aten.mul.Scalar)
def _(self: Lowering, meta: Meta, a: Value, b: Any) -> Value:
    if meta.dtype == torch.bool:
        return pointwise(meta, _binary("", "and")(torch.bool), a, b, kind=torch.bool)
    return pointwise(meta, _mul(meta.dtype), a, b)


@point(aten.div.Tensor, aten.div.Scalar)
def _(self: Lowering, meta: Meta, a: Value, b: Any) -> Value:
    return pointwise(meta, _div(meta.dtype), a, b)


@point(aten.div.Tensor_mode, aten.div.Scalar_mode)
def _(self: Lowering, meta: Meta, a: Value, b: Any, rounding_mode: str | None = None) -> Value:
    if not meta.dtype.is_floating_point or rounding_mode not in ("floor", "trunc"):
        raise UnsupportedError(f"div with rounding_mode={rounding_mode} of {a.dtype}")

    def build(code: Code, width: int, x: str, y: str) -> str:
        kind = vector("double", width)
        if rounding_mode == "trunc":
            return _intrinsic("trunc")(code, width, code.op(f"fdiv {kind} {x}, {y}"))
        # As torch: from the remainder, so that the quotient is not rounded up first.
        rest = _remainder(code, width, x, y)
        whole = code.op(f"fdiv {kind} {code.op(f'fsub {kind} {x}, {rest}')}, {y}")
        return _intrinsic("roundeven")(code, width, whole)

    return pointwise(meta, build, a, b)


@point(aten.remainder.Scalar, aten.remainder.Tensor)
def _(self: Lowering, meta: Meta, a: Value, b: Any) -> Value:
    if not meta.dtype.is_floating_point:
        raise UnsupportedError(f"remainder of {a.dtype}")
    return pointwise(meta, _remainder, a, b)


@point(aten.maximum.default)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return pointwise(meta, _extreme("ogt"), a, b)


@point(aten.minimum.default)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return pointwise(meta, _extreme("olt"), a, b)


@point(aten.clamp.default, aten.clamp.Tensor)
def _(self: Lowering, meta: Meta, x: Value, min: Any = None, max: Any = None) -> Value:
    if not meta.dtype.is_floating_point:
        raise UnsupportedError(f"clamp of {x.dtype}")
    if min is not None:
        x = pointwise(meta, _clamped("olt"), x, min)
    return x if max is None else pointwise(meta, _clamped("ogt"), x, max)


@point(aten.clamp_min.default)
def _(self: Lowering, meta: Meta, x: Value, bound: Any) -> Value:
    return pointwise(meta, _clamped("olt"), x, bound)


@point(aten.clamp_max.default)
def _(self: Lowering, meta: Meta, x: Value, bound: Any) -> Value:
    return pointwise(meta, _clamped("ogt"), x, bound)


@point(aten.hypot.default)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return pointwise(meta, kernels.hypot, a, b)


@point(aten.copysign.Tensor)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return pointwise(meta, _intrinsic("copysign"), a, b)


@point(aten.pow.Tensor_Scalar)
def _(self: Lowering, meta: Meta, x: Value, exponent: float) -> Value:
    return pointwise(meta, _power(float(exponent)), x)


@point(aten.pow.Scalar, aten.pow.Tensor_Tensor)
def _(self: Lowering, meta: Meta, base: Any, exponent: Value) -> Value:
    return pointwise(meta, _libm("pow"), base, exponent)


@point(aten.bitwise_and.Tensor, aten.logical_and.default)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return pointwise(meta, _binary("", "and")(meta.dtype), a, b, kind=meta.dtype)


@point(aten.bitwise_or.Tensor, aten.logical_or.default)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return pointwise(meta, _binary("", "or")(meta.dtype), a, b, kind=meta.dtype)


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
    parts = [expanded(cast(_value(x, meta.dtype), meta.dtype), meta.shape).tree for x in (a, b)]

    def build(code: Code, width: int, c: str, x: str, y: str) -> str:
        return _select(code, width, c, kind, x, y)

    chosen = expanded(cast(condition, torch.bool), meta.shape).tree
    return Value(meta.shape, Apply(build, (chosen, *parts), meta.dtype))


@point(aten.addcmul.default)
def _(self: Lowering, meta: Meta, x: Value, a: Value, b: Value, value: float = 1) -> Value:
    product = pointwise(meta, _mul(meta.dtype), _times(a, value, meta), b)
    return pointwise(meta, _add(meta.dtype), x, product)


@point(aten._to_copy.default)
def _(self: Lowering, meta: Meta, x: Value, **_options: Any) -> Value:
    return cast(x, meta.dtype)


@point(
    aten.detach.default, aten.clone.default, aten.alias.default, aten.lift_fresh.default, aten.lift_fresh_copy.default
)
def _(self: Lowering, meta: Meta, x: Value, **_options: Any) -> Value:
    return x


# ---- tensors of one number


@rule(aten.zeros.default, aten.new_zeros.default, aten.zeros_like.default)
def _(self: Lowering, meta: Meta, *_args: Any, **_options: Any) -> Value:
    return Value(meta.shape, Known(literal(0, meta.dtype), meta.dtype))


@rule(aten.ones.default, aten.new_ones.default, aten.ones_like.default)
def _(self: Lowering, meta: Meta, *_args: Any, **_options: Any) -> Value:
    return Value(meta.shape, Known(literal(1, meta.dtype), meta.dtype))


@rule(aten.full.default, aten.full_like.default)
def _(self: Lowering, meta: Meta, _like: Any, value: Any, *_args: Any, **_options: Any) -> Value:
    return Value(meta.shape, Known(literal(value, meta.dtype), meta.dtype))


@rule(aten.new_full.default)
def _(self: Lowering, meta: Meta, _like: Any, _size: Any, value: Any, **_options: Any) -> Value:
    return Value(meta.shape, Known(literal(value, meta.dtype), meta.dtype))


@rule(aten.scalar_tensor.default)
def _(self: Lowering, meta: Meta, value: Any, **_options: Any) -> Value:
    return Value((), Known(literal(value, meta.dtype), meta.dtype))


@rule(aten.arange.default, aten.arange.start, aten.arange.start_step)
def _(self: Lowering, meta: Meta, *args: Any, **_options: Any) -> Value:
    return self._constant(torch.arange(*args, dtype=meta.dtype))


@rule(aten.eye.default, aten.eye.m)
def _(self: Lowering, meta: Meta, *args: Any, **_options: Any) -> Value:
    return self._constant(torch.eye(*args, dtype=meta.dtype))


# ---- views


def _viewed(value: Value, shape: Sequence[int], change: Callable[[Leaf], Leaf]) -> Value:
    return Value(tuple(shape), restride(value.tree, change))


@rule(aten.view.default, aten._unsafe_view.default, view=True)
def _(self: Lowering, meta: Meta, x: Value, _shape: Any) -> Value:
    def fits(tree: Any) -> bool:
        if isinstance(tree, Leaf):
            return reshaped_strides(x.shape, tree.strides, meta.shape) is not None
        return all(fits(p) for p in tree.parts) if isinstance(tree, Apply) else True

    if not fits(x.tree):
        place = self.space(x.shape, x.dtype)
        assign(self.code, [place.tree], x)
        x = place
    return _viewed(
        x, meta.shape, lambda leaf: replace(leaf, strides=reshaped_strides(x.shape, leaf.strides, meta.shape))
    )


@rule(aten.permute.default, view=True)
def _(self: Lowering, meta: Meta, x: Value, order: Sequence[int]) -> Value:
    order = [d % len(x.shape) for d in order]
    return _viewed(x, meta.shape, lambda leaf: replace(leaf, strides=tuple(leaf.strides[d] for d in order)))


@rule(aten.transpose.int, view=True)
def _(self: Lowering, meta: Meta, x: Value, a: int, b: int) -> Value:
    order = list(range(len(x.shape)))
    if order:
        order[a], order[b] = order[b], order[a]
    return _viewed(x, meta.shape, lambda leaf: replace(leaf, strides=tuple(leaf.strides[d] for d in order)))


@rule(aten.t.default, view=True)
def _(self: Lowering, meta: Meta, x: Value) -> Value:
    return _viewed(x, meta.shape, lambda leaf: replace(leaf, strides=leaf.strides[::-1]))


@rule(aten.expand.default)
def _(self: Lowering, meta: Meta, x: Value, _shape: Any, **_options: Any) -> Value:
    return expanded(x, meta.shape)


@rule(aten.select.int, view=True)
def _(self: Lowering, meta: Meta, x: Value, dim: int, index: int) -> Value:
    dim, index = dim % len(x.shape), index % x.shape[dim]

    def change(leaf: Leaf) -> Leaf:
        s = leaf.strides
        return replace(leaf, offset=leaf.offset + index * s[dim], strides=s[:dim] + s[dim + 1 :])

    return _viewed(x, meta.shape, change)


@rule(aten.slice.Tensor, view=True)
def _(
    self: Lowering, meta: Meta, x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    dim %= len(x.shape)
    first = range(x.shape[dim])[slice(start, end, step)]

    def change(leaf: Leaf) -> Leaf:
        s = leaf.strides
        begin = first.start if len(first) else 0
        return replace(leaf, offset=leaf.offset + begin * s[dim], strides=(*s[:dim], s[dim] * step, *s[dim + 1 :]))

    return _viewed(x, meta.shape, change)


@rule(aten.unsqueeze.default, view=True)
def _(self: Lowering, meta: Meta, x: Value, dim: int) -> Value:
    dim %= len(x.shape) + 1
    return _viewed(x, meta.shape, lambda leaf: replace(leaf, strides=(*leaf.strides[:dim], 0, *leaf.strides[dim:])))


@rule(aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default, view=True)
def _(self: Lowering, meta: Meta, x: Value, dim: Any = None) -> Value:
    rank = len(x.shape)
    asked = range(rank) if dim is None else [d % rank for d in ([dim] if isinstance(dim, int) else dim)] if rank else []
    kept = [d for d in range(rank) if d not in asked or x.shape[d] != 1]
    return _viewed(x, meta.shape, lambda leaf: replace(leaf, strides=tuple(leaf.strides[d] for d in kept)))


@rule(aten.diagonal.default, view=True)
def _(self: Lowering, meta: Meta, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    rank = len(x.shape)
    a, b = dim1 % rank, dim2 % rank
    kept = [d for d in range(rank) if d not in (a, b)]

    def change(leaf: Leaf) -> Leaf:
        s = leaf.strides
        start = leaf.offset + (offset * s[b] if offset >= 0 else -offset * s[a])
        return replace(leaf, offset=start, strides=(*(s[d] for d in kept), s[a] + s[b]))

    return _viewed(x, meta.shape, change)


@rule(aten.unbind.int)
def _(self: Lowering, meta: Meta, x: Value, dim: int = 0) -> tuple[Value, ...]:
    x = self.stored(x)
    return tuple(RULES[aten.select.int](self, meta, x, dim, i) for i in range(x.shape[dim]))


@rule(aten.split.Tensor, aten.split_with_sizes.default)
def _(self: Lowering, meta: Meta, x: Value, size: Any, dim: int = 0) -> tuple[Value, ...]:
    x, dim = self.stored(x), dim % len(x.shape)
    total = x.shape[dim]
    sizes = [min(size, total - i) for i in range(0, total, size)] if isinstance(size, int) else size
    out, at = [], 0
    for n in sizes:
        part = Meta((*x.shape[:dim], n, *x.shape[dim + 1 :]), x.dtype)
        out.append(RULES[aten.slice.Tensor](self, part, x, dim, at, at + n))
        at += n
    return tuple(out)


# ---- joined, gathered


def _joined(self: Lowering, meta: Meta, parts: Sequence[Value], dim: int) -> Value:
    place = self.space(meta.shape, meta.dtype)
    leaf, at = place.tree, 0
    for part in parts:
        if part.numel:
            start = leaf.offset + at * leaf.strides[dim]
            assign(self.code, [replace(leaf, offset=start)], cast(part, meta.dtype))
            at += part.shape[dim]
    return place


@rule(aten.cat.default, once=True)
def _(self: Lowering, meta: Meta, parts: Sequence[Value], dim: int = 0) -> Value:
    return _joined(self, meta, [p for p in parts if p.numel], dim % len(meta.shape))


@rule(aten.stack.default, once=True)
def _(self: Lowering, meta: Meta, parts: Sequence[Value], dim: int = 0) -> Value:
    dim %= len(meta.shape)
    one = Meta((*meta.shape[:dim], 1, *meta.shape[dim + 1 :]), meta.dtype)
    return _joined(self, meta, [RULES[aten.unsqueeze.default](self, one, p, dim) for p in parts], dim)


@rule(aten.index_select.default)
def _(self: Lowering, meta: Meta, x: Value, dim: int, index: Value) -> Value:
    return kernels.gathered(self, meta, self.memory(x), dim % len(x.shape), self.memory(index))


# ---- reductions


@rule(aten.sum.default, aten.sum.dim_IntList, once=True)
def _(self: Lowering, meta: Meta, x: Value, dim: Any = None, keepdim: bool = False, **_options: Any) -> Value:
    return reduce(self, "sum", cast(x, meta.dtype), dim, keepdim)


@rule(aten.mean.default, aten.mean.dim, once=True)
def _(self: Lowering, meta: Meta, x: Value, dim: Any = None, keepdim: bool = False, **_options: Any) -> Value:
    total = reduce(self, "sum", x, dim, keepdim)
    return pointwise(meta, _div(meta.dtype), total, x.numel / max(total.numel, 1))


@rule(aten.amax.default, aten.max.default, once=True)
def _(self: Lowering, meta: Meta, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce(self, "max", x, dim, keepdim)


@rule(aten.amin.default, aten.min.default, once=True)
def _(self: Lowering, meta: Meta, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce(self, "min", x, dim, keepdim)


@rule(aten.any.default, aten.any.dim, aten.any.dims, once=True)
def _(self: Lowering, meta: Meta, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce(self, "any", cast(x, torch.bool), dim, keepdim)


@rule(aten.all.default, aten.all.dim, aten.all.dims, once=True)
def _(self: Lowering, meta: Meta, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return reduce(self, "all", cast(x, torch.bool), dim, keepdim)


@rule(aten.linalg_vector_norm.default, once=True)
def _(
    self: Lowering, meta: Meta, x: Value, ord: float = 2, dim: Any = None, keepdim: bool = False, **_options: Any
) -> Value:
    entry = Meta(x.shape, torch.float64)
    if ord == 2:
        return pointwise(meta, _intrinsic("sqrt"), reduce(self, "squares", x, dim, keepdim))
    size = pointwise(entry, _intrinsic("fabs"), x)
    if ord in (1, inf, -inf):
        return reduce(self, {1: "sum", inf: "max", -inf: "min"}[ord], size, dim, keepdim)
    if ord == 0:
        raise UnsupportedError("linalg_vector_norm of order 0")
    total = reduce(self, "sum", pointwise(entry, _power(float(ord)), size), dim, keepdim)
    return pointwise(meta, _power(1.0 / ord), total)


@rule(aten.argmax.default)
def _(self: Lowering, meta: Meta, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    return largest_index(self, meta, self.memory(x), dim)


@rule(aten.topk.default)
def _(self: Lowering, meta: Meta, x: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    del sorted
    if len(x.shape) != 1 or k == 0:
        raise UnsupportedError("topk of several rows")
    return ranked(self, self.memory(x), k, largest)


# ---- products and factorizations


@rule(aten.mm.default)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return kernels.product(self, meta, a, b)


@rule(aten.bmm.default)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return kernels.batched_product(self, meta, a, b)


@rule(aten.mv.default)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    column = RULES[aten.unsqueeze.default](self, Meta((*b.shape, 1), b.dtype), self.memory(b), 1)
    found = kernels.product(self, Meta((*meta.shape, 1), meta.dtype), a, column)
    return RULES[aten.select.int](self, meta, found, 1, 0)


@rule(aten.dot.default, once=True)
def _(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    return reduce(self, "sum", pointwise(Meta(a.shape, a.dtype), _mul(meta.dtype), a, b), None, keepdim=False)


@rule(aten.addmm.default)
def _(self: Lowering, meta: Meta, x: Value, a: Value, b: Value, beta: float = 1, alpha: float = 1) -> Value:
    found = kernels.product(self, meta, a, b)
    return pointwise(meta, _add(meta.dtype), _times(x, beta, meta), _times(found, alpha, meta))


@rule(torch.ops.maxmargin.polar.default)
def _(self: Lowering, meta: Meta, x: Value) -> Value:
    return factorizations.polar(self, meta, x)


@rule(aten._linalg_svd.default)
def _(
    self: Lowering, meta: Meta, x: Value, full_matrices: bool = False, compute_uv: bool = True, **_options: Any
) -> Any:
    if x.dtype != torch.float64 or (full_matrices and compute_uv and x.shape[-1] != x.shape[-2]):
        raise UnsupportedError(f"a full singular value decomposition of {x.shape} {x.dtype}")
    if compute_uv and (self.wanted[0] or self.wanted[2]):
        return factorizations.svd(self, x)
    nothing = Value((0,), Known(literal(0.0, torch.float64), torch.float64))
    return nothing, factorizations.singular_values(self, x), nothing
