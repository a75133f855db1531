"""Constants, views, and tensors joined or picked from others: nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from maxmargin.verify.engine.native import kernels
from maxmargin.verify.engine.native.graph import Meta
from maxmargin.verify.engine.native.ir import literal
from maxmargin.verify.engine.native.lowering import RULES, Lowering, cast, expanded, rule
from maxmargin.verify.engine.native.values import Apply, Known, Leaf, Value, assign, reshaped_strides, restride

aten = torch.ops.aten


def _filled(number: Callable[..., Any], *targets: Any) -> None:
    @rule(*targets)
    def lowered(self: Lowering, meta: Meta, *args: Any, **_options: Any) -> Value:
        return Value(meta.shape, Known(literal(number(*args), meta.dtype), meta.dtype))


_filled(lambda *_: 0, aten.zeros.default, aten.new_zeros.default, aten.zeros_like.default)
_filled(lambda *_: 1, aten.ones.default, aten.new_ones.default, aten.ones_like.default)
_filled(lambda _like, value, *_: value, aten.full.default, aten.full_like.default)
_filled(lambda _like, _size, value: value, aten.new_full.default)
_filled(lambda value: value, aten.scalar_tensor.default)


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

    def change(leaf: Leaf) -> Leaf:
        strides = reshaped_strides(x.shape, leaf.strides, meta.shape)
        assert strides is not None  # that is what ``fits`` asked
        return replace(leaf, strides=strides)

    return _viewed(x, meta.shape, change)


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
