"""What ``maxmargin sweep FILE.toml`` does."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from maxmargin.verify.cli.output import Output, emit_json
from maxmargin.verify.cli.status import HOLDS, INCONCLUSIVE, CliError
from maxmargin.verify.progress.report import reporting
from maxmargin.verify.results.store import write_atomically


def sweep(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin sweep``."""
    if importlib.util.find_spec("pyarrow") is None:
        raise CliError("a sweep's table is written by pyarrow: pip install 'maxmargin[sweep]'")
    from maxmargin.reports.heat import heat_map
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
