"""Writing LLVM IR as text: one function at a time, loops with carried values, vectors of any width.

Vectors are written out here, so that the optimizer needs no vectorizer: compilation stays short, and what is
vectorized does not hang on its heuristics.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import torch

WIDE = 8
"""Doubles a vector: one AVX-512 register, or two of AVX2."""
LARGE = 1024
"""Numbers beyond which a tensor is not kept on the stack."""
BITS = MappingProxyType({torch.float32: 23, torch.bfloat16: 7})
"""Shorter kinds of numbers and their mantissas: kept as doubles, every result rounded to so many bits."""
MEMORY = MappingProxyType(
    {torch.float64: "double", torch.int64: "i64", torch.bool: "i8"} | dict.fromkeys(BITS, "double")
)
REGISTER = MappingProxyType(dict(MEMORY) | {torch.bool: "i1"})


def literal(value: float, dtype: torch.dtype) -> str:
    """A constant, to the last bit."""
    if dtype.is_floating_point:
        return "0x" + struct.pack(">d", float(value)).hex().upper()
    return ("true" if value else "false") if dtype == torch.bool else str(int(value))


def vector(kind: str, width: int) -> str:
    """The type of ``width`` numbers of a kind."""
    return kind if width == 1 else f"<{width} x {kind}>"


def suffix(kind: str, width: int) -> str:
    """How an intrinsic's name spells that type."""
    short = {"double": "f64"}.get(kind, kind)
    return short if width == 1 else f"v{width}{short}"


class Loop:
    """A loop under way: its index, the values it carries, what they become, and an i1 without which it ends early."""

    def __init__(self, index: str, carried: list[str]) -> None:
        self.index, self.carried, self.next = index, carried, list(carried)
        self.while_ = ""


class Code:
    """The text of one function's body; instructions go where the writing is."""

    def __init__(self, stem: str = "v") -> None:
        self.stem = stem
        self.entry: list[str] = []
        self.body: list[str] = []
        self.block = "begin"
        self.declared: set[str] = set()
        self.globals: list[str] = []
        self.heap = 0
        self._count = 0

    def name(self) -> str:
        """A name not used before."""
        self._count += 1
        return f"%{self.stem}{self._count}"

    def op(self, text: str) -> str:
        """Write an instruction; its result's name."""
        name = self.name()
        self.body.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Write an instruction without a result."""
        self.body.append(f"  {text}")

    def call(self, function: str, kind: str, *args: tuple[str, str]) -> str:
        """Call an external function or intrinsic: result type, then (type, name) pairs."""
        self.declared.add(f"declare {kind} @{function}({', '.join(t for t, _ in args)})")
        given = ", ".join(f"{t} {name}" for t, name in args)
        if kind == "void":
            self.do(f"call void @{function}({given})")
            return ""
        return self.op(f"call {kind} @{function}({given})")

    def scratch(self, count: int, kind: str = "double") -> str:
        """Memory of the function's own: on the stack or, where it is large, a part of what ``%heap`` points to."""
        name = self.name()
        if count > LARGE:
            self.entry.append(f"  {name} = getelementptr i8, ptr %heap, i64 {8 * self.heap}")
            self.heap += -(-count // 8) * 8
            return name
        self.entry.append(f"  {name} = alloca [{max(count, 1)} x {kind}], align 64")
        return name

    def at(self, base: str, index: str, kind: str = "double") -> str:
        """The address of an element."""
        return base if index == "0" else self.op(f"getelementptr {kind}, ptr {base}, i64 {index}")

    def load(self, address: str, kind: str = "double", width: int = 1) -> str:
        """Read a number or a vector of them."""
        return self.op(f"load {vector(kind, width)}, ptr {address}, align {1 if kind == 'i8' else 8}")

    def store(self, value: str, address: str, kind: str = "double", width: int = 1) -> None:
        """Write a number or a vector of them."""
        self.do(f"store {vector(kind, width)} {value}, ptr {address}, align {1 if kind == 'i8' else 8}")

    def splat(self, value: str, kind: str, width: int) -> str:
        """A number repeated."""
        if width == 1:
            return value
        whole = vector(kind, width)
        one = self.op(f"insertelement {whole} poison, {kind} {value}, i64 0")
        return self.op(f"shufflevector {whole} {one}, {whole} poison, <{width} x i32> zeroinitializer")

    def offset(self, terms: Sequence[tuple[str, int]], constant: int = 0) -> str:
        """Σ index · stride + constant."""
        known, out = constant, ""
        for index, stride in terms:
            if index.lstrip("-").isdigit():
                known += int(index) * stride
                continue
            if stride == 0:
                continue
            term = index if stride == 1 else self.op(f"mul nsw i64 {index}, {stride}")
            out = term if not out else self.op(f"add nsw i64 {out}, {term}")
        if not out:
            return str(known)
        return out if known == 0 else self.op(f"add nsw i64 {out}, {known}")

    def label(self, name: str) -> None:
        """Start a block."""
        self.body.append(f"{name[1:]}:")
        self.block = name[1:]

    @contextmanager
    def loop(self, count: int | str, carry: Sequence[tuple[str, str]] = (), step: int = 1) -> Iterator[Loop]:
        """Repeat what is written inside, at least once, for index 0, step, … < count.

        Args:
            count: A number or the name of an i64.
            carry: (type, first value) of what goes from one turn to the next.
            step: Of the index.

        Yields:
            The loop; set ``next`` to what the carried values become. After the loop ``next`` names the last ones.
        """
        if isinstance(count, int) and count <= step:
            yield Loop("0", [first for _, first in carry])
            return
        head, out = self.name(), self.name()
        before = self.block
        self.do(f"br label {head}")
        self.label(head)
        index, after = self.name(), self.name()
        place = len(self.body)
        carried = [self.name() for _ in carry]
        now = Loop(index, carried)
        yield now
        latch = self.block
        phis = [f"  {index} = phi i64 [0, %{before}], [{after}, %{latch}]"]
        for (kind, first), name, value in zip(carry, carried, now.next, strict=True):
            phis.append(f"  {name} = phi {kind} [{first}, %{before}], [{value}, %{latch}]")
        self.body[place:place] = phis
        self.do(f"{after} = add nuw nsw i64 {index}, {step}")
        more = self.op(f"icmp slt i64 {after}, {count}")
        if now.while_:
            more = self.op(f"and i1 {more}, {now.while_}")
        self.do(f"br i1 {more}, label {head}, label {out}")
        self.label(out)

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """Do what is written inside only where a condition holds."""
        inside, after = self.name(), self.name()
        self.do(f"br i1 {condition}, label {inside}, label {after}")
        self.label(inside)
        yield
        self.do(f"br label {after}")
        self.label(after)

    def function(self, signature: str) -> str:
        """The whole, as ``define void @signature``."""
        lines = [f"define void {signature} {{", "begin:", *self.entry, *self.body, "  ret void", "}"]
        return "\n".join(lines)


def pieces(count: int) -> list[tuple[int, int, int]]:
    """(first, how many, width) of the vectors that ``count`` numbers are worked on as: wide ones, then what is left."""
    out = []
    whole = count // WIDE
    if whole:
        out.append((0, whole, WIDE))
    at, width = whole * WIDE, WIDE // 2
    while at < count:
        if at + width <= count:
            out.append((at, 1, width))
            at += width
        width //= 2
    return out
