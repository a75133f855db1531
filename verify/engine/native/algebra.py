"""Reductions, products and factorizations."""

from __future__ import annotations

from math import inf
from typing import Any

import torch

from maxmargin.verify.engine.native import factorizations, kernels
from maxmargin.verify.engine.native.graph import Meta, UnsupportedError
from maxmargin.verify.engine.native.ir import literal
from maxmargin.verify.engine.native.lowering import RULES, Lowering, cast, pointwise, rule
from maxmargin.verify.engine.native.pointwise import add, divide, intrinsic, multiply, power, times
from maxmargin.verify.engine.native.reductions import largest_index, ranked, reduce
from maxmargin.verify.engine.native.values import Known, Value

aten = torch.ops.aten


def _reduction(how: str, *targets: Any) -> None:
    @rule(*targets, once=True)
    def lowered(self: Lowering, meta: Meta, x: Value, dim: Any = None, keepdim: bool = False, **_options: Any) -> Value:
        return reduce(self, how, cast(x, meta.dtype), dim, keepdim)


_reduction("sum", aten.sum.default, aten.sum.dim_IntList)
_reduction("max", aten.amax.default, aten.max.default)
_reduction("min", aten.amin.default, aten.min.default)
_reduction("any", aten.any.default, aten.any.dim, aten.any.dims)
_reduction("all", aten.all.default, aten.all.dim, aten.all.dims)


@rule(aten.mean.default, aten.mean.dim, once=True)
def _(self: Lowering, meta: Meta, x: Value, dim: Any = None, keepdim: bool = False, **_options: Any) -> Value:
    total = reduce(self, "sum", x, dim, keepdim)
    return pointwise(meta, divide(meta.dtype), total, x.numel / max(total.numel, 1))


@rule(aten.linalg_vector_norm.default, once=True)
def _(
    self: Lowering, meta: Meta, x: Value, ord: float = 2, dim: Any = None, keepdim: bool = False, **_options: Any
) -> Value:
    entry = Meta(x.shape, torch.float64)
    if ord == 2:
        return pointwise(meta, intrinsic("sqrt"), reduce(self, "squares", x, dim, keepdim))
    size = pointwise(entry, intrinsic("fabs"), x)
    if ord in (1, inf, -inf):
        return reduce(self, {1: "sum", inf: "max", -inf: "min"}[ord], size, dim, keepdim)
    if ord == 0:
        raise UnsupportedError("linalg_vector_norm of order 0")
    total = reduce(self, "sum", pointwise(entry, power(float(ord)), size), dim, keepdim)
    return pointwise(meta, power(1.0 / ord), total)


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
    return reduce(self, "sum", pointwise(Meta(a.shape, a.dtype), multiply(meta.dtype), a, b), None, keepdim=False)


@rule(aten.addmm.default)
def _(self: Lowering, meta: Meta, x: Value, a: Value, b: Value, beta: float = 1, alpha: float = 1) -> Value:
    found = kernels.product(self, meta, a, b)
    return pointwise(meta, add(meta.dtype), times(x, beta, meta), times(found, alpha, meta))


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
