"""The fast step against the plain one: every rewriting of the graph, blocks, and both backends."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from maxmargin.models import problems
from maxmargin.verify.engine import graph_passes as graphs
from maxmargin.verify.engine import tracing
from maxmargin.verify.engine.graph_passes import simplify
from maxmargin.verify.engine.losses import LOSSES
from maxmargin.verify.engine.run import starts
from maxmargin.verify.engine.stepping import Stepping
from maxmargin.verify.engine.tracing import traced
from maxmargin.verify.optimizers import get_optimizer

SUMS = 1e-11  # the same numbers, summed in another order, after 24 steps
NETWORK, CLASSES, DEEP = "binary:n=12,d=5@relu2:h=8", "multiclass@relu2:h=4", "multiclass@deep-linear:depth=2,width=4"


def _arguments(spec: str, name: str, runs: int, stacked: bool = False) -> tuple[Stepping, tuple]:
    problem, optimizer = problems.get(spec), get_optimizer(name)
    stepping = Stepping(problem, optimizer, LOSSES["cross-entropy"], optimizer.pace_norm, 0 if stacked else None, False)
    few = starts(problem, min(runs, 40), seed=1, scale=0.3)
    theta = {k: b.repeat(-(-runs // len(b)), *[1] * (b.ndim - 1))[:runs] for k, b in few.items()}
    theta = {
        k: b * torch.linspace(0.5, 2, runs, dtype=b.dtype).reshape(-1, *[1] * (b.ndim - 1)) for k, b in theta.items()
    }
    X, C = problem.X, problem.contrasts
    if stacked:
        X, C = X * torch.linspace(0.5, 2, runs, dtype=X.dtype).reshape(-1, 1, 1), C.expand(runs, *C.shape).clone()
    t, eta = torch.ones((), dtype=torch.float64), torch.linspace(1e-4, 1e-2, runs, dtype=torch.float64)
    return stepping, (theta, stepping.init(theta), t, eta, X, C)


def _plain(stepping: Stepping, arguments: tuple, steps: int) -> tuple:
    out = arguments
    for _ in range(steps):
        out = (*stepping.step(*out), *arguments[3:])
    return out[:3]


def _fast(stepping: Stepping, arguments: tuple, steps: int, **options: str) -> tuple:
    chunk = traced(stepping.step, *arguments, times=8, **options)  # type: ignore[arg-type]
    out = arguments
    for _ in range(steps // 8):
        out = (*chunk(*out), *arguments[3:])
    return out[:3]


def _far(a: tuple, b: tuple) -> float:
    pairs = zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True)
    return max(float((x - y).abs().amax()) for x, y in pairs)


@pytest.mark.parametrize("runs", [1, 3, 16, 37])
@pytest.mark.parametrize(("spec", "name"), [(NETWORK, "adam"), (CLASSES, "muon"), (DEEP, "momentum-gd")])
def test_a_traced_step_is_the_step(spec, name, runs):
    stepping, arguments = _arguments(spec, name, runs)
    slow, fast = _plain(stepping, arguments, 24), _fast(stepping, arguments, 24)
    assert _far(slow, fast) <= SUMS
    assert _far(slow, arguments[:3]) > 1e-3  # they moved
    assert all(leaf.is_contiguous() for leaf in pytree.tree_leaves(fast))


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_data_of_each_run(name):
    stepping, arguments = _arguments(NETWORK, name, 20, stacked=True)
    slow = _plain(stepping, arguments, 24)
    assert _far(slow, _fast(stepping, arguments, 24)) <= SUMS
    other, shared = _arguments(NETWORK, name, 20)
    assert _far(slow, _plain(other, shared, 24)) > 1e-3  # the data mattered


def test_as_many_runs_as_samples_as_features():
    """Shared data that look batched are turned, which must change nothing."""
    stepping, arguments = _arguments("binary:n=16,d=16@relu2:h=16", "adam", 16)
    assert _far(_plain(stepping, arguments, 24), _fast(stepping, arguments, 24)) <= SUMS


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_blocks_are_the_whole(name, monkeypatch):
    monkeypatch.setattr(tracing, "BLOCK", 16)
    stepping, arguments = _arguments(NETWORK, name, 48)
    sizes: list[int] = []
    honest = tracing._scripted
    monkeypatch.setattr(tracing, "_scripted", lambda g, i, n: sizes.append(len(i[0])) or honest(g, i, n))
    assert _far(_plain(stepping, arguments, 24), _fast(stepping, arguments, 24)) <= SUMS
    assert sizes == [16]


def test_what_could_be_mistaken_for_runs_is_not_cut():
    shared, stacked = torch.zeros(12, 5), torch.zeros(4096, 5)
    assert tracing._block(4096, [torch.zeros(4096), shared]) == 1024
    assert tracing._block(4096, [torch.zeros(4096), stacked]) == 4096
    assert tracing._block(2047, [shared]) == 2047
    assert tracing._block(3000, [shared]) == 1000
    assert tracing._block(4099, [shared]) == 4099  # a prime


def _graph(function: Callable[..., Tensor], *inputs: Tensor) -> fx.GraphModule:
    return simplify(make_fx(function)(*inputs), list(inputs), batch_last=False)


def _count(graph: fx.GraphModule, target: object) -> int:
    return sum(node.target is target for node in graph.graph.nodes)


def test_what_is_computed_twice_is_computed_once():
    stepping, arguments = _arguments(NETWORK, "signum", 4)
    flat, spec = pytree.tree_flatten(arguments)

    def step(*leaves: Tensor) -> list[Tensor]:
        return pytree.tree_leaves(stepping.step(*pytree.tree_unflatten(leaves, spec)))

    before = make_fx(step)(*flat)
    products = _count(before, torch.ops.aten.bmm.default)
    after = simplify(before, flat, batch_last=False)
    assert products == 4
    assert _count(after, torch.ops.aten.bmm.default) == 3  # the hidden layer serves scores and gradient


def test_alike_is_not_the_same():
    x = torch.arange(12.0, dtype=torch.float64).reshape(3, 4)
    for function in (
        lambda x: x.sum(0).sum() * 3 + x.sum(1).amax(),
        lambda x: (x * 2).amax(0) + (x * 3).amax(0),
        lambda x: x.expand(3, 4).T @ x,
        lambda x: x.reshape(4, 3).permute(1, 0) - x.view(3, 4),
    ):
        torch.testing.assert_close(_graph(function, x)(x), function(x), rtol=1e-15, atol=0)


def test_a_product_that_is_used_again_is_not_fused():
    a, b, c = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once = _graph(lambda a, b, c: a + b * c, a, b, c)
    again = _graph(lambda a, b, c: (a + b * c) / (b * c), a, b, c)
    assert (_count(once, torch.ops.aten.addcmul.default), _count(again, torch.ops.aten.addcmul.default)) == (1, 0)
    torch.testing.assert_close(again(a, b, c), (a + b * c) / (b * c), rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda W, V, X: X @ W.T,
        lambda W, V, X: W @ X.T,
        lambda W, V, X: (W @ X.T).T @ V,
        lambda W, V, X: (W * W).sum(0) + W.amax(0) * W.abs().amin(),
        lambda W, V, X: W.sum(-1, keepdim=True) / torch.linalg.vector_norm(W, dim=0),
        lambda W, V, X: torch.cat([W, V], dim=-1) * torch.cat([V.sum(1), W.sum(1)]).amax(),
        lambda W, V, X: (
            torch.linalg.vector_norm(W, 3, dim=1) + torch.linalg.vector_norm(W, 2, dim=1, keepdim=True)[:, 0]
        ),
        lambda W, V, X: torch.linalg.vector_norm(W) + W.reshape(-1).sum() + V.T.reshape(-1)[:3].sum(),
    ],
)
@pytest.mark.parametrize("small", [0, 10_000])
def test_products_and_reductions_with_the_batch_last(function, small, monkeypatch):
    """Both ways to multiply two batched matrices."""
    monkeypatch.setattr(graphs, "SMALL", small)
    draw = torch.Generator().manual_seed(0)
    W, V = (torch.randn(20, 4, k, dtype=torch.float64, generator=draw) for k in (5, 6))
    X = torch.randn(7, 5, dtype=torch.float64, generator=draw)
    batched = vmap(function, in_dims=(0, 0, None))
    torch.testing.assert_close(traced(batched, W, V, X)(W, V, X), batched(W, V, X), rtol=1e-13, atol=1e-13)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_the_compiled_step_is_the_step(caplog):
    stepping, arguments = _arguments("multiclass@linear", "momentum-gd", 16)
    with caplog.at_level(logging.WARNING, "maxmargin.verify.engine.tracing"):
        compiled = _fast(stepping, arguments, 24, backend="compile")
    if caplog.records:
        pytest.skip(f"no compiler here that torch can use: {caplog.records[0].getMessage()}")
    assert _far(_plain(stepping, arguments, 24), compiled) <= SUMS


def test_without_a_compiler_the_script_runs_and_says_so(monkeypatch, caplog):
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler found\nlong story")

    monkeypatch.setattr(torch, "compile", missing)
    stepping, arguments = _arguments("multiclass@linear", "momentum-gd", 3)
    with caplog.at_level(logging.WARNING, "maxmargin.verify.engine.tracing"):
        out = _fast(stepping, arguments, 24, backend="compile")
    assert "no C++ compiler found" in caplog.text
    assert "long story" not in caplog.text
    assert _far(_plain(stepping, arguments, 24), out) <= SUMS
