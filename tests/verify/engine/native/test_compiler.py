"""Compiled code on disk: found again, never half written, and not needed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from maxmargin.verify.engine.native import compiler
from maxmargin.verify.engine.native.function import compiled

X = torch.arange(5, dtype=torch.float64)


@pytest.fixture
def home(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.INFO, compiler.__name__)
    return tmp_path / "maxmargin" / "native"


def _double():
    return compiled(lambda x: x * 2 + 1, X.clone())


def _compilations(caplog):
    return sum(r.getMessage().startswith("compiled ") for r in caplog.records)


def test_what_was_compiled_is_found_again(home, caplog):
    for _ in range(3):
        assert torch.equal(_double()(X), X * 2 + 1)
    assert _compilations(caplog) == 1
    assert len(list(home.iterdir())) == 1
    compiled(lambda x: x * 3 + 1, X.clone())
    compiled(lambda x: x * 2 + 1, X[:4].clone())
    assert _compilations(caplog) == 3


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-7], lambda b: b[:20], lambda b: b"", lambda b: b[:60] + b"?" + b[61:]]
)
def test_a_damaged_file_is_compiled_anew(home, caplog, damage):
    _double()
    (file,) = home.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert torch.equal(_double()(X), X * 2 + 1)
    assert _compilations(caplog) == 2
    _double()
    assert _compilations(caplog) == 2  # it was mended


def test_whole_files_of_something_else_are_compiled_anew(home, caplog):
    """The hash of what is in the file is right, but it is no object code."""
    _double()
    (file,) = home.iterdir()
    compiler._write(file, b"no code")
    assert torch.equal(_double()(X), X * 2 + 1)
    assert _compilations(caplog) == 2


def test_other_versions_and_processors_have_files_of_their_own(home, caplog, monkeypatch):
    _double()
    machine, jit, words = compiler._machine()
    monkeypatch.setattr(compiler, "_machine", lambda: (machine, jit, words + " llvmlite 99"))
    _double()
    assert _compilations(caplog) == 2
    assert len(list(home.iterdir())) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_costs_nothing_but_time(home, caplog):
    home.mkdir(parents=True)
    home.chmod(0o500)
    assert torch.equal(_double()(X), X * 2 + 1)
    assert torch.equal(_double()(X), X * 2 + 1)
    assert _compilations(caplog) == 2
    home.chmod(0o700)


def test_a_file_in_the_way_of_the_folder_costs_nothing_but_time(home, caplog):
    home.parent.parent.mkdir(exist_ok=True)
    home.parent.write_text("not a folder")
    assert torch.equal(_double()(X), X * 2 + 1)
    assert _compilations(caplog) == 1


@pytest.mark.parametrize("cache", ["", "relative/path"])
def test_without_a_home_nothing_is_written(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where neither HOME nor the user is known
    monkeypatch.chdir(tmp_path)
    assert torch.equal(_double()(X), X * 2 + 1)
    assert not list(tmp_path.iterdir())


WRITER = """
import torch
from maxmargin.verify.engine.native.function import compiled
x = torch.arange(5, dtype=torch.float64)
assert torch.equal(compiled(lambda x: x * 2 + 1, x.clone())(x), x * 2 + 1)
"""


def test_processes_that_write_at_once_leave_one_whole_file(home):
    env = dict(os.environ)
    running = [subprocess.Popen([sys.executable, "-c", WRITER], env=env) for _ in range(3)]
    assert [p.wait(120) for p in running] == [0, 0, 0]
    (file,) = home.iterdir()  # and no temporary one
    assert compiler._read(file) is not None
    assert not list(Path(home).glob(".*"))


def test_threads_that_compile_at_once(home, caplog):
    found, threads = [], []
    for i in range(4):
        threads.append(threading.Thread(target=lambda i=i: found.append((i, compiled(lambda x: x * i, X.clone())))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for i, function in found:
        assert torch.equal(function(X), X * i)
