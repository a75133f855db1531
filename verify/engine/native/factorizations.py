"""Polar factors, singular values and whole decompositions: Jacobi rotations for small matrices, LAPACK for others.

A call of LAPACK costs 10 µs or more for the small matrices here; by rotations a factor of 8 × 5 takes 1.3 µs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import inf, nan, prod
from typing import TYPE_CHECKING

import torch

from maxmargin.verify.engine.native import kernels
from maxmargin.verify.engine.native.compiler import DGESDD
from maxmargin.verify.engine.native.graph import Meta, UnsupportedError
from maxmargin.verify.engine.native.ir import Code, literal, suffix, vector
from maxmargin.verify.engine.native.jacobi import EPS, Rotated, root
from maxmargin.verify.engine.native.reductions import reduce
from maxmargin.verify.engine.native.values import Apply, Leaf, Value, assign, contiguous, leaves, restride

if TYPE_CHECKING:
    from maxmargin.verify.engine.native.lowering import Lowering

MOST_COLUMNS = 16
"""Columns beyond which LAPACK's blocking wins."""
LEAST = 2.0**-500
"""Of the largest entry: below, squares come near the end of float64."""


def polar(self: Lowering, meta: Meta, x: Value) -> Value:
    """Pseudo-polar factors of (…, m, n): U Vᵀ over σ > max(m, n) eps σ_1; NaN where an entry is no number."""

    def one(a: Value, out: Leaf) -> None:
        if a.shape[0] < a.shape[1]:
            a, out = kernels.transposed(a), replace(out, strides=out.strides[::-1])
        code, (rows, columns) = self.code, a.shape
        scaled, _, spoilt = _normalized(self, a)
        if columns > MOST_COLUMNS:
            U, sigma, right = svd(self, scaled)
            first = _number(self, sigma, "0")
            cut = code.op(f"fmul double {first}, {_real(rows * EPS)}")

            def kept(code: Code, width: int, u: str, s: str) -> str:
                counts = code.op(f"fcmp ogt {vector('double', width)} {s}, {code.splat(cut, 'double', width)}")
                zero = code.splat(_real(0.0), "double", width)
                return code.op(
                    f"select {vector('i1', width)} {counts}, {vector('double', width)} {u}, "
                    f"{vector('double', width)} {zero}"
                )

            each = restride(sigma.tree, lambda leaf: replace(leaf, strides=(0, *leaf.strides)))
            left = self.memory(Value(U.shape, Apply(kept, (U.tree, each), torch.float64)))
        else:
            turned = Rotated(self, scaled, vectors=True)
            cut = code.op(f"fmul double {turned.largest()}, {_real((rows * EPS) ** 2)}")
            with code.loop(columns) as j:
                own = turned.squared(j.index)
                counts = code.op(f"fcmp ogt double {own}, {cut}")
                inverse = code.op(f"fdiv double {_real(1.0)}, {root(code, own)}")
                turned.scale(j.index, code.op(f"select i1 {counts}, double {inverse}, double {_real(0.0)}"))
            left = Value((rows, columns), Leaf(turned.Z, 0, (1, turned.stride), torch.float64))
            right = Value((columns, columns), Leaf(turned.Z, turned.long, (turned.stride, 1), torch.float64))
        found = kernels.multiply(self, self.space((rows, columns)).tree, left, self.memory(right))
        assign(code, [out], Value((rows, columns), Apply(_plus(spoilt), (found,), torch.float64)))

    return _each(self, x, meta.shape, 2, one)


def singular_values(self: Lowering, x: Value) -> Value:
    """Singular values (…, k) of (…, m, n), falling; NaN where an entry is no number."""
    *batch, m, n = x.shape
    k = min(m, n)

    def one(a: Value, out: Leaf) -> None:
        code = self.code
        scaled, top, spoilt = _normalized(self, a if m >= n else kernels.transposed(a))
        if k > MOST_COLUMNS:
            found = svd(self, scaled)[1]
        else:
            turned, own, found = Rotated(self, scaled, vectors=False), self.space((k,)).tree, self.space((k,))
            with code.loop(k) as j:
                code.store(root(code, turned.squared(j.index)), code.at(own.base, j.index))
            # Each to the place after those that are larger, and equal ones before it.
            with code.loop(k) as i:
                mine = code.load(code.at(own.base, i.index))
                with code.loop(k, [("i64", "0")]) as j:
                    other = code.load(code.at(own.base, j.index))
                    earlier = code.op(f"icmp slt i64 {j.index}, {i.index}")
                    tied = code.op(f"and i1 {code.op(f'fcmp oeq double {other}, {mine}')}, {earlier}")
                    ahead = code.op(f"or i1 {code.op(f'fcmp ogt double {other}, {mine}')}, {tied}")
                    j.next = [code.op(f"add i64 {j.carried[0]}, {code.op(f'zext i1 {ahead} to i64')}")]
                code.store(mine, code.at(found.tree.base, j.next[0]))

        def size(code: Code, width: int, value: str) -> str:
            whole = code.op(f"fmul {vector('double', width)} {value}, {code.splat(top, 'double', width)}")
            return _plus(spoilt)(code, width, whole)

        assign(code, [out], Value((k,), Apply(size, (found.tree,), torch.float64)))

    return _each(self, x, (*batch, k), 1, one)


def _normalized(self: Lowering, a: Value) -> tuple[Value, str, str]:
    """Bring a matrix's largest |entry| to 1.

    Entries whose squares would be subnormal become 0: no factor sees them, and arithmetic on them takes ten times as
    long. A unit without gradient leaves such a row in a momentum, for ever.

    Returns:
        The matrix over its largest |entry|, or 0 where that is no number; that entry; and 0, or NaN there.
    """
    code = self.code
    size = Value(a.shape, Apply(_absolute, (a.tree,), torch.float64))
    top = reduce(self, "max", size, None, keepdim=False).tree.name
    fine = code.op(f"fcmp olt double {top}, {_real(inf)}")
    least = _real(torch.finfo(torch.float64).smallest_normal)
    top = code.op(f"select i1 {code.op(f'fcmp olt double {top}, {least}')}, double {least}, double {top}")

    def scaled(code: Code, width: int, x: str) -> str:
        kind = vector("double", width)
        ratio = code.op(f"fdiv {kind} {x}, {code.splat(top, 'double', width)}")
        chosen, zero = code.splat(fine, "i1", width), code.splat(_real(0.0), "double", width)
        counts = code.op(
            f"fcmp ogt {kind} {_absolute(code, width, ratio)}, {code.splat(_real(LEAST), 'double', width)}"
        )
        chosen = code.op(f"and {vector('i1', width)} {chosen}, {counts}")
        return code.op(f"select {vector('i1', width)} {chosen}, {kind} {ratio}, {kind} {zero}")

    return Value(a.shape, Apply(scaled, (a.tree,), torch.float64)), top, code.op(f"fsub double {top}, {top}")


def _absolute(code: Code, width: int, x: str) -> str:
    kind = vector("double", width)
    return code.call(f"llvm.fabs.{suffix('double', width)}", kind, (kind, x))


def _real(x: float) -> str:
    return literal(x, torch.float64)


def _plus(number: str) -> Callable[..., str]:
    """Add a number in a register."""
    return lambda code, width, value: code.op(
        f"fadd {vector('double', width)} {value}, {code.splat(number, 'double', width)}"
    )


def _number(self: Lowering, x: Value, index: str) -> str:
    leaf = self.memory(x).tree
    return self.code.load(self.code.at(leaf.base, self.code.offset([(index, leaf.strides[0])], leaf.offset)))


def _each(self: Lowering, x: Value, shape: tuple[int, ...], kept: int, one: Callable[[Value, Leaf], None]) -> Value:
    """Work on each matrix of a batch (…, m, n), into memory of a shape whose last ``kept`` axes are one matrix's."""
    x, place = self.memory(x), self.space(shape)
    if place.numel == 0:
        return place
    *batch, m, n = x.shape
    if not batch:
        one(x, place.tree)
        return place
    if not all(leaf.strides == contiguous(x.shape) for leaf in leaves(x.tree)):
        packed = self.space(x.shape)
        assign(self.code, [packed.tree], x)
        x = packed
    code, strides = self.code, place.tree.strides[-kept:]
    with code.loop(prod(batch)) as loop:
        base = code.at(x.tree.base, code.offset([(loop.index, m * n)], x.tree.offset))
        out = code.at(place.tree.base, code.offset([(loop.index, prod(shape[-kept:]))]))
        one(Value((m, n), Leaf(base, 0, (n, 1), torch.float64)), Leaf(out, 0, strides, torch.float64))
    return place


def svd(self: Lowering, x: Value) -> tuple[Value, Value, Value]:
    """U, σ, Vᵀ of one matrix (m, n), reduced, by LAPACK's dgesdd; NaN where that gives up."""
    if len(x.shape) != 2 or prod(x.shape) == 0:
        raise UnsupportedError("a decomposition of several matrices at once")
    code, (m, n) = self.code, x.shape
    k = min(m, n)
    lwork = _workspace(m, n)
    # Column by column, as LAPACK wants it and as torch calls it: the signs of singular vectors then are torch's.
    work, U, Vt = (Leaf(self.space((c, r)).tree.base, 0, (1, r), torch.float64) for r, c in ((m, n), (m, k), (k, n)))
    assign(code, [work], x)
    sigma, space = self.space((k,)).tree, self.space((lwork,)).tree
    numbers = {value: code.scratch(1, "i64") for value in (n, m, k, lwork)}
    for value, where in numbers.items():
        code.store(str(value), where, "i64")
    job, integers, info = code.scratch(8, "i8"), code.scratch(8 * k, "i64"), code.scratch(1, "i64")
    code.store("83", job, "i8")  # 'S'
    given = [
        job, numbers[m], numbers[n], work.base, numbers[m], sigma.base, U.base, numbers[m], Vt.base, numbers[k],
        space.base, numbers[lwork], integers, info,
    ]  # fmt: skip
    code.call(DGESDD, "void", *[("ptr", name) for name in given])
    failed = code.op(f"icmp ne i32 {code.op(f'load i32, ptr {info}')}, 0")
    lost = code.op(f"select i1 {failed}, double {_real(nan)}, double {_real(0.0)}")

    return tuple(
        Value(shape, Apply(_plus(lost), (leaf,), torch.float64))
        for shape, leaf in (((m, k), U), ((k,), sigma), ((k, n), Vt))
    )  # type: ignore[return-value]  # three of them, as U, σ and Vᵀ are


@cache
def _workspace(m: int, n: int) -> int:
    """Numbers of workspace that dgesdd wants."""
    from scipy.linalg.lapack import dgesdd_lwork

    return int(dgesdd_lwork(m, n, compute_uv=1, full_matrices=0)[0])
