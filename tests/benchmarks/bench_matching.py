"""How often, how far and how fast KKT points are matched to the ends of steepest-descent runs.

    python tests/benchmarks/bench_matching.py [--steps 20000] [--inits 16] [--data 2] [--norm linf] [--model relu2]

Runs: n = 6, d = 6, h = 8, init scale 0.02, pace 0.2 (1 + t/1000)^-0.2, steps capped at 2 % of ‖θ‖. Each line: separated
ends, matched ones (natural residual ≤ 1e-8), quantiles of the distance moved and of Γ at the end, seconds a match.
Failures are listed with what was reached.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from maxmargin.models import problems
from maxmargin.solvers.kkt.descent import descend, small_starts
from maxmargin.solvers.kkt.gap import kkt_gap
from maxmargin.solvers.kkt.matching import match
from maxmargin.solvers.norms import get_norm

MODELS = {
    "relu2-fixed": "relu2-fixed:h=8",
    "relu2": "relu2:h=8",
    "deep-linear": "deep-linear:depth=3,width=8",
}
NORMS = ("l2", "linf", "spectral", "hybrid")


def bench(model: str, norm: str, steps: int, inits: int, data: int) -> dict[str, object]:
    """One row: ends of ``inits`` runs on each of ``data`` data sets, all matched."""
    N = get_norm(norm)
    rows, failures, dead, running = [], [], 0, 0.0
    for seed in range(data):
        problem = problems.get(f"binary:seed={seed}@{MODELS[model]}")
        began = time.perf_counter()
        ends = descend(problem, N, small_starts(problem, range(inits)), steps=steps)
        running += time.perf_counter() - began
        for k in range(inits):
            theta = {name: block[k].numpy() for name, block in ends.items()}
            if not float(problem.min_margin(theta)) > 0:
                dead += 1
                continue
            gap = kkt_gap(problem, theta, N).value
            began = time.perf_counter()
            found = match(problem, theta, N)
            rows.append((found.success, found.distance, gap, time.perf_counter() - began))
            if not found.success:
                failures.append({"data": seed, "init": k, "residual": found.residual, "gap at the end": gap})
    success, distance, gaps, seconds = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "model": model,
        "norm": norm,
        "ends": len(rows),
        "not separated": dead,
        "matched": int(success.sum()),
        "rate": float(success.mean()),
        "distance": [float(q) for q in np.quantile(distance[success.astype(bool)], (0.5, 0.9, 1.0))],
        "gap": [float(q) for q in np.quantile(gaps, (0.5, 0.9, 1.0))],
        "seconds a match": float(seconds.mean()),
        "seconds running": running,
        "failures": failures,
    }


def main() -> None:
    """Parse, run, print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--inits", type=int, default=16)
    parser.add_argument("--data", type=int, default=2)
    parser.add_argument("--norm", nargs="+", choices=NORMS, default=NORMS)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--json", type=Path, help="write the rows here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print("model        norm      ends dead  matched   distance .5 .9 1.0      gap .5 .9 1.0           s/match")
    for model in args.model:
        for norm in args.norm:
            row = bench(model, norm, args.steps, args.inits, args.data)
            rows.append(row)
            near, gaps = ("  ".join(f"{q:.2g}" for q in row[key]) for key in ("distance", "gap"))  # type: ignore[attr-defined]
            print(
                f"{model:<12} {norm:<9} {row['ends']:>4} {row['not separated']:>4}  {row['matched']:>4} "
                f"{row['rate']:>6.1%}  {near:<22}  {gaps:<24} {row['seconds a match']:.2f}",
                flush=True,
            )
            for failure in row["failures"]:  # type: ignore[attr-defined]
                print(f"    not matched: {failure}", flush=True)
    total, good = (sum(row[key] for row in rows) for key in ("ends", "matched"))  # type: ignore[misc]
    print(f"all: {good} of {total} matched, {good / total:.1%}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
