"""A stranger's torch module is a problem if it is homogeneous; what keeps it from being one is named."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from maxmargin.models import problems
from maxmargin.models.families.networks import Network
from maxmargin.models.importing import without_colon
from maxmargin.models.modules import ModuleError
from maxmargin.models.problem import DataError, Problem
from maxmargin.models.registry import ProblemError
from maxmargin.models.scaling import power_of
from maxmargin.solvers import kkt_gap
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.optimizers import get_optimizer

RNG = np.random.default_rng(3)
X = RNG.standard_normal((10, 5))
Y = np.where(X[:, 0] + X[:, 1] > 0, 1, -1)


NORMALIZED = partial(nn.LayerNorm, eps=0, elementwise_affine=False)
CONV = partial(nn.Conv1d, 1, 2, 2, bias=False)


def plain(*shape, **options):
    return nn.Linear(*shape, **{"bias": False, **options})


class Net(nn.Module):
    def __init__(self, hidden=4, bias=False, activation=torch.relu):
        super().__init__()
        self.first, self.head, self.activation = plain(5, hidden), plain(hidden, 1, bias=bias), activation

    def forward(self, x):
        return self.head(self.activation(self.first(x)) ** 2)


def test_a_module_is_the_same_problem_as_our_own_model_written_by_hand():
    mine = problems.of((Net, X, Y))
    ours = Problem.of("ours", Network(5, (4,)), X, Y)
    theta = ours.model.init(0)
    same = {"first.weight": theta["W"], "head.weight": theta["a"].reshape(1, -1)}
    assert (mine.degree, mine.model.block_degrees) == (3, {"first.weight": 2, "head.weight": 1})
    assert mine.model.smooth
    assert not mine.linear
    torch.testing.assert_close(mine.margins(same), ours.margins(theta), rtol=1e-14, atol=0)
    gap, known = kkt_gap(mine, same, "l2"), kkt_gap(ours, theta, get_norm("l2"))
    assert gap.value == pytest.approx(known.value, abs=1e-12)


def test_it_trains_in_native_code_as_our_own_does(caplog):
    mine, ours = problems.of((Net, X, Y)), Problem.of("ours", Network(5, (4,)), X, Y)
    begin = starts(ours, 1)
    same = {"first.weight": begin["W"], "head.weight": begin["a"].reshape(1, 1, -1)}
    with caplog.at_level("INFO"):
        found = run(mine, get_optimizer("ngd", {}), same, steps=400)
    assert "no native form" not in caplog.text
    known = run(ours, get_optimizer("ngd", {}), begin, steps=400)
    np.testing.assert_allclose(found.margin, known.margin, rtol=1e-9)


@pytest.mark.parametrize(
    ("module", "degree", "linear", "smooth"),
    [
        (lambda: plain(5, 1), 1, True, True),
        (lambda: nn.Linear(5, 2), 1, True, True),  # a bias of the weights' own degree breaks nothing
        (lambda: nn.Sequential(plain(5, 4), nn.ReLU(), plain(4, 2)), 2, False, False),
        (lambda: nn.Sequential(nn.Linear(5, 4), nn.LeakyReLU(), plain(4, 1)), 2, False, False),
        (lambda: nn.Sequential(plain(5, 4), NORMALIZED(4), plain(4, 1)), 1, False, True),
        (lambda: nn.Sequential(nn.Unflatten(1, (1, 5)), CONV(), nn.Flatten(), plain(8, 1)), 2, False, True),
    ],
)  # fmt: skip
def test_degree_linearity_and_smoothness_are_found(module, degree, linear, smooth):
    torch.manual_seed(0)
    found = problems.of((module, X, Y))
    assert (found.degree, found.linear, found.model.smooth) == (degree, linear, smooth)
    assert f"homogeneous of degree {degree}" in found.note


class Parameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.shift = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return (x @ self.w) ** 3 + self.shift


class Root(Parameter):
    def forward(self, x):
        z = x @ self.w
        return torch.sign(z) * z.abs() ** 0.5


class Raises(Parameter):
    def forward(self, x):
        return x.no_such_thing


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (lambda: Net(bias=True), r"head.bias is added to terms of another degree \(a bias.*; without it .* 3"),
        (lambda: nn.Sequential(plain(5, 4), nn.Linear(4, 4), nn.Linear(4, 1)), "1.bias and 2.bias are added"),
        (Parameter, "shift is added .* its degree is 3"),
        (lambda: nn.Sequential(plain(5, 4), nn.GELU(), plain(4, 1)), r"the output of '1' \(GELU\) is no power"),
        (lambda: Net(activation=torch.tanh), r"the input of 'head' \(Linear\) is no power"),
        (lambda: nn.Sequential(plain(5, 4), nn.LayerNorm(4), plain(4, 1)), r"the output of '1' \(LayerNorm\)"),
        (Root, "homogeneous of degree 0.5; the theory here is of whole degrees"),
        (lambda: nn.Sequential(plain(5, 2), nn.Softsign(), nn.Threshold(-9.0, 0.0)), r"the output of '1' \(Softsign\)"),
        (lambda: nn.Sequential(plain(5, 2), NORMALIZED(2)), "homogeneous of degree 0: its scores do not grow"),
        (lambda: nn.Sequential(plain(5, 4), nn.Dropout(), plain(4, 1)), r"random \(dropout\?\); .*\.eval\(\)"),
        (lambda: nn.Sequential(plain(5, 4), nn.BatchNorm1d(4), plain(4, 1)), r"evaluation mode: \.eval\(\)"),
        (lambda: plain(4, 1), r"forward failed on float64 inputs of shape \(10, 5\)"),
        (Raises, r"no_such_thing.* \(test_modules.py, line \d+, in forward\)"),
        (lambda: nn.Flatten(), "has no parameter that requires a gradient"),
        (lambda: 3, "a int was built; needed is a torch.nn.Module"),
        (3, "3 is no torch.nn.Module"),
    ],
)  # fmt: skip
def test_what_is_not_homogeneous_is_refused_with_the_reason(module, text):
    torch.manual_seed(0)
    with pytest.raises(ModuleError, match=text):
        problems.of((module, X, Y))


def test_parameters_without_gradient_are_constants():
    net = Net()
    net.head.weight.requires_grad_(False)
    found = problems.of((net, X, Y))
    assert (found.degree, found.shapes) == (2, {"first.weight": (4, 5)})


def test_classes_must_be_as_many_as_scores():
    with pytest.raises(DataError, match=r"2 distinct label\(s\)"):
        problems.of((plain(5, 3), X, Y))


def test_given_problems_are_known_by_name_and_travel():
    found = problems.of((Net, X, Y))
    assert problems.get(found.name) is found
    assert problems.of((Net(hidden=6), X, Y)).name != found.name
    again = pickle.loads(pickle.dumps(found))
    assert problems.register(again).name == found.name
    theta = found.model.init(1)
    assert torch.equal(again.margins(theta), found.margins(theta))


@pytest.mark.parametrize("entry", [3, [X, Y], (X,), None])
def test_what_is_no_problem_is_refused_in_words(entry):
    with pytest.raises(ProblemError, match="is no problem; needed is a name, a Problem"):
        problems.of(entry)


def test_one_problem_may_stand_alone():
    assert [p.name for p in problems.several("multiclass")] == ["multiclass@linear"]
    assert len(problems.several((X, Y))) == len(problems.several([(X, Y)])) == 1
    assert [p.degree for p in problems.several((plain(5, 1), X, Y))] == [1]
    assert len(problems.several(["multiclass", (X, Y)])) == 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", X=X, y=Y)
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n"
        "def net(width=4, bias=False):\n"
        "    return nn.Sequential(nn.Linear(5, width, bias=False), nn.ReLU(), nn.Linear(width, 1, bias=bias))\n"
    )
    return tmp_path


def test_a_file_names_a_module_with_options(folder):
    found = problems.get("mine.npz@mynet.py:net:width=3")
    assert found.shapes == {"0.weight": (3, 5), "2.weight": (1, 3)}
    assert problems.get("mine.npz@mynet.py:net:width=3") is found, "its laws are checked once"
    with pytest.raises(ModuleError, match=r"mynet.py:net:bias=True is not homogeneous .* 2.bias"):
        problems.get("mine.npz@mynet.py:net:bias=True")
    with pytest.raises(ProblemError, match=r"mynet.py has no attribute 'ned'; did you mean 'net'"):
        problems.get("mine.npz@mynet.py:ned")
    with pytest.raises(ProblemError, match=r"is a model without data; give them: --data FILE\.npz"):
        problems.get("mynet.py:net")


def test_a_power_is_found_exactly_and_a_sum_of_powers_is_none():
    draws = [{"a": torch.tensor([0.7], dtype=torch.float64)}, {"a": torch.tensor([-1.3], dtype=torch.float64)}]
    assert power_of(lambda t: t["a"] ** 5, draws) == 5
    assert power_of(lambda t: t["a"] ** 2 + 1e-9 * t["a"], draws) is None
    assert power_of(lambda t: 0 * t["a"], draws) is None


def test_names_without_a_colon_are_helped(folder):
    assert without_colon("mynet.py", "target", ProblemError) == "mynet.py is a file; say which of it: mynet.py:net"
    assert without_colon("torch.optim.SGD", "target", ProblemError).endswith("did you mean 'torch.optim:SGD'?")
    assert without_colon("signumm", "target", ProblemError) == ""
