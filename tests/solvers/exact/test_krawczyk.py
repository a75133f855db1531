"""Interval proofs of KKT points: they hold where a point is true, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from flint import arb, fmpq
from scipy.optimize import minimize

from maxmargin.models import problems
from maxmargin.models.blocks import flatten, size, unflatten
from maxmargin.models.families.linear import BlockLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.exact.answers import answers
from maxmargin.solvers.exact.interval_newton import enclose_zero, positive_definite
from maxmargin.solvers.exact.kkt_certificate import Stated, as_floats
from maxmargin.solvers.exact.krawczyk import Proof, prove
from maxmargin.solvers.exact.polynomials import Polynomial, activation_signs, exact
from maxmargin.solvers.norms import get_norm

# Where the exact point is no isolated zero, or its norm has no polynomial system: what the refusal must say.
REFUSED = {
    "G1-nuclear": "no polynomial system",
    "G2-k3-spectral": "multipliers",
    "G2-k3-nuclear": "no polynomial system",
    "G4-3x3-spectral": "singular",
    "G4-3x3-hybrid": "singular",
    "G5-k3-m3-spectral": "singular",
    **{
        f"{name}-nuclear": "no polynomial system"
        for name in (
            "G4-attention-m3",
            "G6-m3",
            "G6-relu-m3",
            "G6-power3-m3",
            "G6-quadratic-m3",
            "G6-m2x2",
            "G6-tied-L7",
        )
    },
    **{f"G6-relu-m3-{norm}": "not smooth" for norm in ("l1", "l2", "spectral")},
}


def optima(spec: str) -> dict[str, Stated]:
    """Norm → the optimum that theory states."""
    return {a.norm: a for a in answers(problems.get(spec)) if a.kind == "global"}


RECORDS = [record for name in problems.THEOREMS for record in optima(name).values()]


def proof_of(record: Stated, theta: dict[str, np.ndarray] | None = None, **options: object) -> Proof:
    lam = [float(w) for w in record.multipliers]
    return prove(record.problem, as_floats(record.theta) if theta is None else theta, lam, record.norm, **options)


def solved(problem: Problem, norm: str, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A KKT point of min ½‖θ‖² s.t. m_i >= 1 and its multipliers, by SLSQP (ℓ2 or ℓ∞)."""
    rng, p = np.random.default_rng(seed), size(problem.shapes)
    boxed = norm == "linf"

    def rows(x: np.ndarray) -> np.ndarray:
        J = flatten(problem.jacobian(unflatten(x[:p], problem.shapes)), problem.shapes)
        return np.hstack([J, np.zeros((problem.n_margins, 1))])

    def separate(x: np.ndarray) -> np.ndarray:
        return problem.margins(unflatten(x[:p], problem.shapes)) - 1

    constraints = [{"type": "ineq", "fun": separate, "jac": rows}]
    sides = np.vstack([np.hstack([-np.eye(p), np.ones((p, 1))]), np.hstack([np.eye(p), np.ones((p, 1))])])
    if boxed:
        constraints.append({"type": "ineq", "fun": lambda x: sides @ x, "jac": lambda x: sides})
    pick = np.append(np.zeros(p), 1.0) if boxed else np.append(np.ones(p), 0.0)
    end = minimize(
        lambda x: (x @ (pick * x) / 2, pick * x),
        np.append(rng.standard_normal(p) / 2, 1.0),
        jac=True,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 2000},
    )
    return unflatten(end.x[:p], problem.shapes), end.multipliers[: problem.n_margins]


# --- true points --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [r for r in RECORDS if r.id not in REFUSED], ids=lambda r: r.id)
def test_closed_forms_are_proved_and_their_margin_is_enclosed(record: Stated) -> None:
    found = proof_of(record)
    assert found.proved, found.reasons
    assert found.radius <= 1e-15
    assert found.margin is not None
    lo, hi = found.margin
    assert lo <= record.margin <= hi  # sympy compares the exact number with the floats exactly
    assert hi - lo <= 1e-15 * max(1.0, hi)


@pytest.mark.parametrize("record", [r for r in RECORDS if r.id in REFUSED], ids=lambda r: r.id)
def test_what_is_out_of_reach_is_said(record: Stated) -> None:
    found = proof_of(record)
    assert not found.proved
    assert found.margin is None
    assert REFUSED[record.id] in found.reasons[0]


CASES = [
    ("binary:n=6,d=4@relu2:h=4", "l2", 1),
    ("binary:n=6,d=4@relu2:h=4", "linf", 0),
    ("binary:n=6,d=4@relu2-fixed:h=4", "l2", 3),
    ("binary:n=6,d=4@relu2-fixed:h=4", "linf", 2),
    ("binary:n=6,d=5@diagonal:depth=2", "l2", 4),
    ("binary:n=6,d=5@diagonal:depth=3", "l2", 3),
    ("binary:n=6,d=5@diagonal:depth=3", "linf", 0),  # a face: both factors of a free weight
    ("binary:n=6,d=4@deep-linear:depth=3,width=3", "l2", 2),  # an orbit: rotations of the hidden units
    ("binary:n=6,d=4@deep-linear:depth=3,width=3", "linf", 0),  # a face: one column of W1
    ("multiclass:n=6,d=4,k=3@linear", "l2", 0),
    ("multiclass:n=6,d=4,k=3@linear", "linf", 0),  # a face: the scores of all classes shift together
    ("multiclass:n=6,d=4,k=3@relu2:h=4", "l2", 4),
]


@pytest.mark.parametrize(("spec", "norm", "seed"), CASES)
def test_numerical_points_are_proved(spec: str, norm: str, seed: int) -> None:
    problem = problems.get(spec)
    theta, lam = solved(problem, norm, seed)
    found = prove(problem, theta, lam, norm)
    assert found.proved, found.reasons
    assert found.margin is not None
    q = problem.min_margin(theta) / float(get_norm(norm).value(theta)) ** problem.degree
    assert found.margin[0] == pytest.approx(q, rel=1e-5)
    assert found.margin[1] - found.margin[0] <= 1e-14 * max(1.0, q)


def test_a_spectral_optimum_with_a_part_that_no_gradient_sees_is_proved() -> None:
    cp = pytest.importorskip("cvxpy")
    problem = problems.get("multiclass:n=8,d=8,k=3@linear")
    G = problem.jacobian({"W": np.zeros((3, 8))})["W"]
    W = cp.Variable((3, 8))
    separate = cp.hstack([cp.sum(cp.multiply(g, W)) for g in G]) >= 1
    program = cp.Problem(cp.Minimize(cp.sigma_max(W)), [separate])
    program.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    found = prove(problem, {"W": W.value}, np.maximum(separate.dual_value, 0), "spectral", radius=1e-4)
    assert found.proved, found.reasons
    assert found.margin is not None
    lo, hi = found.margin
    assert lo == pytest.approx(1 / program.value, rel=1e-6)
    assert hi - lo <= 1e-14
    # And the point of the convex program is a global optimum: no feasible point beats the enclosure.
    gap = (G * (W.value / np.linalg.norm(W.value, 2))).sum((1, 2)).min()
    assert gap <= hi


def spectral_point() -> tuple[Problem, dict[str, np.ndarray], np.ndarray]:
    """A KKT point of relu2-fixed under the spectral norm, refined by the package's own matching."""
    matching = pytest.importorskip("maxmargin.solvers.kkt.matching")
    problem, norm = problems.get("binary:n=6,d=4@relu2-fixed:h=4"), get_norm("spectral")
    theta = {name: block.clone() for name, block in problem.model.init(3, 0.5).items()}
    for _ in range(400):
        lam = (-problem.margins(theta)).softmax(0)
        step = norm.lmo({name: -g for name, g in problem.pullback(theta, lam).items()})
        theta = {name: theta[name] + 0.02 * step[name] for name in theta}
    end = matching.match(problem, {name: block.numpy() for name, block in theta.items()}, norm)
    assert end.success
    return problem, end.theta, end.multipliers


def test_a_spectral_point_of_a_network_is_proved_and_its_copies_moved_by_a_thousandth_are_not() -> None:
    problem, theta, lam = spectral_point()
    assert prove(problem, theta, lam, "spectral").proved
    rng = np.random.default_rng(0)
    for _ in range(3):
        off = {name: block + 1e-3 * rng.standard_normal(block.shape) for name, block in theta.items()}
        assert not prove(problem, off, lam, "spectral").proved


# --- false points -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "norm", "seed"), CASES)
def test_a_point_off_by_a_thousandth_is_not_proved(spec: str, norm: str, seed: int) -> None:
    problem = problems.get(spec)
    theta, lam = solved(problem, norm, seed)
    rng = np.random.default_rng(seed)
    length = float(get_norm(norm).value(theta))
    off = {name: block + 1e-3 * length * rng.standard_normal(block.shape) for name, block in theta.items()}
    found = prove(problem, off, lam, norm)
    assert not found.proved
    assert found.reasons


def test_the_distance_to_the_proved_point_is_measured() -> None:
    record = optima("G6:h=1")["l2"]
    theta = as_floats(record.theta)
    unit = {name: block / np.sqrt(3) for name, block in theta.items()}
    off = {"W": unit["W"] + np.array([[2e-5, 0.0]]), "a": unit["a"]}
    near = proof_of(record, off, radius=1e-3)
    assert near.proved
    turned = off["W"] / np.sqrt((off["W"] ** 2).sum() + (off["a"] ** 2).sum())
    assert near.radius == pytest.approx(np.abs(turned - unit["W"]).max(), rel=1e-3)
    far = proof_of(record, off, radius=1e-6)
    assert not far.proved
    assert "away from" in far.reasons[0]
    assert far.radius == pytest.approx(near.radius, rel=1e-6)


def test_a_wrong_pattern_is_not_proved() -> None:
    problem = problems.get("binary:n=6,d=4@relu2:h=4")
    theta, lam = solved(problem, "l2", 1)
    pattern = [sign > 0 for sign in activation_signs(problem, exact(theta, problem.shapes))]
    assert prove(problem, theta, lam, "l2", pattern=pattern).proved
    flips = 0
    for k in range(len(pattern)):
        wrong = [*pattern[:k], not pattern[k], *pattern[k + 1 :]]
        found = prove(problem, theta, lam, "l2", pattern=wrong)
        dead = bool(np.abs(theta["W"][k % 4]).max() < 1e-6)  # such a neuron is held at 0, where its gates do not matter
        assert found.proved is dead
        flips += not dead
    assert flips > 0


def test_a_missing_or_a_foreign_multiplier_is_not_proved() -> None:
    problem = problems.get("binary:n=6,d=4@relu2:h=4")
    theta, lam = solved(problem, "l2", 1)
    active, idle = np.flatnonzero(lam > 1e-6), np.flatnonzero(lam <= 1e-6)
    for i in active:
        less = lam.copy()
        less[i] = 0
        assert not prove(problem, theta, less, "l2").proved
    for i in idle:
        more = lam.copy()
        more[i] = lam.max()
        assert not prove(problem, theta, more, "l2").proved


@pytest.mark.parametrize("wrong", ["linf", "l1", "spectral", "hybrid"])
def test_a_point_of_another_norm_is_not_proved(wrong: str) -> None:
    problem = problems.get("binary:n=6,d=4@relu2:h=4")
    theta, lam = solved(problem, "l2", 1)
    assert not prove(problem, theta, lam, wrong).proved


def linear(X: list[list[float]], shape: tuple[int, ...]) -> Problem:
    model = BlockLinear((("w", shape),))
    return Problem.of("by hand", model, X, [1] * len(X), classes=(-1, 1))


# Each solves the equations of its manifold, and breaks one inequality alone.
FALSE = {
    "a negative multiplier": ([[1, 0], [3, 1]], "l2", [1, -2], [0.5, 0.5], "multiplier 1 is positive"),
    "an inactive margin below": ([[1, 0], [3, 1]], "l2", [3, 1], [0, 1], "inactive margin 0"),
    "a negative margin": ([[3, 4]], "l2", [-3, -4], [1], "the margin is positive"),
    "a gradient pointing inward": ([[3, 1]], "linf", [1, -1], [1], "points outward"),
    "a zero with the larger gradient": ([[3, 4]], "l1", [1, 0], [1], "|gradient| of the zero entry 1"),
    "a sphere's pole upside down": ([[3, 4]], "l2;max", [-3, -4], [1], "points outward"),
    "an indefinite frame": ([[3, 0, 0, 1]], "spectral", [[1, 0], [0, -1]], [1], "aligned with the block"),
    "a frame too small": ([[1, 0, 0, 5e-7]], "spectral", [[1, 0], [0, 0.5]], [1], "singular"),
}


@pytest.mark.parametrize(("X", "norm", "theta", "lam", "words"), FALSE.values(), ids=FALSE)
def test_one_broken_inequality_is_enough(X: list, norm: str, theta: list, lam: list[float], words: str) -> None:
    block = np.array(theta, dtype=float)
    found = prove(linear(X, block.shape), {"w": block}, lam, norm)
    assert not found.proved
    assert any(words in reason for reason in found.reasons), found.reasons


def test_the_minimum_of_the_margin_is_not_taken_for_a_kkt_point() -> None:
    """Stationary with multipliers of the wrong sign: θ is the linear problem's optimum for the opposite labels."""
    record = optima("G2")["linf"]
    theta = {name: -block for name, block in as_floats(record.theta).items()}
    found = proof_of(record, theta)
    assert not found.proved
    assert any("margin is positive" in reason or "points outward" in reason for reason in found.reasons)


# --- held parameters ----------------------------------------------------------------------------------------------


def test_dead_neurons_are_held_at_zero_or_where_they_are() -> None:
    l2 = optima("G6")["l2"]
    assert proof_of(l2).proved
    linf = optima("G6:h=2")["linf"]
    theta = as_floats(linf.theta)
    theta["W"] = np.array([[1.0, -1.0], [-0.3, 0.7]])  # the second neuron is closed on the only point
    theta["a"] = np.array([1.0, 0.4])
    found = prove(linf.problem, theta, [1.0], "linf")
    assert found.proved, found.reasons
    assert found.margin is not None
    assert found.margin[0] <= 49 <= found.margin[1]


def test_rotations_are_only_used_where_they_are_symmetries() -> None:
    """Two neurons with different patterns must not be rotated into one another; equal ones may."""
    assert proof_of(optima("G4")["l2"]).proved
    assert proof_of(optima("G5:width=4")["l2"]).proved
    problem = problems.get("point:x=3:4@relu2-fixed:h=3")  # neurons 1 and 2 positive: any split of length is optimal
    theta = {"W": np.array([[0.6 * 0.6, 0.6 * 0.8], [0.8 * 0.6, 0.8 * 0.8], [0.0, 0.0]])}
    found = prove(problem, theta, [1.0], "l2")
    assert found.proved, found.reasons
    assert found.margin is not None
    assert found.margin[0] <= 25 <= found.margin[1]


@pytest.mark.parametrize(
    ("norm", "W", "a", "margin"),
    [
        ("hybrid:2", 1 / 2, 1.0, 25 / 4),  # max(2 ‖W‖_op, ‖a‖_inf)
        ("blocks:W=2*l2,a=l2;l2", np.sqrt(1 / 6), np.sqrt(1 / 3), 25 / (6 * np.sqrt(3))),
        ("blocks:W=2*l2,a=3*linf;max", 1 / 2, 1 / 3, 25 / 12),
        ("blocks:W=2*l1,a=l1;sum", 1 / 3, 1 / 3, 16 / 27),
    ],
)
def test_weighted_blocks(norm: str, W: float, a: float, margin: float) -> None:
    """One neuron on x = (3, 4): w along x, or along its largest coordinate under l1; margins by hand."""
    problem = problems.get("point:x=3:4@relu2:h=1")
    direction = np.array([[0.0, 1.0]]) if "l1" in norm else np.array([[0.6, 0.8]])
    found = prove(problem, {"W": W * direction, "a": np.array([a])}, [1.0], norm)
    assert found.proved, found.reasons
    assert found.margin is not None
    assert found.margin[0] <= margin * (1 + 1e-15)
    assert found.margin[1] >= margin * (1 - 1e-15)


def test_repeated_samples_share_a_multiplier() -> None:
    once = problems.get("binary:n=6,d=4@relu2-fixed:h=4")
    theta, lam = solved(once, "l2", 3)
    y = np.where(once.contrasts[:, 0, 0].numpy() > 0, 1, -1)
    twice = Problem.of("twice", once.model, np.vstack([once.X.numpy()] * 2), np.append(y, y))
    found = prove(twice, theta, np.append(lam / 3, lam * 2 / 3), "l2")
    assert found.proved, found.reasons
    assert found.margin == pytest.approx(prove(once, theta, lam, "l2").margin, rel=1e-14)


@pytest.mark.parametrize(
    ("theta", "lam", "words"),
    [
        ({"w": np.zeros(2)}, [1.0], "a direction is needed"),
        ({"w": np.array([np.nan, 1.0])}, [1.0], "a direction is needed"),
        ({"w": np.array([3.0, 4.0])}, [0.0], "one of them positive"),
        ({"w": np.array([3.0, 4.0])}, [1.0, 1.0], "needed are 1 multipliers"),
        ({"w": np.array([3.0, 4.0])}, [np.nan], "one of them positive"),
        ({"v": np.array([3.0, 4.0])}, [1.0], "blocks"),
    ],
)
def test_unusable_input_is_refused(theta: dict, lam: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        prove(problems.get("point:x=3:4@linear"), theta, lam, "l2")


# --- the interval test itself -------------------------------------------------------------------------------------


def variables(n: int) -> list[Polynomial]:
    return [Polynomial.variable(i) for i in range(n)]


def test_krawczyk_encloses_the_root_of_two() -> None:
    (x,) = variables(1)
    found = enclose_zero([x * x - Polynomial.constant(2)], [0], [fmpq(0)], [1.4])
    assert found.box is not None
    assert found.box[0] ** 2 - 2 == 0 or (found.box[0] ** 2).contains(2)
    assert float(found.box[0].rad()) < 1e-15


def test_krawczyk_proves_nothing_where_there_is_no_zero_or_a_double_one() -> None:
    (x,) = variables(1)
    assert enclose_zero([x * x + Polynomial.constant(1)], [0], [fmpq(0)], [0.3]).box is None
    double = enclose_zero([x * x], [0], [fmpq(0)], [0.0])
    assert double.box is None
    assert double.null.shape == (1, 1)
    # x² = 2^-60 has two zeros so near to each other that a float inverse at 0 sees one.
    near = enclose_zero([x * x - Polynomial.constant(fmpq(1, 2**60))], [0], [fmpq(0)], [1e-9])
    assert near.box is None or (near.box[0] > 0) == (near.center[0] > 0)


def test_held_variables_keep_their_exact_value() -> None:
    x, y = variables(2)
    found = enclose_zero([x * y - Polynomial.constant(1)], [0], [fmpq(0), fmpq(1, 3)], [2.9])
    assert found.box is not None
    assert found.box[0].contains(3)


def test_singular_systems_report_their_null_space() -> None:
    x, y = variables(2)
    found = enclose_zero(
        [x + y - Polynomial.constant(1), x + x + y + y - Polynomial.constant(2)], [0, 1], [fmpq(0), fmpq(0)], [0.5, 0.5]
    )
    assert found.box is None
    np.testing.assert_allclose(abs(found.null), [[np.sqrt(0.5)] * 2])
    assert found.null[0, 0] * found.null[0, 1] < 0


@pytest.mark.parametrize(
    ("entries", "definite"),
    [
        ([[2, 1], [1, 2]], True),
        ([[1, 2], [2, 1]], False),
        ([[0, 0], [0, 1]], False),
        ([[1, 0, 0], [0, 1, 1], [0, 1, 1]], False),
        ([[4, 1, 0], [1, 4, 1], [0, 1, 4]], True),
    ],
)
def test_positive_definiteness_by_pivots(entries: list[list[int]], definite: bool) -> None:
    assert positive_definite([[arb(v) for v in row] for row in entries]) is definite
    blurred = [[arb(v, 3) for v in row] for row in entries]
    assert not positive_definite(blurred)
