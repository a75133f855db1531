"""Evidence from a hand-made trajectory, where every number is known beforehand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from maxmargin.models import problems
from maxmargin.solvers.linear.optimum import MarginError, solve_margin
from maxmargin.solvers.norms import ParameterNorm, get_norm
from maxmargin.verify.engine.trajectory import Trajectory
from maxmargin.verify.evidence import measure as evidence
from maxmargin.verify.evidence.measure import fitted_slope, measure, reference_of
from maxmargin.verify.judging.facts import Facts
from maxmargin.verify.judging.rules import judge
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.thresholds.judging import CHECK_LINEAR

STEPS = np.array([0, 8, 80, 800, 8000])


def _towards_optimum(problem, norm, power=1.0):
    """Five checkpoints whose gap under ``norm`` is about 0.1 (8 / t)^power, stepping along the multipliers' lmo."""
    best = solve_margin(problem, norm)
    gradient = {k: -g for k, g in problem.pullback(best.theta, best.multipliers).items()}
    rows = []
    for t in STEPS:
        share = 0.1 * (8 / max(t, 8)) ** power
        rows.append({k: (1 - share) * b for k, b in best.theta.items()})
    theta = {k: np.stack([r[k] for r in rows])[:, None] for k in best.theta}
    # The points lie inside the ball; what is missing to norm 1 is put into a direction that changes no margin.
    null = _null(problem)
    for t, row in enumerate(rows):
        for k in theta:
            theta[k][t, 0] = row[k] + null[k] * _fill(norm, row, null)
    ones = np.ones((len(STEPS), 1))
    margin = np.array([[problem.min_margin({k: b[t, 0] for k, b in theta.items()})] for t in range(len(STEPS))])
    update = norm.lmo(gradient)
    return best, Trajectory(
        problem=problem.name,
        optimizer="by hand",
        steps=STEPS,
        theta=theta,
        gradient={k: np.stack([[g]] * len(STEPS)) for k, g in gradient.items()},
        update={k: np.stack([[u]] * len(STEPS)) for k, u in update.items()},
        log_scale=-ones,
        margin=margin,
        eta=ones,
        travelled=ones * STEPS[:, None],
        separated_at=np.zeros(1, dtype=int),
    )


def _null(problem):
    zero = {k: np.zeros(s) for k, s in problem.shapes.items()}
    rows = np.concatenate([g.reshape(problem.n_margins, -1) for g in problem.jacobian(zero).values()], axis=1)
    direction = np.linalg.svd(rows)[2][-1]
    sizes = np.cumsum([0, *(int(np.prod(s)) for s in problem.shapes.values())])
    return {
        k: direction[sizes[i] : sizes[i + 1]].reshape(s) / np.abs(direction).max()
        for i, (k, s) in enumerate(problem.shapes.items())
    }


def _fill(norm, row, null):
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        length = norm.value({k: row[k] + middle * null[k] for k in row})
        low, high = (middle, high) if length < 1 else (low, middle)
    return low


@pytest.mark.parametrize("name", ["l2", "linf", "spectral", "hybrid"])
def test_gap_alignment_and_slope_of_a_known_path(name):
    problem, norm = problems.get("blocks"), get_norm(name)
    best, trajectory = _towards_optimum(problem, norm)
    found = measure(problem, trajectory, [], claimed=[norm])
    row = found.norms[name]
    np.testing.assert_allclose(found.arrays[f"kkt_gap:{name}"][1:, 0], 0.8 / STEPS[1:], rtol=1e-5)
    assert row.kkt_gap == pytest.approx(1e-4, rel=1e-5)
    assert row.margin_ratio == pytest.approx(1 - 1e-4, abs=1e-8)
    assert row.alignment == pytest.approx(1.0, abs=1e-9)
    assert best.margin * (1 - 1e-4) == pytest.approx(float(trajectory.margin[-1, 0]), rel=1e-7)


@pytest.mark.parametrize("power", [0.25, 1.0])
def test_the_slope_is_the_power_of_the_path(power):
    steps = np.geomspace(8, 80_000, 30)
    gap = 0.1 * (8 / steps[:, None]) ** power
    slope, (low, high) = fitted_slope(steps, gap)
    assert slope == pytest.approx(-power, abs=1e-9)
    assert low <= slope <= high
    rng = np.random.default_rng(0)
    noisy = gap * np.exp(0.3 * rng.standard_normal(gap.shape))
    slope, (low, high) = fitted_slope(steps, noisy)
    assert low < -power < high
    assert high - low > 0.1


def test_waves_make_a_slope_less_sure_than_noise():
    steps = np.geomspace(800, 80_000, 60)
    wave = 0.3 * np.sin(np.linspace(0, 6, 60))
    shuffled = np.random.default_rng(0).permutation(wave)
    widths = [
        high - low
        for _, (low, high) in (fitted_slope(steps, (0.1 * np.exp(w))[:, None], 2.0) for w in (wave, shuffled))
    ]
    assert widths[0] > 2 * widths[1]


def _refuse(*_args, **_options):
    raise MarginError("no solver finds it")


def test_a_norm_that_no_solver_finds_is_left_out_and_spoils_nothing_else(monkeypatch):
    problem = problems.get("blocks")
    _, trajectory = _towards_optimum(problem, get_norm("l2"))
    solve = evidence.solve_margin
    monkeypatch.setattr(evidence, "_REFERENCES", {})
    monkeypatch.setattr(evidence, "solve_margin", lambda p, n: _refuse() if n.name == "linf" else solve(p, n))
    found = measure(problem, trajectory, [get_norm("l2"), get_norm("linf"), get_norm("l1")])
    assert set(found.norms) == {"l2", "l1"}
    assert not any(key.endswith(":linf") for key in found.arrays)
    decision = judge(Facts("linf", found.norms, {}, CHECK_LINEAR["quick"], steps=8000))
    assert decision.outcome is Outcome.INCONCLUSIVE
    assert decision.texts == ("the margin problem under linf could not be solved here",)


def test_a_reference_is_known_by_what_it_depends_on():
    """One process, many checks: every weighting is told as "weighted linf", and problems may share a name."""
    problem = problems.get("blocks")
    heavier, lighter = (
        ParameterNorm.of({k: ("linf", w if k == "vector" else 1.0) for k in problem.shapes}, math.inf, "weighted linf")
        for w in (2.0, 1.01)
    )
    assert heavier.name == lighter.name
    other = dataclasses.replace(problem, X=2 * problem.X)
    for one, norm in ((problem, heavier), (problem, lighter), (other, lighter), (problem, heavier)):
        assert reference_of(one, norm).margin == pytest.approx(solve_margin(one, norm).margin, rel=1e-8)
    assert reference_of(problem, lighter) is reference_of(problem, lighter)


def test_a_gap_that_stands_still_has_slope_0_and_no_doubt():
    steps = np.array([100, 200, 400, 800, 1000])
    for gap in (np.full((5, 2), 0.25), 0.25 * (1 + 1e-15 * np.array([[1], [3], [2], [4], [1]]))):
        assert fitted_slope(steps, gap) == (0.0, (0.0, 0.0))
