"""Each way that was once found to a traceback, a wrong status or a silent change: now a result, or one message."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from maxmargin.verify.cli.entry import main

X = np.array([[1.0, 0.5], [0.5, 1.0], [-1.0, -0.5], [-0.5, -2.0]])
Y = np.array([1, 1, 0, 0])
FILES = {
    "features.npz": (X * [1e300, 1e-300], Y),
    "features-mild.npz": (X * [1e8, 1e-8], Y),
    "rows.npz": (X * np.array([1e300, 1e-300, 1, 1])[:, None], Y),
    "classes.npz": (np.eye(8), np.arange(8)),
    "inf.npz": (X * np.inf, Y),
    "float-labels.npz": (X, Y + 0.5),
}
SOLVE = ("solve", "--quiet", "--norm")
CASES = [
    *((f"solve --problem {file} --norm {norm}").split() for file in FILES for norm in ("l2", "linf")),
    *([*SOLVE, norm, "--problem", "blocks"] for norm in ("blocks:*=1e308*l2", "blocks:*=1e-308*l2", "maxrow;1e5")),
    *([*SOLVE, norm, "--problem", "two-points"] for norm in ("schatten:1e308", "l2;1e308", "entrywise:1.0000001")),
    *([*SOLVE, many * 2000 + "l2", "--problem", "basis"] for many in ("dual:", "blocks:*=", "l2;")),
    [*SOLVE, "l2", "--problem", "basis", "--seed", "9" * 30],
    [*SOLVE, "l2", "--problem", "basis", "--starts", "9" * 30],
    [*SOLVE, "l2", "--problem", "bas\x00is"],
    [*SOLVE, "l\x002", "--problem", "basis"],
    [*SOLVE, "l2", "--problem", "a\x00b.npz"],
    ["list", "norms", "--quiet", "--json", "a\x00b"],
    ["verify", "ngd-l2", "--out", "a\x00b"],
    ["check", "signum", "--html", "a\x00b"],
    ["check", "a\x00b.py:Opt"],
    ["check", "a\x00b:Opt"],
    ["report", "a\x00b"],
    ["sweep", "a\x00b.toml"],
    ["list", "norms", "--plugin", "a\x00b.py"],
    ["list", "norms", "--quiet", "--json", "/dev/full"],
]


@pytest.mark.parametrize("argv", CASES, ids=[" ".join(argv)[:60].replace("\x00", "NUL") for argv in CASES])
@pytest.mark.filterwarnings("ignore")  # of numpy, for such numbers
def test_it_is_a_result_or_one_message(argv, tmp_path, monkeypatch, capfd):
    for name, (inputs, labels) in FILES.items():
        np.savez(tmp_path / name, X=inputs, y=labels)
    monkeypatch.chdir(tmp_path)
    status = main(argv)
    err = capfd.readouterr().err
    assert status in (0, 2, 3), err
    assert "Traceback" not in err
    assert (status == 0) == ("maxmargin: error:" not in err)


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="a name of a pipe, as >(jq .) gives")
def test_json_goes_into_the_shells_pipe():
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "maxmargin.verify", "list", "norms", "--quiet", "--json", f"/dev/fd/{writing}"]
    with subprocess.Popen(command, pass_fds=(writing,), stdout=subprocess.DEVNULL) as process:
        os.close(writing)
        with os.fdopen(reading) as stream:
            assert json.load(stream)["kind"] == "norms"
    assert process.returncode == 0
