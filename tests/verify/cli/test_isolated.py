"""The exit status and the streams of the real program, whatever an optimizer does: in processes, as a user has them."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

GOOD = """
import torch
class Opt(torch.optim.SGD):
    calls = 0
    def step(self, closure=None):
        Opt.calls += 1
        {}
        return super().step(closure)
"""
HOSTILE = {
    "os._exit(0)": "import os; os._exit(0) if Opt.calls > 20 else None",
    "os._exit(1)": "import os; os._exit(1) if Opt.calls > 20 else None",
    "CancelledError": "import asyncio\n        raise asyncio.CancelledError()",
    "pytest.skip": "import pytest\n        pytest.skip('no')",
    "SystemExit": "raise SystemExit(0)",
    "GeneratorExit": "raise GeneratorExit",
}


@pytest.fixture
def maxmargin(tmp_path):
    def start(*argv, source="", **options):
        (tmp_path / "mine.py").write_text(GOOD.format(source or "pass"))
        settings = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        worker = subprocess.Popen([sys.executable, "-m", "maxmargin.verify", *argv], **settings)
        started.append(worker)
        return worker

    started = []
    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_what_an_optimizer_does_is_never_a_verdict(maxmargin, source):
    worker = maxmargin("check", "mine.py:Opt", "--problem", "blocks", source=source)
    out, err = worker.communicate()
    assert worker.returncode == 2
    assert out == ""
    assert err.count("maxmargin: error: ") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("source", "limit", "says"),
    [
        ("import time\n        while Opt.calls > 20: time.sleep(1)", ("--step-timeout", "3"), "step .* more than 3 s"),
        ("while Opt.calls > 20: pass", ("--step-timeout", "3"), r"in step \d+ of an instance .step 21 of all"),
        (
            "Opt.kept = [*getattr(Opt, 'kept', []), torch.ones(5_000_000)] if Opt.calls > 20 else []",
            ("--memory-limit", "1.5"),
            "more than the limit of 1.5 GiB, while the optimizer was in step",
        ),
        ("import os; os._exit(0) if Opt.calls > 20 else None", (), r"in step \d+ of .* as os._exit\(0\) does"),
    ],
    ids=["asleep", "busy", "memory", "left"],
)
def test_what_an_optimizer_did_is_named(maxmargin, tmp_path, source, limit, says):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch)}
    worker = maxmargin("check", "mine.py:Opt", "--problem", "blocks", *limit, source=source, env=environment)
    out, err = worker.communicate()
    assert worker.returncode == 2
    assert out == ""
    assert re.search(says, err), err
    assert not list(scratch.iterdir())


def test_what_an_optimizer_sets_is_said_and_changes_no_digit(maxmargin):
    argv = ("check", "mine.py:Opt", "--problem", "blocks", "--json", "-", "--quiet")
    plain = json.loads(maxmargin(*argv).communicate()[0])
    source = "import numpy, os; torch.set_num_threads(3); numpy.seterr(all='raise'); os.chdir('/')"
    found = json.loads(maxmargin(*argv, source=source).communicate()[0])
    assert found["problems"][0]["evidence"] == plain["problems"][0]["evidence"]
    assert "It changes numpy's errors, the current folder, torch's threads for its" in found["reasons"][-1]
    assert [f["kind"] for f in found["findings"]].count("global state") == 1


@pytest.mark.parametrize(
    ("source", "named"),
    [("os.kill(os.getpid(), 11)", "SIGSEGV"), ("os.killpg(0, 9)", "SIGKILL"), ("os.kill(0, 9)", "SIGKILL")],
    ids=["crash", "killpg", "kill"],
)
def test_a_signal_from_the_optimizer_is_a_fault_and_no_verdict(maxmargin, source, named):
    worker = maxmargin("check", "mine.py:Opt", "--problem", "blocks", source=f"import os; {source}")
    _, err = worker.communicate()
    assert worker.returncode == 70
    assert named in err


def test_a_stopped_program_stops_its_worker_and_goes_on(maxmargin):
    program = maxmargin("check", "mine.py:Opt", "--problem", "blocks", source="import time; time.sleep(0.01)")
    time.sleep(3)
    worker = int(Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()[0])

    def state(pid):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    program.send_signal(signal.SIGTSTP)
    time.sleep(1)
    assert [state(program.pid), state(worker)] == ["T", "T"]
    program.send_signal(signal.SIGCONT)
    time.sleep(1)
    assert [state(program.pid), state(worker)] != ["T", "T"]
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=30)
    assert program.returncode == 143


def test_standard_output_carries_json_alone(maxmargin):
    noise = "print('noise'); import os; os.write(1, b'noise'); os.system('echo noise')"
    worker = maxmargin("check", "mine.py:Opt", "--problem", "blocks", "--json", "-", "--quiet", source=noise)
    out, err = worker.communicate()
    assert worker.returncode in (0, 1, 3), err
    assert json.loads(out)["target"] == "mine.py:Opt"
    assert "noise" in err


def test_a_forked_copy_says_nothing(maxmargin):
    worker = maxmargin(
        "check", "mine.py:Opt", "--problem", "blocks", "--json", "-", "--quiet",
        source="import os; (os.fork() if Opt.calls == 30 else None)",
    )  # fmt: skip
    out, _ = worker.communicate()
    assert json.loads(out)["schema"] == 1


@pytest.mark.parametrize("closed", [1, 2])
@pytest.mark.parametrize(("argv", "status"), [(["list", "norms"], 0), (["list", "norms", "--json", "/x/y"], 2)])
def test_a_closed_stream_changes_no_status(maxmargin, closed, argv, status):
    worker = maxmargin(*argv, preexec_fn=lambda: os.close(closed))
    worker.communicate()
    assert worker.returncode == status


def test_a_broken_installation_is_a_fault(maxmargin, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('broken')")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    worker = maxmargin("list", "norms", env=os.environ | {"PYTHONPATH": paths})
    _, err = worker.communicate()
    assert worker.returncode == 70
    assert "not a verdict" in err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_words(maxmargin, number, status):
    worker = maxmargin("check", "mine.py:Opt", source="import time; time.sleep(0.2)")
    time.sleep(6)
    worker.send_signal(number)
    _, err = worker.communicate(timeout=30)
    assert worker.returncode == status
    assert "Nothing was stored" in err
    assert "Traceback" not in err


def test_a_signal_that_a_library_swallows_is_sent_again(maxmargin):
    swallow = """
import time, builtins
if not hasattr(builtins, "swallowed"):
    builtins.swallowed = True
    try:
        time.sleep(60)
    except BaseException:
        pass
time.sleep(0.2)"""
    worker = maxmargin("check", "mine.py:Opt", source=f"exec({swallow!r})")
    time.sleep(12)
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == 143
    assert "Nothing was stored" in err


def test_the_worker_does_not_outlive_its_parent(maxmargin, tmp_path):
    source = f"import time, os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(0.2)"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    worker = maxmargin("check", "mine.py:Opt", source=source, env=os.environ | {"TMPDIR": str(scratch)})
    mark = tmp_path / "pid"
    for _ in range(3000):  # a loaded machine takes its time to import torch
        time.sleep(0.1)
        if mark.is_file() and mark.read_text():
            break
    pid = int(mark.read_text())
    worker.kill()
    for _ in range(100):
        time.sleep(0.1)
        if not _runs(pid):
            assert not list(scratch.iterdir())
            return
    pytest.fail(f"process {pid} still runs")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ------------------------------------------------------------------------------------------------- where JSON goes


def test_json_is_written_through_a_link_a_pipe_and_a_device(maxmargin, tmp_path):
    argv = ("list", "norms", "--quiet", "--json")
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    assert maxmargin(*argv, "link.json").wait() == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["schema"] == 1
    assert maxmargin(*argv, "/dev/null").wait() == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True) as reader:
        assert maxmargin(*argv, "pipe").wait() == 0
        assert json.loads(reader.communicate()[0])["schema"] == 1


def test_files_are_as_private_as_the_umask_says(maxmargin, tmp_path):
    assert maxmargin("list", "norms", "--quiet", "--json", "out.json", preexec_fn=lambda: os.umask(0o077)).wait() == 0
    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == 0o600
