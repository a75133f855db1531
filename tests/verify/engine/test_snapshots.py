"""A run broken off and resumed is the run that was never broken off, bit for bit; any other is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from maxmargin.models import problems
from maxmargin.verify.engine.run import run, starts
from maxmargin.verify.engine.schedules import PowerLaw
from maxmargin.verify.engine.snapshots import SnapshotError
from maxmargin.verify.optimizers import get_optimizer

LINEAR, NETWORK = "multiclass@linear", "binary@relu2:h=6"


class Stop(Exception):
    """Raised from the progress callback, to break a run off in the middle."""


def _stop_at(step, kind=Stop):
    def progress(done, steps):
        if done >= step:
            raise kind

    return progress


def _train(spec=LINEAR, name="signum", **options):
    problem = problems.get(spec)
    given = {"steps": 400, "checkpoints": 12, "native": False} | options
    return run(problem, get_optimizer(name), starts(problem, 2, seed=3, scale=0.1), **given)


def _equal(a, b):
    np.testing.assert_array_equal(a.steps, b.steps)
    for field in ("theta", "gradient", "update"):
        for name, block in getattr(a, field).items():
            np.testing.assert_array_equal(block, getattr(b, field)[name], err_msg=f"{field} {name}")
    for field in ("log_scale", "margin", "eta", "travelled", "separated_at"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field), err_msg=field)


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        (LINEAR, "muon", {"native": True}),
        (NETWORK, "muon-adam", {"steps": 304}),
        (NETWORK, "adam", {}),
        (LINEAR, "ngd", {"schedule": PowerLaw(0.1, 0.5)}),
        ("multiclass:n=300,d=6,k=3,seed=0", "momentum-gd", {"steps": 160}),
        (LINEAR, "adam", {"batch_size": 3, "seed": 5, "native": True}),
        (LINEAR, "signum", {"batch_size": 1, "order": "cyclic"}),
    ],
)
def test_broken_off_and_resumed_is_the_same_bit_for_bit(tmp_path, spec, name, options):
    whole = _train(spec, name, **options)
    path = tmp_path / "run.npz"
    # Three breaks, each after going on from the one before; where the step is traced anew each time, one.
    for step in (296,) if options.get("native") else (8, 100, 300):
        with pytest.raises(Stop):
            _train(spec, name, **options, snapshot=path, progress=_stop_at(min(step, whole.steps[-1])))
    done = []
    resumed = _train(spec, name, **options, snapshot=path, progress=lambda at, of: done.append(at))
    assert min(done) >= min(296, whole.steps[-1])  # nothing was trained twice
    _equal(resumed, whole)


def test_ctrl_c_keeps_what_is_done(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        _train(snapshot=path, progress=_stop_at(200, KeyboardInterrupt))
    with np.load(path, allow_pickle=False) as kept:
        assert int(kept["done"]) >= 200
    _equal(_train(snapshot=path), _train())


def test_a_killed_process_goes_on_from_the_last_written_snapshot(tmp_path):
    """``kill -9`` runs no handler: what counts is the file as it was at that moment."""
    path, copy = tmp_path / "run.npz", tmp_path / "as-killed.npz"

    def killed(done, steps):
        if done and path.exists() and not copy.exists():
            shutil.copy(path, copy)

    whole = _train(snapshot=path, every=0.0, progress=killed)
    with np.load(copy) as kept:
        assert 0 < int(kept["done"]) < 400
    _equal(_train(snapshot=copy), whole)
    assert not list(tmp_path.glob(".run.npz*"))  # no temporary file is left


def test_a_finished_run_is_read_back_without_training(tmp_path):
    path = tmp_path / "run.npz"
    whole, steps = _train(snapshot=path), []
    _equal(_train(snapshot=path, progress=lambda done, of: steps.append(done)), whole)
    assert steps == [400]


@pytest.mark.parametrize(
    ("other", "part"),
    [
        ({"steps": 408}, "steps: there 400, here 408"),
        ({"checkpoints": 11}, "checkpoints"),
        ({"schedule": PowerLaw(0.1)}, "schedule"),
        ({"loss": "exponential"}, "loss"),
        ({"norm": "l2"}, "norm"),
        ({"batch_size": 2}, "batches"),
        ({"native": True}, "native"),
        ({"name": "muon"}, "optimizer"),
        ({"spec": "multiclass:seed=76@linear"}, "data"),
    ],
)
def test_a_snapshot_of_another_run_is_refused(tmp_path, other, part):
    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        _train(snapshot=path, progress=_stop_at(100))
    before = path.read_bytes()
    with pytest.raises(SnapshotError, match=f"belongs to another run.*{part}.*delete it"):
        _train(snapshot=path, **other)
    assert path.read_bytes() == before


def test_other_starts_are_another_run(tmp_path):
    problem, path = problems.get(LINEAR), tmp_path / "run.npz"
    for seed in (3, 4):
        theta0 = starts(problem, 2, seed=seed)
        if seed == 3:
            run(problem, get_optimizer("ngd"), theta0, steps=8, native=False, snapshot=path)
        else:
            with pytest.raises(SnapshotError, match="start: there"):
                run(problem, get_optimizer("ngd"), theta0, steps=8, native=False, snapshot=path)


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-500])


def _text(path):
    path.write_text("steps: 400")


def _without_state(path):
    with np.load(path) as file:
        np.savez(path, **{k: v for k, v in file.items() if k != "now:1"})


def _other_shape(path):
    with np.load(path) as file:
        np.savez(path, **{k: v[:1] if k == "now:0" else v for k, v in file.items()})


def _pickled(path):
    with np.load(path) as file:
        np.savez(path, **{k: np.array([{"code": 1}], dtype=object) if k == "now:0" else v for k, v in file.items()})


@pytest.mark.parametrize("damage", [_truncated, _text, _without_state, _other_shape, _pickled])
def test_a_damaged_snapshot_is_refused(tmp_path, damage):
    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        _train(snapshot=path, progress=_stop_at(100))
    damage(path)
    with pytest.raises(SnapshotError, match="no snapshot, or a damaged one"):
        _train(snapshot=path)


def test_a_snapshot_that_lies_about_a_moment_changes_the_run(tmp_path):
    """The spoiled twin of the comparison above: were the state not restored, the two would not be equal."""
    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        _train(snapshot=path, progress=_stop_at(100))
    with np.load(path) as file:
        arrays = dict(file)
    assert json.loads(str(arrays["who"]))["steps"] == "400"
    arrays["now:1"] = -arrays["now:1"]  # θ is leaf 0, the momentum leaf 1
    np.savez(path, **arrays)
    resumed, whole = _train(snapshot=path), _train()
    assert not np.array_equal(resumed.theta["W"][-1], whole.theta["W"][-1])


def test_the_identity_sees_the_data_of_every_run(tmp_path):
    each = [problems.get(f"binary:seed={s}@linear") for s in (6, 7)]
    theta0, path = starts(each[0], 2), tmp_path / "run.npz"
    run(each, get_optimizer("ngd"), theta0, steps=8, native=False, snapshot=path)
    moved = replace(each[1], X=each[1].X + torch.eye(6, dtype=torch.float64) * 1e-12)
    with pytest.raises(SnapshotError, match="data: there"):
        run([each[0], moved], get_optimizer("ngd"), theta0, steps=8, native=False, snapshot=path)
