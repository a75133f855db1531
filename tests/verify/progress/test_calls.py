"""What a process calls, read by another one while it is written."""

import os
import subprocess
import sys
import time

from maxmargin.verify.progress.calls import FOLDER, Call, CallFile, What

BUSY = """
import sys
from maxmargin.verify.progress.calls import CallFile, What
calls, step = CallFile(), 0
while True:
    step += 1
    calls.write(What.STEP, step, step)
"""


def test_a_record_that_is_read_while_it_is_written_says_nothing_wrong(tmp_path):
    """Half of a record, with a time of 0, was taken for a step that had been under way since the machine started."""
    with subprocess.Popen([sys.executable, "-c", BUSY], env={**os.environ, FOLDER: str(tmp_path)}) as process:
        try:
            path = tmp_path / str(process.pid)
            until = time.monotonic() + 60
            while Call.read(path) is None and time.monotonic() < until:
                time.sleep(0.01)
            seen = [call for _ in range(20_000) if (call := Call.read(path)) is not None]
        finally:
            process.kill()
    assert len(seen) > 1_000
    assert all(-1 < call.seconds < 60 for call in seen)
    steps = [call.steps for call in seen if call.what is What.STEP]
    assert steps == sorted(steps)
    assert all(call.of_instance == call.steps for call in seen)


def test_a_damaged_record_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    CallFile().write(What.STEP, 7, 3)
    (path,) = tmp_path.iterdir()
    assert Call.read(path).place == "in step 3 of an instance (step 7 of all)"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert Call.read(path) is None
    path.write_bytes(whole[:-1])
    assert Call.read(path) is None
