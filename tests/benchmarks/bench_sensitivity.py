"""Which verdicts hang on a threshold: each is moved by a factor of two either way, over the tables' optimizers.

    python tests/benchmarks/bench_sensitivity.py [--table mutants] [--only part] [--moved 5] [--jobs 2]

Writes reports/sensitivity.md. Every check runs once with watched thresholds (``watched.py``): numbers that carry what
they would be if one threshold were moved, so that each comparison knows which variations would flip it. A variation
that flips none in a check leaves its verdict as it is. For the others the check runs again, with that threshold moved:
in ``--moved`` checks that it flips something in, spread over all checks, as each costs a whole one.

Fractions above a half and below 1 (an alignment) are moved by their distance from 1; what is not a number (a set of
sizes) is left out, as are a count's uses that no comparison sees (how often a loop runs). Finished checks are kept
(``--rows``, one JSON a line), so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # watched.py lies beside this file, which is no package
from watched import COMPARED, FACTORS, FLIPPED, other, watched  # noqa: E402

Done = dict[tuple[str, str], dict[str, Any]]
"""(Check, variation; "" for the watched run) → what was said, and what was seen."""


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
    def key(self) -> str:
        """Names it in the file of finished checks."""
        return f"{self.table}: {self.name}"


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


# -- One check, in a process of its own -----------------------------------------------------------------------------


def moved(value: Any, part: str, factor: float) -> Any:
    """The value of a threshold, one of the fields of its bounds moved if ``part`` names one."""
    if isinstance(value, dict):
        return {key: moved(v, part, factor) for key, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part: other(getattr(value, part), factor)})
    return other(value, factor)


def patch(variation: str) -> None:
    """Move one threshold, ``NAME*2.0`` or ``NAME.field*0.5``, or watch all, before anything imports them."""
    from maxmargin.verify.thresholds import table

    assert not table.THRESHOLDS, "thresholds are entered already"
    key, _, factor = variation.rpartition("*")
    name, _, part = key.partition(".")
    enter = table.named

    def named(entered: str, value: Any, *texts: str) -> Any:
        if not variation:
            value = watched(entered, value)
        elif entered == name:
            value = moved(value, part, float(factor))
        return enter(entered, value, *texts)

    table.named = named


def child(task: str) -> None:
    """Make one check, and print what came out as a line of JSON."""
    given = json.loads(task)
    patch(given["variation"])
    os.chdir(ROOT)
    os.cpu_count = lambda: 1  # runs in this process, where thresholds are watched
    from maxmargin.verify.running.checking import check

    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in given["kwargs"].items()}  # JSON has no tuples
    try:
        found = check(given["target"], kwargs=kwargs, claim=given["claim"], problems=given["problems"])
        if given["table"] == "mutants" and given["problems"] and found.outcome.value != "fails":  # as its table does
            found = check(given["target"], kwargs=kwargs, claim=given["claim"])
        said = f"{found.answer}, {found.norm}"
    except Exception as error:  # a check that ends so is told, the others go on
        said = f"error, {type(error).__name__}: {error}"
    print(json.dumps({"said": said, "compared": dict(COMPARED), "flipped": dict(FLIPPED)}), flush=True)


def ask(row: Row, variation: str) -> dict[str, Any]:
    """One check."""
    task = {"variation": variation, **{k: v for k, v in vars(row).items() if k != "paths"}}
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([*row.paths, *([inherited] if inherited else [])])
    found = subprocess.run(
        [sys.executable, __file__, "--child"], env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=ROOT, input=json.dumps(task), capture_output=True, text=True,
    )  # fmt: skip
    lines = [line for line in found.stdout.splitlines() if line.startswith('{"said"')]
    told = json.loads(lines[-1]) if lines else {"said": f"error, exit status {found.returncode}"}
    return {"row": row.key, "variation": variation, **told}


# -- The table -----------------------------------------------------------------------------------------------------


def variations() -> list[str]:
    """Every threshold that is a number, fields of bounds apart, moved either way."""
    from maxmargin.verify.thresholds.table import THRESHOLDS, tables

    tables()
    found = []
    for name, row in THRESHOLDS.items():
        one = next(iter(row.value.values())) if isinstance(row.value, dict) else row.value
        keys = [f"{name}.{field}" for field in vars(one)] if is_dataclass(one) else [name]
        if is_dataclass(one) or other(row.value, 2.0) != row.value:
            found += [f"{key}*{factor}" for key in keys for factor in FACTORS]
    return found


HEAD = """# What hangs on a threshold

Written by `python tests/benchmarks/bench_sensitivity.py`. Every number that judges is moved by a factor of two either
way (what lies between a half and 1 by its distance from 1). Each check ran with watched thresholds, which know at each
comparison whether it would come out otherwise if one of them were moved: a variation that flips no comparison of a
check leaves its verdict as it is. Where one flips some, checks were run again with that threshold moved.

{checks} checks ({tables}); {variations} variations of {names} numbers. Of the {pairs:,} pairs of a check and a
variation {calm:,} flip no comparison, {flipped:,} flip some; {again:,} of these were run again, and {changed} changed a
verdict, {crossed} of them from HOLDS to FAILS or back. {unseen} numbers were compared in no check: those of rules that
none of them came to, and how many, how large and how long experiments are.
"""


def page(done: Done, every: Sequence[str]) -> str:
    """The table for people."""
    first = {row: found for (row, variation), found in done.items() if not variation}
    flips: dict[str, list[str]] = defaultdict(list)
    for row, found in first.items():
        for variation in found.get("flipped", {}):
            flips[variation].append(row)
    names = list(dict.fromkeys(v.partition("*")[0] for v in every))
    seen = {name for found in first.values() for name in found.get("compared", {})}
    again = {(r, v): f["said"] for (r, v), f in done.items() if v and r in first}
    changed = {pair: said for pair, said in again.items() if said != first[pair[0]]["said"]}
    pairs, some = len(first) * len(every), sum(map(len, flips.values()))
    tables = Counter(row.partition(":")[0] for row in first)
    out = [
        HEAD.format(
            checks=len(first), tables=", ".join(f"{count} of {name}" for name, count in tables.items()),
            variations=len(every), names=len(names), pairs=pairs, calm=pairs - some, flipped=some, again=len(again),
            changed=len(changed), crossed=sum(_crossed(first[row]["said"], said) for (row, _), said in changed.items()),
            unseen=len(set(names) - seen),
        ),
        "| threshold | factor | flips a comparison in | run again | changed |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for v in every:
        if flips.get(v):
            name, _, factor = v.rpartition("*")
            told = [f"{row}: {first[row]['said']} → {said}" for (row, w), said in changed.items() if w == v]
            text = "; ".join(told).replace("|", "\\|").replace("\n", " ") or "–"
            count = sum(w == v for _, w in again)
            out.append(f"| `{name}` | × {float(factor):g} | {len(flips[v])} | {count} | {text} |")
    calm = [name for name in names if name in seen and not any(flips.get(f"{name}*{f}") for f in FACTORS)]
    unseen = [name for name in names if name not in seen]
    out += ["", f"Compared, and flipped nowhere ({len(calm)}): {', '.join(f'`{n}`' for n in calm)}."]
    out += ["", f"Compared nowhere ({len(unseen)}): {', '.join(f'`{n}`' for n in unseen)}."]
    return "\n".join(out) + "\n"


def _crossed(one: str, two: str) -> bool:
    """Whether of two answers one is HOLDS and the other FAILS."""
    from maxmargin.verify.results.answer import Answer

    outcomes = {str(a): a.outcome.value for a in Answer}
    return {outcomes.get(said.partition(",")[0]) for said in (one, two)} == {"holds", "fails"}


def main() -> None:
    """Watch what is missing, run again what is flipped, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="append", help="mutants, third party, history; may be given again")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--every", type=int, default=1, help="each so many of the rows")
    parser.add_argument("--moved", type=int, default=5, help="checks that a variation is run again in, at most")
    parser.add_argument("--jobs", type=int, default=1, help="checks at once")
    parser.add_argument("--cache", type=Path, help="of bench_history.py; without it the historical table is left out")
    parser.add_argument("--rows", type=Path, default=ROOT / "reports" / "sensitivity.jsonl", help="finished checks")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "sensitivity.md", help="the table")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(sys.stdin.read())
        return
    chosen = [r for r in rows(options) if options.only in r.name and (not options.table or r.table in options.table)]
    chosen = chosen[:: options.every]
    done: Done = {}
    if options.rows.exists():
        done = {(r["row"], r["variation"]): r for r in map(json.loads, options.rows.read_text().splitlines())}

    def run(tasks: Sequence[tuple[Row, str]]) -> None:
        left = [(row, variation) for row, variation in tasks if (row.key, variation) not in done]
        with ThreadPoolExecutor(options.jobs) as pool, options.rows.open("a", encoding="utf-8") as file:
            for count, found in enumerate(pool.map(lambda task: ask(*task), left), start=1):
                done[found["row"], found["variation"]] = found
                file.write(json.dumps(found) + "\n")
                file.flush()
                print(f"{count}/{len(left)} {found['row']} {found['variation']}: {found['said']}", flush=True)

    run([(row, "") for row in chosen])
    run(list(flipped(chosen, done, options.moved)))
    options.out.write_text(page(done, variations()), encoding="utf-8")


def flipped(
    chosen: Sequence[Row], done: Mapping[tuple[str, str], dict[str, Any]], most: int
) -> Iterator[tuple[Row, str]]:
    """(Check, variation) that are to be run again: of each variation the checks that were given the fewest so far."""
    flips: dict[str, list[Row]] = defaultdict(list)
    for row in chosen:
        for variation in done[row.key, ""].get("flipped", {}):
            flips[variation].append(row)
    given = Counter(key for key, variation in done if variation)
    for variation, rows_of in flips.items():
        left = [row for row in rows_of if (row.key, variation) not in done]
        for row in sorted(left, key=lambda r: given[r.key])[: max(0, most - len(rows_of) + len(left))]:
            given[row.key] += 1
            yield row, variation


if __name__ == "__main__":
    main()
