"""Blocks whose steps answer to the gradient's size by different powers: no one norm is followed as gradients vanish."""

from functools import partial

import pytest
import torch

from maxmargin import check
from maxmargin.models.problems import get as problem
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.lab.regimes import regimes

SHAPES = problem("blocks").shapes


class Muon(torch.optim.Optimizer):
    """The polar factor of each matrix, with an eps beside its norm; vectors as ``vectors`` has it."""

    def __init__(self, params, lr=0.02, eps=0.0, vectors="plain"):
        super().__init__(params, {"lr": lr, "eps": eps, "vectors": vectors})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim == 2:
                    x = p.grad / (p.grad.norm() + group["eps"])
                    for _ in range(30):
                        x = 1.5 * x - 0.5 * x @ x.T @ x
                else:
                    x = p.grad if group["vectors"] == "plain" else p.grad.sign()
                p.sub_(group["lr"] * x)


def probed(**kwargs):
    return probe(load(partial(Muon, **kwargs)), SHAPES)


def test_each_block_has_its_own_power():
    assert probed().uneven == {"tall": 0.0, "wide": 0.0, "square": 0.0, "vector": 1.0}
    assert probed().floor == 0


def test_an_eps_ends_it_and_is_found_beside_it():
    about = probed(eps=1e-7)
    assert about.uneven["vector"] == 1.0
    assert 1e-12 < about.floor < 1e-5
    found = regimes(load(partial(Muon, eps=1e-7)), SHAPES, about)
    assert found is not None
    assert found.degrees == (None, 1.0)


@pytest.mark.parametrize(
    "optimizer",
    [partial(Muon, vectors="sign"), torch.optim.SGD, torch.optim.Adam, partial(torch.optim.Adam, eps=0.1)],
    ids=["sign", "SGD", "Adam", "large eps"],
)
def test_one_power_for_all_blocks_is_not_uneven(optimizer):
    assert not probe(load(optimizer), SHAPES).uneven


def test_it_refutes_and_says_why():
    verdict = check(Muon, problems=["blocks"])
    assert verdict.outcome == "fails"
    assert "vector stands still beside tall, wide, square" in verdict.reasons[0]
    assert not any("differ in weight" in text for text in verdict.reasons)
    even = check(Muon, vectors="sign", problems=["blocks"])
    assert even.outcome == "holds"
    assert even.norm == "hybrid"
