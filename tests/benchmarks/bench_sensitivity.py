"""Which verdicts hang on a threshold: each is moved by a factor of two either way, over the tables' optimizers.

    python tests/benchmarks/bench_sensitivity.py [--table mutants] [--only part] [--threshold PLATEAU] [--again-rows 12]

Writes reports/sensitivity.md: threshold, factor, and each verdict that changes. What a threshold can change is read off
the code, by where its name is used:

- "judge" (judging, results, running): runs, exams and evidence are taken from the store; a row costs milliseconds.
- "measure" (evidence): runs and exams from the store, the evidence anew: about a second a row.
- "exam" (laboratory, adapter): the exam anew; a run is made again only where it would be another one. On every row that
  is a multiple of ``--every`` only.
- "train" (training): everything anew, on the same rows.

A row's runs, exams and laboratory are recorded once, in ``--store``, by a check with the thresholds as they are. Each
threshold is varied in a process of its own, before the modules that use it are imported. Finished pairs of a threshold
and a row are kept (``--rows``), so an interrupted run goes on where it stopped. Fractions above a half and below 1
(an alignment) are moved by their distance from 1; what is not a number (a set of sizes) is left out.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
LEVELS = ("train", "exam", "measure", "judge")  # the first that uses a threshold says what has to be done anew
FOLDER_LEVELS = {"training": "train", "engine": "train", "lab": "exam", "blackbox": "exam", "evidence": "measure"}
FACTORS = (0.5, 2.0)


@dataclass(frozen=True)
class Row:
    """One check of a table; ``paths`` are the folders that its optimizer is imported from."""

    table: str
    name: str
    target: str
    kwargs: dict[str, Any]
    claim: str | None
    problems: tuple[str, ...] | None
    paths: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Of its record."""
        return re.sub(r"\W+", "-", f"{self.table} {self.name}").strip("-") + ".pickle"


# -- What is varied ------------------------------------------------------------------------------------------------


def other(value: Any, factor: float) -> Any:
    """A threshold, moved; the same object where it is not a number.

    >>> other(0.02, 2.0), other(0.95, 2.0), other(4, 0.5), other({"quick": 8}, 2.0), other((3, 4), 2.0)
    (0.04, 0.8999999999999999, 2, {'quick': 16}, (3, 4))
    """
    if isinstance(value, dict):
        return {key: other(v, factor) for key, v in value.items()}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if isinstance(value, int):
        return max(1, round(value * factor))
    return 1 - (1 - value) * factor if 0.5 < value < 1 else value * factor


def moved(name: str, value: Any, part: str, factor: float) -> Any:
    """The value of a threshold, one of the fields of its bounds moved if ``part`` names one."""
    from dataclasses import is_dataclass, replace

    if isinstance(value, dict) and part:
        return {key: moved(name, v, part, factor) for key, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part: other(getattr(value, part), factor)})
    return other(value, factor)


def patch(variation: str) -> None:
    """Move one threshold, ``NAME`` or ``NAME.field``, before anything imports it."""
    from maxmargin.verify.thresholds import table

    assert not table.THRESHOLDS, "thresholds are entered already"
    key, _, factor = variation.rpartition("*")
    name, _, part = key.partition(".")
    enter = table.named

    def named(entered: str, value: Any, *texts: str) -> Any:
        return enter(entered, moved(name, value, part, float(factor)) if entered == name else value, *texts)

    table.named = named


def variations() -> dict[str, str]:
    """Every threshold that is a number, fields of bounds apart, and its level."""
    from dataclasses import fields, is_dataclass

    from maxmargin.verify.thresholds.table import THRESHOLDS, tables

    tables()
    found = {}
    for name, row in THRESHOLDS.items():
        one = next(iter(row.value.values())) if isinstance(row.value, dict) else row.value
        keys = [f"{name}.{f.name}" for f in fields(one)] if is_dataclass(one) else [name]
        if is_dataclass(one) or other(row.value, 2.0) != row.value:
            found |= {key: level_of(name) for key in keys}
    return found


def level_of(name: str) -> str:
    """What has to be done anew where a threshold is moved: by the folders whose modules import it."""
    return next(level for level in LEVELS if level in _users().get(name, set()) | {"judge"})


@functools.cache
def _users() -> dict[str, set[str]]:
    """Levels by the names that modules import from the thresholds."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "verify").rglob("*.py"):
        folder = path.relative_to(ROOT / "verify").parts[0]
        imports = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom))
        for name in (a.name for n in imports if ".thresholds." in (n.module or "") for a in n.names):
            if folder != "thresholds":
                found.setdefault(name, set()).add(FOLDER_LEVELS.get(folder, "judge"))
    return found


# -- What it is tried on -------------------------------------------------------------------------------------------


def script(name: str) -> Any:
    """Another benchmark; its folder is no package."""
    spec = importlib.util.spec_from_file_location(f"maxmargin_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Every check of the tables."""
    mutants = script("bench_mutants")
    for row in mutants.described(mutants.rows_of()):
        first = mutants.FIRST if row["broken"] else None
        yield Row("mutants", row["name"], row["target"], row["kwargs"], row["claim"] if row["told"] else None, first)
    for row in script("bench_third_party").ROWS:
        if row.installed:
            yield Row("third party", row.key, row.spec, row.kwargs, None, None)
    if options.cache is not None:
        history = script("bench_history")
        for case in history.CASES:
            for version in (case.broken, case.fixed):
                paths = tuple(str(p) for p in history.folders(case, version, options.cache))
                name = f"{case.name} {case.instrument} {version}"
                yield Row("history", name, case.target, dict(case.kwargs), case.claim, ("blocks",), paths)


# -- A check, recorded and replayed --------------------------------------------------------------------------------


def verdict_of(row: Row) -> str:
    """The verdict in a few words."""
    from maxmargin.verify.running.checking import check

    found = check(row.target, kwargs=row.kwargs, claim=row.claim, problems=row.problems)
    return f"{getattr(found, 'answer', None) or found.outcome.value}, {found.norm}"


def remembering(known: dict[tuple[str, Any, str], Any] | None) -> dict[tuple[str, Any, str], Any]:
    """Solve how far apart the norms' optima are once a problem, norm and measurement: most of what judging costs.

    Returns:
        What was ``known``, and what will be solved.
    """
    from maxmargin.verify.running import job

    apart, solved = job.with_apartness, dict(known or {})

    def remembered(problem: Any, trajectory: Any, found: Any, claim: Any, norms: Any = None) -> Any:
        key = problem.name, claim, repr(found.norms)
        if key not in solved:
            solved[key] = apart(problem, trajectory, found, claim, norms)
        return solved[key]

    job.with_apartness = remembered
    return solved


@contextmanager
def remembering_laboratory() -> Iterator[None]:
    """What a laboratory finds by stepping is kept with it, and with the laboratories of its regimes."""
    from maxmargin.verify.lab.examine import Laboratory

    def remembering_it(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def asked(self: Any, *given: Any) -> Any:
            known = vars(self).setdefault("_remembered", {})
            key = name, repr([getattr(g, "units", g) for g in given])
            if key not in known:
                known[key] = method(self, *given)
            return known[key]

        return asked

    plain = {name: getattr(Laboratory, name) for name in ("regimes", "within", "examine")}
    for name, method in plain.items():
        setattr(Laboratory, name, remembering_it(name, method))
    try:
        yield
    finally:
        for name, method in plain.items():
            setattr(Laboratory, name, method)


def record(row: Row, store: Path) -> None:
    """Check a row with the thresholds as they are, and keep what replaying it needs."""
    from maxmargin.verify.running import checking, job

    kept: dict[str, Any] = {"runs": []}
    before = checking.Laboratory, checking.run_all, checking._left
    apart, kept["apart"] = job.with_apartness, remembering(None)

    def laboratory(*given: Any) -> Any:
        kept["laboratory"] = before[0](*given)
        return kept["laboratory"]

    def recorded(jobs: Sequence[Any], *given: Any) -> Iterator[Any]:
        plans = {one.name: _plan(one) for one in jobs}
        for name, found in before[1](jobs, *given):
            kept["runs"].append((name, plans[name], found))
            yield name, found

    def left(*given: Any) -> Any:
        kept["left"] = before[2](*given)
        return kept["left"]

    checking.Laboratory, checking.run_all, checking._left = laboratory, recorded, left
    try:
        with remembering_laboratory():
            kept["verdict"] = verdict_of(row)
    finally:
        (checking.Laboratory, checking.run_all, checking._left), job.with_apartness = before, apart
    fresh = store / f".{row.file}"
    fresh.write_bytes(pickle.dumps(kept))
    fresh.rename(store / row.file)


def _plan(job: Any) -> str:
    """What a run depends on; two jobs of one plan make the same run."""
    t = job.training
    twin = job.exam.twin.text if job.exam.twin is not None else ""
    return f"{job.exam.problem} {t.steps} {t.runs} {t.scale} {t.pace} {twin}"


def replay(row: Row, level: str, store: Path) -> str:
    """The verdict with the thresholds of this process, as much as possible from the record."""
    from maxmargin.verify.blackbox import targets
    from maxmargin.verify.running import checking
    from maxmargin.verify.running import job as judging

    stepped = level in ("exam", "train")
    if not stepped:  # an optimizer that is not installed will do
        targets._again = lambda spec, kwargs, factory, *more: targets.Target(spec, kwargs, None, _absent, False, *more)
        checking.load = lambda spec, kwargs=None: targets.Target(spec, dict(kwargs or {}), factory=_absent)
        checking.refuse_hopeless = lambda *given: None
    kept = pickle.loads((store / row.file).read_bytes())
    before = checking.Laboratory, checking.run_all, checking._left, judging.with_apartness

    def replayed(
        jobs: Sequence[Any], work: Callable[..., Any], backend: Any, progress: Any, *rest: Any
    ) -> Iterator[Any]:
        stored = {name: (plan, found) for name, plan, found in kept["runs"]}
        for job in jobs:
            plan, found = stored.get(job.name, ("", None))
            if not stepped or plan == _plan(job):
                yield job.name, _measured(job, found, level)
            else:
                yield from before[1]([job], work, backend, progress, *rest)

    if level == "judge":
        remembering(kept["apart"])
    if not stepped:
        checking.Laboratory, checking._left = lambda *given: kept["laboratory"], lambda *given: kept["left"]
    if level != "train":
        checking.run_all = replayed
    try:
        with nullcontext() if stepped else remembering_laboratory():
            return verdict_of(row)
    finally:
        checking.Laboratory, checking.run_all, checking._left, judging.with_apartness = before


def _absent(*given: Any, **named: Any) -> Any:
    raise RuntimeError("a replayed optimizer is not stepped")


def _measured(job: Any, found: Any, level: str) -> Any:
    """A stored run under the job's exam, its evidence measured anew where the exam or a threshold asks for it."""
    from dataclasses import replace

    from maxmargin.verify.evidence.measure import measure

    same = {*job.exam.norms} == {*found.exam.norms}
    if level == "judge" or (level == "exam" and same):
        return replace(found, exam=job.exam)
    evidence = measure(
        found.problem, found.trajectory, job.exam.candidates, claimed=job.exam.claimed, effort=job.effort
    )
    return replace(found, exam=job.exam, evidence=evidence)


# -- The run -------------------------------------------------------------------------------------------------------


def child(task: str) -> None:
    """Do what the parent asks for, one line of JSON a row."""
    given = json.loads(task)
    if given["variation"]:
        patch(given["variation"])
    os.chdir(ROOT)
    store = Path(given["store"])
    for fields in given["rows"]:
        row = Row(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
        row.kwargs.update({k: tuple(v) for k, v in row.kwargs.items() if isinstance(v, list)})  # JSON has no tuples
        try:
            if given["variation"]:
                said = replay(row, given["level"], store)
            else:
                record(row, store)
                said = ""
        except Exception as error:  # a row that cannot be replayed is told, the others go on
            said = f"error, {type(error).__name__}: {error}"
        print(json.dumps({"row": row.file, "variation": given["variation"], "said": said}), flush=True)


def ask(variation: str, level: str, chosen: Sequence[Row], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows done in a process of its own; those of one set of folders together, if they have to be stepped."""
    stepped = not variation or level in ("exam", "train")
    for paths in dict.fromkeys(row.paths if stepped else () for row in chosen):
        group = [vars(row) for row in chosen if (row.paths if stepped else ()) == paths]
        task = {"variation": variation, "level": level, "store": str(options.store), "rows": group}
        inherited = os.environ.get("PYTHONPATH", "")
        path = os.pathsep.join([*paths, *([inherited] if inherited else [])])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--child", "-"]
        with subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(task))
            process.stdin.close()
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)


def page(done: Mapping[tuple[str, str], str], first: Mapping[str, str], levels: Mapping[str, str]) -> str:
    """The table for people."""
    tried = sorted({variation for variation, _ in done})
    changed = {
        v: [f"{row.removesuffix('.pickle')}: {first[row]} → {said}" for (w, row), said in sorted(done.items())
            if w == v and row in first and said != first[row]] for v in tried
    }  # fmt: skip
    calm = [v for v in tried if not changed[v]]
    out = [
        "# What hangs on a threshold",
        "",
        "Written by `python tests/benchmarks/bench_sensitivity.py`: each threshold moved by a factor of two either "
        + f"way, and each verdict that changes. {len(tried)} variations, {len(first)} checks, {len(done)} pairs; "
        + f"{len(calm)} variations change nothing.",
        "",
        "| threshold | factor | decides | checks | changed |",
        "|---|---|---|---|---|",
    ]
    for v in tried:
        if changed[v]:
            name, _, factor = v.rpartition("*")
            count = sum(w == v for w, _ in done)
            text = "; ".join(changed[v]).replace("|", "\\|").replace("\n", " ")
            out.append(f"| `{name}` | × {float(factor):g} | {levels[name]} | {count} | {len(changed[v])}: {text} |")
    out += ["", f"Nothing changes with: {', '.join(f'`{v}`' for v in calm)}."] if calm else []
    return "\n".join(out) + "\n"


def main() -> None:
    """Record what is missing, replay what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="append", help="mutants, third party, history; may be given again")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--threshold", action="append", help="this one only; may be given again")
    parser.add_argument("--level", action="append", choices=LEVELS, help="these only")
    parser.add_argument("--recorded", action="store_true", help="only checks that are recorded already")
    parser.add_argument("--every", type=int, default=20, help="rows that are examined or trained anew: each so many")
    parser.add_argument("--cache", type=Path, help="of bench_history.py; without it the historical table is left out")
    parser.add_argument("--store", type=Path, default=ROOT / ".sensitivity", help="records")
    parser.add_argument("--rows", type=Path, default=ROOT / "reports" / "sensitivity.jsonl", help="finished pairs")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "sensitivity.md", help="the table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(sys.stdin.read())
        return
    options.store = options.store.resolve()
    options.store.mkdir(parents=True, exist_ok=True)
    chosen = [r for r in rows(options) if options.only in r.name and (not options.table or r.table in options.table)]
    missing = [row for row in chosen if not (options.store / row.file).exists() and not options.recorded]
    for count, found in enumerate(ask("", "train", missing, options), start=1):
        print(f"recorded {count}/{len(missing)} {found['row']} {found['said']}", flush=True)
    chosen = [row for row in chosen if (options.store / row.file).exists()]
    first = {row.file: pickle.loads((options.store / row.file).read_bytes())["verdict"] for row in chosen}
    levels = variations()
    done: dict[tuple[str, str], str] = {}
    if options.rows.exists():
        lines = map(json.loads, options.rows.read_text().splitlines())
        done = {(r["variation"], r["row"]): r["said"] for r in lines if r["row"] in first}
    for name, level in levels.items():
        if (options.threshold and name not in options.threshold) or (options.level and level not in options.level):
            continue
        for factor in FACTORS:
            variation = f"{name}*{factor}"
            some = chosen if level in ("judge", "measure") else chosen[:: options.every]
            left = [row for row in some if (variation, row.file) not in done]
            for found in ask(variation, level, left, options) if left else ():
                done[variation, found["row"]] = found["said"]
                with options.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
            print(f"{variation} ({level}): {len(some)} checks", flush=True)
    options.out.write_text(page(done, first, levels), encoding="utf-8")


if __name__ == "__main__":
    main()
