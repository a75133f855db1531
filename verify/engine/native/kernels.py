"""Matrix products and gathers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from maxmargin.verify.engine.native.graph import Meta, UnsupportedError
from maxmargin.verify.engine.native.ir import MEMORY, Code, literal, pieces, suffix, vector
from maxmargin.verify.engine.native.values import Known, Leaf, Value, assign, nest, put

if TYPE_CHECKING:
    from maxmargin.verify.engine.native.lowering import Lowering

COLUMNS = 4
"""Vectors of a row of a product that are accumulated at once."""


def product(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    """The matrix product of (m, k) and (k, n)."""
    if not meta.dtype.is_floating_point:
        raise UnsupportedError(f"a product in {meta.dtype}")
    place = self.space(meta.shape, meta.dtype)
    return Value(meta.shape, multiply(self, place.tree, self.memory(a), self.memory(b)))


def batched_product(self: Lowering, meta: Meta, a: Value, b: Value) -> Value:
    """Products of (B, m, k) and (B, k, n), one after the other."""
    if not meta.dtype.is_floating_point:
        raise UnsupportedError(f"a product in {meta.dtype}")
    place = self.space(meta.shape, meta.dtype)
    a, b = self.memory(a), self.memory(b)
    code = self.code
    if meta.shape[0] == 0:
        return place
    with code.loop(meta.shape[0]) as loop:

        def at(leaf: Leaf) -> Leaf:
            where = code.offset([(loop.index, leaf.strides[0])], leaf.offset)
            return Leaf(code.at(leaf.base, where), 0, leaf.strides[1:], leaf.dtype)

        parts = [Value(x.shape[1:], at(x.tree)) for x in (a, b)]
        multiply(self, at(place.tree), *parts)
    return place


def multiply(self: Lowering, out: Leaf, a: Value, b: Value) -> Leaf:
    """Write a product's loops into ``out`` or, where that is faster, its transpose; return where the product is."""
    (m, k), n = a.shape, b.shape[1]
    if m * n == 0:
        return out
    if k == 0:
        assign(self.code, [out], Value((m, n), Known(literal(0.0, torch.float64), torch.float64)))
        return out
    by_rows = m * k * _vectors(n) + (0 if b.tree.strides[1] == 1 or n == 1 else n * k)
    by_columns = n * k * _vectors(m) + (0 if a.tree.strides[0] == 1 or m == 1 else m * k)
    along = a.tree.strides[1] == 1 and b.tree.strides[0] == 1
    dots = m * n * (_vectors(k) + 4) if along else by_rows + by_columns
    if dots <= min(by_rows, by_columns):
        _dots(self.code, out, a, b)
    elif by_rows <= by_columns:
        _rows(self, out, a, b)
    else:
        flipped = replace(out, strides=(out.strides[1], out.strides[0]))
        _rows(self, flipped, transposed(b), transposed(a))
    return out


def _vectors(count: int) -> int:
    return sum(times for _, times, _ in pieces(count))


def transposed(x: Value) -> Value:
    """A matrix in memory, transposed."""
    leaf = x.tree
    return Value(x.shape[::-1], replace(leaf, strides=leaf.strides[::-1]))


def _packed(self: Lowering, x: Value) -> Leaf:
    """A matrix whose rows are contiguous."""
    if x.tree.strides[1] == 1 or x.shape[1] == 1:
        return x.tree
    place = self.space(x.shape)
    assign(self.code, [place.tree], x)
    return place.tree


def fma(code: Code, width: int, a: str, b: str, c: str) -> str:
    """The sum a b + c, rounded once where the processor can."""
    kind = vector("double", width)
    return code.call(f"llvm.fmuladd.{suffix('double', width)}", kind, (kind, a), (kind, b), (kind, c))


def _rows(self: Lowering, out: Leaf, a: Value, b: Value) -> None:
    """Each row of the product as a sum of rows of b: some vectors of it at a time stay in registers."""
    code, ((m, k), n) = self.code, (a.shape, b.shape[1])
    left, right = a.tree, _packed(self, b)
    with code.loop(m) as row:
        start = code.offset([(row.index, left.strides[0])], left.offset)
        for first, count, width in pieces(n):
            each = [COLUMNS] * (count // COLUMNS) + [1] * (count % COLUMNS) if count < 2 * COLUMNS else None
            blocks = [(0, 1, count)] if count <= COLUMNS else []
            if each is not None and count > COLUMNS:
                blocks = [(0, 1, COLUMNS), (COLUMNS, 1, count - COLUMNS)]
            elif not blocks:
                blocks = [(0, count // COLUMNS, COLUMNS)]
                if count % COLUMNS:
                    blocks.append((count // COLUMNS * COLUMNS, 1, count % COLUMNS))
            for begin, times, together in blocks:
                with code.loop(times) as block:
                    column = code.offset([(block.index, together * width)], first + begin * width)
                    zero = code.splat(literal(0.0, torch.float64), "double", width)
                    kind = vector("double", width)
                    with code.loop(k, [(kind, zero)] * together) as inner:
                        x = code.load(code.at(left.base, code.offset([(inner.index, left.strides[1]), (start, 1)])))
                        x = code.splat(x, "double", width)
                        at = code.offset([(inner.index, right.strides[0]), (column, 1)], right.offset)
                        inner.next = [
                            fma(
                                code, width, x,
                                code.load(code.at(right.base, code.offset([(at, 1)], j * width)), width=width),
                                inner.carried[j],
                            )
                            for j in range(together)
                        ]  # fmt: skip
                    for j, value in enumerate(inner.next):
                        at = code.offset([(column, 1)], j * width)
                        put(code, value, out, (row.index, at), width)


def _dots(code: Code, out: Leaf, a: Value, b: Value) -> None:
    """Each number of the product by itself, both factors contiguous along the sum."""
    (m, k), n = a.shape, b.shape[1]

    def one(at: list[str]) -> None:
        left = code.offset([(at[0], a.tree.strides[0])], a.tree.offset)
        right = code.offset([(at[1], b.tree.strides[1])], b.tree.offset)
        total = ""
        for first, count, width in pieces(k):
            kind = vector("double", width)
            zero = code.splat(literal(0.0, torch.float64), "double", width)
            with code.loop(count * width, [(kind, zero)], step=width) as inner:
                x, y = (
                    code.load(code.at(base, code.offset([(inner.index, 1), (start, 1)], first)), width=width)
                    for base, start in ((a.tree.base, left), (b.tree.base, right))
                )
                inner.next = [fma(code, width, x, y, inner.carried[0])]
            got = inner.next[0]
            if width > 1:
                name = f"llvm.vector.reduce.fadd.{suffix('double', width)}"
                code.declared.add(f"declare double @{name}(double, {kind})")
                got = code.op(f"call reassoc double @{name}(double -0.0, {kind} {got})")
            total = code.op(f"fadd double {total}, {got}") if total else got
        put(code, total, out, (at[0], at[1]))

    nest(code, (m, n), one)


def gathered(self: Lowering, meta: Meta, x: Value, dim: int, index: Value) -> Value:
    """The slices of x along an axis that an index tensor names."""
    code, place = self.code, self.space(meta.shape, meta.dtype)
    if place.numel == 0:
        return place
    kind = MEMORY[index.dtype]
    with code.loop(meta.shape[dim]) as loop:
        where = code.offset([(loop.index, index.tree.strides[-1] if index.tree.strides else 0)], index.tree.offset)
        chosen = code.load(code.at(index.tree.base, where, kind), kind)

        def sliced(leaf: Leaf, which: str) -> Leaf:
            start = code.offset([(which, leaf.strides[dim])], leaf.offset)
            rest = (*leaf.strides[:dim], *leaf.strides[dim + 1 :])
            return Leaf(code.at(leaf.base, start, MEMORY[leaf.dtype]), 0, rest, leaf.dtype)

        shape = (*meta.shape[:dim], *meta.shape[dim + 1 :])
        assign(code, [sliced(place.tree, loop.index)], Value(shape, sliced(x.tree, chosen)))
    return place
