"""Polar factors and singular values by one-sided Jacobi rotations, and LAPACK for whole decompositions.

A call of LAPACK costs 10 µs or more for the small matrices here. Hestenes' rotations of pairs of columns, with the
longer column first (de Rijk 1989), are as accurate whatever the rank, and one matrix of 8 × 5 takes some 3 µs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import torch

from maxmargin.verify.engine.native import kernels
from maxmargin.verify.engine.native.compiler import DGESDD
from maxmargin.verify.engine.native.graph import Meta, UnsupportedError
from maxmargin.verify.engine.native.ir import Code, literal, pieces, suffix, vector
from maxmargin.verify.engine.native.reductions import reduce
from maxmargin.verify.engine.native.values import Apply, Known, Leaf, Value, assign, contiguous, leaves, restride

if TYPE_CHECKING:
    from maxmargin.verify.engine.native.lowering import Lowering

EPS = 2.0**-52
SWEEPS = 40
"""Never reached: Jacobi's method needs 5 to 12."""
MOST_COLUMNS = 24
"""Columns beyond which LAPACK's blocking wins."""


def polar(self: Lowering, meta: Meta, x: Value) -> Value:
    """Pseudo-polar factors of (…, m, n): U Vᵀ over σ > max(m, n) eps σ_1; NaN where an entry is no number."""
    x, place = self.memory(x), self.space(meta.shape)
    if place.numel == 0:
        return place

    def one(a: Value, out: Leaf) -> None:
        tall = a.shape[0] >= a.shape[1]
        a, out = (a, out) if tall else (kernels.transposed(a), replace(out, strides=out.strides[::-1]))
        code, (rows, columns) = self.code, a.shape
        turned = _Rotated(self, a, vectors=True)
        cut = code.op(f"fmul double {turned.largest()}, {literal((rows * EPS) ** 2, torch.float64)}")
        with code.loop(columns) as j:
            own = turned.squared(j.index)
            kept = code.op(f"fcmp ogt double {own}, {cut}")
            inverse = code.op(f"fdiv double {literal(1.0, torch.float64)}, {_root(code, own)}")
            factor = code.op(f"select i1 {kept}, double {inverse}, double {literal(0.0, torch.float64)}")
            turned.scale(j.index, factor)
        left = Value((rows, columns), Leaf(turned.Z, 0, (1, turned.stride), torch.float64))
        right = Value((columns, columns), Leaf(turned.Z, turned.long, (turned.stride, 1), torch.float64))
        product = self.space((rows, columns))
        found = kernels.multiply(self, product.tree, left, right)

        def spoilt(code: Code, width: int, value: str) -> str:
            return code.op(f"fadd {vector('double', width)} {value}, {code.splat(turned.spoilt, 'double', width)}")

        assign(code, [out], Value((rows, columns), Apply(spoilt, (found,), torch.float64)))

    _each(self, x, [place.tree], lambda a, outs: one(a, outs[0]))
    return place


def singular_values(self: Lowering, x: Value) -> Value:
    """Singular values (…, k) of (…, m, n), falling; NaN where an entry is no number."""
    *batch, m, n = x.shape
    k = min(m, n)
    x, place = self.memory(x), self.space((*batch, k))

    def one(a: Value, out: Leaf) -> None:
        a = a if m >= n else kernels.transposed(a)
        turned, code = _Rotated(self, a, vectors=False), self.code
        own = self.space((k,)).tree
        with code.loop(k) as j:
            size = code.op(f"fmul double {_root(code, turned.squared(j.index))}, {turned.top}")
            code.store(code.op(f"fadd double {size}, {turned.spoilt}"), code.at(own.base, j.index))
        # By their rank: how many are larger, of equal ones the earlier.
        with code.loop(k) as i:
            mine = code.load(code.at(own.base, i.index))
            with code.loop(k, [("i64", "0")]) as j:
                other = code.load(code.at(own.base, j.index))
                above = code.op(f"fcmp ugt double {other}, {mine}")
                equal = code.op(f"fcmp oeq double {other}, {mine}")
                earlier = code.op(f"icmp slt i64 {j.index}, {i.index}")
                unordered = code.op(f"and i1 {code.op(f'fcmp uno double {other}, {mine}')}, true")
                above = code.op(f"and i1 {above}, {code.op(f'xor i1 {unordered}, true')}")
                tied = code.op(f"and i1 {code.op(f'or i1 {equal}, {unordered}')}, {earlier}")
                ahead = code.op(f"zext i1 {code.op(f'or i1 {above}, {tied}')} to i64")
                j.next = [code.op(f"add i64 {j.carried[0]}, {ahead}")]
            where = code.offset([(j.next[0], out.strides[-1])], out.offset)
            code.store(mine, code.at(out.base, where))

    _each(self, x, [place.tree], lambda a, outs: one(a, outs[0]), kept=1)
    return place


class _Rotated:
    """A matrix of rows ≥ columns over its largest |entry|, its columns made orthogonal, the rotations kept behind.

    Column j lies at ``Z + j stride``, padded with zeros to ``long`` numbers; then V's.
    """

    def __init__(self, self_: Lowering, a: Value, *, vectors: bool) -> None:
        code, (rows, columns) = self_.code, a.shape
        self.code, self.rows, self.columns = code, rows, columns
        self.long = _padded(rows)
        self.stride = self.long + (_padded(columns) if vectors else 0)
        self.Z = self_.space((columns, self.stride)).tree.base
        size = Value(a.shape, Apply(_absolute, (a.tree,), torch.float64))
        top = reduce(self_, "max", size, None, keepdim=False).tree.name
        fine = code.op(f"fcmp olt double {top}, {literal(float('inf'), torch.float64)}")
        least = literal(torch.finfo(torch.float64).smallest_normal, torch.float64)
        top = code.op(f"select i1 {code.op(f'fcmp olt double {top}, {least}')}, double {least}, double {top}")
        self.top, self.spoilt = top, code.op(f"fsub double {top}, {top}")

        def scaled(code: Code, width: int, x: str) -> str:
            kind = vector("double", width)
            ratio = code.op(f"fdiv {kind} {x}, {code.splat(top, 'double', width)}")
            chosen = code.splat(fine, "i1", width)
            zero = code.splat(literal(0.0, torch.float64), "double", width)
            return code.op(f"select {vector('i1', width)} {chosen}, {kind} {ratio}, {kind} {zero}")

        zero = Known(literal(0.0, torch.float64), torch.float64)
        everything = Leaf(self.Z, 0, contiguous((columns, self.stride)), torch.float64)
        if self.stride != rows:
            assign(code, [everything], Value((columns, self.stride), zero))
        place = Leaf(self.Z, 0, (1, self.stride), torch.float64)
        # Walked along the columns of a, which are the rows of Z.
        body = Value(a.shape, Apply(scaled, (a.tree,), torch.float64))
        flipped = Value(a.shape[::-1], _turned(body.tree))
        assign(code, [replace(place, strides=place.strides[::-1])], flipped)
        if vectors:
            one = Known(literal(1.0, torch.float64), torch.float64)
            assign(code, [Leaf(self.Z, self.long, (self.stride + 1,), torch.float64)], Value((columns,), one))
        if columns > 1:
            self._sweeps()

    def _sweeps(self) -> None:
        code = self.code
        pairs = _pairs(self.columns)
        name = f"@{code.stem}pairs{len(code.globals)}"
        numbers = ", ".join(f"i64 {i * self.stride}" for pair in pairs for i in pair)
        code.globals.append(f"{name} = private constant [{2 * len(pairs)} x i64] [{numbers}], align 64")
        with code.loop(SWEEPS) as sweep:
            with code.loop(len(pairs), [("i1", "false")]) as turn:
                at = code.offset([(turn.index, 2)])
                p, q = (
                    code.at(self.Z, code.load(code.at(name, code.offset([(at, 1)], i), "i64"), "i64")) for i in (0, 1)
                )
                turn.next = [code.op(f"or i1 {turn.carried[0]}, {self._rotate(p, q)}")]
            sweep.while_ = turn.next[0]

    def _rotate(self, p: str, q: str) -> str:
        """Make two columns orthogonal; whether they were not before."""
        code = self.code
        sums = [literal(0.0, torch.float64)] * 3
        for start, count, w in pieces(self.long):
            kind = vector("double", w)
            zero = code.splat(literal(0.0, torch.float64), "double", w)
            with code.loop(count * w, [(kind, zero)] * 3, step=w) as loop:
                at = code.offset([(loop.index, 1)], start)
                x, y = (code.load(code.at(base, at), width=w) for base in (p, q))
                loop.next = [
                    kernels.fma(code, w, u, v, s)
                    for (u, v), s in zip(((x, x), (y, y), (x, y)), loop.carried, strict=True)
                ]
            sums = [code.op(f"fadd double {s}, {_across(code, w, v)}") for s, v in zip(sums, loop.next, strict=True)]
        first, second, off = self._angle(*sums)
        behind = [(self.long + start, count, w) for start, count, w in pieces(self.stride - self.long)]
        for start, count, w in (*pieces(self.long), *behind):
            with code.loop(count * w, step=w) as loop:
                at = code.offset([(loop.index, 1)], start)
                x, y = (code.load(code.at(base, at), width=w) for base in (p, q))
                self._turn(p, q, at, w, x, y, first, second)
        return off

    def _angle(self, a: str, b: str, c: str) -> tuple[str, str, str]:
        code = self.code

        def f(name: str, *operands: str) -> str:
            return code.op(f"f{name} double {', '.join(operands)}")

        def number(x: float) -> str:
            return literal(x, torch.float64)

        limit = f("mul", f("mul", a, b), number((2 * EPS * max(4, self.rows)) ** 2 / 4))
        off = code.op(f"fcmp ogt double {f('mul', c, c)}, {limit}")
        gap, twice = f("sub", b, a), f("add", c, c)
        root = _root(code, f("add", f("mul", gap, gap), f("mul", twice, twice)))
        below = f("add", root, code.call("llvm.fabs.f64", "double", ("double", gap)))
        below = code.call("llvm.maximum.f64", "double", ("double", below), ("double", number(1e-300)))
        below = code.call("llvm.copysign.f64", "double", ("double", below), ("double", gap))
        t = f("div", twice, below)
        cos = f("div", number(1.0), _root(code, f("add", f("mul", t, t), number(1.0))))
        sin = f("mul", cos, t)
        shift = f("mul", t, c)
        swap = code.op(f"fcmp olt double {f('sub', a, shift)}, {f('add', b, shift)}")
        first = code.op(f"select i1 {swap}, double {sin}, double {cos}")
        second = code.op(f"select i1 {swap}, double {cos}, double {code.op(f'fneg double {sin}')}")
        return first, second, off

    def _turn(self, p: str, q: str, at: str, w: int, x: str, y: str, first: str, second: str) -> None:
        code, kind = self.code, vector("double", w)
        one, two = (code.splat(s, "double", w) for s in (first, second))
        crossed = code.op(f"fmul {kind} {two}, {y}")
        code.store(kernels.fma(code, w, one, x, crossed), code.at(p, at), width=w)
        less = code.op(f"fneg {kind} {code.op(f'fmul {kind} {two}, {x}')}")
        code.store(kernels.fma(code, w, one, y, less), code.at(q, at), width=w)

    def squared(self, j: str) -> str:
        """The squared length of column j."""
        code, total = self.code, ""
        start = code.offset([(j, self.stride)])
        for first, count, w in pieces(self.long):
            kind = vector("double", w)
            with code.loop(count * w, [(kind, code.splat(literal(0.0, torch.float64), "double", w))], step=w) as loop:
                x = code.load(code.at(self.Z, code.offset([(start, 1), (loop.index, 1)], first)), width=w)
                loop.next = [kernels.fma(code, w, x, x, loop.carried[0])]
            one = _across(code, w, loop.next[0])
            total = code.op(f"fadd double {total}, {one}") if total else one
        return total

    def largest(self) -> str:
        """The largest squared length."""
        with self.code.loop(self.columns, [("double", literal(0.0, torch.float64))]) as j:
            own = self.squared(j.index)
            j.next = [self.code.call("llvm.maximum.f64", "double", ("double", own), ("double", j.carried[0]))]
        return j.next[0]

    def scale(self, j: str, factor: str) -> None:
        """Multiply column j."""
        code = self.code
        start = code.offset([(j, self.stride)])
        for first, count, w in pieces(self.long):
            with code.loop(count * w, step=w) as loop:
                at = code.at(self.Z, code.offset([(start, 1), (loop.index, 1)], first))
                x = code.load(at, width=w)
                code.store(code.op(f"fmul {vector('double', w)} {x}, {code.splat(factor, 'double', w)}"), at, width=w)


def _padded(count: int) -> int:
    """Up to a length that few vectors make up."""
    return next(n for n in (1, 2, 4, 8, *range(16, count + 16, 8)) if n >= count)


def _pairs(columns: int) -> list[tuple[int, int]]:
    """Every pair once, disjoint ones near each other, so that the processor works on several at once."""
    ring: list[int] = list(range(columns + columns % 2))
    out = []
    for _ in range(len(ring) - 1):
        pairs = [(min(pair), max(pair)) for pair in zip(ring[: len(ring) // 2], reversed(ring), strict=False)]
        out += [pair for pair in pairs if pair[1] < columns]
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return out


def _root(code: Code, x: str) -> str:
    return code.call("llvm.sqrt.f64", "double", ("double", x))


def _absolute(code: Code, width: int, x: str) -> str:
    kind = vector("double", width)
    return code.call(f"llvm.fabs.{suffix('double', width)}", kind, (kind, x))


def _across(code: Code, width: int, value: str) -> str:
    if width == 1:
        return value
    name, kind = f"llvm.vector.reduce.fadd.{suffix('double', width)}", vector("double", width)
    code.declared.add(f"declare double @{name}(double, {kind})")
    return code.op(f"call reassoc double @{name}(double -0.0, {kind} {value})")


def _turned(tree: Any) -> Any:
    return restride(tree, lambda leaf: replace(leaf, strides=leaf.strides[::-1]))


def _each(self: Lowering, x: Value, places: list[Leaf], one: Any, kept: int = 2) -> None:
    """Work on each matrix of a batch (…, m, n); the last ``kept`` axes of the places are one matrix's."""
    *batch, m, n = x.shape
    if not batch:
        one(Value((m, n), x.tree), places)
        return
    count, code = prod(batch), self.code
    if not all(leaf.strides == contiguous(x.shape) for leaf in leaves(x.tree)):
        packed = self.space(x.shape)
        assign(code, [packed.tree], x)
        x = packed
    with code.loop(count) as loop:
        base = code.at(x.tree.base, code.offset([(loop.index, m * n)], x.tree.offset))
        outs = []
        for place in places:
            size = prod(_own(place, kept))
            where = code.offset([(loop.index, size)], place.offset)
            outs.append(Leaf(code.at(place.base, where), 0, place.strides[-kept:], place.dtype))
        one(Value((m, n), Leaf(base, 0, (n, 1), torch.float64)), outs)


def _own(place: Leaf, kept: int) -> tuple[int, ...]:
    """What one step of the innermost batch axis skips."""
    return (place.strides[-kept - 1],)


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
    lost = code.op(
        f"select i1 {failed}, double {literal(float('nan'), torch.float64)}, double {literal(0.0, torch.float64)}"
    )

    def spoilt(code: Code, width: int, value: str) -> str:
        return code.op(f"fadd {vector('double', width)} {value}, {code.splat(lost, 'double', width)}")

    return tuple(
        Value(shape, Apply(spoilt, (leaf,), torch.float64))
        for shape, leaf in (((m, k), U), ((k,), sigma), ((k, n), Vt))
    )  # type: ignore[return-value]


@cache
def _workspace(m: int, n: int) -> int:
    """Numbers of workspace that dgesdd wants."""
    from scipy.linalg.lapack import dgesdd_lwork

    return int(dgesdd_lwork(m, n, compute_uv=1, full_matrices=0)[0])
