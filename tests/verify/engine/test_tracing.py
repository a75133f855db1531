"""Functions made fast: native on a CPU, and the passes over what a CUDA graph is captured from."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from maxmargin.models import problems
from maxmargin.verify.engine.graph_passes import simplify
from maxmargin.verify.engine.losses import LOSSES
from maxmargin.verify.engine.run import starts
from maxmargin.verify.engine.stepping import OneRun, Stepping
from maxmargin.verify.engine.tracing import traced
from maxmargin.verify.optimizers import get_optimizer

X = torch.arange(12.0, dtype=torch.float64).reshape(3, 4)


def test_trees_go_in_and_come_out():
    def function(tree, x):
        return {"sum": tree["a"] + x, "rest": [x.sum(), (x.amax(), tree["b"])]}

    arguments = {"a": X.clone(), "b": X[0].clone()}, X + 1
    got, want = traced(function, *arguments)(*arguments), function(*arguments)
    assert pytree.tree_structure(got) == pytree.tree_structure(want)
    for a, b in zip(pytree.tree_leaves(got), pytree.tree_leaves(want), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-15, atol=0)


def test_what_has_no_native_form_runs_all_the_same_and_says_so(caplog):
    with caplog.at_level(logging.WARNING, "maxmargin.verify.engine.tracing"):
        fast = traced(lambda x: torch.special.erfcx(x), X.clone())
    assert torch.equal(fast(X), torch.special.erfcx(X))
    (record,) = caplog.records
    assert record.getMessage().startswith("aten.special_erfcx.default has no native form")


def _graph(function: Callable[..., Tensor], *inputs: Tensor) -> fx.GraphModule:
    return simplify(make_fx(function)(*inputs))


def _count(graph: fx.GraphModule, target: object) -> int:
    return sum(node.target is target for node in graph.graph.nodes)


def test_what_is_computed_twice_is_computed_once():
    problem, optimizer = problems.get("binary:n=12,d=5@relu2:h=8"), get_optimizer("signum")
    stepping = Stepping(OneRun(problem, optimizer, LOSSES["cross-entropy"], optimizer.pace_norm), 4, None, False)
    theta, one = starts(problem, 4), torch.ones((), dtype=torch.float64)
    arguments = (theta, stepping.init(theta), one, one.expand(4), problem.X, problem.contrasts)
    flat, spec = pytree.tree_flatten(arguments)

    def step(*leaves: Tensor) -> list[Tensor]:
        return pytree.tree_leaves(stepping.step(*pytree.tree_unflatten(leaves, spec)))

    before = make_fx(step)(*flat)
    products = _count(before, torch.ops.aten.bmm.default)
    after = simplify(before)
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
