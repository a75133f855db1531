"""What a function of tensors does, operator by operator: recorded once from one call.

A dispatch mode sees the plain aten operators, also those below a vmap. It costs some 10 µs an operator, a tenth of
``make_fx``, which builds fake tensors and a module besides; a recording stands before every run, so this is what a
warm start waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from maxmargin.solvers.norms.polar.factor import as_one_operator

aten = torch.ops.aten
IN_PLACE = MappingProxyType({aten.squeeze_.dim: aten.squeeze.dim, aten.squeeze_.dims: aten.squeeze.dims})
"""Operators that change a new tensor's shape in place, as matmul does; from then on it is another one."""


class UnsupportedError(Exception):
    """Something that has no native form; the message names it."""


@dataclass(frozen=True)
class Ref:
    """A tensor of the recording, by its number."""

    number: int


@dataclass(frozen=True)
class Meta:
    """A tensor's shape and kind."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Node:
    """One call of an operator: arguments with :class:`Ref` for tensors, and the tensors that came out and are used."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Ref | None, ...]


@dataclass
class Graph:
    """The calls in their order, dead ones left out.

    Attributes:
        metas: Shape and kind of each tensor by its number.
        inputs: The arguments' leaves.
        constants: Tensors that the function brought along, by number.
        nodes: The calls.
        outputs: The result's leaves.
    """

    metas: list[Meta] = field(default_factory=list)
    inputs: list[Ref] = field(default_factory=list)
    constants: dict[int, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Ref] = field(default_factory=list)


class _Recorder(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.known: dict[int, Ref] = {}
        self.alive: list[Tensor] = []  # an id is a tensor's name only as long as the tensor lives

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True imports torch._dynamo, sympy and 800 other modules at the first operator: 1.5 s

    def new(self, x: Tensor) -> Ref:
        ref = Ref(len(self.graph.metas))
        self.graph.metas.append(Meta(tuple(x.shape), x.dtype))
        self.known[id(x)] = ref
        self.alive.append(x)
        return ref

    def of(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        found = self.known.get(id(x))
        if found is None:
            found = self.new(x)
            self.graph.constants[found.number] = x.detach().clone()
        return found

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is aten._local_scalar_dense.default:
            raise UnsupportedError("a branch on a tensor's value")
        if func._schema.is_mutable and func not in IN_PLACE:
            raise UnsupportedError(f"{func}, which writes into its argument")
        taken = tuple(_mapped(self.of, a) for a in args), {k: _mapped(self.of, a) for k, a in (kwargs or {}).items()}
        out = func(*args, **(kwargs or {}))
        leaves = out if isinstance(out, (tuple, list)) else (out,)
        outputs = tuple(self.new(x) if isinstance(x, Tensor) else None for x in leaves)
        self.graph.nodes.append(Node(IN_PLACE.get(func, func), *taken, outputs))
        return out


def record(function: Callable[..., Any], *example: Any) -> tuple[Graph, Any]:
    """Return what ``function`` does to arguments of these shapes (trees of tensors), and the result's structure.

    Args:
        function: Without branches on tensor values.
        *example: Arguments; every leaf must be a tensor of its own.

    Raises:
        UnsupportedError: where it looks at values or writes into tensors.
    """
    leaves: Sequence[Tensor] = pytree.tree_leaves(example)
    graph = Graph()
    recorder = _Recorder(graph)
    with torch.no_grad():
        graph.inputs = [recorder.new(x) for x in leaves]
        with as_one_operator(), recorder:
            out = function(*example)
    found, spec = pytree.tree_flatten(out)
    graph.outputs = [recorder.of(x) for x in found]
    _alive(graph)
    return graph, spec


def references(node: Node) -> list[Ref]:
    """The tensors that a call takes."""
    found: list[Ref] = []
    for argument in (*node.args, *node.kwargs.values()):
        parts = argument if isinstance(argument, (list, tuple)) else (argument,)
        found += [x for x in parts if isinstance(x, Ref)]
    return found


def _mapped(function: Callable[[Any], Any], argument: Any) -> Any:
    """A function of an operator's argument, or of each in a list of tensors."""
    return [function(a) for a in argument] if isinstance(argument, (list, tuple)) else function(argument)


def _alive(graph: Graph) -> None:
    """Leave out calls whose results nothing uses."""
    used = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if any(out in used for out in node.outputs):
            kept.append(replace(node, outputs=tuple(out if out in used else None for out in node.outputs)))
            used.update(references(node))
    graph.nodes = kept[::-1]
    graph.constants = {n: x for n, x in graph.constants.items() if Ref(n) in used}
