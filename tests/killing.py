"""Kill -9 at random moments, inside writes too, then go on: ``python tests/killing.py --moments 50``.

Each trial is a campaign and a sweep in a process that is killed: after a random time, or at a random one of its calls
of open, fsync and replace, half of them with the file cut short. It is then run again, perhaps killed again, and at
last let through. What was stored may not be run again, and what comes out is what an undisturbed run gives.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maxmargin.verify.claims.record import Claim, Plan
from maxmargin.verify.running import campaign, sweeping
from maxmargin.verify.running.job import Job
from maxmargin.verify.running.spread import Backend
from maxmargin.verify.running.sweeping import LINES, Grid, Optimizers, read_rows
from maxmargin.verify.thresholds.judging import CLAIM_LINEAR

STEPS = 20_000
PROBLEMS = ("two-points", "basis", "point")
GRID = Grid(problems=PROBLEMS, optimizer=(Optimizers("ngd"), Optimizers("signum")), steps=STEPS)
ONCE, TIERS = {"quick": 1, "full": 1}, dict.fromkeys(("quick", "full"), STEPS)
PLANS = tuple(Plan(problem, TIERS, CLAIM_LINEAR, ONCE, 0.01) for problem in PROBLEMS)
CLAIMS = (Claim("a", "ngd", "l2", "", "", PLANS), Claim("b", "signum", "linf", "", "", PLANS))


def verified(folder: Path, workers: int) -> Any:
    """A small campaign; its results without times."""
    campaign.verify(["a", "b"], jobs=workers, out=folder, resume=True)
    return _timeless(json.loads((folder / "results.json").read_text()))


def swept(folder: Path, workers: int) -> Any:
    """A small sweep; its rows without times."""
    return _timeless(sweeping.sweep(GRID, folder, backend=Backend(workers=workers)))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in ("seconds", "origin")}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def stored(folder: Path) -> set[str]:
    """What is kept there, by its name in the log of what was begun."""
    kept = {f"{row['optimizer']} on {row['problem']}" for row in read_rows(folder / LINES).values()}
    return kept | {path.stem for path in (folder / "jobs").glob("*.json")}


def child(work: Callable[[Path, int], Any], folder: Path, workers: int, rng: random.Random, at: float | None) -> int:
    """Run it in a process that is killed ``at`` a share of its time, inside a write for None, or never for 1.

    Returns:
        The signal that ended it; 0 for none.
    """
    calls = rng.randrange(1, 60)
    cut = rng.random() < 0.5
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if at is None:
                _dies_inside_a_write(calls, cut)
            (folder / "out").write_text(json.dumps(work(folder, workers), sort_keys=True))
            status = 0
        finally:
            os._exit(status)
    if at is not None and at < 1:
        time.sleep(at * TAKES[work])
        os.kill(pid, signal.SIGKILL)
    _, ended = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, f"it ended with status {os.WEXITSTATUS(ended)}"
    return os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0


TAKES: dict[Callable[[Path, int], Any], float] = {}


def _dies_inside_a_write(calls: int, cut: bool) -> None:
    left = [calls]

    def counted(name: str) -> None:
        plain = getattr(os, name)

        def call(*given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                if cut and name == "fsync":
                    os.ftruncate(given[0], os.fstat(given[0]).st_size * 2 // 3)
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*given, **named)

        setattr(os, name, call)

    for name in ("open", "fsync", "replace"):
        counted(name)


def main() -> int:
    """Run the trials.

    Returns:
        0 if nothing was lost and nothing done twice.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    campaign.select = lambda _: CLAIMS
    begun: list[Path] = []
    run = Job.run

    def logged(self: Job, progress: Any = None) -> Any:
        with (begun[-1] / "begun").open("a") as file:
            file.write(f"{self.name}\n")
        return run(self, progress)

    Job.run = logged
    rng, kills, inside, again = random.Random(options.seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        truth = {}
        for work in (verified, swept):
            folder = Path(scratch, work.__name__)
            folder.mkdir()
            begun.append(folder)
            child(work, folder, 1, rng, 1.0)  # once for what is compiled and kept on disk
            started = time.monotonic()
            for file in folder.rglob("*"):
                if file.is_file():
                    file.unlink()
            child(work, folder, 1, rng, 1.0)
            TAKES[work], truth[work] = time.monotonic() - started, (folder / "out").read_text()
        trial = 0
        while kills < options.moments:
            trial += 1
            work, workers = (verified, swept)[trial % 2], 1 + trial // 2 % 2
            folder = Path(scratch, str(trial))
            folder.mkdir()
            begun.append(folder)
            for _ in range(rng.choice((1, 1, 2))):
                at = rng.choice((None, rng.random()))
                killed = child(work, folder, workers, rng, at) == signal.SIGKILL
                kills += killed
                inside += killed and at is None
                kept = stored(folder)
                (folder / "begun").unlink(missing_ok=True)
            child(work, folder, workers, rng, 1.0)
            names = (folder / "begun").read_text().splitlines() if (folder / "begun").exists() else []
            file_names = {name.replace(" on ", "--") for name in names} | set(names)
            again += len(file_names & kept)
            assert (folder / "out").read_text() == truth[work], f"trial {trial}: another result"
            left = [path.name for path in folder.rglob(".*") if path.name != ".lock"]
            assert not left, f"trial {trial}: left behind are {left}"
    found = {"killed": kills, "inside writes": inside, "trials": trial, "lost or changed": 0, "done twice": again}
    print(json.dumps(found))
    return 0 if again == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
