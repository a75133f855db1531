"""What ``maxmargin check`` does."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack, chdir
from pathlib import Path

from msgspec.structs import replace

from maxmargin.verify.cli import difference, project
from maxmargin.verify.cli.given import append, not_left_empty, options, with_data
from maxmargin.verify.cli.output import Output, counted, emit_json, tell, tell_changes
from maxmargin.verify.cli.project import Row
from maxmargin.verify.cli.status import HOLDS, REFUTED, CliError
from maxmargin.verify.progress.report import reporting
from maxmargin.verify.results.encoding import ReportError
from maxmargin.verify.results.outcome import Outcome
from maxmargin.verify.results.store import Store, file_key
from maxmargin.verify.results.verdict import CheckVerdict


def check(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin check``."""
    folder, rows = _asked(args)
    with ExitStack() as stack:
        before = None if args.baseline is None else _before(Path(args.baseline))
        root = None if args.html is None else Path(args.html).absolute()
        if root is not None:
            stack.enter_context(not_left_empty(root))
        stores = [Store.at(root if args.target else root / _slug(row, i)) for i, row in enumerate(rows)] if root else []
        written = {name: _absolute(getattr(args, name)) for name in ("json", "md")}
        if folder is not None:
            stack.enter_context(chdir(folder))
            _loadable(rows)
        verdicts = [_checked(row, args) for row in rows]
    for verdict in verdicts:
        tell(verdict, out)
        if len(verdicts) > 1:
            out.text()
    outcome = Outcome.of_all(verdict.outcome for verdict in verdicts)
    payload = verdicts[0].to_json()
    if folder is not None:
        payload = {"schema": 1, "kind": "gate", "outcome": outcome, "verdicts": [v.to_json() for v in verdicts]}
        out.headline(counted(outcome, verdicts, "targets"))
    emit_json(payload, written["json"])
    append("\n\n".join(verdict.to_markdown() for verdict in verdicts), written["md"])
    for store, verdict in zip(stores, verdicts, strict=bool(stores)):
        from maxmargin.reports.render import render

        store.save_results({**_with_arrays(verdict, store).to_json(), "kind": "check"})
        out.text()
        out.headline(f"report: {render(store.root)}")
    if before is None:
        return outcome.exit_status
    found = difference.changes(before, verdicts)
    tell_changes(found, out)
    return REFUTED if any(change.worse for change in found) else HOLDS


def _before(baseline: Path) -> tuple[difference.Verdict, ...]:
    """The results to compare with; what is wrong with them is not our fault."""
    try:
        return difference.load(baseline)
    except ReportError as error:
        raise CliError(str(error)) from None


def _asked(args: argparse.Namespace) -> tuple[Path | None, list[Row]]:
    """What is to be checked: the target that was given, or those of the project whose folder it is."""
    kwargs, tier = options(args.kw), args.tier
    problems = with_data(args.problem, args.data)
    if args.target is not None:
        return None, [Row(args.target, args.claim, kwargs, problems, tier or "quick")]
    given = [name for name in ("kw", "claim", "problem", "data") if getattr(args, name)]
    if given:
        raise CliError(f"--{given[0]} is of one target, and none was given: maxmargin check TARGET --{given[0]} …")
    folder, rows = project.find(Path.cwd())
    return folder, [replace(row, tier=tier or row.tier) for row in rows]


def _checked(row: Row, args: argparse.Namespace) -> CheckVerdict:
    from maxmargin.verify.running.checking import check as check_optimizer
    from maxmargin.verify.running.spread import Backend

    with reporting("checking", quiet=args.quiet) as progress:
        return check_optimizer(
            row.target,
            kwargs=row.kw,
            claim=row.claim,
            tier=row.tier or "quick",
            problems=row.problems,
            seed=args.seed,
            device=args.device,
            progress=progress,
            backend=Backend(args.backend, args.scheduler, os.cpu_count() or 1),
        )


def _loadable(rows: Sequence[Row]) -> None:
    """Refuse a target that cannot be imported before any is trained."""
    from maxmargin.verify.blackbox.targets import load

    for row in rows:
        load(row.target, row.kw)


def _absolute(path: str | None) -> str | None:
    return path if path in (None, "-") else str(Path(path).absolute())


def _slug(row: Row, index: int) -> str:
    return f"{index + 1}-{file_key(row.target)}"


def _with_arrays(verdict: CheckVerdict, store: Store) -> CheckVerdict:
    """The verdict, and its regimes', with the curves behind their evidence stored."""
    problems = tuple(store.save_arrays(file_key(p.problem), p) for p in verdict.problems)
    regimes = tuple(
        replace(
            regime,
            problems=problems
            if regime.problems is verdict.problems
            else tuple(store.save_arrays(file_key(f"{p.problem} {i}"), p) for p in regime.problems),
        )
        for i, regime in enumerate(verdict.regimes)
    )
    return replace(verdict, problems=problems, regimes=regimes)
