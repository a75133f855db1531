"""Runs as compiled loops: measure the pace, choose the learning rate, take a chunk of steps, again and again.

All that a run's next step depends on lies in one row of memory, which Python sees as tensors: the weights, the
optimizer's state, the count of steps, and the pace. A call takes every run some chunks further and returns, so between
two calls all runs stand at the same step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from maxmargin.verify.engine.native.compiler import load
from maxmargin.verify.engine.native.graph import UnsupportedError, record
from maxmargin.verify.engine.native.ir import BITS, Code, literal
from maxmargin.verify.engine.native.lowering import Lowering
from maxmargin.verify.engine.native.values import Known, Leaf, Value, contiguous

PACE = ("speed", "length", "growth", "eta", "travelled")
"""A run's numbers beside its state, in the order in which they lie behind it."""
CALL = 0.4
"""Seconds a call is to last, so that progress, snapshots and Ctrl-C come about once a second."""
AHEAD = 2**20
"""Numbers of batches and rates at most that are drawn ahead of a call."""
Orders = Callable[[int, int], Sequence[Tensor]]
Rates = Callable[[int, int], Tensor]
_log = logging.getLogger(__name__)


class Pieces(NamedTuple):
    """What a loop is made of, as functions of one run's tensors.

    Attributes:
        step: (θ, state, t, η, *data, *order) → (θ, state, t + 1).
        measure: (θ, X, C) → the numbers that ``measures`` names, or None where nothing is measured.
        measures: Names out of :data:`PACE`; an empty one for a number that is not kept.
        rate: (step, speed, length, growth) → η, or None where the rates are given.
        refresh: Steps done up to which every chunk is measured, and the period of later measurements.
        chunk: Steps with one learning rate; even.
    """

    step: Callable[..., Any]
    measure: Callable[..., Any] | None
    measures: tuple[str, ...]
    rate: Callable[..., Tensor] | None
    refresh: tuple[int, int]
    chunk: int


class Memory:
    """B runs' tensors as rows of one: a view a leaf."""

    def __init__(self, like: Sequence[Tensor], runs: int) -> None:
        self.words, self.places = 0, []
        for x in like:
            self.places.append(self.words)
            self.words += -(-max(x.numel() * x.element_size(), 1) // 8)
        self.pace = self.words
        self.words += len(PACE)
        self.rows = torch.zeros(runs, self.words, dtype=torch.float64)
        self.leaves = [self._view(x, at) for x, at in zip(like, self.places, strict=True)]
        self.numbers = {name: self.rows[:, self.pace + i] for i, name in enumerate(PACE)}

    def _view(self, like: Tensor, at: int) -> Tensor:
        each = 8 // like.element_size()
        flat = self.rows if like.dtype == torch.float64 else self.rows.view(like.dtype)
        return flat[:, at * each : at * each + like.numel()].view(len(self.rows), *like.shape)


class Loop:
    """B runs of one optimizer, advanced natively.

    Attributes:
        now: (θ, state, t) as the tree of one run, each leaf a view (B, …) into the memory.
        numbers: The pace: ``speed``, ``length``, ``growth``, ``eta``, ``travelled``, each a view (B,).
        coarsest: The shortest kind of number that a step computes in.
    """

    def __init__(
        self, pieces: Pieces, now: Any, X: Tensor, C: Tensor, order: Sequence[Tensor] = (), *, shared: bool
    ) -> None:
        """Record, compile, and lay out the memory.

        Args:
            pieces: What one run does.
            now: (θ, state, t) of all runs, leaves (B, …); t too.
            X: Samples, of all runs or (B, …).
            C: Contrasts, likewise.
            order: One chunk's batches of all runs, (B, chunk, size) each; empty without.
            shared: Whether all runs share the data.

        Raises:
            UnsupportedError: naming an operator that has no native form.
        """
        leaves, self.spec = pytree.tree_flatten(now)
        self.runs, self.pieces = leaves[0].shape[0], pieces
        self.memory = Memory([x[0] for x in leaves], self.runs)
        self.now, self.numbers = pytree.tree_unflatten(self.memory.leaves, self.spec), self.memory.numbers
        for mine, x in zip(self.memory.leaves, leaves, strict=True):
            mine.copy_(x)
        self.data = X.contiguous(), C.contiguous()
        self.shared = shared
        example = [*(x if shared else x[0] for x in self.data), *(x[0] for x in order)]
        writer = _Writer(pieces, self.memory, self._one(0), example, shared)
        text, heap = writer.module()
        self.coarsest = writer.coarsest
        library = load(text, ["advance", "measure"], "a step and its loop")
        self._advance, self._measure = library.function("advance", 11), library.function("measure", 6)
        self._other = torch.zeros(self.memory.words, dtype=torch.float64)
        self._heap = torch.zeros(max(heap, 1), dtype=torch.float64)
        self._chunk_seconds = 1e-3
        self._per_chunk = max(1, sum(x.numel() for x in order), 0 if pieces.rate is not None else self.runs)

    def _one(self, run: int) -> Any:
        """(θ, state, t) of one run, copied."""
        return pytree.tree_unflatten([x[run].clone() for x in self.memory.leaves], self.spec)

    def measure(self, done: int) -> None:
        """Measure the pace where that is due after ``done`` steps, and set η."""
        X, C = (x.data_ptr() for x in self.data)
        self._measure(self.memory.rows.data_ptr(), self._heap.data_ptr(), X, C, self.runs, done)

    def advance(self, done: int, until: int, orders: Orders, rates: Rates) -> int:
        """Take all runs on, at most to ``until`` steps, for less than a second unless one chunk takes longer.

        Args:
            done: Steps taken.
            until: Steps at most, on the grid of chunks.
            orders: (steps done, steps) → their batches, (B, steps, size) each; none without.
            rates: (steps done, chunks) → η (B, chunks), used where there is no ``rate``.

        Returns:
            Steps taken then.
        """
        count = min((until - done) // self.pieces.chunk, int(CALL / self._chunk_seconds), AHEAD // self._per_chunk)
        count = max(1, count)
        self._chunk_seconds = max(self._call(done, count, orders, rates) / count, 1e-9)
        return done + count * self.pieces.chunk

    def _call(self, done: int, count: int, orders: Orders, rates: Rates) -> float:
        order = [x.contiguous() for x in orders(done, count * self.pieces.chunk)]
        eta = self._heap if self.pieces.rate is not None else rates(done, count).contiguous()
        began = time.perf_counter()
        self._advance(
            self.memory.rows.data_ptr(), self._other.data_ptr(), self._heap.data_ptr(),
            *[x.data_ptr() for x in self.data], *([x.data_ptr() for x in order] or [0, 0]), eta.data_ptr(),
            self.runs, done, count,
        )  # fmt: skip
        return time.perf_counter() - began


class _Writer:
    """The module of a loop: functions of one run, and the loops over chunks and runs around them."""

    def __init__(self, pieces: Pieces, memory: Memory, now: Any, example: Sequence[Tensor], shared: bool) -> None:
        self.pieces, self.memory, self.now, self.example, self.shared = pieces, memory, now, example, shared
        self.parts: list[str] = []
        self.declared: set[str] = set()
        self.heap = 0

    def module(self) -> tuple[str, int]:
        """The text, and the numbers of memory that it needs besides."""
        self._step()
        if self.pieces.measure is not None:
            self._measure()
        if self.pieces.rate is not None:
            self._rate()
        self._over_runs("measure", ())
        self._over_runs("advance", ("%other", "%rows", "%absent", "%rates", "%count"))
        return "\n".join([*sorted(self.declared), *self.parts]), self.heap

    def _add(self, code: Code, signature: str) -> None:
        self.declared |= code.declared
        self.heap = max(self.heap, code.heap)
        self.parts += [*code.globals, code.function(signature)]

    def _number(self, name: str) -> Leaf:
        return Leaf("%pace", PACE.index(name), (), torch.float64)

    def _data(self) -> list[Value]:
        names = ("%X", "%C", "%rows", "%absent")
        return [
            Value(tuple(x.shape), Leaf(name, 0, contiguous(x.shape), x.dtype))
            for name, x in zip(names, self.example, strict=False)
        ]

    def _step(self) -> None:
        eta = torch.ones((), dtype=torch.float64)

        def step(now: Any, *rest: Tensor) -> Any:
            return self.pieces.step(*now, *rest)

        graph, spec = record(step, self.now, eta, *self.example)
        leaves, own = pytree.tree_flatten(self.now)
        metas = [graph.metas[ref.number] for ref in graph.outputs]
        if spec != own or any(m.shape != x.shape or m.dtype != x.dtype for m, x in zip(metas, leaves, strict=True)):
            raise UnsupportedError("a step whose state changes its structure")

        def laid(base: str) -> list[Leaf]:
            each = zip(leaves, self.memory.places, strict=True)
            return [Leaf(base, at * 8 // x.element_size(), contiguous(x.shape), x.dtype) for x, at in each]

        inputs = [Value(tuple(x.shape), leaf) for x, leaf in zip(leaves, laid("%from"), strict=True)]
        self.coarsest = max((m.dtype for m in graph.metas), key=lambda kind: -BITS.get(kind, 52))
        code = Code("s")
        Lowering(code).write(graph, [*inputs, Value((), self._number("eta")), *self._data()], laid("%to"))
        pointers = ("%from", "%to", "%pace", "%X", "%C", "%rows", "%absent", "%heap")
        self._add(code, f"@step({', '.join(f'ptr noalias {p}' for p in pointers)})")

    def _measure(self) -> None:
        assert self.pieces.measure is not None
        theta = self.now[0]
        graph, _ = record(self.pieces.measure, theta, *self.example[:2])
        leaves, everything = pytree.tree_leaves(theta), pytree.tree_leaves(self.now)
        code = Code("m")
        inputs = [
            Value(tuple(x.shape), Leaf("%from", at, contiguous(x.shape), x.dtype))
            for x, at in zip(everything[: len(leaves)], self.memory.places, strict=False)
        ]
        names = self.pieces.measures
        Lowering(code).write(graph, [*inputs, *self._data()[:2]], [self._number(n) if n else None for n in names])
        self._add(
            code, "@look(ptr noalias %from, ptr noalias %pace, ptr noalias %X, ptr noalias %C, ptr noalias %heap)"
        )

    def _rate(self) -> None:
        assert self.pieces.rate is not None
        graph, _ = record(self.pieces.rate, *[torch.ones((), dtype=torch.float64) for _ in range(4)])
        code = Code("r")
        step = Value((), Known("%step", torch.float64))
        numbers = [Value((), self._number(name)) for name in ("speed", "length", "growth")]
        Lowering(code).write(graph, [step, *numbers], [self._number("eta")])
        self._add(code, "@rate(ptr noalias %pace, double %step)")

    def _over_runs(self, name: str, more: Sequence[str]) -> None:
        code, words = Code("d"), self.memory.words
        chunk, (first, period) = self.pieces.chunk, self.pieces.refresh
        size = self.example[2].shape[1] if len(self.example) > 2 else 0
        with code.loop("%runs") as run:
            memory = code.at("%memory", code.offset([(run.index, words)]))
            pace = code.at(memory, str(self.memory.pace))
            X, C = (
                code.at(base, code.offset([(run.index, 0 if self.shared else x.numel())]))
                for base, x in zip(("%X", "%C"), self.example, strict=False)
            )

            def paced(done: str) -> None:
                if self.pieces.measure is not None:
                    early = code.op(f"icmp slt i64 {done}, {first}")
                    due = code.op(f"icmp eq i64 {code.op(f'srem i64 {done}, {period}')}, 0")
                    with code.when(code.op(f"or i1 {early}, {due}")):
                        code.do(f"call void @look(ptr {memory}, ptr {pace}, ptr {X}, ptr {C}, ptr %heap)")
                if self.pieces.rate is not None:
                    step = code.op(f"sitofp i64 {code.op(f'add i64 {done}, 1')} to double")
                    code.do(f"call void @rate(ptr {pace}, double {step})")

            if not more:
                paced("%done")
            else:
                with code.loop("%count") as turn:
                    done = code.op(f"add i64 %done, {code.offset([(turn.index, chunk)])}")
                    paced(done)
                    here = code.op(f"add i64 {code.op(f'mul i64 {run.index}, %count')}, {turn.index}")
                    eta = code.at(pace, str(PACE.index("eta")))
                    if self.pieces.rate is None:
                        code.store(code.load(code.at("%rates", here)), eta)
                    place = code.offset([(here, chunk * size)])
                    order = [code.at("%rows", place, "i64"), code.at("%absent", place)]
                    rest = ", ".join(f"ptr {p}" for p in (pace, X, C, *order, "%heap"))
                    with code.loop(chunk // 2):
                        code.do(f"call void @step(ptr {memory}, ptr %other, {rest})")
                        code.do(f"call void @step(ptr %other, ptr {memory}, {rest})")
                    so_far = code.at(pace, str(PACE.index("travelled")))
                    moved = code.op(f"fmul double {code.load(eta)}, {literal(chunk, torch.float64)}")
                    code.store(code.op(f"fadd double {code.load(so_far)}, {moved}"), so_far)
        pointers = [
            p
            for p in ("%memory", "%other", "%heap", "%X", "%C", "%rows", "%absent", "%rates")
            if p in more or p in ("%memory", "%heap", "%X", "%C")
        ]
        numbers = ["%runs", "%done", *(["%count"] if more else [])]
        given = [*(f"ptr {p}" for p in pointers), *(f"i64 {n}" for n in numbers)]
        self._add(code, f"@{name}({', '.join(given)})")
