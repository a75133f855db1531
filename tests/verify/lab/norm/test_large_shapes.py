"""What changes with the shape is seen: rules, layouts, factors, refusals; and what does not change raises no alarm."""

from __future__ import annotations

import json

import pytest
import torch
from toys import Rule, newton_schulz, polar

from maxmargin.verify import check
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.examine import Laboratory
from maxmargin.verify.lab.faults.finding import Kind
from maxmargin.verify.lab.norm.large_shapes import BATCH, FLAT, LARGE, large_shapes
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.thresholds.training import STEPS

MATRICES = {"tall", "middle", "wide"}


def flattened(m):
    return polar(m) if m.ndim == 1 else polar(m.reshape(m.shape[0], -1)).reshape(m.shape)


def rule(function):
    return load(Rule, {"rule": function})


def batched(m):
    if m.ndim < 3:
        return polar(m)
    u, _, vt = torch.linalg.svd(m, full_matrices=False)
    return u @ vt


def polar_up_to_16(m):
    return flattened(m) if max(m.shape) <= 16 else torch.sign(m)


def preconditioned_when_large(m):
    return flattened(m) if m.numel() > 512 and m.ndim > 1 else m / m.norm()


def factored_from_16_rows(m):
    """A second moment of row and column means, which small matrices are spared."""
    if m.ndim != 2 or m.shape[0] < 16:
        return torch.sign(m)
    v = m**2
    return m / (v.mean(1, keepdim=True) * v.mean(0, keepdim=True) / v.mean()).sqrt()


def greedy(m):
    """Steepest descent under ℓ1."""
    u = torch.zeros_like(m)
    u.view(-1)[m.abs().argmax()] = m.view(-1)[m.abs().argmax()].sign()
    return u


def kernel_factor(m):
    """A shape factor of the last two axes, which are the kernel's in a convolution."""
    return flattened(m) if m.ndim == 1 else flattened(m) * max(m.shape[-2:]) ** 0.5


SOUND = {
    "Adam": load("torch.optim:Adam"),
    "Adam, large eps": load("torch.optim:Adam", {"eps": 1e-3}),
    "SGD": load("torch.optim:SGD", {"lr": 0.1, "momentum": 0.9}),
    "Signum": rule(torch.sign),
    "the largest entry alone": rule(greedy),
    "conv-flattening Muon": rule(flattened),
    "the same by Newton–Schulz": rule(
        lambda m: newton_schulz(m.reshape(m.shape[0], -1)).reshape(m.shape) if m.ndim > 1 else m.sign()
    ),
    "Adagrad": load("torch.optim:Adagrad"),
    "RAdam": load("torch.optim:RAdam"),
}


@pytest.mark.parametrize("name", SOUND)
def test_one_rule_for_all_shapes_stands_for_all(name):
    seen = large_shapes(SOUND[name])
    assert seen.disagreements == ()
    assert set(seen.stands) == set(LARGE.values()), seen.text
    assert not seen.refused
    assert not any(b.other_state or b.scaled for b in seen.blocks)
    assert "; but" not in seen.text


class Waiting(Rule):
    """Moves nothing in its first ten calls."""

    calls = 0

    def step(self, closure=None):
        self.calls += 1
        return super().step(closure) if self.calls > 10 else None


def test_one_that_moves_late_is_waited_for():
    seen = large_shapes(load(Waiting, {"rule": flattened}))
    assert not seen.refused
    assert set(seen.stands) == set(LARGE.values())


def test_muon_refuses_what_is_no_matrix():
    seen = large_shapes(load("torch.optim:Muon"))
    assert set(seen.refused) == {(1000,), (24, 8, 5), (16, 8, 3, 3)}
    assert seen.disagreements == ()
    assert len(seen.stands) == 3
    assert "it refuses 1000, 24 × 8 × 5, 16 × 8 × 3 × 3" in seen.text


@pytest.mark.parametrize(
    ("spoilt", "small", "large"),
    [
        (polar_up_to_16, "spectral", "linf"),
        (preconditioned_when_large, "l2", "spectral"),
        (factored_from_16_rows, "linf", "l2"),
    ],
)
def test_a_rule_that_changes_with_the_shape_is_seen(spoilt, small, large):
    seen = large_shapes(rule(spoilt))
    assert {b.block for b in seen.disagreements} == MATRICES
    assert {(b.expected[0], b.norm) for b in seen.disagreements} == {(small, large)}
    assert (160, 144) not in seen.stands
    assert f"a 160 × 144 block follows {large} (alignment" in seen.text
    assert f"where a small one follows {small} (1.000" in seen.text
    json.dumps(seen.to_json())


def scaled(law):
    return rule(lambda m: flattened(m) * law(*m.shape[:2]) if m.ndim == 2 else flattened(m))


@pytest.mark.parametrize(
    "law",
    [
        lambda r, c: max(1.0, r / c) ** 0.5 if r >= 16 else 1.0,
        lambda r, c: 2.0 if r * c > 100 else 1.0,
        lambda r, c: 1.05 if (r, c) == (48, 96) else 1.0,
    ],
)
def test_lengths_that_only_large_matrices_have_are_seen(law):
    seen = large_shapes(scaled(law))
    assert seen.disagreements == ()
    assert "times as far as" in seen.unlike
    assert "though a 8 × 6 as far as a 6 × 8 one" in seen.unlike
    assert seen.unlike in seen.text
    assert not {shape for shape in seen.stands if len(shape) == 2}


@pytest.mark.parametrize(
    "law",
    [
        lambda r, c: 1.0,
        lambda r, c: max(1.0, r / c) ** 0.5,
        lambda r, c: 0.2 * max(r, c) ** 0.5,
        lambda r, c: 1.01 if (r, c) == (48, 96) else 1.0,  # what is read of lengths may err by as much
    ],
)
def test_one_law_of_shapes_is_no_disagreement(law):
    assert large_shapes(scaled(law)).unlike == ""


def test_steps_that_grow_with_the_gradient_are_compared_for_one_gradient():
    assert large_shapes(SOUND["SGD"], degree=1.0).unlike == ""
    spoilt = rule(lambda m: m * (1.5 if m.numel() > 100 else 1.0))
    assert large_shapes(spoilt, degree=1.0).unlike


def test_convolutions_in_batches_and_factors_of_kernels_are_facts():
    seen = {b.block: b for b in large_shapes(rule(batched)).blocks}
    assert {seen[b].view for b in ("sequence", "convolution")} == {BATCH}
    assert not seen["convolution"].same
    scaled = {b.block: b for b in large_shapes(rule(kernel_factor)).blocks}
    assert scaled["convolution"].view == FLAT
    assert scaled["convolution"].factor == pytest.approx((3 / 72) ** 0.5)
    assert scaled["convolution"].scaled
    assert not scaled["convolution"].same
    assert "times as far as the matrix that it flattens to" in scaled["convolution"].text
    sound = {b.block: b for b in large_shapes(rule(flattened)).blocks}
    assert sound["convolution"].factor == pytest.approx(1.0)
    assert sound["convolution"].same


def test_other_state_is_named():
    seen = {b.block: b for b in large_shapes(load(Blocked, {})).blocks}
    assert seen["tall"].other_state == "1 × one of its own size, 1 × one of the rows' Gram matrix"
    assert not seen["vector"].other_state


class Hidden:
    """An object that holds a preconditioner."""

    def __init__(self, shape):
        self.statistics = [torch.zeros(n, n, dtype=torch.float64) for n in shape]


class Scalable(torch.optim.Optimizer):
    """Flattens matrices of at most 512 entries; preconditions others from step 1,000 on, by an object of its own."""

    def __init__(self, params, lr=1e-3, start=1_000):
        super().__init__(params, {"lr": lr, "start": start})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                if p.ndim == 2 and p.numel() > 512:
                    state.setdefault("hidden", Hidden(p.shape))
                late = "hidden" in state and state["step"] >= group["start"]
                p.sub_(group["lr"] * (polar(p.grad) if late else p.grad / p.grad.norm()))


def test_what_a_larger_state_does_later_is_waited_for():
    (found,) = large_shapes(load(Scalable, {})).disagreements
    assert (found.block, found.norm, found.expected[0]) == ("middle", "spectral", "l2")
    assert "after 1030 steps, follows spectral" in found.text
    assert (160, 144) not in large_shapes(load(Scalable, {})).stands
    never = large_shapes(load(Scalable, {"start": 10**9}))
    assert never.disagreements == ()
    assert {b.block for b in never.blocks if b.other_state} >= MATRICES


class Blocked(torch.optim.Optimizer):
    """Keeps a preconditioner for matrices of more than 512 entries, and never uses it."""

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state.setdefault("m", torch.zeros_like(p)).lerp_(p.grad, 0.1)
                if p.ndim == 2 and p.numel() > 512:
                    state.setdefault("L", torch.zeros(len(p), len(p), dtype=p.dtype)).add_(p.grad @ p.grad.T)
                p.sub_(group["lr"] * state["m"])


def test_the_laboratory_reports_it_once():
    laboratory = Laboratory(rule(polar_up_to_16))
    exams = laboratory.examine(["blocks@linear", "multiclass@linear"])
    assert exams[0].large is exams[1].large
    assert all(e.large.text in e.notes for e in exams)
    assert [f.kind for f in exams[0].findings].count(Kind.OTHER_SHAPES) == 3
    sound = Laboratory(rule(flattened)).examine(["blocks@linear"])
    assert not any(f.kind is Kind.OTHER_SHAPES for f in sound[0].findings)


@pytest.mark.parametrize(("function", "held"), [(polar_up_to_16, False), (flattened, True)])
def test_nothing_holds_beyond_the_shapes_for_which_it_stands(function, held, monkeypatch):
    monkeypatch.setitem(STEPS, "quick", 4_000)
    verdict = check(Rule, kwargs={"rule": function}, claim="hybrid", problems=["blocks"])
    assert (verdict.outcome is Outcome.HOLDS) is held, verdict.explain()
    assert ("follows linf" in verdict.explain()) is not held
    assert "16 × 8 × 3 × 3" in verdict.explain()
