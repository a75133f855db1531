"""Passes over a traced graph of torch operators: nothing computed twice, no idle views, fewer kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten
_VIEWS = (aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.permute.default)


def simplify(graph: fx.GraphModule) -> fx.GraphModule:
    """Drop dead and repeated nodes and views that change nothing, and join sums with products.

    Args:
        graph: Functional aten operators, as make_fx writes them; changed in place.

    Returns:
        The same graph.
    """
    _once(graph.graph)
    _fused(graph.graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


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


def _shape(node: Any) -> tuple[int, ...] | None:
    value = node.meta.get("tensor_meta", node.meta.get("val"))
    return tuple(value.shape) if isinstance(value, Tensor) or hasattr(value, "shape") else None


def _unchanged(node: fx.Node) -> fx.Node | None:
    if node.target not in _VIEWS or _shape(node) is None or _shape(node.args[0]) != _shape(node):
        return None
    given: Any = node.args[0]  # annotated as any kind of argument; a view's first one is a node
    if node.target is aten.permute.default:
        order: Any = node.args[1]
        return given if list(order) == list(range(len(order))) else None
    return given


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
