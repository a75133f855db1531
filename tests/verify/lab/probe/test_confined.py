"""Weights that are kept at a length: found by the length that no step changes, on every block or on some."""

from __future__ import annotations

import pytest
import torch

from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.harness.session import Session
from maxmargin.verify.lab.probe.confined import TOGETHER, kept_lengths
from maxmargin.verify.lab.probe.probes import probe
from tests.toys import Descent, OnSphere, SignDescent, polar

SHAPES = {"W": (4, 3), "v": (5,)}


class OnSpectralSphere(OnSphere):
    def direction(self, p, state):
        return polar(p.grad) if p.ndim == 2 else p.grad

    def length(self, p):
        return torch.linalg.matrix_norm(p, ord=2) if p.ndim == 2 else p.norm()


class RowsOnSpheres(OnSphere):
    def length(self, p):
        return p.norm(dim=1, keepdim=True) if p.ndim == 2 else p.norm()


class MatricesOnSpheres(OnSphere):
    def length(self, p):
        return p.norm() if p.ndim == 2 else torch.ones((), dtype=p.dtype)


class JointSphere(Descent):
    """All weights together on one sphere."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        params = self.param_groups[0]["params"]
        length = torch.stack([p.norm() for p in params]).norm()
        for p in params:
            p.div_(length)


class Tangent(Descent):
    """Steps across the weights, without a way back: their length grows by half the square of a step."""

    def direction(self, p, state):
        return p.grad - p * (p * p.grad).sum() / (p * p).sum()


class CoarseTangent(Tangent):
    """The same on weights that are rounded to bfloat16."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        for p in self.param_groups[0]["params"]:
            p.copy_(p.bfloat16())


class HalfStill(Descent):
    """Moves the first entry of a block alone."""

    def direction(self, p, state):
        moved = torch.zeros_like(p)
        moved.view(-1)[0] = p.grad.view(-1)[0]
        return moved


def kept_by(optimizer, **kwargs):
    session = Session(load(optimizer, kwargs), SHAPES, 0)
    return kept_lengths(session, session.run()[1], 0.0)


@pytest.mark.parametrize(
    ("optimizer", "kwargs", "kept"),
    [
        (OnSphere, {"radius": 2.0}, {"W": "l2 length", "v": "l2 length"}),
        (OnSphere, {}, {"W": "l2 length", "v": "l2 length"}),
        (OnSphere, {"radius": 1e3}, {"W": "l2 length", "v": "l2 length"}),
        (OnSphere, {"lr": 1e-6}, {"W": "l2 length", "v": "l2 length"}),
        (OnSpectralSphere, {"radius": 2.0}, {"W": "spectral norm", "v": "l2 length"}),
        (RowsOnSpheres, {}, {"W": "l2 length of each row", "v": "l2 length"}),
        (MatricesOnSpheres, {}, {"W": "l2 length"}),
        (JointSphere, {}, {TOGETHER: "l2 length"}),
        (Descent, {}, {}),
        (SignDescent, {}, {}),
        (Tangent, {}, {}),
        (Tangent, {"lr": 1e-6}, {}),
        (HalfStill, {}, {}),
    ],
)
def test_lengths_that_no_step_changes(optimizer, kwargs, kept):
    assert kept_by(optimizer, **kwargs) == kept


def test_rounded_weights_are_kept_as_well_as_rounding_lets_them():
    found = probe(load(OnSphere, {"radius": 2.0, "dtype": torch.float32}), SHAPES)
    assert found.kept == {"W": "l2 length", "v": "l2 length"}
    assert kept_by(OnSphere, radius=2.0, dtype=torch.float32) == {}  # to whom nothing is said of rounding


def test_what_is_rounded_coarsely_is_not_said_to_be_kept():
    """Steps across the weights change their length by less than bfloat16 tells."""
    for optimizer, kwargs in ((OnSphere, {"dtype": torch.bfloat16}), (CoarseTangent, {})):
        found = probe(load(optimizer, kwargs), SHAPES)
        assert (found.weight_format, found.kept) == ("bfloat16", {})


def test_it_is_told_once_for_each_length():
    said = [text for text in probe(load(OnSpectralSphere), SHAPES).findings if "No step changes" in text]
    assert [text.partition(",")[0] for text in said] == [
        "No step changes the spectral norm of W",
        "No step changes the l2 length of v",
    ]
