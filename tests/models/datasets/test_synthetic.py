import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linprog

from maxmargin.models import problems
from maxmargin.models.datasets.synthetic import push, push_multiclass

few = settings(derandomize=True, deadline=None, max_examples=40)
coordinates = st.floats(-3, 3, width=32)


def separable(problem):
    """Whether some θ has every margin >= 1, by a linear program that knows only the gradients of the margins."""
    zero = {name: np.zeros(shape) for name, shape in problem.shapes.items()}
    rows = problem.jacobian(zero)
    A = np.concatenate([rows[name].reshape(problem.n_margins, -1) for name in zero], axis=1)
    answer = linprog(np.zeros(A.shape[1]), A_ub=-A, b_ub=-np.ones(len(A)), bounds=(None, None), method="highs")
    assert answer.status in (0, 2)  # solved, or infeasible
    return answer.status == 0


@few
@given(
    X=hnp.arrays(float, (7, 4), elements=coordinates),
    y=hnp.arrays(int, 7, elements=st.sampled_from([-1, 1])),
    teacher=hnp.arrays(float, 4, elements=st.floats(0.125, 2, width=32)),
)
def test_push_gives_the_teacher_margin_one_and_moves_along_it_only(X, y, teacher):
    teacher = teacher / np.linalg.norm(teacher)
    pushed = push(X, y, teacher)
    assert (y * (pushed @ teacher)).min() >= 1 - 1e-12
    across = np.eye(4) - np.outer(teacher, teacher)
    np.testing.assert_allclose(pushed @ across, X @ across, atol=1e-12)
    enough = y * (X @ teacher) >= 1
    np.testing.assert_array_equal(pushed[enough], X[enough])


@few
@given(seed=st.integers(0, 10**6), k=st.integers(2, 5))
def test_push_multiclass_gives_every_contrast_one(seed, k):
    rng = np.random.default_rng(seed)
    teacher = rng.standard_normal((k, 6))
    y = rng.integers(0, k, 9)
    X = rng.standard_normal((9, 6))
    pushed = push_multiclass(X, y, teacher)
    scores, before = pushed @ teacher.T, X @ teacher.T
    for i, label in enumerate(y):
        contrasts = scores[i, label] - np.delete(scores[i], label)
        assert contrasts.min() >= 1 - 1e-9
        if (before[i, label] - np.delete(before[i], label)).min() >= 1:
            np.testing.assert_array_equal(pushed[i], X[i])
        else:
            assert contrasts.min() <= 1 + 1e-9  # pushed as far as needed, no farther


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "data", ["multiclass", "multiclass:n=20,d=5,k=4", "binary", "binary:n=30,d=3", "blocks", "rademacher"]
)
def test_synthetic_data_are_separable_from_every_seed(data, seed):
    joint = "," if ":" in data else ":"
    assert separable(problems.get(f"{data}{joint}seed={seed}@linear"))


@pytest.mark.parametrize("name", [name for name in problems.names() if name.endswith("@linear")])
def test_every_listed_linear_problem_is_separable(name):
    assert separable(problems.get(name))


def test_the_separability_test_can_fail(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", X=rng.standard_normal((40, 2)), y=np.arange(40) % 2)
    assert not separable(problems.get(str(tmp_path / "noise.npz")))


def test_classes_are_balanced():
    assert np.bincount(problems.get("multiclass:n=9").labels).tolist() == [3, 3, 3]
    assert sorted(problems.get("binary").labels.tolist()) == [-1, -1, -1, 1, 1, 1]


def test_rademacher_samples_have_features_of_one_size():
    problem = problems.get("rademacher:n=9,d=5,seed=2")
    X = problem.X.numpy()
    np.testing.assert_allclose(np.abs(X), np.abs(X[:, :1]) * np.ones(5), rtol=1e-15)
    assert problem.min_margin({"w": np.eye(5)[0]}) > 0.5
    assert len(np.unique(np.sign(X), axis=0)) > 2
