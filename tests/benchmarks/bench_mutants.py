"""What ``check`` says of broken and of correct optimizers: ``python tests/benchmarks/bench_mutants.py``.

Every class of ``tests/theory/mutants.py`` is checked for its claim, with every seed. A finished row is a line of the
``--rows`` file at once, so an interrupted run goes on where it stopped; the tables are written from that file: one for
people, ``--table``, and one that every report shows, ``--data``. The latter is written in its usual place only once
every class has been checked on check's own problems with at least three seeds, so that no partial run is shown as the
whole.

A broken optimizer counts as detected only if its claim FAILS; INCONCLUSIVE is no pass, but no detection either. A
correct one that FAILS is a false alarm.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

from maxmargin.reports.counts import IF_INDEPENDENT, by_class, rate
from maxmargin.reports.mutants import Case, Found, MutantTable
from maxmargin.reports.published import MUTANTS, without_places
from maxmargin.verify.running.spread import Backend

ROOT = Path(__file__).resolve().parents[2]
FILE = Path("tests/theory/mutants.py")  # below ROOT, where the run happens: no machine's path gets into a reason
PUBLISHED = ROOT / "reports" / "tables" / MUTANTS
SEEDS = (0, 1, 2)
LOST = "error"
FIRST = ("blocks",)  # of check's own problems, the one that a broken optimizer meets first
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
        options = {"kwargs": row["kwargs"], "claim": claim, "tier": tier, "seed": seed}
        # One problem that refutes a claim refutes it: then the others need not be trained to know the verdict.
        first: Sequence[str] | None = FIRST if row["broken"] and problems is None else problems
        verdict = check(row["target"], problems=first, **options)
        if first is FIRST and verdict.outcome.value != "fails":
            verdict = check(row["target"], problems=None, **options)
        outcome, norm, reason = verdict.outcome.value, verdict.norm, verdict.reasons[0] if verdict.reasons else ""
        answer = getattr(verdict, "answer", None)
    except Exception as error:  # the table shows it, the other rows go on
        outcome, norm, answer, reason = LOST, None, None, f"{type(error).__name__}: {error}"
    said = {"outcome": outcome, "norm": norm, "answer": answer and str(answer), "reason": reason}
    found = said | {"seconds": round(time.perf_counter() - started, 1)}
    return {"name": row["name"], "seed": seed, "tier": tier, "problems": problems} | found


def described(module: ModuleType) -> list[dict[str, Any]]:
    """Every class as plain data, which any process can be given."""
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "why": " ".join(row.why.replace("``", "").split()),
            "claim": row.claim,
            "told": getattr(row, "told", True),
            "honest": row.honest if isinstance(row, module.Mutant) else row.answers,
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
    """Results as they come: in this process, in ``--jobs`` of their own, or on a cluster."""
    if options.scheduler:
        items = [
            (f"{row['name']}-{seed}-{options.tier}", (row, seed, options.tier, options.problem)) for row, seed in todo
        ]
        yield from Backend("dask", options.scheduler).spread(examine, items, native=False)
        return
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


def gathered(
    rows: Sequence[dict[str, Any]],
    done: Mapping[tuple[str, int], dict[str, Any]],
    seeds: Sequence[int],
    tier: str,
    versions: Mapping[str, str],
) -> MutantTable:
    """The rows that have a verdict with at least one of the seeds."""
    cases = []
    for row in rows:
        found = {seed: done[row["name"], seed] for seed in seeds if (row["name"], seed) in done}
        if not found:
            continue
        verdicts = {seed: Found(f["outcome"], f["norm"], f.get("answer")) for seed, f in found.items()}
        reason = without_places(next(iter(found.values()))["reason"])
        fields = {key: row[key] for key in ("name", "kind", "why", "claim", "told", "broken")}
        cases.append(Case(**fields, honest=tuple(row["honest"]), found=verdicts, reason=reason))
    return MutantTable(tier, tuple(seeds), dict(versions), tuple(cases))


def summary(table: MutantTable) -> list[str]:
    """The counts over all seeds, and the names of what went wrong."""
    tallies = table.tallies
    lines = [f"- {table.sentence} {IF_INDEPENDENT}"]
    for seed, t in tallies.items():
        caught = rate(t.refuted, len(table.broken), "caught", "missed")
        answers = [
            by_class(c.found[seed].said for c in cases if seed in c.found) for cases in (table.broken, table.correct)
        ]
        lines.append(
            f"- seed {seed}: {caught}; answers: {answers[0]}; {t.undecided} inconclusive "
            f"({t.honestly} of them where that is an honest answer), {t.unnoticed} not noticed; "
            f"{rate(t.held, len(table.correct), 'rightly answered', 'not')}; answers: {answers[1]}; "
            f"{t.correct_undecided} inconclusive, {t.false_alarms} false alarms, {t.misnamed} given a wrong norm."
        )
    wrong = [f"{c.name} (seed {s}: {c.note(s)})" for c in table.cases for s in table.seeds if c.note(s)]
    torn = [case.name for case in table.cases if not case.stable]
    lines += [f"- wrong: {', '.join(wrong)}."] if wrong else []
    lines += [f"- not the same with every seed: {', '.join(torn)}."] if torn else []
    return lines


def durations(found: Sequence[dict[str, Any]]) -> list[str]:
    """How long a check takes."""
    spent = [f["seconds"] for f in found]
    return [f"- seconds a check: median {statistics.median(spent):.0f}, longest {max(spent):.0f}."] if spent else []


def page(table: MutantTable, done: Mapping[tuple[str, int], dict[str, Any]], problems: Sequence[str] | None) -> str:
    """The whole report as markdown; verdicts that are not as they should be stand out."""
    out = [
        "# Broken and correct optimizers, as `check` sees them",
        "",
        f"`python tests/benchmarks/bench_mutants.py --tier {table.tier}`; the classes, with the reason why each is "
        f"broken or correct, are in `{FILE.as_posix()}`. A claim in parentheses was not told, but had to be found.",
        *([] if problems is None else ["", f"Only on {', '.join(problems)}: no table to quote."]),
        "",
        *summary(table),
        *durations([f for (name, seed), f in done.items() if seed in table.seeds]),
    ]
    head = HEAD.format(seeds=" | ".join(f"seed {s}" for s in table.seeds))
    for title, cases in (("Broken", table.broken), ("Correct", table.correct)):
        out += ["", f"## {title}", "", head, "|" + "---|" * (head.count("|") - 1)]
        for case in cases:
            seconds = statistics.median(done[case.name, seed]["seconds"] for seed in case.found)
            cells = [case.name, case.kind, case.claim if case.told else f"({case.claim})"]
            cells += [_outcome(case, seed) for seed in table.seeds]
            cells += [case.reason.replace("|", "\\|").replace("\n", " "), f"{seconds:.0f}"]
            out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def _outcome(case: Case, seed: int) -> str:
    if seed not in case.found:
        return ""
    outcome, note = case.found[seed].outcome, case.note(seed)
    if note:
        return f"**{outcome}** ({note})"
    if case.broken:
        return outcome if outcome == "fails" else f"**{outcome}**"
    said = case.found[seed].said
    return said if said in case.honest else f"**{said if outcome != 'inconclusive' else outcome}**"


def write(
    rows: Sequence[dict[str, Any]], done: Mapping[tuple[str, int], dict[str, Any]], options: argparse.Namespace
) -> MutantTable:
    """Write the tables.

    Returns:
        What is in them.
    """
    from maxmargin.solvers.versions import versions
    from maxmargin.verify.results.store import write_json

    table = gathered(rows, done, options.seeds, options.tier, versions())
    options.table.write_text(page(table, done, options.problem), encoding="utf-8")
    whole = table.complete and len(table.cases) == len(rows) and len(table.seeds) >= len(SEEDS)
    if options.data is None and not (whole and options.problem is None):
        print("Partial: the table that the reports show is left as it was; --data FILE writes one elsewhere.")
    else:
        write_json(options.data or PUBLISHED, table.to_json())
    return table


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--scheduler", help="address of a Dask scheduler, to run on its cluster")
    parser.add_argument("--only", action="append", help="part of a row's name; may be given again")
    parser.add_argument("--tier", default="quick")
    parser.add_argument("--problem", action="append", help="instead of check's own three; may be given again")
    parser.add_argument("--rows", type=Path, default=Path("mutants.jsonl"), help="finished rows, one JSON a line")
    parser.add_argument("--table", type=Path, default=ROOT / "reports" / "mutants.md")
    parser.add_argument("--data", type=Path, help=f"the table as data; {PUBLISHED.relative_to(ROOT)} if all was run")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows_file, options.table = options.rows.resolve(), options.table.resolve()  # a check changes the folder
    options.data = options.data and options.data.resolve()
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
    print("\n".join(summary(write(rows, done, options))))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
