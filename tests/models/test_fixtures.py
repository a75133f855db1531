"""The stated points and optima are what they are said to be, checked without the package's solvers."""

import dataclasses

import cvxpy as cp
import numpy as np
import pytest
import sympy
import torch
from scipy.optimize import linprog, minimize

from maxmargin.models import fixtures, problems
from maxmargin.models.fixtures import OPTIMA, POINTS

EXACT = 1e-13


def value(norm, theta):
    """‖θ‖, with a vector as a matrix of one row."""
    blocks = [np.atleast_2d(block) for block in theta.values()]
    if norm == "l2":
        return np.sqrt(sum((block**2).sum() for block in blocks))
    if norm == "l1":
        return sum(np.abs(block).sum() for block in blocks)
    if norm == "linf":
        return max(np.abs(block).max() for block in blocks)
    if norm == "spectral":
        return max(np.linalg.norm(block, 2) for block in blocks)
    if norm == "hybrid":
        return max(np.linalg.norm(b, 2) if b.ndim == 2 else np.abs(b).max() for b in theta.values())
    assert norm == "nuclear"
    return sum(np.linalg.norm(block, "nuc") for block in blocks)


DUAL = {"l2": "l2", "l1": "linf", "linf": "l1", "spectral": "nuclear", "nuclear": "spectral"}


def normalized_margin(problem, norm, theta):
    return float(problem.min_margin(theta)) / value(norm, theta) ** problem.degree


def kkt_gap(problem, norm, theta, lam):
    """1 − L q / (‖θ‖ ‖Σ λ_i g_i‖_*), an upper bound on Γ; 0 exactly at a KKT point with these multipliers."""
    dual = value(DUAL[norm], problem.pullback(theta, lam))
    return 1 - problem.degree * float(problem.min_margin(theta)) / (value(norm, theta) * dual)


def climbs(problem, norm, theta, radius, draws=20_000):
    """Whether one of many random points within ``radius`` has a larger normalized margin, beyond rounding.

    Under linf the points are clipped to the ball, where an ascent along its faces must run.
    """
    generator = torch.Generator().manual_seed(0)
    near = {
        name: torch.as_tensor(block)
        + radius
        * value(norm, theta)
        * torch.rand(draws, 1, generator=generator, dtype=torch.float64).reshape(-1, *[1] * block.ndim)
        * torch.randn(draws, *block.shape, generator=generator, dtype=torch.float64)
        for name, block in theta.items()
    }
    if norm == "linf":
        near = {name: block.clamp(-value(norm, theta), value(norm, theta)) for name, block in near.items()}
    margins = torch.func.vmap(problem.min_margin)(near)
    if norm == "l2":
        sizes = sum((block**2).flatten(1).sum(1) for block in near.values()).sqrt()
    else:
        sizes = torch.stack([block.abs().flatten(1).amax(1) for block in near.values()]).amax(0)
    best = float((margins / sizes**problem.degree).amax())
    return best > normalized_margin(problem, norm, theta) * (1 + 1e-12)


every_point = pytest.mark.parametrize("point", POINTS, ids=lambda point: point.id)
every_optimum = pytest.mark.parametrize("optimum", OPTIMA, ids=lambda optimum: optimum.id)


@every_point
def test_point_has_the_stated_margin(point):
    problem = problems.get(point.problem)
    assert float(sympy.sympify(point.exact)) == pytest.approx(point.margin, rel=EXACT)
    assert normalized_margin(problem, point.norm, point.theta) == pytest.approx(point.margin, rel=EXACT)


@every_point
def test_point_is_kkt_with_the_stated_multipliers(point):
    problem = problems.get(point.problem)
    lam = point.multipliers
    assert (lam >= 0).all()
    assert lam.sum() == pytest.approx(1, rel=EXACT)
    assert abs(kkt_gap(problem, point.norm, point.theta, lam)) <= EXACT
    active = problem.margins(point.theta) <= float(problem.min_margin(point.theta)) * (1 + EXACT)
    assert not lam[~active].any()


@every_point
def test_point_is_of_the_stated_kind(point):
    problem = problems.get(point.problem)
    # An ascent of third order, along the zero neurons of F1'/linf, takes a longer step to show.
    radii = (0.02, 0.2) if point.kind == "saddle" else (0.02,)
    climbed = any(climbs(problem, point.norm, point.theta, radius) for radius in radii)
    assert climbed == (point.kind == "saddle")
    assert (point.better is None) == (point.kind == "global")
    if point.better is not None:
        assert normalized_margin(problem, point.norm, point.better) > point.margin * 1.05


def test_the_verdicts_can_fail():
    """A saddle climbs, a local maximum does not, and a point moved a little is no KKT point."""
    saddle = next(point for point in POINTS if point.id == "F4/l2")
    peak = next(point for point in POINTS if point.id == "F3/l2")
    for point, expected in ((saddle, True), (peak, False)):
        assert climbs(problems.get(point.problem), "l2", point.theta, 0.02) == expected
    moved = {name: block + 0.01 for name, block in peak.theta.items()}
    assert kkt_gap(problems.get(peak.problem), "l2", moved, peak.multipliers) > 1e-5


def test_two_neuron_split_of_f1_has_the_known_margin():
    point = next(point for point in POINTS if point.id == "F1/l2")
    margin = normalized_margin(problems.get(point.problem), "l2", point.better)
    assert margin == pytest.approx(np.sqrt(17) / 16, rel=EXACT)


@every_optimum
def test_optimum_is_attained_by_the_stated_point(optimum):
    problem = problems.get(optimum.problem)
    assert float(sympy.sympify(optimum.exact)) == pytest.approx(optimum.margin, rel=EXACT)
    assert normalized_margin(problem, optimum.norm, optimum.theta) == pytest.approx(optimum.margin, rel=1e-12)


@pytest.mark.parametrize("optimum", [o for o in OPTIMA if o.id.startswith(("G1", "G2"))], ids=lambda o: o.id)
def test_linear_optimum_has_a_dual_certificate(optimum):
    """Uniform multipliers bound every margin by ‖Σ λ_i g_i‖_*, and the bound is the stated optimum."""
    problem = problems.get(optimum.problem)
    lam = np.full(problem.n_margins, 1 / problem.n_margins)
    bound = value(DUAL[optimum.norm], problem.pullback(optimum.theta, lam))
    assert bound == pytest.approx(optimum.margin, rel=1e-12)


def test_only_the_spectral_optimum_of_the_basis_is_not_unique():
    for row in fixtures.basis_linear(4):
        problem = problems.get(row.problem)
        other = np.eye(4) - 0.4 * np.ones((4, 4))  # I − c 11ᵀ with c = 0.4 <= 2/k
        same = normalized_margin(problem, row.norm, {"W": other}) == pytest.approx(row.margin, rel=1e-12)
        assert same == (row.unique is False)


def ascend(problem, norm, seed):
    """The best normalized margin from one start, by SLSQP on max t with margins >= t within the ball or box."""
    shapes = problem.shapes
    start = np.concatenate([block.numpy().ravel() for block in problem.model.init(seed).values()])
    start = np.append(start / max(1.0, np.abs(start).max()) * 0.5, -1.0)

    def blocks(z):
        pieces = np.split(z[:-1], np.cumsum([np.prod(shape) for shape in shapes.values()])[:-1])
        return {name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}

    def slopes(z):
        rows = problem.jacobian(blocks(z))
        flat = np.concatenate([rows[name].reshape(problem.n_margins, -1) for name in shapes], axis=1)
        return np.hstack([flat, -np.ones((problem.n_margins, 1))])

    constraints = [{"type": "ineq", "fun": lambda z: problem.margins(blocks(z)) - z[-1], "jac": slopes}]
    if norm == "l2":
        constraints.append(
            {"type": "ineq", "fun": lambda z: 1 - z[:-1] @ z[:-1], "jac": lambda z: np.append(-2 * z[:-1], 0.0)}
        )
    bounds = [(-1, 1)] * (len(start) - 1) + [(None, None)]
    found = minimize(
        lambda z: -z[-1],
        start,
        jac=lambda z: np.append(np.zeros(len(z) - 1), -1.0),
        bounds=bounds,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 300},
    )
    return normalized_margin(problem, norm, blocks(found.x))


@pytest.mark.parametrize(
    "optimum",
    [o for o in OPTIMA if o.id.startswith(("G5/k=3/l2", "G6/m=2/l2", "G6/m=2/linf"))],
    ids=lambda o: o.id,
)
def test_no_start_climbs_above_the_optimum_and_some_start_reaches_it(optimum):
    problem = problems.get(optimum.problem)
    best = max(ascend(problem, optimum.norm, seed) for seed in range(12))
    assert best == pytest.approx(optimum.margin, rel=1e-6)


def predictor(data, norm):
    """(optimal margin, direction) of the linear problem on the same data, by cvxpy or a linear program."""
    problem = problems.get(data)
    A = problem.jacobian({"w": np.zeros(problem.shapes["w"])})["w"]
    w = cp.Variable(A.shape[1])
    atom = {"l1": cp.norm(w, 1), "l2": cp.norm(w, 2), "linf": cp.norm(w, "inf")}[norm]
    program = cp.Problem(cp.Minimize(atom), [A @ w >= 1])
    program.solve(solver=cp.CLARABEL)
    return 1 / program.value, w.value / program.value


def build(problem, norm, beta):
    """Parameters whose predictor is along β and whose norm is 1, as the proof of each reduction takes them."""
    names, depth = list(problem.shapes), problem.degree
    if names[0] == "u1" and norm == "linf":
        return {name: beta if name == "u1" else np.ones_like(beta) for name in names}
    if names[0] == "u1":
        root = np.sqrt(np.abs(beta) / 2)
        return {"u1": np.sign(beta) * root, "u2": root}
    m = problem.shapes["a"][0]
    unit = np.eye(m)[0] if norm != "hybrid" else np.ones(m) / np.sqrt(m)
    inner = {name: np.outer(unit, unit) for name in names[1:-1]}
    if norm == "linf":
        ones = {name: np.ones(problem.shapes[name]) for name in names[1:]}
        return {"W1": np.outer(np.ones(m), beta), **ones}
    head = np.ones(m) if norm == "hybrid" else unit
    theta = {"W1": np.outer(unit, beta), **inner, "a": head}
    return theta if norm != "l2" else {name: block / np.sqrt(depth) for name, block in theta.items()}


@pytest.mark.parametrize("reduction", fixtures.reductions(), ids=lambda r: r.id)
def test_reduction_is_attained_by_the_construction_of_its_proof(reduction):
    problem = problems.get(reduction.problem)
    margin, beta = predictor(reduction.linear, reduction.linear_norm)
    theta = build(problem, reduction.norm, beta)
    assert value(reduction.norm, theta) == pytest.approx(1, rel=1e-6)
    reached = normalized_margin(problem, reduction.norm, theta)
    assert reached == pytest.approx(reduction.factor * margin, rel=1e-6)


@pytest.mark.parametrize(
    "reduction", [r for r in fixtures.reductions() if r.norm in ("l2", "linf")], ids=lambda r: r.id
)
def test_reduction_is_not_exceeded_from_random_starts(reduction):
    problem = problems.get(reduction.problem)
    margin, _ = predictor(reduction.linear, reduction.linear_norm)
    best = max(ascend(problem, reduction.norm, seed) for seed in range(4))
    assert best <= reduction.factor * margin * (1 + 1e-6)
    assert best >= 0.99 * reduction.factor * margin


def test_records_are_frozen_and_ids_differ():
    with pytest.raises(dataclasses.FrozenInstanceError):
        POINTS[0].margin = 1.0
    ids = [record.id for record in (*POINTS, *OPTIMA, *fixtures.reductions())]
    assert len(ids) == len(set(ids))


def test_scaled_basis_scales_the_margins():
    rows = {row.norm: row.margin for row in fixtures.basis_linear(4, s=2.5)}
    assert rows == pytest.approx({"spectral": 2.5, "linf": 5.0, "l2": 2.5 / np.sqrt(3), "nuclear": 2.5 / 3})


def test_single_point_optimum_by_a_linear_program():
    """The ℓ∞ margin of G1 once more, by scipy's linear program."""
    row = next(row for row in fixtures.single_point((3.0, -4.0, 0.5)) if row.norm == "linf")
    answer = linprog(-np.array([3.0, -4.0, 0.5]), bounds=(-1, 1), method="highs")
    assert row.margin == pytest.approx(-answer.fun, rel=1e-12)
