"""What the commands do. Each takes the parsed arguments and returns the exit status; results go out through Output."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from maxmargin.models import plugins
from maxmargin.models.errors import InputError
from maxmargin.verify.cli import difference, project
from maxmargin.verify.cli.output import Column, Output, emit_json, number, printable
from maxmargin.verify.cli.project import Row
from maxmargin.verify.cli.status import BAD_INPUT, HOLDS, INCONCLUSIVE, REFUTED, CliError
from maxmargin.verify.cli.streams import results
from maxmargin.verify.cli.sweep import sweep
from maxmargin.verify.progress.report import reporting
from maxmargin.verify.results import shown
from maxmargin.verify.results.answer import Answer
from maxmargin.verify.results.claim_verdict import ClaimVerdict
from maxmargin.verify.results.encoding import ReportError
from maxmargin.verify.results.origin import COMMAND
from maxmargin.verify.results.store import Store, file_key
from maxmargin.verify.results.verdict import CheckVerdict, Outcome, Verdict

REPORT = "maxmargin-report"
"""Where the page of several results goes."""

OWN_DATA = ("check", "verify")  # what these cannot render they have just written: then a ReportError is our fault


def run(args: argparse.Namespace) -> int:
    """Run the command that was asked for.

    Returns:
        The exit status.
    """
    plugins.add(*args.plugin)
    COMMAND.set(shlex.join(["maxmargin", *args.argv]))
    out = Output(sys.stderr if args.json == "-" else results(), args.quiet)
    for option, path in (("--json", args.json), ("--md", vars(args).get("md"))):
        if path is not None and not (option == "--json" and path == "-"):
            _writable(Path(path), option)
    return COMMANDS[args.command](args, out)


def check(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin check``."""
    folder, rows = _asked(args)
    with ExitStack() as stack:
        before = None if args.baseline is None else difference.load(Path(args.baseline))
        root = None if args.html is None else Path(args.html).absolute()
        if root is not None:
            stack.enter_context(_not_left_empty(root))
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
        out.headline(_counted(outcome, verdicts, "targets"))
    emit_json(payload, written["json"])
    _append("\n\n".join(verdict.to_markdown() for verdict in verdicts), written["md"])
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


def _asked(args: argparse.Namespace) -> tuple[Path | None, list[Row]]:
    """What is to be checked: the target that was given, or those of the project whose folder it is."""
    options, tier = _options(args.kw), args.tier
    problems = with_data(args.problem, args.data)
    if args.target is not None:
        return None, [Row(args.target, args.claim, options, problems, tier or "quick")]
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


def with_data(problems: Sequence[str] | None, data: str | None) -> list[str] | None:
    """Problems whose models are given by themselves, joined with the data file of ``--data``.

    Returns:
        ``FILE.npz@MODEL`` for each model, or the file alone; what has data of its own as it is.

    Example:
        >>> with_data(["mynet.py:Net", "multiclass@linear"], "mine.npz")
        ['mine.npz@mynet.py:Net', 'multiclass@linear']
    """
    if data is None:
        return None if problems is None else list(problems)
    return [p if "@" in p else f"{data}@{p}" for p in problems] if problems else [data]


def _absolute(path: str | None) -> str | None:
    return path if path in (None, "-") else str(Path(path).absolute())


def _slug(row: Row, index: int) -> str:
    return f"{index + 1}-{file_key(row.target)}"


@contextmanager
def _not_left_empty(folder: Path) -> Iterator[None]:
    """Take a folder away again, if it is made here and nothing came into it."""
    new = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        yield
    except BaseException:
        for made in (*(d for d in (folder.iterdir() if folder.is_dir() else ()) if d.is_dir()), *new):
            with suppress(OSError):  # not empty, or not made after all
                made.rmdir()
        raise


def _append(text: str, where: str | None) -> None:
    """Append to a file: a step summary may hold what other commands said."""
    if where is not None:
        with Path(where).open("a", encoding="utf-8") as file:
            file.write(printable(text) + "\n")


def _counted(outcome: Outcome, verdicts: Sequence[Verdict], what: str) -> str:
    counted = {o: sum(verdict.outcome is o for verdict in verdicts) for o in Outcome}
    return (
        f"{outcome.name}: {counted[Outcome.HOLDS]} of {len(verdicts)} {what} hold, {counted[Outcome.FAILS]} fail, "
        f"{counted[Outcome.INCONCLUSIVE]} inconclusive"
    )


def diff(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin diff``."""
    found = difference.changes(*(difference.load(Path(path)) for path in (args.before, args.after)))
    tell_changes(found, out)
    emit_json(difference.to_json(found), args.json)
    return REFUTED if any(change.worse for change in found) else HOLDS


def tell_changes(found: Sequence[difference.Change], out: Output) -> None:
    """Print what changed, and whether something is worse."""
    columns = ("", "of", "problem", "what", "before", "after")
    rows = [["WORSE" if c.worse else "", c.name, c.problem or "–", c.kind, c.before, c.after] for c in found]
    if rows:
        out.table([Column(c) for c in columns], rows)
    worse = sum(change.worse for change in found)
    out.headline(
        f"{worse} of {len(found)} changes are for the worse" if worse else f"nothing is worse; {len(found)} changes"
    )


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


def _options(given: Sequence[tuple[str, Any]], option: str = "--kw") -> dict[str, Any]:
    names = [name for name, _ in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CliError(f"{option} {twice}=… is given twice; give it once")
    return dict(given)


def compare(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin compare``."""
    both = _options(args.kw)
    kwargs_a, kwargs_b = both | _options(args.kw_a, "--kw-a"), both | _options(args.kw_b, "--kw-b")
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
        options = ", ".join(f"{k}={v}" for k, v in side.kwargs.items())
        out.text(f"  {name}: {side.target}({options}){version}, {side.file or 'one of our own'}")
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


def tell(verdict: CheckVerdict, out: Output) -> None:
    """Print a check: the answer in a sentence, its reasons, and the problems of each regime."""
    assert verdict.answer is not None
    kind = "" if verdict.answer is Answer.of(verdict.outcome) else f" ({verdict.answer})"
    out.headline(f"{verdict.outcome.name}{kind}: {verdict.sentence}")
    for reason in verdict.reasons:
        out.text(f"  {reason}")
    for model in dict.fromkeys(p.model for p in verdict.problems if p.model):
        out.text(f"  {model}.")
    for regime in verdict.regimes or (None,):
        out.text()
        if regime is not None:
            out.text(f"{regime.range.capitalize()}:")
        out.table(PROBLEM, problem_rows(verdict if regime is None else verdict.within(regime)))


def verify(args: argparse.Namespace, out: Output) -> int:
    """``maxmargin verify``."""
    from maxmargin.verify.running.campaign import verify as verify_claims

    with (
        _not_left_empty(Path(args.out).absolute()),
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
    out.headline(_counted(outcome, verdicts, "claims"))
    _append("\n\n".join(verdict.to_markdown() for verdict in verdicts), args.md)
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


PROBLEM = (
    Column("problem"),
    Column("verdict"),
    Column("L", numeric=True),
    Column("steps", numeric=True),
    Column("its gap", numeric=True),
    Column("nearest wrong", numeric=True),
    Column("under"),
    Column("ratio", numeric=True),
    Column("alignment", numeric=True),
)


def problem_rows(verdict: Verdict) -> list[list[str]]:
    """One row of cells (:data:`PROBLEM`) a problem: the verdict's own gap and the nearest wrong one."""
    from maxmargin.reports.data import Standing, known

    rows = []
    for p in verdict.problems:
        standing = Standing.of(verdict, p)
        wrong, own = standing.nearest_wrong, standing.own
        rows.append(
            [
                p.problem,
                p.outcome.name,
                number(p.degree),
                shown.count(p.steps),
                shown.gap(standing.gap),
                shown.gap(wrong[1] if wrong else None),
                wrong[0] if wrong else "–",
                number(standing.ratio),
                number(known(own.alignment) if own else None, 3),
            ]
        )
    return rows


NUMBERS = ("claim", "kind", "verdict", "decided by", "value", "asked", "control")


def number_row(verdict: ClaimVerdict) -> list[str]:
    """One row of cells (:data:`NUMBERS`) for a claim that numbers decide."""
    one, control = verdict.deciding, verdict.control
    refused = "–" if control is None else "refused" if control.refused else "NOT REFUSED"
    decided = ["–"] * 3 if one is None else [one.name, number(one.value), one.asked]
    return [verdict.id, verdict.kind, verdict.outcome.name, *decided, refused]


def is_input_error(error: Exception, args: argparse.Namespace) -> bool:
    """Whether the user's input is at fault; anything else is a fault of ours and keeps its traceback."""
    if isinstance(error, OSError):
        return error.filename is not None and _is_users(os.fspath(error.filename), args)
    if args.command in OWN_DATA and isinstance(error, ReportError):
        return False
    return isinstance(error, InputError)


def _is_users(filename: Any, args: argparse.Namespace) -> bool:
    """Whether a path lies at or below one that the user gave."""
    given = vars(args)
    texts = [
        given.get(key)
        for key in (
            "json",
            "html",
            "out",
            "dir",
            "file",
            "target",
            "a",
            "b",
            "problem",
            "data",
            "md",
            "baseline",
            "before",
            "after",
        )
    ]
    flat = [text for item in texts for text in (item if isinstance(item, list) else [item]) if text]
    paths = [Path(text.rsplit(sep, 1)[0]).resolve() for text in flat for sep in ("@", ":")]
    here = Path(os.fsdecode(filename)).resolve()
    return any(here == path or path in here.parents for path in paths)


def report_input_error(error: Exception, args: argparse.Namespace) -> int:
    """Say what is wrong on standard error, and in the JSON when it was asked for.

    Returns:
        The exit status.
    """
    message = printable(str(error)).strip()
    print(f"maxmargin: error: {message}", file=sys.stderr)
    record: dict[str, Any] = {"schema": 1, "error": {"type": type(error).__name__, "message": message}}
    multipliers = vars(error).get("multipliers")
    if multipliers is not None:  # NotSeparable carries its proof: λ in the simplex with Σ λ_i g_i = 0
        record["error"] |= {"multipliers": [float(value) for value in multipliers]}
    if args.json in (None, "-") or Path(args.json).resolve().parent.is_dir():  # else --json itself is what is wrong
        with suppress(OSError):
            emit_json(record, args.json)
    return INCONCLUSIVE if isinstance(error, InputError) and error.undecided else BAD_INPUT


def _writable(path: Path, option: str) -> None:
    """Refuse before the work, not after it, a file that cannot be written."""
    if path.is_dir():
        raise CliError(f"{option} {path} is a folder; give a file")
    if path.exists() and not path.is_file():  # a pipe or a device: it is written to, not replaced
        if not os.access(path, os.W_OK):
            raise CliError(f"{option} {path} is not writable")
        return
    if not path.resolve().parent.is_dir():
        raise CliError(f"{option} {path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.resolve().parent, os.W_OK):
        raise CliError(f"{option} {path}: the folder {path.parent} is not writable")
