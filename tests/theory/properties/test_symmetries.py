"""What turns with its data: norms, duals, lmos, projections, margin optima and whole runs.

Entrywise norms are blind to signed permutations of a block's entries, Schatten norms to orthogonal matrices on either
side, rows' norms to permuted rows and turned columns, columns' the other way round, and ℓ2 to any rotation of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from theory.properties.drawn import BLOCK, NORMS, Data, data, over

from maxmargin.models.blocks import flatten, unflatten
from maxmargin.models.problem import Problem
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.optimizers import get_optimizer


@dataclass(frozen=True)
class Turned:
    """A norm, and data or shapes whose blocks are turned by isometries drawn from a seed."""

    norm: str
    data: Data
    beta: float = 0.0
    kind: str = "ema"
    loss: str = "exponential"


@st.composite
def turned(draw, norms):
    drawn = draw(data(1.0).filter(lambda d: d.classes == 2))
    beta, kind = draw(st.sampled_from([0.0, 0.5, 0.9])), draw(st.sampled_from(["ema", "heavy-ball", "nesterov"]))
    return Turned(draw(norms), drawn, beta, kind, draw(st.sampled_from(["exponential", "logistic"])))


def orthogonal(rng, n):
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def signed(rng, n):
    return np.eye(n)[rng.permutation(n)] * rng.choice([-1.0, 1.0], n)


def isometry(norm, name, shape, rng):
    """A map of one block that leaves its norm alone, drawn from the norm's own group."""
    block = norm.block(name, shape)[0]
    rows, columns = shape if len(shape) == 2 else (1, *shape)
    both = {"schatten": (orthogonal, orthogonal), "rows": (signed, orthogonal), "columns": (orthogonal, signed)}
    if block.p == 2 or block.family == "entrywise":
        whole = (orthogonal if block.p == 2 else signed)(rng, rows * columns)
        return lambda x: (whole @ x.reshape(-1)).reshape(shape)
    left, right = (make(rng, size) for make, size in zip(both[block.family], (rows, columns), strict=True))
    return lambda x: (left @ x.reshape(rows, columns) @ right).reshape(shape)


def maps_of(case):
    norm, names = get_norm(case.norm), [f"b{i}" for i in range(len(case.data.shapes))]
    rng = np.random.default_rng(case.data.seed)
    shapes = dict(zip(names, case.data.shapes, strict=True))
    return norm, shapes, {name: isometry(norm, name, shape, rng) for name, shape in shapes.items()}, rng


def turn(maps, blocks):
    return {name: maps[name](np.asarray(block)) for name, block in blocks.items()}


def turn_rows(maps, blocks):
    return {name: np.stack([maps[name](row) for row in block]) for name, block in blocks.items()}


def same(a, b, tolerance):
    size = max(float(np.abs(block).max()) for block in b.values())
    return max(float(np.abs(a[name] - b[name]).max()) for name in b) <= tolerance * size


def norms_turn_with_their_blocks(case):
    norm, shapes, maps, rng = maps_of(case)
    G = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    H = turn(maps, G)
    for of in (norm, norm.dual_norm):
        np.testing.assert_allclose(float(of.value(H)), float(of.value(G)), rtol=1e-10)
        np.testing.assert_allclose(float(of.dual(H)), float(of.dual(G)), rtol=1e-10)
        assert same(of.lmo(H), turn(maps, of.lmo(G)), 1e-7), f"the lmo of {of.name} does not turn"
        radius = 0.5 * float(of.value(G))
        assert same(of.project(H, radius), turn(maps, of.project(G, radius)), 1e-7), (
            f"the projection of {of.name} does not turn"
        )


test_norms_turn_with_their_blocks = over(turned(NORMS), 150)(norms_turn_with_their_blocks)


def margins_and_runs_turn_with_their_data(case):
    norm, shapes, maps, rng = maps_of(case)
    problem = case.data.problem()
    X = flatten(turn_rows(maps, unflatten(problem.X.numpy(), shapes)), shapes)
    order = rng.permutation(len(X))
    other = Problem.of(f"{problem.name}, turned", problem.model, X[order], problem.labels[order])
    here, there = solve_margin(problem, norm), solve_margin(other, norm)
    assert here.margin <= there.upper * (1 + 1e-12), "the turned optimum is smaller"
    assert there.margin <= here.upper * (1 + 1e-12), "the turned optimum is larger"
    method = get_optimizer("momentum-steepest", {"norm": case.norm, "beta": case.beta, "kind": case.kind})
    start = starts(problem, 1, seed=case.data.seed, scale=0.5)
    turned_start = {name: torch.as_tensor(maps[name](block[0].numpy()))[None] for name, block in start.items()}
    both = {name: torch.cat([block, turned_start[name]]) for name, block in start.items()}
    schedule = PowerLaw(0.1 / float(problem.X.abs().max()), 0.3)
    path = run([problem, other], method, both, steps=64, schedule=schedule, loss=case.loss, checkpoints=4)
    for t, step in enumerate(path.steps):
        assert same(path.at(t, 1), turn(maps, path.at(t, 0)), 1e-6), f"the runs part by step {step}"
        np.testing.assert_allclose(path.margin[t, 1], path.margin[t, 0], rtol=1e-5, atol=1e-6)


test_margins_and_runs_turn_with_their_data = over(turned(BLOCK), 80)(margins_and_runs_turn_with_their_data)
