"""Where a result comes from: file, commit and command, as git and hashlib of another road say."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maxmargin.verify.results.origin import COMMAND, Origin


def git(folder: Path, *command: str) -> str:
    who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(folder), *command], env=os.environ | who, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "mine.py").write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("env/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_file_has_its_hash_its_commit_and_whether_it_differs(repository: Path) -> None:
    file = repository / "mine.py"
    found = Origin.now(file)
    shell = subprocess.run(["sha256sum", file], check=True, capture_output=True, text=True).stdout.split()[0]
    assert (found.file, found.sha256) == ("mine.py", shell)
    assert (found.commit, found.changed) == (git(repository, "rev-parse", "HEAD"), False)
    file.write_text("x = 2\n")
    assert Origin.now(file).changed is True
    (repository / "new.py").write_text("")
    assert Origin.now(repository / "new.py").changed is True, "what git does not keep is not at that commit"


def test_an_installed_file_has_no_commit(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (repository / "env").mkdir()
    ignored = repository / "env" / "lib.py"
    ignored.write_text("")
    outside = tmp_path_factory.mktemp("outside") / "a.py"
    outside.write_text("")
    for file in (ignored, outside):
        assert (Origin.now(file).commit, Origin.now(file).changed) == (None, None)


def test_without_git_or_the_file_what_is_known_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = Origin.now(tmp_path / "gone.py")
    assert (found.file, found.sha256, found.commit) == ("gone.py", None, None)


def test_the_command_and_the_time_are_those_of_now() -> None:
    ours = COMMAND.get()
    token = COMMAND.set("maxmargin check x")
    before = datetime.now(UTC).replace(microsecond=0)
    found = Origin.now()
    COMMAND.reset(token)
    assert found.command == "maxmargin check x"
    assert before <= datetime.fromisoformat(found.date) <= datetime.now(UTC)
    assert Origin.now().command == ours
