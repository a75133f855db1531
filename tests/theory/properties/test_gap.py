"""Γ lies in [0, 1], is 0 at KKT points and nowhere else, and feels neither scale nor the data's order.

On networks the labels are those that θ itself gives, so that every drawn θ separates and nothing is filtered out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from theory.properties.drawn import SEEDS, over

from maxmargin.models.families.deep_linear import DeepLinear, DeepLinearMulticlass
from maxmargin.models.families.diagonal import Diagonal
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.families.networks import Network, Unit
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.kkt.residual import natural_residual
from maxmargin.solvers.linear.optimum import solve_margin
from maxmargin.solvers.norms import get_norm

MODELS = {
    "linear": lambda d, h, k: BlockLinear((("w", (d,)),)) if k == 2 else MulticlassLinear(k, d),
    "deep": lambda d, h, k: DeepLinear(d, (h, 2)) if k == 2 else DeepLinearMulticlass(k, d, (h,)),
    "diagonal": lambda d, h, k: Diagonal(d, 2 + h % 2),
    "relu2": lambda d, h, k: Network(d, (h,), classes=1 if k == 2 else k),
    "relu1.5": lambda d, h, k: Network(d, (h,), Unit(1.5), 1 if k == 2 else k),
    "quadratic": lambda d, h, k: Network(d, (h,), Unit(2, rectified=False), 1 if k == 2 else k),
}


@dataclass(frozen=True)
class Point:
    """A drawn θ of a model, on n Gaussian samples that are labelled by it; the factor that θ is scaled by."""

    model: str
    d: int
    h: int
    k: int
    n: int
    norm: str
    seed: int
    factor: float = 1.0

    def made(self):
        classes = 2 if self.model == "diagonal" else self.k
        model = MODELS[self.model](self.d, self.h, classes)
        rng = np.random.default_rng(self.seed)
        X, theta = rng.standard_normal((self.n, self.d)), model.init(self.seed)
        scores = model.scores(theta, torch.as_tensor(X))
        labels = (scores[:, 0] > 0).long() if classes == 2 else scores.argmax(1)
        problem = Problem.of(f"{self!r}", model, X, labels.numpy(), classes=range(classes))
        return problem, {name: block.numpy() for name, block in theta.items()}


@st.composite
def points(draw, norms=("l2", "linf", "l1", "spectral", "l2;max", "hybrid", "entrywise:3")):
    return Point(
        draw(st.sampled_from([*MODELS])), draw(st.integers(2, 5)), draw(st.integers(2, 6)), draw(st.integers(2, 4)),
        draw(st.integers(1, 6)), draw(st.sampled_from(norms)), draw(SEEDS), 10.0 ** draw(st.integers(-9, 9)),
    )  # fmt: skip


def gaps_are_certified_scale_free_and_blind_to_order(case):
    problem, theta = case.made()
    norm, rng = get_norm(case.norm), np.random.default_rng(case.seed)
    q = float(problem.min_margin(theta))
    if not q > 1e-9 * float(problem.margins(theta).max()):
        return  # all samples off (every neuron asleep): nothing is separated
    gap = GapEvaluator(problem, norm)(theta)
    assert 0 <= gap.value <= 1
    larger = {name: case.factor * block for name, block in theta.items()}
    assert abs(GapEvaluator(problem, norm)(larger).value - gap.value) <= 1e-6
    order = rng.permutation(problem.n_samples)
    other = Problem.of(
        "other",
        problem.model,
        problem.X.numpy()[order],
        problem.labels[order],
        classes=np.unique(range(max(2, problem.model.outputs))),
    )
    assert abs(GapEvaluator(other, norm)(theta).value - gap.value) <= 1e-6
    size = float(norm.value(theta))

    def bound(weights):
        return 1 - problem.degree * q / (size * float(norm.dual(problem.pullback(theta, weights))))

    assert gap.slack <= 1e-6, "the bracket is open"
    np.testing.assert_allclose(
        bound(gap.multipliers), gap.value, atol=1e-9, err_msg="the multipliers prove another gap"
    )
    for weights in (rng.dirichlet(np.ones(problem.n_margins)), np.eye(problem.n_margins)[0]):
        assert bound(weights) >= gap.value - gap.slack - 1e-9, "other multipliers prove a smaller gap"
    if gap.value <= 1e-9:
        assert natural_residual(problem, norm, theta, gap.multipliers) <= 1e-3, "Γ is 0 at what is no KKT point"
    if problem.linear:
        share = q / size / solve_margin(problem, norm).upper
        np.testing.assert_allclose(gap.value, 1 - share, atol=1e-6)


test_gaps_are_certified_scale_free_and_blind_to_order = over(points(), 150)(
    gaps_are_certified_scale_free_and_blind_to_order
)


def gaps_are_zero_at_fixed_points_of_the_steepest_direction(case):
    """One sample: θ = −lmo(−∇m(θ)) is the KKT condition itself, and iterating it climbs to such a point."""
    problem, theta = Point(case.model, case.d, case.h, 2, 1, case.norm, case.seed).made()
    norm = get_norm(case.norm)
    for _ in range(300):
        before, theta = theta, norm.lmo({name: -g for name, g in problem.pullback(theta, np.ones(1)).items()})
        theta = {name: 0.5 * block + 0.5 * before[name] / float(norm.value(before)) for name, block in theta.items()}
        if max(float(np.abs(theta[name] - before[name]).max()) for name in theta) <= 1e-13:
            break
    fixed = norm.lmo({name: -g for name, g in problem.pullback(theta, np.ones(1)).items()})
    if (
        not float(problem.min_margin(theta)) > 1e-6
        or max(float(np.abs(fixed[n] - theta[n]).max()) for n in theta) > 1e-7
    ):
        return  # it went to a point without margin, or between several
    gap = GapEvaluator(problem, norm)
    assert gap(theta).value <= 1e-6, "Γ is not 0 at a KKT point"
    rng = np.random.default_rng(case.seed)
    other = {name: block + 0.3 * rng.standard_normal(block.shape) for name, block in theta.items()}
    if float(problem.min_margin(other)) > 0:
        away = 1 - problem.degree * float(problem.min_margin(other)) / (
            float(norm.value(other)) * float(norm.dual(problem.pullback(other, np.ones(1))))
        )
        np.testing.assert_allclose(gap(other).value, away, atol=1e-9)


test_gaps_are_zero_at_fixed_points_of_the_steepest_direction = over(
    points(("l2", "linf", "spectral", "entrywise:3", "schatten:3", "l2;max")), 100
)(gaps_are_zero_at_fixed_points_of_the_steepest_direction)
