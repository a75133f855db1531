"""What ``check`` says of broken and of correct optimizers: ``python tests/benchmarks/bench_mutants.py``.

Every class of ``tests/theory/mutants.py`` is checked for its claim, with every seed. A finished row is a line of the
``--rows`` file at once, so an interrupted run goes on where it stopped; the table is written from that file. A broken
optimizer counts as detected only if its claim FAILS; INCONCLUSIVE is no pass, but no detection either. A correct one
that FAILS is a false alarm.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = Path("tests/theory/mutants.py")  # below ROOT, where the run happens: no machine's path gets into a reason
LOST = "error"
HEAD = "| name | kind | claim | {seeds} | first reason | seconds |"


def rows_of() -> ModuleType:
    """The module that holds MUTANTS and CORRECT; its folder is no package."""
    spec = importlib.util.spec_from_file_location("maxmargin_mutants", ROOT / FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def examine(row: dict[str, Any], seed: int, tier: str, problems: Sequence[str] | None) -> dict[str, Any]:
    """Check one optimizer with one seed; what goes wrong is a row too."""
    from maxmargin.verify import check

    os.chdir(ROOT)
    started = time.perf_counter()
    try:
        claim = row["claim"] if row["told"] else None
        verdict = check(row["target"], kwargs=row["kwargs"], claim=claim, tier=tier, problems=problems, seed=seed)
        outcome, norm, reason = verdict.outcome.value, verdict.norm, verdict.reasons[0] if verdict.reasons else ""
    except Exception as error:  # the table shows it, the other rows go on
        outcome, norm, reason = LOST, None, f"{type(error).__name__}: {error}"
    found = {"outcome": outcome, "norm": norm, "reason": reason, "seconds": round(time.perf_counter() - started, 1)}
    return {"name": row["name"], "seed": seed, "tier": tier, "problems": problems} | found


def described(module: ModuleType) -> list[dict[str, Any]]:
    """Every class as plain data, which any process can be given."""
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "claim": row.claim,
            "told": getattr(row, "told", True),
            "honest": getattr(row, "honest", ("holds",)),
            "broken": isinstance(row, module.Mutant),
            "kwargs": dict(row.kwargs),
            "target": f"{FILE.as_posix()}:{row.build.__name__}",
        }
        for row in [*module.MUTANTS, *module.CORRECT]
    ]


def read_rows(path: Path, tier: str, problems: Sequence[str] | None) -> dict[tuple[str, int], dict[str, Any]]:
    """Finished rows by (name, seed); errors are tried again, later lines win."""
    done = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        row = json.loads(line)
        if row["tier"] == tier and row["problems"] == problems and row["outcome"] != LOST:
            done[row["name"], row["seed"]] = row
    return done


def run_all(todo: list[tuple[dict[str, Any], int]], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Results as they come: in this process, or in ``--jobs`` of their own."""
    if options.jobs == 1:
        for row, seed in todo:
            yield examine(row, seed, options.tier, options.problem)
        return
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(examine, row, seed, options.tier, options.problem) for row, seed in todo]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def good(row: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether the outcome is the one wanted: a mutant FAILS, a correct optimizer HOLDS under its norm."""
    if row["broken"]:
        return bool(found["outcome"] == "fails")
    return found["outcome"] == "holds" and found["norm"] == row["claim"]


def summary(rows: list[dict[str, Any]], done: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    """The counts over all rows and seeds that are there."""
    by: dict[bool, list[tuple[dict[str, Any], dict[str, Any]]]] = {True: [], False: []}
    outcomes: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for (name, _), found in done.items():
            if name == row["name"]:
                by[row["broken"]].append((row, found))
                outcomes[name].add(found["outcome"])
    lines = []
    broken, correct = by[True], by[False]
    if broken:
        caught = sum(good(r, f) for r, f in broken)
        unsure = sum(f["outcome"] == "inconclusive" for _, f in broken)
        held = [f"{r['name']} (seed {f['seed']})" for r, f in broken if f["outcome"] == "holds"]
        honest = sum(f["outcome"] in r["honest"] and not good(r, f) for r, f in broken)
        lines += [
            f"- broken: {caught} of {len(broken)} refuted ({100 * caught / len(broken):.1f} %), "
            f"{unsure} inconclusive ({honest} of them where that is the honest answer), {len(held)} held"
            + (f": {', '.join(held)}" if held else "")
            + "."
        ]
    if correct:
        alarms = [f"{r['name']} (seed {f['seed']})" for r, f in correct if f["outcome"] == "fails"]
        alarms += [
            f"{r['name']} (seed {f['seed']}, named {f['norm']})"
            for r, f in correct
            if f["outcome"] == "holds" and not good(r, f)
        ]
        held_count = sum(good(r, f) for r, f in correct)
        unsure = sum(f["outcome"] == "inconclusive" for _, f in correct)
        lines += [
            f"- correct: {held_count} of {len(correct)} held, {unsure} inconclusive, {len(alarms)} false alarms"
            + (f": {', '.join(alarms)}" if alarms else "")
            + "."
        ]
    torn = [name for name, seen in outcomes.items() if len(seen) > 1]
    lines += [f"- the same outcome with every seed: {len(outcomes) - len(torn)} of {len(outcomes)}"
              + (f"; not {', '.join(torn)}" if torn else "") + "."]  # fmt: skip
    if done:
        spent = [f["seconds"] for f in done.values()]
        lines += [f"- seconds a check: median {statistics.median(spent):.0f}, longest {max(spent):.0f}."]
    return lines


def table(rows: list[dict[str, Any]], done: dict[tuple[str, int], dict[str, Any]], options: argparse.Namespace) -> str:
    """The whole report as markdown."""
    seeds = options.seeds
    out = [
        "# Broken and correct optimizers, as `check` sees them",
        "",
        f"`python tests/benchmarks/bench_mutants.py --tier {options.tier}`; the classes, with the reason why each is "
        f"broken or correct, are in `{FILE.as_posix()}`. A claim in parentheses was not told, but had to be found.",
        *([] if options.problem is None else ["", f"Only on {', '.join(options.problem)}: no table to quote."]),
        "",
        *summary(rows, {key: found for key, found in done.items() if key[1] in seeds}),
    ]
    for title, broken in (("Broken", True), ("Correct", False)):
        head = HEAD.format(seeds=" | ".join(f"seed {s}" for s in seeds))
        out += ["", f"## {title}", "", head, "|" + "---|" * (head.count("|") - 1)]
        for row in rows:
            found = [done.get((row["name"], s)) for s in seeds]
            seen = [f for f in found if f is not None]
            if row["broken"] is not broken or not seen:
                continue
            outcomes = [_outcome(row, f) if f is not None else "" for f in found]
            reason = seen[0]["reason"].replace("|", "\\|").replace("\n", " ")
            claim = row["claim"] if row["told"] else f"({row['claim']})"
            seconds = f"{statistics.median(f['seconds'] for f in seen):.0f}"
            out.append("| " + " | ".join([row["name"], row["kind"], claim, *outcomes, reason, seconds]) + " |")
    return "\n".join(out) + "\n"


def _outcome(row: dict[str, Any], found: dict[str, Any]) -> str:
    text = found["outcome"]
    if not row["told"] and found["norm"] not in (None, row["claim"]):
        text += f" ({found['norm']})"
    return text if good(row, found) else f"**{text}**"


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", action="append", help="part of a row's name; may be given again")
    parser.add_argument("--tier", default="quick")
    parser.add_argument("--problem", action="append", help="instead of check's own three; may be given again")
    parser.add_argument("--rows", type=Path, default=Path("mutants.jsonl"), help="finished rows, one JSON a line")
    parser.add_argument("--table", type=Path, default=ROOT / "reports" / "mutants.md")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows_file, table_file = options.rows.resolve(), options.table.resolve()
    rows = described(rows_of())
    chosen = [r for r in rows if options.only is None or any(part in r["name"] for part in options.only)]
    if not chosen:
        parser.error(f"no row's name contains {' or '.join(map(repr, options.only))}")
    done = read_rows(rows_file, options.tier, options.problem)
    todo = [(r, s) for s in options.seeds for r in chosen if (r["name"], s) not in done]
    failed = False
    with rows_file.open("a", encoding="utf-8") as file:
        for count, found in enumerate(run_all(todo, options), start=1):
            file.write(json.dumps(found) + "\n")
            file.flush()
            failed |= found["outcome"] == LOST
            print(f"{count}/{len(todo)} {found['name']}, seed {found['seed']}: {found['outcome']}, "
                  f"{found['seconds']} s. {found['reason'][:120]}", flush=True)  # fmt: skip
            done[found["name"], found["seed"]] = found
    table_file.write_text(table(rows, done, options), encoding="utf-8")
    print("\n".join(summary(rows, {k: f for k, f in done.items() if k[1] in options.seeds})))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
