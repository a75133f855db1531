"""What an optimizer sets globally: it finds it again at its next step, and nobody else does."""

import decimal
import os
import signal
import sys
import time

import numpy as np
import pytest
import torch

from maxmargin.verify.blackbox.apart import SETTINGS, outside
from maxmargin.verify.blackbox.handle import Handle
from maxmargin.verify.blackbox.targets import load
from maxmargin.verify.progress import calls
from maxmargin.verify.progress.calls import Call, CallFile, What

CHANGES = {
    "torch's threads": lambda: torch.set_num_threads(torch.get_num_threads() + 3),
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "whether torch records gradients": lambda: torch.set_grad_enabled(False),
    "torch's deterministic mode": lambda: torch.use_deterministic_algorithms(True),
    "whether tiny numbers become 0": lambda: torch.set_flush_denormal(True),
    "the digits of decimals": lambda: setattr(decimal.getcontext(), "prec", 5),
    "the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1000),
    "numpy's errors": lambda: np.seterr(all="raise"),
    "the current folder": lambda: os.chdir("/"),
    "the environment": lambda: os.environ.update(MAXMARGIN_TEST="1", HOME="/nowhere"),
    "what SIGINT does": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "what SIGTERM does": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}


def test_every_setting_is_changed_below():
    assert set(CHANGES) == set(SETTINGS)


@pytest.mark.parametrize("when", ["constructor", "step"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_an_optimizer_sets_is_its_own(name, when, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    read = SETTINGS[name][0]
    seen = []

    class Sets(torch.optim.SGD):
        def __init__(self, params, lr=0.1):
            super().__init__(params, lr)
            if when == "constructor":
                CHANGES[name]()

        def step(self, closure=None):
            seen.append(read())
            if when == "step" and len(seen) == 1:
                CHANGES[name]()
            return super().step(closure)

    ours = read()
    outside.changed.clear()
    parameters = [torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float64))]
    try:
        handle = Handle(load(Sets), parameters)
        seen.clear()  # of the trials
        for _ in range(3):
            handle.step([torch.ones(2, 2, dtype=torch.float64)])
            assert read() == ours
    finally:
        outside.__init__()
    assert seen[0] != ours if when == "constructor" else seen[1] != ours
    assert seen[1] == seen[2]
    torch.testing.assert_close(parameters[0].detach(), torch.full((2, 2), 0.7, dtype=torch.float64))


def test_that_it_was_changed_is_kept():
    class Sets(torch.optim.SGD):
        def step(self, closure=None):
            np.seterr(all="raise")
            return super().step(closure)

    outside.changed.clear()
    try:
        Handle(load(Sets, {"lr": 0.1}), [torch.nn.Parameter(torch.ones(2))]).step([torch.ones(2)])
        assert outside.changed == {"numpy's errors"}
    finally:
        outside.__init__()


def test_a_call_is_seen_from_outside(tmp_path, monkeypatch):
    monkeypatch.setenv(calls.FOLDER, str(tmp_path))
    mine = tmp_path / str(os.getpid())
    file = CallFile()
    file.write(What.STEP, 312, 12)
    time.sleep(0.01)
    call = Call.read(mine)
    assert call.place == "in step 12 of an instance (step 312 of all)"
    assert 0.01 <= call.seconds < 60
    file.write(What.NOTHING, 312, 12)
    assert Call.read(mine).place == "between its calls"
    assert Call.of_the_lost() is None
    mine.rename(tmp_path / "999999999")
    assert Call.of_the_lost().steps == 312
    for damage in (b"", b"x", bytes([255]) * 32):
        mine.write_bytes(damage)
        assert Call.read(mine) is None
