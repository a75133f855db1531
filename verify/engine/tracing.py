"""Turn a function of tensor trees into one that runs with little overhead a call.

On a CPU it is compiled to native code. On a GPU its operators are captured in a CUDA graph, which one launch replays.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from maxmargin.verify.engine.graph_passes import simplify
from maxmargin.verify.engine.native.function import compiled
from maxmargin.verify.engine.native.graph import UnsupportedError

WARM_UPS = 3  # steps before a capture, in which libraries set themselves up
_log = logging.getLogger(__name__)


def traced(function: Callable[..., Any], *example: Any) -> Callable[..., Any]:
    """Return ``function`` specialised to the shapes of ``example`` (trees of tensors in, a tree of tensors out).

    Args:
        function: Of tensor trees, without branches on tensor values.
        *example: Arguments; their shapes and device are those of every call. Every leaf must be a tensor of its own.

    Returns:
        The fast function; where an operator has no native form, the function itself.
    """
    if pytree.tree_leaves(example)[0].device.type == "cuda":
        return captured(function, *example)
    try:
        return compiled(function, *example)
    except UnsupportedError as missing:
        _log.warning("%s has no native form: torch runs it, ten times slower", missing)
        return torch.no_grad()(function)


def captured(function: Callable[..., Any], *example: Any, times: int = 1) -> Callable[..., Any]:
    """The same on a GPU: arguments are copied into a CUDA graph's memory, one launch replays it, results come out.

    Args:
        function: Of tensor trees, without branches on tensor values.
        *example: Arguments on the GPU.
        times: Applications in one call; what comes out is fed back as the first arguments.

    Returns:
        The fast function.
    """
    flat, spec = pytree.tree_flatten(example)
    structure: list[Any] = []

    def on_leaves(*leaves: Tensor) -> tuple[Tensor, ...]:
        out, found = pytree.tree_flatten(function(*pytree.tree_unflatten(leaves, spec)))
        structure[:] = [found]
        return tuple(out)

    def steps(*leaves: Tensor) -> Sequence[Tensor]:
        out: Sequence[Tensor] = ()
        for _ in range(times):
            out = graph(*leaves)
            leaves = (*out, *leaves[len(out) :])
        return out

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about constants, expected here
        graph = simplify(make_fx(on_leaves)(*flat))
        static = [x.clone() for x in flat]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                steps(*static)
        torch.cuda.current_stream().wait_stream(stream)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            out = steps(*static)

    def call(*arguments: Any) -> Any:
        for mine, given in zip(static, pytree.tree_leaves(arguments), strict=True):
            mine.copy_(given)
        recorded.replay()
        return pytree.tree_unflatten([x.clone() for x in out], structure[0])  # the next replay overwrites them

    return call
