"""Backends: the same results wherever work is done, and each piece once, whatever happens to a worker."""

import os
import signal
import threading
import time
import warnings

import pytest

from maxmargin.verify.running.cell import Cell, row_of
from maxmargin.verify.running.spread import Backend, BackendError

WORK = """
import os, time
from pathlib import Path
def mark(i, folder):
    Path(folder, f"{i}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.4)
    return i
def wait(i):
    time.sleep(0.1)
    return i
def leave(i, folder):
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("loki",), "unknown backend"),
        (("dask",), "needs --scheduler"),
        (("loky", "tcp://here:1"), "is for --backend dask"),
    ],
)
def test_what_cannot_be_is_refused(given, says):
    with pytest.raises(BackendError, match=says):
        Backend(*given)


def test_black_boxes_share_no_process():
    with pytest.raises(BackendError, match="take loky or dask"):
        Backend("threads", workers=2).of(native=False)


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / "spread_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    import spread_work
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)  # workers of an earlier test could not import it
    (tmp_path / "marks").mkdir()
    return spread_work


def test_a_process_that_ends_is_no_result(work, tmp_path):
    items = [(str(i), (i, str(tmp_path))) for i in range(2)]
    with pytest.raises(BackendError, match=r"ended.*without a result, as os._exit"):
        list(Backend("loky", workers=2).spread(work.leave, items, native=False))


def test_a_worker_that_leaves_is_replaced_where_warnings_are_errors(work):
    from joblib.externals.loky import get_reusable_executor, reusable_executor

    found = []

    def ask():
        for result in Backend("loky", workers=2).spread(work.wait, [(str(i), (i,)) for i in range(12)], native=False):
            if not found:
                for _ in range(2):
                    reusable_executor._executor._call_queue.put(None)  # as workers end that were idle for long
            found.append(result)

    warnings.simplefilter("error")
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(60)
    assert sorted(found) == list(range(12))
    get_reusable_executor().shutdown(wait=True)


@pytest.fixture
def cluster(work):
    distributed = pytest.importorskip("distributed", reason="an extra: pip install 'maxmargin[cluster]'")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as started:
        yield started


@pytest.mark.filterwarnings("ignore")  # what a cluster says as it ends
def test_a_worker_killed_in_the_middle_loses_nothing_and_repeats_nothing(cluster, work, tmp_path):
    items = [(str(i), (i, str(tmp_path / "marks"))) for i in range(12)]
    found, killed = [], None
    for result in Backend("dask", cluster.scheduler_address).spread(work.mark, items, native=True):
        found.append(result)
        if len(found) == 3:
            killed = cluster.workers[0].pid
            os.kill(killed, signal.SIGKILL)
            time.sleep(0.1)
    assert sorted(found) == list(range(12))
    begun = [mark.name.split("-")[0] for mark in (tmp_path / "marks").iterdir()]
    assert 12 <= len(begun) <= 14  # what was under way there is done again; a result it had not handed over, too


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same_digits(cluster):
    cells = [Cell(o, (), "blocks", 0.2, seed, 300, None) for o in ("ngd", "signum") for seed in (0, 1)]
    items = [(cell.key, (cell,)) for cell in cells]
    far = {row["key"]: row for row in Backend("dask", cluster.scheduler_address).spread(row_of, items, native=True)}
    for cell in cells:
        assert _without_time(far[cell.key]) == _without_time(cell.run())


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler_is_said(work):
    pytest.importorskip("distributed", reason="an extra: pip install 'maxmargin[cluster]'")
    with pytest.raises(BackendError, match="no Dask scheduler answers"):
        list(Backend("dask", "tcp://127.0.0.1:9").spread(work.mark, [("0", (0, "."))], native=True))


def _without_time(row):
    return {name: value for name, value in row.items() if name != "seconds"}
