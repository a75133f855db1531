"""Passes over a traced graph of torch operators: nothing computed twice, and products fit for a batch-last layout.

vmap writes a product of every run's block with the shared data as B small products. With the batch as the fastest axis
in memory it is one product a row of the block, and every elementwise operator and reduction works on long rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from typing_extensions import override

aten = torch.ops.aten
SMALL = 1024
"""Multiplications a run up to which a product of two batched matrices is written out elementwise."""
_VIEWS = (aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.permute.default)
# Reductions, and where among their arguments the axes stand.
_REDUCTIONS = {
    aten.sum.dim_IntList: 1, aten.amax.default: 1, aten.amin.default: 1, aten.linalg_vector_norm.default: 2
}  # fmt: skip


def simplify(graph: fx.GraphModule, example: list[Tensor], *, batch_last: bool) -> fx.GraphModule:
    """Drop dead and repeated nodes and views that change nothing; with ``batch_last`` rewrite products for it.

    Args:
        graph: Functional aten operators (as make_fx writes them), changed in place.
        example: Its inputs.
        batch_last: Whether its inputs have the batch as their fastest axis.

    Returns:
        The same graph.
    """
    _Shapes(graph).run(*example)
    _once(graph.graph)
    if batch_last:
        _products(graph.graph)
        _reductions(graph.graph)
        _joined(graph.graph)
    _fused(graph.graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class _Shapes(fx.Interpreter):
    """Notes every node's shape."""

    @override
    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if isinstance(out, Tensor):
            n.meta["shape"] = tuple(out.shape)
        return out


def _once(graph: fx.Graph) -> None:
    """Common subexpressions, and views that return what they got."""
    graph.eliminate_dead_code()
    known: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        same = _unchanged(node)
        if same is None:
            # repr: 1 and 1.0 and True are different arguments.
            key = (node.target, repr(node.args), repr(node.kwargs))
            same = known.setdefault(key, node)
        if same is not node:
            node.replace_all_uses_with(same)
            graph.erase_node(node)


def _unchanged(node: fx.Node) -> fx.Node | None:
    if node.target not in _VIEWS or node.args[0].meta.get("shape") != node.meta["shape"]:  # type: ignore[union-attr]
        return None
    if node.target is aten.permute.default:
        order = node.args[1]
        return node.args[0] if list(order) == list(range(len(order))) else None  # type: ignore[arg-type,return-value]
    return node.args[0]  # type: ignore[return-value]


def _fused(graph: fx.Graph) -> None:
    """a + b · c in one pass over memory."""
    for node in list(graph.nodes):
        if node.target is not aten.add.Tensor or node.kwargs or not all(isinstance(a, fx.Node) for a in node.args):
            continue
        for base, product in (node.args, node.args[::-1]):
            if (
                product.target is aten.mul.Tensor
                and len(product.users) == 1
                and all(isinstance(a, fx.Node) for a in product.args)
            ):
                with graph.inserting_before(node):
                    new = graph.call_function(aten.addcmul.default, (base, *product.args))
                new.meta = dict(node.meta)
                node.replace_all_uses_with(new)
                graph.erase_node(node)
                graph.erase_node(product)
                break


def _products(graph: fx.Graph) -> None:
    """Batched products on operands whose batch is the fastest axis."""
    for node in list(graph.nodes):
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default  # the layout is no longer the one that make_fx saw
        if node.target is not aten.bmm.default:
            continue
        left, right = node.args
        (batch, rows, inner), columns = left.meta["shape"], right.meta["shape"][2]
        shared_left, shared_right = _shared(left), _shared(right)
        with graph.inserting_before(node):
            if shared_left is not None:
                moved = graph.call_function(aten.permute.default, (right, [2, 1, 0]))
                wide = graph.call_function(aten.expand.default, (shared_left, [columns, rows, inner]))
                product = graph.call_function(aten.bmm.default, (wide, moved))
                new = graph.call_function(aten.permute.default, (product, [2, 1, 0]))
            elif shared_right is not None:
                moved = graph.call_function(aten.permute.default, (left, [1, 2, 0]))
                turned = graph.call_function(aten.permute.default, (shared_right, [1, 0]))
                wide = graph.call_function(aten.expand.default, (turned, [rows, columns, inner]))
                product = graph.call_function(aten.bmm.default, (wide, moved))
                new = graph.call_function(aten.permute.default, (product, [2, 0, 1]))
            elif rows * inner * columns <= SMALL:
                a = graph.call_function(aten.unsqueeze.default, (left, 3))
                b = graph.call_function(aten.unsqueeze.default, (right, 1))
                product = graph.call_function(aten.mul.Tensor, (a, b))
                product.meta["shape"] = (batch, rows, inner, columns)
                new = graph.call_function(aten.sum.dim_IntList, (product, [2]))
            else:
                continue
        new.meta["shape"] = (batch, rows, columns)
        node.replace_all_uses_with(new)
        graph.erase_node(node)


def _reductions(graph: fx.Graph) -> None:
    """Reductions within runs, on the turned tensor: torch gives a result the first axis as its slowest."""
    for node in list(graph.nodes):
        where = _REDUCTIONS.get(node.target)
        if where is None or len(node.args) <= where or node.args[where] is None or not node.meta["shape"]:
            continue
        x = node.args[0]
        rank = len(x.meta["shape"])
        axes = [axis % rank for axis in node.args[where]]
        other_norm = node.target is aten.linalg_vector_norm.default and node.args[1] != 2
        if rank < 2 or 0 in axes or not axes or other_norm:
            continue
        with graph.inserting_before(node):
            turned = graph.call_function(aten.permute.default, (x, [*range(1, rank), 0]))
            args = list(node.args)
            args[0], args[where] = turned, [axis - 1 for axis in axes]
            if node.target is aten.linalg_vector_norm.default:  # ten times slower along a slow axis than this
                squares = graph.call_function(aten.mul.Tensor, (turned, turned))
                total = graph.call_function(aten.sum.dim_IntList, (squares, *args[where:4]))
                reduced = graph.call_function(aten.sqrt.default, (total,))
            else:
                reduced = graph.call_function(node.target, tuple(args), dict(node.kwargs))
            kept = len(node.meta["shape"])
            new = graph.call_function(aten.permute.default, (reduced, [kept - 1, *range(kept - 1)]))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.erase_node(node)


def _joined(graph: fx.Graph) -> None:
    """Blocks put side by side within runs, on the turned tensors."""
    for node in list(graph.nodes):
        if node.target is not aten.cat.default:
            continue
        parts, axis = node.args[0], node.args[1] if len(node.args) > 1 else 0
        rank = len(node.meta["shape"])
        if rank < 2 or axis % rank == 0 or any(len(part.meta["shape"]) != rank for part in parts):
            continue
        with graph.inserting_before(node):
            order = [*range(1, rank), 0]
            turned = [graph.call_function(aten.permute.default, (part, order)) for part in parts]
            whole = graph.call_function(aten.cat.default, (turned, axis % rank - 1))
            new = graph.call_function(aten.permute.default, (whole, [rank - 1, *range(rank - 1)]))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.erase_node(node)


def _shared(node: fx.Node) -> fx.Node | None:
    """The one matrix that a batched operand repeats, if it does.

    Returns:
        A node of shape (rows, columns), or None.
    """
    if node.target is aten.expand.default and len(node.args[0].meta.get("shape", ())) == 2:  # type: ignore[union-attr]
        return node.args[0]  # type: ignore[return-value]
    return None
