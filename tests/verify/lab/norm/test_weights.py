"""Weights are read as exactly as the steps allow: small ones count where steps are exact, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import Rule, newton_schulz, polar

from maxmargin.solvers.norms import get_norm
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.lab.norm.fingerprint import read
from maxmargin.verify.lab.norm.reading import Step
from maxmargin.verify.lab.norm.subject import Subject
from maxmargin.verify.lab.norm.weights import misweighted, told_by_weights

SHAPES = {"W1": (5, 4), "W2": (3, 6), "a": (4,)}


def _steps(norm, *, noise=0.0, seed=0, factor=None):
    """Steepest descent under a norm, with noise relative to each block's size, and blocks that move by a factor."""
    rng, norm = np.random.default_rng(seed), get_norm(norm)
    steps = []
    for _ in range(32):
        g = {k: np.exp(rng.normal()) * rng.standard_normal(s) for k, s in SHAPES.items()}
        u = norm.lmo(g)
        noisy = {k: b + noise * np.linalg.norm(b) / b.size**0.5 * rng.standard_normal(b.shape) for k, b in u.items()}
        steps.append(Step(g, {k: (factor or {}).get(k, 1.0) * b for k, b in noisy.items()}, 1.0))
    return steps


def _weights(found):
    return {k: row["weight"] for k, row in found.to_json().items()}


@pytest.mark.parametrize("factor", [1.5, 1.1, 1.04, 1.001, 1 + 1e-6])
@pytest.mark.parametrize("norm", ["linf", "l2", "l2;max", "spectral", "entrywise:3", "spectral;l2"])
def test_exact_steps_give_exact_weights(norm, factor):
    p = get_norm(norm).aggregation
    if p < np.inf and factor < 1 + 1e-4:
        pytest.skip("costs less than 1e-12 of the alignment, which is rounding")
    found = read(_steps(norm, factor={"a": factor}))
    weight = factor if np.isinf(p) else factor ** ((p - 1) / p)
    assert found.weighted
    assert found.family == norm
    assert _weights(found) == pytest.approx({"W1": weight, "W2": weight, "a": 1.0}, rel=1e-11)
    assert found.alignment > 1 - 1e-9


@pytest.mark.parametrize("norm", ["linf", "l2", "l2;max", "spectral", "entrywise:3"])
def test_without_a_factor_the_plain_name_stands(norm):
    found = read(_steps(norm))
    assert (found.norm.name, found.weighted) == (norm, False)


@pytest.mark.parametrize("seed", range(5))
def test_noisy_steps_do_not_make_weights(seed):
    found = read(_steps("linf", noise=0.02, seed=seed, factor={"a": 1.002}))
    assert found.norm.name == "linf"


def _subject(rule, shapes=SHAPES, cls=Rule, **options):
    return Subject(load(cls, {"rule": rule, **options} if cls is Rule else options), shapes)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (lambda m: newton_schulz(m, 5, torch.float64), "hybrid"),
        (newton_schulz, "hybrid"),
        (lambda m: m.sign() + 1e-7 * m, "linf"),
        (lambda m: m.float().sign().double() * torch.tensor(0.1, dtype=torch.float32).double(), "linf"),
    ],
)
def test_approximate_and_rounded_steps_keep_the_plain_name(rule, name):
    subject = _subject(rule)
    assert read(subject.signature, subject.probe.coupling).norm.name == name


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-8, 1e-5])
def test_an_eps_makes_no_weights(eps):
    subject = _subject(None, cls=torch.optim.Adam, eps=eps)
    assert read(subject.signature, subject.probe.coupling).norm.name == "linf"
    assert misweighted(subject.signature, get_norm("linf")) == {}


def test_a_twin_has_the_same_weights():
    from maxmargin.verify.lab.twin.search import search

    target = load(Rule, {"rule": lambda m: polar(m) * (1.04 if m.ndim == 1 else (m.shape[0] / m.shape[1]) ** 0.5)})
    subject = Subject(target, SHAPES)
    seen = read(subject.signature, subject.probe.coupling)
    twin = search(target, SHAPES, subject.probe, 0, (seen.norm,)).twin
    exact = {"W1": (5 / 4) ** 0.5, "W2": 0.5**0.5, "a": 1.04}
    top = max(exact.values())
    assert _weights(seen) == pytest.approx({k: top / v for k, v in exact.items()}, rel=1e-11)
    assert twin is not None


# -- Against a norm -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.1, 1.04, 1 + 1e-6])
@pytest.mark.parametrize("norm", ["linf", "l2", "spectral"])
def test_steps_of_other_weights_are_surely_not_a_norms_own(norm, factor):
    found = misweighted(_steps(norm, factor={"a": factor}), get_norm(norm))
    assert found["a"] / found["W1"] == pytest.approx(factor)
    assert misweighted(_steps(norm), get_norm(norm)) == {}
    assert misweighted(_steps(norm, noise=0.05), get_norm(norm)) == {}


def test_another_join_is_no_weight():
    """Under a maximum blocks keep their lengths, under ℓ2 they do not: that scatter is not read as a factor."""
    assert misweighted(_steps("l2;max"), get_norm("l2")) == {}
    assert misweighted(_steps("linf"), get_norm("spectral")) == {}


def test_norms_that_differ_by_weights_are_told_by_the_steps_that_follow_one():
    steps = _steps("l2", factor={"a": 1.1})
    own = read(steps).norm
    others = {n: get_norm(n) for n in ("l2", "linf", "l2;max", "spectral", "blocks:W9=l2;l2", "blocks:*=3*l2;l2")}
    assert told_by_weights(steps, own, others | {"own": own}) == {"l2", "blocks:*=3*l2;l2"}
    assert told_by_weights(steps, get_norm("l2"), {"own": own}) == frozenset()
    assert told_by_weights(_steps("l2"), get_norm("l2"), {"own": own}) == {"own"}
    assert told_by_weights(_steps("l2", noise=0.3, factor={"a": 1.1}), own, others) == frozenset()
    assert told_by_weights([], own, others) == frozenset()
