"""Progress across processes: shares add to the count of the finished, and nothing is left behind."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import pytest
from joblib import Parallel, delayed

from maxmargin.verify.progress import joint as module
from maxmargin.verify.progress.joint import JointProgress, StepFile

Said = list[tuple[float, float, str]]


@pytest.fixture
def said() -> Said:
    return []


def _into(said: Said):
    return lambda done, total, text="": said.append((done, total, text))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.02)


def test_steps_of_other_processes_arrive_as_shares_that_rise(said: Said, hasty: None) -> None:
    def work(file: StepFile, steps: int) -> int:  # in here, so that it travels whole
        for done in range(0, steps + 1, steps // 8):
            file(done, steps)
            time.sleep(0.4)
        return os.getpid()

    with JointProgress(_into(said)) as joint:
        joint(1, 3, "one was finished before")
        files = [joint.elsewhere(name) for name in ("slow", "quick")]
        pool = Parallel(n_jobs=2, return_as="generator")
        found = pool(delayed(work)(p, s) for p, s in zip(files, (8, 80), strict=True))
        for done, (name, process) in enumerate(zip(("slow", "quick"), found, strict=True), start=2):
            assert process != os.getpid()
            joint.finished(name)
            joint(done, 3, name)
        folder = files[0].path.parent
    counts = [count for count, _, _ in said]
    assert counts[0] == 1
    assert counts[-1] == 3
    assert any(1 < count < 3 and count != round(count) for count in counts)
    assert counts == sorted(counts)
    assert max(counts) <= 3
    assert any("slow: step" in text and "of 8" in text for _, _, text in said)
    assert any("quick: step" in text and "of 80" in text for _, _, text in said)
    assert not folder.exists()


def test_a_longer_run_after_a_short_one_does_not_pass_for_done(said: Said) -> None:
    with JointProgress(_into(said)) as joint:
        joint(0, 2)
        joint.share("job", 1.0)
        joint.share("job", 0.1, "nothing was decided, a longer run begins")
    assert [count for count, _, _ in said] == [0, 1.0, 0.1]


def test_a_finished_job_is_not_counted_twice(said: Said, hasty: None) -> None:
    with JointProgress(_into(said)) as joint:
        joint(0, 2)
        file = joint.elsewhere("job")
        joint.share("job", 1.0)
        joint.finished("job")
        joint(1, 2, "job")
        file(5, 10)  # a last word that comes too late
        time.sleep(0.2)
    assert said[-1] == (1, 2, "job")


def test_a_half_written_record_is_passed_over(said: Said, hasty: None) -> None:
    with JointProgress(_into(said)) as joint:
        joint(0, 1)
        file = joint.elsewhere("job")
        file.path.write_bytes(b"\x01\x02")
        time.sleep(0.1)
        assert joint._thread is not None
        assert joint._thread.is_alive()


def test_a_step_file_travels_and_writes_at_most_now_and_then(tmp_path: Path) -> None:
    file = pickle.loads(pickle.dumps(StepFile(tmp_path / "0")))
    file(8, 100)
    written = file.path.read_bytes()
    file(16, 100)  # a moment later
    assert file.path.read_bytes() == written


def test_a_step_file_that_cannot_write_ends_no_run(tmp_path: Path) -> None:
    StepFile(tmp_path / "gone" / "0")(8, 100)


def test_the_folder_goes_and_the_thread_ends_on_an_exception(hasty: None) -> None:
    joint = JointProgress(lambda *_: None)

    def interrupted() -> None:
        with joint:
            joint.elsewhere("job")(1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert joint._folder is not None
    assert not Path(joint._folder.name).exists()
    assert joint._thread is not None
    assert not joint._thread.is_alive()
