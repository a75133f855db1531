"""Turn a function of tensor trees into one that runs with little overhead a call.

``torch.func.vmap`` costs some 300 µs of Python a step at the sizes of this suite. Tracing the vmapped function once to
plain batched operators and running them in TorchScript's interpreter costs a tenth of that, and needs no compiler.
On a GPU the same operators are captured in a CUDA graph, which one launch replays.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from maxmargin.verify.engine.graph_passes import simplify

LEAST_BATCH = 16  # runs from which long rows pay for turning the tensors
BLOCK = 1024  # runs worked on at a time: what a step of a small network needs then fits the second-level cache
WARM_UPS = 3  # steps before a capture, in which libraries set themselves up

Backend = Literal["script", "compile"]
Runner = Callable[[Sequence[Tensor]], Sequence[Tensor]]
log = logging.getLogger(__name__)


class _Repeat(torch.nn.Module):
    """A step applied several times in one call: its outputs replace its first inputs."""

    def __init__(self, step: Any, times: int) -> None:
        super().__init__()
        self.step, self.times = step, times

    def forward(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        out: tuple[Tensor, ...] = ()
        for _ in range(self.times):
            out = self.step(*leaves)
            leaves = (*out, *leaves[len(out) :])
        return out


def traced(
    function: Callable[..., Any], *example: Any, times: int = 1, backend: Backend = "script"
) -> Callable[..., Any]:
    """Return ``function`` specialised to the shapes of ``example`` (trees of tensors in, a tree of tensors out).

    ``function`` must have no branch on tensor values. The result takes and returns trees of the same structure. With
    ``times`` > 1 it applies the function so often in one call, feeding what comes out back as the first arguments;
    tracing costs as much as for one.

    Tensors whose first axis is as long as the first tensor's are taken as batched: on a CPU they are worked on with
    that axis as the fastest in memory, and, where ``times`` > 1 and no argument could be mistaken for batched, in
    blocks that fit the cache (the runs of a batch then must not see each other). It changes the speed alone; but sums
    are taken in another order than without tracing.

    Args:
        function: Of tensor trees.
        *example: Arguments; their shapes and device are those of every call.
        times: Applications in one call.
        backend: ``script``, or ``compile`` for torch.compile: seconds to minutes of compilation once a process and
            shape, and a C++ compiler; where it fails, a logged warning and ``script``. On a GPU always a CUDA graph.

    Returns:
        The fast function.
    """
    flat, spec = pytree.tree_flatten(example)
    out_spec: list[Any] = []
    batch = flat[0].shape[0] if flat[0].ndim else 0
    cuda = flat[0].device.type == "cuda"
    batched = [x.ndim > 0 and x.shape[0] == batch for x in flat]

    def on_leaves(*leaves: Tensor) -> tuple[Tensor, ...]:
        out, structure = pytree.tree_flatten(function(*pytree.tree_unflatten(leaves, spec)))
        out_spec[:] = [structure]
        return tuple(out)

    def arranged(leaves: Sequence[Tensor]) -> list[Tensor]:
        if batch < LEAST_BATCH:
            return list(leaves)
        return [_batch_last(x) if b and x.ndim > 1 else x for x, b in zip(leaves, batched, strict=True)]

    with torch.no_grad(), warnings.catch_warnings():
        # torch.jit announces its deprecation and TracerWarnings about constants, at each call; both are expected here.
        warnings.simplefilter("ignore")
        fed_back = len(flat) if times == 1 else len(on_leaves(*flat))
        size = _block(batch, flat[fed_back:]) if times > 1 and not cuda else batch
        inputs = arranged([x[:size] if b else x for x, b in zip(flat, batched, strict=True)])
        graph = simplify(make_fx(on_leaves)(*inputs), inputs, batch_last=batch >= LEAST_BATCH)
        run = (
            _captured(graph, inputs, times)
            if cuda
            else _compiled(graph, inputs, times)
            if backend == "compile"
            else None
        )
        run = run or _scripted(graph, inputs, times)

    def call(*arguments: Any) -> Any:
        leaves = pytree.tree_leaves(arguments)
        with torch.no_grad():
            if size == batch:
                return pytree.tree_unflatten([x.contiguous() for x in run(arranged(leaves))], out_spec[0])
            parts = []
            for start in range(0, batch, size):
                part = [x[start : start + size] if b else x for x, b in zip(leaves, batched, strict=True)]
                parts.append(run(arranged(part)))
            # Outputs replace the first inputs, so they are batched where those are.
            whole = [torch.cat(xs) if b else xs[-1] for xs, b in zip(zip(*parts, strict=True), batched, strict=False)]
        return pytree.tree_unflatten(whole, out_spec[0])

    return call


def _batch_last(x: Tensor) -> Tensor:
    """The same tensor with its first axis as the fastest in memory."""
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


def _block(batch: int, constant: Sequence[Tensor]) -> int:
    """Runs worked on at a time: a divisor of the batch, or all of it where a shared tensor looks batched.

    Returns:
        At most the batch.
    """
    if batch < 2 * BLOCK or any(x.ndim > 1 and x.shape[0] == batch for x in constant):
        return batch
    return next((size for size in range(BLOCK, BLOCK // 4, -1) if batch % size == 0), batch)


def _scripted(graph: Any, inputs: list[Tensor], times: int) -> Runner:
    script = torch.jit.trace(graph, tuple(inputs), check_trace=False)
    if times > 1:
        script = torch.jit.trace(_Repeat(script, times), tuple(inputs), check_trace=False)
    script = torch.jit.freeze(script.eval())

    def run(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        out = script(*leaves)
        return out if isinstance(out, tuple) else (out,)

    return run


def _compiled(graph: Any, inputs: list[Tensor], times: int) -> Runner | None:
    """By torch.compile, or None where that fails: no compiler, or an operator that it does not know."""
    try:
        step = _Repeat(torch.compile(graph, dynamic=False), times)
        step(*inputs)
    except Exception as error:  # whatever a missing tool raises: the other way gives the same numbers
        first = str(error).strip().splitlines()[:1]
        log.warning("torch.compile failed (%s: %s); running the traced operators", type(error).__name__, *first or [""])
        return None
    return lambda leaves: step(*leaves)


def _captured(graph: Any, inputs: list[Tensor], times: int) -> Runner:
    """As a CUDA graph: arguments are copied into its memory, one launch replays all steps, results are copied out."""
    steps = _Repeat(graph, times)
    static = [x.clone() for x in inputs]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            steps(*static)
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        out = steps(*static)

    def run(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        for mine, given in zip(static, leaves, strict=True):
            mine.copy_(given)
        recorded.replay()
        return [x.clone() for x in out]  # the next replay overwrites them

    return run
