"""How cost grows: with cells, parameters, samples and classes; ``python tests/benchmarks/bench_scaling.py``.

Each row is one cell of a sweep (train, measure under every candidate norm, judge), and its training alone;
``reports/scaling.md`` has the table, with the exponent of the last growth and what one machine does in a day. Seconds
are this machine's: what carries over is how they grow. With ``--grid`` a whole sweep is run too, in each of the ways:
their tables must agree.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from math import inf
from pathlib import Path
from typing import Any

from maxmargin.models import problems
from maxmargin.models.errors import InputError
from maxmargin.verify.engine.run import paced_for, run, starts
from maxmargin.verify.optimizers import get_optimizer
from maxmargin.verify.running.cell import Cell, row_of
from maxmargin.verify.running.spread import Backend
from maxmargin.verify.running.sweeping import Grid, sweep

TABLE = Path(__file__).resolve().parents[2] / "reports" / "scaling.md"
SIZES = {
    "hidden units h": ("binary:n=64@relu2:h={}", (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)),
    "samples n": ("binary:n={}@linear", (10, 100, 1000, 10_000, 100_000)),
    "classes k": ("multiclass:n=48,d=48,k={}@linear", (3, 6, 12, 24, 48)),
}
DAY = 86_400


def seconds(problem: str, steps: int) -> tuple[float, str]:
    """CPU seconds of one cell, and why there is none."""
    started = time.process_time()
    row = Cell("signum", (), problem, 0.2, 0, steps, None).run()
    return time.process_time() - started, row["error"] or ""


def trained(problem: str, steps: int) -> float:
    """CPU seconds of its training alone."""
    model = problems.get(problem)
    started = time.process_time()
    optimizer = get_optimizer("signum")
    run(model, optimizer, starts(model, 1), steps=steps, schedule=paced_for(optimizer), device="cpu")
    return time.process_time() - started


def grown(before: tuple[float, float] | None, size: float, spent: float) -> str:
    """The exponent b of spent ~ size^b since the row before."""
    return "" if before is None else f"{math.log(spent / before[1]) / math.log(size / before[0]):.2f}"


def cells(count: int, steps: int, backend: Backend) -> float:
    """Wall seconds of so many cells."""
    items = [(str(seed), (Cell("signum", (), "blocks", 0.2, seed, steps, None),)) for seed in range(count)]
    started = time.perf_counter()
    assert sum(row["error"] is None for row in backend.spread(row_of, items, native=True)) == count
    return time.perf_counter() - started


def swept(grid: Grid, backend: Backend) -> tuple[float, list[dict[str, Any]]]:
    """Wall seconds of a sweep, and its rows without times."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rows = sweep(grid, folder, backend=backend)
        spent = time.perf_counter() - started
    return spent, [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def drawn(points: dict[str, list[tuple[float, float, float]]], limit: float, path: Path) -> None:
    """Seconds of training and of whole cells against sizes, both logarithmic, and where growth was stopped."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "scaling"}
    figure, axes = pyplot.subplots(1, len(points), figsize=(9, 3), sharey=True, layout="constrained")
    for axis, (what, rows) in zip(axes, points.items(), strict=True):
        for name, column, style in (("training", 1, "o--"), ("whole cell", 2, "s-")):
            seen = [(row[0], row[column]) for row in rows if row[column] < inf]
            axis.loglog(*zip(*seen, strict=True), style, label=name, markersize=4)
        axis.axhline(limit, color="0.6", linewidth=0.8)
        axis.set_xlabel(what)
    axes[0].set_ylabel("CPU seconds")
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="stop growing after such a cell")
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--grid", type=Path, help="a sweep's file, such as tests/benchmarks/grid.toml")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scheduler", help="of a Dask cluster, measured too")
    parser.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    lines = [
        "# How cost grows",
        "",
        f"One cell: signum, {options.steps:,} steps, measured under every candidate norm and judged. CPU seconds",
        "on one core; growth b is the exponent of seconds ~ size^b since the row before; a day's cells are those of",
        f"{options.jobs} cores. One machine is outgrown where a cell takes longer than a user waits, here the line at",
        f"{options.limit:g} s: beyond it only training is measured. Written by `tests/benchmarks/bench_scaling.py`.",
    ]
    seconds("blocks", 100)  # what is compiled and loaded once
    points: dict[str, list[tuple[float, float, float]]] = {}
    for what, (form, sizes) in SIZES.items():
        lines += [
            "",
            f"| {what} | problem | training | whole cell | growth b | cells a day |",
            "|---|---|---|---|---|---|",
        ]
        before: tuple[float, float] | None = None
        spent = 0.0
        for size in sizes:
            name = form.format(size)
            try:
                training = trained(name, options.steps)
                # Beyond, only training is measured: matching a KKT point takes the dense Hessian.
                spent, error = seconds(name, options.steps) if spent <= options.limit else (inf, "")
            except MemoryError:
                training, spent, error = inf, inf, "no memory"
            except InputError as refusal:
                training, spent, error = inf, inf, str(refusal)
            day = error[:80] or (f"{options.jobs * DAY / spent:,.0f}" if spent < inf else "not tried")
            grew = "" if spent == inf else grown(before, size, spent)
            whole = "" if spent == inf else f"{spent:.2f}"
            lines.append(f"| {size:,} | `{name}` | {training:.2f} | {whole} | {grew} | {day} |")
            print(lines[-1], flush=True)
            if error or training > 10 * options.limit:
                break
            points.setdefault(what, []).append((size, training, spent))
            before = size, spent
    lines += ["", "| cells | where | wall seconds | cells a second |", "|---|---|---|---|"]
    where = {"one process": Backend(), f"{options.jobs} processes": Backend("loky", workers=options.jobs)}
    where[f"{options.jobs} threads"] = Backend("threads", workers=options.jobs)
    if options.scheduler:
        where["a Dask cluster of two processes"] = Backend("dask", options.scheduler)
    for name, backend in where.items():
        for count in options.cells:
            spent = cells(count, options.steps, backend)
            lines.append(f"| {count:,} | {name} | {spent:.1f} | {count / spent:.2f} |")
            print(lines[-1], flush=True)
    if options.grid:
        first, grid = None, Grid.read(options.grid)
        for name in [*where][1:]:
            spent, rows = swept(grid, where[name])
            first = first or rows
            same = "" if rows == first else ", other rows than before"
            lines.append(f"| {len(rows):,} (sweep) | {name} | {spent:.1f} | {len(rows) / spent:.2f}{same} |")
            print(lines[-1], flush=True)
    drawn(points, options.limit, options.table.with_suffix(".svg"))
    options.table.write_text("\n".join([*lines, "", f"![seconds against sizes]({options.table.stem}.svg)"]) + "\n")


if __name__ == "__main__":
    main()
