"""One-sided Jacobi rotations: the columns of a small matrix made orthogonal (Hestenes).

The longer column goes first (de Rijk 1989), so graded matrices converge too; accurate whatever the rank.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from maxmargin.verify.engine.native import kernels
from maxmargin.verify.engine.native.ir import Code, literal, pieces, suffix, vector
from maxmargin.verify.engine.native.values import Known, Leaf, Value, assign, contiguous, restride

if TYPE_CHECKING:
    from maxmargin.verify.engine.native.lowering import Lowering

EPS = 2.0**-52
SWEEPS = 40
"""Never reached: Jacobi's method needs 5 to 12."""


class Rotated:
    """A matrix of rows ≥ columns with its columns made orthogonal, the rotations kept behind.

    Column j lies at ``Z + j stride``, padded with zeros to ``long`` numbers; then V's.
    """

    def __init__(self, self_: Lowering, a: Value, *, vectors: bool) -> None:
        code, (rows, columns) = self_.code, a.shape
        self.code, self.rows, self.columns = code, rows, columns
        self.long = _padded(rows)
        self.stride = self.long + (_padded(columns) if vectors else 0)
        self.Z = self_.space((columns, self.stride)).tree.base
        zero = Known(literal(0.0, torch.float64), torch.float64)
        everything = Leaf(self.Z, 0, contiguous((columns, self.stride)), torch.float64)
        if self.stride != rows:
            assign(code, [everything], Value((columns, self.stride), zero))
        place = Leaf(self.Z, 0, (1, self.stride), torch.float64)
        # Walked along the columns of a, which are the rows of Z.
        flipped = Value(a.shape[::-1], restride(a.tree, lambda leaf: replace(leaf, strides=leaf.strides[::-1])))
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
            sums = [code.op(f"fadd double {s}, {across(code, w, v)}") for s, v in zip(sums, loop.next, strict=True)]
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
        hypotenuse = root(code, f("add", f("mul", gap, gap), f("mul", twice, twice)))
        below = f("add", hypotenuse, code.call("llvm.fabs.f64", "double", ("double", gap)))
        below = code.call("llvm.maximum.f64", "double", ("double", below), ("double", number(1e-300)))
        below = code.call("llvm.copysign.f64", "double", ("double", below), ("double", gap))
        t = f("div", twice, below)
        cos = f("div", number(1.0), root(code, f("add", f("mul", t, t), number(1.0))))
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
            one = across(code, w, loop.next[0])
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


def root(code: Code, x: str) -> str:
    """The square root of a number."""
    return code.call("llvm.sqrt.f64", "double", ("double", x))


def across(code: Code, width: int, value: str) -> str:
    """The sum of a vector's numbers."""
    if width == 1:
        return value
    name, kind = f"llvm.vector.reduce.fadd.{suffix('double', width)}", vector("double", width)
    code.declared.add(f"declare double @{name}(double, {kind})")
    return code.op(f"call reassoc double @{name}(double -0.0, {kind} {value})")
