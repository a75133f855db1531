"""Tensors in the making: a shape and a tree of operations over strided memory, evaluated where it is needed.

Views change only the strides at the leaves, so an operator that takes a transposed slice of a sum costs nothing more;
a chain of pointwise operators is one loop. What several others need is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from maxmargin.verify.engine.native.ir import MEMORY, REGISTER, Code, pieces, vector

Build = Callable[[Code, int, Any], str]


@dataclass(frozen=True)
class Leaf:
    """Memory: element i is at offset + Σ i_d · stride_d of ``base``."""

    base: str
    offset: int
    strides: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Known:
    """One number in a register or a constant, the same at every index."""

    name: str
    dtype: torch.dtype


@dataclass(frozen=True)
class Apply:
    """A pointwise operation: ``build(code, width, operands)`` writes it for vectors of a width."""

    build: Callable[..., str]
    parts: tuple[Any, ...]
    dtype: torch.dtype


Tree = Any  # Leaf | Known | Apply


@dataclass(frozen=True)
class Value:
    """A tensor."""

    shape: tuple[int, ...]
    tree: Tree

    @property
    def dtype(self) -> torch.dtype:
        """The kind of its numbers."""
        return self.tree.dtype

    @property
    def numel(self) -> int:
        """How many numbers."""
        return prod(self.shape)


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor whose last axis is the fastest."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def leaves(tree: Tree) -> list[Leaf]:
    """The memory that a tree reads."""
    if isinstance(tree, Leaf):
        return [tree]
    return [leaf for part in tree.parts for leaf in leaves(part)] if isinstance(tree, Apply) else []


def restride(tree: Tree, change: Callable[[Leaf], Leaf]) -> Tree:
    """The tree over other strides."""
    if isinstance(tree, Leaf):
        return change(tree)
    return replace(tree, parts=tuple(restride(p, change) for p in tree.parts)) if isinstance(tree, Apply) else tree


def reshaped_strides(shape: Sequence[int], strides: Sequence[int], new: Sequence[int]) -> tuple[int, ...] | None:
    """Strides that show the same memory as ``new``, or None where there are none."""
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    if prod(shape) == 0:
        return contiguous(new)
    runs: list[list[int]] = []  # maximal pieces of memory walked at one step: [numbers, step]
    for n, s in old:
        if runs and runs[-1][1] == n * s:
            runs[-1] = [runs[-1][0] * n, s]
        else:
            runs.append([n, s])
    out = [0] * len(new)
    at, left = len(runs) - 1, runs[-1][0] if runs else 1
    for d in reversed(range(len(new))):
        if new[d] == 1:
            continue
        if left == 1:
            at -= 1
            left = runs[at][0]
        if left % new[d]:
            return None
        out[d] = runs[at][1] * (runs[at][0] // left)
        left //= new[d]
    return tuple(out)


def evaluate(code: Code, tree: Tree, index: Sequence[str], width: int = 1) -> str:
    """Write the tree's value at an index; with ``width`` > 1 of so many neighbours along the last axis."""
    if isinstance(tree, Known):
        return code.splat(tree.name, REGISTER[tree.dtype], width)
    if isinstance(tree, Apply):
        return tree.build(code, width, *[evaluate(code, part, index, width) for part in tree.parts])
    kind, register = MEMORY[tree.dtype], REGISTER[tree.dtype]
    last = tree.strides[-1] if tree.strides else 0
    where = code.offset(list(zip(index, tree.strides, strict=True)), tree.offset)
    address = code.at(tree.base, where, kind)
    if width == 1 or last == 1:
        got = code.load(address, kind, width)
        if kind != register:
            got = code.op(f"trunc {vector(kind, width)} {got} to {vector(register, width)}")
        return got
    if last == 0:
        return code.splat(evaluate(code, tree, index), register, width)
    out, whole = "poison", vector(register, width)
    for i in range(width):
        one = code.load(code.at(address, str(i * last), kind), kind)
        if kind != register:
            one = code.op(f"trunc {kind} {one} to {register}")
        out = code.op(f"insertelement {whole} {out}, {register} {one}, i64 {i}")
    return out


def put(code: Code, value: str, leaf: Leaf, index: Sequence[str], width: int = 1) -> None:
    """Store what :func:`evaluate` gave."""
    kind, register = MEMORY[leaf.dtype], REGISTER[leaf.dtype]
    if kind != register:
        value = code.op(f"zext {vector(register, width)} {value} to {vector(kind, width)}")
    where = code.offset(list(zip(index, leaf.strides, strict=True)), leaf.offset)
    last = leaf.strides[-1] if leaf.strides else 0
    address = code.at(leaf.base, where, kind)
    if width == 1 or last == 1:
        code.store(value, address, kind, width)
        return
    for i in range(width):
        one = code.op(f"extractelement {vector(kind, width)} {value}, i64 {i}")
        code.store(one, code.at(address, str(i * last), kind), kind)


def collapsed(shape: Sequence[int], trees: Sequence[Tree]) -> tuple[tuple[int, ...], list[Tree]]:
    """The same walk over fewer axes, wherever all memory involved is walked at one step."""
    own = [leaf.strides for tree in trees for leaf in leaves(tree)]
    groups: list[list[int]] = []
    for d, size in enumerate(shape):
        if size == 1:
            continue
        if groups and all(s[groups[-1][-1]] == s[d] * size for s in own):
            groups[-1].append(d)
        else:
            groups.append([d])
    if not groups:
        return (), [restride(tree, lambda leaf: replace(leaf, strides=())) for tree in trees]
    new = tuple(prod(shape[d] for d in group) for group in groups)

    def narrowed(leaf: Leaf) -> Leaf:
        return replace(leaf, strides=tuple(leaf.strides[group[-1]] for group in groups))

    return new, [restride(tree, narrowed) for tree in trees]


def assign(code: Code, targets: Sequence[Leaf], value: Value) -> None:
    """Write loops that store a value into each of some places of its shape."""
    if value.numel == 0:
        return
    shape, trees = collapsed(value.shape, [value.tree, *targets])
    tree, places = trees[0], trees[1:]

    def inner(outer: list[str]) -> None:
        if not shape:
            one = evaluate(code, tree, ())
            for place in places:
                put(code, one, place, ())
            return
        for first, count, width in pieces(shape[-1]):
            with code.loop(count * width, step=width) as loop:
                at = [*outer, code.offset([(loop.index, 1)], first)]
                one = evaluate(code, tree, at, width)
                for place in places:
                    put(code, one, place, at, width)

    nest(code, shape[:-1], inner)


def nest(code: Code, sizes: Sequence[int], inner: Callable[[list[str]], None], outer: Sequence[str] = ()) -> None:
    """Write loops over some axes around what ``inner`` writes, which gets their indices."""
    if not sizes:
        inner(list(outer))
        return
    with code.loop(sizes[0]) as loop:
        nest(code, sizes[1:], inner, [*outer, loop.index])
