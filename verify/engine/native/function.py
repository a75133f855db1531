"""A single function of tensors as native code: what a black box's look and the flow's gradient run through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from maxmargin.verify.engine.native.compiler import load
from maxmargin.verify.engine.native.graph import Graph, record
from maxmargin.verify.engine.native.ir import Code
from maxmargin.verify.engine.native.lowering import Lowering
from maxmargin.verify.engine.native.values import Leaf, Value, contiguous


def compiled(function: Callable[..., Any], *example: Any) -> Callable[..., Any]:
    """Return ``function`` as native code, specialised to the shapes of ``example`` (trees of CPU tensors).

    Args:
        function: Of tensor trees, without branches on tensor values.
        *example: Arguments; every leaf must be a tensor of its own.

    Returns:
        A function of trees of the same structure; what it returns is new memory at every call.

    Raises:
        UnsupportedError: naming an operator that has no native form.
    """
    graph, spec = record(function, *example)
    text, heap = _written(graph)
    library = load(text, ["function"], getattr(function, "__name__", "a function"))
    takes = [graph.metas[ref.number] for ref in graph.inputs]
    gives = [graph.metas[ref.number] for ref in graph.outputs]
    call = library.function("function", len(takes) + len(gives) + 1)
    space = torch.empty(heap, dtype=torch.float64)

    # Python's part of a call is most of it: plain tensors in, a plain tuple out, take no detour through trees.
    plain_in = all(isinstance(x, Tensor) for x in example)
    plain_out = spec.type is tuple and all(child.is_leaf() for child in spec.children())

    def run(*arguments: Any) -> Any:
        leaves: list[Tensor] = [x.contiguous() for x in (arguments if plain_in else pytree.tree_leaves(arguments))]
        for x, meta in zip(leaves, takes, strict=True):
            if x.shape != meta.shape or x.dtype != meta.dtype:
                raise ValueError(f"an argument is {tuple(x.shape)} {x.dtype}; needed is {meta.shape} {meta.dtype}")
        out = [torch.empty(meta.shape, dtype=meta.dtype) for meta in gives]
        call(*[x.data_ptr() for x in leaves], *[x.data_ptr() for x in out], space.data_ptr())
        return tuple(out) if plain_out else pytree.tree_unflatten(out, spec)

    return run


def _written(graph: Graph) -> tuple[str, int]:
    code = Code()
    names = [f"%in{i}" for i in range(len(graph.inputs))], [f"%out{i}" for i in range(len(graph.outputs))]
    inputs, outputs = (
        [
            Leaf(name, 0, contiguous(graph.metas[ref.number].shape), graph.metas[ref.number].dtype)
            for name, ref in zip(part, refs, strict=True)
        ]
        for part, refs in zip(names, (graph.inputs, graph.outputs), strict=True)
    )
    values = [Value(graph.metas[r.number].shape, leaf) for r, leaf in zip(graph.inputs, inputs, strict=True)]
    Lowering(code).write(graph, values, outputs)
    signature = ", ".join(f"ptr noalias {name}" for name in [*names[0], *names[1], "%heap"])
    return "\n".join([*sorted(code.declared), *code.globals, code.function(f"@function({signature})")]), code.heap
