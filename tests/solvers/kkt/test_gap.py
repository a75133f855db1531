"""The KKT gap: 0 exactly at KKT points known in closed form, its certificate recomputed, its slack honest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maxmargin.models import problems
from maxmargin.models.families.linear import MulticlassLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator, KKTError, kkt_gap
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm
from maxmargin.solvers.routes.saddle import InnerSolver, inner_solver

ZERO = 1e-8  # a solver at 1e-9 relative, and the square root's share of a θ rounded to 1e-16
NAMES = ["l1", "l2", "linf", "spectral", "nuclear", "hybrid"]
NETS = ["binary@relu2:h=8", "multiclass@deep-linear:depth=2,width=4", "binary@diagonal:depth=3"]


def basis(k: int) -> Problem:
    return Problem.of("G2", MulticlassLinear(k, k), np.eye(k), np.arange(k))


def separating(name: str, seed: int = 3) -> tuple[Problem, dict[str, np.ndarray]]:
    """A problem and a θ with positive margins, by a few hundred steps of Adam."""
    problem = problems.get(name)
    theta = {key: block.clone().requires_grad_() for key, block in problem.model.init(seed).items()}
    optimizer = torch.optim.Adam(theta.values(), lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        torch.logsumexp(-problem.margins(theta), 0).backward()
        optimizer.step()
    found = {key: block.detach().numpy().copy() for key, block in theta.items()}
    assert problem.min_margin(found) > 0
    return problem, found


def closed_forms():
    """(id, problem, norm, θ) with θ a KKT point by THEORY section 5."""
    for k in (3, 5, 10):
        J = np.ones((k, k))
        yield f"G2-k{k}-linf", basis(k), "linf", {"W": 2 * np.eye(k) - J}
        yield f"G2-k{k}-l2", basis(k), "l2", {"W": np.eye(k) - J / k}
        yield f"G2-k{k}-nuclear", basis(k), "nuclear", {"W": np.eye(k) - J / k}
        for c in (0.0, 1 / k, 2 / k):  # not unique: the whole segment
            yield f"G2-k{k}-spectral-{c:.2f}", basis(k), "spectral", {"W": np.eye(k) - c * J}
    # G5: two layers, B = W2 W1. ℓ2 → nuclear optimum I − J/k, balanced; spectral → any spectral optimum.
    two = problems.get("basis@deep-linear:depth=2,width=3")
    centred = np.eye(3) - np.ones((3, 3)) / 3
    yield "G5-l2", two, "l2", {"W1": centred, "W2": centred}
    yield "G5-spectral", two, "spectral", {"W1": np.eye(3), "W2": np.eye(3) - np.ones((3, 3)) / 3}
    # G6: two-layer squared ReLU on one point x = (3, 4).
    one = problems.get("point:x=3:4@relu2:h=4")
    x = np.array([0.6, 0.8])
    first = np.array([1.0, 0, 0, 0])
    yield "G6-l2", one, "l2", {"W": np.outer(first, x) * 2**0.5, "a": first}
    yield "G6-linf", one, "linf", {"W": np.ones((4, 2)), "a": np.ones(4)}
    yield "G6-spectral", one, "spectral", {"W": np.outer(first, x), "a": first}


CASES = list(closed_forms())


class TestClosedForms:
    @pytest.mark.parametrize(("problem", "name", "theta"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
    def test_zero_at_a_kkt_point_and_not_beside_it(self, problem, name, theta):
        norm = get_norm(name)
        gap = kkt_gap(problem, theta, norm)
        assert 0 <= gap.value <= ZERO
        assert gap.slack <= ZERO
        # The spoiled twin: one entry of the first block 10 % off leaves the face (it lowers the least margin, or
        # raises the norm, by some per cent; first order for polyhedral norms, second order for ℓ2).
        spoiled = {key: block.copy() for key, block in theta.items()}
        block = next(iter(spoiled.values()))
        at = np.unravel_index(np.abs(block).argmax(), block.shape)
        block[at] *= 0.9
        assert kkt_gap(problem, spoiled, norm).value >= 1e-4

    @pytest.mark.parametrize(
        ("name", "size", "optimum"), [("linf", 1, 2), ("l2", 3**0.5, 2**-0.5), ("nuclear", 3, 1 / 2), ("l1", 3, 1 / 3)]
    )
    def test_the_identity_on_basis_vectors(self, name, size, optimum):
        # θ = I has margin 1; G2 with k = 3 has these optima (ℓ1: each sample needs its own entry, so 1/k).
        gap = kkt_gap(basis(3), {"W": np.eye(3)}, get_norm(name))
        assert gap.value == pytest.approx(1 - 1 / size / optimum, abs=1e-9)
        assert gap.dual_value == pytest.approx(optimum, abs=1e-9)


class TestCertificate:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("net", NETS)
    def test_the_multipliers_reproduce_the_value(self, net, name):
        problem, theta = separating(net)
        norm = get_norm(name)
        gap = kkt_gap(problem, theta, norm)
        lam = gap.multipliers
        assert lam.min() >= 0
        assert lam.sum() == pytest.approx(1, rel=1e-12)
        assert gap.norm_value == pytest.approx(float(norm.value(theta)), rel=1e-12)
        # Γ = 1 − L q / (‖θ‖ ‖Σ λ g‖_*) at θ as it came, gradients by autograd of the weighted margin alone.
        leaves = {key: torch.tensor(block, requires_grad=True) for key, block in theta.items()}
        (torch.tensor(lam) * problem.margins(leaves)).sum().backward()
        dual = float(norm.dual({key: leaf.grad.numpy() for key, leaf in leaves.items()}))
        q = float(problem.min_margin(theta))
        assert gap.value == pytest.approx(1 - problem.degree * q / (gap.norm_value * dual), abs=1e-10)
        assert 0 <= gap.value <= 1
        assert gap.slack <= ZERO

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("net", NETS)
    def test_no_other_multipliers_do_better_than_the_slack_allows(self, net, name):
        problem, theta = separating(net)
        norm, rng = get_norm(name), np.random.default_rng(0)
        gap = kkt_gap(problem, theta, norm)
        q, size = float(problem.min_margin(theta)), float(norm.value(theta))
        for _ in range(50):
            # Perturbed optimal multipliers, sparse and dense ones: all are upper bounds of the exact Γ.
            lam = np.abs(gap.multipliers + rng.choice([1e-6, 1e-3, 1]) * rng.standard_normal(problem.n_margins))
            dual = float(norm.dual(problem.pullback(theta, lam / lam.sum())))
            assert 1 - problem.degree * q / (size * dual) >= gap.value - gap.slack - 1e-12

    def test_multipliers_on_an_inactive_margin_cost(self):
        problem, theta = separating("binary@relu2:h=8")
        norm = get_norm("l2")
        gap = kkt_gap(problem, theta, norm)
        far = np.eye(problem.n_margins)[int(problem.margins(theta).argmax())]
        q, size = float(problem.min_margin(theta)), float(norm.value(theta))
        spoiled = problem.pullback(theta, 0.9 * gap.multipliers + 0.1 * far)
        assert 1 - problem.degree * q / (size * float(norm.dual(spoiled))) > gap.value + 1e-3

    @pytest.mark.parametrize("name", ["linf", "spectral"])
    def test_an_unfinished_solver_reports_its_slack(self, name, monkeypatch):
        problem, theta = separating("binary@relu2:h=8")
        exact = kkt_gap(problem, theta, get_norm(name))

        def one_margin(self, A, done, **_):
            from maxmargin.solvers.routes.saddle import _Best

            best = _Best(self.flat, A)
            best.offer(_["guess"], None, "guess")
            return best.offer(None, np.eye(len(A))[0], "first margin only")

        monkeypatch.setattr(InnerSolver, "solve", one_margin)
        loose = kkt_gap(problem, theta, get_norm(name))
        assert loose.value > exact.value
        assert loose.value - loose.slack <= exact.value
        assert loose.rung == "numerical"
        assert exact.rung == "convex dual certificate"


class TestLaws:
    @given(seed=st.integers(0, 10**6), log_scale=st.floats(-3, 3))
    @settings(derandomize=True, deadline=None, max_examples=10)
    @pytest.mark.parametrize("name", ["l2", "linf", "spectral"])
    def test_linear_gap_is_the_missing_share_of_the_margin(self, name, seed, log_scale):
        problem, norm = problems.get("multiclass@linear"), get_norm(name)
        optimum = solve_margin(problem, norm)
        rng = np.random.default_rng(seed)
        theta = {"W": optimum.theta["W"] + 10**log_scale * 1e-2 * rng.standard_normal((3, 8))}
        share = float(problem.min_margin(theta)) / float(norm.value(theta)) / optimum.upper
        for evaluator in (GapEvaluator(problem, norm), GapEvaluator(problem, norm, reference=optimum)):
            gap = evaluator(theta)
            assert gap.value == pytest.approx(1.0 if share <= 0 else 1 - share, abs=2e-9)
            assert gap.slack <= 2e-9

    @pytest.mark.parametrize("name", NAMES)
    def test_scale_free(self, name):
        problem, theta = separating("binary@relu2:h=8")
        values = [
            kkt_gap(problem, {key: c * block for key, block in theta.items()}, get_norm(name)).value
            for c in (1.0, 1e-6, 1e6)
        ]
        assert values == pytest.approx([values[0]] * 3, abs=2e-9)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("net", NETS)
    def test_softmax_weights_only_bound_it(self, net, name):
        problem, theta = separating(net)
        norm = get_norm(name)
        gap = kkt_gap(problem, theta, norm).value
        m = problem.margins(theta)
        lam = np.exp(-(m - m.min()))
        dual = float(norm.dual(problem.pullback(theta, lam / lam.sum())))
        bound = 1 - problem.degree * m.min() / (float(norm.value(theta)) * dual)
        assert gap - 1e-9 <= bound <= 1

    def test_numpy_and_torch_and_repeated_calls_agree(self):
        problem, theta = separating("binary@relu2:h=8")
        evaluate = GapEvaluator(problem, get_norm("spectral"))
        first = evaluate(theta)
        # Another point in between: nothing of one θ may be kept for the next.
        _, other = separating("binary@relu2:h=8", seed=4)
        fresh = kkt_gap(problem, other, get_norm("spectral"))
        assert evaluate(other).value == pytest.approx(fresh.value, abs=2e-7)
        assert abs(fresh.value - first.value) > 1e-3
        again = evaluate({key: torch.tensor(block) for key, block in theta.items()})
        assert again.value == first.value
        assert np.array_equal(again.multipliers, first.multipliers)

    def test_the_working_set_does_not_change_the_value(self, monkeypatch):
        from maxmargin.solvers.routes import saddle as inner

        problem, theta = separating("digits-3@relu2:h=8")
        for name in ("l2", "linf", "spectral"):
            whole = kkt_gap(problem, theta, get_norm(name))
            monkeypatch.setattr(inner, "_WORKING", 20)
            part = kkt_gap(problem, theta, get_norm(name))
            monkeypatch.undo()
            assert part.value == pytest.approx(whole.value, abs=2e-9)
            assert part.slack <= ZERO


class TestEdges:
    def test_a_theta_that_does_not_separate_has_gap_one(self):
        gap = kkt_gap(basis(3), {"W": -np.eye(3)}, get_norm("l2"))
        assert gap.value == 1.0
        assert gap.margin == pytest.approx(-(3**-0.5))

    @pytest.mark.parametrize(
        ("theta", "message"),
        [
            ({"W": np.zeros((3, 3))}, "θ is zero"),
            ({"W": np.full((3, 3), np.nan)}, "'W' of θ has a NaN or infinite entry"),
        ],
    )
    def test_bad_theta(self, theta, message):
        with pytest.raises(KKTError, match=message):
            kkt_gap(basis(3), theta, get_norm("l2"))

    def test_a_reference_is_for_linear_problems_only(self):
        with pytest.raises(KKTError, match="only for linear models"):
            GapEvaluator(
                problems.get("binary@relu2:h=8"), get_norm("l2"), reference=solve_margin(basis(3), get_norm("l2"))
            )

    def test_a_wrong_degree_is_noticed(self):
        class Boastful(MulticlassLinear):
            linear = False

            @property
            def degree(self) -> int:
                return 2

        problem = Problem.of("x", Boastful(3, 3), np.eye(3), np.arange(3))
        with pytest.raises(KKTError, match=r"Γ = .* < 0.*of degree 2"):
            kkt_gap(problem, {"W": np.eye(3)}, get_norm("l2"))

    def test_solvers_are_kept(self):
        problem = basis(3)
        assert inner_solver(get_norm("hybrid:2"), problem.shapes) is inner_solver(get_norm("hybrid:2"), problem.shapes)
