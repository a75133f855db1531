"""The mutants are what they claim to be, and ``check`` tells a sample of them from correct optimizers.

A few are checked here; all of them with MAXMARGIN_MUTANTS=full, and all with all problems and three seeds by
``python tests/benchmarks/bench_mutants.py``.
"""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify import check
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.optimizers.core.logscale import Scaled
from maxmargin.verify.thresholds.training import STEPS

FILE = Path(__file__).with_name("mutants.py")
FULL = os.environ.get("MAXMARGIN_MUTANTS") == "full"


def _load():
    spec = importlib.util.spec_from_file_location("maxmargin_mutants", FILE)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROWS = _load()
MUTANTS, CORRECT = ROWS.MUTANTS, ROWS.CORRECT
SHAPES = dict(problems.get("blocks").shapes)


def by_class(row):
    return row.build.__name__


def gradients(steps, seed=0, shapes=SHAPES):
    """A direction with noise around it, shrinking as late gradients do, and turning round now and then."""
    rng = np.random.default_rng(seed)
    toward = {k: rng.standard_normal(s) for k, s in shapes.items()}
    for t in range(steps):
        factor = 0.98**t * (-1 if t % 7 == 6 else 1)
        yield {k: torch.as_tensor(factor * (b + 0.5 * rng.standard_normal(b.shape))) for k, b in toward.items()}


def moves(row, stream, shapes=SHAPES):
    """Unit updates of the optimizer itself."""
    torch.manual_seed(0)
    theta = {k: torch.nn.Parameter(0.3 * torch.randn(s, dtype=torch.float64)) for k, s in shapes.items()}
    optimizer = row.build(list(theta.values()), **{"lr": 1e-3} | dict(row.kwargs))
    for blocks in stream:
        before = {k: p.detach().clone() for k, p in theta.items()}
        for k, p in theta.items():
            p.grad = blocks[k].clone()
        optimizer.step()
        yield unit(np.concatenate([(theta[k].detach() - before[k]).numpy().ravel() for k in shapes]))


def reference(row, stream, shapes=SHAPES):
    """Unit directions of the engine's recursion on the same gradients."""
    name, kwargs = row.reference
    optimizer = get_optimizer(name, dict(kwargs))
    state = optimizer.init({k: torch.zeros(s, dtype=torch.float64) for k, s in shapes.items()})
    for t, blocks in enumerate(stream, start=1):
        zero = torch.zeros((), dtype=torch.float64)
        u, state = optimizer.direction(state, Scaled(blocks, zero), torch.tensor(float(t), dtype=torch.float64))
        yield unit(np.concatenate([u[k].numpy().ravel() for k in shapes]))


def unit(flat):
    return flat / np.linalg.norm(flat)


def test_there_are_enough_of_both():
    assert len(MUTANTS) >= 60
    assert len(CORRECT) >= 35
    assert len({row.kind for row in MUTANTS}) >= 10
    names = [row.name for row in [*MUTANTS, *CORRECT]]
    assert len(set(names)) == len(names)
    assert all(len(row.why) > 20 for row in [*MUTANTS, *CORRECT])


@pytest.mark.parametrize("row", MUTANTS, ids=by_class)
def test_a_broken_one_leaves_its_reference(row):
    shapes = row.shapes or SHAPES
    stream = list(gradients(row.late + 300, shapes=shapes))
    apart = [
        np.linalg.norm(a - b) for a, b in zip(moves(row, stream, shapes), reference(row, stream, shapes), strict=True)
    ]
    assert not all(d <= 1e-6 for d in apart)  # a step that is not finite is apart as well
    if row.late:  # before, it is what it claims to be
        assert max(apart[: row.late - 1]) < 1e-6


@pytest.mark.parametrize("row", [r for r in MUTANTS if r.shapes], ids=by_class)
def test_at_small_shapes_nothing_is_wrong(row):
    pairs = zip(moves(row, gradients(60)), reference(row, gradients(60)), strict=True)
    assert max(np.linalg.norm(a - b) for a, b in pairs) < 1e-6


@pytest.mark.parametrize("row", [r for r in CORRECT if r.reference is not None], ids=by_class)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rewritten_one_follows_its_reference(row, seed):
    pairs = zip(moves(row, gradients(60, seed)), reference(row, gradients(60, seed)), strict=True)
    assert max(np.linalg.norm(a - b) for a, b in pairs) < 1e-6


@pytest.mark.parametrize("row", [r for r in CORRECT if {"holds", "holds in regimes"} & {*r.answers}], ids=by_class)
def test_a_correct_one_descends_steepest_along_a_constant_gradient(row):
    constant = next(gradients(1, seed=5))
    norm = get_norm(row.reference[1].get("norm", row.claim) if row.reference else row.claim)
    step = list(moves(row, [constant] * 400))[-1]
    g = np.concatenate([constant[k].numpy().ravel() for k in SHAPES])
    split = np.split(step, np.cumsum([np.prod(s) for s in SHAPES.values()])[:-1])
    blocks = {k: b.reshape(s) for (k, s), b in zip(SHAPES.items(), split, strict=True)}
    length = float(norm.value(blocks)) * float(norm.dual({k: b.numpy() for k, b in constant.items()}))
    assert -(g @ step) == pytest.approx(length, rel=1e-6 if row.reference else 1e-4)


def one_of(name):
    return next(row for row in CORRECT if by_class(row) == name)


@pytest.mark.parametrize("name", ["ShippedAdam", "ShippedRMSprop"])
def test_below_its_eps_it_is_gradient_descent(name):
    constant = {k: 1e-14 * g for k, g in next(gradients(1, seed=5)).items()}
    step = list(moves(one_of(name), [constant] * 400))[-1]
    g = np.concatenate([constant[k].numpy().ravel() for k in SHAPES])
    assert -(g @ step) == pytest.approx(np.linalg.norm(g), rel=1e-4)


def test_five_steps_keep_a_share_of_the_spectral_decrease():
    constant = next(gradients(1, seed=5))
    step = list(moves(one_of("FiveSteps"), [constant] * 400))[-1]
    pieces = np.split(step, np.cumsum([np.prod(s) for s in SHAPES.values()])[:-1])
    blocks = {k: b.reshape(s) for (k, s), b in zip(SHAPES.items(), pieces, strict=True)}
    norm, g = get_norm("spectral"), np.concatenate([constant[k].numpy().ravel() for k in SHAPES])
    share = -(g @ step) / float(norm.value(blocks)) / float(norm.dual({k: b.numpy() for k, b in constant.items()}))
    assert 0.6 < share < 0.999


def test_layer_rates_follow_the_weights():
    row, constant = one_of("LayerRates"), next(gradients(1, seed=5))
    theta = {
        k: torch.nn.Parameter(torch.full(s, size))
        for (k, s), size in zip(SHAPES.items(), (1.0, 2.0, 4.0, 8.0), strict=True)
    }
    optimizer = row.build(list(theta.values()), lr=1e-3)
    for k, p in theta.items():
        p.grad = constant[k].to(p.dtype)
    before = {k: p.detach().clone() for k, p in theta.items()}
    optimizer.step()
    for k, p in theta.items():
        assert float((p.detach() - before[k]).norm() / before[k].norm()) == pytest.approx(1e-3, rel=1e-3)


def test_sums_of_squares_never_forget():
    row, (early, late) = one_of("SumsOfSquares"), gradients(2, seed=5)
    steps = list(moves(row, [early] * 50 + [{k: 1e-6 * g for k, g in late.items()}] * 1))
    g = np.concatenate([late[k].numpy().ravel() for k in SHAPES])
    past = np.concatenate([early[k].numpy().ravel() for k in SHAPES])
    assert steps[-1] == pytest.approx(unit(-g / np.abs(past)), rel=1e-4)


@pytest.mark.parametrize("name", ["SingleWeights", "SingleMomentum"])
def test_a_rounding_is_all_that_differs(name):
    row = one_of(name)
    exact = reference(type(row)("", "", "linf", row.build, ("signum", {})), gradients(600))
    assert max(np.linalg.norm(a - b) for a, b in zip(moves(row, gradients(600)), exact, strict=True)) < 1e-3


# A fault of each kind, and what is correct: one problem, few steps.
SAMPLE = {
    "DeadZone",
    "FrozenColumn",
    "Flattened",
    "ReshapedTall",
    "SharedBuffers",
    "ShapeFactor",
    "NumpySign",
    "GramPolar",
}
CHECKED = [r for r in [*MUTANTS, *CORRECT] if FULL or by_class(r) in SAMPLE]


@pytest.mark.theory("mutants", verdict=False)
@pytest.mark.parametrize("row", CHECKED, ids=by_class)
def test_check_tells_broken_from_correct(row, monkeypatch):
    problems_of_it = None
    if not FULL:
        monkeypatch.setitem(STEPS, "quick", 4_000)
        problems_of_it = ["blocks"]
    claim = row.claim if getattr(row, "told", True) else None
    verdict = check(f"{FILE}:{by_class(row)}", kwargs=dict(row.kwargs), claim=claim, problems=problems_of_it)
    if isinstance(row, ROWS.Mutant):
        assert verdict.outcome.value in row.honest, verdict.explain()
    else:
        answer = getattr(verdict, "answer", None) or verdict.outcome.value  # a class of answer, once verdicts have one
        assert answer in row.answers, verdict.explain()
        assert row.answers != ("holds",) or verdict.norm == row.claim
