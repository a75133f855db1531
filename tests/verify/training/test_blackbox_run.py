"""Black boxes where float64 gradients are 0: equal to the true thing in range, to exact recursions beyond it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, inf, isnan, log

import numpy as np
import pytest
import torch
from toys import SignDescent as Descent

from maxmargin.models import problems
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.engine.losses import cross_entropy, scaled_gradient
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import Paced, PowerLaw
from maxmargin.verify.lab.probe.probes import probe
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.optimizers.core.logscale import combine, zeros_like
from maxmargin.verify.training import blackbox_run as blackbox
from maxmargin.verify.training.blackbox_run import run_blackbox
from maxmargin.verify.training.pacing import Controller, pace_of

LINEAR, NETWORK = "multiclass@linear", "binary@relu2:h=6"
FAST = Paced(pace=0.2, decay=0.0)  # crosses rescalings in few steps, at memories short enough to follow


class WritesIntoGrad(Descent):
    def direction(self, p, state):
        u = torch.sign(p.grad)
        p.grad.fill_(7.0)
        return u


class ClosureOnly(Descent):
    def step(self, closure):
        assert closure is not None
        closure()
        super().step()


class BreaksAt(Descent):
    """NaN from a certain step on."""

    def __init__(self, params, lr=1e-2, at=40):
        super().__init__(params, lr)
        self.left = at

    def direction(self, p, state):
        self.left -= 1
        return torch.sign(p.grad) if self.left > 0 else p.grad * torch.nan


class DividesByRoot(Descent):
    """g/|g|: 0/0 where a gradient is exactly 0."""

    def direction(self, p, state):
        return p.grad / p.grad.abs()


class ShortAdam(torch.optim.Adam):
    """Adam without eps, of short memory."""

    def __init__(self, params, lr=1e-3, eps=0.0):
        super().__init__(params, lr=lr, betas=(0.5, 0.7), eps=eps, foreach=False)


def two_groups(params, lr=0.1):
    first, *rest = params
    return Descent([{"params": [first], "lr": lr}, {"params": rest, "lr": lr / 8}])


@dataclass
class Record:
    """One step as the optimizer saw it."""

    theta: list[torch.Tensor]
    fed: list[torch.Tensor]
    lr: float


@pytest.fixture
def records(monkeypatch):
    """Every step of a black-box run from here on."""
    seen = []
    set_lr, step = Handle.set_lr, Handle.step

    def recording_set_lr(self, factor):
        self.lr_factor = factor
        set_lr(self, factor)

    def recording_step(self, gradients):
        theta = [p.detach().clone() for p in self.params]
        seen.append(Record(theta, [g.clone() for g in gradients], self.lr_factor))
        step(self, gradients)

    monkeypatch.setattr(Handle, "lr_factor", 1.0, raising=False)  # before any is set
    monkeypatch.setattr(Handle, "set_lr", recording_set_lr)
    monkeypatch.setattr(Handle, "step", recording_step)
    return seen


def _start(spec, margin=None, seed=3):
    """A small random start, or a separating one whose smallest margin is ``margin``."""
    problem = problems.get(spec)
    if margin is None:
        return problem, starts(problem, 1, seed=seed, scale=0.1)
    path = run(problem, get_optimizer("momentum-gd"), starts(problem, 1, seed=seed), steps=304, native=False)
    factor = (margin / path.margin[-1, 0]) ** (1 / problem.degree)
    return problem, {k: torch.as_tensor(factor * b[-1]) for k, b in path.theta.items()}


def _run(target, problem, theta0, steps, kwargs=None, **options):
    loaded = load(target, kwargs)
    options = {"pace": FAST, "checkpoints": 12} | options
    return run_blackbox(loaded, problem, theta0, probe(loaded, problem.shapes), steps=steps, **options)


def _true_gradient(problem, theta):
    """∇ of the cross-entropy loss by autograd, underflow and all."""
    leaves = {k: b.clone().requires_grad_() for k, b in theta.items()}
    margins = problem.margins(leaves).reshape(problem.contrasts.shape[:2])
    loss = torch.log1p(torch.exp(-margins).sum(-1)).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def _exact_gradient(problem, theta):
    return scaled_gradient(problem.model, cross_entropy, theta, problem.X, problem.contrasts)


def _close(a, b, rtol=1e-9):
    for k in a.theta:
        np.testing.assert_allclose(a.theta[k], b.theta[k], rtol=rtol, atol=rtol)
    np.testing.assert_allclose(a.margin, b.margin, rtol=rtol, atol=rtol)


@pytest.fixture
def fed_as_they_are(monkeypatch):
    """From the call of this on, gradients are fed as they are, and nothing is rescaled."""
    return lambda: monkeypatch.setattr(blackbox._Scale, "follow", lambda *_: False)


# -- In range: the true thing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
def test_rescaled_and_true_feed_are_one_for_adam_without_eps(spec, monkeypatch, records, fed_as_they_are):
    """Over a horizon on which rounding errors do not grow: Adam divides by |g|, and is chaotic where that is small."""
    problem, theta0 = _start(spec, 5.0)
    target = load("torch.optim:Adam", {"betas": (0.9, 0.95), "eps": 0.0, "foreach": False})
    about, calm = probe(target, problem.shapes), Paced(pace=0.05, decay=0.0)
    monkeypatch.setattr(blackbox, "DRIFT", 1)
    records.clear()
    one = run_blackbox(target, problem, theta0, about, steps=120, pace=calm, checkpoints=8, whole=False)
    sizes = np.log2([float(r.fed[0].abs().max()) for r in records])
    assert (np.abs(np.diff(sizes)) > 0.9).sum() >= 2  # it was rescaled on the way
    fed_as_they_are()
    other = run_blackbox(target, problem, theta0, about, steps=120, pace=calm, checkpoints=8, whole=False)
    assert one.separated.all()
    _close(one, other)
    np.testing.assert_allclose(one.eta, other.eta, rtol=1e-8)


@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
def test_each_step_is_that_of_plain_adam_on_the_true_gradients_so_far(spec, records):
    """The long run's weights, given to a plain torch Adam with the plain gradients there: the same next weights."""
    problem, theta0 = _start(spec, 5.0)
    target = load(ShortAdam)
    about = probe(target, problem.shapes)
    records.clear()
    got = run_blackbox(target, problem, theta0, about, steps=400, pace=FAST, checkpoints=4, whole=False)
    assert got.log_scale[-1, 0] < got.log_scale[0, 0] - 28  # 20 bits are 13.9: rescaled at least twice
    params = [torch.nn.Parameter(b[0].clone()) for b in theta0.values()]
    plain = torch.optim.Adam(params, betas=(0.5, 0.7), eps=0.0, foreach=False)
    for record, after in pairwise(records):
        g = _true_gradient(problem, dict(zip(problem.shapes, record.theta, strict=True)))
        for p, theta, gradient in zip(params, record.theta, g.values(), strict=True):
            p.data.copy_(theta)
            p.grad = gradient
        plain.param_groups[0]["lr"] = 1e-3 * record.lr
        plain.step()
        for p, theta in zip(params, after.theta, strict=True):
            torch.testing.assert_close(p.detach(), theta, rtol=1e-12, atol=1e-9 * 1e-3 * record.lr)


def test_with_an_eps_they_are_not(fed_as_they_are):
    """The spoiled twin: the same comparison sees an eps of 1e-8."""
    problem, theta0 = _start(LINEAR)
    one = _run(ShortAdam, problem, theta0, 400, {"eps": 1e-8})
    fed_as_they_are()
    other = _run(ShortAdam, problem, theta0, 400, {"eps": 1e-8})
    assert abs(one.margin[-1, 0] / other.margin[-1, 0] - 1) > 1e-2


@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum_is_torchs_own_on_true_gradients_up_to_the_learning_rate(spec, nesterov, records):
    """Replay with plain torch on plain gradients; each learning rate makes up for the scale at which it was fed."""
    problem, theta0 = _start(spec, 5.0)
    kwargs = {"momentum": 0.5, "nesterov": nesterov, "foreach": False}
    target = load("torch.optim:SGD", kwargs)
    about = probe(target, problem.shapes)
    records.clear()
    got = run_blackbox(target, problem, theta0, about, steps=400, pace=FAST, checkpoints=12, whole=False)
    base = target.build([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"]

    params = {k: torch.nn.Parameter(b[0].clone()) for k, b in theta0.items()}
    plain = torch.optim.SGD(list(params.values()), lr=base, **kwargs)
    scales = set()
    for t, record in enumerate(records):
        theta = {k: p.detach() for k, p in params.items()}
        if t in got.steps:
            i = int(np.flatnonzero(got.steps == t)[0])
            for k in theta:
                np.testing.assert_allclose(got.theta[k][i, 0], theta[k].numpy(), rtol=1e-8, atol=1e-9)
        g = _true_gradient(problem, theta)
        true, fed = (float(torch.linalg.vector_norm(x)) for x in (g[next(iter(g))], record.fed[0]))
        scales.add(round(np.log2(fed / true)))
        plain.param_groups[0]["lr"] = base * record.lr * fed / true
        for k, p in params.items():
            p.grad = g[k]
        plain.step()
    assert len(scales) >= 3  # it was rescaled on the way
    assert got.log_scale[-1, 0] < -25


# -- Beyond: exact recursions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
def test_beyond_float64_adam_is_the_engines(spec, records):
    """From margin 1000 on: e^(−1000), and its square, are 0; the black box follows the exact recursion step by step."""
    problem, theta0 = _start(spec, 1000.0)
    target = load(ShortAdam)
    about = probe(target, problem.shapes)
    records.clear()
    got = run_blackbox(target, problem, theta0, about, steps=160, pace=FAST, checkpoints=6, whole=False)
    assert (got.log_scale < -990).all()
    optimizer = get_optimizer("adam", {"beta1": 0.5, "beta2": 0.7})
    theta = {k: b[0].clone() for k, b in theta0.items()}
    state = optimizer.init(theta)
    for t, record in enumerate(records):
        for k, seen in zip(theta, record.theta, strict=True):
            torch.testing.assert_close(seen, theta[k], rtol=1e-9, atol=1e-9)
        u, state = optimizer.direction(
            state, _exact_gradient(problem, theta), torch.tensor(t + 1.0, dtype=torch.float64)
        )
        theta = {k: theta[k] + 1e-3 * record.lr * u[k] for k in theta}


@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
def test_beyond_float64_momentum_is_the_exact_recursion(spec, records):
    problem, theta0 = _start(spec, 1000.0)
    target = load("torch.optim:SGD", {"momentum": 0.5, "lr": 1e-3, "foreach": False})
    about = probe(target, problem.shapes)
    records.clear()
    run_blackbox(target, problem, theta0, about, steps=160, pace=FAST, checkpoints=6, whole=False)
    theta = {k: b[0].clone() for k, b in theta0.items()}
    buffer = zeros_like(theta)
    for record in records:
        for k, seen in zip(theta, record.theta, strict=True):
            torch.testing.assert_close(seen, theta[k], rtol=1e-9, atol=1e-9)
        g = _exact_gradient(problem, theta)
        buffer = combine(buffer, 0.5, g, 1.0)
        first = next(iter(theta))
        shift = float(torch.linalg.vector_norm(record.fed[0]) / torch.linalg.vector_norm(g.blocks[first]))
        fed_scale = float(g.log_scale) - log(shift)  # what the optimizer takes for 1
        factor = 1e-3 * record.lr * exp(float(buffer.log_scale) - fed_scale)
        theta = {k: theta[k] - factor * buffer.blocks[k] for k in theta}


@pytest.mark.parametrize(
    ("target", "kwargs"),
    [
        (ShortAdam, {}),
        ("torch.optim:SGD", {"momentum": 0.9}),
        ("torch.optim:RMSprop", {"eps": 0.0, "alpha": 0.9, "momentum": 0.5}),
        ("torch.optim:Adamax", {"eps": 0.0, "betas": (0.9, 0.9)}),
    ],
)
@pytest.mark.parametrize("margin", [None, 2000.0])
def test_where_it_is_rescaled_does_not_matter(target, kwargs, margin, monkeypatch):
    problem, theta0 = _start(LINEAR, margin)
    one = _run(target, problem, theta0, 240, kwargs)
    monkeypatch.setattr(blackbox, "DRIFT", 3)
    other = _run(target, problem, theta0, 240, kwargs)
    assert one.separated.all()
    if margin is not None:
        assert (one.log_scale < -1900).all()
    _close(one, other)


def test_no_step_stands_out_where_it_is_rescaled(records):
    """Momentum's step changes by a few per cent from one to the next, across a rescaling too."""
    problem, theta0 = _start(LINEAR, 2000.0)
    target = load("torch.optim:SGD", {"momentum": 0.9, "foreach": False})
    about = probe(target, problem.shapes)
    records.clear()
    run_blackbox(target, problem, theta0, about, steps=320, pace=Paced(0.1, decay=0.0), checkpoints=4)
    points = [r.theta[0] for r in records[60:]]
    lengths = np.array([float((b - a).norm()) for a, b in pairwise(points)])
    sizes = np.array([float(r.fed[0].norm()) for r in records[60:-1]])
    jumps = np.flatnonzero(np.abs(np.diff(np.log2(sizes))) > 10)
    assert len(jumps) >= 1  # there the optimizer's view was rescaled
    ratios = lengths[1:] / lengths[:-1]
    assert np.abs(ratios - 1).max() < 0.1
    for j in jumps:
        assert abs(ratios[j] - 1) < 0.05


def test_a_state_that_is_not_rescaled_would_stand_out(monkeypatch):
    """The spoiled twin: the same runs with the state left alone differ."""
    problem, theta0 = _start(LINEAR)
    one = _run(ShortAdam, problem, theta0, 240)
    about = probe(load(ShortAdam), problem.shapes)
    for path in about.state_degrees:
        about.state_degrees[path] = 0.0
    other = run_blackbox(load(ShortAdam), problem, theta0, about, steps=240, pace=FAST, checkpoints=12)
    assert abs(one.margin[-1, 0] / other.margin[-1, 0] - 1) > 1e-3


def test_the_true_feed_is_the_true_gradient(records, fed_as_they_are):
    problem, theta0 = _start(LINEAR)
    target = load(ShortAdam)
    about = probe(target, problem.shapes)
    records.clear()
    fed_as_they_are()
    run_blackbox(target, problem, theta0, about, steps=80, pace=FAST, checkpoints=4, whole=False)
    for record in records[::10]:
        want = _true_gradient(problem, {"W": record.theta[0]})["W"]
        torch.testing.assert_close(record.fed[0], want, rtol=1e-9, atol=0)


# -- Optimizers with habits ---------------------------------------------------------------------------------------


def _identical(a, b):
    for field in ("theta", "gradient", "update"):
        for k in a.theta:
            np.testing.assert_array_equal(getattr(a, field)[k], getattr(b, field)[k])
    np.testing.assert_array_equal(a.eta, b.eta)


@pytest.mark.parametrize("habit", [WritesIntoGrad, ClosureOnly])
def test_habits_that_change_nothing(habit):
    problem, theta0 = _start(NETWORK)
    _identical(_run(habit, problem, theta0, 80), _run(Descent, problem, theta0, 80))


def test_the_callers_gradients_are_not_written_into():
    handle = Handle(load(WritesIntoGrad), [torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))])
    given = torch.tensor([1.0, -2.0], dtype=torch.float64)
    handle.step([given])
    assert given.tolist() == [1.0, -2.0]


def test_groups_keep_the_ratio_of_their_learning_rates():
    problem = problems.get("blocks@linear")
    got = _run(two_groups, problem, starts(problem, 1, scale=0.01), 80)
    first, *rest = problem.shapes
    for t in range(len(got.steps)):
        one = np.abs(got.update[first][t]).max()
        for k in rest:
            assert np.abs(got.update[k][t]).max() == pytest.approx(one / 8, rel=1e-6)
    assert np.abs(got.update[first][-1]).max() > 0


def test_set_lr_keeps_each_groups_own_and_tensors():
    params = [torch.nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2)]
    handle = Handle(load(two_groups), params)
    for factor in (3.0, 0.5, 0.5):  # factors of the group's own, not of the last one
        handle.set_lr(factor)
        assert [g["lr"] for g in handle.optimizer.param_groups] == pytest.approx([0.1 * factor, 0.1 * factor / 8])
    tensor = Handle(load("torch.optim:Adam", {"lr": torch.tensor(0.5), "foreach": False}), params)
    for factor in (3.0, 0.5, 0.5):
        tensor.set_lr(factor)
        assert float(tensor.optimizer.param_groups[0]["lr"]) == pytest.approx(0.5 * factor)
    assert isinstance(tensor.optimizer.param_groups[0]["lr"], torch.Tensor)


def test_an_optimizer_that_breaks_down_is_stopped_and_not_separated():
    problem, theta0 = _start(LINEAR, 5.0)
    got = _run(BreaksAt, problem, theta0, 160, {"at": 60}, checkpoints=40)
    assert got.alive.tolist() == [False]
    assert got.broken.tolist() == [60]
    assert got.separated.tolist() == [False]
    assert (got.margin > 0).all()  # it was: what is lost is the optimizer
    for k in got.theta:
        assert np.isfinite(got.theta[k]).all()
        late = got.theta[k][got.steps >= 64]
        assert (late == late[0]).all()
        assert (got.update[k][got.steps >= 64] == 0).all()
    healthy = _run(BreaksAt, problem, theta0, 160, {"at": 10**6}, checkpoints=40)
    assert healthy.separated.all()
    early = got.steps < 56
    np.testing.assert_array_equal(got.theta["W"][early], healthy.theta["W"][early])


def test_zero_over_zero_stays_where_it_is_and_is_counted():
    """A feature that is always absent: its gradient is exactly 0, g/|g| is NaN, and the weight must not move."""
    problem = problems.get(LINEAR)
    X = problem.X.clone()
    X[:, 2] = 0.0
    absent = type(problem)(problem.name, problem.model, X, problem.contrasts, problem.labels)
    theta0 = starts(problem, 1, seed=3, scale=0.1)
    about = probe(load(Descent), absent.shapes)
    got = run_blackbox(load(DividesByRoot), absent, theta0, about, steps=80, pace=FAST, checkpoints=6)
    want = run_blackbox(load(Descent), absent, theta0, about, steps=80, pace=FAST, checkpoints=6)
    assert got.undefined.tolist() == [3]
    assert got.alive.all()
    assert not got.broken.any()
    np.testing.assert_array_equal(
        got.theta["W"][:, 0, :, 2], np.broadcast_to(theta0["W"][0, :, 2], (len(got.steps), 3))
    )
    _close(got, want)
    assert want.undefined.tolist() == [0]


# -- Runs, pace and what is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", [False, True])
def test_runs_are_independent(joint):
    """A batched gradient rounds its sums in another order than a single one: equal to rounding, over 80 steps."""
    problem = problems.get(NETWORK)
    theta0 = starts(problem, 3, seed=2, scale=0.3)
    together = _run(ShortAdam, problem, theta0, 80, joint=joint)
    for i in range(3):
        alone = _run(ShortAdam, problem, {k: b[i : i + 1] for k, b in theta0.items()}, 80)
        for k in problem.shapes:
            np.testing.assert_allclose(together.theta[k][:, i], alone.theta[k][:, 0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
@pytest.mark.parametrize(("target", "kwargs"), [(ShortAdam, {}), ("torch.optim:SGD", {"momentum": 0.9})])
def test_the_pace_is_kept(spec, target, kwargs):
    problem, theta0 = _start(spec)
    pace = Paced(0.05, decay=0.3, knee=100)
    got = _run(target, problem, theta0, 600, kwargs, pace=pace, checkpoints=80)
    shares = []
    for t in np.flatnonzero(got.steps >= 40):
        theta, update = got.at(t, 0), got.at(t, 0, "update")
        after = problem.margins({k: theta[k] + update[k] for k in theta})
        change = np.abs(after - problem.margins(theta)).max() / pace.at(got.steps[t] + 1)
        length = np.sqrt(sum((b**2).sum() for b in theta.values()))
        step = np.sqrt(sum((b**2).sum() for b in update.values())) / length / pace.cap
        # The controller has only seen past steps: it may overshoot a little, and must not dawdle.
        assert change < 1.3
        if not problem.linear:
            assert step < 1.3
        shares.append(change if problem.linear else max(change, step))
    assert np.median(shares) > 0.5


def test_a_networks_step_is_capped_at_a_share_of_its_weights():
    problem, theta0 = _start(NETWORK)
    got = _run(Descent, problem, theta0, 200, pace=Paced(1e6, decay=0.0, cap=0.01), checkpoints=30)
    for t in np.flatnonzero(got.steps >= 40):
        length, step = (np.sqrt(sum((b**2).sum() for b in got.at(t, 0, f).values())) for f in ("theta", "update"))
        assert 0.5 < step / (0.01 * length) < 1.1


def test_steps_as_long_as_floats_go_leave_a_learning_rate_above_0():
    controller = Controller(Paced(0.05), True, 1e308)
    for step in range(1, 40):
        assert controller.choose(step, 1.0) > 0
        controller.saw(1e300, 0.0, inf)


@pytest.mark.parametrize("waits", [0, 300])
def test_steps_that_do_not_shrink_with_their_learning_rate_do_not_drive_it_to_0(waits):
    controller = Controller(Paced(0.05, decay=0.0), True, 1.0)
    for step in range(1, 4000):
        assert 0 < controller.choose(step, 1.0) < 1e3  # waiting does not raise it without end
        drift = 0.0 if step < waits else 0.3  # an average on its way to where it was sent long ago
        controller.saw(drift, 0.0, drift)
    held = controller.factor
    for step in range(4000, 20_000):  # the drift has ended: the steps answer again, and the factor finds its way back
        factor = controller.choose(step, 1.0)
        controller.saw(factor, 0.0, factor)
    assert 0 < held <= 1e-50 * controller.largest
    assert controller.factor == pytest.approx(0.02, rel=1e-2)  # its cap by length


def _easy():
    """All samples along one direction: all margins move together, the smallest as fast as any."""
    drawn = problems.get("binary@linear")
    X = torch.full_like(drawn.X, 0.1)
    X[:, 0] = 1.0
    X *= torch.sign(drawn.contrasts.reshape(len(X), 1))
    return type(drawn)("easy", drawn.model, X, drawn.contrasts, drawn.labels)


def test_on_easy_data_the_smallest_margin_sets_the_pace():
    """There the gradient shrinks as fast as the worst margin grows, and momentum has to follow."""
    problem = _easy()
    pace = Paced(0.1, decay=0.0)
    got = _run("torch.optim:SGD", problem, starts(problem, 1, scale=0.1), 400, {"momentum": 0.9}, pace=pace)
    for t in np.flatnonzero(got.steps >= 80):
        theta, update = got.at(t, 0), got.at(t, 0, "update")
        after = problem.margins({k: theta[k] + update[k] for k in theta})
        change = after.min() - problem.margins(theta).min()
        assert 0.4 * pace.pace / pace.lead < change < 1.2 * pace.pace / pace.lead
    free = _run(
        "torch.optim:SGD", problem, starts(problem, 1, scale=0.1), 400, {"momentum": 0.9}, pace=replace(pace, lead=0.0)
    )
    assert free.margin[-1, 0] > 1.5 * got.margin[-1, 0]  # without the bound it is not kept


def test_the_distance_travelled_is_the_sum_of_all_learning_rates(records):
    problem, theta0 = _start(NETWORK)
    target = load(Descent)
    about = probe(target, problem.shapes)
    records.clear()
    got = run_blackbox(target, problem, theta0, about, steps=400, pace=FAST, checkpoints=6, whole=False)
    rates = np.array([record.lr for record in records])
    assert np.ptp(rates) > 0.1 * rates.max()  # or the rates at checkpoints alone would do
    for t, done in enumerate(got.steps):
        assert got.travelled[t, 0] == pytest.approx(rates[:done].sum(), rel=1e-12)


class Clipped(torch.optim.SGD):
    """Entries clipped at 0.1: its steps follow no power of the gradient."""

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.grad.clamp_(-0.1, 0.1)
        super().step()


def test_an_optimizer_whose_steps_follow_no_power_of_the_gradient_is_trained():
    """Its learning rate was NaN: no run moved, and none of such optimizers was ever decided."""
    problem, target = problems.get("multiclass"), load(Clipped, {"lr": 1e-2})
    about = probe(target, problem.shapes)
    assert isnan(about.update_degree)
    path = run_blackbox(target, problem, starts(problem, 1, scale=0.01), about, steps=400, checkpoints=4)
    assert path.separated.all()
    assert path.margin[-1, 0] > 1.0
    assert np.isfinite(path.eta).all()


class ShortNormalized(torch.optim.Optimizer):
    """Steps along the gradient over its size, which is kept as a square in float32; entries above 1 are clipped."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad.clamp(-1.0, 1.0)
                state = self.state[p]
                state["square"] = 0.5 * state.get("square", g.float().square()) + 0.5 * g.float().square()
                p.sub_(group["lr"] * g / state["square"].mean().sqrt().double())


def test_state_in_float32_is_spared_gradients_whose_squares_it_cannot_hold():
    """At 1e-37 PSGD-Kron left NaN: a run ended before it was anywhere, which no loss that is scaled up would."""
    problem, target = problems.get("multiclass"), load(ShortNormalized)
    about = replace(probe(target, problem.shapes), update_degree=float("nan"))
    assert about.state_formats
    pace = Paced(0.2, decay=0.0, lead=0.0)

    def trained(found):
        return run_blackbox(target, problem, starts(problem, 1, scale=0.01), found, steps=4000, pace=pace)

    path = trained(about)
    assert path.alive.all()
    assert path.log_scale[-1, 0] < -120  # the gradient's square is 0 in float32
    assert not trained(replace(about, state_formats=())).alive.any()


def test_state_that_follows_no_power_is_left_alone():
    """A NaN degree once made the state NaN at the first rescaling."""
    problem, theta0 = _start(LINEAR)
    target = load("torch.optim:SGD", {"momentum": 0.5, "foreach": False})
    about = probe(target, problem.shapes)
    for path in about.state_degrees:
        about.state_degrees[path] = float("nan")
    got = run_blackbox(target, problem, theta0, about, steps=400, pace=FAST, checkpoints=6, whole=False)
    assert got.log_scale[-1, 0] < got.log_scale[0, 0] - 28
    assert got.separated.all()


def test_the_default_pace_follows_the_probe():
    about = probe(load(ShortAdam), {"W": (3, 2)})
    assert about.lag_limit == pytest.approx(0.15)
    assert pace_of(about).pace == 0.1
    slow = probe(load("torch.optim:Adam", {"eps": 0.0, "betas": (0.9, 0.95)}), {"W": (3, 2)})
    assert pace_of(slow).pace == pytest.approx(0.025)
    assert pace_of(probe(load(Descent), {"W": (3, 2)})).pace == 0.1


def test_the_pace_of_a_long_memory_falls_after_as_many_margins():
    """Not after as many steps, most of which it would make at a fraction of its pace."""
    about = probe(load(Descent), {"W": (3, 2)})
    short, long = (pace_of(replace(about, lag_limit=limit)) for limit in (0.5, 0.0005))
    times = (1, 10**3, 10**6)
    assert short.knee == 1000
    assert long.pace * 200 == pytest.approx(short.pace)
    assert [long.at(200 * t) * 200 for t in times] == pytest.approx([short.at(t) for t in times])


def test_what_is_kept(records):
    problem, theta0 = _start(NETWORK)
    target = load(Descent)
    about = probe(target, problem.shapes)
    records.clear()
    told = []
    how = {"pace": FAST, "checkpoints": 30, "whole": False}
    got = run_blackbox(target, problem, theta0, about, steps=100, progress=lambda *a: told.append(a), **how)
    assert got.steps.tolist() == list(range(0, 97, 8))
    assert told == [(s, 96) for s in got.steps.tolist()]
    assert len(records) == 97
    for t, done in enumerate(got.steps):
        theta = dict(zip(problem.shapes, records[done].theta, strict=True))
        exact = _exact_gradient(problem, theta)
        assert got.eta[t, 0] == pytest.approx(records[done].lr, rel=1e-12)  # degree 0: the factor itself
        assert got.log_scale[t, 0] == pytest.approx(float(exact.log_scale), rel=1e-12)
        assert got.margin[t, 0] == pytest.approx(float(problem.min_margin(theta)), rel=1e-12)
        for k in problem.shapes:
            np.testing.assert_array_equal(got.theta[k][t, 0], theta[k].numpy())
            np.testing.assert_allclose(got.gradient[k][t, 0], exact.blocks[k].numpy(), rtol=1e-12, atol=1e-14)
    for t, done in enumerate(got.steps[:-1]):
        after = dict(zip(problem.shapes, records[done + 1].theta, strict=True))
        for k in problem.shapes:
            np.testing.assert_allclose(
                got.theta[k][t, 0] + got.update[k][t, 0], after[k].numpy(), rtol=1e-14, atol=1e-15
            )


def test_engine_and_black_box_are_two_roads_to_one_place():
    """At a constant learning rate, which the controller is made to keep, torch's Adam and ours coincide."""
    problem, theta0 = _start(LINEAR)
    adam = get_optimizer("adam", {"beta1": 0.5, "beta2": 0.7})
    engine = run(problem, adam, theta0, steps=80, schedule=PowerLaw(0.02), checkpoints=4, native=False)
    optimizer = ShortAdam(params := [torch.nn.Parameter(theta0["W"][0].clone())], lr=0.02)
    for _ in range(80):
        params[0].grad = _true_gradient(problem, {"W": params[0].detach()})["W"]
        optimizer.step()
    np.testing.assert_allclose(engine.theta["W"][-1, 0], params[0].detach().numpy(), rtol=1e-9, atol=1e-11)


def test_leaves_are_found_wherever_they_lie():
    class Everywhere(Descent):
        def direction(self, p, state):
            state["m"] = torch.ones_like(p)
            state["nested"] = {"list": [torch.ones(2), 3.5], "count": 3}
            state["flag"] = True
            state["int"] = torch.ones(2, dtype=torch.int64)
            self.param_groups[0]["v"] = torch.ones(())
            self.param_groups[0]["deep"] = {"w": torch.ones(2)}
            return p.grad

    handle = Handle(load(Everywhere), [torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))])
    handle.step([torch.ones(2, dtype=torch.float64)])
    leaves = {leaf.path: leaf for leaf in handle.leaves()}
    assert set(leaves) == {
        (0, "state", "m"),
        (0, "state", "nested", "list", 0),
        (0, "state", "nested", "list", 1),
        ("group", 0, "v"),
        ("group", 0, "deep", "w"),
    }
    for leaf in leaves.values():
        leaf.multiply(4.0)
    group, state = handle.optimizer.param_groups[0], handle.optimizer.state[handle.params[0]]
    assert float(group["v"]) == 4.0
    assert group["deep"]["w"].tolist() == [4.0, 4.0]
    assert state["m"].tolist() == [4.0, 4.0]
    assert state["nested"]["list"][1] == 14.0
