"""Several runs in one optimizer instance: the steps of separate instances, or else separate instances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import SignDescent as Descent

from maxmargin.models import problems
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.engine.run import starts
from maxmargin.verify.engine.schedules import Paced
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.training.blackbox_run import run_blackbox
from maxmargin.verify.training.instances import Instances
from maxmargin.verify.training.shared_instance import arrange

LINEAR, NETWORK = "multiclass@linear", "binary@relu2:h=6"
SHAPES = {"W": (3, 4), "a": (3,)}


class GlobalNorm(Descent):
    """Clips by the norm of all gradients together, as far as one instance sees."""

    def direction(self, p, state):
        total = torch.stack([q.grad.norm() for group in self.param_groups for q in group["params"]]).norm()
        return p.grad / total


class Random(Descent):
    def direction(self, p, state):
        return torch.sign(p.grad) * (1 + 0.1 * torch.rand_like(p))


class Counts(Descent):
    """A counter of the object's own, advanced at every parameter; it would matter at step 10⁴."""

    count = 0

    def direction(self, p, state):
        self.count += 1
        return torch.sign(p.grad) * (1.0 if self.count < 10_000 else 2.0)


class CountsInGroup(Descent):
    """A step counter in each group, as schedule-free optimizers keep one: a run's own."""

    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1

    def direction(self, p, state):
        own = next(g for g in self.param_groups if any(q is p for q in g["params"]))
        return torch.sign(p.grad) / (1 + own.get("k", 0)) ** 0.5


class RemembersTheLast(Descent):
    """What one parameter leaves behind reaches the next: invisible in per-parameter state."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self.box = {"last": torch.zeros(())}

    def direction(self, p, state):
        u = torch.sign(p.grad) * (1 + 1e-13 * self.box["last"])
        self.box["last"] = p.grad.norm().detach().clone()
        return u


class Wraps(torch.optim.Optimizer):
    """Steps through an optimizer inside, which knows only the parameters of its own construction."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, {"lr": lr})
        self.inside = torch.optim.SGD(self.param_groups[0]["params"], lr=lr)

    def step(self, closure=None):
        self.inside.param_groups[0]["lr"] = self.param_groups[0]["lr"]
        self.inside.step()


class GivesItsOwnTensors(Descent):
    """Replaces ``p.data`` instead of writing into it."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - group["lr"] * torch.sign(p.grad)


class BreaksWhereItStartedHigh(Descent):
    """NaN from its 20th step on, for runs whose first weight was above a half at the start."""

    def direction(self, p, state):
        state.setdefault("high", bool(p.reshape(-1)[0] > 0.5))
        state["n"] = state.get("n", 0) + 1
        return torch.sign(p.grad) * (torch.nan if state["high"] and state["n"] >= 20 else 1.0)


def two_groups(params, lr=0.1):
    first, *rest = params
    return torch.optim.Adam(
        [{"params": [first], "lr": lr, "betas": (0.5, 0.6)}, {"params": rest, "lr": lr / 8}],
        eps=0.0,
        betas=(0.5, 0.7),
        foreach=False,
    )


def _arrange(target, kwargs=None, runs=3):
    loaded = load(target, kwargs)
    return arrange(loaded, SHAPES, runs, probe(loaded, SHAPES))


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [
        ("torch.optim:SGD", {"momentum": 0.9}),
        ("torch.optim:Adam", {"eps": 0.0, "betas": (0.9, 0.95)}),
        ("torch.optim:Adam", {}),
        ("torch.optim:Adagrad", {"eps": 0.0, "initial_accumulator_value": 0.1}),  # state from the constructor on
        (two_groups, {}),
        (Descent, {}),
        (CountsInGroup, {}),
        (GivesItsOwnTensors, {}),
    ],
)
def test_one_instance_serves_all_runs_where_that_changes_nothing(target, kwargs):
    found = _arrange(target, kwargs)
    assert found.joint, found.why
    assert "equals 3 instances" in found.why


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (GlobalNorm, "differs from 3 instances by"),
        (Random, "random"),
        (Counts, "belongs to no parameter (count"),
        (RemembersTheLast, "belongs to no parameter"),
        (Wraps, ""),
    ],
)
def test_otherwise_each_run_has_its_own(target, why):
    found = _arrange(target)
    assert not found.joint
    assert why in found.why


def test_a_single_run_has_its_own():
    assert not _arrange(Descent, runs=1).joint


@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
@pytest.mark.parametrize(
    ("target", "kwargs"),
    [
        ("torch.optim:SGD", {"momentum": 0.9}),
        ("torch.optim:Adam", {"eps": 0.0, "betas": (0.5, 0.7)}),
        (GivesItsOwnTensors, {}),
    ],
)
def test_joint_runs_are_the_separate_ones(spec, target, kwargs):
    """Bit for bit, across rescalings of single runs, from starts of very different sizes."""
    problem = problems.get(spec)
    loaded = load(target, kwargs)
    about = probe(loaded, problem.shapes)
    drawn = starts(problem, 3, seed=5, scale=0.1)
    far = torch.tensor([1.0, 20.0, 4.0])
    theta0 = {k: b * far.reshape(-1, *[1] * (b.ndim - 1)) for k, b in drawn.items()}
    one, other = (
        run_blackbox(loaded, problem, theta0, about, steps=240, pace=Paced(0.2, decay=0.0), joint=joint)
        for joint in (True, False)
    )
    for field in ("theta", "gradient", "update"):
        for k in problem.shapes:
            np.testing.assert_array_equal(getattr(one, field)[k], getattr(other, field)[k])
    np.testing.assert_array_equal(one.eta, other.eta)
    assert np.ptp(one.eta[-1]) > 0  # the runs have learning rates of their own
    assert np.ptp(one.log_scale[-1]) > 1


@pytest.mark.parametrize("joint", [False, True])
def test_a_run_that_breaks_leaves_the_others_alone(joint):
    problem = problems.get(LINEAR)
    target = load(BreaksWhereItStartedHigh)
    about = probe(load(Descent), problem.shapes)
    theta0 = starts(problem, 3, seed=5, scale=0.1)
    theta0["W"][:, 0, 0] = torch.tensor([0.0, 0.9, 0.1])
    options = {"steps": 120, "pace": Paced(0.1, decay=0.0), "checkpoints": 40}
    got = run_blackbox(target, problem, theta0, about, joint=joint, **options)
    assert got.alive.tolist() == [True, False, True]
    late = got.steps >= 24
    assert (got.theta["W"][late, 1] == got.theta["W"][late, 1][0]).all()
    assert np.isfinite(got.theta["W"]).all()
    want = run_blackbox(load(Descent), problem, theta0, about, joint=False, **options)
    for run in (0, 2):
        np.testing.assert_array_equal(got.theta["W"][:, run], want.theta["W"][:, run])
    assert not np.array_equal(got.theta["W"][-1, 1], want.theta["W"][-1, 1])


# -- Rescaling the state ------------------------------------------------------------------------------------------


def _instances(joint, runs=2):
    rng = torch.Generator().manual_seed(0)

    def draw():
        return [[torch.randn(s, generator=rng, dtype=torch.float64) for s in SHAPES.values()] for _ in range(runs)]

    target = load("torch.optim:Adam", {"eps": 0.0, "foreach": False})
    instances = Instances(target, [[torch.nn.Parameter(b) for b in run] for run in draw()], joint)
    instances.step(draw())
    return instances, probe(target, SHAPES).state_degrees


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("move", [3, -7, -300, -1200, -5000])
def test_state_is_rescaled_for_one_run_by_its_degree(joint, move):
    """Also where the factor itself is no float64 number; what falls below all of them is 0."""
    instances, degrees = _instances(joint)
    before = {i: {path: torch.as_tensor(leaf.value).clone() for path, leaf in instances.leaves(i)} for i in (0, 1)}
    assert instances.rescale(1, move, degrees) == move
    assert {degrees[path] for path in before[1]} == {0.0, 1.0, 2.0}
    for path, leaf in instances.leaves(0):
        assert torch.equal(torch.as_tensor(leaf.value), before[0][path])
    for path, leaf in instances.leaves(1):
        want = torch.ldexp(before[1][path].double(), torch.tensor(degrees[path] * move))
        if abs(degrees[path] * move) > 1000:
            assert (want == 0).all()
        np.testing.assert_array_equal(torch.as_tensor(leaf.value).double().numpy(), want.numpy())


def test_state_is_not_rescaled_into_overflow():
    instances, degrees = _instances(joint=False)
    moved = instances.rescale(0, 4000, degrees)
    assert 200 < moved < 300  # v is of degree 2 and may grow by 2^500 or so
    tops = [float(torch.as_tensor(leaf.value).abs().max()) for path, leaf in instances.leaves(0) if degrees[path]]
    assert all(1e30 < top < 1e160 for top in tops)
