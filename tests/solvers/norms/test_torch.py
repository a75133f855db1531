"""What the engine relies on: norms that trace, vmap, stay cheap, and keep a spoilt run to itself."""

import numpy as np
import pytest
import torch
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx

from maxmargin.models.blocks import as_numpy
from maxmargin.solvers.norms import NORMS, get_norm

SHAPES = {"W": (4, 3), "a": (4,)}
SPECS = [*NORMS, "hybrid:2", "schatten:1.5", "spectral;l2", "l2;max", "linf;sum", "blocks:W=2*maxrow,a=l2;max"]


def batch(seed, runs=5):
    generator = torch.Generator().manual_seed(seed)
    blocks = {n: torch.randn((runs, *s), generator=generator, dtype=torch.float64) for n, s in SHAPES.items()}
    blocks["W"][1] = 0.0  # a run at rest
    blocks["W"][2] = torch.outer(blocks["a"][2], torch.arange(3.0, dtype=torch.float64))  # rank one, a zero column
    return blocks


def calls(graph):
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def decompositions(method, blocks):
    return sum("svd" in call for call in calls(make_fx(lambda G: method(G))(blocks)))


@pytest.mark.parametrize("spec", SPECS)
def test_trace_of_the_batched_lmo_replays_on_other_data(spec):
    norm = get_norm(spec)
    graph = make_fx(lambda G: vmap(norm.lmo)(G))(batch(0))
    fresh = batch(1)
    got = graph(fresh)
    for i in range(5):
        run = {name: block[i].numpy() for name, block in fresh.items()}
        for name, block in norm.lmo(run).items():
            np.testing.assert_allclose(got[name][i].numpy(), block, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS)
def test_batched_projection_is_the_loop(spec):
    norm, blocks = get_norm(spec), batch(2)
    got = vmap(lambda theta: norm.project(theta, 0.7))(blocks)
    for i in range(5):
        alone = norm.project({name: block[i].numpy() for name, block in blocks.items()}, 0.7)
        for name, block in alone.items():
            np.testing.assert_allclose(got[name][i].numpy(), block, atol=1e-11)


@pytest.mark.parametrize("spec", ["schatten:3;l2", "linf;3", "rows:1.5;sum"])
def test_projection_by_roots_within_roots_takes_tensors_one_run_at_a_time(spec):
    norm = get_norm(spec)
    theta = {name: block[0] for name, block in batch(3).items()}
    point = norm.project(theta, 0.7)
    for name, block in norm.project(as_numpy(theta), 0.7).items():
        assert point[name].dtype == torch.float64
        np.testing.assert_allclose(point[name].numpy(), block, atol=1e-13)


@pytest.mark.parametrize("spec", [*SPECS, "entrywise:3"])
def test_nan_in_one_run_stays_there_and_is_not_hidden(spec):
    norm, clean = get_norm(spec), batch(4)
    spoilt = {name: block.clone() for name, block in clean.items()}
    spoilt["W"][3, 1, 1] = torch.nan
    spoilt["W"][4, 0, 0] = torch.inf
    good, got = vmap(norm.lmo)(clean), vmap(norm.lmo)(spoilt)
    for name in SHAPES:
        assert torch.equal(got[name][:3], good[name][:3])
    assert not torch.isfinite(got["W"][3]).all()
    assert not torch.isfinite(vmap(norm.value)(spoilt)[3:]).any()
    assert not torch.isfinite(vmap(norm.dual)(spoilt)[3:]).any()


def test_linf_costs_two_operations_a_block():
    graph = make_fx(lambda G: vmap(get_norm("linf").lmo)(G))(batch(0))
    assert len(calls(graph)) == 2 * len(SHAPES)


@pytest.mark.parametrize("spec", ["l1", "l2", "linf", "schatten:2", "maxrow", "maxcolumn", "l2;max"])
def test_no_decomposition_without_need(spec):
    norm, blocks = get_norm(spec), batch(0)
    for method in (norm.lmo, norm.value, norm.dual, norm.project):
        assert decompositions(vmap(method), blocks) == 0


@pytest.mark.parametrize("spec", ["spectral", "nuclear", "hybrid", "schatten:3;max"])
def test_blocks_of_one_row_or_column_need_no_decomposition(spec):
    norm = get_norm(spec)
    blocks = {"a": torch.ones(5), "row": torch.ones(1, 3), "column": torch.ones(3, 1)}
    for method in (norm.lmo, norm.value, norm.dual):
        assert decompositions(method, blocks) == 0
    assert decompositions(norm.lmo, {"W": torch.ones(2, 2)}) == 1  # the check can fail


@pytest.mark.parametrize("spec", SPECS)
def test_float32_stays_float32(spec):
    norm = get_norm(spec)
    theta = {name: block[0].float() for name, block in batch(5).items()}
    wide = {name: block.double() for name, block in theta.items()}
    assert norm.value(theta).dtype == torch.float32
    assert float(norm.dual(theta)) == pytest.approx(float(norm.dual(wide)), rel=1e-5)
    for blocks, ours in ((norm.lmo(theta), norm.lmo(wide)), (norm.project(theta, 0.5), norm.project(wide, 0.5))):
        for name, block in blocks.items():
            assert block.dtype == torch.float32
            np.testing.assert_allclose(block.numpy(), ours[name].numpy(), atol=2e-5)
