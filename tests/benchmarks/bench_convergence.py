"""Every optimizer of the papers, trained until its KKT gap meets the target: linear models and squared-ReLU networks.

    python tests/benchmarks/bench_convergence.py [--problem multiclass digits-3] [--optimizer signum adam] [--jobs 1]

Each row is a claim's plan (verify/claims/catalogue.py, full tier) with the steps of a ladder, 1e5, 3e5 and 1e6, the
first that meets the target: KKT gap ≤ 1e-3 (L = 1), or ≤ 1e-2 in the worst run, with natural residual of every
matched KKT point ≤ 1e-8 and a direction error to it that falls (95 % interval of the fitted slope below 0) for L = 2
and 3. Finished rows are kept in a file of JSON lines and not run again; delete it, or give another one with --rows,
to start afresh.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from maxmargin.verify.claims.catalogue import CLAIMS, Claim, Plan
from maxmargin.verify.evidence.measure import fitted_slope
from maxmargin.verify.results.encoding import as_json
from maxmargin.verify.results.problem_verdict import ProblemVerdict
from maxmargin.verify.running.campaign import Part

LINEAR = ("multiclass", "digits-3")
NETWORKS = ("binary@relu2-fixed:h=8", "binary@relu2:h=8")  # L = 2, L = 3
LADDER = (100_000, 300_000, 1_000_000)
GAP = {True: 1e-3, False: 1e-2}  # linear or not
RESIDUAL = 1e-8
RUNS = {True: 2, False: 4}


def plan_of(claim: Claim, problem: str, steps: int) -> Plan:
    """The claim's own plan for this problem, or for the nearest one, with so many steps."""
    linear = problem in LINEAR
    own = next((p for p in claim.plans if p.problem == problem), None)
    near = own or next(p for p in claim.plans if ("@" in p.problem) is not linear)
    return replace(near, problem=problem, steps={"full": steps}, runs={"full": RUNS[linear]})


def judged(claim: Claim, found: ProblemVerdict, seconds: float) -> dict[str, Any]:
    """One row: what was reached, and whether it meets the target."""
    linear = found.problem.partition("@")[2] == "linear"
    row: dict[str, Any] = {
        "optimizer": claim.optimizer,
        "problem": found.problem,
        "degree": found.degree,
        "norm": claim.norm,
        "steps": found.steps,
        "runs": f"{found.separated_runs}/{found.runs}",
        "outcome": found.outcome.value,
        "hypotheses": as_json(found.hypotheses),
        "seconds": round(seconds, 1),
        "met": False,
    }
    if claim.norm not in found.evidence:
        return row
    own = found.evidence[claim.norm]
    error = found.arrays.get(f"direction_error:{claim.norm}")
    # The error at a few checkpoints waves: two decades of it
    turning, interval = fitted_slope(found.arrays["steps"], error, decades=2.0) if error is not None else (None, None)
    met = own.kkt_gap_range[1] <= GAP[linear]
    if not linear:
        near = own.residual is not None and own.residual <= RESIDUAL and own.matched == 1.0
        met = met and near and interval is not None and interval[1] < 0
    else:
        met = met and own.slope_interval is not None and own.slope_interval[1] < 0
    return row | {
        "gap": own.kkt_gap,
        "worst gap": own.kkt_gap_range[1],
        "slope": own.slope,
        "slope interval": own.slope_interval,
        "residual": own.residual,
        "matched": own.matched,
        "direction error": None if error is None else float(max(error[-1])),
        "direction slope": turning,
        "direction interval": interval,
        "met": bool(met),
    }


def bench(name: str, problem: str, ladder: tuple[int, ...]) -> dict[str, Any]:
    """Train with more and more steps until the target is met."""
    claim = CLAIMS[name]
    row: dict[str, Any] = {}
    for steps in ladder:
        began = time.perf_counter()
        plan = plan_of(claim, problem, steps)
        found = Part(claim, plan, plan.problem, seed=0, first=False).job("full", "cpu").verdict()
        row = judged(claim, found, time.perf_counter() - began) | {"asked": problem, "claim": name}
        if row["met"]:
            break
    return as_json(row)


def rows_of(work: list[tuple[str, str]], ladder: tuple[int, ...], jobs: int) -> Iterator[dict[str, Any]]:
    """Run the rows here, or in processes, in order of completion."""
    if jobs <= 1:
        yield from (bench(name, problem, ladder) for name, problem in work)
        return
    from joblib import Parallel, delayed

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    yield from pool(delayed(bench)(name, problem, ladder) for name, problem in work)


def span(value: float | None, interval: list[float] | None) -> str:
    """A slope with its 95 % interval."""
    return "–" if value is None or interval is None else f"{value:.2f} ({interval[0]:.2f} … {interval[1]:.2f})"


def number(value: float | None) -> str:
    """Two digits."""
    return "–" if value is None else f"{value:.1e}"


def unmet(row: dict[str, Any]) -> str:
    """How many hypotheses are met, and which are not."""
    known = {k: h["met"] for k, h in row["hypotheses"].items() if h["met"] is not None}
    missing = [k for k, met in known.items() if not met]
    return f"{len(known) - len(missing)}/{len(known)}" + (f", not: {', '.join(missing)}" if missing else "")


HEAD = (
    "optimizer", "problem", "L", "steps", "gap, worst run", "its slope (95 %)", "residual", "direction error",
    "its slope (95 %)", "hypotheses", "target met",
)  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """A line of the table."""
    cells = (
        row["optimizer"], row["problem"], row["degree"], f"{row['steps']:,}", number(row.get("worst gap")),
        span(row.get("slope"), row.get("slope interval")), number(row.get("residual")),
        number(row.get("direction error")), span(row.get("direction slope"), row.get("direction interval")),
        unmet(row), "yes" if row["met"] else "no",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def finished(path: Path, ladder: tuple[int, ...]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of an earlier run that need not be run again: they meet the target, or the ladder was not longer."""
    if not path.exists():
        return {}
    kept = []
    for text in path.read_text().splitlines():
        try:
            kept.append(json.loads(text))
        except json.JSONDecodeError:  # a line that was cut off: that row is run again
            continue
    return {(r["claim"], r["asked"]): r for r in kept if r["met"] or r["steps"] >= max(ladder) // 8 * 8}


def main() -> None:
    """Parse, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", nargs="+", help="of the claims' optimizers; all of them by default")
    parser.add_argument("--problem", nargs="+", default=[*LINEAR, *NETWORKS])
    parser.add_argument("--steps", type=int, nargs="+", default=LADDER, help="the ladder")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=Path("bench_convergence.jsonl"), help="where finished rows are")
    parser.add_argument("--json", type=Path, help="write the table's rows here")
    args = parser.parse_args()
    ladder = tuple(sorted(args.steps))
    names = [name for name, c in CLAIMS.items() if not args.optimizer or c.optimizer in args.optimizer]
    asked = [(name, problem) for problem in args.problem for name in names]
    done = finished(args.rows, ladder)
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for key in asked:
        if key in done:
            print(line(done[key]), flush=True)
    for row in rows_of([key for key in asked if key not in done], ladder, args.jobs):
        with args.rows.open("a") as kept:
            kept.write("\n" + json.dumps(row) + "\n")  # whatever came before, on a line of its own
        done[row["claim"], row["asked"]] = row
        print(line(row), flush=True)
    table = [done[key] for key in asked]
    print(f"\n{sum(r['met'] for r in table)} of {len(table)} rows meet the target")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
