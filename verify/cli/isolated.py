"""A command's work in a process of its own: nothing that an optimizer does there ends in our exit status by accident.

The status is the one that the worker wrote when it was done. A worker that vanishes (``os._exit(0)`` in a step, no
memory, a crash in native code) has written none, and that is said. Standard output carries results alone: what
imported modules print there goes to standard error. A worker has a session of its own, so that signals to its process
group (``os.killpg(0, 9)``) do not reach the parent, and what the terminal sends comes by way of the parent. It does
not outlive its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

from maxmargin.verify.cli.entry import main, read
from maxmargin.verify.cli.status import BAD_INPUT, INTERNAL_ERROR, INTERRUPTED, TERMINATED
from maxmargin.verify.cli.streams import keep_results_apart, results, usable_streams
from maxmargin.verify.cli.watch import Watch
from maxmargin.verify.progress.calls import FOLDER, Call

WORKER = """\
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from maxmargin.verify.cli.isolated import work
work(int(sys.argv.pop(1)), int(sys.argv.pop(1)), sys.argv.pop(1), sys.argv[1:])
"""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The last digits of a matrix product depend on the number of threads; results may not depend on the machine."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command in a worker; where processes cannot share pipes, here.

    Args:
        argv: The arguments after the program's name; ``sys.argv`` by default.

    Returns:
        The exit status.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    usable_streams()
    found = read(argv)  # usage is refused here, before a worker is started
    if isinstance(found, int):
        return found
    if os.name != "posix":
        return main(argv)
    written, status = os.pipe()
    alive, ours = os.pipe()
    scratch = tempfile.mkdtemp(prefix="maxmargin-")  # temporary files of all processes: none is left behind
    try:
        calls = Path(scratch, "calls")
        calls.mkdir()
        command = [sys.executable, "-c", WORKER, json.dumps(sys.path), str(status), str(alive), scratch, *argv]
        places = {FOLDER: str(calls), "TMPDIR": scratch, "JOBLIB_TEMP_FOLDER": scratch}
        for descriptor in (status, alive):
            os.set_inheritable(descriptor, True)
        # What the shell handed over stays open: >(jq .) is a name of such a descriptor.
        worker = subprocess.Popen(
            command, close_fds=False, env=os.environ | places | ONE_THREAD, start_new_session=True
        )
        os.close(status)
        watch = Watch(calls, vars(found).get("step_timeout"), vars(found).get("memory_limit"))
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda number, _: watch.end(worker, number))
        signal.signal(signal.SIGTSTP, lambda *_: watch.pause(worker))
        exceeded = watch.wait(worker)
        os.set_blocking(written, False)  # a forked copy of the worker may still hold the other end
        text = _read(written)
        if text:
            return int(text)
        if exceeded is not None:
            print(f"maxmargin: error: {exceeded}", file=sys.stderr)
            return BAD_INPUT
        return _vanished(worker.returncode, watch.last())
    finally:
        os.close(ours)
        shutil.rmtree(scratch, ignore_errors=True)


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 16)
    except BlockingIOError:
        return b""


def _vanished(ended: int, call: Call | None) -> int:
    """Say how a worker without a verdict ended, and where the optimizer was; return the exit status."""
    where = "" if call is None else f" {call.place}"
    if ended >= 0:
        print(
            f"maxmargin: error: the process that ran the optimizer ended itself{where} with exit status {ended}, as "
            f"os._exit({ended}) does, before there was a verdict; take that out of the optimizer or of what it imports",
            file=sys.stderr,
        )
        return BAD_INPUT
    if -ended in (signal.SIGINT, signal.SIGTERM):
        return INTERRUPTED if -ended == signal.SIGINT else TERMINATED
    why = " (out of memory, most often)" if -ended == signal.SIGKILL else ""
    print(
        f"maxmargin: the process that ran the optimizer was ended{where} by {signal.Signals(-ended).name}{why} before "
        "there was a verdict; this is none.",
        file=sys.stderr,
    )
    return INTERNAL_ERROR


def work(status: int, alive: int, scratch: str, argv: Sequence[str]) -> None:
    """Be the worker: run the command, and write its status to the file descriptor ``status``.

    Args:
        status: The descriptor.
        alive: One that ends with the parent.
        scratch: The folder of temporary files, removed by the parent, or else by the worker.
        argv: The arguments of the command.
    """
    os.set_inheritable(status, False)
    os.set_inheritable(alive, False)
    threading.Thread(target=_end_with_parent, args=(alive, scratch), daemon=True).start()
    usable_streams()
    keep_results_apart()
    if not sys.warnoptions:  # a library's warnings say nothing to who asked for a verdict; python -W shows them
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for processes started from here
    os.register_at_fork(after_in_child=lambda: _silence(status, results().fileno()))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" starts programs that ignore it
    found = main(argv)
    os.write(status, str(found).encode())
    if found == INTERRUPTED:  # threads are still at work in native code, which the interpreter's end would abort
        for stream in (sys.stdout, sys.stderr, results()):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(found)
    sys.exit(found)


def _end_with_parent(alive: int, scratch: str) -> None:
    os.read(alive, 1)  # nothing is ever written: it returns when the parent is gone
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(TERMINATED)


def _silence(*descriptors: int) -> None:
    """In a forked copy of the worker: it has no verdict to give."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
