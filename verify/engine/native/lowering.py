"""From recorded operators to LLVM IR: the table of rules, and what walks over a graph with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from maxmargin.verify.engine.native.graph import Graph, Meta, Node, Ref, UnsupportedError, references
from maxmargin.verify.engine.native.ir import BITS, MEMORY, REGISTER, Code, literal, vector
from maxmargin.verify.engine.native.values import (
    Apply,
    Known,
    Leaf,
    Value,
    assign,
    contiguous,
    evaluate,
    restride,
)  # fmt: skip

aten = torch.ops.aten
DTYPES = frozenset(REGISTER)
Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}
POINTWISE: set[Any] = set()
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
        plain = x.to(torch.int64) if kind == "i8" else x
        numbers = ", ".join(f"{kind} {literal(v, plain.dtype)}" for v in plain.flatten().tolist())
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
        return select(code, width, none, "double", x, near)

    return build


# ---- values from Python numbers, kinds, shapes


def as_value(x: Any, dtype: torch.dtype) -> Value:
    """A tensor, or a Python number as one."""
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
    if kind is None:
        kind = meta.dtype if meta.dtype != torch.bool else promoted(args)
    trees = tuple(expanded(cast(as_value(a, kind), kind), meta.shape).tree for a in args)
    return Value(meta.shape, Apply(build, trees, meta.dtype))


def promoted(args: Sequence[Any]) -> torch.dtype:
    """The kind in which torch compares or joins them."""
    kinds = [a.dtype if isinstance(a, Value) else torch.tensor(a).dtype for a in args]
    if any(k.is_floating_point for k in kinds):
        return torch.float64  # comparisons do not care which
    return torch.int64 if torch.int64 in kinds else torch.bool


def select(code: Code, width: int, condition: str, kind: str, a: str, b: str) -> str:
    """Write a where the condition holds, b elsewhere."""
    return code.op(f"select {vector('i1', width)} {condition}, {vector(kind, width)} {a}, {vector(kind, width)} {b}")
