"""Sums, maxima and the like over some axes of a tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf, prod
from typing import TYPE_CHECKING, Any

import torch

from maxmargin.verify.engine.native.graph import Meta, UnsupportedError
from maxmargin.verify.engine.native.ir import REGISTER, Code, literal, pieces, suffix, vector
from maxmargin.verify.engine.native.values import (
    Known,
    Leaf,
    Value,
    assign,
    collapsed,
    evaluate,
    leaves,
    nest,
    put,
    restride,
)

if TYPE_CHECKING:
    from maxmargin.verify.engine.native.lowering import Lowering

# A first value, and the intrinsic or instruction that joins two.
_KINDS: dict[str, tuple[float, str]] = {
    "sum": (0.0, "fadd"), "squares": (0.0, "fadd"), "max": (-inf, "fmaximum"), "min": (inf, "fminimum"),
    "any": (0, "or"), "all": (1, "and"),
}  # fmt: skip


def reduce(self: Lowering, how: str, x: Value, dim: Any, keepdim: bool) -> Value:
    """Write a reduction: ``sum``, ``squares`` (their sum), ``max``, ``min`` (NaN stays NaN), ``any`` or ``all``.

    Args:
        self: Where to write.
        how: Which.
        x: The tensor.
        dim: An axis, several, or None for all.
        keepdim: Whether reduced axes stay, of length 1.

    Returns:
        A number in a register, or memory.
    """
    code, rank = self.code, len(x.shape)
    axes = (
        list(range(rank)) if dim is None or dim == [] else [d % rank for d in ([dim] if isinstance(dim, int) else dim)]
    )
    kept = [d for d in range(rank) if d not in axes]
    shape = tuple((1 if d in axes else n) for d, n in enumerate(x.shape) if keepdim or d not in axes)
    fold = _Fold(code, how, x.dtype)
    ordered = restride(x.tree, lambda leaf: replace(leaf, strides=tuple(leaf.strides[d] for d in (*kept, *axes))))
    outer, inner = tuple(x.shape[d] for d in kept), tuple(x.shape[d] for d in axes)

    def reduced(tree: Any, sizes: tuple[int, ...]) -> str:
        """All of a tree to one number."""
        if prod(sizes) == 0:
            return fold.first(1)
        sizes, (tree,) = collapsed(sizes, [tree])
        return fold.all_of(sizes, lambda at, width: evaluate(code, tree, at, width))

    if prod(outer) == 1:
        alone = restride(ordered, lambda leaf: replace(leaf, strides=leaf.strides[len(kept) :]))
        found = reduced(alone, inner)
        return Value(shape, Known(found, x.dtype))
    place = self.space(shape, x.dtype)
    if place.numel == 0:
        return place
    target = replace(place.tree, strides=tuple(s for d, s in _kept_strides(place, x, axes, keepdim)))
    down = any(leaf.strides[len(kept) - 1] == 1 for leaf in leaves(ordered)) and prod(inner) > 0

    if down:  # vectors along the last kept axis, a loop over what is reduced inside
        turned = restride(ordered, partial(_moved_last, axis=len(kept) - 1))

        def column(at: list[str], last: str, width: int, own: list[str]) -> str:
            return evaluate(code, turned, [*at, *own, last], width)

        def columns(at: list[str]) -> None:
            for first, count, width in pieces(outer[-1]):
                with code.loop(count * width, step=width) as loop:
                    last = code.offset([(loop.index, 1)], first)
                    got = fold.over(inner, partial(column, at, last, width), width)
                    put(code, got, target, [*at, last], width)

        nest(code, outer[:-1], columns)
        return place

    def rows(at: list[str]) -> None:
        if prod(inner) == 0:
            put(code, fold.first(1), target, at)
            return
        got = fold.all_of(inner, lambda own, width: evaluate(code, ordered, [*at, *own], width))
        put(code, got, target, at)

    nest(code, outer, rows)
    return place


def _moved_last(leaf: Leaf, axis: int) -> Leaf:
    return replace(leaf, strides=(*leaf.strides[:axis], *leaf.strides[axis + 1 :], leaf.strides[axis]))


def _kept_strides(place: Value, x: Value, axes: Sequence[int], keepdim: bool) -> list[tuple[int, int]]:
    strides = place.tree.strides
    if keepdim:
        return [(d, s) for d, s in enumerate(strides) if d not in axes]
    return list(zip([d for d in range(len(x.shape)) if d not in axes], strides, strict=True))


class _Fold:
    """Joins values two by two."""

    def __init__(self, code: Code, how: str, dtype: torch.dtype) -> None:
        self.code, self.how, self.dtype, self.kind = code, how, dtype, REGISTER[dtype]
        first, self.name = _KINDS[how]
        if self.kind != "double" and how in ("sum", "max", "min"):
            if how != "sum":
                raise UnsupportedError(f"{how} of {dtype}")
            self.name = "add"
        self._first = first

    def first(self, width: int) -> str:
        return self.code.splat(literal(self._first, self.dtype), self.kind, width)

    def join(self, a: str, b: str, width: int) -> str:
        kind = vector(self.kind, width)
        if self.name in ("fmaximum", "fminimum"):
            return self.code.call(f"llvm.{self.name[1:]}.{suffix('double', width)}", kind, (kind, a), (kind, b))
        return self.code.op(f"{self.name} {kind} {a}, {b}")

    def one(self, value: str, width: int) -> str:
        return self.code.op(f"fmul {vector('double', width)} {value}, {value}") if self.how == "squares" else value

    def across(self, value: str, width: int) -> str:
        """A vector's numbers to one."""
        if width == 1:
            return value
        kind, short = vector(self.kind, width), suffix(self.kind, width)
        name = f"llvm.vector.reduce.{self.name}.{short}"
        if self.name == "fadd":
            self.code.declared.add(f"declare double @{name}(double, {kind})")
            return self.code.op(f"call reassoc double @{name}(double -0.0, {kind} {value})")
        return self.code.call(name, self.kind, (kind, value))

    def over(self, sizes: Sequence[int], get: Callable[[list[str]], str], width: int) -> str:
        """Loops over axes that join what ``get`` writes at an index."""
        kind = vector(self.kind, width)

        def level(rest: Sequence[int], at: list[str], before: str) -> str:
            if not rest:
                return self.join(before, self.one(get(at), width), width)
            with self.code.loop(rest[0], [(kind, before)]) as loop:
                loop.next = [level(rest[1:], [*at, loop.index], loop.carried[0])]
            return loop.next[0]

        return level(sizes, [], self.first(width))

    def all_of(self, sizes: Sequence[int], get: Callable[[list[str], int], str]) -> str:
        """Everything to one number, vectors along the last axis."""
        if not sizes:
            return self.join(self.first(1), self.one(get([], 1), 1), 1)
        total = ""
        for first, count, width in pieces(sizes[-1]):
            # Axes outside, vectors of one width inside.
            def part(at: list[str], w: int = width, f: int = first) -> str:
                return get([*at[:-1], self.code.offset([(at[-1], 1)], f)], w)

            kind = vector(self.kind, width)

            def level(
                rest: Sequence[int], at: list[str], before: str, w: int = width, n: int = count, k: str = kind
            ) -> str:
                size, step = (n * w, w) if len(rest) == 1 else (rest[0], 1)
                with self.code.loop(size, [(k, before)], step=step) as loop:
                    here = [*at, loop.index]
                    loop.next = [
                        level(rest[1:], here, loop.carried[0])
                        if len(rest) > 1
                        else self.join(loop.carried[0], self.one(part(here), w), w)
                    ]
                return loop.next[0]

            got = self.across(level(sizes, [], self.first(width)), width)
            total = self.join(total, got, 1) if total else got
        return total


def ranked(self: Lowering, x: Value, count: int, largest: bool) -> tuple[Value, Value]:
    """Return the ``count`` largest or smallest numbers of a row, in order, and their places; of equal ones the first.

    By one walk for each of them: a row is looked at once in eight steps at most, and is some hundred numbers long.
    """
    code, taken = self.code, self.space(x.shape, torch.bool)
    values, places = self.space((count,)), self.space((count,), torch.int64)
    assign(code, [taken.tree], Value(x.shape, Known("false", torch.bool)))
    leaf: Leaf = x.tree
    worst = literal(-inf if largest else inf, torch.float64)
    with code.loop(count) as turn:
        with code.loop(x.numel, [("i64", "-1"), ("double", worst)]) as walk:
            now = code.load(code.at(leaf.base, code.offset([(walk.index, leaf.strides[0])], leaf.offset)))
            free = code.load(code.at(taken.tree.base, walk.index, "i8"), "i8")
            free = code.op(f"icmp eq i8 {free}, 0")
            # NaN is larger than any number, as torch orders them.
            beats = code.op(f"fcmp {'ugt' if largest else 'olt'} double {now}, {walk.carried[1]}")
            first = code.op(f"icmp slt i64 {walk.carried[0]}, 0")
            better = code.op(f"and i1 {free}, {code.op(f'or i1 {beats}, {first}')}")
            walk.next = [
                code.op(f"select i1 {better}, i64 {walk.index}, i64 {walk.carried[0]}"),
                code.op(f"select i1 {better}, double {now}, double {walk.carried[1]}"),
            ]
        code.store("1", code.at(taken.tree.base, walk.next[0], "i8"), "i8")
        code.store(walk.next[1], code.at(values.tree.base, turn.index))
        code.store(walk.next[0], code.at(places.tree.base, turn.index, "i64"), "i64")
    return values, places


def largest_index(self: Lowering, meta: Meta, x: Value, dim: int | None) -> Value:
    """The place of the largest number; of the first one where several are, of a NaN where there is one."""
    if not (dim is None or len(x.shape) == 1) or not x.dtype.is_floating_point or x.numel == 0:
        raise UnsupportedError("argmax along one of several axes")
    code = self.code
    flat = self.space(x.shape)
    assign(code, [flat.tree], x)
    base: Leaf = flat.tree
    with code.loop(x.numel, [("i64", "0"), ("double", literal(-inf, torch.float64))]) as loop:
        now = code.load(code.at(base.base, loop.index))
        more = code.op(f"fcmp ugt double {now}, {loop.carried[1]}")
        settled = code.op(f"fcmp ord double {loop.carried[1]}, {loop.carried[1]}")
        more = code.op(f"and i1 {more}, {settled}")
        loop.next = [
            code.op(f"select i1 {more}, i64 {loop.index}, i64 {loop.carried[0]}"),
            code.op(f"select i1 {more}, double {now}, double {loop.carried[1]}"),
        ]
    return Value(meta.shape, Known(loop.next[0], torch.int64))
