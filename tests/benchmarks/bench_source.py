"""Which faults in our own source the gate sees: ``python tests/benchmarks/bench_source.py``.

Each mutation of ``source_mutations.py`` changes one token of one file, in a copy of the tree; then that folder's quick
tests are run, the likely killer first, and the theory's properties, until one fails. A finished mutation is a line of
``--rows`` at once, so a run that was broken off goes on where it stopped. In the end every test that saw something is
run in the tree as it is: what fails there has seen nothing, and its rows go. ``--table`` is written from what is left.

Processes are forked from this one, which has imported torch and the other libraries but nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # this folder is no package

import cvxpy  # noqa: F401  (imported before the forks)
import pytest
import scipy.stats  # noqa: F401  (likewise)
import sympy  # noqa: F401  (likewise)
import torch
from source_mutations import MUTATIONS, Mutation, tests_of

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = "0.2"  # of each property's examples in the gate
SECONDS = 300  # of CPU for one file of tests: what takes longer hangs
HEAD = """# Faults in our own source, and the tests that see them

{caught} of {run} changes of one token are caught by the quick tests of their folder or by the theory's
properties{rest}.
Made by `python tests/benchmarks/bench_source.py` from `tests/benchmarks/source_mutations.py`.

| file | was | is | what is wrong | seen by |
|---|---|---|---|---|
"""


class Seen:
    """A pytest plugin: the tests that failed, or the files that could not be imported."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid} (import)")


def forked(work: Callable[[], list[str]], folder: Path) -> list[str]:
    """What ``work`` returns in a process of its own, with ``folder`` as the tree; "hangs" where it does not return."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.chdir(folder)
        sys.path.insert(0, str(folder.parent))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os.write(write, json.dumps(work()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answers:
        said = answers.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else ["hangs, or ends the process"]


def failures(folder: Path, tests: Sequence[str], *options: str) -> list[str]:
    """The tests that fail, of files, folders or tests by their ids."""

    def work() -> list[str]:
        os.environ["MAXMARGIN_EXAMPLES"] = EXAMPLES
        seen = Seen()
        status = pytest.main(["-q", "-p", "no:cacheprovider", *options, *tests], plugins=[seen])
        return seen.failed or ([] if status in (0, 5) else [f"{tests[0]} (status {int(status)})"])  # 5: no such test

    return forked(work, folder)


def copied(to: Path) -> Path:
    """The tracked files, in a folder that is called as the package is."""
    tree = to / "maxmargin"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    return tree


def mutated(mutation: Mutation, tree: Path) -> str:
    """The file's text before; the changed one is written.

    Raises:
        ValueError: the old text is not there exactly once.
    """
    path = tree / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file}: {mutation.old!r} is there {text.count(mutation.old)} times, needed is once")
    path.write_text(text.replace(mutation.old, mutation.new))
    return text


def examine(mutation: Mutation, tree: Path) -> dict[str, Any]:
    """Whether a mutation is seen, and by what."""
    began = time.perf_counter()
    caught = None
    for tests in tests_of(mutation):
        before = mutated(mutation, tree)
        drop_compiled(mutation, tree)
        found = failures(tree, shlex.split(tests), "-x")
        (tree / mutation.file).write_text(before)
        drop_compiled(mutation, tree)
        if found:
            caught = found[0]
            break
    return {**key_of(mutation), "caught": caught, "seconds": round(time.perf_counter() - began, 1)}


def drop_compiled(mutation: Mutation, tree: Path) -> None:
    """Forget the compiled file: it is told from the source by size and second alone."""
    path = tree / mutation.file
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def key_of(mutation: Mutation) -> dict[str, str]:
    return {name: text for name, text in asdict(mutation).items() if name in ("file", "old", "new")}


def read_rows(path: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """Finished rows; later lines win."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {(row["file"], row["old"], row["new"]): row for row in map(json.loads, lines)}


def confirm(path: Path, tree: Path) -> None:
    """Drop the rows whose test fails in the tree as it is."""
    rows = read_rows(path)
    tests = sorted({row["caught"].split(" (")[0] for row in rows.values() if "::" in (row["caught"] or "")})
    broken = set(failures(tree, tests)) if tests else set()
    print(f"{len(tests)} tests in the tree as it is: {len(broken)} fail", *sorted(broken), flush=True)
    kept = [row for row in rows.values() if (row["caught"] or "").split(" (")[0] not in broken]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))


def table(rows: dict[tuple[str, ...], dict[str, Any]]) -> str:
    """The rows as people read them."""
    run = [(m, rows[tuple(key_of(m).values())]) for m in MUTATIONS if tuple(key_of(m).values()) in rows]
    caught = sum(row["caught"] is not None for _, row in run)
    equal = sum(row["caught"] is None and bool(m.equal) for m, row in run)
    rest = [f"; {equal} more change nothing that a test could see" if equal else ""]
    rest.append(
        f"; {len(MUTATIONS) - len(run)} of {len(MUTATIONS)} have not been run" if len(run) < len(MUTATIONS) else ""
    )
    lines = [HEAD.format(caught=caught, run=len(run), rest="".join(rest))]
    for mutation, row in run:
        seen = (
            f"`{row['caught'].removeprefix('tests/')}`"
            if row["caught"]
            else f"nothing: {mutation.equal or 'a gap in the tests'}"
        )
        old, new = (f"``{' '.join(text.split())}``".replace("|", "\\|") for text in (mutation.old, mutation.new))
        lines.append(f"| {mutation.file} | {old} | {new} | {mutation.why} | {seen.replace('|', chr(92) + '|')} |\n")
    return "".join(lines)


def interleaved(mutations: Sequence[Mutation]) -> list[Mutation]:
    """One of each file in turn, so that a part of them is a part of every file's."""
    files: dict[str, list[Mutation]] = {}
    for mutation in mutations:
        files.setdefault(mutation.file, []).append(mutation)
    return [m for turn in zip_longest(*files.values()) for m in turn if m is not None]


def main() -> None:
    """Examine what has not been examined, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROOT / "reports" / "source_mutants.jsonl")
    parser.add_argument("--table", type=Path, default=ROOT / "reports" / "source_mutants.md")
    parser.add_argument("--only", nargs="*", default=[""], help="files whose name has one of these in it")
    parser.add_argument("--again", action="store_true", help="examine those once more that nothing saw")
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = read_rows(options.rows)
    todo = [m for m in interleaved(MUTATIONS) if any(part in m.file for part in options.only)]
    todo = [
        m for m in todo if (row := done.get(tuple(key_of(m).values()))) is None or (options.again and not row["caught"])
    ]
    with tempfile.TemporaryDirectory() as folder, options.rows.open("a") as rows:
        tree = copied(Path(folder))
        for i, mutation in enumerate(todo):
            row = examine(mutation, tree)
            print(json.dumps(row, ensure_ascii=False), file=rows, flush=True)
            print(
                f"{i + 1}/{len(todo)} {mutation.file}: {mutation.why}: {row['caught']}, {row['seconds']} s", flush=True
            )
            options.table.write_text(table(read_rows(options.rows)))
        confirm(options.rows, tree)
    options.table.write_text(table(read_rows(options.rows)))


if __name__ == "__main__":
    main()
