"""Where runs end: at the matching KKT point, aligned with it, whatever the loss, the data's order and the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import reject
from hypothesis import strategies as st
from theory.properties.drawn import SEEDS, Data, data, over

from maxmargin.models import problems
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import EngineError, run, starts
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.results.alignment import alignment
from maxmargin.verify.thresholds.judging import FALLING

STEPS = 8000
STRICT = [f"{family}:{p}" for family in ("entrywise", "schatten") for p in (1.5, 2.5, 3.0, 4.0)]
"""Strictly convex, so that the optimum is one point."""


@dataclass(frozen=True)
class Run:
    """An optimizer of the engine with its arguments, on a problem of the registry or on drawn data."""

    optimizer: str
    kwargs: tuple[tuple[str, object], ...]
    problem: Data | str
    seed: int = 0


@st.composite
def optimizers(draw, norms):
    which = draw(st.sampled_from(["momentum-steepest"] * 3 + ["adam", "muon-signum", "lion"]))
    if which == "momentum-steepest":
        beta, kind = (
            draw(st.sampled_from([0.0, 0.5, 0.9, 0.95])),
            draw(st.sampled_from(["ema", "heavy-ball", "nesterov"])),
        )
        return which, (("norm", draw(st.sampled_from(norms))), ("beta", beta), ("kind", kind))
    if which == "muon-signum":
        return which, (("beta", draw(st.sampled_from([0.5, 0.9]))),)
    return which, draw(st.sampled_from([(("beta1", a), ("beta2", b)) for a, b in ((0, 0.9), (0.8, 0.8), (0.9, 0.95))]))


@st.composite
def linear_runs(draw):
    return Run(*draw(optimizers(["l2", "linf", "spectral", *STRICT])), draw(data(0.3, easy=True)), draw(SEEDS))


def reordered(problem, seed):
    """The same samples in another order."""
    order = np.random.default_rng(seed).permutation(problem.n_samples)
    return Problem.of(f"{problem.name}, reordered", problem.model, problem.X.numpy()[order], problem.labels[order])


def steps_align(case, path, norm, i, enough):
    """Late steps are aligned; of Adam's the signs.

    Its entries lag at rates of their own, the least those that have almost no gradient: they set the largest entry
    of a step, so that its alignment stays below 1 while the margin approaches the largest.
    """

    def step(t):
        update = path.at(t, i, "update")
        return {name: np.sign(u) for name, u in update.items()} if case.optimizer == "adam" else update

    late = np.median([alignment(norm, path.at(t, i, "gradient"), step(t)) for t in range(-6, 0)])
    assert late >= enough, f"the alignment is {late}"


def every_loss_order_and_seed_ends_at_the_same_margin(case):
    method = get_optimizer(case.optimizer, dict(case.kwargs))
    norm, problem = method.norm, case.problem.problem()
    start = starts(problem, 2, seed=case.seed, scale=0.01)
    three = {name: torch.stack([each[0], each[1], each[0]]) for name, each in start.items()}
    sets = [problem, problem, reordered(problem, case.seed)]
    optimum = solve_margin(problem, norm)
    rivals = {}
    for name in ("l1", "l2", "linf", "spectral", "nuclear"):
        other = get_norm(name)
        best = solve_margin(problem, other).upper
        apart = 1 - optimum.margin / float(other.value(optimum.theta)) / best  # ‖θ*‖ = 1 in the own norm
        if method.norm.name in STRICT and apart >= 0.1:
            rivals[name] = other, best, apart
    for loss in ("exponential", "cross-entropy"):
        path = run(sets, method, three, steps=STEPS, loss=loss, checkpoints=24)
        for i in range(path.runs):
            gaps = [
                1 - path.margin[t, i] / float(norm.value(path.at(t, i))) / optimum.upper for t in range(len(path.steps))
            ]
            at = [int(np.abs(path.steps - s).argmin()) for s in (1_000, STEPS)]
            assert -1e-9 <= gaps[at[1]] <= 0.05, f"the gap is {gaps[at[1]]}"
            # The bound on Γ, (log n + lag)/(γ* N), falls by 5; half of that is asked for, down to where a sample just
            # outside the support fades only like t^(−its excess margin).
            assert gaps[at[1]] <= max(0.4 * gaps[at[0]], 1e-3), f"the gap falls from {gaps[at[0]]} to {gaps[at[1]]}"
            steps_align(case, path, norm, i, 0.93)  # the fixed problems ask for 0.95
            for name, (other, best, apart) in rivals.items():
                there = 1 - path.margin[-1, i] / float(other.value(path.at(-1, i))) / best
                assert there >= 0.5 * apart, f"{name}'s gap is {there}, and {apart} at the own optimum"


test_every_loss_order_and_seed_ends_at_the_same_margin = over(linear_runs(), 150)(
    every_loss_order_and_seed_ends_at_the_same_margin
)


@st.composite
def network_runs(draw):
    n, d, seed = draw(st.integers(2, 5)), draw(st.integers(2, 5)), draw(SEEDS)
    models = [
        f"deep-linear:depth={draw(st.integers(2, 4))},width={draw(st.integers(2, 5))}",
        f"diagonal:depth={draw(st.integers(2, 3))}",
        f"relu2:h={draw(st.integers(4, 16))}",
        f"relu-power:q=1.5,h={draw(st.integers(4, 16))}",
        f"quadratic:h={draw(st.integers(2, 8))}",
    ]
    spec = f"binary:n={n},d={d},seed={seed}@{draw(st.sampled_from(models))}"
    return Run(*draw(optimizers(["l2", "linf", "spectral", "l2;max"])), spec, seed)


def separated_networks_approach_a_kkt_point_of_their_norm(case):
    method, problem = get_optimizer(case.optimizer, dict(case.kwargs)), problems.get(case.problem)
    gap = GapEvaluator(problem, method.norm, tol=1e-3)
    try:
        start = starts(problem, 3, seed=case.seed, scale=0.5)
    except EngineError:  # two samples leave some of many units without a gradient, whatever the start
        reject()
    early = STEPS // 4
    # Γ rises where a path leaves a KKT point that is a saddle: it is to fall from its largest value before the last
    # decade, and where it does not, a longer run is made.
    for steps in (4 * STEPS, 40 * STEPS, 400 * STEPS):
        path = run(problem, method, start, steps=steps, checkpoints=32)
        looks = sorted({int(np.abs(path.steps - s).argmin()) for s in np.geomspace(early, max(early, steps / 10), 4)})
        good = [int(i) for i in np.flatnonzero(path.separated & (path.margin[looks[0]] > 0))]
        before = [max((gap(path.at(t, i)).value, path.steps[t]) for t in looks) for i in good]
        last = [gap(path.at(-1, i)).value for i in good]
        asked = [max(most * (path.steps[-1] / at) ** FALLING, 0.05) for most, at in before]
        if all(end <= most for end, most in zip(last, asked, strict=True)):
            break
    for i, end, most, (largest, _) in zip(good, last, asked, before, strict=True):
        assert end <= most, f"the gap falls from {largest} to {end}"
        steps_align(case, path, method.norm, i, 0.9)


test_separated_networks_approach_a_kkt_point_of_their_norm = over(network_runs(), 100)(
    separated_networks_approach_a_kkt_point_of_their_norm
)
