"""The command line: ``maxmargin check | compare | diff | verify | sweep | solve | list | report``.

This module only reads the arguments; what the commands do is in :mod:`maxmargin.verify.cli.commands`, and the
heavy libraries load there, when they are needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import ast
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, NoReturn, final

from typing_extensions import override

from maxmargin.verify.cli.status import (
    BAD_INPUT,
    BROKEN_PIPE,
    INTERNAL_ERROR,
    INTERRUPTED,
    STATUS,
    TERMINATED,
)
from maxmargin.verify.cli.streams import results, usable_streams
from maxmargin.verify.cli.sweep import add_sweep

NORM_HELP = (
    "l1, l2, linf, spectral, nuclear, schatten:P, entrywise:P, hybrid, hybrid:R "
    "(R: ratio of the vectors' to the matrices' learning rate), …; see 'maxmargin list norms'"
)
STEP_TIMEOUT = 300.0
"""Seconds after which a step is taken for endless: of small blocks, it takes a millisecond."""
PROBLEM_HELP = (
    "a name from 'maxmargin list problems', or file.npz / file.csv with X and y, plus @MODEL; MODEL may be a "
    "torch.nn.Module of your own, FILE.py:NAME[:option=value,…]: its degree of homogeneity is found and checked"
)
DATA_HELP = "the data (X and y) of the models that --problem names alone: --problem mynet.py:Net --data mine.npz"


@final
class Parser(argparse.ArgumentParser):
    """An argparse parser that speaks like the rest of the program: one line, then where to read more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings: dict[str, Any] = {
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,  # an abbreviation that works today is ambiguous tomorrow
        }
        super().__init__(*args, **(settings | kwargs))

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"maxmargin: error: {message}\nTry '{self.prog} --help'.\n")


def key_value(text: str) -> tuple[str, Any]:
    """One ``--kw``: NAME=VALUE, the value a Python literal, or else text.

    Returns:
        The name and the value.

    Example:
        >>> key_value("betas=(0.9,0.95)"), key_value("foreach=False"), key_value("mode=fast")
        (('betas', (0.9, 0.95)), ('foreach', False), ('mode', 'fast'))

    Raises:
        argparse.ArgumentTypeError: when there is no ``=`` or the name is no identifier.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, e.g. momentum=0.9 or betas=(0.9,0.95)")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return name, value


def whole(least: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number, ``least`` (0 or 1) or more."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {least} or more")
        return int(text)

    return number


def positive(text: str) -> float:
    """Return the number that an argument is, above 0 and finite.

    Raises:
        argparse.ArgumentTypeError: when it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


@final
class ShowVersion(argparse.Action):
    """``--version``, read from the installed distribution only when asked for."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        parser.exit(0, f"maxmargin {version('maxmargin')}\n")


@final
class PrintCompletion(argparse.Action):
    """``--print-completion SHELL``, written by shtab from this very grammar."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, option: str | None = None) -> None:
        try:
            import shtab
        except ImportError:
            parser.error(f"{option} needs shtab; install it with: pip install 'maxmargin[completion]'")
        print(shtab.complete(parser, shell))  # parser.exit would write it to standard error
        parser.exit(0)


def build_parser() -> Parser:
    """The whole grammar."""
    common = Parser(add_help=False)
    group = common.add_argument_group("common options")
    group.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of everything random (default 0)")
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default auto)"
    )
    group.add_argument(
        "--json",
        metavar="FILE|-",
        help="write the result as JSON; '-': to standard output, the rest to standard error",
    )
    group.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE|FILE.py",
        help="load other people's norms, models, optimizers or claims first (once for each; also MAXMARGIN_PLUGINS)",
    )
    group.add_argument("--quiet", action="store_true", help="no progress, and only the headline of the result")

    parser = Parser(
        prog="maxmargin",
        description="Which margin does your optimizer maximize? Ask it, or verify what theory says about known ones.",
        epilog="""\
examples:
  maxmargin check torch.optim:SGD --kw momentum=0.9       which norm's margin does it maximize?
  maxmargin check mypkg.optim:MyMuon --claim spectral     does it maximize the spectral margin?
  maxmargin check                                         all targets of your project's pyproject.toml, as in CI
  maxmargin compare old.py:Opt new.py:Opt                 do two optimizers make the same steps?
  maxmargin diff before.json after.json                   what changed between two results?
  maxmargin verify                                        the claims of the literature, and a page about them
  maxmargin sweep grid.toml                               optimizers × arguments × problems, in one table
  maxmargin solve --problem digits-3@linear --norm linf   the maximum margin itself, with a certificate
  maxmargin list norms

'maxmargin COMMAND --help' explains a command, with examples.

"""
        + STATUS.format(
            holds="holds (check without --claim: a norm was identified)",
            refuted="refuted (check without --claim: no norm was identified)",
            inconclusive="inconclusive: hypotheses unmet, norms not told apart, or too few steps",
        ),
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version and exit")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        help="print a completion script and exit (needs shtab: pip install 'maxmargin[completion]'); for bash: "
        'eval "$(maxmargin --print-completion bash)"',
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    _add_check(commands, common)
    _add_compare(commands, common)
    _add_diff(commands, common)
    _add_verify(commands, common)
    _add_solve(commands, common)
    add_sweep(commands, common, (_jobs, _spread, _limits))
    _add_list(commands, common)
    _add_report(commands, common)
    return parser


def _tier(command: argparse.ArgumentParser, default: str | None = "quick") -> None:
    command.add_argument("--tier", choices=("quick", "full"), default=default, help="how long to train (default quick)")


def _limits(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--step-timeout",
        type=positive,
        default=STEP_TIMEOUT,
        metavar="SECONDS",
        help=f"end a run of which one step takes longer (default {STEP_TIMEOUT:g})",
    )
    command.add_argument(
        "--memory-limit",
        type=positive,
        metavar="GIB",
        help="end a run whose processes together take more (default: nine tenths of the memory at hand; Linux)",
    )


def _jobs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--jobs", type=whole(1), default=os.cpu_count() or 1, metavar="N", help="processes (default: one a core)"
    )


def _spread(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--backend",
        choices=("auto", "loky", "threads", "dask"),
        default="auto",
        help="where runs are spread: processes or threads here, or a Dask cluster; the results are the same",
    )
    command.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask scheduler, e.g. tcp://127.0.0.1:8786")


def _add_check(commands: Any, common: Parser) -> None:
    check = commands.add_parser(
        "check",
        parents=[common],
        help="find the norm whose margin an optimizer maximizes",
        description="Train an optimizer, unchanged, on problems whose maximum-margin points under the candidate norms\n"
        "lie apart, and name the norm whose margin it maximizes; with --claim, test that norm.",
        epilog="""\
examples:
  maxmargin check torch.optim:SGD --kw momentum=0.9
  maxmargin check torch.optim:Adam --kw eps=0 'betas=(0.9,0.95)' --claim linf
  maxmargin check path/to/optim.py:make --tier full --html out      a page to look at: out/index.html
  maxmargin check mypkg.optim:MyMuon --claim spectral --quiet       in CI: the exit status speaks
  maxmargin check muon --problem digits-3@linear data.npz@linear    one of our own, on chosen problems
  maxmargin check muon --problem mynet.py:Net --data data.npz       a network of your own (torch.nn.Module)
  maxmargin check --md "$GITHUB_STEP_SUMMARY"                       the targets of [tool.maxmargin] in pyproject.toml
  maxmargin check mypkg.optim:MyMuon --baseline old.json            fail only on what is worse than it was

a project's pyproject.toml, for 'maxmargin check' alone (the exit status is the worst one):
  [tool.maxmargin]
  targets = ["mypkg.optim:MySign", { target = "mypkg.optim:MyMuon", claim = "spectral", kw = { momentum = 0.95 } }]
  problems = ["blocks", "binary@relu2:h=8"]     tier = "quick"     (each on a line of its own; both may be left out)

"""
        + STATUS.format(
            holds="holds, or holds in regimes: it maximizes the claimed norm's margin (without --claim: one was named)",
            refuted="it does not: holds to a factor, data-dependent, refuted, no norm ('maxmargin list answers')",
            inconclusive="undecided: hypotheses unmet, norms not told apart, too few steps; the reasons are printed",
        ),
    )
    check.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="module:attr or path/to/file.py:attr, a torch.optim.Optimizer class or factory(params, **kw); "
        "or a name from 'maxmargin list optimizers'; without it, the targets of [tool.maxmargin] in pyproject.toml",
    )
    check.add_argument(
        "--kw",
        nargs="+",
        action="extend",
        type=key_value,
        default=[],
        metavar="NAME=VALUE",
        help="the optimizer's arguments",
    )
    check.add_argument(
        "--claim",
        metavar="NORM",
        help=f"test this norm instead of searching: {NORM_HELP}; 'linf, then l2': one above an eps, one below it "
        "(a norm alone is claimed of the gradients that training starts with)",
    )
    _tier(check, default=None)
    _limits(check)
    _spread(check)
    check.add_argument("--problem", nargs="+", action="extend", metavar="P", help=PROBLEM_HELP)
    check.add_argument("--data", metavar="FILE", help=DATA_HELP)
    check.add_argument(
        "--html",
        metavar="DIR",
        help="store the data in DIR and render DIR/index.html (of a project's targets: a folder of DIR for each)",
    )
    check.add_argument(
        "--baseline",
        metavar="FILE",
        help="compare with an earlier --json FILE: exit status 1 if a verdict is worse than there, else 0",
    )
    _markdown(check)


def _markdown(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--md", metavar="FILE", help='append the verdict as Markdown, e.g. --md "$GITHUB_STEP_SUMMARY"'
    )


def _add_compare(commands: Any, common: Parser) -> None:
    compare = commands.add_parser(
        "compare",
        parents=[common],
        help="see whether two optimizers make the same steps, and where they part",
        description="Show two optimizers the same gradients, weights and learning rates, and compare their steps:\n"
        "small blocks over a whole rehearsal (changing gradients, low rank, absent entries, a late drift), then large\n"
        "matrices, tall and wide ones, convolution kernels and a long vector. Each runs in a process of its own, so\n"
        "that two releases of one package can be compared. Unless --quick, what each maximizes is found, too.",
        epilog="""\
examples:
  maxmargin compare torch.optim:SGD torch.optim:SGD --kw-a foreach=True --kw-b foreach=False --quick
  maxmargin compare original.py:Muon refactored.py:Muon --kw momentum=0.95 --tolerance 1e-6
  maxmargin compare old::timm.optim:AdafactorBigVision new::timm.optim:AdafactorBigVision     two releases, after
      pip install --target old --no-deps timm==1.0.28; pip install --target new --no-deps timm==1.0.29
  maxmargin compare signum lion --claim linf

"""
        + STATUS.format(
            holds="they make the same steps",
            refuted="they part; where, and by how much, is printed",
            inconclusive="one of them is random: it differs from itself",
        ),
    )
    for side, metavar in (("a", "A"), ("b", "B")):
        compare.add_argument(
            side,
            metavar=metavar,
            help="a target as for 'check', or FOLDER::module:attr for a package in a folder of its own",
        )
    for option, whose in (("--kw", "both sides'"), ("--kw-a", "A's"), ("--kw-b", "B's")):
        compare.add_argument(
            option,
            nargs="+",
            action="extend",
            type=key_value,
            default=[],
            metavar="NAME=VALUE",
            help=f"{whose} arguments",
        )
    compare.add_argument("--claim", metavar="NORM", help="test each for this norm instead of searching for one")
    compare.add_argument("--quick", action="store_true", help="compare steps only, not what they maximize")
    compare.add_argument(
        "--tolerance",
        type=positive,
        default=1e-10,
        metavar="REL",
        help="a relative difference of a block's step up to it is none (default 1e-10; bfloat16 needs 5e-2)",
    )
    _tier(compare)
    _limits(compare)


def _add_diff(commands: Any, common: Parser) -> None:
    diff = commands.add_parser(
        "diff",
        parents=[common],
        help="see what changed between two stored results",
        description="Compare two results of 'check' or 'verify': verdicts and norms that changed, gaps that moved\n"
        "beyond the range of their runs, verdicts that are gone. Nothing is run.",
        epilog="""\
examples:
  maxmargin diff before.json after.json
  maxmargin diff maxmargin-verify-1 maxmargin-verify-2 --json -

"""
        + STATUS.format(
            holds="nothing is worse",
            refuted="a verdict is worse, or gone, or of another norm",
            inconclusive="not used by this command",
        ),
    )
    for name, metavar in (("before", "A"), ("after", "B")):
        diff.add_argument(
            name, metavar=metavar, help="a JSON file of 'check' or 'verify', or a folder with a results.json"
        )


def _add_verify(commands: Any, common: Parser) -> None:
    verify = commands.add_parser(
        "verify",
        parents=[common],
        help="verify the claims of the literature and write a report",
        description="For every claim: check its hypotheses, train, compare with the predicted maximum-margin points,\n"
        "and judge. Writes the data and an HTML page that opens offline.",
        epilog="""\
examples:
  maxmargin verify                          all claims, quick tier, into ./maxmargin-verify
  maxmargin verify signum-linf muon-spectral
  maxmargin verify --tier full --jobs 2 --out results --md summary.md
  maxmargin verify --tier full --jobs 2 --out results --resume      after an interruption

"""
        + STATUS.format(
            holds="every claim holds",
            refuted="at least one claim fails",
            inconclusive="none fails, at least one is inconclusive",
        ),
    )
    verify.add_argument(
        "claims",
        nargs="*",
        metavar="CLAIM",
        help="names from 'maxmargin list claims', or a paper's key, an optimizer, a part of a name (default: all)",
    )
    verify.add_argument(
        "--optimizer",
        metavar="NAME",
        help="hold the claims against this optimizer, one of 'list optimizers' or of a plugin, in place of their own",
    )
    _tier(verify)
    _spread(verify)
    _jobs(verify)
    verify.add_argument(
        "--out", default="maxmargin-verify", metavar="DIR", help="where to write (default ./maxmargin-verify)"
    )
    verify.add_argument("--resume", action="store_true", help="keep the claims that DIR already has")
    _markdown(verify)
    verify.add_argument("--open", action="store_true", help="open the page in a browser")


def _add_solve(commands: Any, common: Parser) -> None:
    solve = commands.add_parser(
        "solve",
        parents=[common],
        help="solve a margin problem and certify it",
        description="Maximize the margin of a problem under a norm: the point, its multipliers, and its KKT gap,\n"
        "recomputed without trusting the solver.",
        epilog="""\
examples:
  maxmargin solve --problem digits-3@linear --norm spectral
  maxmargin solve --problem data.csv@linear --norm linf --certify --json -
  maxmargin solve --problem ./points.npz@relu2 --norm l2 --starts 20
  maxmargin solve --problem mynet.py:Net:width=4 --data points.npz --norm l2     a torch.nn.Module of your own
  maxmargin solve --problem binary@relu2 --norm l2 --prove            an exact KKT point within 1e-16 of this one
  maxmargin solve --problem "F1'" --norm l2 --starts 9                what theory says, beside what is found
  maxmargin solve --problem G2:k=5 --norm spectral

"""
        + STATUS.format(
            holds="solved",
            refuted="not used by this command",
            inconclusive="none of the starts led to a KKT point; try more --starts or another --seed",
        ),
    )
    solve.add_argument("--problem", required=True, metavar="P", help=PROBLEM_HELP)
    solve.add_argument("--data", metavar="FILE", help=DATA_HELP)
    solve.add_argument("--norm", required=True, metavar="NORM", help=NORM_HELP)
    solve.add_argument(
        "--certify",
        action="store_true",
        help="enclose the optimum in exact arithmetic, and compute it by a second route (linear models)",
    )
    solve.add_argument(
        "--prove",
        action="store_true",
        help="prove that an exact KKT point lies near the one found, and how near (interval arithmetic; "
        "up to 1,000 parameters)",
    )
    solve.add_argument(
        "--starts",
        type=whole(1),
        default=1,
        metavar="N",
        help="starts of the search for KKT points (default 1)",
    )


def _add_list(commands: Any, common: Parser) -> None:
    listing = commands.add_parser(
        "list",
        parents=[common],
        help="list claims, problems, norms, optimizers, thresholds or the classes of answer",
        description="Print the names that the other commands take, the numbers that decide, or the answers that\n"
        "'check' gives with their exit statuses, each with one line.",
        epilog="examples:\n  maxmargin list norms\n  maxmargin list claims --json -\n\n"
        + STATUS.format(holds="listed", refuted="not used by this command", inconclusive="not used by this command"),
    )
    kinds = ("claims", "problems", "norms", "optimizers", "thresholds", "answers")
    listing.add_argument("what", choices=kinds, help="what to list")


def _add_report(commands: Any, common: Parser) -> None:
    report = commands.add_parser(
        "report",
        parents=[common],
        help="render the page again from stored data",
        description="Render DIR/index.html from DIR/results.json and its arrays; nothing is recomputed.\n"
        "Of several results, one page with the table of optimizers and norms.",
        epilog="examples:\n  maxmargin report maxmargin-verify\n"
        "  maxmargin report sgd/ adam/ muon.json --out overview\n\n"
        + STATUS.format(holds="rendered", refuted="not used by this command", inconclusive="not used by this command"),
    )
    report.add_argument(
        "dir", metavar="DIR", nargs="+", help="a folder written by 'verify' or by 'check --html'; or a file of --json"
    )
    report.add_argument(
        "--out", metavar="FOLDER", help="where the page goes: DIR itself, or maxmargin-report of several"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; ``sys.argv`` by default.

    Returns:
        The exit status.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    usable_streams()
    args = read(argv)
    if isinstance(args, int):
        return args
    before = signal.signal(signal.SIGTERM, _terminate) if current_thread() is main_thread() else None
    try:
        from maxmargin.verify.cli import commands

        status = commands.run(args)
        results().flush()
        return status
    except Terminated:
        print(f"\nmaxmargin: terminated. {_what_is_kept(args, argv)}", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print(f"\nmaxmargin: interrupted. {_what_is_kept(args, argv)}", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:  # a target that calls sys.exit(0) when imported must not look like a verdict
        print(f"maxmargin: error: the target called sys.exit({stop.code!r})", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # the reader of a pipe left, as `| head` does: not our fault, and nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), results().fileno())  # else the final flush complains
        return BROKEN_PIPE
    except Exception as error:
        return _failed(error, args)
    except BaseException as error:  # CancelledError, pytest's outcomes: Python's own way out would be status 1
        name = type(error).__name__
        print(f"maxmargin: error: the target raised {name}({str(error)!r})", file=sys.stderr)
        return BAD_INPUT
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def read(argv: Sequence[str]) -> argparse.Namespace | int:
    """The arguments; or the status, where reading them ends a command: after ``--help``, or bad usage."""
    parser = build_parser()
    try:
        if any("\0" in word for word in argv):
            parser.error("an argument holds a NUL, which no name or path may")
        return parser.parse_args(argv, argparse.Namespace(argv=list(argv)))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else BAD_INPUT


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a run as Ctrl-C does, with a status of its own."""


def _terminate(*_: Any) -> NoReturn:
    raise Terminated


def _failed(error: Exception, args: argparse.Namespace) -> int:
    """Tell bad input, with its message, from a fault of the program, with its traceback.

    Returns:
        The exit status.
    """
    with suppress(Exception):  # a broken installation may lack what tells them apart
        from maxmargin.verify.cli import commands

        if commands.is_input_error(error, args):
            return commands.report_input_error(error, args)
    traceback.print_exception(error)
    print("maxmargin: this is a fault of the program, not a verdict; please report it.", file=sys.stderr)
    return INTERNAL_ERROR


def _what_is_kept(args: argparse.Namespace, argv: Sequence[str]) -> str:
    """After Ctrl-C: what the user still has, and the command that goes on from there."""
    if args.command == "verify":
        again = [*argv, *(() if args.resume else ("--resume",))]
        return f"What is finished is kept in {Path(args.out)}; go on with:\n  {shlex.join(['maxmargin', *again])}"
    if args.command == "sweep":
        return f"Finished cells are kept in {Path(args.out)}; go on with:\n  {shlex.join(['maxmargin', *argv])}"
    if args.command == "report":
        return "The page that was there, if any, is unchanged."
    return "Nothing was stored; 'maxmargin verify' is the command that keeps what is done."
