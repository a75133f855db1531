"""Matrix products and gathers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from maxmargin.verify.engine.native.graph import Meta, UnsupportedError
from maxmargin.verify.engine.native.ir import MEMORY, Code, literal, pieces, suffix, vector
from maxmargin.verify.engine.native.values import Known, Leaf, Value, assign, nest, put

if TYPE_CHECKING:
    from maxmargin.verify.engine.native.lowering import Lowering

COLUMNS = 2
"""Vectors of a row of a product that are accumulated at once."""
SUMS = 8
"""Of all rows: a sum waits for its last term, and others are worked on meanwhile."""
CACHED = 1 << 14
"""Numbers of a factor that stay in the processor's cache."""
LEAST_DEPTH = 16
"""Terms that are added at least before a sum goes back to memory."""


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
    """Each row of the product as a sum of rows of b, each term added in its turn.

    Parts of some rows at a time stay in registers. Where b is larger than the cache, all rows take the terms of some
    rows of b before the next ones come.
    """
    code, ((m, k), n) = self.code, (a.shape, b.shape[1])
    left, right = a.tree, _packed(self, b)
    depth = max(LEAST_DEPTH, CACHED // n)
    in_parts = depth < k
    sums = self.space((m, n)).tree if in_parts else out
    if in_parts:
        assign(code, [sums], Value((m, n), Known(literal(0.0, torch.float64), torch.float64)))

    def part(rows: list[str], column: str, together: int, width: int, begin: str, terms: int) -> None:
        """Vectors side by side of some rows; each number that is loaded is loaded once for all of them."""
        kind = vector("double", width)
        places = [(row, code.offset([(column, 1)], j * width)) for row in rows for j in range(together)]
        starts = [code.offset([(row, left.strides[0])], left.offset) for row in rows]
        if in_parts:
            so_far = (code.offset([(row, sums.strides[0]), (place, 1)], sums.offset) for row, place in places)
            first = [code.load(code.at(sums.base, where), width=width) for where in so_far]
        else:
            first = [code.splat(literal(0.0, torch.float64), "double", width)] * len(places)
        with code.loop(terms, [(kind, value) for value in first]) as inner:
            term = code.offset([(inner.index, 1), (begin, 1)])
            along = code.offset([(term, left.strides[1])])
            at = code.offset([(term, right.strides[0]), (column, 1)], right.offset)
            loaded = [
                code.load(code.at(right.base, code.offset([(at, 1)], j * width)), width=width) for j in range(together)
            ]
            factors = (code.load(code.at(left.base, code.offset([(along, 1), (start, 1)]))) for start in starts)
            pairs = [(code.splat(x, "double", width), y) for x in factors for y in loaded]
            inner.next = [fma(code, width, x, y, c) for (x, y), c in zip(pairs, inner.carried, strict=True)]
        for place, value in zip(places, inner.next, strict=True):
            put(code, value, sums, place, width)

    for start, chunks, terms in _blocks(k, depth):
        with code.loop(chunks) as chunk:
            begin = code.offset([(chunk.index, terms)], start)
            for first, count, width in pieces(n):
                for left_of, blocks, together in _blocks(count, COLUMNS):
                    for top, tiles, height in _blocks(m, max(1, SUMS // together)):
                        with code.loop(tiles) as tile, code.loop(blocks) as block:
                            row = code.offset([(tile.index, height)], top)
                            column = code.offset([(block.index, together * width)], first + left_of * width)
                            rows = [code.offset([(row, 1)], i) for i in range(height)]
                            part(rows, column, together, width, begin, terms)
    if in_parts:
        assign(code, [out], Value((m, n), sums))


def _blocks(count: int, most: int) -> Iterator[tuple[int, int, int]]:
    """(first, how many, size) of the blocks that ``count`` things are worked on in: of ``most``, then what is left."""
    whole = count // most
    if whole:
        yield 0, whole, most
    if count % most:
        yield whole * most, 1, count % most


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
