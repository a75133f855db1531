"""What the commands do. Each takes the parsed arguments and returns the exit status; results go out through Output."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import webbrowser
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from maxmargin.models import plugins
from maxmargin.verify.cli import difference
from maxmargin.verify.cli.check import check
from maxmargin.verify.cli.given import append, not_left_empty, options, with_data, writable
from maxmargin.verify.cli.output import (
    NUMBERS,
    PROBLEM,
    Column,
    Output,
    counted,
    emit_json,
    number,
    number_row,
    problem_rows,
    tell_changes,
)
from maxmargin.verify.cli.status import HOLDS, REFUTED, CliError
from maxmargin.verify.cli.streams import results
from maxmargin.verify.cli.sweep import sweep
from maxmargin.verify.progress.report import reporting
from maxmargin.verify.results.origin import COMMAND
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.store import Store

REPORT = "maxmargin-report"
"""Where the page of several results goes."""


def run(args: argparse.Namespace) -> int:
    """Run the command that was asked for, and return its exit status."""
    plugins.add(*args.plugin)
    COMMAND.set(shlex.join(["maxmargin", *args.argv]))
    out = Output(sys.stderr if args.json == "-" else results(), args.quiet)
    for option, path in (("--json", args.json), ("--md", vars(args).get("md"))):
        if path is not None and not (option == "--json" and path == "-"):
            writable(Path(path), option)
    return COMMANDS[args.command](args, out)


def diff(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin diff``."""
    found = difference.changes(*(difference.load(Path(path)) for path in (args.before, args.after)))
    tell_changes(found, out)
    emit_json(difference.to_json(found), args.json)
    return REFUTED if any(change.worse for change in found) else HOLDS


def compare(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin compare``."""
    both = options(args.kw)
    kwargs_a, kwargs_b = both | options(args.kw_a, "--kw-a"), both | options(args.kw_b, "--kw-b")
    from maxmargin.verify.comparing.compare import compare as compare_optimizers
    from maxmargin.verify.engine.devices import resolve

    resolve(args.device)  # optimizers run on the CPU; a device that is not there is refused all the same

    with reporting("comparing", quiet=args.quiet) as progress:
        found = compare_optimizers(
            args.a,
            args.b,
            kwargs_a=kwargs_a,
            kwargs_b=kwargs_b,
            claim=args.claim,
            quick=args.quick,
            tier=args.tier,
            tolerance=args.tolerance,
            seed=args.seed,
            progress=progress,
        )
    out.headline(f"{found.word}: {found.sentence}")
    for reason in found.reasons:
        out.text(f"  {reason}")
    for name, side in (("A", found.a), ("B", found.b)):
        version = f" {side.version}" if side.version else ""
        arguments = ", ".join(f"{k}={v}" for k, v in side.kwargs.items())
        out.text(f"  {name}: {side.target}({arguments}){version}, {side.file or 'one of our own'}")
        if side.maximizes is not None:
            out.text(f"     {side.maximizes}")
    out.text()
    columns = ("block", "", "steps", "parts in", "at step", "by", "at most", "B/A")
    out.table(
        [Column(c, numeric=c not in ("block", "", "parts in")) for c in columns],
        [
            [
                row.block,
                {True: "SAME", False: "DIFFERENT", None: "–"}[row.same],
                str(row.steps or "–"),
                row.kind or "–",
                str(row.step or "–"),
                number(row.difference) if row.step else "–",
                number(row.largest) if row.steps else "–",
                f"{row.factor:.6g}" if row.factor is not None else "varies" if row.parallel else "–",
            ]
            for row in found.rows
        ],
    )
    emit_json(found.to_json(), args.json)
    return found.exit_status


def verify(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin verify``."""
    from maxmargin.verify.running.campaign import verify as verify_claims

    with (
        not_left_empty(Path(args.out).absolute()),
        reporting("verifying", quiet=args.quiet) as progress,
    ):
        folder = Store.at(args.out).root
        verdicts = verify_claims(
            args.claims or None,
            tier=args.tier,
            jobs=args.jobs,
            out=folder,
            resume=args.resume,
            seed=args.seed,
            device=args.device,
            optimizer=args.optimizer,
            progress=progress,
            backend=args.backend,
            scheduler=args.scheduler,
        )
    if not verdicts:
        raise CliError("no claim was tested; 'maxmargin list claims' shows what there is")
    from maxmargin.reports.render import render

    if args.json is not None:
        emit_json(json.loads((folder / "results.json").read_text(encoding="utf-8")), args.json)
    page = render(folder)
    rows = []
    for verdict in (v for v in verdicts if not v.measured):
        for i, row in enumerate(problem_rows(verdict)):
            rows.append([*((verdict.id, verdict.about or "–") if i == 0 else ("", "")), *row])
    if rows:
        out.table([Column("claim"), Column("norm"), *PROBLEM], rows)
    measured = [number_row(v) for v in verdicts if v.measured]
    if measured:
        out.text()
        out.table([Column(c, numeric=c == "value") for c in NUMBERS], measured)
    for verdict in verdicts:
        if verdict.outcome is not Outcome.HOLDS:
            out.text()
            out.text(f"{verdict.outcome.name}: {verdict.id}: {verdict.statement}")
            for reason in verdict.reasons:
                out.text(f"  {reason}")
    outcome = Outcome.of_all(verdict.outcome for verdict in verdicts)
    out.text()
    out.headline(counted(outcome, verdicts, "claims"))
    append("\n\n".join(verdict.to_markdown() for verdict in verdicts), args.md)
    out.headline(f"report: {page}")
    if args.open and not webbrowser.open(page.resolve().as_uri()):
        out.headline("no browser could be started; open the report by hand")
    return outcome.exit_status


def solve(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin solve``."""
    from maxmargin.models import problems
    from maxmargin.solvers.norms import get_norm
    from maxmargin.verify.engine.devices import resolve

    resolve(args.device)  # the solvers run on the CPU; a device that is not there is refused all the same
    norm = get_norm(args.norm)
    problem = problems.get(*with_data([args.problem], args.data) or ())
    if found := getattr(problem.model, "findings", ""):
        out.text(found + "\n")
    from maxmargin.solvers.solving import solve as solve_problem

    with reporting("solving", quiet=args.quiet) as progress:
        solution = solve_problem(
            problem,
            norm,
            certify=args.certify,
            prove=args.prove,
            starts=args.starts,
            seed=args.seed,
            progress=progress,
        )
    payload = solution.to_json()
    if args.quiet:
        out.headline(f"{payload['problem']}, {payload['norm']}: margin {payload['margin']!r}")
    out.text(solution.table())
    if args.certify and payload["enclosure"] is None:
        out.text("\n--certify: only the margin of a linear model can be enclosed; no enclosure is given")
    emit_json(payload, args.json)
    return HOLDS


def list_names(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin list``."""
    from maxmargin.verify.cli import listing

    entries = listing.LISTINGS[args.what]()
    if args.quiet:
        for entry in entries:
            out.headline(entry.name)
    columns = [Column(args.what[:-1]), Column("")]
    rows = [[entry.name, entry.summary] for entry in entries]
    payload: dict[str, Any] = {"schema": 1, "kind": args.what}
    payload["entries"] = [{"name": e.name, "summary": e.summary} for e in entries]
    if args.what == "problems":
        columns.insert(1, Column("exact under"))
        rows = [[e.name, " ".join(e.exact or ()), e.summary] for e in entries]
        payload["entries"] = [{"name": e.name, "summary": e.summary, "exact": e.exact} for e in entries]
        payload["parts"] = [{"name": e.name, "summary": e.summary} for e in listing.parts()]
    if args.what == "claims":
        for paper, group in groupby(entries, key=lambda e: e.paper):
            out.text(f"\n{paper}")
            out.table([columns[0], Column("kind"), Column("")], [[e.name, e.kind, e.summary] for e in group])
        fields = ("name", "summary", "paper", "kind", "source")
        payload["entries"] = [{field: getattr(e, field) for field in fields} for e in entries]
    else:
        out.table(columns, rows)
    if args.what == "problems":
        out.text("\nmade of DATA or DATA@MODEL, with the options given here as NAME:option=value,…:\n")
        out.table([Column("data set or @model"), Column("")], [[e.name, e.summary] for e in listing.parts()])
    emit_json(payload, args.json)
    return HOLDS


def report(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin report``."""
    paths = [Path(path) for path in args.dir]
    one = len(paths) == 1 and args.out is None
    missing = next((path for path in paths if not (path.is_dir() if one else path.exists())), None)
    if missing is not None:
        kind = "a folder; give one" if one else "there; give folders"
        raise CliError(f"{missing} is not {kind} that 'verify' or 'check --html' has written")
    from maxmargin.reports.render import render

    page = render(*paths, out=None if one else Store.at(args.out or REPORT).root)
    out.headline(f"report: {page}")
    emit_json({"schema": 1, "report": str(page)}, args.json)
    return HOLDS


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Output], int]] = {
    "check": check,
    "diff": diff,
    "compare": compare,
    "verify": verify,
    "solve": solve,
    "sweep": sweep,
    "list": list_names,
    "report": report,
}
