"""The engine against plain loops: numpy in float64 where that works, in long double where float64 has underflowed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.models.families.linear import MulticlassLinear
from maxmargin.models.problem import Problem
from maxmargin.solvers.kkt.gap import GapEvaluator
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine import run as engine
from maxmargin.verify.engine.run import EngineError, log_spaced, paced_for, run, starts
from maxmargin.verify.engine.schedules import Paced, PowerLaw
from maxmargin.verify.engine.stepping import CHUNK, WATCHED
from maxmargin.verify.optimizers import get_optimizer

LINEAR, NETWORK = "multiclass@linear", "binary@relu2:h=6"

# -- An independent engine: numpy, one run, the loss as one writes it down, squares squared -----------------------


@dataclass
class Plain:
    """Δθ of one optimizer along plain gradients."""

    name: str
    m: dict
    v: dict
    t: int = 0

    def step(self, g):
        self.t += 1
        m, v = self.m, self.v
        for k in g:
            m[k] = g[k].dtype.type(0.9) * m[k] + g[k].dtype.type(1 - 0.9) * g[k]
            v[k] = g[k].dtype.type(0.95) * v[k] + g[k].dtype.type(1 - 0.95) * g[k] ** 2
        match self.name:
            case "signum":
                return {k: -np.sign(m[k]) for k in m}
            case "momentum-gd":
                length = np.sqrt(sum((b**2).sum() for b in m.values()))
                return {k: -b / length for k, b in m.items()}
            case "adam":
                c1, c2 = 1 - 0.9**self.t, 1 - 0.95**self.t
                return {k: -(m[k] / c1) / np.sqrt(v[k] / c2) for k in m}
            case "muon":
                return {k: -_polar(m[k]) for k in m}
        raise AssertionError(self.name)


def _polar(m):
    if m.ndim == 1:
        return m / np.sqrt((m**2).sum())
    u, s, vt = np.linalg.svd((m / np.abs(m).max()).astype(float), full_matrices=False)  # no long double SVD
    r = int((s > 1e-13 * s[0]).sum())
    return (u[:, :r] @ vt[:r]).astype(m.dtype)


def _gradient(spec, theta, X, y):
    """∇ of Σ log(1 + Σ e^{−m}) by hand, for the two models above."""
    if spec.endswith("@linear"):
        scores = X @ theta["W"].T
        margins = scores[np.arange(len(y)), y][:, None] - scores
        e = np.exp(-margins)
        e[np.arange(len(y)), y] = 0
        p = e / (1 + e.sum(1, keepdims=True))
        p[np.arange(len(y)), y] = -p.sum(1)
        return {"W": p.T @ X}
    r = np.maximum(X @ theta["W"].T, 0)
    w = -y / (1 + np.exp(y * (r**2 @ theta["a"])))
    return {"W": (2 * w[:, None] * r * theta["a"]).T @ X, "a": w @ r**2}


def _stiffness(name, m):
    """How much a relative rounding error of m grows in the step: for the polar factor, σ_1 / σ_r."""
    if name != "muon":
        return 1.0
    singular = [np.linalg.svd((b / np.abs(b).max()).astype(float), compute_uv=False) for b in m.values() if b.ndim == 2]
    return max(s[0] / s[s > 1e-13 * s[0]][-1] for s in singular)


def _plain_run(spec, name, theta0, eta, steps, dtype=np.float64):
    """θ and the plain gradient before each step, each step, and the worst stiffness met."""
    problem = problems.get(spec)
    X, y = problem.X.numpy().astype(dtype), problem.labels
    theta = {k: b.numpy().astype(dtype) for k, b in theta0.items()}
    optimizer = Plain(name, {k: 0 * b for k, b in theta.items()}, {k: 0 * b for k, b in theta.items()})
    thetas, gradients, updates, stiff = [], [], [], 1.0
    for _ in range(steps + 1):
        g = _gradient(spec, theta, X, y)
        u = {k: dtype(eta) * b for k, b in optimizer.step(g).items()}
        thetas.append(theta)
        gradients.append(g)
        updates.append(u)
        theta = {k: theta[k] + u[k] for k in theta}
        stiff = max(stiff, _stiffness(name, optimizer.m))
    return thetas, gradients, updates, stiff


def _run_of(theta, i):
    return {k: b[i] for k, b in theta.items()}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("name", ["signum", "adam", "momentum-gd", "muon"])
@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
def test_200_steps_are_those_of_a_plain_loop(spec, name, native):
    problem = problems.get(spec)
    theta0 = starts(problem, 3, seed=4, scale=0.5)
    eta = 0.003 if spec == NETWORK else 0.02
    got = run(problem, get_optimizer(name), theta0, steps=200, schedule=PowerLaw(eta), checkpoints=10, native=native)
    assert got.runs == 3
    for i in range(3):
        thetas, gradients, updates, stiff = _plain_run(spec, name, _run_of(theta0, i), eta, 200)
        small = 1e-13 * stiff
        for t, done in enumerate(got.steps):
            margins = problem.margins({k: torch.as_tensor(thetas[done][k]) for k in problem.shapes})
            assert got.margin[t, i] == pytest.approx(float(margins.min()), rel=1e-8, abs=1e-10)
            for k in problem.shapes:
                mantissa, scale = got.gradient[k][t, i], np.exp(got.log_scale[t, i])
                np.testing.assert_allclose(got.theta[k][t, i], thetas[done][k], rtol=1e-9, atol=1e-11 + small)
                np.testing.assert_allclose(mantissa * scale, gradients[done][k], rtol=1e-8, atol=1e-9 * scale)
                np.testing.assert_allclose(got.update[k][t, i], updates[done][k], rtol=1e-7, atol=1e-10 + small)


def _separating_start(spec, margin):
    """A start whose smallest margin is ``margin``: the direction that 300 steps reach, blown up."""
    problem = problems.get(spec)
    path = run(problem, get_optimizer("momentum-gd"), starts(problem, 1, seed=3), steps=304, native=False)
    assert path.separated.all()
    factor = (margin / path.margin[-1, 0]) ** (1 / problem.degree)
    return {k: torch.as_tensor(factor * b[-1]) for k, b in path.theta.items()}


def _balanced_start(margin):
    """Weights of the linear problem with every margin equal: all samples count, so the gradient has its full rank."""
    problem = problems.get(LINEAR)
    goal = margin * torch.nn.functional.one_hot(torch.as_tensor(problem.labels), 3).to(torch.float64)
    theta = {"W": torch.linalg.solve(problem.X, goal).T}
    torch.testing.assert_close(problem.margins(theta), torch.full((16,), margin, dtype=torch.float64))
    return {"W": theta["W"].unsqueeze(0)}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.skipif(np.finfo(np.longdouble).minexp > -16000, reason="no 80-bit long double on this platform")
@pytest.mark.parametrize(
    ("spec", "name"),
    [(LINEAR, n) for n in ("signum", "adam", "momentum-gd", "muon")]
    # (Muon on the network: few samples count there, so m is nearly singular and its polar factor hardly defined.)
    + [(NETWORK, n) for n in ("signum", "adam", "momentum-gd")],
)
def test_beyond_float64_the_steps_are_those_of_a_long_double_loop(spec, name, native):
    """Margins from 900 on: e^(−900) is 0 in float64, its square too in every Adam; long double reaches e^(−11000)."""
    problem = problems.get(spec)
    theta0 = _separating_start(spec, 900.0) if spec == NETWORK else _balanced_start(900.0)
    eta = 0.002 if spec == NETWORK else 0.05
    got = run(problem, get_optimizer(name), theta0, steps=120, schedule=PowerLaw(eta), checkpoints=6, native=native)
    assert (got.margin > 850).all()
    assert (got.log_scale < -850).all()
    thetas, _, updates, stiff = _plain_run(spec, name, _run_of(theta0, 0), eta, 120, np.longdouble)
    # Margins of 10³ are known to 10³ · 2⁻⁵³, and so are the weights, relatively; the step sees that times stiffness.
    error = max(1e-10, 1e-12 * stiff)
    assert error < 1e-6
    for t, done in enumerate(got.steps):
        for k in problem.shapes:
            want = updates[done][k].astype(float)
            assert np.isfinite(want).all()
            assert np.abs(want).max() > 0
            np.testing.assert_allclose(got.update[k][t, 0], want, rtol=1e-6, atol=error * eta)
            theta = thetas[done][k].astype(float)
            np.testing.assert_allclose(got.theta[k][t, 0], theta, rtol=1e-12, atol=120 * error * eta)


@pytest.mark.parametrize("name", ["adam", "muon-signum"])
def test_margins_of_a_million(name):
    """θ scaled until q = 10⁶: updates stay finite and of full size, and every coordinate keeps moving."""
    problem = problems.get("blocks@linear")
    theta0 = _separating_start("blocks@linear", 1e6)
    got = run(problem, get_optimizer(name), theta0, steps=200, schedule=PowerLaw(0.01), checkpoints=4, native=False)
    assert (got.log_scale < -9e5).all()
    assert (np.diff(got.margin[:, 0]) > 0).all()
    for block in got.update.values():
        assert np.isfinite(block).all()
        assert (np.abs(block).max(axis=tuple(range(2, block.ndim))) > 1e-4).all()


# -- Batches, tracing ---------------------------------------------------------------------------------------------


def _same(a, b, run_a, run_b, rtol=1e-12, atol=1e-13):
    for field in ("theta", "gradient", "update"):
        for k in a.theta:
            np.testing.assert_allclose(
                getattr(a, field)[k][:, run_a], getattr(b, field)[k][:, run_b], rtol=rtol, atol=atol, err_msg=field
            )
    for field in ("log_scale", "margin", "eta", "travelled"):
        np.testing.assert_allclose(getattr(a, field)[:, run_a], getattr(b, field)[:, run_b], rtol=rtol, atol=atol)
    assert a.separated_at[run_a] == b.separated_at[run_b]


@pytest.mark.parametrize(("spec", "name"), [(NETWORK, "adam"), (LINEAR, "muon")])
def test_traced_equals_untraced(spec, name):
    problem = problems.get(spec)
    theta0 = starts(problem, 2, seed=1, scale=0.1)
    one, other = (run(problem, get_optimizer(name), theta0, steps=160, native=native) for native in (True, False))
    for i in range(2):
        _same(one, other, i, i, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["muon-adam", "signum"])
def test_a_batch_is_its_runs_one_by_one(name):
    """Runs must not see each other: not through a scale, not through a schedule."""
    problem = problems.get(NETWORK)
    theta0 = starts(problem, 3, seed=2, scale=0.3)
    theta0 = {k: b * torch.tensor([1.0, 10.0, 0.1]).reshape(-1, *[1] * (b.ndim - 1)) for k, b in theta0.items()}
    together = run(problem, get_optimizer(name), theta0, steps=120, native=False)
    for i in range(3):
        alone = run(problem, get_optimizer(name), {k: b[i : i + 1] for k, b in theta0.items()}, steps=120, native=False)
        _same(together, alone, i, 0, rtol=1e-10, atol=1e-11)


def test_data_sets_in_a_batch_are_data_sets_one_by_one():
    each = [problems.get(f"binary:seed={s}@relu2:h=4") for s in (6, 7, 8)]
    theta0 = starts(each[0], 3, seed=2, scale=0.3)
    together = run(each, get_optimizer("signum"), theta0, steps=120, native=False)
    for i, problem in enumerate(each):
        alone = run(
            problem, get_optimizer("signum"), {k: b[i : i + 1] for k, b in theta0.items()}, steps=120, native=False
        )
        _same(together, alone, i, 0, rtol=1e-10, atol=1e-11)
    assert len({float(q) for q in together.margin[-1]}) == 3


@pytest.mark.parametrize("native", [False, True])
def test_one_diverging_run_leaves_the_others_alone(native):
    problem = problems.get(LINEAR)
    theta0 = starts(problem, 2, seed=0)
    spoilt = {k: b.clone() for k, b in theta0.items()}
    spoilt["W"][1, 0, 0] = torch.nan
    clean = run(problem, get_optimizer("muon"), theta0, steps=80, native=native, schedule=PowerLaw(0.1))
    dirty = run(problem, get_optimizer("muon"), spoilt, steps=80, native=native, schedule=PowerLaw(0.1))
    _same(dirty, clean, 0, 0)
    assert dirty.separated.tolist() == [clean.separated[0], False]


# -- Checkpoints and starts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "count"), [(8, 5), (1000, 32), (100_000, 32), (12_345, 7), (3, 4)])
def test_checkpoints_lie_on_the_grid_evenly_in_log(steps, count):
    marks = log_spaced(steps, count)
    assert marks == sorted(set(marks))
    assert all(m % CHUNK == 0 for m in marks)
    assert marks[0] == CHUNK
    assert marks[-1] == max(CHUNK, steps // CHUNK * CHUNK)
    assert len(marks) <= count
    if steps == 100_000:
        ratios = np.diff(np.log(marks[8:]))
        assert ratios.max() < 1.3 * ratios.min()


def test_what_a_trajectory_holds():
    problem = problems.get(LINEAR)
    seen = []
    got = run(
        problem,
        get_optimizer("signum"),
        starts(problem, 2, seed=3),
        steps=101,
        checkpoints=100,
        native=False,
        progress=lambda done, steps: seen.append((done, steps)),
    )
    assert got.steps.tolist() == list(range(0, 97, 8))  # 101 is rounded down to 96
    assert seen == [(s, 96) for s in got.steps.tolist()]
    assert got.problem == problem.name
    np.testing.assert_allclose(np.diff(got.travelled, axis=0), 8 * got.eta[:-1], rtol=1e-12)
    assert (got.travelled[0] == 0).all()
    for i in range(2):
        first = np.flatnonzero(got.margin[:, i] > 0)
        assert got.separated_at[i] == (got.steps[first[0]] if len(first) else -1)
        for t in range(len(got.steps)):
            assert float(get_norm("linf").value(got.at(t, i, "update"))) == pytest.approx(got.eta[t, i], rel=1e-12)


def test_progress_is_told_about_once_a_second_between_checkpoints(monkeypatch):
    now = iter(np.arange(0.0, 1e4, 0.4))
    monkeypatch.setattr(engine.time, "monotonic", lambda: next(now))
    problem, seen = problems.get(LINEAR), []
    got = run(
        problem, get_optimizer("ngd"), starts(problem, 1), steps=400, checkpoints=3, native=False,
        progress=lambda done, steps: seen.append(done),
    )  # fmt: skip
    assert set(got.steps.tolist()) < set(seen)
    assert seen == sorted(set(seen))
    assert max(np.diff(seen)) == 3 * CHUNK  # 0.4 s a chunk: the third is more than a second after the last


def test_starts_are_seeded_per_run():
    problem = problems.get(NETWORK)
    three, two = starts(problem, 3, seed=5, scale=0.1), starts(problem, 2, seed=6, scale=0.2)
    for k in problem.shapes:
        torch.testing.assert_close(2 * three[k][1:], two[k], rtol=1e-15, atol=0)
        assert not torch.equal(three[k][0], three[k][1])


# -- The pace -----------------------------------------------------------------------------------------------------


def _fastest(problem, theta, norm):
    """max_i ‖g_i(θ)‖_* from the problem's Jacobian, margin by margin."""
    rows = problem.jacobian(theta)
    return max(float(norm.dual({k: r[i] for k, r in rows.items()})) for i in range(problem.n_margins))


@pytest.mark.parametrize(
    ("spec", "name", "kwargs"),
    [
        (LINEAR, "signum", {}),
        ("blocks@linear", "muon-signum", {"ratio": 0.5}),
        (NETWORK, "muon", {}),
        (NETWORK, "adam", {"eps": 1e-8}),
        (NETWORK, "muon-signum", {"ratio": 4.0}),
    ],
)
def test_paced_steps_are_as_fast_as_they_may_and_no_faster(spec, name, kwargs):
    problem, optimizer = problems.get(spec), get_optimizer(name, kwargs)
    schedule = Paced(pace=0.1, decay=0.3, knee=50)
    got = run(
        problem,
        optimizer,
        starts(problem, 2, seed=6, scale=0.05),
        steps=400,
        schedule=schedule,
        checkpoints=60,
    )
    norm, lengths = optimizer.pace_norm, []
    for t, done in enumerate(got.steps):
        pace = 0.1 * (1 + (done + 1) / 50) ** -0.3
        for i in range(2):
            theta, update = got.at(t, i), got.at(t, i, "update")
            fastest, size = _fastest(problem, theta, norm), float(norm.value(theta))
            # By Euler's identity the smallest margin grows by L q/‖θ‖ as ‖θ‖ grows by 1.
            fastest = max(fastest, schedule.lead * problem.degree * float(problem.margins(theta).min()) / size)
            cap = np.inf if problem.linear else 0.02 * size
            eta = min(pace / fastest, cap) / optimizer.step_norm
            assert got.eta[t, i] == pytest.approx(eta, rel=1e-9)
            # In effect: no margin moves faster, and no step is longer. A network's gradients change within the step;
            # where gradients rise, an entry of Adam's step may exceed 1, by Cauchy-Schwarz up to 1.165.
            over = 1.165 if name == "adam" else 1 + 1e-9
            after = {k: theta[k] + update[k] for k in theta}
            change = np.abs(problem.margins(after) - problem.margins(theta)).max()
            bend = 1e-9 if problem.linear else 0.1
            assert change <= pace * (1 + bend) * over
            assert float(norm.value(update)) <= cap * over
            lengths.append(change / pace)
    assert max(lengths) > 0.2  # the bound is nearly reached: nothing is slowed down for no reason


def test_a_linear_problem_with_more_margins_than_are_watched_is_paced_by_the_smallest():
    """The speed is measured again as the smallest margins change, not once from whichever were small at the start."""
    problem = problems.get("multiclass:n=300,d=6,k=3,seed=0")
    assert problem.n_margins > WATCHED
    optimizer = get_optimizer("signum")
    got = run(problem, optimizer, starts(problem, 1, scale=0.01), steps=240, checkpoints=6)
    norm, schedule = get_norm("linf"), paced_for(optimizer)
    rows = problem.jacobian(got.at(0, 0))["W"]
    speeds = np.abs(rows).sum(axis=(1, 2))
    for t, done in enumerate(got.steps):
        smallest = np.argsort(problem.margins(got.at(t, 0)))[:WATCHED]
        pace = schedule.pace * (1 + (done + 1) / schedule.knee) ** -schedule.decay
        assert got.eta[t, 0] == pytest.approx(pace / speeds[smallest].max(), rel=1e-9)
    assert float(norm.value(got.at(-1, 0))) > 0


def _one_point_a_class(k=2, seed=1):
    """x_i near a_i e_i, one for each class: q*/max‖g_i‖_∞* is 0.6, three times that of the suite's problems."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(1, 2, k)[:, None] * np.eye(k) + rng.uniform(-0.2, 0.2, (k, k))
    return Problem.of(f"point-a-class-{k}", MulticlassLinear(k, k), X, np.arange(k))


@pytest.mark.parametrize("lead", [0.0, None])
def test_on_easy_data_the_smallest_margin_sets_the_pace(lead):
    """Without a lead the gradient shrinks faster than Signum's momentum, which then chatters: the gap stays at 5e-2."""
    problem, optimizer = _one_point_a_class(), get_optimizer("signum")
    schedule = paced_for(optimizer) if lead is None else replace(paced_for(optimizer), lead=lead)
    got = run(problem, optimizer, starts(problem, 2, seed=1, scale=0.01), steps=1000, schedule=schedule, checkpoints=8)
    gaps = [GapEvaluator(problem, get_norm("linf"))(got.at(-1, i)).value for i in range(2)]
    assert max(gaps) <= 1e-2 if lead is None else min(gaps) >= 2e-2
    late = slice(len(got.steps) // 2, None)
    grows = got.eta[late] * got.margin[late] / np.abs(got.theta["W"][late]).max(axis=(2, 3))
    if lead is None:
        assert grows.max() <= optimizer.lag_limit  # what the moments can follow
    else:
        assert grows.max() > optimizer.lag_limit


def test_a_linear_model_may_start_at_zero():
    problem = problems.get(LINEAR)
    got = run(problem, get_optimizer("momentum-gd"), starts(problem, 1, scale=0.0), steps=160)
    assert got.separated.all()
    assert np.isfinite(got.eta).all()


def test_the_default_pace_follows_the_memory():
    assert paced_for(get_optimizer("ngd")).pace == 0.2
    assert paced_for(get_optimizer("signum", {"beta": 0.95})).pace == pytest.approx(0.1)
    assert paced_for(get_optimizer("adam", {"beta2": 0.999})).pace == pytest.approx(0.001)


# -- Refusals -----------------------------------------------------------------------------------------------------


def _bad_shape(problem, theta0):
    return problem, {"W": theta0["W"][:, :2]}


def _missing_block(problem, theta0):
    return problem, {"V": theta0["W"]}


def _too_few_problems(problem, theta0):
    return [problem], theta0


def _other_model(problem, theta0):
    return [problem, problems.get("multiclass:n=8,d=8,k=3@relu2:h=4")], theta0


def _other_data(problem, theta0):
    return [problem, problems.get("multiclass:n=9")], theta0


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_bad_shape, r"start 'W': needed is shape \(2, 3, 8\)"),
        (_missing_block, r"start 'W': needed is shape \(2, 3, 8\)"),
        (_too_few_problems, "1 data sets for 2 runs; give one problem, or one a run"),
        (_other_model, "cannot share a batch with .* model and data shapes must agree"),
        (_other_data, "cannot share a batch with .* model and data shapes must agree"),
        (lambda problem, theta0: (problem, {}), "no starts came"),
    ],
)
def test_what_cannot_be_batched_is_refused(spoil, text):
    problem = problems.get(LINEAR)
    bad_problem, bad_start = spoil(problem, starts(problem, 2))
    with pytest.raises(EngineError, match=text):
        run(bad_problem, get_optimizer("ngd"), bad_start, steps=8, native=False)


def test_an_unknown_loss_is_refused():
    problem = problems.get(LINEAR)
    with pytest.raises(EngineError, match="unknown loss 'hinge'; needed is one of exponential, logistic"):
        run(problem, get_optimizer("ngd"), starts(problem, 1), steps=8, loss="hinge", native=False)
