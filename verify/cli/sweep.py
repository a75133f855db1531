"""``maxmargin sweep FILE.toml``: its arguments, and what it does."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maxmargin.verify.cli.status import HOLDS, INCONCLUSIVE, STATUS, CliError

if TYPE_CHECKING:
    from maxmargin.verify.cli.output import Output

EXAMPLE = """\
a file:
  problems = ["blocks", "digits-3@linear"]    # as in 'maxmargin list problems'
  decays = [0.2, 0.5]                         # schedules: the pace falls like t^(-decay); default [0.2]
  seeds = 3                                   # 0, 1, 2; or a list of them; default 1
  steps = 20000                               # of each run; default: those of the quick tier
  claim = "linf"                              # the norm that is judged; default: each optimizer's own

  [[optimizer]]
  target = "signum"                           # as for 'check'
  kw = { beta = [0.5, 0.9, 0.99] }            # a list is crossed with all the others

  [[optimizer]]
  target = "mine.py:Muon"
  kw = { betas = [[0.9, 0.99], [0.9, 0.999]], lr = 0.1 }

written into DIR: cells.parquet (one row a cell; pandas.read_parquet reads it), heat.svg (KKT gaps, medians over the
seeds), and cells.jsonl, from which a sweep that was broken off, or killed, goes on by the same command.

examples:
  maxmargin sweep grid.toml
  maxmargin sweep grid.toml --out grid --jobs 2 --json -
  maxmargin sweep grid.toml --backend dask --scheduler tcp://127.0.0.1:8786

"""


def add_sweep(commands: Any, common: Any, more: Sequence[Callable[[argparse.ArgumentParser], None]]) -> None:
    """Add the command's arguments; ``more`` adds those that it shares with others."""
    sweep = commands.add_parser(
        "sweep",
        parents=[common],
        help="run a grid of optimizers, arguments, problems, schedules and seeds",
        description="Train every optimizer of a grid with all its arguments on every problem, with every schedule and\n"
        "seed, and write one table.",
        epilog=EXAMPLE
        + STATUS.format(
            holds="every cell was run",
            refuted="not used by this command",
            inconclusive="some cells were refused; the table's column 'error' says why",
        ),
    )
    sweep.add_argument("file", metavar="FILE.toml", help="what is crossed; see below")
    sweep.add_argument(
        "--out", default="maxmargin-sweep", metavar="DIR", help="where to write (default ./maxmargin-sweep)"
    )
    for add in more:
        add(sweep)


def sweep(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin sweep``.

    Returns:
        The exit status.

    Raises:
        CliError: there is nothing that writes the table.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise CliError("a sweep's table is written by pyarrow: pip install 'maxmargin[sweep]'")
    from maxmargin.reports.heat import heat_map
    from maxmargin.verify.cli.output import emit_json
    from maxmargin.verify.progress.report import reporting
    from maxmargin.verify.results.store import write_atomically
    from maxmargin.verify.running.spread import Backend
    from maxmargin.verify.running.sweeping import Grid, parquet
    from maxmargin.verify.running.sweeping import sweep as run

    grid = Grid.read(Path(args.file))
    backend = Backend(args.backend, args.scheduler, args.jobs)
    with reporting("sweeping", quiet=args.quiet) as progress:
        rows = run(grid, args.out, backend=backend, progress=progress)
    table, heat = Path(args.out, "cells.parquet"), Path(args.out, "heat.svg")
    write_atomically(table, parquet(rows))
    write_atomically(heat, heat_map(rows).encode())
    refused = [row for row in rows if row["error"] is not None]
    for message in dict.fromkeys(row["error"] for row in refused):
        out.text(f"{sum(row['error'] == message for row in refused)} cells: {message}")
    out.headline(f"{len(rows)} cells, {len(refused)} refused: {table}, {heat}")
    found = {"schema": 1, "kind": "sweep", "cells": len(rows), "refused": len(refused)}
    emit_json({**found, "table": str(table), "heat_map": str(heat)}, args.json)
    return INCONCLUSIVE if refused else HOLDS
