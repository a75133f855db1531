"""Native runs are the runs of torch's operators; where they would not be, that is seen and said."""

from __future__ import annotations

import logging
import signal
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from typing_extensions import override

from maxmargin.models import problems
from maxmargin.solvers.norms import get_norm
from maxmargin.verify.engine import ways
from maxmargin.verify.engine.losses import LOSSES
from maxmargin.verify.engine.native import lowering, pointwise
from maxmargin.verify.engine.native.lowering import RULES
from maxmargin.verify.engine.run import paced_for, run, starts
from maxmargin.verify.engine.schedules import Paced, PowerLaw, Schedule
from maxmargin.verify.engine.stepping import OneRun
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.optimizers.core.base import OPTIMIZERS

aten = torch.ops.aten
LINEAR, NETWORK = "multiclass@linear", "binary@relu2:h=6"
FALL_BACK: set[tuple[str, str]] = set()  # (problem, optimizer) that torch's operators run: none


@pytest.fixture
def warnings_seen(caplog):
    caplog.set_level(logging.WARNING, ways.__name__)
    return lambda: [r.getMessage() for r in caplog.records]


def _same(a, b, steps=96, tolerance=1e-9):
    upto = a.steps <= steps
    assert upto.sum() > 4
    for field in ("theta", "gradient", "update"):
        for name, block in getattr(a, field).items():
            want = getattr(b, field)[name][upto]
            np.testing.assert_allclose(block[upto], want, rtol=0, atol=tolerance * np.abs(want).max(), err_msg=name)
    for field in ("log_scale", "margin", "eta", "travelled"):
        want = getattr(b, field)[upto]
        atol = tolerance * np.abs(want[np.isfinite(want)]).max()
        np.testing.assert_allclose(getattr(a, field)[upto], want, rtol=0, atol=atol, err_msg=field)
    assert np.abs(next(iter(a.theta.values()))[upto][-1] - next(iter(a.theta.values()))[0]).max() > 0  # they moved


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
def test_every_optimizer_natively(spec, name, warnings_seen):
    problem = problems.get(spec)
    theta0 = starts(problem, 2, seed=3, scale=0.3)
    theta0 = theta0 if name != "muon-ns" else {k: b[:1] for k, b in theta0.items()}  # vmap rounds its sums once more
    native, plain = (
        run(problem, get_optimizer(name), theta0, steps=48, checkpoints=12, native=way) for way in (True, False)
    )
    # Shampoo's roots of rank-deficient matrices magnify rounding.
    _same(native, plain, tolerance=1e-6 if name.startswith("shampoo") else 1e-9)
    assert bool(warnings_seen()) == ((spec, name) in FALL_BACK), warnings_seen()


@pytest.mark.parametrize(
    "family", ["relu-power:q=1.5,h=4", "quadratic:h=4", "deep-relu:h=4", "tied", "conv", "attention:tokens=2"]
)
def test_every_family_natively(family, warnings_seen):
    problem = problems.get(f"binary:n=6,d=4@{family}")
    theta0 = {name: b[None] for name, b in problem.model.init(4, 0.5).items()}
    native, plain = (
        run(problem, get_optimizer("signum"), theta0, steps=48, checkpoints=12, native=w) for w in (True, False)
    )
    _same(native, plain)
    assert warnings_seen() == []


@dataclass(frozen=True)
class Staircase(Schedule):
    """A schedule that looks at the step as a number: asked chunk by chunk."""

    @property
    @override
    def needs_speed(self):
        return False

    @override
    def rate(self, step, speed, length, growth=None):
        return torch.full_like(speed, 0.01 if int(step) < 30 else 0.02)


@pytest.mark.parametrize(
    "schedule",
    [
        PowerLaw(0.02),
        PowerLaw(0.02, 0.5),
        Staircase(),
        Paced(0.05, knee=20, cap=0.01),
    ],
)
@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
def test_every_schedule(spec, schedule, warnings_seen):
    problem = problems.get(spec)
    theta0 = starts(problem, 2, seed=3, scale=0.3)
    native, plain = (
        run(problem, get_optimizer("momentum-gd"), theta0, steps=96, checkpoints=14, schedule=schedule, native=way)
        for way in (True, False)
    )
    _same(native, plain)
    assert warnings_seen() == []


def test_the_pace_is_measured_when_it_is_due(monkeypatch, warnings_seen):
    """Past its start a run is measured at every eighth chunk only."""
    monkeypatch.setattr(ways, "EARLY", 24)
    problem = problems.get(NETWORK)
    native, plain = (
        run(problem, get_optimizer("momentum-gd"), starts(problem, 2, scale=0.1), steps=320, checkpoints=60, native=way)
        for way in (True, False)
    )
    _same(native, plain, 320, 1e-8)
    assert warnings_seen() == []


@pytest.mark.parametrize(
    "options", [{"batch_size": 3}, {"batch_size": 1, "order": "cyclic"}, {"batch_size": 5, "seed": 7}]
)
@pytest.mark.parametrize("spec", [LINEAR, NETWORK])
def test_batches_of_samples(spec, options, warnings_seen):
    problem = problems.get(spec)
    native, plain = (
        run(problem, get_optimizer("adam"), starts(problem, 2, scale=0.3), steps=96, checkpoints=14, native=way,
            schedule=PowerLaw(0.01), **options)
        for way in (True, False)
    )  # fmt: skip
    _same(native, plain)
    assert warnings_seen() == []


def test_data_sets_of_their_own(warnings_seen):
    each = [problems.get(f"binary:seed={s}@relu2:h=4") for s in (6, 7, 8)]
    theta0 = starts(each[0], 3, seed=2, scale=0.3)
    native, plain = (
        run(each, get_optimizer("signum"), theta0, steps=48, checkpoints=12, native=w) for w in (True, False)
    )
    _same(native, plain)
    assert warnings_seen() == []


def test_more_margins_than_are_watched(warnings_seen):
    problem = problems.get("multiclass:n=300,d=6,k=3,seed=0")
    native, plain = (
        run(problem, get_optimizer("momentum-gd"), starts(problem, 1, scale=0.01), steps=48, checkpoints=12, native=w)
        for w in (True, False)
    )
    _same(native, plain)
    assert warnings_seen() == []


def test_runs_of_a_batch_are_the_runs_alone_to_the_last_bit():
    problem = problems.get(NETWORK)
    theta0 = starts(problem, 3, seed=2, scale=0.3)
    together = run(problem, get_optimizer("muon"), theta0, steps=400, checkpoints=8)
    for i in range(3):
        alone = run(
            problem, get_optimizer("muon"), {k: b[i : i + 1] for k, b in theta0.items()}, steps=400, checkpoints=8
        )
        for name in problem.shapes:
            np.testing.assert_array_equal(together.theta[name][:, i], alone.theta[name][:, 0])


@pytest.mark.parametrize("name", ["muon", "muon-adam", "shampoo"])
def test_ill_conditioned_steps_are_trusted(name, warnings_seen):
    """Gradients of deep linear networks have rank one: what rounding adds to their sum, Muon makes large."""
    problem = problems.get("binary@deep-linear:depth=3,width=4")
    run(problem, get_optimizer(name), starts(problem, 2, scale=0.1), steps=48, checkpoints=5)
    assert warnings_seen() == []


# -- Trust --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adam", "muon-ns"])
@pytest.mark.parametrize(
    ("target", "off"),
    [(aten.mm.default, 1e-9), (aten.div.Tensor, 1e-9), (aten.exp.default, 1e-9), (aten.log1p.default, 1e-6)],
)
def test_a_wrong_kernel_is_seen_and_torch_runs(target, off, name, monkeypatch, warnings_seen):
    honest = RULES[target]

    def wrong(self, meta, *args, **kwargs):
        return lowering.pointwise(meta, pointwise.multiply(torch.float64), honest(self, meta, *args, **kwargs), 1 + off)

    problem = problems.get(NETWORK)
    theta0 = starts(problem, 1, seed=3, scale=0.3)
    plain = run(problem, get_optimizer(name), theta0, steps=48, checkpoints=12, native=False)
    monkeypatch.setitem(RULES, target, wrong)
    got = run(problem, get_optimizer(name), theta0, steps=48, checkpoints=12)
    (warning,) = warnings_seen()
    assert warning.startswith("native steps differ from torch's (.")
    for block in problem.shapes:
        np.testing.assert_array_equal(got.theta[block], plain.theta[block])


def test_a_wrong_pace_is_seen(monkeypatch, warnings_seen):
    monkeypatch.setattr(
        OneRun, "growth", lambda self, *a: tuple(x * (1 + 1e-6 * torch.is_tensor(x)) for x in self._rise(*a)[:2])
    )
    problem = problems.get(LINEAR)
    monkeypatch.setattr(
        ways.Interpreted, "rates", lambda self, honest=ways.Interpreted.rates: honest(self) * (1 + 1e-9)
    )
    run(problem, get_optimizer("signum"), starts(problem, 1), steps=48, checkpoints=12)
    (warning,) = warnings_seen()
    assert "native steps differ from torch's (" in warning


def test_an_unknown_operator_is_named_once(monkeypatch, warnings_seen):
    monkeypatch.delitem(RULES, aten.log1p.default)
    problem = problems.get(NETWORK)
    got = run(problem, get_optimizer("signum"), starts(problem, 1), steps=48, checkpoints=4)
    assert got.steps[-1] == 48
    assert warnings_seen() == ["aten.log1p.default has no native form: torch runs the steps, a hundred times slower"]


# -- Interruptions and threads ------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_run_and_keeps_it(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
    problem = problems.get(LINEAR)
    optimizer, theta0 = get_optimizer("momentum-gd"), starts(problem, 1)
    run(problem, optimizer, theta0, steps=10**4)  # compiled

    def interrupt():
        time.sleep(1.0)
        import _thread

        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(problem, optimizer, theta0, steps=10**10, checkpoints=2, snapshot=tmp_path / "run.npz")
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    with np.load(tmp_path / "run.npz") as kept:
        assert kept["done"] > 10_000


def test_a_resumed_native_run_is_the_same_bit_for_bit(tmp_path, monkeypatch):
    """However many chunks a call takes, which depends on the machine's speed."""
    problem = problems.get(NETWORK)
    theta0, path = starts(problem, 2, seed=1, scale=0.1), tmp_path / "run.npz"

    class Stop(Exception):
        pass

    def stop(done, steps):
        if done >= 2000:
            raise Stop

    def go(**options):
        return run(problem, get_optimizer("adam"), theta0, steps=4000, checkpoints=6, **options)

    whole = go()
    monkeypatch.setattr("maxmargin.verify.engine.native.loop.CALL", 1e-6)
    with pytest.raises(Stop):
        go(snapshot=path, progress=stop)
    resumed = go(snapshot=path)
    for name in problem.shapes:
        np.testing.assert_array_equal(resumed.theta[name], whole.theta[name])
    np.testing.assert_array_equal(resumed.eta, whole.eta)


def test_threads_run_side_by_side():
    """The interpreter's lock is free while a run steps, and runs do not disturb each other."""
    problem = problems.get(LINEAR)
    names = ["signum", "adam", "momentum-gd", "muon"]
    alone = {n: run(problem, get_optimizer(n), starts(problem, 2, seed=1), steps=20_000, checkpoints=6) for n in names}
    found = {}

    def go(name):
        found[name] = run(problem, get_optimizer(name), starts(problem, 2, seed=1), steps=20_000, checkpoints=6)

    threads = [threading.Thread(target=go, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        np.testing.assert_array_equal(found[name].theta["W"], alone[name].theta["W"])


def test_the_lag_limit_sets_the_default_pace():
    assert paced_for(get_optimizer("signum")).pace == pytest.approx(0.2)
    assert OneRun(problems.get(LINEAR), get_optimizer("signum"), LOSSES["exponential"], get_norm("linf")).fixed_speed
