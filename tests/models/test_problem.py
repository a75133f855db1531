import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.models.blocks import BlockError
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.problem import DataError, Problem

LINEAR = BlockLinear((("w", (2,)),))
X = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]])


def test_binary_margins_are_y_f_and_the_larger_label_is_positive():
    theta = {"w": np.array([2.0, -1.0])}
    for labels in ([0, 1, 1], [-1, 1, 1], ["cat", "dog", "dog"], [3, 8, 8], [False, True, True]):
        problem = Problem.of("p", LINEAR, X, labels)
        np.testing.assert_array_equal(problem.margins(theta), [-0.0, 7.0, 1.0])


def test_multiclass_margins_stand_together_sample_by_sample():
    problem = Problem.of("p", MulticlassLinear(3, 2), X, [2, 0, 1])
    W = np.arange(6.0).reshape(3, 2) ** 2
    scores = X @ W.T
    expected = [
        scores[0, 2] - scores[0, 0],
        scores[0, 2] - scores[0, 1],
        scores[1, 0] - scores[1, 1],
        scores[1, 0] - scores[1, 2],
        scores[2, 1] - scores[2, 0],
        scores[2, 1] - scores[2, 2],
    ]
    np.testing.assert_allclose(problem.margins({"W": W}), expected, rtol=1e-15)
    assert problem.n_margins == 6
    assert problem.n_samples == 3
    assert problem.min_margin({"W": W}) == min(expected)


def test_numpy_in_numpy_out_torch_in_torch_out():
    problem = problems.get("multiclass@relu2:h=4")
    theta = problem.model.init(0)
    as_arrays = {name: block.numpy() for name, block in theta.items()}
    lam = np.ones(problem.n_margins)
    assert isinstance(problem.margins(as_arrays), np.ndarray)
    assert isinstance(problem.min_margin(as_arrays), np.floating)
    assert all(isinstance(g, np.ndarray) for g in problem.pullback(as_arrays, lam).values())
    assert all(isinstance(g, np.ndarray) for g in problem.jacobian(as_arrays).values())
    assert isinstance(problem.margins(theta), torch.Tensor)
    assert isinstance(problem.min_margin(theta), torch.Tensor)
    assert all(isinstance(g, torch.Tensor) for g in problem.pullback(theta, torch.as_tensor(lam)).values())
    assert all(isinstance(g, torch.Tensor) for g in problem.jacobian(theta).values())
    np.testing.assert_array_equal(problem.margins(theta).numpy(), problem.margins(as_arrays))


def test_margins_and_pullback_can_be_vmapped():
    problem = problems.get("binary@diagonal:depth=3")
    thetas = [problem.model.init(seed) for seed in range(4)]
    stacked = {name: torch.stack([theta[name] for theta in thetas]) for name in problem.shapes}
    lam = torch.rand(4, problem.n_margins, dtype=torch.float64)
    margins = torch.func.vmap(problem.margins)(stacked)
    gradients = torch.func.vmap(problem.pullback)(stacked, lam)
    for run, theta in enumerate(thetas):
        torch.testing.assert_close(margins[run], problem.margins(theta))
        torch.testing.assert_close(gradients["u2"][run], problem.pullback(theta, lam[run])["u2"])


@pytest.mark.parametrize("spec", ["binary@relu2:h=3", "multiclass:n=4,d=3@deep-linear:width=2", "binary@linear"])
def test_hessian_is_the_derivative_of_the_pullback(spec):
    problem = problems.get(spec)
    theta = {name: block.numpy() for name, block in problem.model.init(1).items()}
    lam = np.random.default_rng(0).random(problem.n_margins)
    hessian = problem.hessian_of(theta, lam)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    rng = np.random.default_rng(1)
    direction = {name: rng.standard_normal(block.shape) for name, block in theta.items()}
    step = 1e-6
    ends = [problem.pullback({name: theta[name] + t * direction[name] for name in theta}, lam) for t in (step, -step)]
    slope = np.concatenate([((ends[0][k] - ends[1][k]) / (2 * step)).ravel() for k in theta])
    predicted = hessian @ np.concatenate([direction[k].ravel() for k in theta])
    np.testing.assert_allclose(predicted, slope, atol=1e-7)
    if problem.linear:
        assert not hessian.any()


def test_a_single_class_is_accepted_when_the_others_are_named():
    problem = Problem.of("p", LINEAR, X, [1, 1, 1], classes=[-1, 1])
    np.testing.assert_array_equal(problem.margins({"w": np.array([1.0, 0.0])}), X[:, 0])


def test_data_are_copied():
    mine = X.copy()
    problem = Problem.of("p", LINEAR, mine, [0, 1, 1])
    mine[0, 0] = 99.0
    assert problem.X[0, 0] == 1.0


@pytest.mark.parametrize(
    ("inputs", "labels", "says"),
    [
        (X, [1, 1, 1], r"1 distinct label\(s\) \(1\); the model 'linear' needs 2"),
        (X, [0, 1, 2], r"3 distinct label\(s\) \(0, 1, 2\)"),
        (X, [0, 1], r"y has shape \(2,\), X has 3 samples"),
        (X[:, :1], [0, 1, 1], "X has 1 features, the model 'linear' takes 2"),
        (X[0], [0, 1], r"X has shape \(2,\)"),
        (X[:0], [], r"X has shape \(0, 2\)"),
        (np.where(X == 3.0, np.nan, X), [0, 1, 1], r"X\[1, 0\] is nan; every entry must be finite"),
        (np.where(X == -1.0, np.inf, X), [0, 1, 1], r"X\[1, 1\] is inf"),
        (X, [0.0, np.nan, 1.0], r"y\[1\] is not finite"),
        (X.astype(str), [0, 1, 1], r"X has entries of type .*; needed are real numbers"),
        (X.astype(complex), [0, 1, 1], "X has entries of type complex128"),
        (X, np.array([0, None, 1], dtype=object), "y has entries of type object"),
    ],
)
def test_bad_data_are_refused_by_name(inputs, labels, says):
    with pytest.raises(DataError, match=f"^mine: .*{says}"):
        Problem.of("mine", LINEAR, inputs, labels)


def test_a_label_outside_the_named_classes_is_refused():
    with pytest.raises(DataError, match=r"the label 5, which is not among the classes \[-1, 1\]"):
        Problem.of("p", LINEAR, X, [1, 5, 1], classes=[-1, 1])


def test_wrong_parameters_are_refused():
    problem = Problem.of("p", LINEAR, X, [0, 1, 1])
    with pytest.raises(BlockError, match=r"block 'w' has shape \(3,\), the model needs \(2,\)"):
        problem.margins({"w": np.ones(3)})
