"""Trust ratios: told from weight decay, from a ratio on some blocks only, and from the wrong power of the length."""

import pytest
import torch

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.norm.fingerprint import read
from maxmargin.verify.lab.norm.layerwise import layers
from maxmargin.verify.lab.norm.signature import signature

SHAPES = {"W": (4, 3), "V": (3, 5), "a": (6,)}


class Lars(torch.optim.Optimizer):
    """Each block's step is its rule's, times a power of the block's length; some blocks without."""

    def __init__(self, params, lr=1e-3, rule="l2", power=1.0, vectors=True, decay=0.0):
        super().__init__(params, {"lr": lr})
        self.rule, self.power, self.vectors, self.shrink = rule, power, vectors, decay

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                d = p.grad / p.grad.norm() if self.rule == "l2" else p.grad.sign()
                ratio = p.norm() ** self.power if self.vectors or p.ndim == 2 else 1.0
                p.sub_(group["lr"] * (ratio * d + self.shrink * p))


class Whole(Lars):
    """One ratio for all blocks together."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            length = torch.stack([p.norm() for p in group["params"]]).norm()
            for p in group["params"]:
                p.sub_(group["lr"] * length * p.grad / p.grad.norm())


def found_of(target, **kwargs):
    loaded = load(target, kwargs)
    return layers(loaded, SHAPES, read(signature(loaded, SHAPES), 0.0))


@pytest.mark.parametrize(("rule", "norm"), [("l2", "l2"), ("signs", "linf")])
def test_a_trust_ratio_and_each_blocks_rule_are_found(rule, norm):
    found = found_of(Lars, rule=rule)
    assert found.error <= 1e-2  # the weights change a little while the steps are taken
    assert dict(found.norms) == dict.fromkeys(SHAPES, norm)


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [(Lars, {"power": 0.0}), (Lars, {"power": 0.5}), (Lars, {"power": 2.0}), (Lars, {"vectors": False}), (Whole, {})],
    ids=str,
)
def test_what_is_no_trust_ratio_is_not_taken_for_one(target, kwargs):
    assert found_of(target, **kwargs).error > 0.1
